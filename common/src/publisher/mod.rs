//! The publishing half of the crate: one process, one table, atomic transactions.
//!
//! - [`Publisher`], [`Transaction`]: rows of a Rust type.
//! - [`UntypedPublisher`], [`UntypedTransaction`]: rows of a schema known only at run time. The
//!   implementation is the same.
//!
//! A publisher owns three parts: its name (`OwnedName`), its table (`PublishedTable`) and the
//! wake-ups of its subscribers (`Notifier`). A transaction stages its rows in private memory. Its
//! commit writes them to the region, then wakes parked subscribers.

mod builder;
mod key_index;
mod name;
mod notify;
mod open;
mod table;

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

pub use builder::{PublishedRows, PublisherBuilder};
pub(crate) use name::acquire_lock_of;
pub(crate) use open::adopt;

use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
pub use crate::protocol::layout::{MAX_CAPACITY, MAX_SLOTS};
use crate::protocol::layout::{State, header};
use crate::region::object::{self, index_name};
use crate::region::{PublisherRegion, RegionOptions};
use crate::row::schema::Schema;
use crate::row::{Key, Row, RowBuf};
use name::OwnedName;
use notify::{Notifier, wake_stale};
use table::{PublishedTable, StagedRow};

/// Interval at which to call [`UntypedPublisher::maintain`] while there is nothing to commit.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Age of the last heartbeat after which a live publisher counts as silent. Such a publisher is
/// stopped or hangs, or it neither commits nor calls [`UntypedPublisher::maintain`].
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Receives the duration of each commit.
type CommitTimer = Box<dyn FnMut(Duration) + Send + Sync>;

/// The only publisher of a table with rows of type `R`.
///
/// [`untyped`](Self::untyped) returns the publisher without its row type, which has further methods
/// (`schema`, `statistics`, …). Dropping a publisher without [`close`](Self::close) has the same
/// effect as the death of its process: the table stays, readers continue, and the next publisher
/// takes over. A child of `fork` must not use the publisher, because the child does not inherit its
/// mapping. A child does not keep the table locked after its parent's death, unless it was forked
/// while the publisher was being opened.
///
/// # Examples
/// ```
/// use common::{Publisher, Row};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64, ask: f64 }
///
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-publisher-{}", std::process::id());
/// let mut prices = Publisher::<Price>::builder(&name).open()?;
/// let mut tx = prices.begin();
/// tx.insert(&Price { instrument: 1, bid: 9.5, ask: 10.0 })?;
/// tx.insert(&Price { instrument: 2, bid: 3.0, ask: 3.5 })?;
/// let version = tx.commit()?;
/// assert_eq!((prices.version(), prices.len()), (version, 2));
/// assert_eq!(prices.get(&1)?.unwrap().bid, 9.5);
/// prices.close()
/// # }
/// ```
///
/// Two open transactions at a time do not compile:
///
/// ```compile_fail,E0499
/// # use common::Publisher;
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64 }
/// fn twice(prices: &mut Publisher<Price>) {
///     let first = prices.begin();
///     let second = prices.begin();
///     first.commit().unwrap();
/// }
/// ```
#[derive(Debug)]
pub struct Publisher<R: Row> {
    inner: UntypedPublisher,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Publisher<R> {
    /// Creates table `name`, or takes it over from a dead publisher, with the default settings.
    ///
    /// # Errors
    /// The errors of [`PublisherBuilder::open`].
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns a builder for a publisher of rows of `R` as table `name`.
    pub fn builder(name: &str) -> PublisherBuilder<PhantomData<R>> {
        PublisherBuilder::new(name, PhantomData)
    }

    /// Begins a transaction. The mutable borrow prevents a second one.
    pub fn begin(&mut self) -> Transaction<'_, R> {
        self.inner.begin_over()
    }

    /// Returns the publisher without its row type.
    pub fn untyped(&self) -> &UntypedPublisher {
        &self.inner
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Returns the number of the last committed transaction. The creation of the table is number 1.
    pub fn version(&self) -> u64 {
        self.inner.version()
    }

    /// Returns the number of publishers that the table has had, including this one.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    /// Returns the number of committed rows.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Returns true if there are no committed rows.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Returns the number of rows for which the table has room before it grows.
    pub fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    /// Returns the maximum number of rows, up to which the table grows.
    pub fn max_capacity(&self) -> usize {
        self.inner.max_capacity()
    }

    /// Returns a copy of the committed row of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another process damaged the table.
    pub fn get(&self, key: &R::Key) -> Result<Option<R>> {
        let row = key.with_bytes(|key| self.inner.get(key))?;
        Ok(row.map(|row| bytemuck::pod_read_unaligned(row.bytes())))
    }

    /// Returns an iterator over copies of all committed rows. An item is [`Error::Corrupt`] if
    /// another process damaged the table.
    pub fn iter(&self) -> impl Iterator<Item = Result<R>> + '_ {
        self.inner.iter().map(|row| Ok(bytemuck::pod_read_unaligned(row?.bytes())))
    }

