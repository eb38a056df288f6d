//! Where a subscriber sleeps, and how it goes to sleep there.
//!
//! Whoever is called by name sits at a slot of the registry ([`WakeSlot`]); who sleeps on `commit` itself stands there
//! ([`FutexWaiter`]); who spins is nowhere. [`Sleep::Auto`] sits, and stands where that cannot be: no slot, no queue, or a
//! publisher that cannot open it. A kind that was chosen by name and cannot be had leaves the re-check, every 50 ms, and is tried
//! again every second.

use std::time::{Duration, Instant};

use super::event_set::Woken;
use super::untyped::UntypedSubscriber;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::protocol::sync::Ordering;
use crate::protocol::words::ReadOnlyWord;
use crate::wake::registry::{FutexWaiter, RegistryFile, WakeSlot};
use crate::wake::{Sleep, WaitThread, WakeKind, WakeReceiver, futex, spin};

/// The time after which a subscriber tries again to make what it could not be called by.
const RETRY: Duration = Duration::from_secs(1);

/// A place in the registry.
enum Place {
    WakeSlot(WakeSlot),
    FutexWaiter(FutexWaiter),
}

impl Place {
    fn registry(&self) -> &RegistryFile {
        match self {
            Self::WakeSlot(seat) => seat.registry(),
            Self::FutexWaiter(stand) => stand.registry(),
        }
    }

    fn receiver(&self) -> Option<&dyn WakeReceiver> {
        match self {
            Self::WakeSlot(seat) => seat.receiver(),
            Self::FutexWaiter(_) => None,
        }
    }

    /// Returns true if its subscriber will never be called there: somebody has overwritten its record, or there is nothing to be called
    /// by and another try `is_due`.
    fn is_lost(&self, is_due: bool) -> bool {
        match self {
            Self::WakeSlot(seat) => {
                (is_due && seat.receiver().is_none())
                    || seat.is_intact().is_ok_and(|intact| !intact)
            }
            Self::FutexWaiter(_) => false,
        }
    }

    fn park(&mut self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        match self {
            Self::WakeSlot(seat) => seat.park(commit, seen),
            Self::FutexWaiter(stand) => stand.park(commit, seen),
        }
    }

    fn unpark(&mut self) -> Result<()> {
        match self {
            Self::WakeSlot(seat) => seat.unpark(),
            Self::FutexWaiter(stand) => stand.unpark(),
        }
    }
}

/// What a subscriber sleeps in, and where.
pub(super) struct ParkState {
    /// None of one that never sleeps.
    sleep: Option<Sleep>,
    place: Option<Place>,
    /// Whether there was no place to be had at the last try.
    placeless: bool,
    /// Time of the next try to make what this subscriber is called by, in ns of CLOCK_MONOTONIC.
    retry_ns: u64,
    /// Whether it was told that it is not woken as it asked for.
    told: bool,
    /// Sleeps, or spins, in its place, if that has no descriptor and one was asked for.
    watcher: Option<WaitThread>,
}

impl ParkState {
    pub(super) fn new(kind: WakeKind) -> Self {
        Self {
            sleep: kind.sleep(),
            place: None,
            placeless: false,
            retry_ns: 0,
            told: false,
            watcher: None,
        }
    }

    /// Whether a refresh that finds nothing parks in any case: nobody knows when the program's own handler calls the next.
    pub(super) fn always_parks(&self) -> bool {
        matches!(self.sleep, Some(Sleep::Signal(_)))
    }

    /// Tells, once, that it is not woken as it asked for.
    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        if std::mem::replace(&mut self.told, true) {
            tracing::debug!("{what}");
        } else {
            tracing::warn!("{what}");
        }
    }
}

impl UntypedSubscriber {
    /// Whether a publisher can wake this subscriber, as far as is known.
    pub(super) fn is_wakeable(&self) -> bool {
        match &self.resting.place {
            Some(Place::FutexWaiter(_)) => true,
            Some(Place::WakeSlot(seat)) => {
                let has_descriptor = seat
                    .receiver()
                    .is_some_and(|receiver| receiver.descriptor().is_some());
                has_descriptor && self.refusal().is_none()
            }
            // Who spins needs none.
            None => self.resting.sleep.is_none() || !self.resting.placeless,
        }
    }

