//! The subscriber of a table whose rows are bytes of a schema. [`Subscriber`](super::Subscriber) is
//! the typed view of it.
//!
//! It owns three parts: the local copy, parking and liveness. The parts do not know each other. A
//! refresh passes results from one part to another and makes all decisions:
//!
//! 1. Unpark.
//! 2. If the re-check is due: check whether the region still has the table's name and whether the
//!    publisher is alive.
//! 3. If `commit` has moved, copy the changed rows and apply them in one step.
//! 4. If nothing has changed and the caller is about to sleep, park at the version of the copy. If
//!    there was a commit in the meantime, start again at step 1.
//!
//! A wait alternates between refresh and sleep until there is news: changed rows, a changed schema,
//! or a changed state of the publisher. A wait for a certain version parks at earlier commits
//! without applying them. The changes then lead in one step from the copy before the wait to the
//! new one, however many commits there were.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::changes::UntypedChanges;
use super::copy::LocalCopy;
use super::event_set::Interrupter;
use super::liveness::{Liveness, PublisherState};
use super::parking::{ParkEvent, ParkState};
use crate::error::Result;
use crate::protocol::commit_time;
use crate::protocol::layout::header;
use crate::row::schema::Schema;
use crate::row::{RowBuf, RowRef};

/// Maximum number of attempts to park within one refresh, each of which can find a later commit.
/// After them, the refresh returns without parking: a wait refreshes again, and a requested
/// descriptor becomes readable at once.
const PARK_TRIES: u32 = 64;

/// A local copy of a table with rows as bytes of a schema, which follows the table's publisher.
///
/// ```
/// use common::UntypedSubscriber;
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-untyped-subscriber-{}", std::process::id());
/// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64,half:f64", None)?).open()?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&[7_u64.to_le_bytes(), 3.5_f64.to_le_bytes()].concat())?;
/// # tx.commit()?;
/// let table = UntypedSubscriber::open(&name)?; // whatever its fields are
/// assert_eq!(table.schema().to_string(), "id:u64,half:f64");
/// for row in table.iter() {
///     for (field, value) in row.values() {
///         println!("{field}: {value}");
///     }
/// }
/// let key = table.schema().parse_key("7")?;
/// let row = table.get(&key).expect("the row exists");
/// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":7,"half":3.5}"#);
/// # publisher.close()
/// # }
/// ```
pub struct UntypedSubscriber {
    copy: LocalCopy,
    parking: ParkState,
    liveness: Liveness,
    /// The last commit that a refresh saw. It is later than the version of the copy only while a
    /// wait skips commits.
    seen: u64,
    delay: Option<Duration>,
    interrupted: bool,
    /// Created by the first call of [`interrupter`](Self::interrupter).
    interrupter: Option<Interrupter>,
}

