//! Parking: how a subscriber sleeps, and how the publisher knows whom to wake.
//!
//! 1. The subscriber joins the publisher's registry ([`RegistryEntry`]). A subscriber that is woken
//!    individually claims a slot there, with a wake receiver. A subscriber that sleeps on the
//!    commit word needs no slot. A subscriber that only spins also joins, so that
//!    [`inspect`](crate::inspect()) lists it.
//! 2. It parks at a version: it announces that version and then loads `commit` again. If there is a
//!    later commit, it does not sleep.
//! 3. It sleeps until a wake-up, another event of its [`EventSet`], or a timeout, and unparks.
//!
//! [`Sleep::Auto`] claims a slot with a message queue. It falls back to the futex if all slots are
//! taken, or if the subscriber cannot create the queue or the publisher cannot open it. If a kind
//! that was selected explicitly is not available, the subscriber re-checks every 50 ms and tries
//! again every second.
//!
//! This file makes no decision about the table. Its functions return a [`ParkEvent`], and the
//! refresh reacts to it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::event_set::{EventSet, Interrupter, Woken};
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::protocol::layout::header;
use crate::protocol::sync::Ordering;
use crate::region::ReaderRegion;
use crate::region::object::trusted_users;
use crate::wake::registry::RegistryEntry;
use crate::wake::{Sleep, WaitThread, WakeKind, WakeReceiver, futex, signal, spin};

/// Interval at which a subscriber without a wake receiver tries again to create one.
const RETRY: Duration = Duration::from_secs(1);

/// The result of joining the registry, parking, or sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the refresh reacts to it"]
pub(super) enum ParkEvent {
    /// The subscriber is awake, and nothing else happened.
    Awake,
    Parked,
    /// The publisher can now wake the subscriber, or cannot any more. The re-check interval depends
    /// on this.
    WakeabilityChanged,
    /// The publisher died or may have been replaced: the re-check is due.
    CheckDue,
}

/// The parking of a subscriber: its entry in the registry, its events, and the version at which it
/// is parked.
pub(super) struct ParkState {
    /// User whose registry is trusted; `None` to trust this process's user and root.
    owner: Option<u32>,
    kind: WakeKind,
    /// Directory or path of the wake receiver, if the user named one.
    place: Option<PathBuf>,
    /// The kind of sleep in use; `None` for a subscriber that only spins.
    sleep: Option<Sleep>,
    entry: Option<RegistryEntry>,
    /// True if the last attempt to join the registry failed.
    join_failed: bool,
    /// Time of the next attempt to create a wake receiver, in ns of CLOCK_MONOTONIC.
    retry_ns: u64,
    /// True if a warning was logged that wake-ups do not work as requested.
    has_warned: bool,
    events: EventSet,
    /// The publisher whose death will be an event from the next attempt to park on. Watching it
    /// takes as long as opening the table, and a subscriber may never sleep.
    unwatched: Option<Identity>,
    /// A thread that waits in place of the subscriber, if the subscriber's descriptor was
    /// requested but its kind of sleep has no descriptor.
    thread: Option<WaitThread>,
    /// True if somebody may wait for the descriptor. Then each refresh that finds no news parks.
    armed: AtomicBool,
    parked: Option<u64>,
    /// True if a refresh has unparked the subscriber because of a commit, without looking for other
    /// events.
    events_pending: bool,
}