    /// The errno with which the publisher refused to open what this subscriber is called by.
    fn refusal(&self) -> Option<i32> {
        match &self.resting.place {
            Some(Place::WakeSlot(seat)) => {
                let answer = self.region.acknowledged(seat.slot(), seat.nonce());
                answer.filter(|errno| *errno != 0)
            }
            _ => None,
        }
    }

    /// Leaves a place at a registry that is not the publisher's any more or was overwritten, and one that had nothing to be called by at
    /// the last try. The next sleep takes another. What was to be had by `auto` and the publisher does not call is given up.
    pub(super) fn check_place(&mut self) {
        let registry_id = self.region.word(header::REGISTRY_ID);
        let place = self.resting.place.as_ref();
        let registry = place.map(Place::registry);
        let is_left =
            |registry: &RegistryFile| registry.id() != registry_id || !registry.has_name();
        let is_due = monotonic_ns() >= self.resting.retry_ns;
        if registry.is_some_and(is_left) || place.is_some_and(|place| place.is_lost(is_due)) {
            self.leave_place();
        } else if let Some(errno) = self.refusal() {
            let errno = std::io::Error::from_raw_os_error(errno);
            let reason = format!(
                "the publisher cannot open what it would be called by, maybe it is in another container: {errno}"
            );
            if self.resting.sleep == Some(Sleep::Auto) {
                self.sleep_on_commit(&reason);
            } else {
                let what = format_args!("woken by re-check only: {reason}");
                self.resting.tell(what);
            }
        }
    }

    /// From now on.
    fn sleep_on_commit(&mut self, reason: &dyn std::fmt::Display) {
        self.leave_place();
        self.resting.sleep = Some(Sleep::Futex);
        let what = format_args!("sleeps on the futex and in no message queue: {reason}");
        self.resting.tell(what);
    }

    /// Goes to sleep, if there still is no news.
    pub(super) fn park(&mut self) -> Result<bool> {
        self.have_place();
        let armed = *self.armed.get_mut();
        if armed {
            self.waiter.set_timer(self.until_check())?;
        }
        let commit = &self.region.words()[header::COMMIT];
        let parked = match &mut self.resting.place {
            Some(place) => place.park(commit, self.seen),
            None => Ok(commit.load(Ordering::Relaxed) == self.seen),
        };
        self.asleep = parked
            .and_then(|asleep| {
                if asleep && armed {
                    self.watch()?;
                }
                Ok(asleep)
            })
            .unwrap_or_else(|error| {
                self.go_without_place(&error);
                false
            });
        Ok(self.asleep)
    }

    /// Has another thread wait where there is no descriptor to wait on.
    fn watch(&mut self) -> Result<()> {
        let spins = self.resting.sleep.is_none();
        if !spins && !matches!(self.resting.place, Some(Place::FutexWaiter(_))) {
            return Ok(());
        }
        let watcher = match self.resting.watcher.take() {
            Some(watcher) if watcher.is_of(&self.region) => watcher,
            before => {
                if let Some(before) = &before {
                    self.waiter.forget_call(before);
                }
                drop(before);
                let watcher = WaitThread::start(&self.region, spins)?;
                self.waiter.add_call(&watcher, false)?;
                watcher
            }
        };
        watcher.park(self.seen);
        self.resting.watcher = Some(watcher);
        Ok(())
    }

    /// Says at the slot, if there is one, that its owner is awake.
    fn unpark(&mut self) {
        if let Some(place) = &mut self.resting.place
            && let Err(error) = place.unpark()
        {
            self.go_without_place(&error);
        }
    }