    /// Forwards to [`UntypedPublisher::maintain`].
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::maintain`].
    pub fn maintain(&mut self) -> Result<()> {
        self.inner.maintain()
    }

    /// Forwards to [`UntypedPublisher::maintenance_timer`].
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::maintenance_timer`].
    pub fn maintenance_timer(&mut self) -> Result<BorrowedFd<'_>> {
        self.inner.maintenance_timer()
    }

    /// Forwards to [`UntypedPublisher::time_commits`].
    pub fn time_commits(&mut self, record: impl FnMut(Duration) + Send + Sync + 'static) {
        self.inner.time_commits(record);
    }

    /// Forwards to [`UntypedPublisher::close`].
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::close`].
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    /// Forwards to [`UntypedPublisher::close_and_keep`].
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::close_and_keep`].
    ///
    /// # Examples
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # let name = format!("doc-keep-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&Price { instrument: 1, bid: 10 })?;
    /// # tx.commit()?;
    /// publisher.close_and_keep()?;
    /// let prices = Subscriber::<Price>::open(&name)?; // still readable
    /// assert!(!prices.publisher_state().is_alive());
    /// let publisher = Publisher::<Price>::builder(&name).open()?;
    /// assert_eq!((publisher.len(), publisher.epoch()), (1, 2));
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn close_and_keep(self) -> Result<()> {
        self.inner.close_and_keep()
    }
}

/// The only publisher of a table, over rows given as bytes.
///
/// Dropping a publisher without [`close`](Self::close) has the same effect as the death of its
/// process: the table stays, readers continue, and the next publisher takes over.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use common::{RowBuf, Schema, UntypedPublisher};
/// # let name = format!("doc-untyped-publisher-{}", std::process::id());
/// let schema = Schema::parse("id:u64,name:text(16),price:f64", Some("id"))?;
/// let line = r#"{"id": 7, "name": "seven", "price": 7.5}"#;
///
/// let mut publisher = UntypedPublisher::builder(&name, schema).open()?;
/// let schema = Arc::clone(publisher.schema());
/// let row = RowBuf::from_json(&schema, &serde_json::from_str(line).unwrap())?;
/// let mut tx = publisher.begin();
/// tx.upsert(row.bytes())?;
/// tx.commit()?;
///
/// let key = schema.parse_key("7")?;
/// assert_eq!(publisher.get(&key)?, Some(row));
/// let mut tx = publisher.begin();
/// tx.delete(&key)?;
/// tx.commit()?;
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub struct UntypedPublisher {
    name: OwnedName,
    table: PublishedTable,
    notifier: Notifier,
    next_maintenance_ns: u64,
    /// The timer of [`UntypedPublisher::maintenance_timer`].
    timer: Option<TimerFd>,
    commit_timer: Option<CommitTimer>,
}

impl UntypedPublisher {
    /// Creates table `name`, or takes it over from a dead publisher, with the default settings.
    ///
    /// # Errors
    /// The errors of [`PublisherBuilder::open`].
    pub fn open(name: &str, schema: Schema) -> Result<Self> {
        Self::builder(name, schema).open()
    }

    /// Returns a builder for a publisher of rows of `schema` as table `name`.
    pub fn builder(name: &str, schema: Schema) -> PublisherBuilder<Schema> {
        PublisherBuilder::new(name, schema)
    }

    fn new(name: OwnedName, table: PublishedTable, notifier: Notifier) -> Self {
        Self { name, table, notifier, next_maintenance_ns: 0, timer: None, commit_timer: None }
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        self.name.table().as_str()
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        self.table.schema()
    }

    /// Returns the number of the last committed transaction. The creation of the table is number 1.
    pub fn version(&self) -> u64 {
        self.table.version()
    }

    /// Returns the number of publishers that the table has had, including this one.
    pub fn epoch(&self) -> u64 {
        self.table.region().word(header::EPOCH)
    }

    /// Returns the number of committed rows.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns true if there are no committed rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rows for which the table has room before it grows.
    pub fn capacity(&self) -> usize {
        self.table.region().geometry().capacity
    }

    /// Returns the maximum number of rows, up to which the table grows.
    pub fn max_capacity(&self) -> usize {
        self.table.max_capacity()
    }

