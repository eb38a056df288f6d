//! A table in shared memory, as a reader has opened it: its region, and the conversion of its rows
//! to the schema that the reader expects.

use std::borrow::Cow;
use std::sync::Arc;

use super::slot_changes::{Position, SlotChanges};
use super::snapshot::Snapshot;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::index::{Hash, KeyHasher};
use crate::memory::{AlignedWords, NoMemory, try_extend};
use crate::protocol::catch_up::{ChangedRows, Destination, Failed, copy_all};
use crate::protocol::commit_time;
use crate::protocol::journal::Cursor;
use crate::protocol::layout::{State, header};
use crate::protocol::read::read_fast;
use crate::protocol::stream::for_each_row;
use crate::protocol::sync::Ordering;
use crate::protocol::words::{ReadOnlyWord, set_bits};
use crate::region::ReaderRegion;
use crate::region::object::{TableName, no_memory, trusted_users};
use crate::row::schema::{Conversion, Schema};
use crate::row::{Row, RowRef};

/// Maximum number of passes over the rows that change during a copy.
pub(super) const PASSES: u32 = 256;

/// Time since the last commit after which a table is at rest, so that its rows are visited without
/// a copy.
const REST_NS: u64 = 1_000_000_000;

/// A region that is open for reading.
pub(super) struct Source {
    name: TableName,
    /// User whose tables are trusted; `None` to trust this process's user and root.
    owner: Option<u32>,
    region: ReaderRegion,
    /// The schema that the reader expects; `None` for the schema of the region.
    expected: Option<Arc<Schema>>,
    /// `None` if the region has the expected schema.
    conversion: Option<Conversion>,
    /// Result of [`Schema::key_word`] for the schema of the region.
    key_word: Option<usize>,
    /// The value of `key_word` if rows of the region need no conversion, and otherwise `None`.
    own_key_word: Option<usize>,
    /// Size of a key of the region, in bytes.
    key_size: usize,
}

impl Source {
    /// Opens the region that has the table's name. Trusts the tables of `owner`, or else those of
    /// this process's user and of root.
    pub(super) fn open(
        name: TableName,
        owner: Option<u32>,
        expected: Option<Arc<Schema>>,
    ) -> Result<Self> {
        let (user, trust_root) = trusted_users(owner);
        let Some(region) = ReaderRegion::open(&name, user, trust_root)? else {
            return Err(Error::NotFound { table: name.as_str().to_owned() });
        };
        let schema = expected.as_ref().unwrap_or(region.schema());
        let conversion = match schema.difference(region.schema()) {
            None => None,
            Some(difference) => {
                Some(Conversion::by_width(region.schema(), schema).ok_or_else(|| {
                    Error::SchemaMismatch { table: name.as_str().to_owned(), difference }
                })?)
            }
        };
        let (key_word, key_size) = (region.schema().key_word(), region.schema().key_size());
        let own_key_word = key_word.filter(|_| conversion.is_none());
        Ok(Self { name, owner, region, expected, conversion, key_word, own_key_word, key_size })
    }

    /// Opens the region that has the table's name now. Returns `None` if no region has it.
    pub(super) fn reopen(&self) -> Result<Option<Self>> {
        match Self::open(self.name.clone(), self.owner, self.expected.clone()) {
            Err(Error::NotFound { .. }) => Ok(None),
            opened => opened.map(Some),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn owner(&self) -> Option<u32> {
        self.owner
    }

    #[inline]
    pub(super) fn region(&self) -> &ReaderRegion {
        &self.region
    }

    #[inline]
    pub(super) fn conversion(&self) -> Option<&Conversion> {
        self.conversion.as_ref()
    }

    /// Returns the schema of the rows that the reader receives.
    #[inline]
    pub(super) fn schema(&self) -> &Arc<Schema> {
        self.expected.as_ref().unwrap_or(self.region.schema())
    }

    /// Returns the number of words of all rows, also in later regions, if the reader expects a
    /// schema.
    pub(super) fn expected_words(&self) -> Option<usize> {
        self.expected.as_ref().map(|schema| schema.row_words())
    }

    /// Returns a key of the reader's schema as a key of the region; `None` if no row of the region
    /// can have it.
    pub(super) fn region_key<'k>(&self, key: &'k [u8]) -> Option<Cow<'k, [u8]>> {
        let (own, table) = (self.schema(), self.region.schema());
        if key.len() != own.key_size() {
            return None;
        }
        if self.conversion.is_none() {
            return Some(Cow::Borrowed(key));
        }
        let (mut row, mut converted) = (vec![0; own.row_size()], vec![0; table.row_size()]);
        let mut rest = key;
        for part in own.key_parts() {
            let (run, after) = rest.split_at(part.len());
            row[part.clone()].copy_from_slice(run);
            rest = after;
        }
        Conversion::by_width(own, table)?.try_convert(&row, &mut converted).ok()?;
        let mut key = Vec::with_capacity(table.key_size());
        table.write_key(&converted, &mut key);
        Some(Cow::Owned(key))
    }

