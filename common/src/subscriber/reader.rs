//! Readers: lookups in shared memory, without a copy of the table.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::event_set::Interrupter;
use super::follow::{Content, Follow};
use super::liveness::PublisherState;
use super::lookup::{KeyBytes, Lookup, Place};
use super::slot_changes::{Position, SlotChanges};
use super::snapshot::Snapshot;
use super::source::{Source, row_ref};
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::protocol::live_rows;
use crate::region::ReaderRegion;
use crate::row::schema::Schema;
use crate::row::{Key, Row, RowBuf, RowRef};

/// Maximum number of attempts to load the number of rows of one version.
const LEN_TRIES: u32 = 1000;

/// The last commit that a reader's waits have seen, and its lookups.
pub(super) struct LastSeen {
    lookup: Lookup,
    /// The region that waits observe.
    source: Arc<Source>,
    /// Number of words of all rows, if the reader expects a schema.
    expected_words: Option<usize>,
    version: u64,
    changed: bool,
    schema_changed: bool,
}

impl LastSeen {
    pub(super) fn new(source: Arc<Source>) -> Self {
        let version = source.region().word(header::COMMIT);
        let lookup = Lookup::new(Arc::clone(&source));
        let expected_words = source.expected_words();
        Self { lookup, source, expected_words, version, changed: false, schema_changed: false }
    }
}

impl Content for LastSeen {
    fn region(&self) -> &ReaderRegion {
        self.source.region()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn clear_changes(&mut self) {
        (self.changed, self.schema_changed) = (false, false);
    }

    fn has_changes(&self) -> bool {
        self.changed
    }

    fn schema_changed(&self) -> bool {
        self.schema_changed
    }

    fn catch_up(&mut self) -> Result<()> {
        (self.version, _) = self.source.region().look()?;
        self.changed = true;
        Ok(())
    }

    fn move_to_successor(&mut self) -> Result<bool> {
        let Some(source) = self.source.reopen()? else {
            return Ok(false);
        };
        self.schema_changed |= source.schema() != self.source.schema();
        self.source = Arc::new(source);
        self.lookup.move_to(Arc::clone(&self.source));
        self.catch_up()?;
        Ok(true)
    }
}

/// Reads single rows of a table directly from shared memory, as of the last commit.
///
/// A reader keeps no copy of the table: opening costs the same for a table of any size, and a
/// lookup searches the key index that the publisher keeps in shared memory. Use a
/// [`Subscriber`](crate::Subscriber) for rows that are consistent with each other between calls,
/// and for changes.
///
/// Threads can share a reader. It registers with the publisher only when it first waits. When the
/// table grows, when it gets another schema, or when another publisher takes it over, the reader
/// follows.
///
/// ```
/// use common::{Publisher, Reader, Row};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64 }
///
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-reader-{}", std::process::id());
/// let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let prices = Reader::<Price>::open(&name)?;
///
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// tx.insert(&Price { instrument: 8, bid: 3.0 })?;
/// let version = tx.commit()?;
///
/// assert_eq!(prices.get(&7)?.unwrap().bid, 9.5);
/// assert_eq!(prices.get(&9)?, None);
/// let mut sum = 0.0;
/// let read_at = prices.get_many(&[7, 8], |_, row| sum += row.unwrap().bid)?;
/// assert_eq!((read_at, sum), (version, 12.5)); // both rows are of one version
/// # publisher.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Reader<R: Row> {
    inner: UntypedReader,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Reader<R> {
    pub(super) fn new(inner: UntypedReader) -> Self {
        Self { inner, rows: PhantomData }
    }

    /// Returns the row of a key.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun) if the publisher writes the row faster than it can
    /// be read, [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::TextTooLong`](crate::Error::TextTooLong) for a text that does not fit its field
    /// of `R`, and for a successor region
    /// [`Error::SchemaMismatch`](crate::Error::SchemaMismatch) and
    /// [`Error::LayoutMismatch`](crate::Error::LayoutMismatch).
    #[inline(always)]
    pub fn get(&self, key: &R::Key) -> Result<Option<R>> {
        let lookup = self.inner.lookup();
        let mut row = R::zeroed();
        if let (Some(word), Some(words)) = (word_of(key), words_of(&mut row))
            && lookup.get_fast(word, words)
        {
            return Ok(Some(row));
        }
        read_row(|words| key.with_bytes(|key| lookup.get_after_fast(key, words)))
    }

    /// Returns true if the key has a row.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    pub fn contains_key(&self, key: &R::Key) -> Result<bool> {
        self.get(key).map(|row| row.is_some())
    }

