//! The publisher's ends, by slot: opened once a subscriber, closed when it left.

use nix::errno::Errno;

use super::words::kind_of;
use super::{Address, Caller};
use crate::clock::monotonic_ns;

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
    /// The open end of the subscriber `nonce` at `slot`. If there is none it is opened at the `address` that its record
    /// says, and `answer` is called with the outcome: 0 or an errno.
    #[inline]
    pub fn open(
        &mut self,
        slot: usize,
        nonce: u64,
        address: impl FnOnce() -> nix::Result<Address>,
        answer: impl FnOnce(i32),
    ) -> Option<&Caller> {
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, Line::default);
        }
        let line = &mut self.by_slot[slot];
        if line.nonce != nonce {
            // Not the time of the last refusal: whoever writes new nonces all the time costs no more.
            (line.nonce, line.caller) = (nonce, None);
        }
        if line.caller.is_none() {
            line.open(slot, address, answer);
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
        address: impl FnOnce() -> nix::Result<Address>,
        answer: impl FnOnce(i32),
    ) {
        if monotonic_ns() < self.retry_ns {
            return;
        }
        let address = address();
        let told = match &address {
            Ok(address) => format!("by {}, {}", kind_of(address.word()), address.object()),
            Err(_) => "as its record says".to_owned(),
        };
        match address.and_then(|address| Caller::open(&address)) {
            Ok(caller) => {
                tracing::info!("the subscriber at slot {slot} is woken {told}");
                self.caller = Some(caller);
                answer(0);
            }
            // Its owner is about to make it.
            Err(Errno::EAGAIN) => {}
            Err(errno) => {
                self.retry_ns = monotonic_ns() + REOPEN_NS;
                tracing::debug!("the subscriber at slot {slot} cannot be woken {told}: {errno}");
                answer(errno as i32);
            }
        }
    }
}
