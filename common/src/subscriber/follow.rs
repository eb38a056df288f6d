//! Follows a table: keeps some content up to date with the commits of the publisher, and sleeps
//! until there is news.
//!
//! [`Follow`] owns three parts: the content (the local copy of a subscriber, or only the version
//! that a reader has seen), parking and liveness. The parts do not know each other. A refresh
//! passes results from one part to another and makes all decisions:
//!
//! 1. Unpark.
//! 2. If the re-check is due: check whether the region still has the table's name and whether the
//!    publisher is alive.
//! 3. If `commit` has moved, update the content in one step.
//! 4. If nothing has changed and the caller is about to sleep, park at the version of the content.
//!    If there was a commit in the meantime, start again at step 1.
//!
//! A wait alternates between refresh and sleep until there is news: changed content, a changed
//! schema, or a changed state of the publisher. A wait for a certain version parks at earlier
//! commits without applying them. The changes then lead in one step from the content before the
//! wait to the new one, however many commits there were.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::event_set::Interrupter;
use super::liveness::{Liveness, PublisherState};
use super::parking::{ParkEvent, ParkState};
use crate::error::Result;
use crate::protocol::commit_time;
use crate::protocol::layout::header;
use crate::region::ReaderRegion;

/// Maximum number of attempts to park within one refresh, each of which can find a later commit.
/// After them, the refresh returns without parking: a wait refreshes again, a requested descriptor
/// becomes readable at once, and a program that waits for signals gets one.
const PARK_TRIES: u32 = 64;

/// The state that [`Follow`] keeps up to date.
pub(super) trait Content {
    /// Returns the region that the content is from.
    fn region(&self) -> &ReaderRegion;
    fn version(&self) -> u64;
    /// Begins a refresh: forgets the changes of the last one.
    fn clear_changes(&mut self);
    fn has_changes(&self) -> bool;
    fn schema_changed(&self) -> bool;
    /// Applies everything that was committed since the version of the content. It is unchanged
    /// after an error.
    fn catch_up(&mut self) -> Result<()>;
    /// Moves to the region that has the table's name now. Returns false if no region has it. The
    /// content is unchanged after an error.
    fn move_to_successor(&mut self) -> Result<bool>;

    #[inline]
    fn is_behind(&self) -> bool {
        self.region().word(header::COMMIT) != self.version()
    }
}

pub(super) struct Follow<C> {
    content: C,
    parking: ParkState,
    liveness: Liveness,
    /// The last commit that a refresh saw. It is later than the version of the content only while
    /// a wait skips commits.
    seen: u64,
    delay: Option<Duration>,
    interrupted: bool,
    /// Created by the first call of [`interrupter`](Self::interrupter).
    interrupter: Option<Interrupter>,
}

impl<C: Content> Follow<C> {
    pub(super) fn new(content: C, parking: ParkState, liveness: Liveness) -> Result<Self> {
        let mut follow = Self {
            seen: content.version(),
            content,
            parking,
            liveness,
            delay: None,
            interrupted: false,
            interrupter: None,
        };
        follow.observe()?;
        follow.schedule_check();
        Ok(follow)
    }

    #[inline(always)]
    pub(super) fn content(&self) -> &C {
        &self.content
    }

    pub(super) fn publisher_state(&self) -> PublisherState {
        self.liveness.state()
    }

    /// Returns true if the last refresh or wait found another state of the publisher.
    #[inline]
    pub(super) fn publisher_changed(&self) -> bool {
        self.liveness.changed()
    }

    /// Returns true if an interrupter ended the last refresh or wait.
    #[inline]
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Returns the time since the publisher's last heartbeat; `None` if it has another clock.
    pub(super) fn heartbeat_age(&self) -> Option<Duration> {
        let region = self.content.region();
        self.liveness.age(region, region.word(header::HEARTBEAT))
    }

