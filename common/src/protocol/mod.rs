//! The table over plain words: rows, versions, transactions, change tracking, parking.
//!
//! All code here works on a slice of words, which is a mapping of shared memory in production and a
//! vector in tests and models. [`Table`] reads, and [`WritableTable`] also writes. Nothing here
//! waits, allocates on behalf of a reader, or makes a system call.
//!
//! Each row has two copies, each with a tag (`version << 2 | live`). The row at version `s` is the
//! copy with the greatest tag that is at most `s`. Transaction `V` writes each of its rows into the
//! other copy under the tag `V`, which no reader accepts while `commit` is less than `V`. Then it
//! stores `commit = V`. A reader therefore loses a row only if the row is rewritten twice during
//! the read, and a publisher that dies leaves the last commit readable.
//!
//! - [`commit`](mod@commit): writes a transaction, and repairs the rows that a dead publisher left.
//! - [`read`](mod@read): reads rows at one version.
//! - [`journal`](mod@journal): lists the slots that the last transactions wrote.
//! - [`catch_up`](mod@catch_up): reads all rows that changed since a version, as of one later
//!   version.
//! - [`stream`](mod@stream): reads all rows at one version without a copy of the table.
//! - [`key_index`]: finds the slot of a key in shared memory.
//! - [`park`](mod@park): the handshake between a subscriber that parks and a publisher.
//! - [`interval`]: an interval of addresses that a signal handler reads.
//! - [`hazard`]: keeps a mapping while threads use it.
//! - [`layout`], [`sync`], [`words`]: the byte map, the named atomics, slices of words.

pub mod catch_up;
pub mod commit;
pub mod hazard;
pub mod interval;
pub mod journal;
pub mod key_index;
pub mod layout;
#[cfg(all(test, loom))]
mod models;
pub mod park;
pub mod read;
#[cfg(not(loom))]
pub mod stream;
pub mod sync;
pub mod words;

pub use commit::WritableTable;
pub use read::{Table, last_commit};
#[cfg(not(loom))]
pub use read::{commit_time, live_rows};
