//! One process publishes a structured table in POSIX shared memory; any number of processes keep a consistent copy of it.
//!
//! - [`Publisher`] opens a table, stages rows in a [`Transaction`], and makes them true at one instant by its `commit`.
//! - [`Subscriber`] keeps a local copy ([`get`](Subscriber::get), [`iter`](Subscriber::iter)), brings it forward
//!   ([`refresh`](Subscriber::refresh), [`wait`](Subscriber::wait)) and tells what changed ([`Changes`]); it reads single rows
//!   straight from shared memory ([`latest`](Subscriber::latest)).
//! - [`UntypedPublisher`] and [`UntypedSubscriber`] do the same for a [`Schema`] learnt at run time.
//! - [`WakeKind`] says how a subscriber is woken: by a message queue, or by a futex where there is none, unless told otherwise.
//! - [`inspect`](fn@inspect), [`tables`] and [`inspect::leftovers`] look from outside; [`remove`] clears what dead publishers left,
//!   [`sweep`] what belongs to no table.
//!
//! ```
//! use common::{Publisher, Row, Subscriber, Text};
//!
//! #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
//! #[repr(C)]
//! struct Flag { #[row(key)] name: Text<24>, percent: u64 }
//!
//! # fn main() -> common::Result<()> {
//! # let name = format!("doc-flags-{}", std::process::id());
//! let mut publisher = Publisher::<Flag>::builder(&name).open()?;
//! let mut flags = Subscriber::<Flag>::open(&name)?; // in any other process
//!
//! let mut tx = publisher.begin();
//! tx.upsert(&Flag { name: Text::new("dark-mode")?, percent: 10 })?;
//! tx.upsert(&Flag { name: Text::new("new-search")?, percent: 50 })?;
//! tx.commit()?; // both at one instant
//!
//! flags.wait(None)?;
//! assert_eq!(flags.get(&Text::new("new-search")?).map(|flag| flag.percent), Some(50));
//! # publisher.close()
//! # }
//! ```
//!
//! The modules, in the order of the data's path: [`schema`], [`kinds`], [`row`] and [`value`] (what a row is), [`publisher`],
//! [`table`] over [`seqlock`] (rows, versions, transactions), [`layout`] and [`region`] (the bytes), [`park`] (who sleeps),
//! [`subscriber`].
//!
//! Who can do what to whom, with processes of other users and other containers: [`security`].

extern crate self as common;

mod bits;
#[cfg(not(loom))]
pub mod clock;
pub mod error;
#[cfg(not(loom))]
mod identity;
#[cfg(not(loom))]
mod index;
#[cfg(not(loom))]
pub mod inspect;
pub mod kinds;
pub mod layout;
mod memory;
#[cfg(all(test, loom))]
mod models;
pub mod park;
#[cfg(not(loom))]
pub mod publisher;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
mod registry;
pub mod row;
pub mod schema;
#[doc = include_str!("security.md")]
pub mod security {}
pub mod seqlock;
#[cfg(not(loom))]
pub mod subscriber;
mod sync;
pub mod table;
pub mod value;
#[cfg(not(loom))]
mod wake;

pub use bytemuck;
pub use derive::Row;
pub use error::{Error, Result};
#[cfg(not(loom))]
pub use inspect::{TableInfo, inspect, tables};
pub use kinds::{Bool, FieldKind, IpNet, Ipv4, Ipv6, KeyKind, Mac, Text, Timestamp};
#[cfg(not(loom))]
pub use publisher::{
    Kept, Publisher, PublisherBuilder, Swept, Transaction, UntypedPublisher, UntypedTransaction,
    remove, sweep,
};
pub use row::{FieldDef, Key, KeyRef, Row, RowBuf, RowRef};
pub use schema::{Conversion, Field, Kind, Schema};
#[cfg(all(feature = "tokio", not(loom)))]
pub use subscriber::{AsyncSubscriber, OwnedChanges};
#[cfg(not(loom))]
pub use subscriber::{
    Cause, Change, Changes, Interrupter, PublisherState, Subscriber, SubscriberBuilder,
    UntypedChanges, UntypedSubscriber, WaitSet,
};
pub use value::Value;
#[cfg(not(loom))]
pub use wake::{Sleep, WakeKind};

/// The README's code is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