    /// Returns the time between the last applied commit and the refresh that applied it, if known.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Updates the content to the last commit. Never blocks.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.interrupted = false;
        let park = self.parking.parks_after_refresh();
        let advanced = self.advance(park, 0);
        if park && advanced.is_ok() && !self.has_news() {
            self.parking.signal_if_awake();
        }
        self.settle(advanced)
    }

    /// Updates the content to the last commit, or parks if nothing is new. A result with news does
    /// not make the descriptor readable: the caller calls this again, or
    /// [`descriptor`](Self::descriptor), before the next sleep.
    pub(super) fn refresh_or_park(&mut self) -> Result<()> {
        self.interrupted = false;
        self.parking.set_armed(true);
        match self.advance(true, 0) {
            // A wait that can be interrupted sleeps on the descriptor, so it stays armed.
            Ok(()) if self.has_news() && self.interrupter.is_none() => {
                self.parking.set_armed(false);
                Ok(())
            }
            advanced => self.settle(advanced),
        }
    }

    /// Performs one step of a wait for version `least` without blocking. Returns true if the wait is
    /// over; otherwise the descriptor becomes readable at the next event.
    #[cfg(feature = "tokio")]
    pub(super) fn refresh_for(&mut self, least: u64) -> Result<bool> {
        self.interrupted = false;
        let advanced = self.advance(true, least);
        self.settle(advanced)?;
        if self.interrupted {
            let applied = self.apply_skipped(least);
            self.settle(applied)?;
        }
        Ok(self.is_done(least) || self.interrupted)
    }

    /// Refreshes, and sleeps until there is news or an interruption, for at most `timeout`. Commits
    /// before `least` do not count as news. With a `least` of 0, every commit counts.
    pub(super) fn wait_for(&mut self, least: u64, timeout: Option<Duration>) -> Result<()> {
        let awaited = self.sleep_until(least, timeout);
        self.settle(awaited)
    }

    pub(super) fn interrupter(&mut self) -> Result<Interrupter> {
        if let Some(interrupter) = &self.interrupter {
            return Ok(interrupter.clone());
        }
        let interrupter = Interrupter::new(self.content.region().object())?;
        self.parking.add_interrupter(&interrupter)?;
        Ok(self.interrupter.insert(interrupter).clone())
    }

    /// Returns the descriptor of all events, and makes it readable if it was not armed.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.parking.descriptor()
    }

    /// Performs one refresh, and parks if nothing changed and `park` is true. Commits before
    /// `least` are not applied, unless something else has changed.
    fn advance(&mut self, park: bool, least: u64) -> Result<()> {
        self.content.clear_changes();
        self.liveness.begin();
        for _ in 0..PARK_TRIES {
            self.sleep(Duration::ZERO)?;
            if self.liveness.is_check_due() {
                self.check_or_later()?;
            }
            // Changed rows of a successor region are returned before later commits are applied. A
            // change of the publisher or of the schema is returned together with the rows that were
            // committed since then.
            if !self.content.has_changes() {
                self.apply_commits(least)?;
            }
            if self.has_news() || !park || self.park()? {
                return Ok(());
            }
        }
        Ok(())
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.liveness.changed() || self.content.schema_changed() || self.content.has_changes()
    }

    /// Applies the last commit to the content. A commit before `least` is only recorded in `seen`,
    /// unless something else has changed.
    #[inline]
    fn apply_commits(&mut self, least: u64) -> Result<()> {
        self.seen = self.content.version();
        if self.seen < least && self.skip_commit(least)? {
            return Ok(());
        }
        if !self.content.has_changes() && self.content.is_behind() {
            match self.catch_up() {
                Err(error) if self.has_news() => {
                    tracing::debug!("the content is updated by the next refresh: {error}");
                }
                other => other?,
            }
            self.seen = self.content.version();
        }
        Ok(())
    }

    /// Records a commit before `least` in `seen`. Returns false if there is a later commit or other
    /// news.
    fn skip_commit(&mut self, least: u64) -> Result<bool> {
        // Load `commit` once: a later value may be the awaited version, and no wake-up would follow
        // if the subscriber parked at it.
        let (commit, _) = self.content.region().look()?;
        if !(self.content.version()..least).contains(&commit) {
            return Ok(false);
        }
        if self.liveness.is_outdated(self.content.region()) {
            self.check_or_later()?;
        }
        if self.has_news() {
            return Ok(false);
        }
        self.seen = commit;
        Ok(true)
    }

    /// Applies everything that was committed since the version of the content.
    fn catch_up(&mut self) -> Result<()> {
        self.content.catch_up()?;
        self.note_delay();
        if self.liveness.is_outdated(self.content.region()) {
            self.check_or_later()?;
        }
        Ok(())
    }

    fn note_delay(&mut self) {
        let region = self.content.region();
        let committed = commit_time(region.words(), self.content.version());
        self.delay = committed
            .filter(|_| self.content.has_changes())
            .and_then(|committed| self.liveness.age(region, committed));
    }

    /// Performs the re-check: finds out which region has the table's name, whether the publisher is
    /// alive, and whether the registry entry is valid.
    fn check(&mut self) -> Result<()> {
        self.schedule_check();
        if !self.content.region().has_name() {
            if self.content.has_changes() {
                // Report these changes first. The next refresh moves to the other region.
                self.liveness.check_soon();
                return Ok(());
            }
            if self.content.move_to_successor()? {
                self.note_delay();
            }
        }
        self.content.region().check_length()?;
        self.observe()?;
        self.parking.check_entry(self.content.region());
        self.schedule_check();
        Ok(())
    }

    /// Performs the re-check. If there are changes to return first, leaves an error to the next
    /// re-check.
    fn check_or_later(&mut self) -> Result<()> {
        match self.check() {
            Err(error) if self.content.schema_changed() || self.content.has_changes() => {
                tracing::debug!("the next refresh checks the table again: {error}");
                self.liveness.check_soon();
                Ok(())
            }
            other => other,
        }
    }

    fn observe(&mut self) -> Result<()> {
        let region = self.content.region();
        if self.liveness.observe(region)? {
            let alive = self.liveness.state().is_alive();
            self.parking.watch_publisher(alive.then(|| region.publisher()));
        }
        Ok(())
    }

    fn schedule_check(&mut self) {
        let is_wakeable = self.parking.is_wakeable(self.content.region());
        self.liveness.schedule_check(is_wakeable);
    }

    /// Parks at the last commit that was seen. Returns false if there is a later one.
    fn park(&mut self) -> Result<bool> {
        let joined = self.parking.join(self.content.region());
        self.react(joined);
        let until_check = self.liveness.until_check();
        let parked = self.parking.park(self.content.region(), self.seen, until_check)?;
        self.react(parked);
        Ok(parked == ParkEvent::Parked)
    }

    /// Sleeps for at most `time` if this subscriber is parked, and unparks it.
    #[inline]
    fn sleep(&mut self, time: Duration) -> Result<()> {
        let event = self.parking.sleep(self.content.region(), time)?;
        self.react(event);
        Ok(())
    }

    #[inline]
    fn react(&mut self, event: ParkEvent) {
        match event {
            ParkEvent::Awake | ParkEvent::Parked => {}
            ParkEvent::WakeabilityChanged => self.schedule_check(),
            ParkEvent::CheckDue => self.liveness.check_soon(),
        }
    }

    /// Spins for the time that the wake kind sets, but not beyond `deadline` or the next re-check.
    /// Returns true if it found no commit and the subscriber may park.
    fn spin(&mut self, deadline: Option<Instant>) -> bool {
        let joined = self.parking.join(self.content.region());
        self.react(joined);
        let time = self.parking.spin_time().min(self.liveness.until_check());
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now);
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        self.parking.spin(self.content.region(), self.seen, until)
    }

    /// Sleeps until there is news, not counting commits before `least`.
    fn sleep_until(&mut self, least: u64, timeout: Option<Duration>) -> Result<()> {
        self.interrupted = false;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // A spinning subscriber would not notice an interruption.
            let spins = self.interrupter.is_none() && !self.parking.spin_time().is_zero();
            self.advance(!spins, least)?;
            if spins && !self.is_done(least) && self.spin(deadline) {
                self.advance(true, least)?;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.interrupted = self.take_interrupt();
            if self.is_done(least) || self.interrupted || left == Some(Duration::ZERO) {
                break;
            }
            if self.parking.is_parked() {
                let until_check = self.liveness.until_check();
                self.sleep(left.map_or(until_check, |left| left.min(until_check)))?;
            }
        }
        self.apply_skipped(least)
    }

    /// Ends a wait for version `least`: applies the commits that it skipped.
    fn apply_skipped(&mut self, least: u64) -> Result<()> {
        if !self.has_news() && self.content.version() < least {
            self.advance(true, 0)?;
        }
        Ok(())
    }

    /// Returns true if a wait for version `least` is over. With a `least` of 0, any news ends it.
    fn is_done(&self, least: u64) -> bool {
        self.has_news() || (least > 0 && self.content.version() >= least)
    }

    /// Ends a refresh or a wait. An interruption is reported with the changes, or stays pending
    /// after an error.
    #[inline]
    fn settle(&mut self, outcome: Result<()>) -> Result<()> {
        let interrupted = std::mem::take(&mut self.interrupted) || self.take_interrupt();
        match (&outcome, &self.interrupter) {
            (Err(_), Some(interrupter)) if interrupted => interrupter.interrupt(),
            _ => self.interrupted = interrupted,
        }
        self.parking.settle(&outcome, || self.liveness.until_check())?;
        outcome
    }

    #[inline]
    fn take_interrupt(&self) -> bool {
        self.interrupter.as_ref().is_some_and(Interrupter::take)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::libc::SIGRTMIN;

    use super::*;
    use crate::region::object::TableName;
    use crate::subscriber::UntypedChanges;
    use crate::subscriber::copy::LocalCopy;
    use crate::subscriber::source::Source;
    use crate::{Change, Schema, Sleep, UntypedPublisher, Value};

    fn follow(name: &str) -> Result<Follow<LocalCopy>> {
        let source = Source::open(TableName::new(name)?, None, None)?;
        let parking = ParkState::new(source.region().object(), None, Sleep::Futex.into(), None)?;
        let content = LocalCopy::new(Arc::new(source))?;
        Follow::new(content, parking, Liveness::new(Duration::from_secs(1)))
    }

    #[test]
    fn row_committed_during_the_move_to_a_new_schema_is_reported_in_that_schema() {
        for (number, fields) in [
            ["id:u64,a:u32,b:u32,c:u64", "id:u64,c:u64"],
            ["id:u64,c:u64", "id:u64,a:u32,b:u32,c:u64"],
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("test-move-{number}-{}", std::process::id());
            let [before, after] = fields.map(|fields| Schema::parse(fields, None).unwrap());
            let row = |schema: &Schema, value: u64| {
                let mut row = vec![0; schema.row_size()];
                let (_, field) = schema.field("c").unwrap();
                row[field.range()].copy_from_slice(&value.to_le_bytes());
                row
            };
            let mut publisher = UntypedPublisher::builder(&name, before.clone()).open().unwrap();
            let mut tx = publisher.begin();
            tx.insert(&row(&before, 4)).unwrap();
            tx.commit().unwrap();
            let mut subscriber = follow(&name).unwrap();
            publisher.reshape(after.clone(), 10, [row(&after, 4)]).unwrap();
            // Perform the steps of a refresh, with a commit between them.
            subscriber.content.clear_changes();
            subscriber.check().unwrap();
            assert!(subscriber.content.schema_changed() && !subscriber.content.has_changes());
            let mut tx = publisher.begin();
            tx.update(&row(&after, 5)).unwrap();
            tx.commit().unwrap();
            subscriber.apply_commits(0).unwrap();
            let changes = UntypedChanges::new(&subscriber.content, false, false);
            let changes: Vec<_> = changes.iter().collect();
            match &changes[..] {
                [Change::Updated { old, new }] => {
                    let values = [old, new].map(|row| row.field("c"));
                    assert_eq!(values, [4, 5].map(|value| Some(Value::U64(value))));
                }
                other => panic!("{other:?}"),
            }
            publisher.close().unwrap();
        }
    }

    /// Content during whose updates the publisher commits again, without a net change.
    struct Restless(LocalCopy, UntypedPublisher);

    impl Restless {
        fn commit(&mut self) {
            for is_insert in [true, false] {
                let (row, mut tx) = (7_u64.to_ne_bytes(), self.1.begin());
                if is_insert { tx.insert(&row) } else { tx.delete(&row) }.unwrap();
                tx.commit().unwrap();
            }
        }
    }

    impl Content for Restless {
        fn region(&self) -> &ReaderRegion {
            self.0.region()
        }

        fn version(&self) -> u64 {
            self.0.version()
        }

        fn clear_changes(&mut self) {
            self.0.clear_changes();
        }

        fn has_changes(&self) -> bool {
            self.0.has_changes()
        }

        fn schema_changed(&self) -> bool {
            self.0.schema_changed()
        }

        fn catch_up(&mut self) -> Result<()> {
            self.0.catch_up()?;
            self.commit();
            Ok(())
        }

        fn move_to_successor(&mut self) -> Result<bool> {
            self.0.move_to_successor()
        }
    }

    /// Regression: a program that handles the signal itself waited for a signal that the publisher
    /// does not send to a subscriber that is not parked.
    #[test]
    fn program_gets_a_signal_if_its_refresh_without_news_could_not_park() {
        let signal = SIGRTMIN() + 12;
        let received = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&received)).unwrap();
        let name = format!("test-restless-{}", std::process::id());
        let schema = Schema::parse("id:u64", None).unwrap();
        let publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let source = Source::open(TableName::new(&name).unwrap(), None, None).unwrap();
        let object = source.region().object().to_owned();
        let parking = ParkState::new(&object, None, Sleep::Signal(signal).into(), None).unwrap();
        let mut copy = LocalCopy::new(Arc::new(source)).unwrap();
        copy.clear_changes();
        let mut content = Restless(copy, publisher);
        content.commit();
        let liveness = Liveness::new(Duration::from_secs(1));
        let mut follow = Follow::new(content, parking, liveness).unwrap();
        follow.refresh().unwrap();
        assert!(!follow.has_news() && !follow.parking.is_parked());
        let begun = Instant::now();
        while !received.load(Ordering::Relaxed) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no signal");
            std::thread::yield_now();
        }
        follow.content.1.close().unwrap();
    }
}