    /// Returns a copy of the committed row of a key, given in canonical bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another process damaged the table.
    pub fn get(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        self.table.get(key)
    }

    /// Returns an iterator over copies of all committed rows. An item is [`Error::Corrupt`] if
    /// another process damaged the table.
    pub fn iter(&self) -> impl Iterator<Item = Result<RowBuf>> + '_ {
        self.table.iter()
    }

    /// Returns the counters of this publisher since it was opened.
    pub fn statistics(&self) -> Statistics {
        let (sweeps, wakes) = (self.notifier.sweeps(), self.notifier.wakes());
        Statistics { sweeps, wakes, ..self.table.statistics() }
    }

    /// Calls `record` with the duration of each commit that changes rows, from the call to its
    /// return. This costs each commit a read of the clock (about 20 ns).
    pub fn time_commits(&mut self, record: impl FnMut(Duration) + Send + Sync + 'static) {
        self.commit_timer = Some(Box::new(record));
    }

    /// Begins a transaction. The mutable borrow prevents a second one. Rolls back a transaction
    /// that was forgotten ([`std::mem::forget`]).
    pub fn begin(&mut self) -> UntypedTransaction<'_> {
        self.begin_over()
    }

    fn begin_over<R: StagedRow + ?Sized>(&mut self) -> Transaction<'_, R> {
        self.table.roll_back();
        Transaction::new(self)
    }

    /// Continues the transaction that [`suspend`](UntypedTransaction::suspend) left. Without one,
    /// begins a transaction.
    ///
    /// Bindings of other languages use this: their transactions cannot borrow the publisher.
    /// Between the two calls, only `maintain` may be called.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher};
    /// # let name = format!("doc-resume-{}", std::process::id());
    /// let mut publisher = UntypedPublisher::open(&name, Schema::parse("id:u8", None)?)?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&[1])?;
    /// tx.suspend();
    /// publisher.maintain()?;
    /// let mut tx = publisher.resume();
    /// tx.insert(&[2])?;
    /// tx.commit()?;
    /// assert_eq!(publisher.len(), 2);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn resume(&mut self) -> UntypedTransaction<'_> {
        Transaction::new(self)
    }

    /// Replaces the table's schema, its capacity, or both, and all of its rows, atomically. A
    /// successor region takes the table's name. Subscribers move to it automatically and see the
    /// differences from the rows that they had. Later transactions may let the table grow beyond
    /// `capacity`, unless its capacity is fixed.
    ///
    /// The version of the table rises by two. The first version ends the old region with its rows,
    /// and the second one begins the new region. Returns the second one.
    ///
    /// # Errors
    /// [`Error::KeyExists`] if two of the rows have the same key, [`Error::TableFull`],
    /// [`Error::WrongLength`], [`Error::InvalidSetting`] if a value is beyond the limits of the
    /// layout, [`Error::Limit`], [`Error::Lost`], [`Error::Corrupt`] if the versions are used up. The
    /// table is unchanged in that case.
    ///
    /// # Examples
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # let name = format!("doc-reshape-{}", std::process::id());
    /// let narrow = Schema::parse("id:u8,name:text(8)", None)?;
    /// let mut publisher = UntypedPublisher::builder(&name, narrow).capacity(10).open()?;
    /// let mut subscriber = UntypedSubscriber::open(&name)?;
    ///
    /// let wide = Schema::parse("id:u8,name:text(16)", None)?;
    /// publisher.reshape(wide.clone(), 20, [b"\x07a wider name    "])?;
    /// assert_eq!(subscriber.refresh()?.len(), 1);
    /// assert_eq!((**subscriber.schema() == wide, subscriber.capacity()), (true, 20));
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn reshape<B: AsRef<[u8]>>(
        &mut self,
        schema: Schema,
        capacity: usize,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<u64> {
        // A forgotten transaction may have staged changes for slots of the old region.
        self.table.roll_back();
        self.check_name()?;
        // The next version ends the old region, with its rows.
        let version = self.table.next_version()? + 1;
        let region = self.successor(Arc::new(schema), capacity, version)?;
        let new = PublishedTable::with_rows(self.name.table(), region, rows)?;
        let (old, _locked_index) = self.table.replace(new)?;
        self.supersede(&old);
        Ok(self.version())
    }

    /// Creates an unnamed, empty region that can replace the publisher's region.
    fn successor(
        &self,
        schema: Arc<Schema>,
        capacity: usize,
        commit: u64,
    ) -> Result<PublisherRegion> {
        let region = self.table.region();
        let options = RegionOptions {
            schema,
            capacity,
            slots: region.geometry().slots,
            epoch: region.word(header::EPOCH),
            commit,
            access: self.notifier.access(),
        };
        let new = PublisherRegion::create(self.name.table(), &options)?;
        new.set(header::REGISTRY_ID, self.notifier.registry_id());
        new.set(header::INPUT_ENDED, region.word(header::INPUT_ENDED));
        Ok(new)
    }

    /// Checks the lock of the name. Call it before another region gets the name: another publisher
    /// may have taken it, and must keep it.
    fn check_name(&mut self) -> Result<()> {
        self.next_maintenance_ns = 0;
        self.maintain_if_due(monotonic_ns())
    }

    /// Replaces the publisher's region with a successor that has the same rows. This is one version.
    fn replace_region(&mut self, capacity: usize) -> Result<()> {
        let version = self.table.next_version()?;
        let region = self.successor(Arc::clone(self.schema()), capacity, version)?;
        let (old, _locked_index) = self.table.move_to(region)?;
        self.supersede(&old);
        Ok(())
    }

    /// Ends `old`, which is marked as superseded, with an empty commit, removes its key index, and
    /// wakes all subscribers, which move to the region of this publisher. If the commit is not
    /// possible, the subscribers find the successor by their re-check, because it already has the
    /// table's name.
    fn supersede(&mut self, old: &PublisherRegion) {
        match old.look() {
            Ok((commit, superseded)) => {
                let live = |version: u64| header::LIVE + (version & 1) as usize;
                old.set(live(commit + 1), old.word(live(commit)));
                superseded.commit(commit + 1, monotonic_ns(), std::iter::empty());
            }
            Err(error) => {
                tracing::warn!("subscribers find the successor by their re-check only: {error}");
            }
        }
        if let Err(error) = object::remove(&index_name(old.id(), old.index_generation())) {
            tracing::warn!("the key index of the old region stays: {error}");
        }
        self.notifier.wake(self.table.region(), self.version(), true);
        // Subscribers without a slot wait on the commit word of the old region.
        old.commit_half().wake_all();
    }

    /// Commits the staged transaction and wakes the subscribers that are parked at the previous
    /// commit.
    fn commit(&mut self) -> Result<u64> {
        if self.table.is_unchanged() {
            return Ok(self.table.version());
        }
        let now = monotonic_ns();
        let capacity = self.table.needed_capacity();
        if capacity > self.capacity() {
            self.check_name()?;
            self.replace_region(capacity)?;
        } else {
            self.maintain_if_due(now)?;
        }
        let version = self.table.commit(now)?;
        self.notifier.wake(self.table.region(), version, false);
        self.table.finish();
        if let Some(record) = &mut self.commit_timer {
            record(Duration::from_nanos(monotonic_ns().saturating_sub(now)));
        }
        Ok(version)
    }

    /// Commits an empty transaction and wakes all subscribers. An event is a commit, so that
    /// subscribers receive it through the same wake-up protocol.
    fn commit_event(&mut self) -> Result<()> {
        self.table.commit_event(monotonic_ns())?;
        self.notifier.wake(self.table.region(), self.table.version(), true);
        Ok(())
    }

    /// Runs maintenance if it is due. Only [`Error::Lost`] stops a commit. Other errors may be
    /// temporary and are logged.
    fn maintain_if_due(&mut self, now: u64) -> Result<()> {
        if now < self.next_maintenance_ns {
            return Ok(());
        }
        match self.maintain() {
            Err(error) if !matches!(error, Error::Lost { .. }) => {
                tracing::warn!("maintenance is tried again in a second: {error}");
                Ok(())
            }
            maintained => maintained,
        }
    }

    /// Writes the heartbeat, opens the wake-up senders of new subscribers, frees the slots of dead
    /// subscribers, and checks that the publisher's objects still have their names. A publisher
    /// that commits does this automatically once a second. Call it at least once a second while
    /// there is nothing to commit.
    ///
    /// # Errors
    /// [`Error::Lost`] if another publisher has taken the table, [`Error::Corrupt`] if another
    /// process truncated the region, and errors of the system.
    ///
    /// # Examples
    /// ```
    /// # use common::{Schema, UntypedPublisher, publisher::MAINTENANCE_INTERVAL};
    /// # use std::sync::mpsc::{RecvTimeoutError, channel};
    /// # let name = format!("doc-maintain-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// # let (sender, rows) = channel::<[u8; 8]>();
    /// # drop(sender);
    /// loop {
    ///     match rows.recv_timeout(MAINTENANCE_INTERVAL) {
    ///         Ok(row) => {
    ///             let mut tx = publisher.begin();
    ///             tx.upsert(&row)?;
    ///             tx.commit()?; // runs maintenance once a second
    ///         }
    ///         Err(RecvTimeoutError::Timeout) => publisher.maintain()?,
    ///         Err(RecvTimeoutError::Disconnected) => break,
    ///     }
    /// }
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn maintain(&mut self) -> Result<()> {
        self.next_maintenance_ns = monotonic_ns() + MAINTENANCE_INTERVAL.as_nanos() as u64;
        self.timer.iter().try_for_each(|timer| self.arm(timer, MAINTENANCE_INTERVAL))?;
        self.table.region().beat();
        self.table.region().check_whole()?;
        let kept = self.keep_names();
        if matches!(kept, Err(Error::Lost { .. })) {
            return kept;
        }
        match self.notifier.sweep(self.table.region()) {
            // Another process damaged the registry: create a new one and notify all subscribers.
            Err(Error::Corrupt { .. }) => self.renew_registry()?,
            other => other?,
        }
        if self.notifier.is_short() {
            self.notifier.wake(self.table.region(), self.table.version(), false);
        }
        kept
    }

    /// Returns a descriptor that is readable while [`maintain`](Self::maintain) is due, so that a
    /// program that waits in an event loop needs no timer for it. Maintenance, also that of a
    /// commit, makes the descriptor unreadable for [`MAINTENANCE_INTERVAL`].
    ///
    /// # Errors
    /// [`Error::Limit`] if the process cannot open another file, and errors of the system.
    ///
    /// # Examples
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use common::{Schema, UntypedPublisher};
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-maintenance-timer-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::open(&name, Schema::parse("id:u64", None)?)?;
    /// # let (input, _output) = std::io::pipe()?;
    /// # let rounds = 2;
    /// for _ in 0..rounds {
    ///     let due = publisher.maintenance_timer()?;
    ///     let mut descriptors = [due, input.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    ///     poll(&mut descriptors, PollTimeout::NONE)?;
    ///     if descriptors[0].any() == Some(true) {
    ///         publisher.maintain()?;
    ///     }
    /// }
    /// # publisher.close()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn maintenance_timer(&mut self) -> Result<BorrowedFd<'_>> {
        let timer = match self.timer.take() {
            Some(timer) => timer,
            None => {
                let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
                let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags);
                let object = self.table.region().object();
                let timer =
                    timer.map_err(|errno| object::failure(object, "create the timer of", errno))?;
                // A timer of 0 would never expire.
                let left = self.next_maintenance_ns.saturating_sub(monotonic_ns()).max(1);
                self.arm(&timer, Duration::from_nanos(left))?;
                timer
            }
        };
        Ok((*self.timer.insert(timer)).as_fd())
    }

    /// Makes the timer unreadable until `after` has passed.
    fn arm(&self, timer: &TimerFd, after: Duration) -> Result<()> {
        let object = self.table.region().object();
        timer
            .set(Expiration::OneShot(after.into()), TimerSetTimeFlags::empty())
            .map_err(|errno| object::failure(object, "set the timer of", errno))
    }

    /// Restores names that another process removed: takes the lock again, and replaces the region
    /// or the registry.
    fn keep_names(&mut self) -> Result<()> {
        match self.name.relock() {
            Err(Error::PublisherActive { table, .. }) => {
                // Check the lock again before the next commit. The timer is not set: an event loop
                // would spin while the other process keeps the lock.
                self.next_maintenance_ns = 0;
                // While this publisher holds the region, no other process can publish that region.
                // A process that tries gets an error and releases the table's lock.
                if !self.table.region().has_name() {
                    // No region refers to this registry any more.
                    self.notifier.remove();
                    return Err(Error::Lost { table });
                }
            }
            relocked => relocked?,
        }
        if self.notifier.needs_registry() {
            self.renew_registry()?;
        }
        // Another process of this user may have overwritten the id. New subscribers would then find
        // no registry.
        let registry_id = self.notifier.registry_id();
        self.table.region().set(header::REGISTRY_ID, registry_id);
        // A full disk must not prevent the steps after this one.
        let restored = self.table.restore_key_index();
        if !self.table.region().has_name() {
            tracing::warn!(
                "region of table {:?}: its name was removed; creating a successor",
                self.name()
            );
            self.replace_region(self.capacity())?;
        }
        restored
    }

    /// Replaces the registry and wakes all subscribers in the old one, so that they move to the new
    /// one.
    fn renew_registry(&mut self) -> Result<()> {
        let region = self.table.region();
        let registry_id = region.word(header::REGISTRY_ID);
        let old = self.notifier.renew(region);
        if region.word(header::REGISTRY_ID) != registry_id {
            self.commit_event()?;
        }
        wake_stale(old, self.version());
        Ok(())
    }

    /// Records that the source of the rows has ended. The publisher stays alive, and the rows stay
    /// as they are. Subscribers and [`inspect`](crate::inspect()) see the mark. A second call
    /// changes nothing. [`resume_input`](Self::resume_input) removes the mark, and the next
    /// publisher of the table starts without it.
    ///
    /// # Examples
    /// ```
    /// # use common::{Schema, UntypedPublisher, inspect};
    /// # let name = format!("doc-end-input-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// publisher.end_input();
    /// assert!(inspect(&name, None)?.input_ended_ago.is_some());
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn end_input(&self) {
        let region = self.table.region();
        if region.word(header::INPUT_ENDED) == 0 {
            region.set(header::INPUT_ENDED, monotonic_ns());
        }
    }

    /// Removes the mark of [`end_input`](Self::end_input), because the source delivers rows again,
    /// e.g. after a lost link to another host works again. Does nothing without the mark.
    ///
    /// # Examples
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # let name = format!("doc-resume-input-{}", std::process::id());
    /// # let publisher = UntypedPublisher::open(&name, Schema::parse("id:u64", None)?)?;
    /// let subscriber = UntypedSubscriber::open(&name)?;
    /// publisher.end_input();
    /// assert!(subscriber.has_input_ended());
    /// publisher.resume_input();
    /// assert!(!subscriber.has_input_ended());
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn resume_input(&self) {
        self.table.region().set(header::INPUT_ENDED, 0);
    }

    /// Closes the table: notifies its subscribers and removes all of the table's objects.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the region is invalid, and errors of the system while removing the
    /// objects.
    pub fn close(mut self) -> Result<()> {
        self.end()?;
        // Remove the registry while a region still refers to it. If the process is killed in
        // between, the next publisher or a sweep finds the remaining objects.
        self.notifier.remove();
        // Remove only this publisher's objects: after the table was removed, another publisher may
        // have created objects with these names.
        self.table.remove_key_index()?;
        let region = self.table.region();
        if region.has_name() {
            object::remove(region.object())?;
        }
        // Remove the lock object last: while it exists, no other process can publish under this
        // name.
        self.name.remove()
    }

    /// Stops publishing and notifies subscribers, but keeps the table for the next publisher and
    /// for readers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the region is invalid.
    pub fn close_and_keep(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.table.region().set(header::STATE, State::Closed as u64);
        self.commit_event()
    }
}