impl UntypedSubscriber {
    pub(super) fn new(copy: LocalCopy, parking: ParkState, liveness: Liveness) -> Result<Self> {
        let mut subscriber = Self {
            seen: copy.version(),
            copy,
            parking,
            liveness,
            delay: None,
            interrupted: false,
            interrupter: None,
        };
        subscriber.observe()?;
        subscriber.schedule_check();
        Ok(subscriber)
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &str {
        self.copy.name()
    }

    /// Returns the schema of the local copy, and of all rows that this subscriber returns.
    ///
    /// A publisher may give the table another schema. [`UntypedChanges::schema_changed`] is true
    /// for the refresh or wait that moves the local copy to it, even if no row changed.
    pub fn schema(&self) -> &Arc<Schema> {
        self.copy.schema()
    }

    /// Returns the version of the local copy. All its rows are as of that commit.
    pub fn version(&self) -> u64 {
        self.copy.version()
    }

    /// Returns the number of rows in the local copy.
    pub fn len(&self) -> usize {
        self.copy.len()
    }

    /// Returns true if the local copy has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of rows of the table.
    pub fn capacity(&self) -> usize {
        self.copy.region().geometry().capacity
    }

    /// Returns the state of the publisher as last observed. While the program waits for or
    /// refreshes this subscriber, that observation is at most as old as the re-check interval.
    pub fn publisher_state(&self) -> PublisherState {
        self.liveness.state()
    }

    /// Returns the time since the publisher's last heartbeat; `None` if the publisher is in another
    /// time namespace, where times are from another clock.
    ///
    /// A publisher that commits or calls `maintain` stores a heartbeat at least every
    /// [`MAINTENANCE_INTERVAL`](crate::publisher::MAINTENANCE_INTERVAL). If the publisher is alive
    /// and this exceeds [`SILENT_AFTER`](crate::publisher::SILENT_AFTER), the publisher hangs. For
    /// a dead publisher this is about the time since it died.
    ///
    /// ```
    /// # use common::{PublisherState, Schema, UntypedPublisher, UntypedSubscriber, publisher::SILENT_AFTER};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-heartbeat-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let table = UntypedSubscriber::open(&name)?;
    /// let hangs = table.publisher_state().is_alive()
    ///     && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER);
    /// # assert!(!hangs);
    /// # publisher.close()
    /// # }
    /// ```
    pub fn heartbeat_age(&self) -> Option<Duration> {
        let region = self.copy.region();
        self.liveness.age(region, region.word(header::HEARTBEAT))
    }

    /// Returns true if the publisher's source of rows has ended, so that no more changes are
    /// expected ([`UntypedPublisher::end_input`](crate::UntypedPublisher::end_input)).
    pub fn has_input_ended(&self) -> bool {
        self.copy.region().word(header::INPUT_ENDED) != 0
    }

    /// Returns the time between the last applied commit and the refresh that applied it. `None` if
    /// another commit followed before the refresh ended, or if the publisher is in another time
    /// namespace and therefore uses another clock.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Returns the time at which the version of the local copy was committed, by the publisher's
    /// CLOCK_MONOTONIC ([`monotonic_ns`](crate::clock::monotonic_ns)). `None` if there was a later
    /// commit.
    ///
    /// All processes in one time namespace share this clock. If the publisher is in another one,
    /// compare this with other commits only, and not with the subscriber's clock.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-committed-{}", std::process::id());
    /// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let first = table.committed();
    /// let mut tx = publisher.begin();
    /// tx.insert(&[1])?;
    /// tx.commit()?;
    /// assert_eq!(table.committed(), None);
    /// table.refresh()?;
    /// assert!(table.committed() >= first);
    /// # assert!(first.is_some());
    /// # publisher.close()
    /// # }
    /// ```
    pub fn committed(&self) -> Option<Duration> {
        commit_time(self.copy.region().words(), self.version()).map(Duration::from_nanos)
    }

    /// Returns the row of a key, given in canonical bytes, from the local copy.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<RowRef<'_>> {
        self.copy.get(key)
    }

