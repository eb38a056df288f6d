//! The publisher of a table whose rows are bytes described by a schema.
//! [`Publisher`](super::Publisher) is the typed view of it.

use std::sync::Arc;

use super::notify::{self, Waking};
use super::open;
use super::rows::Rows;
use super::statistics::{CommitTimer, Statistics};
use super::transaction::{Staged, UntypedTransaction};
use super::{PublisherBuilder, Settings};
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::protocol::layout::{MAX_VERSION, State, header};
use crate::region::PublisherRegion;
use crate::region::lock::Locked;
use crate::region::object::{self, TableName};
use crate::row::RowBuf;
use crate::row::schema::Schema;

/// Interval at which a committing publisher runs its maintenance.
const UPKEEP_NS: u64 = 1_000_000_000;

/// The only publisher of a table, over rows given as bytes.
///
/// Dropping a publisher without [`close`](Self::close) has the same effect as the death of its
/// process: the table stays, readers continue, and the next publisher takes over.
///
/// ```
/// use std::sync::Arc;
/// use common::{RowBuf, Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-untyped-publisher-{}", std::process::id());
/// // As it could have come from a command line, and a line of JSON.
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
/// assert_eq!(publisher.get(&key), Some(row));
/// let mut tx = publisher.begin();
/// tx.delete(&key)?;
/// tx.commit()?;
/// # publisher.close()
/// # }
/// ```
pub struct UntypedPublisher {
    pub(super) name: TableName,
    pub(super) settings: Settings,
    /// The locked lock object.
    pub(super) lock: Locked,
    pub(super) region: PublisherRegion,
    pub(super) waking: Waking,
    pub(super) schema: Arc<Schema>,
    pub(super) rows: Rows,
    pub(super) staged: Staged,
    pub(super) version: u64,
    pub(super) next_upkeep_ns: u64,
    pub(super) statistics: Statistics,
    pub(super) commit_timer: Option<CommitTimer>,
}

impl UntypedPublisher {
    /// Settings for publishing rows of `schema` as table `name`.
    pub fn builder(name: &str, schema: Schema) -> PublisherBuilder<Schema> {
        PublisherBuilder::new(name, schema)
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the number of the last committed transaction. The creation of the table is number 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the number of publishers that the table has had, including this one.
    pub fn epoch(&self) -> u64 {
        self.region.word(header::EPOCH)
    }

    /// Returns the number of committed rows.
    pub fn len(&self) -> usize {
        if self.staged.is_empty() {
            return self.rows.len();
        }
        // A forgotten transaction has changed the index; the next transaction undoes that.
        let slots = 0..self.rows.used();
        slots.filter(|slot| self.rows.is_committed(*slot)).count()
    }

    /// Returns true if there are no committed rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of rows.
    pub fn capacity(&self) -> usize {
        self.region.geometry().capacity
    }

    /// Begins a transaction. The mutable borrow prevents a second one. Rolls back a transaction
    /// that was forgotten ([`std::mem::forget`]).
    pub fn begin(&mut self) -> UntypedTransaction<'_> {
        UntypedTransaction::new(self)
    }

