//! The publisher's ends, by slot: opened once for each subscriber, closed when the subscriber has left.

use nix::errno::Errno;

use super::budget::Budget;
use super::words::kind_of;
use super::{Address, Caller};

/// What could not be opened is tried again after this time at the earliest.
const REOPEN_NS: u64 = 100_000_000;

/// All that are open.
#[derive(Default)]
pub struct Callers {
    by_slot: Vec<Line>,
}

#[derive(Default)]
struct Line {
    nonce: u64,
    caller: Option<Caller>,
    retry_ns: u64,
}

impl Callers {
    /// Returns the open end of the subscriber `nonce` at `slot`. If there is none, opens it at the `address` that the slot's record
    /// names, as far as `budget` allows, and calls `answer` with the outcome: 0 or an errno.
    #[inline]
    pub fn open(
        &mut self,
        slot: usize,
        nonce: u64,
        budget: &mut Budget,
        address: impl FnOnce() -> nix::Result<Address>,
        answer: impl FnOnce(i32),
    ) -> Option<&Caller> {
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, Line::default);
        }
        let line = &mut self.by_slot[slot];
        if line.nonce != nonce {
            // Also without the time of the last refusal, which was another subscriber's.
            *line = Line {
                nonce,
                ..Line::default()
            };
        }
        if line.caller.is_none() {
            line.open(slot, budget, address, answer);
        }
        line.caller.as_ref()
    }

    /// Closes the end of whoever left `slot`.
    pub fn close(&mut self, slot: usize) {
        if let Some(line) = self.by_slot.get_mut(slot) {
            *line = Line::default();
        }
    }
}

impl Line {
    #[cold]
    fn open(
        &mut self,
        slot: usize,
        budget: &mut Budget,
        address: impl FnOnce() -> nix::Result<Address>,
        answer: impl FnOnce(i32),
    ) {
        if budget.now_ns() < self.retry_ns || !budget.take_open() {
            return;
        }
        let address = address();
        let opened = match &address {
            Ok(address) => Caller::open(address),
            Err(errno) => Err(*errno),
        };
        let target = || match &address {
            Ok(address) => format!("by {}, {}", kind_of(address.word()), address.object()),
            Err(_) => "as its record says".to_owned(),
        };
        match opened {
            Ok(caller) => {
                tracing::info!("the subscriber at slot {slot} is woken {}", target());
                self.caller = Some(caller);
                answer(0);
            }
            // The subscriber has not made its end yet.
            Err(Errno::EAGAIN) => {}
            Err(errno) => {
                self.retry_ns = budget.now_ns() + REOPEN_NS;
                tracing::debug!(
                    "the subscriber at slot {slot} cannot be woken {}: {errno}",
                    target()
                );
                answer(errno as i32);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::budget::OPENS_AT_ONCE;
    use super::*;

    #[test]
    fn subscriber_is_answered_although_the_one_before_at_its_slot_was_refused() {
        let mut callers = Callers::default();
        let mut budget = Budget::new(true);
        let mut answered = |nonce, address| {
            let mut answer = None;
            callers.open(
                0,
                nonce,
                &mut budget,
                || address,
                |errno| answer = Some(errno),
            );
            answer
        };
        let refused = Err(Errno::EINVAL);
        assert_eq!(answered(7, refused.clone()), Some(Errno::EINVAL as i32));
        assert_eq!(answered(7, refused), None, "not tried again at once");
        assert_eq!(answered(8, Ok(Address::Commit)), Some(0));
    }

    #[test]
    fn new_names_at_every_slot_open_no_more_than_the_budget_allows() {
        let (mut callers, mut budget) = (Callers::default(), Budget::new(true));
        let mut opened = 0;
        for nonce in 1..=100 {
            for slot in 0..1000 {
                callers.open(
                    slot,
                    nonce,
                    &mut budget,
                    || Ok(Address::Commit),
                    |_| opened += 1,
                );
            }
        }
        assert_eq!(opened, OPENS_AT_ONCE);
    }
}