/// A transaction over rows of type `R`, or over rows given as bytes ([`UntypedTransaction`]).
///
/// Readers see none of the changes before [`commit`](Self::commit), and all of them after it.
/// Dropping the transaction discards them. Each call in a transaction sees the changes that earlier
/// calls staged. A call that fails stages nothing, except `replace_with`, and the transaction stays
/// usable.
///
/// # Examples
/// ```
/// # use common::{Error, Publisher, Row};
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// # let name = format!("doc-transaction-{}", std::process::id());
/// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 1, bid: 10 })?;
/// tx.upsert(&Price { instrument: 1, bid: 11 })?; // replaces the staged row
/// assert!(matches!(tx.insert(&Price { instrument: 1, bid: 12 }), Err(Error::KeyExists { .. })));
/// assert!(matches!(tx.delete(&2), Err(Error::KeyMissing { .. })));
/// assert_eq!(tx.len(), 1); // the failed calls have staged nothing
/// tx.commit()?;
///
/// let mut tx = publisher.begin();
/// tx.clear();
/// drop(tx);
/// assert_eq!(publisher.get(&1)?, Some(Price { instrument: 1, bid: 11 }));
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[must_use = "a transaction that is dropped changes nothing"]
pub struct Transaction<'p, R: ?Sized> {
    publisher: &'p mut UntypedPublisher,
    rows: PhantomData<fn(&R)>,
}