    /// Replaces the table's schema, its capacity, or both, and all of its rows, in one commit. A
    /// successor region takes the table's name. Subscribers move to it automatically and see the
    /// differences from the rows that they had. Returns the version of the table.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-reshape-{}", std::process::id());
    /// let narrow = Schema::parse("id:u8,name:text(8)", None)?;
    /// let mut publisher = UntypedPublisher::builder(&name, narrow).capacity(10).open()?;
    /// let mut subscriber = UntypedSubscriber::open(&name)?;
    ///
    /// let wide = Schema::parse("id:u8,name:text(16)", None)?;
    /// publisher.reshape(wide.clone(), 20, [b"\x07a wider name    "])?;
    /// assert_eq!(subscriber.refresh()?.len(), 1);
    /// assert_eq!((**subscriber.schema() == wide, subscriber.capacity()), (true, 20));
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyExists`] if two of the rows have the same key, [`Error::TableFull`],
    /// [`Error::WrongLength`], [`Error::InvalidSetting`] if a value is beyond the limits of the
    /// layout, [`Error::Limit`], [`Error::Lost`]. The table is unchanged in that case.
    pub fn reshape<B: AsRef<[u8]>>(
        &mut self,
        schema: Schema,
        capacity: usize,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<u64> {
        // A forgotten transaction may have staged changes for slots of the old region.
        self.roll_back();
        // Another publisher may have taken the name, and must keep it.
        self.next_upkeep_ns = 0;
        self.upkeep_if_due(monotonic_ns())?;
        open::reshape(self, schema, capacity, rows)?;
        Ok(self.version)
    }

    /// Returns the committed row of a key, given in canonical bytes.
    pub fn get(&self, key: &[u8]) -> Option<RowBuf> {
        if !self.staged.is_empty() {
            // A forgotten transaction has changed the index; the next transaction undoes that.
            return self.iter().find(|row| {
                let mut found = Vec::with_capacity(key.len());
                self.schema.write_key(row.bytes(), &mut found);
                found == key
            });
        }
        self.committed(self.rows.find(key)?)
            .and_then(|words| self.row(&words))
    }

    /// Returns an iterator over all committed rows.
    pub fn iter(&self) -> impl Iterator<Item = RowBuf> + '_ {
        (0..self.rows.used())
            .filter_map(|slot| self.committed(slot))
            .filter_map(|words| self.row(&words))
    }

    fn row(&self, words: &[u64]) -> Option<RowBuf> {
        RowBuf::from_bytes(
            Arc::clone(&self.schema),
            &bytemuck::cast_slice(words)[..self.schema.row_size()],
        )
        .ok()
    }

    /// Returns the words of the committed row at `slot`.
    pub(super) fn committed(&self, slot: usize) -> Option<Vec<u64>> {
        let mut words = vec![0; self.schema.row_words()];
        self.read_into(slot, &mut words).then_some(words)
    }

    pub(super) fn read_into(&self, slot: usize, words: &mut [u64]) -> bool {
        let Ok((_, table)) = self.region.look() else {
            return false;
        };
        slot < table.rows()
            && table
                .read(slot, self.version, 0, words)
                .is_ok_and(|tag| tag.is_live())
    }

    /// Checks, in debug builds, that the notes of `slots` match the region, because a commit relies
    /// on them. A mismatch is an error and not a panic, because another process of the same user
    /// may have damaged the region.
    pub(super) fn check_notes(&self, slots: impl Iterator<Item = usize>) -> Result<()> {
        if cfg!(debug_assertions) {
            let (_, table) = self.region.look()?;
            if let Some(slot) = self.rows.disagreement(&table, self.version, slots) {
                let reason = format!("the tags of slot {slot} are not what the publisher wrote");
                return Err(self.region.corrupt(reason));
            }
        }
        Ok(())
    }

    pub(super) fn check_length(
        &self,
        what: &'static str,
        length: usize,
        expected: usize,
    ) -> Result<()> {
        if length == expected {
            return Ok(());
        }
        Err(Error::WrongLength {
            table: self.name().to_owned(),
            what,
            length,
            expected,
        })
    }

    pub(super) fn key_missing(&self, key: &[u8]) -> Error {
        Error::KeyMissing {
            table: self.name().to_owned(),
            key: self.schema.format_key(key),
        }
    }

    pub(super) fn table_full(&self) -> Error {
        Error::TableFull {
            table: self.name().to_owned(),
            capacity: self.capacity(),
        }
    }

    /// Returns the number of the next transaction.
    pub(super) fn next_version(&self) -> Result<u64> {
        // The limit is reached after 146 years at one commit per nanosecond, unless another process
        // wrote to the region.
        match self.version.saturating_add(1) {
            version if version <= MAX_VERSION => Ok(version),
            _ => Err(self.region.corrupt("its versions are used up".to_owned())),
        }
    }

    /// Wakes the subscribers that are parked at the commit before `version`, or all parked
    /// subscribers if `everyone`.
    pub(super) fn wake(&mut self, version: u64, everyone: bool) {
        match self.waking.wake(&self.region, version, everyone) {
            Ok(calls) => self.statistics.wakes += calls,
            // Parked subscribers re-check the table themselves until maintenance creates a new
            // registry. The registry is not replaced here: otherwise a process that damages each
            // new one would make every commit create another.
            Err(error) => {
                tracing::warn!("nobody is woken until there is a new registry: {error}");
            }
        }
    }

    /// Commits an empty transaction. Every notification is a commit, so that the same wake-up
    /// handshake carries it.
    pub(super) fn commit_news(&mut self, everyone: bool) -> Result<()> {
        let version = self.next_version()?;
        let (_, table) = self.region.look()?;
        table.commit(version, monotonic_ns(), std::iter::empty());
        self.version = version;
        self.wake(version, everyone);
        Ok(())
    }

    /// Runs maintenance if it is due. Only the loss of the table stops a commit; other errors may
    /// be temporary and are logged.
    pub(super) fn upkeep_if_due(&mut self, now: u64) -> Result<()> {
        if now < self.next_upkeep_ns {
            return Ok(());
        }
        match self.maintain() {
            Err(error @ Error::Lost { .. }) => Err(error),
            Err(error) => {
                tracing::warn!("to be tried again: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes the heartbeat, opens the wake-up senders of new subscribers, frees the slots of dead
    /// subscribers, and checks that the publisher's objects still have their names. A publisher
    /// that commits does this automatically once a second. Call it at least once a second while
    /// there is nothing to commit.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, publisher::MAINTENANCE_INTERVAL};
    /// # use std::sync::mpsc::{RecvTimeoutError, channel};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-maintain-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// # let (sender, rows) = channel::<[u8; 8]>();
    /// # drop(sender);
    /// loop {
    ///     match rows.recv_timeout(MAINTENANCE_INTERVAL) {
    ///         Ok(row) => {
    ///             let mut tx = publisher.begin();
    ///             tx.upsert(&row)?;
    ///             tx.commit()?; // looks after everything by itself, once a second
    ///         }
    ///         Err(RecvTimeoutError::Timeout) => publisher.maintain()?,
    ///         Err(RecvTimeoutError::Disconnected) => break,
    ///     }
    /// }
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Lost`] if another publisher has taken the table, [`Error::Corrupt`] if another
    /// process truncated the region, and errors of the system.
    pub fn maintain(&mut self) -> Result<()> {
        self.next_upkeep_ns = monotonic_ns() + UPKEEP_NS;
        self.region.beat();
        self.region.check_whole()?;
        self.keep_names()?;
        self.statistics.sweeps += 1;
        match self.waking.sweep(&self.region) {
            // Another process damaged the registry: create a new one and notify all subscribers.
            Err(Error::Corrupt { .. }) => return self.renew_registry(),
            other => other?,
        }
        if self.waking.is_short() {
            self.wake(self.version, false);
        }
        Ok(())
    }

    /// Records that the source of the rows has ended. The publisher stays alive, and the rows stay
    /// as they are. Subscribers and [`inspect`](crate::inspect()) see the mark. A second call changes
    /// nothing. The next publisher of the table starts without the mark.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, inspect};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-end-input-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// publisher.end_input();
    /// assert!(inspect(&name, None)?.input_ended_ago.is_some());
    /// # publisher.close()
    /// # }
    /// ```
    pub fn end_input(&self) {
        if self.region.word(header::INPUT_ENDED) == 0 {
            self.region.set(header::INPUT_ENDED, monotonic_ns());
        }
    }

    /// Closes the table: notifies subscribers and removes all of its objects.
    ///
    /// # Errors
    /// Errors of the system while removing the objects.
    pub fn close(mut self) -> Result<()> {
        self.end()?;
        // Remove the registry while a region still refers to it. If the process is killed in
        // between, the next publisher or `rm` finds the remaining objects.
        self.waking.remove();
        // Remove only this publisher's objects: after an `rm`, another publisher may have created
        // objects with these names.
        if self.region.has_name() {
            object::remove(self.region.object())?;
        }
        // Remove the lock object last: while it exists, no other process can publish under this
        // name.
        let lock = self.name.lock();
        if object::names(&lock, &self.lock) {
            object::remove(&lock)?;
        }
        Ok(())
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
        self.region.set(header::STATE, State::Closed as u64);
        self.commit_news(true)
    }

    /// Restores names that another process removed: takes the lock again, and replaces the region
    /// or the registry.
    fn keep_names(&mut self) -> Result<()> {
        if !object::names(&self.name.lock(), &self.lock) {
            tracing::warn!("the lock of table {:?} lost its name", self.name());
            match open::acquire_lock(&self.name) {
                Ok(lock) => self.lock = lock,
                // While this publisher holds the region, no other process can publish it. A process
                // that tries gets an error and releases the lock.
                Err(Error::PublisherActive { .. }) if self.region.has_name() => {
                    self.next_upkeep_ns = 0;
                }
                Err(Error::PublisherActive { table, .. }) => {
                    // Make every later commit return this error, too. No region refers to this
                    // registry any more.
                    self.next_upkeep_ns = 0;
                    self.waking.remove();
                    return Err(Error::Lost { table });
                }
                Err(error) => return Err(error),
            }
        }
        if self.waking.needs_registry() {
            self.renew_registry()?;
        }
        // Another process of this user may have overwritten the id. New subscribers would then find
        // no registry.
        let registry_id = self.waking.registry_id();
        self.region.set(header::REGISTRY_ID, registry_id);
        if !self.region.has_name() {
            tracing::warn!(
                "table {:?} lost its name: a successor takes it",
                self.name()
            );
            open::succeed_self(self)?;
        }
        Ok(())
    }

    /// Replaces the registry and wakes all subscribers at the old one, so that they move.
    fn renew_registry(&mut self) -> Result<()> {
        let named = self.region.word(header::REGISTRY_ID);
        let left = self.waking.renew(&self.region, &self.settings);
        if self.region.word(header::REGISTRY_ID) != named {
            self.commit_news(true)?;
        }
        if let Some(left) = left {
            notify::leave(left, self.version);
        }
        Ok(())
    }
}