impl ParkState {
    /// Returns the state of a subscriber that has not joined a registry yet. `object` names the
    /// table in errors.
    pub(super) fn new(
        object: &str,
        owner: Option<u32>,
        kind: WakeKind,
        place: Option<PathBuf>,
    ) -> Result<Self> {
        Ok(Self {
            owner,
            kind,
            place,
            sleep: kind.sleep(),
            entry: None,
            join_failed: false,
            retry_ns: 0,
            has_warned: false,
            events: EventSet::new(object)?,
            unwatched: None,
            thread: None,
            armed: AtomicBool::new(false),
            parked: None,
            events_pending: false,
        })
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Returns true if a refresh that finds no news must park: the descriptor was requested, or
    /// signals arrive in the program's own handler.
    #[inline]
    pub(super) fn parks_after_refresh(&mut self) -> bool {
        *self.armed.get_mut() || matches!(self.sleep, Some(Sleep::Signal(_)))
    }

    /// Returns true if the publisher can wake this subscriber, as far as the subscriber knows.
    pub(super) fn is_wakeable(&self, region: &ReaderRegion) -> bool {
        match &self.entry {
            Some(entry) if !entry.is_woken_individually() => true,
            Some(entry) => {
                let receiver = entry.receiver();
                receiver.is_some_and(|receiver| receiver.descriptor().is_some())
                    && entry.refusal(region).is_none()
            }
            // A subscriber that spins needs no wake-ups.
            None => self.sleep.is_none() || !self.join_failed,
        }
    }

    /// Returns how long the subscriber spins before it parks.
    pub(super) fn spin_time(&self) -> Duration {
        self.kind.spin()
    }

    /// Polls `commit` until it differs from `version` or `until` is reached. Returns true if it
    /// found no commit and the subscriber may park.
    pub(super) fn spin(&self, region: &ReaderRegion, version: u64, until: Instant) -> bool {
        let commit = &region.words()[header::COMMIT];
        !spin::spin(commit, version, || Instant::now() >= until) && self.sleep.is_some()
    }

    /// Joins the publisher's registry, unless the subscriber already has an entry there. Without an
    /// entry, only the re-check notices commits.
    pub(super) fn join(&mut self, region: &ReaderRegion) -> ParkEvent {
        if self.entry.is_some() {
            return ParkEvent::Awake;
        }
        if self.sleep == Some(Sleep::Auto)
            && let Err(error) = self.claim_slot(region, Sleep::Queue)
        {
            self.fall_back_to_futex(&error);
        }
        let joined = match self.sleep {
            None | Some(Sleep::Futex) => self.join_without_slot(region),
            Some(Sleep::Auto) => Ok(()),
            Some(sleep) => self.claim_slot(region, sleep),
        };
        if let (Err(error), Some(_)) = (joined, self.sleep) {
            self.warn_once(format_args!("woken by re-check only: {error}"));
        }
        let failed_before = std::mem::replace(&mut self.join_failed, self.entry.is_none());
        match failed_before && self.join_failed {
            true => ParkEvent::Awake,
            false => ParkEvent::WakeabilityChanged,
        }
    }

    fn join_without_slot(&mut self, region: &ReaderRegion) -> Result<()> {
        let (owner, trust_root) = trusted_users(self.owner);
        let id = region.word(header::REGISTRY_ID);
        self.entry = RegistryEntry::on_commit(id, owner, trust_root, self.sleep)?;
        Ok(())
    }

    /// Claims a slot. After an error the subscriber may still have a slot, without a wake receiver.
    fn claim_slot(&mut self, region: &ReaderRegion, sleep: Sleep) -> Result<()> {
        let (owner, trust_root) = trusted_users(self.owner);
        let id = region.word(header::REGISTRY_ID);
        let Some(mut entry) = RegistryEntry::with_slot(id, owner, trust_root)? else {
            return Ok(());
        };
        let created = entry.create_receiver(sleep, self.place.as_deref());
        if matches!(created, Ok(false)) {
            return Ok(());
        }
        if let Some(receiver) = entry.receiver()
            && let Some(descriptor) = receiver.descriptor()
        {
            self.events.add_receiver(descriptor, receiver.keeps_wake_ups())?;
        }
        self.entry = Some(entry);
        self.retry_ns = monotonic_ns() + RETRY.as_nanos() as u64;
        created.map(drop)
    }

    /// Leaves a registry that is no longer the publisher's, and an entry that does not work. The
    /// next attempt to park joins again. With [`Sleep::Auto`], the subscriber falls back to the
    /// futex if the publisher cannot open its receiver.
    pub(super) fn check_entry(&mut self, region: &ReaderRegion) {
        let Some(entry) = &self.entry else {
            return;
        };
        let registry = entry.registry();
        let is_left = registry.id() != region.word(header::REGISTRY_ID) || !registry.has_name();
        if is_left || entry.is_lost(monotonic_ns() >= self.retry_ns) {
            self.leave();
        } else if let Some(errno) = entry.refusal(region) {
            let errno = std::io::Error::from_raw_os_error(errno);
            let reason = format!(
                "the publisher cannot open the wake target, maybe because it is in another container: {errno}"
            );
            match self.sleep {
                Some(Sleep::Auto) => self.fall_back_to_futex(&reason),
                _ => self.warn_once(format_args!("woken by re-check only: {reason}")),
            }
        }
    }

    fn fall_back_to_futex(&mut self, reason: &dyn std::fmt::Display) {
        self.leave();
        self.sleep = Some(Sleep::Futex);
        self.warn_once(format_args!("sleeps on the futex and in no message queue: {reason}"));
    }

    fn leave(&mut self) {
        let entry = self.entry.take();
        let receiver = entry.as_ref().and_then(RegistryEntry::receiver);
        if let Some(descriptor) = receiver.and_then(WakeReceiver::descriptor) {
            self.events.remove_receiver(descriptor);
        }
    }

    /// Leaves the registry after an error. Until the subscriber joins again, only the re-check
    /// notices commits.
    fn leave_after(&mut self, error: &Error) -> ParkEvent {
        tracing::warn!("woken by re-check only: {error}");
        self.leave();
        self.join_failed = true;
        ParkEvent::WakeabilityChanged
    }

    /// Logs the first warning at the level `warn`, and later ones at the level `debug`.
    fn warn_once(&mut self, warning: std::fmt::Arguments<'_>) {
        if std::mem::replace(&mut self.has_warned, true) {
            tracing::debug!("{warning}");
        } else {
            tracing::warn!("{warning}");
        }
    }

    /// Parks at `version`, unless there is a later commit. The descriptor, if it was requested,
    /// becomes readable after `until_check` at the latest.
    pub(super) fn park(
        &mut self,
        region: &ReaderRegion,
        version: u64,
        until_check: Duration,
    ) -> Result<ParkEvent> {
        if let Some(publisher) = self.unwatched.take()
            && !self.events.watch_publisher(publisher)?
            && publisher.is_gone()
        {
            return Ok(ParkEvent::CheckDue);
        }
        // An edge-triggered event loop gets no second edge for a death that was already pending.
        if std::mem::take(&mut self.events_pending) && self.events.sleep(Duration::ZERO)?.by_death {
            return Ok(ParkEvent::CheckDue);
        }
        if *self.armed.get_mut() {
            self.events.set_timer(until_check)?;
        }
        match self.park_in_registry(region, version) {
            Ok(true) => {
                self.parked = Some(version);
                Ok(ParkEvent::Parked)
            }
            Ok(false) => Ok(ParkEvent::Awake),
            Err(error) => Ok(self.leave_after(&error)),
        }
    }

    fn sleeps_on_commit(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| !entry.is_woken_individually())
    }

