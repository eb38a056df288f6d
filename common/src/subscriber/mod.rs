//! The reading half of the crate: subscribers, which keep a local copy of the whole table at one
//! version and update it by a refresh, and readers, which keep no copy.
//!
//! - [`Subscriber`], [`Changes`]: rows of a Rust type, a view of the untyped subscriber.
//! - [`UntypedSubscriber`], [`UntypedChanges`]: rows of a schema known only at run time. The
//!   implementation is the same.
//! - [`Reader`], [`UntypedReader`]: lookups of single rows in shared memory.
//! - [`Interrupter`] ends a wait from another thread. [`WaitSet`] waits for several tables at once.
//! - `AsyncSubscriber` and `AsyncReader` (feature `tokio`): a subscriber or reader of either type on
//!   a tokio runtime.
//!
//! `follow.rs` describes a refresh and owns its three parts: the content (the local copy of
//! `copy.rs`, or the version that a reader of `reader.rs` has seen), `parking.rs` (sleep and
//! wake-ups) and `liveness.rs` (the publisher's state and the re-check).

#[cfg(feature = "tokio")]
mod asynchronous;
mod builder;
mod changes;
mod copy;
mod event_set;
mod follow;
mod liveness;
mod lookup;
mod parking;
mod reader;
mod shared;
mod slot_changes;
mod snapshot;
mod source;
mod typed;
mod untyped;
mod wait_set;

#[cfg(feature = "tokio")]
pub use asynchronous::{AnySubscriber, AsyncReader, AsyncSubscriber, OwnedChanges};
pub use builder::{Open, OpenOptions};
pub use changes::{Cause, Change, Changes, ChangesIter, UntypedChanges, UntypedChangesIter};
pub use event_set::Interrupter;
pub use liveness::PublisherState;
pub use reader::{Entry, Reader, UntypedReader};
pub use slot_changes::{Position, SlotChanges};
pub use snapshot::Snapshot;
pub use typed::Subscriber;
pub use untyped::UntypedSubscriber;
pub use wait_set::{Member, WaitSet};
