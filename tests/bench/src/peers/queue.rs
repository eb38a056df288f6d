//! A bare message queue, of the kind that a subscriber has: one message of one byte.

use std::ffi::CString;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

/// A queue that this process may send to or receive from.
pub struct BareQueue(MqdT);

impl BareQueue {
    /// Opens the queue of that name, and makes it if it is not there.
    ///
    /// # Panics
    /// If that is refused.
    pub fn open(name: &str) -> Self {
        let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let attributes = MqAttr::new(0, 1, 1, 0);
        Self(mq_open(path(name).as_c_str(), flags, mode, Some(&attributes)).expect("a queue"))
    }

    /// Sends.
    ///
    /// # Panics
    /// If that is refused.
    pub fn send(&self) {
        mq_send(&self.0, &[1], 0).expect("room");
    }

    /// Sleeps until something is received.
    ///
    /// # Panics
    /// If that is refused.
    pub fn receive(&self) {
        mq_receive(&self.0, &mut [0], &mut 0).expect("a message");
    }

    /// The descriptor, to poll.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

/// Removes its name.
///
/// # Panics
/// If it has none.
pub fn remove(name: &str) {
    mq_unlink(path(name).as_c_str()).expect("its own queue");
}

fn path(name: &str) -> CString {
    CString::new(format!("/{name}")).expect("no zero in it")
}