    fn park_in_registry(&mut self, region: &ReaderRegion, version: u64) -> Result<bool> {
        let commit = &region.words()[header::COMMIT];
        let parked = match &mut self.entry {
            Some(entry) => entry.park(commit, version)?,
            None => commit.load(Ordering::Relaxed) == version,
        };
        if parked && *self.armed.get_mut() {
            self.park_thread(region, version)?;
        }
        Ok(parked)
    }

    /// Parks a thread in place of the subscriber, if the kind of sleep has no descriptor.
    fn park_thread(&mut self, region: &ReaderRegion, version: u64) -> Result<()> {
        let spins = self.sleep.is_none();
        if !spins && !self.sleeps_on_commit() {
            return Ok(());
        }
        let thread = match self.thread.take() {
            Some(thread) if thread.is_of(region) => thread,
            former => {
                if let Some(former) = &former {
                    self.events.remove_receiver(former);
                }
                drop(former);
                let thread = WaitThread::start(region, spins)?;
                self.events.add_receiver(&thread, false)?;
                thread
            }
        };
        thread.park(version);
        self.thread = Some(thread);
        Ok(())
    }

    /// If the subscriber is parked, sleeps for at most `time` and unparks.
    #[inline]
    pub(super) fn sleep(&mut self, region: &ReaderRegion, time: Duration) -> Result<ParkEvent> {
        match self.parked.take() {
            Some(version) => self.sleep_at(region, version, time),
            None => Ok(ParkEvent::Awake),
        }
    }

