//! Looks keys up in shared memory, by the key index and without a copy of the table
//! ([`key_index`](crate::protocol::key_index)).
//!
//! A lookup first searches the generation of the index that is mapped. A row with the right key
//! proves itself, whatever the age of the index. Only a lookup that finds no row loads `commit` and
//! the current generation, and proves that the key has no row.
//!
//! When a successor region has taken the table's name, lookups move to it: the old region says that
//! it was superseded or closed. If the index cannot be opened, the rows are searched one by one, so
//! that a lookup never depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::Backoff;

use super::shared::{Loaded, Shared};
use super::source::{PASSES, Source};
use crate::clock::monotonic_ns;
use crate::error::Result;
use crate::index::KeyHasher;
use crate::protocol::Table;
use crate::protocol::key_index::{KeyIndex, generation};
use crate::protocol::layout::{State, Tag, header};
use crate::region::ReaderIndex;
use crate::region::object::trusted_users;
use crate::row::schema::Schema;
use crate::row::{Key, RowBuf};

/// Maximum number of reads of one row. A read takes about as long as a commit of a few rows, so
/// most reads of a hot row may fail on a machine with slow cache coherence. All of the reads
/// together take a few ms.
const ROW_PASSES: u32 = 1 << 14;
/// Maximum number of attempts to open the generation that the region names. The publisher removes
/// one after it has named the next.
const OPEN_TRIES: u32 = 16;
/// Interval at which lookups in a closed table check whether another table has its name, and at
/// which they try to open an index again.
const RECHECK_NS: u64 = 1_000_000_000;
/// Number of keys that are prefetched together.
const GROUP: usize = 32;

/// A region, and the generation of its index that is mapped.
pub(super) struct View {
    source: Arc<Source>,
    /// Number of the generation; 0 before the first lookup.
    generation: u64,
    /// `None` if the generation could not be opened.
    index: Option<ReaderIndex>,
    /// Time of the next attempt to open it, in ns of CLOCK_MONOTONIC.
    retry_ns: u64,
}

/// The table that lookups read. It can be shared by threads.
pub(super) struct Lookup {
    view: Shared<View>,
    /// Time of the last check of a closed table, in ns of CLOCK_MONOTONIC.
    checked_ns: AtomicU64,
}

/// The place of a row that was found.
pub(super) struct Place {
    source: Arc<Source>,
    slot: usize,
}

/// A key in canonical bytes.
#[derive(Clone, Copy)]
pub(super) struct KeyBytes<'k>(pub &'k [u8]);

impl Key for KeyBytes<'_> {
    #[inline]
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(self.0)
    }
}

/// Memory for a row that is looked up.
pub(super) trait RowBuffer {
    /// Returns words for a row of the schema of `source`.
    fn words(&mut self, source: &Source) -> &mut [u64];
}

/// A row of the schema that the reader expects, which does not change.
impl RowBuffer for [u64] {
    #[inline]
    fn words(&mut self, _source: &Source) -> &mut [u64] {
        self
    }
}

/// A row of the table's own schema, which may change. Contains a row after a lookup in any case.
impl RowBuffer for Option<RowBuf> {
    fn words(&mut self, source: &Source) -> &mut [u64] {
        let schema = source.schema();
        match self {
            Some(row) if Arc::ptr_eq(row.schema(), schema) => {}
            _ => *self = Some(RowBuf::new(Arc::clone(schema))),
        }
        self.as_mut().expect("set before").words_mut()
    }
}

impl Place {
    /// Copies the row of a key as of the last commit into `row`, in the usual case: it is still at
    /// this place. Returns false in each unusual case; [`Lookup::read`] handles them.
    #[inline(always)]
    pub(super) fn read_fast(&self, key: u64, row: &mut [u64]) -> bool {
        let words = self.source.region().words();
        Source::is_running(words) && self.source.read_by_word(words, self.slot, key, row)
    }
}

impl View {
    /// Returns a view of a region, whose index is opened by the first lookup.
    fn new(source: Arc<Source>) -> Self {
        Self { source, generation: 0, index: None, retry_ns: 0 }
    }