    /// Looks up many keys as of one version, which is returned. Then calls `visit` with the index
    /// of each key and its row, if it has one. This is several times faster than single calls
    /// of [`get`](Self::get) in a large table, because the lookups overlap.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    pub fn get_many(
        &self,
        keys: &[R::Key],
        mut visit: impl FnMut(usize, Option<R>),
    ) -> Result<u64> {
        self.inner.lookup().get_many(keys, |index, words, _| visit(index, words.map(row_of)))
    }

    /// Looks a key up and returns a handle of its row, which reads it again without a search.
    ///
    /// ```
    /// # use common::{Publisher, Reader, Row};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-entry-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// # let prices = Reader::<Price>::open(&name)?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&Price { instrument: 7, bid: 3 })?;
    /// # tx.commit()?;
    /// let mut seven = prices.entry(&7)?.expect("the row exists");
    /// assert_eq!(seven.read()?.unwrap().bid, 3);
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    pub fn entry(&self, key: &R::Key) -> Result<Option<Entry<'_, R>>> {
        let lookup = self.inner.lookup();
        let mut words = vec![0; size_of::<R>().div_ceil(8)];
        let found = key.with_bytes(|key| lookup.find(key, &mut words[..]))?;
        Ok(found.map(|place| Entry { lookup, place, key: *key }))
    }

    /// Calls `visit` with each row as of one version, which is returned, in no particular order.
    ///
    /// If the table is at rest, the rows are passed from shared memory in small groups, without a
    /// copy of the table. As soon as there is a commit, the remaining rows are copied at once. If
    /// the last commit was less than a second ago, or if the texts of the table have other widths
    /// than those of `R`, all rows are copied before the first one is passed.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun) if a row was written twice before it was copied. Each
    /// error can also come after some of the rows. The rows that were passed are of one version; a
    /// program that needs all of them drops these, and tries again. If only a complete answer is
    /// useful, [`snapshot`](Self::snapshot) is simpler. [`Error::Limit`](crate::Error::Limit) if
    /// there is not enough memory for a copy. The other errors of [`get`](Self::get).
    pub fn for_each(&self, mut visit: impl FnMut(R)) -> Result<u64> {
        self.inner.lookup().source()?.for_each(|words| visit(row_of(words)))
    }

    /// Fills `rows` with all rows as of one version, which is returned, in no particular order.
    /// Pass the same vector again to save the allocation.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get), and [`Error::Limit`](crate::Error::Limit) if there is not
    /// enough memory for the rows. The contents of `rows` are then unspecified.
    pub fn snapshot(&self, rows: &mut Vec<R>) -> Result<u64> {
        self.inner.lookup().source()?.snapshot_into(rows)
    }

    /// Returns the reader without its row type.
    pub fn untyped(&self) -> &UntypedReader {
        &self.inner
    }

    /// Returns the reader without its row type, to wait.
    pub fn untyped_mut(&mut self) -> &mut UntypedReader {
        &mut self.inner
    }

    /// Forwards to [`UntypedReader::version`].
    ///
    /// # Errors
    /// The errors of [`UntypedReader::version`].
    pub fn version(&self) -> Result<u64> {
        self.inner.version()
    }

    /// Forwards to [`UntypedReader::len`].
    ///
    /// # Errors
    /// The errors of [`UntypedReader::len`].
    pub fn len(&self) -> Result<usize> {
        self.inner.len()
    }

    /// Forwards to [`UntypedReader::is_empty`].
    ///
    /// # Errors
    /// The errors of [`UntypedReader::len`].
    pub fn is_empty(&self) -> Result<bool> {
        self.inner.is_empty()
    }

    /// Forwards to [`UntypedReader::wait`].
    ///
    /// # Errors
    /// The errors of [`UntypedReader::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<u64>> {
        self.inner.wait(timeout)
    }

    /// Forwards to [`UntypedReader::wait_for`].
    ///
    /// # Errors
    /// The errors of [`UntypedReader::wait_for`].
    pub fn wait_for(&mut self, version: u64, timeout: Option<Duration>) -> Result<bool> {
        self.inner.wait_for(version, timeout)
    }
}

