//! The local copy of a table: rows by slot, an index by key, and the changes of the last refresh.
//!
//! - [`KeyedRows`] holds rows of one version, by slot and by key.
//! - [`LocalCopy`] fills them from a [`Source`]. A refresh first copies all changed rows into a
//!   buffer ([`catch_up`](crate::protocol::catch_up)). When the buffer is complete, it is applied
//!   to the rows, and the differences are listed by key. After an error the rows are unchanged.

use std::sync::Arc;

use super::follow::Content;
use super::lookup::{Lookup, RowBuffer};
use super::source::{Source, row_ref};
use crate::error::Result;
use crate::index::{Hash, KeyHasher, KeyIndex};
use crate::memory::{self, AlignedWords, NoMemory, Scratch, try_extend};
use crate::protocol::catch_up::{ChangedRow, ChangedRows};
use crate::protocol::journal::Cursor;
use crate::protocol::words::{SetBits, set_bits};
use crate::region::ReaderRegion;
use crate::row::RowRef;
use crate::row::schema::{Conversion, Schema};

/// Number of rows that `apply` prefetches ahead.
const AHEAD: usize = 16;

/// The whole table at one version, in private memory.
pub(super) struct LocalCopy {
    source: Arc<Source>,
    lookup: Lookup,
    /// The version of the rows, and its position in the journal.
    cursor: Cursor,
    rows: KeyedRows,
    /// Changed rows that are not applied yet. The buffer is kept to reuse its memory.
    buffer: ChangedRows,
    changes: ChangeList,
    schema_changed: bool,
}

impl LocalCopy {
    /// Copies all rows of a table.
    pub(super) fn new(source: Arc<Source>) -> Result<Self> {
        let (cursor, words, live) = source.copy_converted()?;
        let rows =
            KeyedRows::new(source.schema(), words, live).map_err(|NoMemory| source.no_memory())?;
        Ok(Self {
            cursor,
            rows,
            buffer: ChangedRows::default(),
            changes: ChangeList { all: true, ..ChangeList::new(source.schema()) },
            schema_changed: false,
            lookup: Lookup::new(Arc::clone(&source)),
            source,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    /// Copies the last committed row of a key from shared memory into `row`, in the usual case: it
    /// is still at its slot in the copy. Returns false in each unusual case;
    /// [`latest`](Self::latest) handles them.
    #[inline(always)]
    pub(super) fn latest_fast(&self, key: u64, row: &mut [u64]) -> bool {
        let Some(slot) = self.rows.find_candidate(&key.to_ne_bytes()) else {
            return false;
        };
        let words = self.source.region().words();
        Source::is_running(words) && self.source.read_by_word(words, slot, key, row)
    }

    /// Copies the last committed row of a key from shared memory into `row`. Returns false if it
    /// does not exist.
    #[inline(never)]
    pub(super) fn latest<B: RowBuffer + ?Sized>(&self, key: &[u8], row: &mut B) -> Result<bool> {
        // Usually the row is still at its slot in the copy. So read that slot first, and compare
        // the key afterwards.
        let source = &self.source;
        if Source::is_running(source.region().words())
            && source.conversion().is_none()
            && let Some(slot) = self.rows.find_candidate(key)
            && source.read_fast(slot, key, row.words(source))
        {
            return Ok(true);
        }
        self.lookup.get(key, row)
    }

    /// Returns the region that has the table's name now, which may be newer than that of the copy.
    pub(super) fn latest_source(&self) -> Result<Arc<Source>> {
        self.lookup.source()
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.rows.rows.schema
    }

    pub(super) fn len(&self) -> usize {
        self.rows.index.len()
    }

    /// Returns the row of a key; `None` also for a key of the wrong length.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<RowRef<'_>> {
        let row_words = self.schema().row_words();
        let (slot, _) = self.rows.find(key, row_words)?;
        Some(self.row(slot))
    }

    /// Returns the words of the row of a key. `row_words` is the size of a row, which a typed
    /// caller knows at compile time.
    #[inline(always)]
    pub(super) fn get_words(&self, key: &[u8], row_words: usize) -> Option<&[u64]> {
        debug_assert_eq!(row_words, self.schema().row_words());
        self.rows.find(key, row_words).map(|(_, row)| row)
    }

    /// Returns all slots that hold a row.
    pub(super) fn slots(&self) -> LiveSlots<'_> {
        LiveSlots { bits: set_bits(&self.rows.live), left: self.len() }
    }

    /// Returns the row at a slot.
    #[inline]
    pub(super) fn row(&self, slot: usize) -> RowRef<'_> {
        self.rows.row(slot)
    }