    /// Searches the mapped index for a key. Returns the slot of its row as of the last commit,
    /// which is then in `row`. Returns `None` also in each unusual case.
    #[inline]
    fn find_fast(&self, key: &[u8], row: &mut [u64]) -> Option<usize> {
        let (source, index) = (&self.source, self.index.as_ref()?);
        if !source.has_own_keys(key.len()) {
            return None;
        }
        let hash = source.hash(index.hasher(), key);
        index.index().search(hash.0, |slot| source.read_fast(slot, key, row).then_some(slot))
    }

    /// Returns a view of the same region with the current generation of the index. `named` is the
    /// number that the region names.
    #[cold]
    fn at_generation(&self, mut named: u64) -> Self {
        let region = self.source.region();
        let (owner, trust_root) = trusted_users(self.source.owner());
        let mut opened = Ok(None);
        for _ in 0..OPEN_TRIES {
            opened = ReaderIndex::open(region, named, owner, trust_root);
            let current = generation(region.words());
            if matches!(opened, Ok(Some(_))) || current == named {
                break;
            }
            named = current;
        }
        let index = opened.unwrap_or_else(|error| {
            tracing::warn!("lookups search row by row: {error}");
            None
        });
        let retry_ns = monotonic_ns() + RECHECK_NS;
        Self { source: Arc::clone(&self.source), generation: named, index, retry_ns }
    }

    /// Returns true if the index must be opened, because `current` is another generation or because
    /// an earlier attempt failed some time ago.
    #[inline]
    fn is_outdated(&self, current: u64) -> bool {
        current != self.generation || self.index.is_none() && monotonic_ns() >= self.retry_ns
    }

    /// Looks up a key of the region as of the last commit. Returns the number of the current
    /// generation of the index instead if another one is mapped.
    fn attempt(&self, key: &[u8], row: &mut [u64]) -> Result<std::result::Result<Known, u64>> {
        let (source, region) = (&self.source, self.source.region());
        let (version, table) = region.look()?;
        let current = generation(region.words());
        if self.is_outdated(current) {
            return Ok(Err(current));
        }
        let is_key = |row: &[u64]| source.is_key_of(key, row);
        let Some(index) = &self.index else {
            let found = find_by_scan(&table, version, row, is_key);
            region.check_whole()?;
            return Ok(Ok(found));
        };
        let (entries, hash) = (index.index(), source.hash(index.hasher(), key));
        let found = match entries.find(&table, version, hash.0, row, is_key) {
            Ok(Some((slot, tag))) => Known::Row { slot, tag },
            Ok(None) if entries.proves_absence(version) => Known::Absent,
            Ok(None) if !entries.is_committed(region.words()) => return Ok(Err(current)),
            _ => Known::Nothing,
        };
        region.check_whole()?;
        // A damaged index is opened again, which fails, and then not used any more.
        Ok(if index.is_whole() { Ok(found) } else { Err(current) })
    }
}

/// Searches all rows for a key, for a table whose index cannot be opened.
fn find_by_scan(
    table: &Table<'_>,
    version: u64,
    row: &mut [u64],
    is_key: impl Fn(&[u64]) -> bool,
) -> Known {
    for slot in 0..table.rows() {
        match table.read(slot, version, 0, row) {
            Ok(tag) if tag.is_live() && is_key(row) => return Known::Row { slot, tag },
            Ok(_) => {}
            Err(_) => return Known::Nothing,
        }
    }
    Known::Absent
}