impl<R: Row> AsFd for Reader<R> {
    /// Returns the descriptor of [`UntypedReader::as_fd`](AsFd::as_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<R: Row> AsMut<UntypedReader> for Reader<R> {
    fn as_mut(&mut self) -> &mut UntypedReader {
        &mut self.inner
    }
}

/// Returns a key of 8 bytes as a word.
#[inline(always)]
pub(super) fn word_of(key: &impl Key) -> Option<u64> {
    key.with_bytes(|bytes| bytes.try_into().ok().map(u64::from_ne_bytes))
}

/// Returns the words of a row, unless it is not a whole number of words or not aligned to words.
#[inline(always)]
pub(super) fn words_of<R: Row>(row: &mut R) -> Option<&mut [u64]> {
    bytemuck::try_cast_slice_mut(std::slice::from_mut(row)).ok()
}

/// Calls `read` with memory for a row of `R`, and returns the row if `read` returns true.
#[cold]
pub(super) fn read_row<R: Row>(read: impl FnOnce(&mut [u64]) -> Result<bool>) -> Result<Option<R>> {
    let mut row = R::zeroed();
    if let Some(words) = words_of(&mut row) {
        return Ok(read(words)?.then_some(row));
    }
    let mut words = vec![0; size_of::<R>().div_ceil(8)];
    Ok(read(&mut words)?.then(|| row_of(&words)))
}

fn row_of<R: Row>(words: &[u64]) -> R {
    bytemuck::pod_read_unaligned(&bytemuck::cast_slice(words)[..size_of::<R>()])
}

/// The handle of a row, which [`Reader::entry`] returns.
///
/// It remembers where the row is. Each read checks that the key is still there, and looks the key
/// up again if it was deleted or has moved.
pub struct Entry<'r, R: Row> {
    lookup: &'r Lookup,
    place: Place,
    key: R::Key,
}

impl<R: Row> fmt::Debug for Entry<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

impl<R: Row> Entry<'_, R> {
    /// Returns the row as of the last commit; `None` if it was deleted. A later call finds it again
    /// if the key was inserted again.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    #[inline]
    pub fn read(&mut self) -> Result<Option<R>> {
        let Self { lookup, place, key } = self;
        let mut row = R::zeroed();
        if let (Some(word), Some(words)) = (word_of(key), words_of(&mut row))
            && place.read_fast(word, words)
        {
            return Ok(Some(row));
        }
        read_row(|words| key.with_bytes(|key| lookup.read(place, key, words)))
    }

    /// Returns the key.
    pub fn key(&self) -> &R::Key {
        &self.key
    }
}

/// Reads single rows of a table whose schema is known only at run time, directly from shared
/// memory. [`Reader`] is the typed view of it.
///
/// ```
/// use common::UntypedReader;
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-untyped-reader-{}", std::process::id());
/// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64,half:f64", None)?).open()?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&[7_u64.to_le_bytes(), 3.5_f64.to_le_bytes()].concat())?;
/// # tx.commit()?;
/// let table = UntypedReader::open(&name)?;
/// let key = table.schema()?.parse_key("7")?;
/// let row = table.get(&key)?.expect("the row exists");
/// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":7,"half":3.5}"#);
/// # publisher.close()
/// # }
/// ```
pub struct UntypedReader {
    follow: Follow<LastSeen>,
}

impl fmt::Debug for UntypedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntypedReader").field("table", &self.name()).finish_non_exhaustive()
    }
}

impl UntypedReader {
    pub(super) fn new(follow: Follow<LastSeen>) -> Self {
        Self { follow }
    }

    #[inline(always)]
    fn lookup(&self) -> &Lookup {
        &self.follow.content().lookup
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &str {
        self.follow.content().source.name()
    }

    /// Returns the schema of the table. Another publisher may give the table another schema; each
    /// row has its own.
    ///
    /// # Errors
    /// The errors of [`Reader::get`] about a successor region.
    pub fn schema(&self) -> Result<Arc<Schema>> {
        Ok(Arc::clone(self.lookup().source()?.schema()))
    }

    /// Returns the row of a key, given in canonical bytes.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        let mut row = None;
        let found = self.lookup().get(key, &mut row)?;
        Ok(row.filter(|_| found))
    }

