//! The publisher of a table whose rows are bytes of a schema. [`Publisher`](super::Publisher) is the typed view of it.

use std::sync::Arc;

use super::notify::{self, Waking};
use super::open;
use super::rows::Rows;
use super::statistics::Statistics;
use super::transaction::{Staged, UntypedTransaction};
use super::{PublisherBuilder, Settings};
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::layout::{MAX_VERSION, State, header};
use crate::region::PublisherRegion;
use crate::region::lock::Locked;
use crate::region::object::{self, TableName};
use crate::row::RowBuf;
use crate::schema::Schema;

/// How often a publisher that commits looks after its registry and its names by itself.
const UPKEEP_NS: u64 = 1_000_000_000;

/// The one publisher of a table, over rows of bytes.
///
/// Dropped without [`close`](Self::close) it is as if its process had died: the table stays, readers go on, and the next
/// publisher takes over.
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
    /// Held for its lock.
    pub(super) lock: Locked,
    pub(super) region: PublisherRegion,
    pub(super) waking: Waking,
    pub(super) schema: Arc<Schema>,
    pub(super) rows: Rows,
    pub(super) staged: Staged,
    pub(super) version: u64,
    pub(super) next_upkeep_ns: u64,
    pub(super) statistics: Statistics,
}

impl UntypedPublisher {
    /// Settings for publishing rows of `schema` as table `name`.
    pub fn builder(name: &str, schema: Schema) -> PublisherBuilder<Schema> {
        PublisherBuilder::new(name, schema)
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What a row is.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The number of the last committed transaction. The creation of the table is number 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many publishers the table has had, this one included.
    pub fn epoch(&self) -> u64 {
        self.region.word(header::EPOCH)
    }

    /// Returns the number of committed rows.
    pub fn len(&self) -> usize {
        if self.staged.is_empty() {
            return self.rows.len();
        }
        // A transaction was forgotten: the index has its keys until the next one begins.
        let slots = 0..self.rows.used();
        slots.filter(|slot| self.rows.is_committed(*slot)).count()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows there can be.
    pub fn capacity(&self) -> usize {
        self.region.geometry().capacity
    }

    /// Begins a transaction. The borrow makes it the only one. Rolls back a transaction that was forgotten ([`std::mem::forget`]).
    pub fn begin(&mut self) -> UntypedTransaction<'_> {
        UntypedTransaction::new(self)
    }

    /// Gives the table another schema, another capacity, or both, and exactly these rows with it, as one commit. A successor
    /// of the region takes the name; subscribers move over by themselves and see what differs from what they had.
    /// Returns the version of the table.
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
    /// [`Error::KeyExists`] if two of the rows have one key, [`Error::TableFull`], [`Error::WrongLength`],
    /// [`Error::InvalidSetting`] beyond the limits of the layout, [`Error::Limit`], [`Error::Lost`]. The table is as
    /// it was then.
    pub fn reshape<B: AsRef<[u8]>>(
        &mut self,
        schema: Schema,
        capacity: usize,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<u64> {
        // A forgotten transaction has staged changes for slots of the old region.
        self.roll_back();
        // The name may be another publisher's by now, and is not to be taken from that.
        self.next_upkeep_ns = 0;
        self.upkeep_if_due(monotonic_ns())?;
        open::reshape(self, schema, capacity, rows)?;
        Ok(self.version)
    }

    /// Returns the committed row of a key (in its canonical bytes).
    pub fn get(&self, key: &[u8]) -> Option<RowBuf> {
        if !self.staged.is_empty() {
            // A transaction was forgotten: the index has its keys until the next one begins.
            return self.iter().find(|row| {
                let mut found = Vec::with_capacity(key.len());
                self.schema.write_key(row.bytes(), &mut found);
                found == key
            });
        }
        self.committed(self.rows.find(key)?)
            .and_then(|words| self.row(&words))
    }

    /// All committed rows.
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

    /// The words of the committed row at `slot`.
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

    /// In debug builds, checks that the notes of `slots` describe the region: a commit relies on them. Another process of the same
    /// user may have damaged the region, so a disagreement is an error and no panic.
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

    /// The number of the next transaction.
    pub(super) fn next_version(&self) -> Result<u64> {
        // 146 years of commits, one a nanosecond, unless somebody wrote into the region.
        match self.version.saturating_add(1) {
            version if version <= MAX_VERSION => Ok(version),
            _ => Err(self.region.corrupt("its versions are used up".to_owned())),
        }
    }

    /// Wakes those who sleep at the commit before `version`, or `everyone` who sleeps.
    pub(super) fn wake(&mut self, version: u64, everyone: bool) {
        match self.waking.wake(&self.region, version, everyone) {
            Ok(calls) => self.statistics.wakes += calls,
            // Sleepers look by themselves until maintenance makes a new registry. Not before: a neighbour who damages each new one
            // would have every commit make another.
            Err(error) => {
                tracing::warn!("nobody is woken until there is a new registry: {error}");
            }
        }
    }

    /// An empty transaction: every piece of news is a commit, so that the same handshake carries it.
    pub(super) fn commit_news(&mut self, everyone: bool) -> Result<()> {
        let version = self.next_version()?;
        let (_, table) = self.region.look()?;
        table.commit(version, monotonic_ns(), std::iter::empty());
        self.version = version;
        self.wake(version, everyone);
        Ok(())
    }

    /// Before a commit: only the loss of the table stops it. What else is refused may pass, and stops nothing.
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

    /// What a publisher must do now and then, and does by itself once a second while it commits: says that it is well,
    /// answers new subscribers, frees what dead ones left, and looks whether its objects still bear their names. Call
    /// it at least once a second while there is nothing to commit.
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
    /// [`Error::Lost`] if another publisher has taken the table, [`Error::Corrupt`] if somebody cut it short, and what
    /// the system refuses.
    pub fn maintain(&mut self) -> Result<()> {
        self.next_upkeep_ns = monotonic_ns() + UPKEEP_NS;
        self.region.beat();
        self.region.check_whole()?;
        self.keep_names()?;
        self.statistics.sweeps += 1;
        match self.waking.sweep(&self.region) {
            // Damaged by somebody who may write to it: a new one is made, and everybody told of it.
            Err(Error::Corrupt { .. }) => return self.renew_registry(),
            other => other?,
        }
        if self.waking.is_short() {
            self.wake(self.version, false);
        }
        Ok(())
    }

    /// Records that the source of the rows has ended: the publisher stays alive, and the rows stay as they are.
    /// Subscribers and [`inspect`](crate::inspect) see the mark. A second call
    /// changes nothing; the next publisher of the table begins without the mark.
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

    /// Ends the table: subscribers are told, and all its objects removed.
    ///
    /// # Errors
    /// What the system refuses to remove.
    pub fn close(mut self) -> Result<()> {
        self.end()?;
        // The registry while a region names it: killed in between, the next publisher or `rm` finds what is left.
        self.waking.remove();
        // Only what is still this publisher's: after an `rm` another one may have made objects of these names.
        if self.region.has_name() {
            object::remove(self.region.object())?;
        }
        // The lock object last: until then nobody else can publish under this name.
        let lock = self.name.lock();
        if object::names(&lock, &self.lock) {
            object::remove(&lock)?;
        }
        Ok(())
    }

    /// Ends publishing and tells subscribers, but leaves the table for the next publisher and for readers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the region cannot be right.
    pub fn close_and_keep(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.region.set(header::STATE, State::Closed as u64);
        self.commit_news(true)
    }

    /// After another process removed a name: the lock's is taken again, and table or registry get successors.
    fn keep_names(&mut self) -> Result<()> {
        if !object::names(&self.name.lock(), &self.lock) {
            tracing::warn!("the lock of table {:?} lost its name", self.name());
            match open::acquire_lock(&self.name) {
                Ok(lock) => self.lock = lock,
                // While the region is ours nobody else can publish it: whoever tries is refused and lets go.
                Err(Error::PublisherActive { .. }) if self.region.has_name() => {
                    self.next_upkeep_ns = 0;
                }
                Err(Error::PublisherActive { table, .. }) => {
                    // It stays lost: every commit from now on says so. No region names this registry any more.
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
        // Another process of this user may have overwritten it; new subscribers would find no registry.
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

    /// Takes a new registry into use, and wakes everybody at the old one, so that they move.
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
