//! One process publishes a structured table in POSIX shared memory; any number of processes on the same machine keep a
//! consistent copy of it. There is no server, no lock that anybody waits for, and nothing is lost when something dies.
//!
//! This page teaches it in five minutes. What comes after that is in the [`guide`]: [patterns](guide::patterns), [what it
//! costs](guide::performance), [its limits](guide::limits), and [what a program sees when something dies](guide::faults); who can do what
//! to whom is in [`security`].
//!
//! # A table, in whole
//!
//! ```
//! use common::{Change, Publisher, Row, Subscriber, Text};
//!
//! // A row is a plain struct. `key` marks what tells rows apart.
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
//!     let mut publisher = Publisher::<Flag>::builder(table).open()?;
//!     let mut tx = publisher.begin();
//!     tx.upsert(&Flag { name: Text::new("dark-mode")?, percent: 10 })?;
//!     tx.upsert(&Flag { name: Text::new("new-search")?, percent: 50 })?;
//!     tx.commit()?; // both become true at one instant
//!
//!     // Any other process follows. It has the whole table as soon as it is open.
//!     let mut flags = Subscriber::<Flag>::open(table)?;
//!     let search = Text::new("new-search")?;
//!     assert_eq!(flags.get(&search).map(|flag| flag.percent), Some(50));
//!
//!     let mut tx = publisher.begin();
//!     tx.upsert(&Flag { name: search, percent: 100 })?;
//!     tx.delete(&Text::new("dark-mode")?)?;
//!     let version = tx.commit()?;
//!
//!     // `wait` sleeps until there is news, brings the copy forward, and tells what changed.
//!     let changes = flags.wait(None)?;
//!     assert_eq!((changes.version(), changes.len()), (version, 2));
//!     for change in &changes {
//!         match change {
//!             Change::Created(new) => println!("{} is new", new.name),
//!             Change::Updated { old, new } => println!("{}: {} -> {}", new.name, old.percent, new.percent),
//!             Change::Deleted(old) => println!("{} is gone", old.name),
//!         }
//!     }
//!     publisher.close()
//! }
//! ```
//!
//! # The three objects
//!
//! - A [`Publisher`] is the one writer of a table. Whoever opens the name next, after its process ended or died, takes the table over with
//!   all of its rows; whoever opens it meanwhile is refused. It must commit, or call [`maintain`](UntypedPublisher::maintain), at least once
//!   a second.
//! - A [`Transaction`] stages rows in private memory: [`insert`](Transaction::insert), [`update`](Transaction::update),
//!   [`upsert`](Transaction::upsert), [`delete`](Transaction::delete), [`replace_with`](Transaction::replace_with). Its
//!   [`commit`](Transaction::commit) makes all of it true at one instant, which has a number, the *version*; dropped, it was never there.
//! - A [`Subscriber`] has a copy of the whole table at one version. It goes from version to version when it is told to, by
//!   [`refresh`](Subscriber::refresh) or [`wait`](Subscriber::wait), and says what changed between the two: [`Changes`].
//!
//! A slow subscriber makes nobody wait. It takes fewer, larger steps: what changed twice in between is one change to it. So a table is
//! a state, and no stream of events.
//!
//! [`UntypedPublisher`] and [`UntypedSubscriber`] are the same for programs that learn the fields at run time, from the table itself: its
//! [`Schema`] lies beside its rows.
//!
//! # What a row is
//!
//! A `#[repr(C)]` struct of fixed width: integers, floats, and of this crate [`Text<N>`](Text), [`Bool`], [`Ipv4`], [`Ipv6`], [`IpNet`], [`Mac`],
//! [`Timestamp`], or newtypes of your own over one of these ([`FieldKind`]). The key is one field or several, and no float. The derive
//! [`Row`](trait@Row) says what does not fit, as do `Pod` and `Zeroable`, for which your package needs `bytemuck` with its feature `derive`
//! (or, without that, `use common::bytemuck::{Pod, Zeroable}` and `#[bytemuck(crate = "common::bytemuck")]` on the struct).
//!
//! # Four ways to read
//!
//! | | reads | as of | costs |
//! |---|---|---|---|
//! | [`get`](Subscriber::get) | a row by its key | the last refresh, together with all other rows | a look into memory of one's own |
//! | [`iter`](Subscriber::iter) | all rows | the last refresh | the same, for each |
//! | [`latest`](Subscriber::latest) | a row by its key | the last commit | a look into shared memory |
//! | [`snapshot`](Subscriber::snapshot) | all rows | the last commit, all of it | a copy of the table |
//!
//! The first two cannot fail, and agree with each other until the next refresh. The other two leave the copy as it is; they fail
//! if the publisher changes the same rows faster than they can be read, or somebody damaged the table ([`guide::faults`]).
//!
//! # Five ways to wait
//!
//! | it waits for | by |
//! |---|---|
//! | news of a table | [`wait`](Subscriber::wait), which an [`Interrupter`] ends from any thread |
//! | a certain version | [`wait_for`](Subscriber::wait_for) |
//! | several tables | [`WaitSet`] |
//! | a table and other descriptors | poll, epoll or mio: a subscriber [is a descriptor](UntypedSubscriber#impl-AsFd-for-UntypedSubscriber), readable until a refresh found nothing more |
//! | a table, in a task of tokio | `AsyncSubscriber`, with the feature `tokio` |
//!
//! Or not at all: a program with a loop of its own calls [`refresh`](Subscriber::refresh) in it, which never blocks, and costs some
//! 35 ns when there is no news. While a subscriber is awake its publisher makes no system call for it; [`WakeKind`] says how one that sleeps is
//! woken.
//!
//! # What it is not for
//!
//! History (the last state is all there is), several machines, several writers of one table, rows of varying width, and what must
//! outlast a reboot. [`guide::limits`] has the numbers.
//!
//! # The modules
//!
//! In the order of the data's path: [`schema`], [`kinds`], [`row`] and [`value`] say what a row is; [`publisher`] writes rows;
//! [`subscriber`] reads them; [`admin`] inspects and removes tables from outside. A program needs what is listed below this text,
//! and the modules only for what their names promise. How rows, versions and wake-ups lie in shared memory is private to the crate.

// What needs a feature says so where the documentation is built by a nightly toolchain, as on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(loom))))]
#![warn(clippy::missing_errors_doc)]

extern crate self as common;

#[cfg(not(loom))]
pub mod admin;
#[cfg(not(loom))]
pub mod clock;
pub mod error;
pub mod guide;
#[cfg(not(loom))]
mod identity;
#[cfg(not(loom))]
mod index;
#[cfg(any(feature = "internals", loom))]
#[doc(hidden)]
pub mod internals;
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
pub use subscriber::{AsyncSubscriber, OwnedChanges};
#[cfg(not(loom))]
pub use subscriber::{
    Cause, Change, Changes, Interrupter, PublisherState, Subscriber, SubscriberBuilder,
    UntypedChanges, UntypedSubscriber, WaitSet,
};
#[cfg(not(loom))]
pub use wake::{Sleep, WakeKind};

/// The README's code is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The modules that handle shared memory cannot be named from outside: what they export trusts its callers.
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