    /// Copies the row of a key, given in canonical bytes, into `row`. Returns false if the key has no
    /// row; the contents of `row` are then unspecified.
    ///
    /// Open the reader with [`OpenOptions::schema`](crate::OpenOptions::schema), so that rows keep
    /// their size when another publisher takes the table over. Then this also needs no allocation.
    ///
    /// # Errors
    /// [`Error::WrongLength`] if `row` does not have [`Schema::row_words`] words. The errors of
    /// [`Reader::get`].
    #[inline(always)]
    pub fn get_into(&self, key: &[u8], row: &mut [u64]) -> Result<bool> {
        if self.expects_words(row.len())
            && let Some(word) = word_of(&KeyBytes(key))
        {
            let lookup = self.lookup();
            // A row of one line is frequent, and copied by fewer instructions if its size is known.
            let is_found = match row.as_mut_array::<8>() {
                Some(line) => lookup.get_fast(word, line),
                None => lookup.get_fast(word, row),
            };
            if is_found {
                return Ok(true);
            }
        }
        self.get_into_after_fast(key, row)
    }

    #[inline(always)]
    fn expects_words(&self, words: usize) -> bool {
        self.follow.content().expected_words == Some(words)
    }

    #[cold]
    fn get_into_after_fast(&self, key: &[u8], row: &mut [u64]) -> Result<bool> {
        if self.expects_words(row.len()) {
            return self.lookup().get_after_fast(key, row);
        }
        let mut found = None::<RowBuf>;
        let exists = self.lookup().find(key, &mut found)?.is_some();
        let Some(found) = found else {
            return Ok(false);
        };
        if found.words().len() != row.len() {
            return Err(Error::WrongLength {
                table: self.name().to_owned(),
                what: "row",
                length: size_of_val(row),
                expected: size_of_val(found.words()),
            });
        }
        row.copy_from_slice(found.words());
        Ok(exists)
    }

