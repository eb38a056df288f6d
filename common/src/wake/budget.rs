//! A limit on what subscribers of other users can cost a publisher.
//!
//! Whoever may read a table of mode 0640 or 0644 may write to its registry, and can claim at every commit that every slot sleeps,
//! each time under another name. So the publisher limits what it does about such claims:
//!
//! 1. It opens the other end of a call only to a slot that somebody holds the lock of. An end that was refused is not tried again
//!    for a while, unless the slot has another owner.
//! 2. It opens at most [`OPENS_PER_SECOND`] ends, and makes at most [`CALLS_PER_SECOND`] calls. What is not used is saved, up to
//!    [`OPENS_AT_ONCE`] and [`CALLS_AT_ONCE`].
//! 3. A commit for which that is not enough calls some of its sleepers. The next commit, or the next maintenance, begins with the first one
//!    that was left out, and also calls those who still sleep at earlier commits.
//!
//! A neighbour who holds every slot and takes out every call looks like as many subscribers, and can cost about half of the publisher's
//! time; anything less costs some nanoseconds a slot. A subscriber that is called late looks by itself after its re-check, as for any
//! lost call.
//!
//! The registry of a table of mode 0600 needs no limit: only the publisher's own user can write to it.

use std::time::Duration;

use crate::clock::monotonic_ns;

/// The number of calls in a second: at about two microseconds each, half of the publisher's time.
pub const CALLS_PER_SECOND: u64 = 250_000;
/// The number of calls that can be saved up: more than any registry has slots.
pub const CALLS_AT_ONCE: u64 = 100_000;
/// The number of ends that are opened in a second.
pub const OPENS_PER_SECOND: u64 = 5_000;
/// The number of ends that can be saved up: 2,000 subscribers can register between two commits.
pub const OPENS_AT_ONCE: u64 = 2_000;

/// A shortage that comes after this time without any is logged again.
const STREAK: Duration = Duration::from_secs(10);

const _: () = assert!(CALLS_AT_ONCE > crate::layout::MAX_SLOTS as u64);

/// The calls and openings that a publisher has left.
#[derive(Debug)]
pub struct Budget {
    is_limited: bool,
    now_ns: u64,
    calls: Bucket,
    opens: Bucket,
    is_short: bool,
    /// The last time at which it was short.
    short_ns: Option<u64>,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u64,
    most: u64,
    /// The time in which it gains a token.
    token_ns: u64,
    filled_ns: u64,
}

impl Bucket {
    fn full(most: u64, per_second: u64) -> Self {
        Self {
            tokens: most,
            most,
            token_ns: 1_000_000_000 / per_second,
            filled_ns: 0,
        }
    }

    fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.tokens = self.most.min(self.tokens + passed / self.token_ns);
        // Time that is too short for a token counts the next time.
        self.filled_ns += passed - passed % self.token_ns;
    }
}

impl Budget {
    /// A full budget, or one without limits.
    pub fn new(is_limited: bool) -> Self {
        Self {
            is_limited,
            now_ns: 0,
            calls: Bucket::full(CALLS_AT_ONCE, CALLS_PER_SECOND),
            opens: Bucket::full(OPENS_AT_ONCE, OPENS_PER_SECOND),
            is_short: false,
            short_ns: None,
        }
    }

    /// Adds what was gained up to now, before a round of calls or openings.
    pub fn fill(&mut self) {
        self.fill_at(monotonic_ns());
    }

    fn fill_at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.calls.fill(now_ns);
        self.opens.fill(now_ns);
    }

    /// The time of the last [`fill`](Self::fill), or now where nothing is limited.
    pub fn now_ns(&self) -> u64 {
        match self.is_limited {
            true => self.now_ns,
            false => monotonic_ns(),
        }
    }

    /// Takes a call from the budget. Returns false if there is none left.
    #[inline]
    pub fn take_call(&mut self) -> bool {
        !self.is_limited || self.take(|budget| &mut budget.calls)
    }

    /// Takes an opening from the budget. Returns false if there is none left.
    pub fn take_open(&mut self) -> bool {
        !self.is_limited || self.take(|budget| &mut budget.opens)
    }

    #[inline]
    fn take(&mut self, bucket: impl FnOnce(&mut Self) -> &mut Bucket) -> bool {
        let tokens = &mut bucket(self).tokens;
        if let Some(left) = tokens.checked_sub(1) {
            *tokens = left;
            return true;
        }
        self.fall_short();
        false
    }

    /// Returns true if there was less than was wanted since the last [`forget_shortage`](Self::forget_shortage).
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Begins a round that makes up for the one before. Returns true if there was less than that wanted.
    pub fn forget_shortage(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }

    #[cold]
    fn fall_short(&mut self) {
        self.is_short = true;
        let last = self.short_ns.replace(self.now_ns);
        let streak = STREAK.as_nanos() as u64;
        if last.is_none_or(|last| self.now_ns.saturating_sub(last) > streak) {
            tracing::debug!(
                "subscribers ask for more than {CALLS_PER_SECOND} wake-ups or {OPENS_PER_SECOND} openings a second: \
                 some wait for the next commit or their re-check"
            );
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes calls until there are no more, and returns how many there were.
    fn taken(budget: &mut Budget) -> u64 {
        let mut calls = 0;
        while budget.take_call() {
            calls += 1;
        }
        calls
    }

    #[test]
    fn budget_saves_calls_at_once_and_gains_calls_per_second() {
        let mut budget = Budget::new(true);
        budget.fill_at(100 * SECOND);
        assert_eq!(taken(&mut budget), CALLS_AT_ONCE);
        assert!(budget.forget_shortage());
        assert!(!budget.is_short());
        assert_eq!(taken(&mut budget), 0);
        budget.fill_at(100 * SECOND + SECOND / 10);
        assert_eq!(taken(&mut budget), CALLS_PER_SECOND / 10);
        budget.fill_at(200 * SECOND);
        assert_eq!(taken(&mut budget), CALLS_AT_ONCE);
        budget.fill_at(150 * SECOND);
        assert_eq!(taken(&mut budget), 0, "a clock that goes back adds nothing");
    }

    #[test]
    fn budget_gains_as_much_in_many_short_rounds_as_in_a_long_one() {
        let mut budget = Budget::new(true);
        budget.fill_at(SECOND);
        taken(&mut budget);
        let mut calls = 0;
        for round in 1..=1_000_000 {
            budget.fill_at(SECOND + round * SECOND / 1_000_000);
            calls += taken(&mut budget);
        }
        assert_eq!(calls, CALLS_PER_SECOND);
    }

    #[test]
    fn openings_leave_calls_alone() {
        let mut budget = Budget::new(true);
        let opened = (0..).take_while(|_| budget.take_open()).count();
        assert_eq!(opened as u64, OPENS_AT_ONCE);
        assert!(budget.is_short() && budget.take_call());
    }

    #[test]
    fn budget_without_limits_is_never_short() {
        let mut budget = Budget::new(false);
        assert!((0..2 * CALLS_AT_ONCE).all(|_| budget.take_call() && budget.take_open()));
        assert!(!budget.is_short());
    }
}
