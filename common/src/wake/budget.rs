//! Limits what subscribers of other users can cost a publisher.
//!
//! Any user who may read a table of mode 0640 or 0644 may also write to its registry. Such a user
//! can claim at every commit that every slot is parked, each time under another nonce. The
//! publisher limits what it does about such claims:
//!
//! 1. It opens a sender only for a slot whose lock is held. A sender that could not be opened is
//!    not tried again for a while, unless the slot gets another owner.
//! 2. It opens at most [`OPENS_PER_SECOND`] senders and sends at most [`WAKE_UPS_PER_SECOND`]
//!    wake-ups. Unused allowance is saved, up to [`OPENS_AT_ONCE`] and [`WAKE_UPS_AT_ONCE`].
//! 3. A commit that exhausts the budget wakes some of the parked subscribers. The next commit or
//!    maintenance starts at the first slot that was left out, and also wakes subscribers that are
//!    still parked at earlier commits.
//!
//! A hostile user who holds every slot and drains every wake-up can take about half of the
//! publisher's time. Anything less costs a few nanoseconds per slot. A subscriber that is woken
//! late notices the commit at its next re-check.
//!
//! The registry of a table of mode 0600 needs no limit: only the publisher's own user can write to
//! it.

use crate::clock::monotonic_ns;

/// Wake-ups per second: at about two microseconds each, half of the publisher's time.
pub const WAKE_UPS_PER_SECOND: u64 = 250_000;
/// Maximum number of saved wake-ups: more than any registry has slots.
pub const WAKE_UPS_AT_ONCE: u64 = 100_000;
pub const OPENS_PER_SECOND: u64 = 5_000;
/// Maximum number of saved openings: 2,000 subscribers can register between two commits.
pub const OPENS_AT_ONCE: u64 = 2_000;

const _: () = assert!(WAKE_UPS_AT_ONCE > crate::protocol::layout::MAX_SLOTS as u64);

/// The wake-ups and openings that a publisher has left.
#[derive(Debug)]
pub struct Budget {
    is_limited: bool,
    now_ns: u64,
    wake_ups: Bucket,
    opens: Bucket,
    is_short: bool,
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    capacity: u64,
    /// Time in which the bucket gains a token.
    token_ns: u64,
    filled_ns: u64,
}

impl Bucket {
    fn full(capacity: u64, per_second: u64) -> Self {
        Self { tokens: capacity, capacity, token_ns: 1_000_000_000 / per_second, filled_ns: 0 }
    }

    fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.tokens = self.capacity.min(self.tokens + passed / self.token_ns);
        // The rest of the time is too short for a token and counts in the next call.
        self.filled_ns += passed - passed % self.token_ns;
    }
}

impl Budget {
    /// Returns a full budget, or an unlimited one if `is_limited` is false.
    pub fn new(is_limited: bool) -> Self {
        Self {
            is_limited,
            now_ns: 0,
            wake_ups: Bucket::full(WAKE_UPS_AT_ONCE, WAKE_UPS_PER_SECOND),
            opens: Bucket::full(OPENS_AT_ONCE, OPENS_PER_SECOND),
            is_short: false,
        }
    }

    /// Adds the allowance gained since the last call, before a round of wake-ups or openings.
    pub fn fill(&mut self) {
        self.fill_at(monotonic_ns());
    }

    fn fill_at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.wake_ups.fill(now_ns);
        self.opens.fill(now_ns);
    }

    /// Returns the time of the last [`fill`](Self::fill), or the current time if nothing is
    /// limited.
    pub fn now_ns(&self) -> u64 {
        if self.is_limited { self.now_ns } else { monotonic_ns() }
    }

    /// Takes a wake-up from the budget. Returns false if none is left.
    #[inline]
    pub fn take_wake_up(&mut self) -> bool {
        !self.is_limited || self.take(|budget| &mut budget.wake_ups)
    }

    /// Takes an opening from the budget. Returns false if none is left.
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
        if !std::mem::replace(&mut self.is_short, true) {
            tracing::trace!("wake-up budget exceeded: some subscribers are woken later");
        }
        false
    }

    /// Returns true if the budget was exceeded since the last
    /// [`forget_shortage`](Self::forget_shortage).
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Returns true if the budget was exceeded since the last call, so that the next round must also
    /// wake the subscribers that were left out.
    pub fn forget_shortage(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes wake-ups until none is left, and returns their number.
    fn taken(budget: &mut Budget) -> u64 {
        let mut wake_ups = 0;
        while budget.take_wake_up() {
            wake_ups += 1;
        }
        wake_ups
    }

    #[test]
    fn budget_saves_up_to_its_capacity_and_refills_at_its_rate() {
        let mut budget = Budget::new(true);
        budget.fill_at(100 * SECOND);
        assert_eq!(taken(&mut budget), WAKE_UPS_AT_ONCE);
        assert!(budget.forget_shortage());
        assert!(!budget.is_short());
        assert_eq!(taken(&mut budget), 0);
        budget.fill_at(100 * SECOND + SECOND / 10);
        assert_eq!(taken(&mut budget), WAKE_UPS_PER_SECOND / 10);
        budget.fill_at(200 * SECOND);
        assert_eq!(taken(&mut budget), WAKE_UPS_AT_ONCE);
        budget.fill_at(150 * SECOND);
        assert_eq!(taken(&mut budget), 0, "a clock that goes back adds nothing");
    }

    #[test]
    fn budget_gains_the_same_in_many_short_rounds_as_in_one_long_round() {
        let mut budget = Budget::new(true);
        budget.fill_at(SECOND);
        taken(&mut budget);
        let mut wake_ups = 0;
        for round in 1..=1_000_000 {
            budget.fill_at(SECOND + round * SECOND / 1_000_000);
            wake_ups += taken(&mut budget);
        }
        assert_eq!(wake_ups, WAKE_UPS_PER_SECOND);
    }

    #[test]
    fn openings_do_not_use_up_wake_ups() {
        let mut budget = Budget::new(true);
        let opened = (0..).take_while(|_| budget.take_open()).count();
        assert_eq!(opened as u64, OPENS_AT_ONCE);
        assert!(budget.is_short() && budget.take_wake_up());
    }

    #[test]
    fn budget_without_limits_is_never_short() {
        let mut budget = Budget::new(false);
        assert!((0..2 * WAKE_UPS_AT_ONCE).all(|_| budget.take_wake_up() && budget.take_open()));
        assert!(!budget.is_short());
    }
}
