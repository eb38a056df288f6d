//! Polling `commit` all the time: no system call on either side, but a whole processor.
//!
//! The subscriber never parks, so the publisher does not know of it. The time between two loads
//! grows up to some tens of processor pauses (some hundred nanoseconds to two microseconds).

use crossbeam_utils::Backoff;

use crate::protocol::sync::Ordering;
use crate::protocol::words::ReadOnlyWord;

/// Number of loads between two checks of the clock.
const LOADS: u32 = 16;

/// Loads `commit` until it differs from `seen` or `is_over` returns true, which is called every
/// [`LOADS`] loads. Returns true if there is a commit.
pub fn spin(commit: &ReadOnlyWord, seen: u64, mut is_over: impl FnMut() -> bool) -> bool {
    let backoff = Backoff::new();
    loop {
        for _ in 0..LOADS {
            if commit.load(Ordering::Relaxed) != seen {
                return true;
            }
            backoff.spin();
        }
        if is_over() {
            return false;
        }
    }
}