    fn sleep_at(
        &mut self,
        region: &ReaderRegion,
        version: u64,
        time: Duration,
    ) -> Result<ParkEvent> {
        let has_commit = || region.word(header::COMMIT) != version;
        let woken = if time.is_zero() && has_commit() {
            // The events can wait until the caller has the news.
            self.events_pending = true;
            Ok(Woken::default())
        } else if self.sleeps_on_commit() && !*self.armed.get_mut() {
            let half = region.commit_half();
            Ok(Woken {
                by_publisher: !time.is_zero()
                    && futex::sleep(half, version, Some(time), futex::SLEEPER),
                by_death: false,
            })
        } else {
            self.events.sleep(time)
        };
        let unparked = match self.entry.as_mut().map(RegistryEntry::unpark) {
            Some(Err(error)) => self.leave_after(&error),
            _ => ParkEvent::Awake,
        };
        let woken = woken?;
        // A wake-up without a commit means that another region has taken the table's name, and that
        // its publisher died before it committed the version that ends this region.
        let without_commit = woken.by_publisher && !has_commit();
        Ok(match woken.by_death || without_commit {
            true => ParkEvent::CheckDue,
            false => unparked,
        })
    }

    /// From the next attempt to park on, the death of `publisher` is an event, and that of the
    /// former publisher is not.
    pub(super) fn watch_publisher(&mut self, publisher: Option<Identity>) {
        self.events.forget_publisher();
        self.unwatched = publisher;
    }

    /// Adds an interrupter. From now on the subscriber sleeps on its descriptor, whatever its kind
    /// of sleep.
    pub(super) fn add_interrupter(&mut self, interrupter: &Interrupter) -> Result<()> {
        self.events.add_interrupter(interrupter)?;
        self.descriptor();
        Ok(())
    }

    /// Sets whether somebody may wait for the descriptor, without making it readable.
    pub(super) fn set_armed(&mut self, armed: bool) {
        *self.armed.get_mut() = armed;
    }

