//! Forked children: which process made a value, and descriptors that children do not get.
//!
//! A child of `fork` has all values of its parent, and drops them sooner or later. What belongs to the process and not to the memory (a
//! mapping that children do not get, a lock, a name) must then be left alone: see [`Creator`].
//!
//! A lock of an open file description is shared by whoever inherits the descriptor, and would outlive the process that took
//! it in a child that never calls `exec`. So in each child, before `fork` returns there (`pthread_atfork`),
//!
//! 1. the child is counted as a separate process;
//! 2. descriptors with locks ([`ForkSafeFd`]) are made to refer to `/dev/null`, which the parent opened for this: a child may have no
//!    descriptor free. Where that is refused they are closed, and nobody closes them again.
//!
//! A child keeps the descriptors if it is made by the bare system call, or by one thread at the very moment that another one
//! opens a table.
#![allow(unsafe_code)]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Once, OnceLock};

/// Number of forks between the first process of the program and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Descriptors up to the kernel's own limit (`fs.nr_open`, unless it was raised), a bit each. Pages that are not touched
/// cost nothing.
static DESCRIPTORS: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];
/// `/dev/null`, open for nothing.
static NOTHING: OnceLock<File> = OnceLock::new();
/// True if descriptors had to be closed in this process when it was forked, so that their numbers are free.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Has [`in_child`] called in each child from now on.
fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // SAFETY: `in_child` calls only what may be called after fork in a process that had several threads. It can
        // be refused for want of memory; then children share the locks until they end or call exec.
        let _without = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// The process that made a value.
///
/// A pid alone does not tell a child from its parent: the first process of a pid namespace is number 1, and so is a child of it in
/// another namespace. It is compared as well, for children of the bare system call, which are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    pid: u32,
    forks: u64,
}

impl Creator {
    /// Returns this process.
    pub fn this_process() -> Self {
        prepare();
        Self {
            pid: std::process::id(),
            // Relaxed: it changes only in a child, while that has one thread.
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    /// Returns true in that process, and false in a child that it forked later.
    pub fn is_this_process(self) -> bool {
        self == Self::this_process()
    }

    /// Returns a process that is not this one.
    #[cfg(test)]
    pub fn another_process() -> Self {
        Self { pid: 0, forks: 0 }
    }
}

/// A file whose opening is this process's alone.
pub struct ForkSafeFd {
    file: ManuallyDrop<File>,
    creator: Creator,
}

impl ForkSafeFd {
    /// Call it before taking a lock: a child that is forked in the meantime then has no part in it.
    pub fn new(file: File) -> Self {
        if NOTHING.get().is_none() {
            let mut options = File::options();
            let options = options.read(true).custom_flags(libc::O_PATH);
            if let Ok(nothing) = options.open("/dev/null") {
                // If another thread was faster, this one is closed.
                let _stored = NOTHING.set(nothing);
            }
        }
        let creator = Creator::this_process();
        note(file.as_raw_fd(), true);
        let file = ManuallyDrop::new(file);
        Self { file, creator }
    }
}

impl Deref for ForkSafeFd {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl AsFd for ForkSafeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for ForkSafeFd {
    fn drop(&mut self) {
        let is_own = self.creator.is_this_process();
        if is_own {
            // Before it is closed: its number may be another file's right after that.
            note(self.file.as_raw_fd(), false);
        }
        // In a child the number refers to `/dev/null`, unless it had to be closed. Then it may be a file of the child's own.
        if is_own || !CLOSED.load(Ordering::Relaxed) {
            // SAFETY: `file` is not used after this: it is dropped here only, and `self` is going.
            unsafe { ManuallyDrop::drop(&mut self.file) }
        }
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

/// Counts the child, and replaces its private descriptors. The numbers stay taken, so that dropping the parent's values in the child
/// cannot close files of the child. In the child, and in its children, these numbers are ordinary descriptors.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let nothing = NOTHING.get().map_or(-1, AsRawFd::as_raw_fd);
    for (number, word) in DESCRIPTORS.iter().enumerate() {
        // Not written unless there is something, so that pages stay untouched.
        let mut bits = word.load(Ordering::Relaxed);
        if bits != 0 {
            word.store(0, Ordering::Relaxed);
        }
        while bits != 0 {
            let descriptor = (number * 64) as RawFd + bits.trailing_zeros() as RawFd;
            bits &= bits - 1;
            // SAFETY: dup3 and close are async-signal-safe. The descriptor belongs to a `ForkSafeFd` of this crate, which uses it by
            // calls only; each of them fails cleanly from now on.
            unsafe {
                // Refused without `/dev/null`, and above the limit of open files, if that was lowered.
                if libc::dup3(nothing, descriptor, libc::O_CLOEXEC) == -1 {
                    libc::close(descriptor);
                    CLOSED.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