impl Lookup {
    /// Returns the lookups in a table, whichever region has its name.
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self { view: Shared::new(View::new(source)), checked_ns: AtomicU64::new(monotonic_ns()) }
    }

    /// Moves to a region that has taken the table's name.
    pub(super) fn move_to(&self, source: Arc<Source>) {
        self.view.store(View::new(source));
    }

    /// Copies the row of a key of one word as of the last commit into `row`, in the usual case.
    /// Returns false in each unusual case; [`get_after_fast`](Self::get_after_fast) handles them.
    #[inline(always)]
    pub(super) fn get_fast(&self, key: u64, row: &mut [u64]) -> bool {
        let Some(view) = self.view.protect() else {
            return false;
        };
        let Some(index) = &view.index else {
            return false;
        };
        let Some(slot) = index.index().search(index.hasher().of_word(key).0, Some) else {
            return false;
        };
        let words = view.source.region().words();
        Source::is_running(words) && view.source.read_by_word(words, slot, key, row)
    }

    /// Performs [`get`](Self::get) after [`get_fast`](Self::get_fast) returned false.
    #[inline(never)]
    pub(super) fn get_after_fast(&self, key: &[u8], row: &mut [u64]) -> Result<bool> {
        let has_word_keys = self.view.load().source.has_own_word_keys();
        if has_word_keys { Ok(self.find(key, row)?.is_some()) } else { self.get(key, row) }
    }

    /// Copies the row of a key as of the last commit into `row`. Returns false if it does not
    /// exist.
    pub(super) fn get<B: RowBuffer + ?Sized>(&self, key: &[u8], row: &mut B) -> Result<bool> {
        let view = self.view.load();
        if Source::is_running(view.source.region().words())
            && view.find_fast(key, row.words(&view.source)).is_some()
        {
            return Ok(true);
        }
        drop(view);
        Ok(self.find(key, row)?.is_some())
    }

    /// Copies the row of a key as of the last commit into `row`, and returns its place.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt), and
    /// [`Error::TextTooLong`](crate::Error::TextTooLong).
    #[inline(never)]
    pub(super) fn find<B: RowBuffer + ?Sized>(
        &self,
        key: &[u8],
        row: &mut B,
    ) -> Result<Option<Place>> {
        let backoff = Backoff::new();
        for _ in 0..ROW_PASSES {
            let view = self.current()?;
            let Some(region_key) = view.source.region_key(key) else {
                return Ok(None);
            };
            let mut unconverted = match view.source.conversion() {
                Some(_) => vec![0; view.source.region().geometry().row_words],
                None => Vec::new(),
            };
            let words = match unconverted.is_empty() {
                true => row.words(&view.source),
                false => &mut unconverted,
            };
            match view.attempt(&region_key, words)? {
                Ok(Known::Row { slot, .. }) => {
                    if !unconverted.is_empty() {
                        view.source.convert(&unconverted, row.words(&view.source))?;
                    }
                    return Ok(Some(Place { source: Arc::clone(&view.source), slot }));
                }
                // A region that was replaced proves nothing about the table.
                Ok(Known::Absent) if self.is_last(&view)? => return Ok(None),
                Ok(Known::Absent) => {}
                Ok(Known::Nothing) => backoff.spin(),
                Err(generation) => {
                    let next = view.at_generation(generation);
                    drop(view);
                    self.view.store(next);
                }
            }
        }
        Err(self.view.load().source.outrun(ROW_PASSES))
    }

    /// Looks up all of `keys` as of one version, which is returned, and then calls `visit` with the
    /// index of each key and its row.
    ///
    /// Each pass looks up the keys that the pass before did not find first, because they may be
    /// rows that change all the time. A row that was found is checked again by its tag only.
    ///
    /// # Errors
    /// The errors of [`find`](Self::find). Unless a text does not fit, `visit` was not called then.
    pub(super) fn get_many<K: Key>(
        &self,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<&[u64]>, &Arc<Schema>),
    ) -> Result<u64> {
        for _ in 0..PASSES {
            let view = self.current()?;
            let (source, mut many) =
                (Arc::clone(&view.source), ManyRows::new(&view.source, keys.len()));
            let version = match many.look_up(&view, keys)? {
                Ok(version) if self.is_last(&view)? => version,
                Ok(_) => continue,
                Err(generation) => {
                    let next = view.at_generation(generation);
                    drop(view);
                    self.view.store(next);
                    continue;
                }
            };
            // `visit` may take any time, and may look up keys itself.
            drop(view);
            let mut words = vec![0; source.schema().row_words()];
            for index in 0..keys.len() {
                let row = match many.row(index) {
                    Some(row) if source.conversion().is_some() => {
                        source.convert(row, &mut words)?;
                        Some(&words[..])
                    }
                    row => row,
                };
                visit(index, row, source.schema());
            }
            return Ok(version);
        }
        Err(self.view.load().source.outrun(PASSES))
    }

    /// Copies the row of a key as of the last commit into `row`, if it is still at `place`;
    /// otherwise looks the key up again, and updates `place`. Returns false if the key has no
    /// row.
    #[inline(never)]
    pub(super) fn read<B: RowBuffer + ?Sized>(
        &self,
        place: &mut Place,
        key: &[u8],
        row: &mut B,
    ) -> Result<bool> {
        let source = &place.source;
        if Source::is_running(source.region().words())
            && source.conversion().is_none()
            && source.read_fast(place.slot, key, row.words(source))
        {
            return Ok(true);
        }
        match self.find(key, row)? {
            Some(found) => *place = found,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the region that lookups read now. Moves to a successor that has taken its name.
    pub(super) fn source(&self) -> Result<Arc<Source>> {
        self.current().map(|view| Arc::clone(&view.source))
    }

    /// Returns a view of a region that is current, and moves to that region before.
    fn current(&self) -> Result<Loaded<'_, View>> {
        for _ in 0..PASSES {
            let view = self.view.load();
            if self.is_current(&view)? {
                return Ok(view);
            }
            match view.source.reopen()? {
                // The table was removed: its last rows stay readable.
                None => return Ok(view),
                // Another thread may have opened an earlier region and store it only now, so the
                // view is checked again.
                Some(source) => {
                    drop(view);
                    self.move_to(Arc::new(source));
                }
            }
        }
        Err(self.view.load().source.outrun(PASSES))
    }

    /// Returns true if the region of a view is current, or if no region has taken its name, as far
    /// as this process knows.
    fn is_last(&self, view: &View) -> Result<bool> {
        Ok(self.is_current(view)? || view.source.reopen()?.is_none())
    }

    /// Returns true if the region of a view has not been replaced, as far as this process knows. A
    /// publisher marks its region before another one takes the name.
    fn is_current(&self, view: &View) -> Result<bool> {
        let region = view.source.region();
        match State::from_word(region.word(header::STATE)) {
            Some(State::Running) => Ok(true),
            Some(State::Superseded) => Ok(region.has_name()),
            Some(State::Closed) => {
                let (now, checked) = (monotonic_ns(), self.checked_ns.load(Ordering::Relaxed));
                if now.saturating_sub(checked) < RECHECK_NS {
                    return Ok(true);
                }
                self.checked_ns.store(now, Ordering::Relaxed);
                Ok(region.has_name())
            }
            None => Err(region.corrupt("its publisher state is unknown".to_owned())),
        }
    }
}

