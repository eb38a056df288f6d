//! Names, locks and the byte layout of a table's objects, for the tests of this workspace, which
//! inspect and damage objects from outside. This is not part of the API.
//!
//! The module only re-exports, so that enabling its feature does not change the programs.

pub use crate::protocol::layout::{MAX_VERSION, header, index, registry};
/// Locks of open files.
#[cfg(not(loom))]
pub mod lock {
    pub use crate::region::lock::{Locked, Span, is_held, try_lock, try_share, unlock};
}
#[cfg(not(loom))]
pub use crate::region::object::{index_name, registry_name};
