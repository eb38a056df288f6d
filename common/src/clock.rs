//! Monotonic time that all processes of a time namespace share.
//!
//! A time namespace has its own offset from the machine's clock, so times from two namespaces
//! cannot be compared.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::time::{ClockId, clock_gettime};

/// Returns the time of CLOCK_MONOTONIC in ns; 0 if the system call fails.
#[inline]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Returns the inode of this process's time namespace; 0 if /proc or the kernel does not have it.
pub(crate) fn time_namespace() -> u64 {
    fs::metadata("/proc/self/ns/time").map_or(0, |namespace| namespace.ino())
}

/// Returns true if times of the two namespaces can be compared. A namespace of 0 is unknown, and is
/// assumed to be the same.
#[inline]
pub(crate) fn is_same_clock(one: u64, other: u64) -> bool {
    one == other || one == 0 || other == 0
}
