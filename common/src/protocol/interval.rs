//! An interval of addresses that a signal handler reads while another thread may be replacing it.
//!
//! 1. The owner replaces the interval: it makes `sequence` odd, executes a release fence, stores
//!    `start` and `end`, and stores the next even number in `sequence` with release.
//! 2. The handler reads it: it loads `sequence` (acquire), which must be even, then `start` and
//!    `end`, executes an acquire fence, and loads `sequence` again.
//!
//! The two loads of `sequence` are equal only if `start` and `end` belong to the same interval. If
//! either bound is from a later interval, the fences make the second load return at least the odd
//! number of that replacement. A sequence number is never reused, so comparing it is sufficient.
//! Comparing `end` would not be.
//!
//! The handler does not retry. While an interval is being replaced, no thread may access its
//! memory, so it cannot explain the faulting access. Two threads must not replace the same interval
//! at the same time.

use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, ordering};

/// An interval of addresses, empty at first.
pub struct Interval {
    /// Twice the number of replacements; odd during a replacement.
    sequence: AtomicU64,
    start: AtomicU64,
    /// The address after the last one in the interval.
    end: AtomicU64,
}

impl Interval {
    pub fn empty() -> Self {
        Self { sequence: AtomicU64::new(0), start: AtomicU64::new(0), end: AtomicU64::new(0) }
    }

    /// Replaces the interval. A thread that finds an address in the interval also sees everything
    /// that the owner stored before this call.
    pub fn replace(&self, start: u64, end: u64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // Partner: the fence in `bounds`. A reader that loads one of the bounds stored below also
        // sees the odd number.
        fence(Point::HideInterval, Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        // Partner: the first load in `bounds`. A reader that loads this number does not load a
        // bound of an earlier interval.
        let publish = ordering(Point::PublishInterval, Ordering::Release);
        self.sequence.store(sequence + 2, publish);
    }

    /// Returns true if `address` is in the interval. Returns false during a replacement.
    pub fn contains(&self, address: u64) -> bool {
        self.bounds().is_some_and(|[start, end]| (start..end).contains(&address))
    }

    /// Returns the start and end of one interval, or `None` during a replacement.
    pub(crate) fn bounds(&self) -> Option<[u64; 2]> {
        // Partner: the last store in `replace`. The loads below do not return bounds older than
        // this number.
        let see = ordering(Point::SeeInterval, Ordering::Acquire);
        let sequence = self.sequence.load(see);
        let bounds = [&self.start, &self.end].map(|bound| bound.load(Ordering::Relaxed));
        // Partner: the fence in `replace`. If a bound is newer than the number, the second load
        // returns another number.
        fence(Point::RecheckInterval, Ordering::Acquire);
        let is_one = sequence.is_multiple_of(2)
            && (!applies(Point::RecheckSequence)
                || self.sequence.load(Ordering::Relaxed) == sequence);
        is_one.then_some(bounds)
    }
}
