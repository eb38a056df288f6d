//! Names, locks and the byte layout of a table's objects, for the tests of this workspace, which look at and damage them from
//! outside. No part of the API: anything here may change in any release.
//!
//! It re-exports and adds no code, so that a build which enables it by feature unification makes the same programs.

pub use crate::protocol::layout::{MAX_VERSION, header, registry};
/// Locks of open files.
#[cfg(not(loom))]
pub mod lock {
    pub use crate::region::lock::{Locked, Span, is_held, try_lock, try_share, unlock};
}
#[cfg(not(loom))]
pub use crate::region::object::registry_name;
