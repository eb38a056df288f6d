//! Administration of tables from outside: inspects and removes tables, and finds and removes
//! orphans.
//!
//! - [`inspect`], [`tables`]: the tables of this machine, their publishers and their subscribers.
//! - [`orphans`], [`sweep`]: objects that dead processes left and that belong to no table.
//! - [`remove`], [`remove_of`]: removal of a table that has no live publisher.
//! - [`probe`]: a test of the system calls that tables need.
//! - [`huge_bytes`]: the use of huge pages by a table.
//!
//! Except for the last one, objects are read by system calls and not mapped, so an object that is
//! truncated at the same time causes an error and not a signal.

mod inspect;
mod orphans;
mod remove;

pub use crate::region::object::DIRECTORY;
pub use crate::wake::registry::Listener;
pub use inspect::{Probe, TableInfo, huge_bytes, inspect, probe, tables};
pub use orphans::{Kept, Orphan, OrphanKind, Swept, orphans, queue_directory, sweep};
pub use remove::{remove, remove_of};
