//! Sleeping on `commit` itself: its lower half is a futex, on which any number of subscribers sleep
//! through their read-only mappings.
//!
//! The publisher makes one system call for all of them, and none while nobody sleeps
//! ([`park_on_commit`](crate::protocol::park::park_on_commit)). Nothing is registered and no system
//! resource is used. In exchange, a subscriber cannot wait for anything else at the same time: it
//! learns of the publisher's death at its re-check, unless it sleeps on a descriptor
//! ([`super::thread`]). The re-check also finds a successor region if the publisher died before it
//! announced that the name was taken.

use std::num::NonZeroU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::Timespec;

use crate::clock::monotonic_ns;
use crate::region::FutexWord;

/// The futex bit of subscribers that sleep here themselves. The other bits belong to the threads of
/// [`super::thread`], which are also woken individually. A publisher's wake-up reaches all bits.
pub const SLEEPER: NonZeroU32 = NonZeroU32::new(1 << 31).expect("a bit");

/// Sleeps while the lower half of `commit` equals that of `seen`, at most for `time`. Returns true
/// if woken.
pub fn sleep(half: FutexWord<'_>, seen: u64, time: Option<Duration>, bits: NonZeroU32) -> bool {
    // FUTEX_WAIT_BITSET takes a point in time of CLOCK_MONOTONIC, unlike FUTEX_WAIT, which takes a
    // duration.
    let until = time.map(|time| {
        let span = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let until = monotonic_ns().saturating_add(span);
        Timespec { tv_sec: (until / 1_000_000_000) as i64, tv_nsec: (until % 1_000_000_000) as i64 }
    });
    loop {
        match half.wait(seen as u32, until.as_ref(), bits) {
            Ok(()) => return true,
            // A signal interrupted the sleep. Only a sleep with a time limit returns to the caller.
            Err(Errno::INTR) if until.is_none() => {}
            // Another commit, a timeout, or a truncated file, which the next read detects.
            Err(_) => return false,
        }
    }
}