    /// Sleeps, if it may, at most for `time`, and is awake then.
    pub(super) fn awake_after(&mut self, time: Duration) -> Result<()> {
        if !std::mem::take(&mut self.asleep) {
            return Ok(());
        }
        let stands = matches!(self.resting.place, Some(Place::FutexWaiter(_)));
        let woken = if stands && !*self.armed.get_mut() {
            let half = self.region.commit_half();
            let called =
                !time.is_zero() && futex::sleep(half, self.seen, Some(time), futex::SLEEPER);
            Ok(Woken {
                called,
                died: false,
            })
        } else {
            self.waiter.sleep(time)
        };
        self.unpark();
        let woken = woken?;
        // Called, and no commit here: the news is a region that has taken the name, and whoever made it died
        // before it said so in this one.
        let called_elsewhere = woken.called && self.region.word(header::COMMIT) == self.seen;
        if woken.died || called_elsewhere {
            self.next_check_ns = 0;
        }
        Ok(())
    }

    /// Looks for a commit all the time, for as long as its kind says and at most until `deadline` or the next re-check; whether
    /// it may sleep then: there is none.
    pub(super) fn spin(&mut self, deadline: Option<Instant>) -> bool {
        self.have_place();
        let commit = &self.region.words()[header::COMMIT];
        let now = Instant::now();
        let time = self.settings.wake.spin().min(self.until_check());
        let until = now.checked_add(time).unwrap_or(now);
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        !spin::spin_until(commit, self.seen, until) && self.resting.sleep.is_some()
    }

    /// Gives the place back.
    fn leave_place(&mut self) {
        let place = self.resting.place.take();
        if let Some(descriptor) = place
            .as_ref()
            .and_then(Place::receiver)
            .and_then(WakeReceiver::descriptor)
        {
            self.waiter.forget_call(descriptor);
        }
    }

    /// Goes on by re-check until there is a place again.
    fn go_without_place(&mut self, error: &Error) {
        tracing::warn!("woken by re-check only: {error}");
        self.leave_place();
        self.resting.placeless = true;
        self.set_next_check();
    }

    /// Takes a place at the publisher's registry, unless it has one. Without one the re-check must do.
    fn have_place(&mut self) {
        if self.resting.place.is_some() {
            return;
        }
        if self.resting.sleep == Some(Sleep::Auto)
            && let Err(error) = self.take_seat(Sleep::Queue)
        {
            self.sleep_on_commit(&error);
        }
        let taken = match self.resting.sleep {
            None | Some(Sleep::Futex) => self.take_stand(),
            Some(Sleep::Auto) => Ok(()),
            Some(sleep) => self.take_seat(sleep),
        };
        if let (Err(error), Some(_)) = (taken, self.resting.sleep) {
            let what = format_args!("woken by re-check only: {error}");
            self.resting.tell(what);
        }
        let first_refusal = !self.resting.placeless;
        self.resting.placeless = self.resting.place.is_none();
        if first_refusal || !self.resting.placeless {
            self.set_next_check();
        }
    }

    fn take_stand(&mut self) -> Result<()> {
        let (owner, trust_root) = self.settings.trust();
        let id = self.region.word(header::REGISTRY_ID);
        let sleep = self.resting.sleep;
        self.resting.place =
            FutexWaiter::take(id, owner, trust_root, sleep)?.map(Place::FutexWaiter);
        Ok(())
    }

    /// Claims a slot. After an error there may be one all the same, without anything to be called by.
    fn take_seat(&mut self, sleep: Sleep) -> Result<()> {
        let (owner, trust_root) = self.settings.trust();
        let id = self.region.word(header::REGISTRY_ID);
        let Some(mut seat) = WakeSlot::claim(id, owner, trust_root)? else {
            return Ok(());
        };
        let made = seat.create_receiver(sleep, self.settings.wake_at.as_deref());
        if matches!(made, Ok(false)) {
            return Ok(());
        }
        if let Some((receiver, descriptor)) = seat
            .receiver()
            .and_then(|receiver| Some((receiver, receiver.descriptor()?)))
        {
            self.waiter
                .add_call(descriptor, receiver.keeps_wake_ups())?;
        }
        self.resting.place = Some(Place::WakeSlot(seat));
        self.resting.retry_ns = monotonic_ns() + RETRY.as_nanos() as u64;
        made.map(drop)
    }
}
