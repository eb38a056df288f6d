//! One process publishes a structured table in POSIX shared memory, and any number of processes on
//! the same machine keep a consistent copy of it. There is no server, nobody waits for a lock, and
//! a crash loses nothing that was committed.
//!
//! This page is an introduction. The [`guide`] continues with [patterns](guide::patterns),
//! [costs](guide::performance), [limits](guide::limits) and [what a program sees when a process
//! dies](guide::faults). [`security`] describes what other users can read and change.
//!
//! # Installation
//!
//! The package is called `common`. Give it another name in your manifest:
//!
//! ```toml
//! [dependencies]
//! tablecast = { package = "common", path = "…/tablecast/common" }    # or: git = "…"
//! bytemuck = { version = "1", features = ["derive"] }
//! ```
//!
//! # Example
//!
//! ```
//! use common::{Change, Publisher, Row, Subscriber, Text}; // `use tablecast::…` with the manifest above
//!
//! // A row is a plain struct. `key` marks the field that identifies a row.
//! #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
//! #[repr(C)]
//! struct Flag {
//!     #[row(key)]
//!     name: Text<24>,
//!     percent: u64,
//! }
//!
//! fn main() -> common::Result<()> {
//!     # let table = &format!("doc-flags-{}", std::process::id());
//!     # #[cfg(any())]
//!     let table = "flags";
//!     // One process publishes.
//!     let mut publisher = Publisher::<Flag>::open(table)?;
//!     let mut tx = publisher.begin();
//!     tx.upsert(&Flag { name: Text::new("dark-mode")?, percent: 10 })?;
//!     tx.upsert(&Flag { name: Text::new("new-search")?, percent: 50 })?;
//!     tx.commit()?; // both rows become visible atomically
//!
//!     // Any other process subscribes. It has a copy of the table as soon as it is open.
//!     let mut flags = Subscriber::<Flag>::open(table)?;
//!     let search = Text::new("new-search")?;
//!     assert_eq!(flags.get(&search).map(|flag| flag.percent), Some(50));
//!
//!     let mut tx = publisher.begin();
//!     tx.upsert(&Flag { name: search, percent: 100 })?;
//!     tx.delete(&Text::new("dark-mode")?)?;
//!     let version = tx.commit()?;
//!
//!     // `wait` sleeps until there are changes, applies them to the copy, and returns them.
//!     let changes = flags.wait(None)?;
//!     assert_eq!((changes.version(), changes.len()), (version, 2));
//!     for change in changes {
//!         match change {
//!             Change::Created(new) => println!("{} was created", new.name),
//!             Change::Updated { old, new } => println!("{}: {} -> {}", new.name, old.percent, new.percent),
//!             Change::Deleted(old) => println!("{} was deleted", old.name),
//!         }
//!     }
//!     publisher.close()
//! }
//! ```
//!
//! # Concepts
//!
//! - A [`Publisher`] is the only writer of a table. While it lives, another publisher of the same
//!   name is refused. After it ends or dies, the next publisher with that name takes over the table
//!   with all of its rows. A publisher must commit, or call
//!   [`maintain`](UntypedPublisher::maintain), at least once a second; in an event loop, wait for
//!   its [`maintenance_timer`](Publisher::maintenance_timer).
//! - A [`Transaction`] stages rows in private memory: [`insert`](Transaction::insert),
//!   [`update`](Transaction::update), [`upsert`](Transaction::upsert),
//!   [`delete`](Transaction::delete), [`replace_with`](Transaction::replace_with).
//!   [`commit`](Transaction::commit) makes all changes visible atomically, and returns the number
//!   of the new *version*. Dropping the transaction discards them.
//! - A [`Subscriber`] has a copy of the whole table at one version.
//!   [`refresh`](Subscriber::refresh) and [`wait`](Subscriber::wait) move it to the current version
//!   and return the [`Changes`] between the two.
//! - A [`Reader`] has no copy. It looks single rows up in shared memory, as of the last commit.
//!
//! A slow subscriber delays nobody. It takes fewer and larger steps, in which a row that changed
//! twice is one change. A table is a state and not a stream of events.
//!
//! [`UntypedPublisher`], [`UntypedSubscriber`] and [`UntypedReader`] are for programs that learn the
//! fields at run time. The [`Schema`] is stored with the table.
//!
//! # Rows
//!
//! A row is a `#[repr(C)]` struct of fixed width. Fields are integers, floats, [`Text<N>`](Text),
//! [`Bool`], [`Ipv4`], [`Ipv6`], [`IpNet`], [`Mac`], [`Timestamp`], or newtypes over one of these
//! ([`FieldKind`]). The key is one or more fields, without floats. The derive [`Row`](trait@Row)
//! rejects a struct that cannot be a row. A row also needs `Pod` and `Zeroable` of `bytemuck` with
//! the feature `derive`. (Without that dependency, write `use common::bytemuck::{Pod, Zeroable}`
//! and `#[bytemuck(crate = "common::bytemuck")]`.)
//!
//! # Four ways to read
//!
//! | | reads | at the version of | cost |
//! |---|---|---|---|
//! | [`get`](Subscriber::get) | a row by its key | the last refresh | a lookup in private memory |
//! | [`iter`](Subscriber::iter) | all rows | the last refresh | the same, per row |
//! | [`latest`](Subscriber::latest) | a row by its key | the last commit | a lookup in shared memory |
//! | [`snapshot`](Subscriber::snapshot) | all rows | the last commit | a copy of the table |
//!
//! A [`Reader`] has no local copy: its [`get`](Reader::get) costs as much as `latest`, and opening
//! it costs the same for a table of any size.
//!
//! The first two cannot fail, and agree with each other until the next refresh. The other two do
//! not change the local copy. They fail if the publisher changes the same rows faster than they can
//! be read, or if the table is damaged ([`guide::faults`]).
//!
//! # Five ways to wait
//!
//! | wait for | with |
//! |---|---|
//! | changes of a table | [`wait`](Subscriber::wait), which an [`Interrupter`] can end from any thread |
//! | a certain version | [`wait_for`](Subscriber::wait_for) |
//! | several tables | [`WaitSet`] |
//! | a table and other descriptors | poll, epoll or mio: a subscriber [is a descriptor](UntypedSubscriber#impl-AsFd-for-UntypedSubscriber), readable until a refresh finds no changes |
//! | a table, in a task of tokio | `AsyncSubscriber` or `AsyncReader`, with the feature `tokio` |
//!
//! A program with its own loop calls [`refresh`](Subscriber::refresh), which never blocks and takes
//! about 35 ns if there are no changes. While a subscriber is awake, its publisher makes no system
//! call for it. [`WakeKind`] selects how the publisher wakes a parked subscriber.
//!
//! # Limits
//!
//! A table keeps its last state and no history. It has one writer and rows of fixed width, and does
//! not survive a reboot. It lives on one host; the program `bridge` publishes copies of it on others.
//! [`guide::limits`] has the numbers.
//!
//! # Modules
//!
//! In the order in which data flows: [`schema`], [`kinds`], [`row`] and [`value`] describe rows;
//! [`publisher`] writes them; [`subscriber`] reads them; [`admin`](mod@admin) inspects and removes
//! tables from outside. The layout of shared memory is private to the crate.