    /// Returns true if rows of the region need no conversion, and keys have `length` bytes.
    #[inline]
    pub(super) fn has_own_keys(&self, length: usize) -> bool {
        self.key_size == length && self.conversion.is_none()
    }

    /// Returns the hash of a key of the region.
    #[inline]
    pub(super) fn hash(&self, hasher: KeyHasher, key: &[u8]) -> Hash {
        match (self.key_word, key.first_chunk()) {
            (Some(_), Some(word)) => hasher.of_word(u64::from_ne_bytes(*word)),
            _ => hasher.of_key(self.region.schema(), key),
        }
    }

    /// Returns true if a row of the region has this key.
    #[inline]
    pub(super) fn is_key_of(&self, key: &[u8], row: &[u64]) -> bool {
        match (self.key_word, key.first_chunk()) {
            (Some(at), Some(word)) => row[at] == u64::from_ne_bytes(*word),
            _ => self.region.schema().key_matches(bytemuck::cast_slice(row), key),
        }
    }

    /// Returns true if the publisher has neither closed nor replaced the region of these words.
    #[inline(always)]
    pub(super) fn is_running(words: &[ReadOnlyWord]) -> bool {
        words[header::STATE].load(Ordering::Relaxed) == State::Running as u64
    }

    /// Returns true if keys of the region are one word and its rows need no conversion.
    #[inline]
    pub(super) fn has_own_word_keys(&self) -> bool {
        self.own_key_word.is_some()
    }

    /// Copies the row at `slot` as of the last commit into `row`, and returns true if it has this key
    /// of one word. Returns false also in each unusual case. `words` are those of the region.
    #[inline(always)]
    pub(super) fn read_by_word(
        &self,
        words: &[ReadOnlyWord],
        slot: usize,
        key: u64,
        row: &mut [u64],
    ) -> bool {
        let Some(at) = self.own_key_word else {
            return false;
        };
        let is_match = |words: &[ReadOnlyWord]| {
            words.get(at).is_some_and(|word| word.load(Ordering::Relaxed) == key)
        };
        read_fast(words, self.region.geometry(), slot, row, is_match) && self.region.is_whole()
    }

    /// Copies the row at `slot` as of the last commit into `row`, and returns true if it has this
    /// key of the region. Returns false also in each unusual case. The region needs no conversion.
    #[inline(never)]
    pub(super) fn read_fast(&self, slot: usize, key: &[u8], row: &mut [u64]) -> bool {
        read_fast(self.region.words(), self.region.geometry(), slot, row, |_| true)
            && self.is_key_of(key, row)
            && self.region.is_whole()
    }

    /// Converts a row of the region.
    ///
    /// # Errors
    /// [`Error::TextTooLong`].
    pub(super) fn convert(&self, row: &[u64], words: &mut [u64]) -> Result<()> {
        match &self.conversion {
            None => words.copy_from_slice(row),
            Some(conversion) => convert(conversion, row, words)?,
        }
        Ok(())
    }

    /// Copies all rows to their slots in `rows`, without conversion. `live` receives one bit for
    /// each slot that holds a row.
    fn copy_all(&self, rows: &mut impl Destination, live: &mut Vec<u64>) -> Result<Cursor> {
        let reached = copy_all(rows, live, PASSES, || self.region.look());
        self.checked(Cursor::START, reached)
    }