    /// Returns the descriptor of all events, and makes it readable if it was not armed.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        if !self.armed.swap(true, Ordering::Relaxed) {
            self.events.fire();
        }
        self.events.as_fd()
    }

    /// Sends this process the signal of the subscriber, unless the subscriber is parked or has no
    /// receiver: the publisher does not wake a subscriber that is not parked.
    pub(super) fn signal_if_awake(&self) {
        let receiver = self.entry.as_ref().and_then(RegistryEntry::receiver);
        if let (Some(Sleep::Signal(number)), Some(_), None) = (self.sleep, receiver, self.parked) {
            signal::raise(number);
        }
    }

    /// Ends a refresh or a wait: if the descriptor was requested, makes it readable unless the
    /// subscriber is parked. After an error it becomes readable at the next re-check, which is
    /// after `until_check`.
    #[inline]
    pub(super) fn settle(
        &mut self,
        outcome: &Result<()>,
        until_check: impl FnOnce() -> Duration,
    ) -> Result<()> {
        if !*self.armed.get_mut() {
            return Ok(());
        }
        match outcome {
            Ok(()) if self.is_parked() => {}
            // The publisher does not wake a subscriber that is not parked, so the next refresh is
            // due at once.
            Ok(()) | Err(Error::Outrun { .. }) => self.events.fire(),
            Err(_) => {
                // A wake-up that is not taken would keep the descriptor readable.
                if let Some(receiver) = self.entry.as_ref().and_then(RegistryEntry::receiver) {
                    receiver.drain();
                }
                self.thread.iter().for_each(WaitThread::drain);
                self.events.set_timer(until_check())?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::region::object::TableName;
    use crate::{Schema, UntypedPublisher};

    #[test]
    fn first_park_after_death_of_publisher_asks_for_a_check() {
        let name = format!("unit-park-dead-{}", std::process::id());
        let schema = Schema::parse("id:u64", None).unwrap();
        let publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let (user, trust_root) = trusted_users(None);
        let table = TableName::new(&name).unwrap();
        let region = ReaderRegion::open(&table, user, trust_root).unwrap().unwrap();
        let mut parking = ParkState::new(region.object(), None, Sleep::Queue.into(), None).unwrap();
        assert_eq!(parking.join(&region), ParkEvent::WakeabilityChanged);
        let own = region.publisher();
        parking.watch_publisher(Some(Identity { start_time: own.start_time + 1, ..own }));
        let mut park = || parking.park(&region, publisher.version(), Duration::ZERO).unwrap();
        assert_eq!(park(), ParkEvent::CheckDue);
        // The check found the same publisher, so there is no other one to watch.
        assert_eq!(park(), ParkEvent::Parked);
        publisher.close().unwrap();
    }

    #[test]
    fn death_that_a_commit_hides_is_an_event_of_the_next_park() {
        let name = format!("unit-park-hidden-{}", std::process::id());
        let schema = Schema::parse("id:u64", None).unwrap();
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let (user, trust_root) = trusted_users(None);
        let table = TableName::new(&name).unwrap();
        let region = ReaderRegion::open(&table, user, trust_root).unwrap().unwrap();
        let mut parking = ParkState::new(region.object(), None, Sleep::Queue.into(), None).unwrap();
        assert_eq!(parking.join(&region), ParkEvent::WakeabilityChanged);
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        parking.watch_publisher(Some(Identity::of(other.id())));
        let version = publisher.version();
        let park = |parking: &mut ParkState, version| {
            parking.park(&region, version, Duration::from_secs(60)).unwrap()
        };
        assert_eq!(park(&mut parking, version), ParkEvent::Parked);
        let mut tx = publisher.begin();
        tx.insert(&7_u64.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(parking.sleep(&region, Duration::ZERO).unwrap(), ParkEvent::Awake);
        assert_eq!(park(&mut parking, version + 1), ParkEvent::CheckDue);
        assert_eq!(park(&mut parking, version + 1), ParkEvent::Parked);
        publisher.close().unwrap();
    }

    #[test]
    fn park_succeeds_at_the_last_commit_and_fails_at_an_earlier_one() {
        for kind in [Sleep::Queue, Sleep::Unix, Sleep::Futex] {
            let name = format!("unit-park-{kind}-{}", std::process::id());
            let schema = Schema::parse("id:u64", None).unwrap();
            let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
            let (user, trust_root) = trusted_users(None);
            let table = TableName::new(&name).unwrap();
            let opened = ReaderRegion::open(&table, user, trust_root).unwrap();
            let region = opened.expect("it was published");
            let mut parking = ParkState::new(region.object(), None, kind.into(), None).unwrap();
            assert_eq!(parking.join(&region), ParkEvent::WakeabilityChanged);
            assert_eq!(parking.join(&region), ParkEvent::Awake, "it has joined");
            assert!(parking.is_wakeable(&region));

            let version = publisher.version();
            let mut park = |version| parking.park(&region, version, Duration::ZERO).unwrap();
            assert_eq!(park(version), ParkEvent::Parked);
            let mut tx = publisher.begin();
            tx.insert(&7_u64.to_le_bytes()).unwrap();
            tx.commit().unwrap();
            assert_eq!(parking.sleep(&region, Duration::ZERO).unwrap(), ParkEvent::Awake);
            let mut park = |version| parking.park(&region, version, Duration::ZERO).unwrap();
            assert_eq!(park(version), ParkEvent::Awake, "there is a later commit");
            assert!(!parking.is_parked());
            let listeners = crate::inspect(&name, None).unwrap().subscribers.unwrap();
            assert!(listeners.iter().all(|listener| !listener.parked), "{kind}");
            publisher.close().unwrap();
        }
    }
}