    /// Returns an iterator over all rows of the local copy.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.copy.slots().map(|slot| self.copy.row(slot))
    }

    /// Reads the row of a key directly from shared memory, as of the last commit. This also finds
    /// keys that are newer than the local copy. The local copy does not change.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn latest(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        let mut words = vec![0; self.schema().row_words()];
        if !self.copy.latest(key, &mut words)? {
            return Ok(None);
        }
        let bytes = &bytemuck::cast_slice(&words)[..self.schema().row_size()];
        RowBuf::from_bytes(Arc::clone(self.schema()), bytes).map(Some)
    }

    /// Copies all rows as of the last commit directly from shared memory and returns them with
    /// their version. The local copy does not change.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt), and
    /// [`Error::Limit`](crate::Error::Limit) if there is not enough memory for the rows.
    pub fn snapshot(&self) -> Result<(u64, Vec<RowBuf>)> {
        self.copy.snapshot()
    }

    /// Returns the local copy, for the typed view.
    #[inline(always)]
    pub(super) fn local_copy(&self) -> &LocalCopy {
        &self.copy
    }

    /// Returns the changes of the last refresh or wait. After opening, these are all rows as
    /// created.
    #[inline]
    pub fn changes(&self) -> UntypedChanges<'_> {
        UntypedChanges::new(&self.copy, self.liveness.changed(), self.interrupted)
    }

    /// Updates the local copy to the last commit and returns the changes. Never blocks.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Limit`](crate::Error::Limit) if there is not enough memory for the rows, and for
    /// the region of a new publisher: [`Error::SchemaMismatch`](crate::Error::SchemaMismatch),
    /// [`Error::TextTooLong`](crate::Error::TextTooLong),
    /// [`Error::LayoutMismatch`](crate::Error::LayoutMismatch). After an error, the local copy is
    /// still complete, at its former version.
    pub fn refresh(&mut self) -> Result<UntypedChanges<'_>> {
        self.interrupted = false;
        let park = self.parking.parks_after_refresh();
        let advanced = self.advance(park, 0);
        self.settle(advanced)
    }

    /// Refreshes like [`refresh`](Self::refresh). If nothing changed, sleeps until something does,
    /// for at most `timeout`, or until an [interrupter](Self::interrupter) ends the wait.
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<UntypedChanges<'_>> {
        let awaited = self.sleep_until(0, timeout);
        self.settle(awaited)
    }

    /// Sleeps until the local copy can be updated to `version` or later, for at most `timeout`, and
    /// updates it in one step. The changes are all those since the last refresh, each key once.
    /// Commits in between are not copied. If the copy already has that version, it is refreshed
    /// without sleeping.
    ///
    /// The wait ends early if the timeout expires, if it is [interrupted](Self::interrupter), or if
    /// the schema or the state of the publisher changes: a dead publisher commits no more, and a
    /// table that is published again after it was closed counts versions from the beginning. The
    /// copy is then at the last commit, and the [`version`](UntypedChanges::version) of the changes
    /// is lower than requested.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # use std::time::Duration;
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-wait-for-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&7_u64.to_le_bytes())?;
    /// # let written = tx.commit()?;
    /// // The publisher's commit returned `written`, and the publisher passed it on.
    /// let changes = table.wait_for(written, Some(Duration::from_secs(2)))?;
    /// assert!(changes.version() >= written, "not within two seconds");
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    pub fn wait_for(
        &mut self,
        version: u64,
        timeout: Option<Duration>,
    ) -> Result<UntypedChanges<'_>> {
        let awaited = self.sleep_until(version, timeout);
        self.settle(awaited)
    }

    /// Returns a handle that ends this subscriber's waits from another thread. The current wait, or
    /// else the next refresh or wait, then returns with
    /// [`interrupted`](UntypedChanges::interrupted) set, together with the changes at that moment.
    ///
    /// ```
    /// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-interrupt-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let interrupter = table.interrupter()?;
    /// std::thread::spawn(move || interrupter.interrupt());
    /// while !table.wait(None)?.interrupted() { /* use the changes */ }
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        if let Some(interrupter) = &self.interrupter {
            return Ok(interrupter.clone());
        }
        let interrupter = Interrupter::new(self.copy.region().object())?;
        self.parking.add_interrupter(&interrupter)?;
        Ok(self.interrupter.insert(interrupter).clone())
    }

    /// Performs one refresh, and parks if nothing changed and `park` is true. Commits before
    /// `least` are not applied, unless something else has changed.
    fn advance(&mut self, park: bool, least: u64) -> Result<()> {
        self.copy.clear_changes();
        self.liveness.begin();
        for _ in 0..PARK_TRIES {
            self.sleep(Duration::ZERO)?;
            if self.liveness.is_check_due() {
                self.check_or_later()?;
            }
            // Changed rows of a successor region are returned before later commits are applied. A
            // change of the publisher or of the schema is returned together with the rows that were
            // committed since then.
            if !self.copy.has_changes() {
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
        self.liveness.changed() || self.copy.schema_changed() || self.copy.has_changes()
    }

    /// Applies the last commit to the copy. A commit before `least` is only recorded in `seen`,
    /// unless something else has changed.
    #[inline]
    fn apply_commits(&mut self, least: u64) -> Result<()> {
        self.seen = self.copy.version();
        if self.seen < least && self.skip_commit(least)? {
            return Ok(());
        }
        if !self.copy.has_changes() && self.copy.is_behind() {
            match self.catch_up() {
                Err(error) if self.has_news() => {
                    tracing::debug!("the copy is updated by the next refresh: {error}");
                }
                other => other?,
            }
            self.seen = self.copy.version();
        }
        Ok(())
    }

    /// Records a commit before `least` in `seen`. Returns false if there is a later commit or other
    /// news.
    fn skip_commit(&mut self, least: u64) -> Result<bool> {
        // Load `commit` once: a later value may be the awaited version, and no wake-up would follow
        // if the subscriber parked at it.
        let (commit, _) = self.copy.region().look()?;
        if !(self.copy.version()..least).contains(&commit) {
            return Ok(false);
        }
        if self.liveness.is_outdated(self.copy.region()) {
            self.check_or_later()?;
        }
        if self.has_news() {
            return Ok(false);
        }
        self.seen = commit;
        Ok(true)
    }

    /// Applies everything that was committed since the version of the copy.
    fn catch_up(&mut self) -> Result<()> {
        self.copy.catch_up()?;
        self.note_delay();
        if self.liveness.is_outdated(self.copy.region()) {
            self.check_or_later()?;
        }
        Ok(())
    }

    fn note_delay(&mut self) {
        let region = self.copy.region();
        let committed = commit_time(region.words(), self.copy.version());
        self.delay = committed
            .filter(|_| self.copy.has_changes())
            .and_then(|committed| self.liveness.age(region, committed));
    }

    /// Performs the re-check: finds out which region has the table's name, whether the publisher is
    /// alive, and whether the registry entry is valid.
    fn check(&mut self) -> Result<()> {
        self.schedule_check();
        if !self.copy.region().has_name() {
            if self.copy.has_changes() {
                // Report these changes first. The next refresh moves to the other region.
                self.liveness.check_soon();
                return Ok(());
            }
            if self.copy.move_to_successor()? {
                self.note_delay();
            }
        }
        self.copy.region().check_length()?;
        self.observe()?;
        self.parking.check_entry(self.copy.region());
        self.schedule_check();
        Ok(())
    }

    /// Performs the re-check. If there are changes to return first, leaves an error to the next
    /// re-check.
    fn check_or_later(&mut self) -> Result<()> {
        match self.check() {
            Err(error) if self.copy.schema_changed() || self.copy.has_changes() => {
                tracing::debug!("the next refresh checks the table again: {error}");
                self.liveness.check_soon();
                Ok(())
            }
            other => other,
        }
    }

    fn observe(&mut self) -> Result<()> {
        let region = self.copy.region();
        if self.liveness.observe(region)? {
            let alive = self.liveness.state().is_alive();
            self.parking.watch_publisher(alive.then(|| region.publisher()))?;
        }
        Ok(())
    }

    fn schedule_check(&mut self) {
        let is_wakeable = self.parking.is_wakeable(self.copy.region());
        self.liveness.schedule_check(is_wakeable);
    }

    /// Parks at the last commit that was seen. Returns false if there is a later one.
    fn park(&mut self) -> Result<bool> {
        let joined = self.parking.join(self.copy.region());
        self.react(joined);
        let until_check = self.liveness.until_check();
        let parked = self.parking.park(self.copy.region(), self.seen, until_check)?;
        self.react(parked);
        Ok(parked == ParkEvent::Parked)
    }

    /// Sleeps for at most `time` if this subscriber is parked, and unparks it.
    #[inline]
    fn sleep(&mut self, time: Duration) -> Result<()> {
        let event = self.parking.sleep(self.copy.region(), time)?;
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
        let joined = self.parking.join(self.copy.region());
        self.react(joined);
        let time = self.parking.spin_time().min(self.liveness.until_check());
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now);
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        self.parking.spin(self.copy.region(), self.seen, until)
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
        // The wait is over: apply the commits that it skipped.
        if !self.has_news() && self.copy.version() < least {
            self.advance(true, 0)?;
        }
        Ok(())
    }

    /// Returns true if a wait for version `least` is over. A `least` of 0 stands for any news.
    fn is_done(&self, least: u64) -> bool {
        self.has_news() || (least > 0 && self.copy.version() >= least)
    }

    /// Ends a refresh or a wait. An interruption is reported with the changes, or stays pending
    /// after an error.
    #[inline]
    fn settle(&mut self, outcome: Result<()>) -> Result<UntypedChanges<'_>> {
        let interrupted = std::mem::take(&mut self.interrupted) || self.take_interrupt();
        match (&outcome, &self.interrupter) {
            (Err(_), Some(interrupter)) if interrupted => interrupter.interrupt(),
            _ => self.interrupted = interrupted,
        }
        self.parking.settle(&outcome, || self.liveness.until_check())?;
        outcome.map(|()| self.changes())
    }

    #[inline]
    fn take_interrupt(&self) -> bool {
        self.interrupter.as_ref().is_some_and(Interrupter::take)
    }
}

