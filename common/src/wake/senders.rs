//! The publisher's wake senders by slot: opened once per subscriber, closed when the subscriber
//! leaves.

use nix::errno::Errno;

use super::budget::Budget;
use super::{WakeSender, WakeTarget};

/// Minimum time before a sender that could not be opened is tried again.
const REOPEN_NS: u64 = 100_000_000;

#[derive(Default)]
pub struct WakeSenders {
    by_slot: Vec<SlotSender>,
}

#[derive(Default)]
struct SlotSender {
    nonce: u64,
    sender: Option<WakeSender>,
    retry_ns: u64,
}

impl WakeSenders {
    /// Returns the sender for the subscriber `nonce` at `slot`. If it is not open, opens it at the
    /// `target` from the slot's record, as far as `budget` allows, and calls `answer` with the
    /// outcome: 0 or an errno.
    #[inline]
    pub fn open(
        &mut self,
        slot: usize,
        nonce: u64,
        budget: &mut Budget,
        target: impl FnOnce() -> nix::Result<WakeTarget>,
        answer: impl FnOnce(i32),
    ) -> Option<&WakeSender> {
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, SlotSender::default);
        }
        let entry = &mut self.by_slot[slot];
        if entry.nonce != nonce {
            // Also clears the retry time, which belongs to the previous subscriber.
            *entry = SlotSender { nonce, ..SlotSender::default() };
        }
        if entry.sender.is_none() {
            entry.open(slot, budget, target, answer);
        }
        entry.sender.as_ref()
    }

    /// Closes the sender of the subscriber that left `slot`.
    pub fn close(&mut self, slot: usize) {
        self.by_slot.get_mut(slot).map(std::mem::take);
    }
}

impl SlotSender {
    #[cold]
    fn open(
        &mut self,
        slot: usize,
        budget: &mut Budget,
        target: impl FnOnce() -> nix::Result<WakeTarget>,
        answer: impl FnOnce(i32),
    ) {
        if budget.now_ns() < self.retry_ns || !budget.take_open() {
            return;
        }
        let target = target();
        let shown = || match &target {
            Ok(target) => format!("by {}, {}", target.mechanism.name, target.object()),
            Err(_) => "at the target in its record".to_owned(),
        };
        match target.as_ref().map_err(|errno| *errno).and_then(WakeTarget::open) {
            Ok(sender) => {
                tracing::info!("the subscriber at slot {slot} is woken {}", shown());
                self.sender = Some(sender);
                answer(0);
            }
            // The subscriber has not created its receiver yet.
            Err(Errno::EAGAIN) => {}
            Err(errno) => {
                self.retry_ns = budget.now_ns() + REOPEN_NS;
                tracing::debug!("cannot wake the subscriber at slot {slot} {}: {errno}", shown());
                answer(errno as i32);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wake::Sleep;
    use crate::wake::budget::OPENS_AT_ONCE;

    fn futex() -> WakeTarget {
        WakeTarget::new(Some(Sleep::Futex), None, "").unwrap()
    }

    #[test]
    fn subscriber_is_answered_after_its_slots_previous_owner_was_refused() {
        let mut senders = WakeSenders::default();
        let mut budget = Budget::new(true);
        let mut answered = |nonce, target| {
            let mut answer = None;
            senders.open(0, nonce, &mut budget, || target, |errno| answer = Some(errno));
            answer
        };
        let refused = Err(Errno::EINVAL);
        assert_eq!(answered(7, refused.clone()), Some(Errno::EINVAL as i32));
        assert_eq!(answered(7, refused), None, "not tried again at once");
        assert_eq!(answered(8, Ok(futex())), Some(0));
    }

    #[test]
    fn new_nonces_at_every_slot_open_no_more_senders_than_the_budget_allows() {
        let (mut senders, mut budget) = (WakeSenders::default(), Budget::new(true));
        let mut opened = 0;
        for nonce in 1..=100 {
            for slot in 0..1000 {
                senders.open(slot, nonce, &mut budget, || Ok(futex()), |_| opened += 1);
            }
        }
        assert_eq!(opened, OPENS_AT_ONCE);
    }
}
