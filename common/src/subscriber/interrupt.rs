//! Ending a wait from another thread.
//!
//! An eventfd among what the subscriber waits for. It is made when it is first asked for: a subscriber that nobody interrupts
//! pays nothing for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::Result;
use crate::region::object::failure;

/// Ends a wait of the subscriber that it is of ([`interrupter`](super::UntypedSubscriber::interrupter)), from any thread.
///
/// An interruption is kept until a refresh or a wait has told it, so that none is lost between two waits; several that nobody
/// has been told of are one.
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<EventFd>);

impl Interrupter {
    /// `object` names the table in errors.
    pub(super) fn new(object: &str) -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        EventFd::from_value_and_flags(0, flags)
            .map(|descriptor| Self(Arc::new(descriptor)))
            .map_err(|errno| failure(object, "make what interrupts waiting for", errno))
    }

    /// Ends the wait that is under way, or else the next one. A foreign event loop finds the descriptor readable.
    pub fn interrupt(&self) {
        // It can only fail when it is full, and then it is readable.
        let _readable = self.0.write(1);
    }

    /// Whether it was interrupted since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Interrupter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
