//! Ending a wait from another thread.
//!
//! The subscriber waits for an eventfd along with its other descriptors. The eventfd is created on
//! first use, so a subscriber without an interrupter pays nothing for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::Result;
use crate::region::object::failure;

/// Ends a wait of its subscriber from any thread. Created by
/// [`interrupter`](super::UntypedSubscriber::interrupter).
///
/// An interruption stays pending until a refresh or a wait reports it, so none is lost between two
/// waits. Several pending interruptions are reported as one.
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

    /// Ends the current wait, or the next one if there is none. Makes the descriptor readable for an
    /// external event loop.
    pub fn interrupt(&self) {
        // The write fails only if the counter is full, and then the eventfd is already readable.
        let _readable = self.0.write(1);
    }

    /// Returns true if `interrupt` was called since the last call of `take`.
    pub(super) fn take(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Interrupter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
