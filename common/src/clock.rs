//! Time that only goes forward and that all processes of the machine share.

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in ns; 0 should the system refuse.
#[inline]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}
