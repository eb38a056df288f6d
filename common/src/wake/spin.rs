//! Polling `commit` all the time: no system call on either side, but a whole processor.
//!
//! The subscriber never parks, so the publisher does not know of it. The time between two loads
//! grows up to some tens of processor pauses (some hundred nanoseconds to two microseconds).

use std::time::Instant;

use crossbeam_utils::Backoff;

use crate::protocol::sync::Ordering;
use crate::protocol::words::ReadOnlyWord;

/// Number of loads between two checks of the clock.
const LOOKS: u32 = 16;

/// Loads `commit` until it differs from `seen` or `enough` returns true, which is called every
/// [`LOOKS`] loads. Returns true if there is a commit.
pub fn spin(commit: &ReadOnlyWord, seen: u64, mut enough: impl FnMut() -> bool) -> bool {
    let backoff = Backoff::new();
    loop {
        for _ in 0..LOOKS {
            if commit.load(Ordering::Relaxed) != seen {
                return true;
            }
            backoff.spin();
        }
        if enough() {
            return false;
        }
    }
}

/// Spins like [`spin`], until a point in time.
pub fn spin_until(commit: &ReadOnlyWord, seen: u64, time: Instant) -> bool {
    spin(commit, seen, || Instant::now() >= time)
}