/// The result of looking up a key in one pass.
#[derive(Clone, Copy)]
enum Known {
    /// No result: the key was not looked up yet, or its row was overwritten during the pass.
    Nothing,
    /// The key has a row at this slot, written under this tag.
    Row { slot: usize, tag: Tag },
    /// The key has no row.
    Absent,
}

/// The rows of several keys, copied over several passes.
struct ManyRows {
    known: Vec<Known>,
    words: Vec<u64>,
    row_words: usize,
}

impl ManyRows {
    fn new(source: &Source, keys: usize) -> Self {
        let row_words = source.region().geometry().row_words;
        Self { known: vec![Known::Nothing; keys], words: vec![0; keys * row_words], row_words }
    }

    fn row(&self, key: usize) -> Option<&[u64]> {
        let row = &self.words[key * self.row_words..][..self.row_words];
        matches!(self.known[key], Known::Row { .. }).then_some(row)
    }

    /// Returns the version of all rows, or the number of the current generation of the index if
    /// another one is mapped.
    fn look_up<K: Key>(
        &mut self,
        view: &View,
        keys: &[K],
    ) -> Result<std::result::Result<u64, u64>> {
        let region = view.source.region();
        // Keys in the order of a pass.
        let mut order: Vec<usize> = (0..keys.len()).collect();
        for _ in 0..PASSES {
            let (version, table) = region.look()?;
            let current = generation(region.words());
            if view.is_outdated(current) {
                return Ok(Err(current));
            }
            let proven = match &view.index {
                Some(index) => {
                    let entries = index.index();
                    for group in order.chunks(GROUP) {
                        self.pass(view, &table, version, (&entries, index.hasher()), keys, group);
                    }
                    let misses = self.known.iter().any(|known| matches!(known, Known::Absent));
                    let proven = !misses || entries.proves_absence(version);
                    if !index.is_whole() || !(proven || entries.is_committed(region.words())) {
                        return Ok(Err(current));
                    }
                    proven
                }
                None => {
                    self.scan(view, &table, version, keys);
                    true
                }
            };
            region.check_whole()?;
            let failed = self.known.iter().any(|known| matches!(known, Known::Nothing));
            if proven && !failed {
                return Ok(Ok(version));
            }
            order.sort_by_key(|key| !matches!(self.known[*key], Known::Nothing));
        }
        Err(view.source.outrun(PASSES))
    }

