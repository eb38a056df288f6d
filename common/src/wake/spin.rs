//! Looking at `commit` all the time: no system call on either side, and a processor for it.
//!
//! The subscriber never parks, so that the publisher does not know of it. Looks become rarer, up to a bound of some tens of
//! pauses of the processor (some hundred nanoseconds to two microseconds).

use std::time::Instant;

use crossbeam_utils::Backoff;

use crate::sync::Ordering;
use crate::word::ReadOnlyWord;

/// How many looks there are between two at the clock.
const LOOKS: u32 = 16;

/// Looks until `commit` is no longer `seen` or `enough` says so at a look at the clock. Whether there is a commit.
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

/// As [`spin`], until a point in time.
pub fn spin_until(commit: &ReadOnlyWord, seen: u64, time: Instant) -> bool {
    spin(commit, seen, || Instant::now() >= time)
}
