//! An interval of addresses that a signal handler looks at while another thread may be replacing it.
//!
//! 1. The owner replaces it: `sequence` becomes odd, a release fence, `start` and `end`, `sequence` becomes the next even number
//!    (release).
//! 2. The handler looks: `sequence` (acquire), which must be even, `start` and `end`, an acquire fence, `sequence` again.
//!
//! Both loads of `sequence` give the same number only if `start` and `end` belong to one interval: if either is of a later one, the
//! fences make the second look see at least that one's odd number. The number never comes again, so comparing it is enough, which
//! comparing `end` would not be.
//!
//! The handler does not try again: an interval that is being replaced belongs to no memory that anybody may access, and so
//! not to the access that it is to explain. Two threads must not replace the same interval at the same time.

use crate::sync::{AtomicU64, Ordering, Point, applies, fence, ordering};

/// An interval of addresses, empty at first.
pub struct Interval {
    /// Twice the number of replacements; odd during a replacement.
    sequence: AtomicU64,
    start: AtomicU64,
    /// The address after its last one.
    end: AtomicU64,
}

impl Interval {
    /// An empty interval.
    pub fn empty() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
        }
    }

    /// Replaces the interval. A thread that finds an address in it also sees everything that the owner stored before.
    pub fn replace(&self, start: u64, end: u64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // Partner: the fence in `bounds`. A look that loads one of the stores below sees the odd number.
        fence(Point::HideInterval, Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        // Partner: the first load in `bounds`. A look that loads this number loads neither bound of an earlier interval.
        let publish = ordering(Point::PublishInterval, Ordering::Release);
        self.sequence.store(sequence + 2, publish);
    }

    /// Returns true if `address` is in the interval. False while it is being replaced.
    pub fn contains(&self, address: u64) -> bool {
        self.bounds()
            .is_some_and(|[start, end]| (start..end).contains(&address))
    }

    /// Returns start and end of one interval. None while it is being replaced.
    pub(crate) fn bounds(&self) -> Option<[u64; 2]> {
        // Partner: the last store in `replace`. Bounds older than this number are not loaded.
        let see = ordering(Point::SeeInterval, Ordering::Acquire);
        let sequence = self.sequence.load(see);
        let bounds = [&self.start, &self.end].map(|bound| bound.load(Ordering::Relaxed));
        // Partner: the fence in `replace`. If a bound is newer than the number, the second look sees another number.
        fence(Point::RecheckInterval, Ordering::Acquire);
        let is_one = sequence.is_multiple_of(2)
            && (!applies(Point::RecheckSequence)
                || self.sequence.load(Ordering::Relaxed) == sequence);
        is_one.then_some(bounds)
    }
}
