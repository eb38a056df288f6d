//! Detects use of an object in a forked child, such as a worker of `multiprocessing`.
//!
//! A child does not inherit the mappings of tables, so reading one there would end the process.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of forks between the first process of the program and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Returns a number that differs between a process and each child that it forks. This costs a load
/// from memory and not a system call.
#[inline]
pub fn generation() -> u64 {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // SAFETY: `in_child` only adds to an atomic, which is allowed after a fork in a
        // multi-threaded process.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(failed, 0, "there is no memory to register for forks");
    });
    // Relaxed: the number changes only in a child, while the child has one thread.
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