    /// Returns true if the key has a row.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        self.lookup().get(key, &mut None::<RowBuf>)
    }

    /// Looks up many keys, given in canonical bytes, as [`Reader::get_many`] does.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<RowRef<'_>>),
    ) -> Result<u64> {
        let keys: Vec<KeyBytes<'_>> = keys.iter().map(|key| KeyBytes(key.as_ref())).collect();
        self.lookup().get_many(&keys, |index, words, schema| {
            visit(index, words.map(|words| row_ref(schema, words)));
        })
    }

    /// Calls `visit` with each row as of one version, as [`Reader::for_each`] does.
    ///
    /// # Errors
    /// The errors of [`Reader::for_each`].
    pub fn for_each(&self, mut visit: impl FnMut(RowRef<'_>)) -> Result<u64> {
        let source = self.lookup().source()?;
        source.for_each(|words| visit(row_ref(source.schema(), words)))
    }

    /// Fills `snapshot` with all rows as of one version, which is returned.
    ///
    /// # Errors
    /// The errors of [`Reader::snapshot`]. The snapshot is then empty.
    pub fn snapshot(&self, snapshot: &mut Snapshot) -> Result<u64> {
        self.lookup().source()?.snapshot(snapshot)
    }

    /// Returns the rows of all slots that were written after `since`, as of one version. With the
    /// default position, and if the position is of another region, these are all rows.
    ///
    /// A program that keeps a copy of the table in another language or on another host follows it
    /// by this function, without the history of the table: a program that was away takes a larger
    /// step. [`Subscriber`](crate::Subscriber) does the same by key, for programs in Rust.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher};
    /// use std::collections::HashMap;
    /// use common::{Position, UntypedReader};
    ///
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-changed-slots-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let table = UntypedReader::open(&name)?;
    /// let mut copy: HashMap<u32, Vec<u8>> = HashMap::new();
    /// let mut position = Position::default();
    /// # for id in 0..3_u64 {
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&id.to_le_bytes())?;
    /// # tx.commit()?;
    /// // After each commit, or at any later time:
    /// let changes = table.changed_slots(position)?;
    /// if changes.is_complete() {
    ///     copy.clear();
    /// }
    /// for (slot, row) in changes.iter() {
    ///     match row {
    ///         Some(row) => copy.insert(slot, row.bytes().to_vec()),
    ///         None => copy.remove(&slot),
    ///     };
    /// }
    /// position = changes.position();
    /// # assert_eq!(copy.len() as u64, id + 1);
    /// # }
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Reader::snapshot`].
    pub fn changed_slots(&self, since: Position) -> Result<SlotChanges> {
        self.lookup().source()?.changed_slots(since)
    }

    /// Returns the number of the last commit.
    ///
    /// # Errors
    /// The errors of [`Reader::get`] about a successor region.
    pub fn version(&self) -> Result<u64> {
        Ok(self.position()?.version())
    }

    /// Returns the number of the last commit and the region that it belongs to.
    ///
    /// # Errors
    /// The errors of [`Reader::get`] about a successor region.
    pub fn position(&self) -> Result<Position> {
        let source = self.lookup().source()?;
        let (version, _) = source.region().look()?;
        Ok(Position::new(source.region().id(), version))
    }

    /// Returns the number of rows as of the last commit.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn len(&self) -> Result<usize> {
        let source = self.lookup().source()?;
        for _ in 0..LEN_TRIES {
            let (version, _) = source.region().look()?;
            if let Some(rows) = live_rows(source.region().words(), version) {
                return Ok(usize::try_from(rows).unwrap_or(usize::MAX));
            }
        }
        Err(source.outrun(LEN_TRIES))
    }

    /// Returns true if the table has no rows.
    ///
    /// # Errors
    /// The errors of [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|rows| rows == 0)
    }

    /// Returns the state of the publisher as last observed by a wait or a refresh.
    pub fn publisher_state(&self) -> PublisherState {
        self.follow.publisher_state()
    }

    /// Returns the time since the publisher's last heartbeat; see
    /// [`UntypedSubscriber::heartbeat_age`](crate::UntypedSubscriber::heartbeat_age).
    pub fn heartbeat_age(&self) -> Option<Duration> {
        self.follow.heartbeat_age()
    }

    /// Looks for news since the last call of this function or of a wait, or since opening, without
    /// blocking. News are commits, another schema, and another state of the publisher. Returns the
    /// version of the table if there are any.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn refresh(&mut self) -> Result<Option<u64>> {
        self.follow.refresh()?;
        Ok(self.news())
    }

    /// Looks for news as a step of a wait that sleeps on the descriptor without borrowing the
    /// reader; see [`UntypedSubscriber::refresh_or_park`](crate::UntypedSubscriber::refresh_or_park).
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn refresh_or_park(&mut self) -> Result<Option<u64>> {
        self.follow.refresh_or_park()?;
        Ok(self.news())
    }

    /// Sleeps until there are news, for at most `timeout`, or until an
    /// [interrupter](Self::interrupter) ends the wait. Returns the version of the table if there
    /// are any.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<u64>> {
        self.follow.wait_for(0, timeout)?;
        Ok(self.news())
    }

    /// Sleeps until the table is at `version` or later, for at most `timeout`, and returns true if
    /// it is. Returns early if the schema or the state of the publisher changes, as
    /// [`UntypedSubscriber::wait_for`](crate::UntypedSubscriber::wait_for) does.
    ///
    /// # Errors
    /// The errors of [`Reader::get`].
    pub fn wait_for(&mut self, version: u64, timeout: Option<Duration>) -> Result<bool> {
        self.follow.wait_for(version, timeout)?;
        Ok(self.seen_version() >= version)
    }

    /// Returns a handle that ends waits from another thread.
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.follow.interrupter()
    }

    /// Refreshes without blocking, for a wait until `version`; see [`Follow::refresh_for`].
    #[cfg(feature = "tokio")]
    pub(super) fn refresh_for(&mut self, version: u64) -> Result<bool> {
        self.follow.refresh_for(version)
    }

    /// Returns the version that the last refresh or wait saw.
    pub(super) fn seen_version(&self) -> u64 {
        self.follow.content().version()
    }

    /// Returns the version of the table if the last refresh or wait found news.
    pub(super) fn news(&self) -> Option<u64> {
        let seen = self.follow.content();
        let any = seen.changed || seen.schema_changed || self.follow.publisher_changed();
        any.then(|| seen.version())
    }
}

impl AsMut<Self> for UntypedReader {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl AsFd for UntypedReader {
    /// Returns a descriptor that is readable until [`refresh`](Self::refresh) finds no news. It
    /// works as that of [an untyped subscriber][as_fd].
    ///
    /// [as_fd]: crate::UntypedSubscriber#impl-AsFd-for-UntypedSubscriber
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.follow.descriptor()
    }
}