/// A transaction over rows given as bytes.
pub type UntypedTransaction<'p> = Transaction<'p, [u8]>;

impl<'p, R: StagedRow + ?Sized> Transaction<'p, R> {
    fn new(publisher: &'p mut UntypedPublisher) -> Self {
        Self { publisher, rows: PhantomData }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::TableFull`], and [`Error::Limit`] if there is not enough memory
    /// to stage the row. For rows given as bytes, also [`Error::WrongLength`] if the length is not that
    /// of a row.
    #[inline]
    pub fn insert(&mut self, row: &R) -> Result<()> {
        self.publisher.table.insert(row.as_bytes())
    }

    /// Replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], and [`Error::Limit`] and [`Error::WrongLength`] as
    /// [`insert`](Self::insert).
    #[inline]
    pub fn update(&mut self, row: &R) -> Result<()> {
        self.publisher.table.update(row.as_bytes())
    }

    /// Adds a row, or replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::TableFull`], and [`Error::Limit`] and [`Error::WrongLength`] as
    /// [`insert`](Self::insert).
    #[inline]
    pub fn upsert(&mut self, row: &R) -> Result<()> {
        self.publisher.table.upsert(row.as_bytes())
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.publisher.table.clear();
    }

    /// Returns the number of staged changes.
    pub fn len(&self) -> usize {
        self.publisher.table.staged_changes()
    }