    /// Returns the changes of the last refresh. `None` after opening, when all rows are reported as
    /// created.
    #[inline]
    pub(super) fn changes(&self) -> Option<&[Changed]> {
        (!self.changes.all).then_some(&self.changes.items[..])
    }

    /// Returns the old row at position `at` of the changes.
    pub(super) fn old_row(&self, at: usize) -> RowRef<'_> {
        row_ref(&self.changes.schema, self.changes.old_words(at))
    }
}

/// Iterator over the slots that hold a row.
#[derive(Clone)]
pub(super) struct LiveSlots<'s> {
    bits: SetBits<'s>,
    left: usize,
}

impl Iterator for LiveSlots<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let slot = self.bits.next()?;
        self.left -= 1;
        Some(slot)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for LiveSlots<'_> {}

impl Content for LocalCopy {
    #[inline]
    fn region(&self) -> &ReaderRegion {
        self.source.region()
    }

    #[inline]
    fn version(&self) -> u64 {
        self.cursor.version
    }

    fn catch_up(&mut self) -> Result<()> {
        let cursor = self.source.catch_up(self.cursor, &mut self.buffer)?;
        self.rows
            .apply(&self.buffer, &mut self.changes)
            .map_err(|NoMemory| self.source.no_memory())?;
        self.cursor = cursor;
        Ok(())
    }

    fn move_to_successor(&mut self) -> Result<bool> {
        let Some(source) = self.source.reopen()? else {
            return Ok(false);
        };
        let mut new = Self::new(Arc::new(source))?;
        new.changes = self.rows.differences(&new.rows);
        new.schema_changed = self.schema_changed || self.schema() != new.schema();
        *self = new;
        Ok(true)
    }

    #[inline]
    fn clear_changes(&mut self) {
        self.changes.clear(&self.rows.rows.schema);
        self.schema_changed = false;
    }

    #[inline]
    fn has_changes(&self) -> bool {
        !self.changes.items.is_empty()
    }

    #[inline]
    fn schema_changed(&self) -> bool {
        self.schema_changed
    }
}

/// A key that changed. `old` is the position of a row in [`ChangeList`], and `slot` is the slot of
/// a row in [`KeyedRows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Created { slot: usize },
    Updated { old: usize, slot: usize },
    Deleted { old: usize },
}

/// Changes of the last refresh.
struct ChangeList {
    items: Scratch<Changed>,
    /// True after opening: all rows are reported as created, and `items` is not used.
    all: bool,
    old_rows: Scratch<u64>,
    /// Schema of the old rows.
    schema: Arc<Schema>,
}

impl ChangeList {
    fn new(schema: &Arc<Schema>) -> Self {
        Self {
            items: Scratch::default(),
            all: false,
            old_rows: Scratch::default(),
            schema: Arc::clone(schema),
        }
    }

    /// Empties the list, for changes from rows of `schema`.
    #[inline]
    fn clear(&mut self, schema: &Arc<Schema>) {
        self.items.recycle();
        self.all = false;
        self.old_rows.recycle();
        if !Arc::ptr_eq(&self.schema, schema) {
            self.schema = Arc::clone(schema);
        }
    }

    fn old_bytes(&self, at: usize) -> &[u8] {
        &bytemuck::cast_slice(self.old_words(at))[..self.schema.row_size()]
    }

    fn old_words(&self, at: usize) -> &[u64] {
        &self.old_rows[at..][..self.schema.row_words()]
    }

    /// Stores an old row and returns its position.
    fn keep(&mut self, row: &[u64]) -> usize {
        let at = self.old_rows.len();
        self.old_rows.extend_from_slice(row);
        at
    }
}

/// Rows of one schema, by slot and by key.
struct KeyedRows {
    rows: SlotRows,
    /// One bit per slot: set if the slot holds a row.
    live: Vec<u64>,
    index: KeyIndex,
}

