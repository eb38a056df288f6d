//! The publisher's wake senders by slot: opened once per subscriber, closed when the subscriber
//! leaves.

use nix::errno::Errno;

use super::budget::Budget;
use super::words::kind_of;
use super::{WakeSender, WakeTarget};

/// Minimum time before a sender that could not be opened is tried again.
const REOPEN_NS: u64 = 100_000_000;

/// All open senders.
#[derive(Default)]
pub struct WakeSenders {
    by_slot: Vec<Line>,
}

#[derive(Default)]
struct Line {
    nonce: u64,
    caller: Option<WakeSender>,
    retry_ns: u64,
}

impl WakeSenders {
    /// Returns the sender for the subscriber `nonce` at `slot`. If it is not open, opens it at the
    /// `address` from the slot's record, as far as `budget` allows, and calls `answer` with the
    /// outcome: 0 or an errno.
    #[inline]
    pub fn open(
        &mut self,
        slot: usize,
        nonce: u64,
        budget: &mut Budget,
        address: impl FnOnce() -> nix::Result<WakeTarget>,
        answer: impl FnOnce(i32),
    ) -> Option<&WakeSender> {
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, Line::default);
        }
        let line = &mut self.by_slot[slot];
        if line.nonce != nonce {
            // Also clears the retry time, which belongs to the previous subscriber.
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

    /// Closes the sender of the subscriber that left `slot`.
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
        address: impl FnOnce() -> nix::Result<WakeTarget>,
        answer: impl FnOnce(i32),
    ) {
        if budget.now_ns() < self.retry_ns || !budget.take_open() {
            return;
        }
        let address = address();
        let opened = match &address {
            Ok(address) => WakeSender::open(address),
            Err(errno) => Err(*errno),
        };
        let target = || match &address {
            Ok(address) => format!("by {}, {}", kind_of(address.word()), address.object()),
            Err(_) => "at the address in its record".to_owned(),
        };
        match opened {
            Ok(caller) => {
                tracing::info!("the subscriber at slot {slot} is woken {}", target());
                self.caller = Some(caller);
                answer(0);
            }
            // The subscriber has not created its receiver yet.
            Err(Errno::EAGAIN) => {}
            Err(errno) => {
                self.retry_ns = budget.now_ns() + REOPEN_NS;
                tracing::debug!(
                    "cannot wake the subscriber at slot {slot} {}: {errno}",
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
    fn subscriber_is_answered_after_its_slots_previous_owner_was_refused() {
        let mut callers = WakeSenders::default();
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
        assert_eq!(answered(8, Ok(WakeTarget::Futex)), Some(0));
    }

    #[test]
    fn new_nonces_at_every_slot_open_no_more_senders_than_the_budget_allows() {
        let (mut callers, mut budget) = (WakeSenders::default(), Budget::new(true));
        let mut opened = 0;
        for nonce in 1..=100 {
            for slot in 0..1000 {
                callers.open(
                    slot,
                    nonce,
                    &mut budget,
                    || Ok(WakeTarget::Futex),
                    |_| opened += 1,
                );
            }
        }
        assert_eq!(opened, OPENS_AT_ONCE);
    }
}