    /// Returns true if nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.publisher.table.is_unchanged()
    }

    /// Commits all staged changes atomically, wakes parked subscribers, and returns the new version
    /// of the table. If nothing is staged, does nothing and returns the current version.
    ///
    /// # Errors
    /// [`Error::Limit`] if the region cannot grow; nothing is committed in that case, and the
    /// publisher stays usable. [`Error::Lost`] if another publisher has taken the name, and
    /// [`Error::Corrupt`] if the region was truncated; the publisher is not usable any more.
    pub fn commit(mut self) -> Result<u64> {
        self.try_commit()
    }

    /// Commits like [`commit`](Self::commit), but keeps the changes staged if the region cannot
    /// grow, so that the caller can try again or discard some of them. After a commit, the
    /// transaction is empty and can stage further changes.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit). After any error except [`Error::Limit`], nothing is
    /// staged any more.
    ///
    /// # Examples
    /// ```
    /// # use common::{Error, Publisher, Row};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # let name = format!("doc-try-commit-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::open(&name)?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&Price { instrument: 1, bid: 10 })?;
    /// while let Err(error) = tx.try_commit() {
    ///     let Error::Limit { .. } = error else { return Err(error) };
    ///     eprintln!("trying again in a second: {error}");
    ///     std::thread::sleep(std::time::Duration::from_secs(1));
    /// }
    /// # drop(tx);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn try_commit(&mut self) -> Result<u64> {
        let committed = self.publisher.commit();
        if matches!(&committed, Err(error) if !matches!(error, Error::Limit { .. })) {
            self.publisher.table.roll_back();
        }
        committed
    }
}

