//! Detects which process created a value, and withholds locked descriptors from forked children.
//!
//! A child of `fork` drops all values of its parent. It must then not touch a mapping that it did
//! not inherit, a lock, or a name ([`Creator`]).
//!
//! A lock of an open file description would live on in a child that never calls `exec`. Therefore,
//! in each child, before `fork` returns there (`pthread_atfork`):
//!
//! 1. The child is counted as a separate process.
//! 2. Descriptors with locks ([`ForkSafeFd`]) are replaced with `/dev/null`, which the parent
//!    opened for this purpose, because a child may have no free descriptor. If the replacement
//!    fails, they are closed, and are not closed a second time.
//!
//! A child keeps the descriptors if it is created by the bare system call, or by one thread at the
//! moment when another thread opens a table.
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
/// Bitmap of descriptors, up to the default limit of the kernel (`fs.nr_open`). Untouched pages
/// cost nothing.
static DESCRIPTORS: [AtomicU64; 1 << 14] = [const { AtomicU64::new(0) }; 1 << 14];
/// `/dev/null`, which replaces private descriptors in children.
static DEV_NULL: OnceLock<File> = OnceLock::new();
/// True if descriptors had to be closed in this process when it was forked, so that their numbers
/// are free.
static CLOSED: AtomicBool = AtomicBool::new(false);

fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // SAFETY: `in_child` makes only calls that are allowed after a fork in a multi-threaded
        // process. The registration can fail for lack of memory; children then share the locks
        // until they end or call exec.
        let _without = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// The process that created a value.
///
/// A pid alone does not suffice: a process with pid 1 can have a child with pid 1 in another pid
/// namespace. A count of forks alone does not either: the bare system call is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    pid: u32,
    forks: u64,
}

impl Creator {
    pub fn this_process() -> Self {
        prepare();
        Self {
            pid: std::process::id(),
            // Relaxed: the value changes only in a child, while the child has one thread.
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    /// Returns true in the process that created this value, and false in a child that it forked
    /// later.
    pub fn is_this_process(self) -> bool {
        self == Self::this_process()
    }
}

/// A file whose open file description is not shared with forked children.
#[derive(Debug)]
pub struct ForkSafeFd {
    file: ManuallyDrop<File>,
    creator: Creator,
}

impl ForkSafeFd {
    /// Wraps a file. Call it before taking a lock: a child that is forked between the two then does
    /// not share the lock.
    pub fn new(file: File) -> Self {
        if DEV_NULL.get().is_none() {
            let dev_null = File::options().read(true).custom_flags(libc::O_PATH).open("/dev/null");
            // If another thread has stored a file first, this one is closed.
            let _stored = dev_null.map(|dev_null| DEV_NULL.set(dev_null));
        }
        let creator = Creator::this_process();
        record(file.as_raw_fd(), true);
        Self { file: ManuallyDrop::new(file), creator }
    }

    /// Returns false in a child that was forked after this value was created.
    pub fn is_of_this_process(&self) -> bool {
        self.creator.is_this_process()
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
        let is_own = self.is_of_this_process();
        if is_own {
            // Before the close, because another file may get the number right after it.
            record(self.file.as_raw_fd(), false);
        }
        // In a child the number refers to `/dev/null`, unless the descriptor had to be closed. It
        // may then belong to a file that the child opened.
        if is_own || !CLOSED.load(Ordering::Relaxed) {
            // SAFETY: `file` is not used after this. It is dropped only here, while `self` is being
            // dropped.
            unsafe { ManuallyDrop::drop(&mut self.file) }
        }
    }
}

/// Records whether a descriptor must not be shared with children.
fn record(descriptor: RawFd, is_private: bool) {
    let at = usize::try_from(descriptor).unwrap_or(usize::MAX);
    if let Some(word) = DESCRIPTORS.get(at / 64) {
        let bit = 1 << (at % 64);
        // Relaxed: fork copies the memory as the forking thread sees it, and these bits guard no
        // other memory.
        let _former = match is_private {
            true => word.fetch_or(bit, Ordering::Relaxed),
            false => word.fetch_and(!bit, Ordering::Relaxed),
        };
    }
}

/// Counts the child and replaces its private descriptors. The numbers stay in use, so that dropping
/// the parent's values in the child cannot close files of the child.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let dev_null = DEV_NULL.get().map_or(-1, AsRawFd::as_raw_fd);
    for (number, word) in DESCRIPTORS.iter().enumerate() {
        // Write only words that are not 0, so that the other pages stay untouched.
        let mut bits = word.load(Ordering::Relaxed);
        if bits != 0 {
            word.store(0, Ordering::Relaxed);
        }
        while bits != 0 {
            let descriptor = (number * 64) as RawFd + bits.trailing_zeros() as RawFd;
            bits &= bits - 1;
            // SAFETY: dup3 and close are async-signal-safe. The descriptor belongs to a
            // `ForkSafeFd` of this crate, which uses it only in system calls. Each of these fails
            // cleanly from now on.
            unsafe {
                // This fails without `/dev/null`, and above the limit of open files if that was
                // lowered.
                if libc::dup3(dev_null, descriptor, libc::O_CLOEXEC) == -1 {
                    libc::close(descriptor);
                    CLOSED.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