impl KeyedRows {
    /// Builds the index of rows that [`copy_all`] copied.
    fn new(
        schema: &Arc<Schema>,
        words: AlignedWords,
        live: Vec<u64>,
    ) -> std::result::Result<Self, NoMemory> {
        let count = live.iter().map(|bits| bits.count_ones() as usize).sum();
        let mut all = Self {
            rows: SlotRows::new(schema, words),
            live,
            index: KeyIndex::try_with_capacity(count)?,
        };
        let mut hashes = Vec::with_capacity(64);
        for word in 0..all.live.len() {
            hashes.extend(set_bits(&[all.live[word]]).map(|row| {
                let slot = word * 64 + row;
                let hash = all.rows.hash(all.rows.at(slot));
                all.index.prefetch(hash);
                (hash, slot)
            }));
            for (hash, slot) in hashes.drain(..) {
                if let Some(twin) = all.index_row(hash, slot) {
                    all.set_live(twin, false);
                }
            }
        }
        Ok(all)
    }

    /// Makes room for changed rows, and in `changes` for their old rows. Returns lists with room for
    /// the old rows of deleted keys and for the rows of new slots.
    fn make_room<'c>(
        &mut self,
        changed: &'c ChangedRows,
        changes: &mut ChangeList,
    ) -> std::result::Result<(Vec<usize>, Vec<&'c ChangedRow>), NoMemory> {
        let (mut slots, mut known, mut deleted, mut new) = (0, 0, 0, 0);
        for row in changed.list() {
            slots = slots.max(row.slot as usize + 1);
            if self.is_live(row.slot as usize) {
                known += 1;
                deleted += usize::from(changed.row(row).is_none());
            } else {
                new += 1;
            }
        }
        if slots > self.live.len() * 64 {
            let bits = slots.div_ceil(64);
            self.rows.try_grow(bits * 64)?;
            try_extend(&mut self.live, bits)?;
        }
        changes.items.try_reserve(changed.list().len())?;
        changes.old_rows.try_reserve(known * self.rows.row_words)?;
        let (mut left, mut entered) = (Vec::new(), Vec::new());
        left.try_reserve(deleted)?;
        if new > 0 {
            let rows = &self.rows;
            self.index.try_reserve(new, slots - 1, |other| rows.hash(rows.at(other)))?;
            entered.try_reserve(new)?;
        }
        Ok((left, entered))
    }

    /// Returns the slot of a key and the words of its row; `None` also for a key of the wrong
    /// length. `row_words` is the size of a row, which a caller may know at compile time.
    #[inline(always)]
    fn find(&self, key: &[u8], row_words: usize) -> Option<(usize, &[u64])> {
        let rows = &self.rows;
        let row = |slot: usize| &rows.words[slot * row_words..][..row_words];
        match rows.key_as_word(key) {
            Some((word, key)) => self.index.find(rows.hasher.of_word(key), |slot| {
                let row = row(slot);
                (row[word] == key).then_some((slot, row))
            }),
            None => self.find_by_parts(key).map(|slot| (slot, row(slot))),
        }
    }

    fn find_by_parts(&self, key: &[u8]) -> Option<usize> {
        self.index.find(self.rows.hash_key(key)?, |slot| {
            self.rows.is_key_of(key, self.rows.at(slot)).then_some(slot)
        })
    }

    /// Returns the first slot whose entry has the hash of the key. The row at that slot may have
    /// another key.
    #[inline]
    fn find_candidate(&self, key: &[u8]) -> Option<usize> {
        self.index.find(self.rows.hash_key(key)?, Some)
    }

    #[inline]
    fn row(&self, slot: usize) -> RowRef<'_> {
        row_ref(&self.rows.schema, self.rows.at(slot))
    }

    fn is_live(&self, slot: usize) -> bool {
        self.live.get(slot / 64).is_some_and(|bits| bits >> (slot % 64) & 1 == 1)
    }

    fn set_live(&mut self, slot: usize, live: bool) {
        let bit = 1 << (slot % 64);
        let bits = &mut self.live[slot / 64];
        *bits = if live { *bits | bit } else { *bits & !bit };
    }

    /// Applies changed rows by key: first removes each key that left a slot, then adds each key
    /// that entered one. A key that did both is reported as updated, or not at all if its row is
    /// the same.
    ///
    /// # Errors
    /// [`NoMemory`]; the rows are then unchanged.
    fn apply(
        &mut self,
        changed: &ChangedRows,
        changes: &mut ChangeList,
    ) -> std::result::Result<(), NoMemory> {
        let (mut left, mut entered) = self.make_room(changed, changes)?;
        for (at, changed_row) in changed.list().iter().enumerate() {
            if let Some(later) = changed.list().get(at + AHEAD) {
                self.rows.prefetch(later.slot as usize);
            }
            let slot = changed_row.slot as usize;
            let row = changed.row(changed_row);
            if self.is_live(slot) {
                if let Some(row) = row.filter(|row| self.rows.same_key(self.rows.at(slot), row)) {
                    if self.rows.at(slot) != row {
                        let old = changes.keep(self.rows.at(slot));
                        changes.items.push(Changed::Updated { old, slot });
                        self.rows.write(slot, row);
                    }
                    continue;
                }
                left.push(changes.keep(self.rows.at(slot)));
                let rows = &self.rows;
                let hash_at = |slot| rows.hash(rows.at(slot));
                self.index.remove(hash_at(slot), slot, hash_at);
                self.set_live(slot, false);
            }
            if row.is_some() {
                entered.push(changed_row);
            }
        }
        self.enter(changed, changes, &left, &entered);
        Ok(())
    }

    /// Adds the keys that entered a slot. Reports them and the keys that left a slot.
    fn enter(
        &mut self,
        changed: &ChangedRows,
        changes: &mut ChangeList,
        left: &[usize],
        entered: &[&ChangedRow],
    ) {
        let mut returning = KeyIndex::default();
        if !entered.is_empty() {
            for number in 0..left.len() {
                let hash_at = |number: usize| self.rows.hash(changes.old_words(left[number]));
                returning.put(hash_at(number), number, |_| false, hash_at);
            }
        }
        let mut has_returned = vec![false; left.len()];
        for changed_row in entered {
            let slot = changed_row.slot as usize;
            let row = changed.row(changed_row).expect("only rows that are live entered");
            let hash = self.rows.hash(row);
            self.rows.write(slot, row);
            self.set_live(slot, true);
            let twin = self.index_row(hash, slot);
            if let Some(twin) = twin {
                self.set_live(twin, false);
            }
            let number = returning.find(hash, |number| {
                let same = self.rows.same_key(changes.old_words(left[number]), row);
                same.then_some(number)
            });
            let old = match number {
                Some(number) => {
                    has_returned[number] = true;
                    if changes.old_bytes(left[number]) == self.rows.bytes(slot) {
                        continue;
                    }
                    Some(left[number])
                }
                None => twin.map(|twin| changes.keep(self.rows.at(twin))),
            };
            changes.items.push(match old {
                Some(old) => Changed::Updated { old, slot },
                None => Changed::Created { slot },
            });
        }
        let gone = left.iter().zip(has_returned).filter(|(_, back)| !back);
        changes.items.extend(gone.map(|(old, _)| Changed::Deleted { old: *old }));
    }

    /// Adds a row to the index. Returns the slot that had the same key before. Only a damaged table
    /// has a key at two slots; its later row then replaces the earlier one.
    #[inline]
    fn index_row(&mut self, hash: Hash, slot: usize) -> Option<usize> {
        let rows = &self.rows;
        let is_twin = |twin| rows.same_key(rows.at(twin), rows.at(slot));
        let hash_at = |other| rows.hash(rows.at(other));
        self.index.put(hash, slot, is_twin, hash_at)
    }

    /// Lists the changes that lead from these rows to the rows `new` of another region, which may
    /// have another schema. A row has changed if a field that both schemas have holds another
    /// value.
    fn differences(&self, new: &Self) -> ChangeList {
        let (old_schema, new_schema) = (&self.rows.schema, &new.rows.schema);
        let mut changes = ChangeList::new(old_schema);
        let conversion = Conversion::between(old_schema, new_schema);
        let mut converted = vec![0; new_schema.row_size()];
        let mut key = Vec::with_capacity(new_schema.key_size());
        let mut known = vec![false; new.live.len() * 64];
        // Fields that both schemas have but that are not converted, because the new field has
        // another kind or is a narrower text.
        let lost = conversion.as_ref().map(Conversion::lost);
        let retyped = lost.unwrap_or_default().iter();
        let retyped: Vec<(usize, usize)> = retyped
            .filter_map(|name| Some((old_schema.field(name)?.0, new_schema.field(name)?.0)))
            .collect();
        for slot in set_bits(&self.live) {
            let successor = conversion.as_ref().and_then(|conversion| {
                conversion.convert(self.rows.bytes(slot), &mut converted);
                key.clear();
                new_schema.write_key(&converted, &mut key);
                new.find(&key, new_schema.row_words())
            });
            let Some((successor, _)) = successor else {
                let old = changes.keep(self.rows.at(slot));
                changes.items.push(Changed::Deleted { old });
                continue;
            };
            known[successor] = true;
            let (before, now) = (self.row(slot), new.row(successor));
            let mut differs = false;
            for (from, to) in &retyped {
                differs |= before.value(*from) != now.value(*to);
                let range = new_schema.fields()[*to].range();
                converted[range.clone()].copy_from_slice(&now.bytes()[range]);
            }
            if differs || converted != new.rows.bytes(successor) {
                let old = changes.keep(self.rows.at(slot));
                changes.items.push(Changed::Updated { old, slot: successor });
            }
        }
        let created =
            set_bits(&new.live).filter(|slot| !known[*slot]).map(|slot| Changed::Created { slot });
        changes.items.extend(created);
        if changes.items.is_empty() {
            // Rows that are committed from now on have the new schema.
            changes.clear(new_schema);
        }
        changes
    }
}