impl<R: Row> Transaction<'_, R> {
    /// Removes the row of a key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], and [`Error::Limit`] if there is not enough memory.
    pub fn delete(&mut self, key: &R::Key) -> Result<()> {
        key.with_bytes(|key| self.publisher.table.delete(key))
    }

    /// Replaces the content of the table with these rows, and stages only the differences. If two
    /// rows have the same key, the later one is used.
    ///
    /// # Errors
    /// [`Error::TableFull`], and [`Error::Limit`] as [`insert`](Self::insert). Some of the
    /// differences are staged in that case.
    ///
    /// # Examples
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # let name = format!("doc-replace-with-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let mut tx = publisher.begin();
    /// tx.replace_with(&[Price { instrument: 1, bid: 10 }, Price { instrument: 2, bid: 20 }])?;
    /// tx.commit()?;
    /// # let mut prices = Subscriber::<Price>::open(&name)?;
    ///
    /// let mut tx = publisher.begin();
    /// tx.replace_with(&[Price { instrument: 1, bid: 10 }, Price { instrument: 3, bid: 30 }])?;
    /// assert_eq!(tx.len(), 2); // key 2 is removed, key 3 is added, key 1 is unchanged
    /// tx.commit()?;
    /// assert_eq!(prices.refresh()?.len(), 2);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn replace_with<'r>(&mut self, rows: impl IntoIterator<Item = &'r R>) -> Result<()> {
        self.publisher.table.replace_with(rows.into_iter().map(bytemuck::bytes_of))
    }
}

impl UntypedTransaction<'_> {
    /// Removes the row of a key, given in canonical bytes.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::WrongLength`], and [`Error::Limit`] if there is not enough
    /// memory.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.publisher.table.delete(key)
    }

    /// Replaces the content of the table as [`Transaction::replace_with`] of a typed transaction does.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::WrongLength`], and [`Error::Limit`] as
    /// [`insert`](Self::insert). Some of the differences are staged in that case.
    pub fn replace_with<B: AsRef<[u8]>>(
        &mut self,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<()> {
        self.publisher.table.replace_with(rows)
    }

    /// Ends the borrow of the publisher and keeps the changes staged, until
    /// [`UntypedPublisher::resume`] continues the transaction or
    /// [`begin`](UntypedPublisher::begin) discards it.
    pub fn suspend(self) {
        std::mem::forget(self);
    }
}

impl<R: ?Sized> Drop for Transaction<'_, R> {
    fn drop(&mut self) {
        self.publisher.table.roll_back();
    }
}