    /// Copies all rows by slot and converts them.
    pub(super) fn copy_converted(&self) -> Result<(Cursor, AlignedWords, Vec<u64>)> {
        let (mut rows, mut live) = (AlignedWords::default(), Vec::new());
        let cursor = self.copy_all(&mut rows, &mut live)?;
        if let Some(conversion) = &self.conversion {
            let (from_words, to_words) =
                (self.region.geometry().row_words, self.schema().row_words());
            let mut converted = AlignedWords::try_zeroed(live.len() * 64 * to_words)
                .map_err(|NoMemory| self.no_memory())?;
            for slot in set_bits(&live) {
                let row = &rows[slot * from_words..][..from_words];
                let words = &mut converted[slot * to_words..][..to_words];
                convert(conversion, row, words)?;
            }
            rows = converted;
        }
        Ok((cursor, rows, live))
    }

    /// Copies the rows that were committed after `since` into `buffer`, and converts them.
    pub(super) fn catch_up(&self, since: Cursor, buffer: &mut ChangedRows) -> Result<Cursor> {
        let reached = buffer.catch_up(since, PASSES, || self.region.look());
        let cursor = self.checked(since, reached)?;
        if let Some(conversion) = &self.conversion {
            let convert = |row: &[u64], words: &mut [u64]| convert(conversion, row, words);
            buffer
                .convert(self.schema().row_words(), convert)
                .map_err(|failed| self.error(failed))?;
        }
        Ok(cursor)
    }

    /// Copies the rows of all slots that were written after a position. A position that this region
    /// does not have says nothing about its rows, so all of them are copied then.
    pub(super) fn changed_slots(&self, since: Position) -> Result<SlotChanges> {
        let is_known =
            since.region_id() == self.region.id() && since.version() <= self.region.look()?.0;
        let since = if is_known { since.cursor() } else { Cursor::START };
        let mut rows = ChangedRows::default();
        let cursor = self.catch_up(since, &mut rows)?;
        // Loaded after the commit: the publisher that committed has stored its epoch before.
        let epoch = self.region.word(header::EPOCH);
        let position = Position::at(self.region.id(), cursor);
        Ok(SlotChanges::new(self.schema(), position, epoch, since.version == 0, rows))
    }