/// Rows of one schema by slot, and the keys in them.
struct SlotRows {
    schema: Arc<Schema>,
    hasher: KeyHasher,
    row_words: usize,
    /// Result of [`Schema::key_word`].
    key_word: Option<usize>,
    words: AlignedWords,
}

impl SlotRows {
    fn new(schema: &Arc<Schema>, words: AlignedWords) -> Self {
        Self {
            schema: Arc::clone(schema),
            hasher: KeyHasher::random(),
            row_words: schema.row_words(),
            key_word: schema.key_word(),
            words,
        }
    }

    /// Makes room for `slots` rows.
    fn try_grow(&mut self, slots: usize) -> std::result::Result<(), NoMemory> {
        self.words.try_grow(slots * self.row_words)
    }

    /// Returns the words of the row at a slot.
    #[inline]
    fn at(&self, slot: usize) -> &[u64] {
        &self.words[slot * self.row_words..][..self.row_words]
    }

    /// Returns the bytes of the row at a slot.
    #[inline]
    fn bytes(&self, slot: usize) -> &[u8] {
        &bytemuck::cast_slice(self.at(slot))[..self.schema.row_size()]
    }

    fn write(&mut self, slot: usize, row: &[u64]) {
        self.words[slot * self.row_words..][..self.row_words].copy_from_slice(row);
    }