impl<R: ?Sized> std::fmt::Debug for Transaction<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("table", &self.publisher.name())
            .field("changes", &self.publisher.table.staged_changes())
            .finish()
    }
}

/// Counters of a publisher since it was opened. Their cost per commit is too small to measure.
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher};
/// # let name = format!("doc-statistics-{}", std::process::id());
/// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8,n:u8", None)?).open()?;
/// let (sender, times) = std::sync::mpsc::channel();
/// publisher.time_commits(move |time| drop(sender.send(time)));
/// let mut tx = publisher.begin();
/// tx.upsert(&[1, 0])?;
/// tx.upsert(&[2, 0])?;
/// tx.commit()?;
/// let mut tx = publisher.begin();
/// tx.upsert(&[1, 9])?;
/// tx.delete(&[2])?;
/// tx.commit()?;
///
/// let statistics = publisher.statistics();
/// assert_eq!(statistics.commits, 2);
/// assert_eq!((statistics.creates, statistics.updates, statistics.deletes), (2, 1, 1));
/// assert_eq!(times.try_iter().count(), 2);
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of committed transactions that changed rows. Commits without rows, which signal
    /// other events, and calls of [`reshape`](crate::UntypedPublisher::reshape) also create
    /// versions but are not counted here.
    pub commits: u64,
    /// Number of rows with new keys in these transactions. If a new key takes the slot of a
    /// deleted key in a full table, this counts as one deletion and one creation.
    pub creates: u64,
    /// Number of rows that these transactions replaced.
    pub updates: u64,
    /// Number of rows that these transactions removed.
    pub deletes: u64,
    /// Number of times the publisher swept its registry, in calls to
    /// [`maintain`](crate::UntypedPublisher::maintain) and in its own maintenance.
    pub sweeps: u64,
    /// Number of wake-ups sent. A commit counts one for each subscriber that it wakes
    /// individually, and one for all subscribers that sleep on the futex.
    pub wakes: u64,
}

impl std::fmt::Debug for UntypedPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UntypedPublisher")
            .field("table", &self.name())
            .field("version", &self.version())
            .field("rows", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::layout::header;
    use crate::{Result, Schema, UntypedPublisher};

    #[test]
    fn damaged_registry_id_is_restored_by_maintenance_and_not_copied_to_a_successor() -> Result<()>
    {
        let name = format!("unit-registry-id-{}", std::process::id());
        let mut publisher =
            UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
        let stored =
            |publisher: &UntypedPublisher| publisher.table.region().word(header::REGISTRY_ID);
        let damage = |publisher: &UntypedPublisher, id| {
            publisher.table.region().set(header::REGISTRY_ID, id)
        };
        let id = stored(&publisher);
        damage(&publisher, id ^ 7);
        publisher.maintain()?;
        assert_eq!(stored(&publisher), id);
        damage(&publisher, id ^ 7);
        let schema = (**publisher.schema()).clone();
        publisher.reshape(schema, 10, [[7; 8]])?;
        assert_eq!(stored(&publisher), id);
        publisher.close()
    }

    #[test]
    fn changes_are_counted_as_creates_updates_and_deletes() -> Result<()> {
        let name = format!("unit-statistics-{}", std::process::id());
        let schema = Schema::parse("id:u8,n:u8", None)?;
        let mut publisher = UntypedPublisher::builder(&name, schema).capacity(2).open()?;
        let counts = |publisher: &UntypedPublisher| {
            let statistics = publisher.statistics();
            [statistics.commits, statistics.creates, statistics.updates, statistics.deletes]
        };
        let mut tx = publisher.begin();
        tx.insert(&[1, 0])?;
        tx.insert(&[2, 0])?;
        tx.commit()?;
        assert_eq!(counts(&publisher), [1, 2, 0, 0]);
        // Dropped transactions and transactions without effect are not counted.
        publisher.begin().upsert(&[1, 1])?;
        let mut tx = publisher.begin();
        tx.delete(&[1])?;
        drop(tx);
        publisher.begin().commit()?;
        assert_eq!(counts(&publisher), [1, 2, 0, 0]);
        // In a full table the slot of a deleted key is reused immediately.
        let mut tx = publisher.begin();
        tx.delete(&[1])?;
        tx.insert(&[3, 0])?;
        tx.update(&[2, 7])?;
        tx.commit()?;
        assert_eq!(counts(&publisher), [2, 3, 1, 1]);
        let mut tx = publisher.begin();
        tx.clear();
        tx.commit()?;
        assert_eq!(counts(&publisher), [3, 3, 1, 3]);
        let before = publisher.statistics().sweeps;
        publisher.maintain()?;
        assert_eq!(publisher.statistics().sweeps, before + 1);
        publisher.close()
    }
}