// Items that need a feature are marked in documentation that a nightly toolchain builds.
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(loom))))]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

extern crate self as common;

#[cfg(not(loom))]
pub mod admin;
#[cfg(not(loom))]
pub mod clock;
pub mod error;
#[cfg(not(loom))]
mod expiry;
pub mod guide;
#[cfg(not(loom))]
mod identity;
#[cfg(not(loom))]
mod index;
#[cfg(any(feature = "internals", loom))]
#[doc(hidden)]
pub mod internals;
#[cfg(not(loom))]
mod membarrier;
mod memory;
mod protocol;
#[cfg(not(loom))]
pub mod publisher;
#[cfg(all(test, not(loom)))]
mod random;
#[cfg(not(loom))]
mod region;
pub mod row;

#[doc = include_str!("security.md")]
pub mod security {}
#[cfg(not(loom))]
pub mod subscriber;
#[cfg(not(loom))]
mod wake;

#[cfg(not(loom))]
pub use admin::{Kept, Swept, TableInfo, inspect, remove, remove_of, sweep, tables};
pub use bytemuck;
pub use derive::Row;
pub use error::{Error, Result};
#[cfg(not(loom))]
pub use expiry::Expiry;
pub use protocol::layout::LAYOUT_VERSION;
#[cfg(not(loom))]
pub use publisher::{
    Publisher, PublisherBuilder, Transaction, UntypedPublisher, UntypedTransaction,
};
pub use row::kinds::{Bool, FieldKind, IpNet, Ipv4, Ipv6, KeyKind, Mac, Text, Timestamp};
pub use row::schema::{Conversion, Field, Kind, Schema};
pub use row::value::Value;
pub use row::{FieldDef, Key, KeyRef, Row, RowBuf, RowRef};
pub use row::{kinds, schema, value};
#[cfg(all(feature = "tokio", not(loom)))]
pub use subscriber::{AsyncReader, AsyncSubscriber, OwnedChanges};
#[cfg(not(loom))]
pub use subscriber::{
    Cause, Change, Changes, Entry, Interrupter, Open, OpenOptions, Position, PublisherState,
    Reader, SlotChanges, Snapshot, Subscriber, UntypedChanges, UntypedReader, UntypedSubscriber,
    WaitSet,
};
#[cfg(not(loom))]
pub use wake::{Sleep, WakeKind};

/// Programs share and send these types between threads.
#[cfg(not(loom))]
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<(UntypedPublisher, UntypedTransaction<'_>, PublisherBuilder<Schema>)>();
    send_and_sync::<(UntypedSubscriber, UntypedChanges<'_>, OpenOptions<UntypedSubscriber>)>();
    send_and_sync::<(UntypedReader, Interrupter, WaitSet, Error)>();
    send_and_sync::<(Schema, RowBuf, RowRef<'_>, KeyRef<'_>, Value<'_>)>();
    const fn _typed<R: Row<Key: Send + Sync> + Send + Sync>() {
        send_and_sync::<(Publisher<R>, Transaction<'_, R>)>();
        send_and_sync::<(Subscriber<R>, Changes<'_, R>)>();
        send_and_sync::<(Reader<R>, Entry<'_, R>)>();
        #[cfg(feature = "tokio")]
        send_and_sync::<(AsyncSubscriber<Subscriber<R>>, OwnedChanges<R>)>();
    }
};

/// Compiles and runs the README's code as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The modules that handle shared memory are private, because their functions trust their callers.
///
/// ```compile_fail,E0603
/// use common::region::object;
/// ```
/// ```compile_fail,E0603
/// use common::protocol::commit;
/// ```
/// ```compile_fail,E0603
/// use common::memory::prefetch;
/// ```
/// ```compile_fail,E0603
/// use common::wake::registry;
/// ```
/// ```compile_fail,E0603
/// use common::protocol::layout::header;
/// ```
#[cfg(doctest)]
struct PrivateModules;