    /// Looks up the keys of a group as of `version`. Their entries, tags and rows are fetched
    /// together.
    fn pass<K: Key>(
        &mut self,
        view: &View,
        table: &Table<'_>,
        version: u64,
        (entries, hasher): (&KeyIndex<'_>, KeyHasher),
        keys: &[K],
        group: &[usize],
    ) {
        let source = &view.source;
        let hash = |key: &[u8]| source.region_key(key).map(|key| source.hash(hasher, &key).0);
        let mut hashes = [None; GROUP];
        for (hash_of_key, key) in hashes.iter_mut().zip(group) {
            *hash_of_key = keys[*key].with_bytes(hash);
            hash_of_key.iter().for_each(|hash| entries.prefetch(*hash));
        }
        let mut slots = [None; GROUP];
        for (slot, hash) in slots.iter_mut().zip(hashes) {
            *slot = hash.and_then(|hash| entries.search(hash, Some));
            slot.iter().for_each(|slot| table.prefetch_place(*slot));
        }
        for slot in slots.into_iter().flatten().filter(|slot| *slot < table.rows()) {
            table.prefetch_copy(slot, version);
        }
        for (key, hash) in group.iter().zip(hashes) {
            let row = &mut self.words[key * self.row_words..][..self.row_words];
            // The owner of the table may have damaged its number of rows since the pass before.
            if let Known::Row { slot, tag } = self.known[*key]
                && slot < table.rows()
                && table.read(slot, version, tag.version(), row) == Ok(tag)
            {
                continue;
            }
            self.known[*key] = keys[*key].with_bytes(|bytes| {
                let (Some(hash), Some(bytes)) = (hash, source.region_key(bytes)) else {
                    return Known::Absent;
                };
                match entries.find(table, version, hash, row, |row| source.is_key_of(&bytes, row)) {
                    Ok(Some((slot, tag))) => Known::Row { slot, tag },
                    Ok(None) => Known::Absent,
                    Err(_) => Known::Nothing,
                }
            });
        }
    }

    /// Looks up all keys by reading all rows, for a table whose index cannot be opened.
    fn scan<K: Key>(&mut self, view: &View, table: &Table<'_>, version: u64, keys: &[K]) {
        let rows = self.words.chunks_exact_mut(self.row_words);
        for ((key, known), row) in keys.iter().zip(&mut self.known).zip(rows) {
            *known = key.with_bytes(|bytes| match view.source.region_key(bytes) {
                None => Known::Absent,
                Some(bytes) => {
                    find_by_scan(table, version, row, |row| view.source.is_key_of(&bytes, row))
                }
            });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::region::object::TableName;
    use crate::{Schema, UntypedPublisher};

    #[test]
    fn number_of_rows_that_is_damaged_between_two_passes_does_not_panic() {
        let name = format!("unit-get-many-{}", std::process::id());
        let schema = Schema::parse("id:u64", None).unwrap();
        let mut row = RowBuf::new(schema.clone().into());
        row.words_mut()[0] = 7;
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let mut tx = publisher.begin();
        tx.insert(row.bytes()).unwrap();
        tx.commit().unwrap();
        let source = Source::open(TableName::new(&name).unwrap(), None, None).unwrap();
        let lookup = Lookup::new(Arc::new(source));
        let keys = [KeyBytes(&7_u64.to_ne_bytes())];
        lookup.get_many(&keys, |_, row, _| assert!(row.is_some())).unwrap();
        let view = lookup.current().unwrap();
        let mut many = ManyRows::new(&view.source, 1);
        many.look_up(&view, &keys).unwrap().unwrap();
        let region = File::options().write(true).open(format!("/dev/shm/tablecast.table.{name}"));
        region.unwrap().write_all_at(&[0; 8], header::ROWS as u64 * 8).unwrap();
        let _any_answer = many.look_up(&view, &keys);
        publisher.close().unwrap();
    }
}