    /// Calls `visit` with each row as of the last commit, and returns its version. Copies the rows
    /// first if the table is likely to change in the meantime.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&[u64])) -> Result<u64> {
        let (version, table) = self.region.look()?;
        // In another time namespace the age is wrong, and only the choice is worse.
        let age_ns = commit_time(self.region.words(), version)
            .map_or(0, |committed_ns| monotonic_ns().saturating_sub(committed_ns));
        // A conversion can fail, and then no row may have been visited.
        if age_ns < REST_NS || self.conversion.is_some() {
            return self.for_each_copied(visit);
        }
        let check = || {
            self.region.check_whole()?;
            Ok(self.region.word(header::COMMIT))
        };
        let mut has_visited = false;
        let visited = for_each_row(&table, version, check, |row| {
            has_visited = true;
            visit(row);
        });
        match visited {
            Ok(()) => Ok(version),
            Err(Failed::Outrun) if !has_visited => self.for_each_copied(visit),
            Err(failed) => Err(self.error(failed)),
        }
    }

    /// Copies all rows as of the last commit, calls `visit` with each of them, and returns their
    /// version.
    fn for_each_copied(&self, mut visit: impl FnMut(&[u64])) -> Result<u64> {
        let (cursor, words, live) = self.copy_converted()?;
        let row_words = self.schema().row_words();
        set_bits(&live).for_each(|slot| visit(&words[slot * row_words..][..row_words]));
        Ok(cursor.version)
    }

    /// Copies all rows as of the last commit into `snapshot`, and returns their version.
    ///
    /// # Errors
    /// [`Error::Outrun`], [`Error::Corrupt`], [`Error::Limit`] and [`Error::TextTooLong`]. The
    /// snapshot is then empty.
    pub(super) fn snapshot(&self, snapshot: &mut Snapshot) -> Result<u64> {
        let (mut words, mut live) = (snapshot.take_words(), Vec::new());
        let cursor = self.copy_all(&mut words, &mut live)?;
        let from_words = self.region.geometry().row_words;
        let rows = close_gaps(&live, |from, to| {
            words.copy_within(from * from_words..(from + 1) * from_words, to * from_words);
        });
        if let Some(conversion) = &self.conversion {
            let to_words = self.schema().row_words();
            let mut converted =
                AlignedWords::try_zeroed(rows * to_words).map_err(|NoMemory| self.no_memory())?;
            let both = words.chunks_exact(from_words).zip(converted.chunks_exact_mut(to_words));
            for (row, to) in both {
                convert(conversion, row, to)?;
            }
            words = converted;
        }
        snapshot.fill(self.schema(), cursor.version, rows, words);
        Ok(cursor.version)
    }

    /// Copies all rows as of the last commit into `rows`. `R` must be the row type of the reader.
    ///
    /// # Errors
    /// The errors of [`snapshot`](Self::snapshot). The contents of `rows` are then unspecified.
    pub(super) fn snapshot_into<R: Row>(&self, rows: &mut Vec<R>) -> Result<u64> {
        if !WordRows::<R>::FITS || self.conversion.is_some() {
            rows.clear();
            return self.for_each_copied(|words| {
                let bytes = &bytemuck::cast_slice(words)[..size_of::<R>()];
                rows.push(bytemuck::pod_read_unaligned(bytes));
            });
        }
        let mut live = Vec::new();
        let cursor = self.copy_all(&mut WordRows(rows), &mut live)?;
        let count = close_gaps(&live, |from, to| rows[to] = rows[from]);
        rows.truncate(count);
        Ok(cursor.version)
    }

    /// Returns the cursor that the copied rows reach, if the rows can be trusted.
    fn checked(
        &self,
        since: Cursor,
        reached: std::result::Result<Cursor, Failed<Error>>,
    ) -> Result<Cursor> {
        self.region.check_whole()?;
        match reached {
            Ok(cursor) if cursor.version < since.version => Err(self.region.corrupt(format!(
                "its commits went back from {} to {}",
                since.version, cursor.version
            ))),
            Ok(cursor) => Ok(cursor),
            Err(failed) => Err(self.error(failed)),
        }
    }

    fn error(&self, failed: Failed<Error>) -> Error {
        match failed {
            Failed::Caller(error) => error,
            Failed::Outrun => self.outrun(PASSES),
            Failed::NoMemory => self.no_memory(),
        }
    }

    pub(super) fn no_memory(&self) -> Error {
        no_memory(self.region.object())
    }

    pub(super) fn outrun(&self, passes: u32) -> Error {
        Error::Outrun { table: self.name.as_str().to_owned(), passes }
    }
}

/// Returns the row of a schema that is stored in `words`.
#[inline]
pub(super) fn row_ref<'a>(schema: &'a Arc<Schema>, words: &'a [u64]) -> RowRef<'a> {
    let bytes = &bytemuck::cast_slice(words)[..schema.row_size()];
    RowRef::new(schema, bytes).expect("the words have the size of the schema's rows")
}

/// Calls `move_row` with the old and the new index of each row that must move to close the gaps of
/// slots that are not live, in ascending order. Returns the number of rows.
fn close_gaps(live: &[u64], mut move_row: impl FnMut(usize, usize)) -> usize {
    let dense = live.iter().take_while(|bits| **bits == u64::MAX).count();
    let mut count = dense * 64;
    for slot in set_bits(&live[dense..]) {
        move_row(dense * 64 + slot, count);
        count += 1;
    }
    count
}

/// Converts a row of a region.
fn convert(conversion: &Conversion, row: &[u64], words: &mut [u64]) -> Result<()> {
    conversion.try_convert(bytemuck::cast_slice(row), bytemuck::cast_slice_mut(words))
}

/// Rows of a type whose size is a whole number of words and whose alignment is that of a word.
struct WordRows<'v, R>(&'v mut Vec<R>);

impl<R: Row> WordRows<'_, R> {
    const FITS: bool =
        size_of::<R>().is_multiple_of(size_of::<u64>()) && align_of::<R>() == align_of::<u64>();
}

impl<R: Row> Destination for WordRows<'_, R> {
    fn reserve(&mut self, words: usize) -> std::result::Result<(), NoMemory> {
        try_extend(self.0, words / (size_of::<R>() / size_of::<u64>()))
    }

    #[inline]
    fn words(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut(self.0)
    }
}