impl AsFd for UntypedSubscriber {
    /// Returns the descriptor for all events of this subscriber. It is readable until a
    /// [`refresh`](Self::refresh) or a wait finds no news, and becomes readable again at the next
    /// event.
    ///
    /// To follow a table in an event loop, wait until the descriptor is readable, refresh, and use
    /// the changes. This works level-triggered and edge-triggered, since each refresh that returns
    /// changes triggers another edge. The descriptor may become readable without changes, and is
    /// readable when it is first requested. If the subscriber has no descriptor to sleep on (it
    /// sleeps on a futex or spins), the first refresh after this call starts a thread that waits
    /// instead. The thread ends with the subscriber.
    ///
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-as-fd-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// # let rounds = 2;
    /// for _ in 0..rounds {
    ///     let mut descriptors = [PollFd::new(table.as_fd(), PollFlags::POLLIN)];
    ///     poll(&mut descriptors, PollTimeout::from(2000_u16))?;
    ///     for _change in &table.refresh()? { /* use it */ }
    /// }
    /// # publisher.close()?;
    /// # Ok(())
    /// # }
    /// ```
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parking.descriptor()
    }
}

impl AsRawFd for UntypedSubscriber {
    /// Returns the descriptor of [`as_fd`](AsFd::as_fd).
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Change, UntypedPublisher, Value};

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
            let mut subscriber = UntypedSubscriber::open(&name).unwrap();
            publisher.reshape(after.clone(), 10, [row(&after, 4)]).unwrap();
            // Perform the steps of a refresh, with a commit between them.
            subscriber.copy.clear_changes();
            subscriber.check().unwrap();
            assert!(subscriber.copy.schema_changed() && !subscriber.copy.has_changes());
            let mut tx = publisher.begin();
            tx.update(&row(&after, 5)).unwrap();
            tx.commit().unwrap();
            subscriber.apply_commits(0).unwrap();
            let changes = subscriber.changes();
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
}
