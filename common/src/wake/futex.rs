//! Sleeping on `commit` itself: its lower half is a futex, and any number sleep there through their read-only mappings.
//!
//! The publisher makes one system call for all of them, and none while nobody sleeps ([`park_on_commit`](crate::park::park_on_commit)).
//! Nothing is registered and nothing is used up. What it cannot do is wait for anything else at the same time: a sleeper learns
//! of its publisher's death by the re-check, unless it sleeps by a descriptor ([`super::thread`]), and whoever sleeps
//! on a region whose publisher died before it said that another one took the name learns that by the re-check, too.

use std::num::NonZeroU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::Timespec;

use crate::clock::monotonic_ns;
use crate::region::FutexWord;

/// The bit of those who sleep here by themselves. The others are for the threads of [`super::thread`], which are also called one
/// by one. A publisher's call is for all.
pub const SLEEPER: NonZeroU32 = NonZeroU32::new(1 << 31).expect("a bit");

/// Sleeps as long as the half of `commit` is that of `seen`, at most for `time`. Whether it was called.
pub fn sleep(half: FutexWord<'_>, seen: u64, time: Option<Duration>, bits: NonZeroU32) -> bool {
    // Its time is a point of CLOCK_MONOTONIC and not a span, as that of FUTEX_WAIT would be.
    let until = time.map(|time| {
        let span = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let until = monotonic_ns().saturating_add(span);
        Timespec {
            tv_sec: (until / 1_000_000_000) as i64,
            tv_nsec: (until % 1_000_000_000) as i64,
        }
    });
    loop {
        match half.wait(seen as u32, until.as_ref(), bits) {
            Ok(()) => return true,
            // A signal: as with a sleep in epoll the program's handler has had its turn.
            Err(Errno::INTR) if until.is_none() => {}
            // Another commit by now, or the time is over. Or the file was cut short: the next look finds that.
            Err(_) => return false,
        }
    }
}