    /// Prefetches the row at a slot, if the slot exists.
    #[inline]
    fn prefetch(&self, slot: usize) {
        self.words.get(slot * self.row_words).inspect(|word| memory::prefetch(*word));
    }

    /// Returns the position of the key in a row and the key's value, if keys are single words.
    #[inline(always)]
    fn key_as_word(&self, key: &[u8]) -> Option<(usize, u64)> {
        let word = self.key_word?;
        let key = <[u8; 8]>::try_from(key).ok()?;
        Some((word, u64::from_ne_bytes(key)))
    }

    /// Returns the hash of a key; `None` for a key of the wrong length.
    #[inline]
    fn hash_key(&self, key: &[u8]) -> Option<Hash> {
        match self.key_as_word(key) {
            Some((_, key)) => Some(self.hasher.of_word(key)),
            None => {
                (key.len() == self.schema.key_size()).then(|| self.hasher.of_key(&self.schema, key))
            }
        }
    }

    /// Returns true if `key` is the key of `row`.
    #[inline]
    fn is_key_of(&self, key: &[u8], row: &[u64]) -> bool {
        match self.key_as_word(key) {
            Some((word, key)) => row[word] == key,
            None => self.schema.key_matches(bytemuck::cast_slice(row), key),
        }
    }

    /// Returns the hash of a row's key.
    #[inline]
    fn hash(&self, row: &[u64]) -> Hash {
        match self.key_word {
            Some(word) => self.hasher.of_word(row[word]),
            None => self.hasher.of_row(&self.schema, bytemuck::cast_slice(row)),
        }
    }

    #[inline]
    fn same_key(&self, one: &[u64], other: &[u64]) -> bool {
        match self.key_word {
            Some(word) => one[word] == other[word],
            None => self.schema.same_key(bytemuck::cast_slice(one), bytemuck::cast_slice(other)),
        }
    }
}

#[cfg(test)]
mod tests;
