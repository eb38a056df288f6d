//! Descriptors that children of `fork` do not get.
//!
//! A lock of an open file description is shared by whoever inherits the descriptor, and would outlive the process that took
//! it in a child that never calls `exec`. So in each child, before `fork` returns there (`pthread_atfork`), such
//! descriptors are made to refer to something else. A child keeps them if it is made by the bare system call, or by one
//! thread at the very moment that another one opens a table.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors up to the kernel's own limit (`fs.nr_open`, unless it was raised), a bit each. Pages that are not touched
/// cost nothing.
static DESCRIPTORS: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];

/// A file whose opening is this process's alone.
pub struct Private(File);

impl Private {
    /// Call it before taking a lock: a child that is forked meanwhile then has no part in it.
    pub fn new(file: File) -> Self {
        static PREPARED: Once = Once::new();
        PREPARED.call_once(|| {
            // SAFETY: `in_child` calls only what may be called after fork in a process that had several threads. It can
            // be refused for want of memory; then children share the locks until they end or call exec.
            let _without = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        note(file.as_raw_fd(), true);
        Self(file)
    }
}

impl Deref for Private {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Before it is closed: its number may be another file's right after that.
        note(self.0.as_raw_fd(), false);
    }
}

fn note(descriptor: RawFd, private: bool) {
    let at = usize::try_from(descriptor).unwrap_or(usize::MAX);
    if let Some(word) = DESCRIPTORS.get(at / 64) {
        let bit = 1 << (at % 64);
        // Relaxed: fork copies what its thread sees, and no other memory is read by way of these.
        if private {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// The numbers stay taken, so that values of the parent that the child still has cannot close files of its own.
extern "C" fn in_child() {
    // SAFETY: open, dup3 and close are async-signal-safe; the path is a string with a zero at its end.
    let nothing = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    for (number, word) in DESCRIPTORS.iter().enumerate() {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            let descriptor = (number * 64) as RawFd + bits.trailing_zeros() as RawFd;
            bits &= bits - 1;
            // SAFETY: as above. The descriptor belongs to a `Private` of this crate, which uses it by calls only; each of
            // them fails cleanly from now on.
            unsafe {
                if libc::dup3(nothing, descriptor, libc::O_CLOEXEC) == -1 {
                    libc::close(descriptor);
                }
            }
        }
    }
    if nothing >= 0 {
        // SAFETY: it was opened above and is known to nobody else.
        unsafe { libc::close(nothing) };
    }
}
