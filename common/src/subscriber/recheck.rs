//! What a subscriber sees to beside its rows: whose the name is, whether the publisher lives, going to sleep.

use std::os::fd::AsFd;
use std::time::Duration;

use super::PublisherState;
use super::untyped::{UntypedSubscriber, copied};
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::layout::{State, header};
use crate::region::Region;
use crate::registry::Seat;
use crate::sync::Ordering;

/// The re-check of a subscriber that nobody can wake: no slot, no queue, or a publisher that cannot open it.
const UNWOKEN_RECHECK: Duration = Duration::from_millis(50);

impl UntypedSubscriber {
    /// The re-check: whose the name is, whether the publisher lives, whether the registry is the publisher's.
    pub(super) fn check(&mut self) -> Result<()> {
        self.set_next_check();
        if !self.region.has_name() {
            if !self.changes.items.is_empty() {
                // These are told first. The next refresh moves on.
                self.next_check_ns = 0;
                return Ok(());
            }
            if let Some(region) = self.settings.region(&self.name)? {
                self.move_to(region)?;
            }
        }
        self.observe()?;
        let registry_id = self.region.word(header::REGISTRY_ID);
        if self
            .seat
            .as_ref()
            .is_some_and(|seat| seat.registry_id() != registry_id || !seat.has_name())
        {
            self.leave_seat();
        }
        self.set_next_check();
        Ok(())
    }

    /// The re-check, but where there are changes to be told an error waits for the next one.
    pub(super) fn check_or_later(&mut self) -> Result<()> {
        match self.check() {
            Err(error) if !self.changes.items.is_empty() => {
                tracing::debug!("to be looked at again: {error}");
                self.next_check_ns = 0;
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn set_next_check(&mut self) {
        let interval = if self.is_wakeable() {
            self.settings.recheck
        } else {
            self.settings.recheck.min(UNWOKEN_RECHECK)
        };
        self.next_check_ns =
            monotonic_ns().saturating_add(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How long it is until the next re-check.
    pub(super) fn until_check(&self) -> Duration {
        Duration::from_nanos(self.next_check_ns.saturating_sub(monotonic_ns()))
    }

    /// Whether a publisher can wake this subscriber, as far as is known.
    fn is_wakeable(&self) -> bool {
        self.seat.as_ref().map_or(!self.seatless, |seat| {
            let answer = self.region.acknowledged(seat.slot(), seat.nonce());
            seat.queue().is_some() && answer.is_none_or(|errno| errno == 0)
        })
    }

    /// Looks at state, epoch and lock.
    pub(super) fn observe(&mut self) -> Result<()> {
        self.known = self.state_words();
        self.region.check_whole()?;
        let [state, epoch, _] = self.known;
        let state = match State::from_word(state) {
            Some(State::Closed) => PublisherState::Closed { epoch },
            Some(State::Running) if self.region.has_publisher()? => PublisherState::Alive {
                epoch,
                pid: self.region.publisher().pid,
            },
            Some(State::Running | State::Superseded) => PublisherState::Gone { epoch },
            None => {
                return Err(self
                    .region
                    .corrupt("its publisher is in no state that there is".to_owned()));
            }
        };
        if state != self.state {
            self.state = state;
            self.publisher_changed = true;
            let alive = matches!(state, PublisherState::Alive { .. });
            self.waiter
                .watch_publisher(alive.then(|| self.region.publisher()))?;
        }
        Ok(())
    }

    /// Goes on with another region of the same name, and tells true differences only.
    fn move_to(&mut self, region: Region) -> Result<()> {
        let (version, copy) = copied(&self.name, &self.settings, &region)?;
        self.copy.differences(&copy, &mut self.changes);
        (self.region, self.copy, self.version) = (region, copy, version);
        self.note_delay();
        Ok(())
    }

    /// Goes to sleep, if there still is no news.
    pub(super) fn park(&mut self) -> Result<bool> {
        if self.seat.is_none() {
            self.claim_seat();
        }
        if *self.armed.get_mut() {
            self.waiter.set_timer(self.until_check())?;
        }
        let commit = &self.region.words()[header::COMMIT];
        self.asleep = match self.seat.as_mut().map(|seat| seat.park(commit, self.seen)) {
            Some(Ok(asleep)) => asleep,
            Some(Err(error)) => {
                self.go_without_seat(&error);
                false
            }
            None => commit.load(Ordering::Relaxed) == self.seen,
        };
        Ok(self.asleep)
    }

    /// Says at the slot, if there is one, that its owner is awake.
    pub(super) fn unpark(&mut self) {
        if let Some(Err(error)) = self.seat.as_mut().map(Seat::unpark) {
            self.go_without_seat(&error);
        }
    }

    /// Gives the slot back.
    fn leave_seat(&mut self) {
        if let Some(queue) = self.seat.as_ref().and_then(Seat::queue) {
            self.waiter.forget_queue(queue.as_fd());
        }
        self.seat = None;
    }

    /// Goes on by re-check until there is a slot again.
    fn go_without_seat(&mut self, error: &Error) {
        tracing::warn!("woken by re-check only: {error}");
        self.leave_seat();
        self.seatless = true;
        self.set_next_check();
    }

    /// Claims a slot at the publisher's registry. Without one the re-check must do.
    fn claim_seat(&mut self) {
        let id = self.region.word(header::REGISTRY_ID);
        let (owner, trust_root) = self.settings.trust();
        let first_refusal = !self.seatless;
        let seat = self
            .region
            .access()
            .and_then(|access| Seat::claim(id, owner, trust_root, access))
            .and_then(|seat| {
                if let Some(queue) = seat.as_ref().and_then(Seat::queue) {
                    self.waiter.add_queue(queue.as_fd())?;
                }
                Ok(seat)
            });
        match seat {
            Ok(seat) => self.seat = seat,
            Err(error) if first_refusal => tracing::warn!("woken by re-check only: {error}"),
            Err(error) => tracing::debug!("still woken by re-check only: {error}"),
        }
        self.seatless = self.seat.is_none();
        if first_refusal || !self.seatless {
            self.set_next_check();
        }
    }
}
