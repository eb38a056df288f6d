//! One process publishes a structured table in shared memory; any number of processes keep a consistent copy of it.

extern crate self as common;

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
    Publisher, PublisherBuilder, Transaction, UntypedPublisher, UntypedTransaction, remove,
};
pub use row::{FieldDef, Key, KeyRef, Row, RowBuf, RowRef};
pub use schema::{Conversion, Field, Kind, Schema};
#[cfg(not(loom))]
pub use subscriber::{
    Cause, Change, Changes, PublisherState, Subscriber, SubscriberBuilder, UntypedChanges,
    UntypedSubscriber,
};
pub use value::Value;
