//! The publisher's table: its region, the index of its rows, and the staged transaction.
//!
//! 1. Changes are staged in private memory. Slots are assigned at this point, so that every step
//!    that can fail has succeeded before the first tag is written.
//! 2. [`PublishedTable::commit`] grows the region, which is the last step that can fail, and writes
//!    the rows ([`WritableTable::commit`](crate::protocol::commit::WritableTable::commit)).
//! 3. [`PublishedTable::finish`] updates the index. [`PublishedTable::roll_back`] restores it
//!    instead if the transaction is discarded.
//!
//! A deleted key keeps its slot until the end of the transaction, because the key may be inserted
//! again. Such a slot is reassigned to another key during the transaction only if the region is
//! full.
//!
//! A transaction may stage more rows than the region has room for, up to the maximum capacity. The
//! publisher then moves the table to a larger region before it commits
//! ([`PublishedTable::move_to`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::Statistics;
use super::key_index::PublishedIndex;
use crate::error::{Error, Result};
use crate::index::{Hash, KeyHasher, KeyIndex};
use crate::memory::{AlignedWords, NoMemory, Scratch};
use crate::protocol::commit::Write;
use crate::protocol::layout::{MAX_VERSION, header};
use crate::protocol::read::Table;
use crate::region::PublisherRegion;
use crate::region::object::{TableName, no_memory};
use crate::row::schema::Schema;
use crate::row::{Row, RowBuf, check_length};

/// Ratio of the capacity of a successor region to that of a full region.
const GROWTH_FACTOR: usize = 4;

/// A table that this process publishes.
pub(super) struct PublishedTable {
    name: TableName,
    region: PublisherRegion,
    index: RowIndex,
    /// The index that readers use.
    key_index: PublishedIndex,
    /// Capacity up to which successor regions may grow; 0 if the capacity is fixed.
    growth_limit: usize,
    /// Capacity up to which the layout allows them to grow.
    layout_limit: usize,
    staged: StagedChanges,
    version: u64,
    /// Number of committed rows.
    rows: usize,
    statistics: Statistics,
}

impl PublishedTable {
    /// Returns the table that a region contains as of its last commit.
    pub fn new(name: &TableName, region: PublisherRegion) -> Result<Self> {
        match RowIndex::new(name, &region) {
            Err(Error::KeyExists { .. }) => {
                Err(region.corrupt("two of its slots have the same key".to_owned()))
            }
            index => Self::of(name, region, index?),
        }
    }

    /// Fills a region that has no rows and no name yet, and returns its table.
    pub fn with_rows<B: AsRef<[u8]>>(
        name: &TableName,
        region: PublisherRegion,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<Self> {
        let schema = Arc::clone(region.schema());
        let (version, capacity) = (region.word(header::COMMIT), region.geometry().capacity);
        let mut words = vec![0; schema.row_words()];
        for (slot, row) in rows.into_iter().enumerate() {
            let row = row.as_ref();
            check_length(name.as_str(), "row", row, schema.row_size())?;
            if slot >= capacity {
                return Err(full(name, capacity));
            }
            bytemuck::cast_slice_mut(&mut words)[..row.len()].copy_from_slice(row);
            region.grow(slot + 1)?;
            let (_, table) = region.look()?;
            table.fill(slot, 0, version, Some(&words));
        }
        let index = RowIndex::new(name, &region)?;
        Self::of(name, region, index)
    }

    fn of(name: &TableName, region: PublisherRegion, index: RowIndex) -> Result<Self> {
        let (version, staged) = (region.word(header::COMMIT), StagedChanges::default());
        let key_index = index.publish(&staged, &region, version, 0)?;
        let rows = index.keys.len();
        (0..2).for_each(|word| region.set(header::LIVE + word, rows as u64));
        let layout_limit = region.geometry().max_capacity();
        Ok(Self {
            name: name.clone(),
            region,
            index,
            key_index,
            growth_limit: 0,
            layout_limit,
            staged,
            version,
            rows,
            statistics: Statistics::default(),
        })
    }

    pub fn set_growth_limit(&mut self, limit: usize) {
        self.growth_limit = limit;
    }

    /// Returns the capacity up to which the table may grow.
    pub fn max_capacity(&self) -> usize {
        self.growth_limit.min(self.layout_limit).max(self.region.geometry().capacity)
    }

    /// Returns the capacity that the staged changes need: that of the region, or a larger one.
    pub fn needed_capacity(&self) -> usize {
        let mut capacity = self.region.geometry().capacity;
        while capacity < self.staged.end {
            capacity = (capacity * GROWTH_FACTOR).min(self.max_capacity());
        }
        capacity
    }

    #[inline]
    pub fn region(&self) -> &PublisherRegion {
        &self.region
    }

    pub fn schema(&self) -> &Arc<Schema> {
        self.region.schema()
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Returns the number of committed rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Stores the number of rows as of `version`, before its commit.
    #[inline]
    fn set_live_rows(&self, version: u64) {
        let word = header::LIVE + (version & 1) as usize;
        if self.region.word(word) != self.rows as u64 {
            self.region.set(word, self.rows as u64);
        }
    }

    /// Returns the committed row of a key, given in canonical bytes.
    pub fn get(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        if !self.staged.is_empty() {
            // A forgotten transaction has changed the index; the next transaction undoes that.
            let is_found = |row: &RowBuf| row.as_ref().key().to_bytes() == key;
            return self.iter().find(|row| row.as_ref().map_or(true, is_found)).transpose();
        }
        self.index.find(key).and_then(|slot| self.row(slot)).transpose()
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<RowBuf>> + '_ {
        (0..self.index.used).filter_map(|slot| self.row(slot))
    }

    fn row(&self, slot: usize) -> Option<Result<RowBuf>> {
        let schema = self.schema();
        let mut words = vec![0; schema.row_words()];
        match self.read(slot, &mut words) {
            Ok(false) => None,
            Ok(true) => {
                let bytes = &bytemuck::cast_slice(&words)[..schema.row_size()];
                Some(RowBuf::from_bytes(Arc::clone(schema), bytes))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Copies the committed row at `slot` to `words`. Returns false if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the region does not have the row that this publisher committed.
    fn read(&self, slot: usize, words: &mut [u64]) -> Result<bool> {
        if !self.index.slots.note(slot).is_live() {
            return Ok(false);
        }
        let (_, table) = self.region.look()?;
        if slot >= table.rows()
            || !table.read(slot, self.version, 0, words).is_ok_and(|tag| tag.is_live())
        {
            let reason = format!("the committed row at slot {slot} is gone");
            return Err(self.region.corrupt(reason));
        }
        self.region.check_whole()?;
        Ok(true)
    }

    #[inline]
    pub fn insert(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => Err(key_exists(&self.name, self.schema(), row)),
            slot => self.put(slot, row),
        }
    }

    #[inline]
    pub fn update(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => self.put(Some(slot), row),
            _ => Err(self.key_missing(formatted_key(self.schema(), row))),
        }
    }

    #[inline]
    pub fn upsert(&mut self, row: &[u8]) -> Result<()> {
        let slot = self.locate(row)?;
        self.put(slot, row)
    }

    /// Removes the row of a key, given in canonical bytes.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        check_length(self.name.as_str(), "key", key, self.schema().key_size())?;
        match self.index.find(key) {
            Some(slot) if self.is_present(slot) => {
                let reserved = self.staged.reserve_deletion();
                reserved.map_err(|NoMemory| no_memory(self.region.object()))?;
                self.vacate(slot);
                Ok(())
            }
            _ => Err(self.key_missing(self.schema().format_key(key))),
        }
    }

    pub fn clear(&mut self) {
        for slot in 0..self.index.used {
            if self.is_present(slot) {
                self.vacate(slot);
            }
        }
    }

    /// Replaces all rows with `rows`, and stages only the differences. After an error, some of the
    /// differences are staged.
    pub fn replace_with<B: AsRef<[u8]>>(
        &mut self,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<()> {
        let rows: Vec<B> = rows.into_iter().collect();
        let mut kept = vec![false; self.index.used];
        let mut slots = Vec::with_capacity(rows.len());
        for row in &rows {
            let slot = self.locate(row.as_ref())?;
            if let Some(slot) = slot {
                kept[slot] = true;
            }
            // The slot of a deleted key may still be reassigned to another key.
            slots.push(slot.filter(|slot| self.is_present(*slot)));
        }
        // Remove old rows first, to free their slots for new rows.
        for slot in (0..kept.len()).filter(|slot| !kept[*slot]) {
            if self.is_present(slot) {
                self.vacate(slot);
            }
        }
        let mut words = vec![0; self.schema().row_words()];
        for (row, slot) in rows.iter().zip(slots) {
            let row = row.as_ref();
            let slot = match slot {
                Some(slot) => Some(slot),
                None => self.locate(row)?,
            };
            if !slot.is_some_and(|slot| self.holds(slot, row, &mut words)) {
                self.put(slot, row)?;
            }
        }
        Ok(())
    }

    pub fn staged_changes(&self) -> usize {
        self.staged.effective().count()
    }

    /// Returns true if a commit would change no row.
    #[inline]
    pub fn is_unchanged(&self) -> bool {
        self.staged.effective().next().is_none()
    }

    /// Commits the staged changes at `time` (ns of CLOCK_MONOTONIC), and returns the new version.
    /// Call [`finish`](Self::finish) after that.
    pub fn commit(&mut self, time: u64) -> Result<u64> {
        let version = self.next_version()?;
        let staged = &self.staged;
        self.check_notes(staged.slots.iter().map(|staged| staged.slot as usize))?;
        let writes = staged.effective().map(|change| Write {
            slot: change.slot as usize,
            spare: usize::from(change.spare),
            words: &staged.words,
            row: (change.row != NONE).then_some(change.row as usize),
        });
        let rows = staged.end;
        self.region.grow(rows)?;
        if staged.changes_keys {
            let reserved = self.key_index.reserve_slots(rows);
            reserved.map_err(|NoMemory| no_memory(self.region.object()))?;
            let new_keys = staged.new_keys();
            if !self.key_index.has_room(new_keys, rows) {
                self.key_index =
                    self.index.publish(staged, &self.region, self.version, new_keys)?;
            }
        }
        let (_, table) = self.region.look()?;
        if table.rows() < rows {
            let reason = format!("its number of rows fell below {rows}");
            return Err(self.region.corrupt(reason));
        }
        if staged.changes_keys {
            for change in staged.effective().filter(|change| !change.is_update()) {
                let slot = change.slot as usize;
                if change.committed {
                    self.key_index.leave(slot);
                    self.rows -= 1;
                }
                if change.row != NONE {
                    self.key_index.insert(slot, self.index.slots.hash(slot));
                    self.rows += 1;
                }
            }
        }
        self.set_live_rows(version);
        table.commit(version, time, writes);
        self.region.check_whole()?;
        self.key_index.bury(version);
        self.version = version;
        Ok(version)
    }

    /// Ends the committed transaction: updates the index and the statistics.
    pub fn finish(&mut self) {
        let (index, statistics) = (&mut self.index, &mut self.statistics);
        for change in self.staged.slots.iter() {
            let slot = change.slot as usize;
            let live = change.row != NONE;
            let updated = change.is_update();
            statistics.updates += u64::from(updated);
            statistics.creates += u64::from(live && !updated);
            statistics.deletes += u64::from(change.committed && !updated);
            index.unstage(slot, change.is_effective().then_some(live));
            if !live {
                index.free(slot);
            }
        }
        statistics.commits += 1;
        self.staged.clear();
    }

    /// Commits an empty transaction at `time`, to signal an event to subscribers. Keeps the staged
    /// changes.
    pub fn commit_event(&mut self, time: u64) -> Result<()> {
        let version = self.next_version()?;
        let (_, table) = self.region.look()?;
        self.set_live_rows(version);
        table.commit(version, time, std::iter::empty());
        self.version = version;
        Ok(())
    }

    /// Returns the number of the next transaction. The limit is reached after 146 years at one
    /// commit per nanosecond, unless another process wrote to the region.
    pub fn next_version(&self) -> Result<u64> {
        match self.version.saturating_add(1) {
            version if version <= MAX_VERSION => Ok(version),
            _ => Err(self.region.corrupt("its versions are used up".to_owned())),
        }
    }

    /// Discards all staged changes. Does nothing after [`finish`](Self::finish).
    pub fn roll_back(&mut self) {
        let (staged, index) = (&mut self.staged, &mut self.index);
        // Start with the last change, so that the lowest slots are the next to be assigned.
        for change in staged.slots.iter().rev() {
            let slot = change.slot as usize;
            index.unstage(slot, None);
            if !change.committed {
                index.free(slot);
            } else if change.displaced != NONE {
                index.leave(slot);
            }
        }
        // Restore displaced keys only after all new keys are removed, because the displaced keys
        // may have been staged at other slots.
        for change in staged.slots.iter().filter(|change| change.displaced != NONE) {
            let key = change.displaced as usize * index.slots.key_size;
            let key = &staged.displaced[key..key + index.slots.key_size];
            index.enter(change.slot as usize, key);
        }
        // The region has no room for these slots, and freed slots must be used first.
        index.give_up_slots(self.region.geometry().capacity);
        staged.clear();
    }

    /// Copies the committed rows to `region`, which has the same schema and at least the same
    /// capacity, gives it the table's name, and replaces the table's region with it. Returns the
    /// old region and its key index, which stays locked until the caller has removed its name.
    /// Changes nothing if it fails.
    ///
    /// Each row keeps its slot and stays in the copy that the slot's note records. The notes and a
    /// staged transaction are therefore also valid for the new region.
    pub fn move_to(
        &mut self,
        region: PublisherRegion,
    ) -> Result<(PublisherRegion, PublishedIndex)> {
        let (_, from) = self.region.look()?;
        let rows = from.rows().min(self.index.used);
        // Reserve what the staged changes need as far as the capacity allows, so that their commit
        // cannot reach a limit after the region has been replaced.
        region.grow(self.staged.end.min(region.geometry().capacity).max(rows))?;
        let (version, to) = region.look()?;
        let mut words = vec![0; self.schema().row_words()];
        for slot in 0..self.index.used {
            let (holder, _) = self.index.holder(slot);
            let live = self.read(slot, &mut words)?;
            if slot < rows {
                to.fill(slot, holder, version, live.then_some(&words));
            }
        }
        if cfg!(debug_assertions) {
            // No other process can have written to the region, because it has no name yet.
            let wrong = self.index.disagreement(&to, version, 0..self.index.used);
            assert_eq!(wrong, None, "the note of a slot does not describe the new region");
        }
        let new_keys = self.staged.new_keys();
        let key_index = self.index.publish(&self.staged, &region, version, new_keys)?;
        (0..2).for_each(|word| region.set(header::LIVE + word, self.rows as u64));
        take_name(&region, &key_index, Some(&self.region), &self.name)?;
        self.version = version;
        let old_index = std::mem::replace(&mut self.key_index, key_index);
        Ok((std::mem::replace(&mut self.region, region), old_index))
    }

    /// Writes a new generation of the key index if readers cannot open the current one, because
    /// another process removed it.
    pub fn restore_key_index(&mut self) -> Result<()> {
        if !self.key_index.is_intact(&self.region) {
            tracing::warn!("key index of table {:?}: creating it again", self.name.as_str());
            let new = self.index.publish(&self.staged, &self.region, self.version, 0)?;
            std::mem::replace(&mut self.key_index, new).remove()?;
        }
        Ok(())
    }

    pub fn remove_key_index(&self) -> Result<()> {
        self.key_index.remove()
    }

    /// Gives the region the table's name, which `old` has. Leaves nothing behind if that fails.
    pub fn take_name(&self, old: Option<&PublisherRegion>) -> Result<()> {
        take_name(&self.region, &self.key_index, old, &self.name)
    }

    /// Gives `new` the table's name, and replaces the table with it. Keeps the statistics. Returns
    /// what [`move_to`](Self::move_to) returns. Changes nothing if it fails.
    pub fn replace(&mut self, new: Self) -> Result<(PublisherRegion, PublishedIndex)> {
        new.take_name(Some(&self.region))?;
        let (statistics, growth_limit) = (self.statistics, self.growth_limit);
        let old = std::mem::replace(self, Self { statistics, growth_limit, ..new });
        Ok((old.region, old.key_index))
    }

    /// Checks, in debug builds, that the notes of `slots` match the region, because a commit relies
    /// on them. A mismatch is an error and not a panic, because another process of the same user
    /// may have damaged the region.
    fn check_notes(&self, slots: impl Iterator<Item = usize>) -> Result<()> {
        if cfg!(debug_assertions) {
            let (_, table) = self.region.look()?;
            if let Some(slot) = self.index.disagreement(&table, self.version, slots) {
                let reason = format!("another process wrote to the tags of slot {slot}");
                return Err(self.region.corrupt(reason));
            }
        }
        Ok(())
    }

    #[inline]
    fn locate(&self, row: &[u8]) -> Result<Option<usize>> {
        check_length(self.name.as_str(), "row", row, self.schema().row_size())?;
        Ok(self.index.find_row(row))
    }

    fn change(&self, slot: usize) -> Option<&StagedSlot> {
        Some(&self.staged.slots[self.index.staged(slot)?])
    }

    /// Returns true if `slot` will hold a row after the commit. `slot` must be the slot of a known
    /// key, or below the number of used slots.
    fn is_present(&self, slot: usize) -> bool {
        match self.change(slot) {
            Some(change) => change.row != NONE,
            None => self.index.slots.note(slot).is_live(),
        }
    }

    /// Returns true if, after the commit, `slot` will hold a row that equals `row`. `words` is a
    /// buffer with the width of a row.
    fn holds(&self, slot: usize, row: &[u8], words: &mut [u64]) -> bool {
        let words = match self.change(slot) {
            Some(change) => change.row(&self.staged.words, words.len()),
            None => self.read(slot, words).unwrap_or(false).then_some(&*words),
        };
        words.is_some_and(|words| bytemuck::cast_slice::<u64, u8>(words)[..row.len()] == *row)
    }

    /// Stages `row`. `slot` is the slot of its key, if the key has one.
    #[inline]
    fn put(&mut self, slot: Option<usize>, row: &[u8]) -> Result<()> {
        let row_words = self.schema().row_words();
        let reserved = self.staged.reserve(row_words);
        reserved.map_err(|NoMemory| no_memory(self.region.object()))?;
        let change = match slot {
            Some(slot) => self.stage(slot),
            None => self.stage_new_key(row)?,
        };
        self.staged.set_row(change, row, row_words);
        Ok(())
    }

    fn vacate(&mut self, slot: usize) {
        let change = self.stage(slot);
        self.staged.vacate(change);
    }

    /// Returns the index of the change of a slot that holds a known key. Adds the change if it does
    /// not exist.
    #[inline]
    fn stage(&mut self, slot: usize) -> usize {
        self.index.staged(slot).unwrap_or_else(|| {
            let spare = self.index.stage(slot, self.staged.slots.len());
            self.region.prefetch(slot, spare);
            self.staged.add(slot, spare, true)
        })
    }

    /// Assigns a slot to a row whose key is not in the index, adds the key, and returns the index
    /// of the slot's change.
    fn stage_new_key(&mut self, row: &[u8]) -> Result<usize> {
        let (capacity, limit) = (self.region.geometry().capacity, self.max_capacity());
        let (staged, index) = (&mut self.staged, &mut self.index);
        let reusable = if index.has_slot(capacity) { None } else { staged.reusable() };
        staged.changes_keys = true;
        let change = match reusable {
            None => {
                let slot = index.take(limit).map_err(|NoMemory| no_memory(self.region.object()))?;
                let slot = slot.ok_or_else(|| full(&self.name, limit))?;
                let spare = index.stage(slot, staged.slots.len());
                self.region.prefetch(slot, spare);
                staged.add(slot, spare, false)
            }
            Some(change) => {
                let reused = &mut staged.slots[change];
                let slot = reused.slot as usize;
                if reused.committed && reused.displaced == NONE {
                    reused.displaced = (staged.displaced.len() / index.slots.key_size) as u32;
                    staged.displaced.extend_from_slice(index.slots.key(slot));
                }
                index.leave(slot);
                change
            }
        };
        let hash = index.enter_row(staged.slots[change].slot as usize, row);
        self.key_index.prefetch(hash);
        Ok(change)
    }

    fn key_missing(&self, key: String) -> Error {
        Error::KeyMissing { table: self.name.as_str().to_owned(), key }
    }
}

fn key_exists(table: &TableName, schema: &Schema, row: &[u8]) -> Error {
    Error::KeyExists { table: table.as_str().to_owned(), key: formatted_key(schema, row) }
}

fn formatted_key(schema: &Schema, row: &[u8]) -> String {
    let mut key = Vec::new();
    schema.write_key(row, &mut key);
    schema.format_key(&key)
}

/// Gives `region` the name, which `old` has. Removes its key index if that fails.
fn take_name(
    region: &PublisherRegion,
    key_index: &PublishedIndex,
    old: Option<&PublisherRegion>,
    name: &TableName,
) -> Result<()> {
    let taken = match old {
        Some(old) => region.supersede(old, name),
        None => region.take_name(name),
    };
    if taken.is_err()
        && let Err(error) = key_index.remove()
    {
        tracing::warn!("the key index of a region without a name stays: {error}");
    }
    taken
}

fn full(table: &TableName, capacity: usize) -> Error {
    Error::TableFull { table: table.as_str().to_owned(), capacity }
}

/// Value of `row` or `displaced` in a change that has none.
const NONE: u32 = u32::MAX;

struct StagedSlot {
    slot: u32,
    /// Index of the staged row that the slot will hold; [`NONE`] if the slot will hold no row.
    row: u32,
    /// Index of the displaced key, if the slot of a committed row was reassigned to another key;
    /// otherwise [`NONE`].
    displaced: u32,
    /// Index of the copy of the slot to write.
    spare: u8,
    /// True if the slot holds a committed row.
    committed: bool,
}

impl StagedSlot {
    /// Returns true if the slot keeps its key and receives another row.
    #[inline]
    fn is_update(&self) -> bool {
        self.committed && self.row != NONE && self.displaced == NONE
    }

    /// Returns false for a row that was inserted and deleted in the same transaction.
    fn is_effective(&self) -> bool {
        self.committed || self.row != NONE
    }

    /// Returns the part of the staged `words` that is the row of this slot.
    #[inline]
    fn row<'w>(&self, words: &'w [u64], row_words: usize) -> Option<&'w [u64]> {
        (self.row != NONE).then(|| &words[self.row as usize * row_words..][..row_words])
    }
}

/// A row to stage: a value of a [`Row`] type, or bytes. Not exported, so that no other type can
/// implement it.
pub trait StagedRow {
    fn as_bytes(&self) -> &[u8];
}

impl<R: Row> StagedRow for R {
    #[inline]
    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

impl StagedRow for [u8] {
    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

/// The changes of a transaction. This value is kept between transactions to reuse its memory.
#[derive(Default)]
struct StagedChanges {
    slots: Scratch<StagedSlot>,
    /// The words of the staged rows.
    words: Scratch<u64>,
    /// Number of rows in `words`.
    rows: u32,
    /// Highest changed slot plus one.
    end: usize,
    /// True if a key was inserted or deleted.
    changes_keys: bool,
    /// Keys of committed rows whose slots were reassigned to other keys.
    displaced: Scratch<u8>,
    /// Indices of changes whose slots may be reassigned to another key. A change that received a
    /// row again is skipped when it is taken.
    vacated: Scratch<u32>,
}

impl StagedChanges {
    /// Returns true if no change is staged, neither by an open transaction nor by a forgotten one.
    #[inline]
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the changes that a commit must write.
    #[inline]
    fn effective(&self) -> impl Iterator<Item = &StagedSlot> + Clone {
        self.slots.iter().filter(|change| change.is_effective())
    }

    /// Makes room for one more change, with a row.
    #[inline]
    fn reserve(&mut self, row_words: usize) -> std::result::Result<(), NoMemory> {
        self.slots.try_reserve(1)?;
        Ok(self.words.try_reserve(row_words)?)
    }

    #[inline]
    fn add(&mut self, slot: usize, spare: usize, committed: bool) -> usize {
        self.slots.push(StagedSlot {
            slot: slot as u32,
            row: NONE,
            displaced: NONE,
            spare: spare as u8,
            committed,
        });
        self.end = self.end.max(slot + 1);
        self.slots.len() - 1
    }

    #[inline]
    fn set_row(&mut self, change: usize, row: &[u8], row_words: usize) {
        let change = &mut self.slots[change];
        if change.row == NONE {
            change.row = self.rows;
            self.rows += 1;
            let (whole, rest) = row.as_chunks();
            self.words.extend(whole.iter().map(|word| u64::from_ne_bytes(*word)));
            if !rest.is_empty() {
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                self.words.push(u64::from_ne_bytes(last));
            }
        } else {
            let words = &mut self.words[change.row as usize * row_words..][..row_words];
            bytemuck::cast_slice_mut(words)[..row.len()].copy_from_slice(row);
        }
    }

    /// Makes room for one more change, a deletion.
    fn reserve_deletion(&mut self) -> std::result::Result<(), NoMemory> {
        self.slots.try_reserve(1)?;
        Ok(self.vacated.try_reserve(1)?)
    }

    fn new_keys(&self) -> usize {
        self.effective().filter(|change| change.row != NONE && !change.is_update()).count()
    }

    fn vacate(&mut self, change: usize) {
        self.changes_keys = true;
        self.slots[change].row = NONE;
        self.vacated.push(change as u32);
    }

    /// Returns the index of a change whose slot can be reassigned to another key.
    fn reusable(&mut self) -> Option<usize> {
        while let Some(change) = self.vacated.pop() {
            if self.slots[change as usize].row == NONE {
                return Some(change as usize);
            }
        }
        None
    }

    fn clear(&mut self) {
        self.slots.recycle();
        self.words.recycle();
        (self.rows, self.end, self.changes_keys) = (0, 0, false);
        self.displaced.recycle();
        self.vacated.recycle();
    }
}

/// The publisher's note of a slot. It is stored in front of the slot's key because both are used
/// together. The low half is the index of the change of this slot in the running transaction, or
/// [`SlotNote::UNTOUCHED`]. The bits above record which copy holds the row and whether the row is
/// live. [`RowIndex::disagreement`] compares these bits with the tags in the region.
#[derive(Clone, Copy)]
struct SlotNote(u64);

impl SlotNote {
    const UNTOUCHED: u32 = u32::MAX;
    const SECOND: u64 = 1 << 32;
    const LIVE: u64 = 1 << 33;

    fn new(holder: usize, live: bool) -> Self {
        let second = if holder == 1 { Self::SECOND } else { 0 };
        let live = if live { Self::LIVE } else { 0 };
        Self(u64::from(Self::UNTOUCHED) | second | live)
    }

    fn holder(self) -> usize {
        usize::from(self.0 & Self::SECOND != 0)
    }

    fn is_live(self) -> bool {
        self.0 & Self::LIVE != 0
    }
}

/// The note of each slot, and its current or last key.
struct SlotKeys {
    schema: Arc<Schema>,
    hasher: KeyHasher,
    /// A [`SlotNote`] followed by its key, for each slot.
    words: AlignedWords,
    /// Number of words per slot in `words`.
    stride: usize,
    key_size: usize,
    /// Result of [`Schema::key_word`].
    key_word: Option<usize>,
}

/// The index of keys and slots, in the publisher's private memory. It contains every key that is
/// committed or staged.
struct RowIndex {
    slots: SlotKeys,
    keys: KeyIndex,
    /// Slots below `used` that hold no row and are not staged.
    free: Vec<u32>,
    /// Number of slots that were ever used. All slots that hold a row are below it.
    used: usize,
}

impl SlotKeys {
    fn new(schema: &Arc<Schema>) -> Self {
        let key_size = schema.key_size();
        Self {
            schema: Arc::clone(schema),
            hasher: KeyHasher::random(),
            words: AlignedWords::default(),
            stride: 1 + key_size.div_ceil(8),
            key_size,
            key_word: schema.key_word(),
        }
    }

    #[inline]
    fn note(&self, slot: usize) -> SlotNote {
        SlotNote(self.words[slot * self.stride])
    }

    #[inline]
    fn note_mut(&mut self, slot: usize) -> &mut u64 {
        &mut self.words[slot * self.stride]
    }

    #[inline]
    fn key(&self, slot: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.words[slot * self.stride + 1..])[..self.key_size]
    }

    fn key_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words[slot * self.stride + 1..])[..self.key_size]
    }

    fn set_key_of_row(&mut self, slot: usize, row: &[u8]) {
        let words = &mut self.words[slot * self.stride + 1..];
        if let Some(word) = self.key_word {
            words[0] = u64::from_ne_bytes(row.as_chunks().0[word]);
            return;
        }
        let mut key = &mut bytemuck::cast_slice_mut(words)[..self.key_size];
        for part in self.schema.key_parts() {
            let (at, rest) = key.split_at_mut(part.len());
            at.copy_from_slice(&row[part.clone()]);
            key = rest;
        }
    }

    /// Returns the key at a slot as one word. The key must be one aligned word.
    #[inline]
    fn word(&self, slot: usize) -> u64 {
        self.words[slot * self.stride + 1]
    }

    #[inline]
    fn hash(&self, slot: usize) -> Hash {
        match self.key_word {
            Some(_) => self.hasher.of_word(self.word(slot)),
            None => self.hasher.of_key(&self.schema, self.key(slot)),
        }
    }
}

impl RowIndex {
    /// Returns the index of the rows of `region` as of its last commit.
    ///
    /// # Errors
    /// [`Error::KeyExists`] for a key that occurs at two slots.
    fn new(name: &TableName, region: &PublisherRegion) -> Result<Self> {
        let ((version, table), schema) = (region.look()?, region.schema());
        let refused = |NoMemory| no_memory(region.object());
        let mut index = Self {
            slots: SlotKeys::new(schema),
            keys: KeyIndex::try_with_capacity(table.rows()).map_err(refused)?,
            free: Vec::new(),
            used: 0,
        };
        index.use_slots(table.rows()).map_err(refused)?;
        let mut words = vec![0; table.row_words()];
        for slot in 0..table.rows() {
            let live = table.read(slot, version, 0, &mut words).is_ok_and(|tag| tag.is_live());
            let (holder, _) = table.holder(slot, version);
            *index.slots.note_mut(slot) = SlotNote::new(holder, live).0;
            if !live {
                index.free.push(slot as u32);
                continue;
            }
            let row = bytemuck::cast_slice(&words);
            if index.find_row(row).is_some() {
                return Err(key_exists(name, schema, row));
            }
            index.enter_row(slot, row);
        }
        index.free.reverse();
        Ok(index)
    }

    /// Writes a generation of the key index for readers, with the keys of the rows that are live at
    /// `commit`, and room for `new_keys` of the staged transaction.
    fn publish(
        &self,
        staged: &StagedChanges,
        region: &PublisherRegion,
        commit: u64,
        new_keys: usize,
    ) -> Result<PublishedIndex> {
        let slots = &self.slots;
        let displaced = staged.slots.iter().filter(|change| change.displaced != NONE);
        let displaced: HashMap<usize, usize> =
            displaced.map(|change| (change.slot as usize, change.displaced as usize)).collect();
        let hash = |slot: usize| match displaced.get(&slot) {
            None => slots.hash(slot),
            Some(key) => {
                let key = &staged.displaced[key * slots.key_size..][..slots.key_size];
                slots.hasher.of_key(&slots.schema, key)
            }
        };
        let live = (0..self.used).filter(|slot| slots.note(*slot).is_live());
        let keys = live.clone().count() + new_keys;
        let entries = live.map(|slot| (slot, hash(slot)));
        PublishedIndex::create(region, slots.hasher, commit, entries, keys, self.used)
    }

    /// Returns the slot of a key. Returns None if the key is unknown or has the wrong length.
    #[inline]
    fn find(&self, key: &[u8]) -> Option<usize> {
        let slots = &self.slots;
        if key.len() != slots.key_size {
            return None;
        }
        if let (Some(_), Some(word)) = (slots.key_word, key.first_chunk()) {
            return self.find_word(*word);
        }
        let hash = slots.hasher.of_key(&slots.schema, key);
        self.keys.find(hash, |slot| (slots.key(slot) == key).then_some(slot))
    }

    /// Returns the slot of a row's key. Panics if the row is too short to contain the key.
    #[inline]
    fn find_row(&self, row: &[u8]) -> Option<usize> {
        match self.slots.key_word {
            Some(word) => self.find_word(row.as_chunks().0[word]),
            None => self.find_by_parts(row),
        }
    }

    #[inline]
    fn find_word(&self, key: [u8; 8]) -> Option<usize> {
        let (slots, key) = (&self.slots, u64::from_ne_bytes(key));
        self.keys.find(slots.hasher.of_word(key), |slot| (slots.word(slot) == key).then_some(slot))
    }

    fn find_by_parts(&self, row: &[u8]) -> Option<usize> {
        let slots = &self.slots;
        let hash = slots.hasher.of_row(&slots.schema, row);
        self.keys.find(hash, |slot| {
            let matches = slots.schema.key_matches(row, slots.key(slot));
            matches.then_some(slot)
        })
    }

    /// Returns the index of the change of a slot in the running transaction.
    #[inline]
    fn staged(&self, slot: usize) -> Option<usize> {
        let change = self.slots.note(slot).0 as u32;
        (change != SlotNote::UNTOUCHED).then_some(change as usize)
    }

    /// Records the index of the change of a slot, and returns the copy of the slot that the
    /// transaction must write.
    #[inline]
    fn stage(&mut self, slot: usize, change: usize) -> usize {
        let note = self.slots.note_mut(slot);
        *note = *note & !u64::from(u32::MAX) | change as u64;
        1 - SlotNote(*note).holder()
    }

    /// Ends the staging of a slot. `committed` is None after a rollback, or if the change had no
    /// effect. Otherwise the other copy is now the current one, and `committed` is true if it holds
    /// a live row.
    #[inline]
    fn unstage(&mut self, slot: usize, committed: Option<bool>) {
        let note = self.slots.note_mut(slot);
        *note = match committed {
            Some(live) => SlotNote::new(1 - SlotNote(*note).holder(), live).0,
            None => *note | u64::from(SlotNote::UNTOUCHED),
        };
    }

    /// Returns which copy of a slot is current as of the last commit, and whether it holds a live
    /// row.
    fn holder(&self, slot: usize) -> (usize, bool) {
        let note = self.slots.note(slot);
        (note.holder(), note.is_live())
    }

    /// Returns the first of `slots` whose note differs from the tags of `table` as of `version`,
    /// the last commit. A commit to such a slot would overwrite the committed row.
    fn disagreement(
        &self,
        table: &Table<'_>,
        version: u64,
        slots: impl IntoIterator<Item = usize>,
    ) -> Option<usize> {
        slots.into_iter().find(|slot| {
            let noted = self.holder(*slot);
            match *slot < table.rows() {
                true => noted != table.holder(*slot, version),
                false => noted != (0, false),
            }
        })
    }

    /// Returns true if one of the first `capacity` slots is free.
    fn has_slot(&self, capacity: usize) -> bool {
        !self.free.is_empty() || self.used < capacity
    }

    /// Returns a slot for a new key, or None if the first `capacity` slots are in use.
    /// The key index then has room for the key.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing is changed in that case.
    fn take(&mut self, capacity: usize) -> std::result::Result<Option<usize>, NoMemory> {
        let free = self.free.last().map(|slot| *slot as usize);
        let slot = free.unwrap_or(self.used);
        if free.is_none() && slot >= capacity {
            return Ok(None);
        }
        self.keys.try_reserve(1, slot, |other| self.slots.hash(other))?;
        if self.free.pop().is_none() {
            self.use_slots(slot + 1)?;
        }
        Ok(Some(slot))
    }

    /// Gives up the slots from `capacity` on, which must all be free.
    fn give_up_slots(&mut self, capacity: usize) {
        if self.used > capacity {
            self.free.retain(|slot| (*slot as usize) < capacity);
            self.used = capacity;
        }
    }

    fn use_slots(&mut self, used: usize) -> std::result::Result<(), NoMemory> {
        // A rollback frees slots, and cannot fail.
        self.free.try_reserve(used - self.free.len())?;
        self.slots.words.try_grow(used * self.slots.stride)?;
        for slot in std::mem::replace(&mut self.used, used)..used {
            *self.slots.note_mut(slot) = SlotNote::new(0, false).0;
        }
        Ok(())
    }

    /// Stores a key at a slot and adds it to the index, which must not contain it.
    fn enter(&mut self, slot: usize, key: &[u8]) {
        self.slots.key_mut(slot).copy_from_slice(key);
        self.index_slot(slot);
    }

    /// Stores a row's key at a slot and adds it to the index, which must not contain it. Returns
    /// its hash.
    fn enter_row(&mut self, slot: usize, row: &[u8]) -> Hash {
        self.slots.set_key_of_row(slot, row);
        self.index_slot(slot)
    }

    fn index_slot(&mut self, slot: usize) -> Hash {
        let hash = self.slots.hash(slot);
        self.keys.put(hash, slot, |_| false, |other| self.slots.hash(other));
        hash
    }

    /// Removes the key at a slot from the index, and returns the slot to the free slots.
    fn free(&mut self, slot: usize) {
        self.leave(slot);
        self.free.push(slot as u32);
    }

    fn leave(&mut self, slot: usize) {
        let hash = self.slots.hash(slot);
        self.keys.remove(hash, slot, |other| self.slots.hash(other));
    }
}

#[cfg(test)]
mod tests {
    use crate::random::random;
    use crate::region::object;
    use crate::{Error, Result, Schema, UntypedPublisher};

    fn publisher(test: &str, capacity: usize) -> Result<UntypedPublisher> {
        let name = format!("unit-{test}-{}", std::process::id());
        let schema = Schema::parse("id:u64,value:u64", None)?;
        UntypedPublisher::builder(&name, schema).fixed_capacity(capacity).open()
    }

    /// Commits, aborts or forgets a random transaction. There are more possible keys than fit into
    /// 50 rows.
    fn random_transaction(publisher: &mut UntypedPublisher, state: &mut u64) -> Result<()> {
        let version = publisher.version();
        let mut tx = publisher.begin();
        for _ in 0..random(state, 6) {
            let key = random(state, 60);
            // Errors are expected: the table may be full, and a key may be missing.
            let _staged = match random(state, 4) {
                0 => tx.delete(&key.to_ne_bytes()),
                _ => tx.upsert(bytemuck::bytes_of(&[key, version])),
            };
        }
        match random(state, 5) {
            0 => drop(tx),
            1 => std::mem::forget(tx),
            _ => drop(tx.commit()?),
        }
        Ok(())
    }

    /// Commits random transactions, and calls `between` before each. Checks that a commit keeps the
    /// rows of the previous version readable.
    fn commit_at_random(
        publisher: &mut UntypedPublisher,
        times: usize,
        mut between: impl FnMut(&mut UntypedPublisher, u64) -> Result<()>,
    ) -> Result<()> {
        // Returns the rows as of a version, by slot.
        let rows_as_of = |publisher: &UntypedPublisher, version| -> Result<Vec<Option<[u64; 2]>>> {
            let (_, table) = publisher.table.region.look()?;
            let read = |slot| {
                let mut words = [0; 2];
                let tag = table.read(slot, version, 0, &mut words).ok()?;
                tag.is_live().then_some(words)
            };
            Ok((0..table.rows()).map(read).collect())
        };
        let mut state = 42;
        for _ in 0..times {
            let chance = random(&mut state, 1000);
            between(publisher, chance)?;
            let version = publisher.version();
            let before = rows_as_of(publisher, version)?;
            random_transaction(publisher, &mut state)?;
            // If the publisher replaces a lost or full region during the commit, that is a separate
            // commit with the same rows.
            let last_but_one = version.max(publisher.version() - 1);
            let after = rows_as_of(publisher, last_but_one)?;
            assert_eq!(before, after[..before.len()], "at {version}");
            let (version, table) = publisher.table.region.look()?;
            let notes = &publisher.table.index;
            let wrong = notes.disagreement(&table, version, 0..notes.used);
            assert_eq!(wrong, None, "at {version}");
        }
        Ok(())
    }

    #[test]
    fn commit_keeps_the_rows_before_it_readable() -> Result<()> {
        let mut publisher = publisher("copies", 50)?;
        commit_at_random(&mut publisher, 3000, |_, _| Ok(()))?;
        publisher.close()
    }

    #[test]
    fn commit_after_lost_region_keeps_the_rows_before_it_readable() -> Result<()> {
        let mut publisher = publisher("lost-region", 50)?;
        commit_at_random(&mut publisher, 1500, |publisher, chance| {
            if chance < 300 {
                object::remove(publisher.table.region.object())?;
                // Maintenance runs within the next commit, when its transaction is already staged,
                // or is called before that commit.
                publisher.next_maintenance_ns = 0;
                if chance % 2 == 0 {
                    let before = rows(publisher)?;
                    publisher.maintain()?;
                    assert!(publisher.table.region.has_name());
                    assert_eq!(rows(publisher)?, before);
                }
            }
            Ok(())
        })?;
        publisher.close()
    }

    #[test]
    fn commit_after_reshape_keeps_the_rows_before_it_readable() -> Result<()> {
        let mut publisher = publisher("reshaped", 50)?;
        commit_at_random(&mut publisher, 1500, |publisher, chance| {
            if chance < 300 {
                let before = rows(publisher)?;
                let schema = (**publisher.schema()).clone();
                // With an equal capacity, and with a different one.
                let capacity = 50 + chance as usize % 2;
                publisher.reshape(schema, capacity, before.iter().map(row))?;
                assert_eq!(rows(publisher)?, before);
                assert_eq!(publisher.capacity(), capacity);
            }
            Ok(())
        })?;
        publisher.close()
    }

    #[test]
    fn commit_after_growth_keeps_the_rows_before_it_readable() -> Result<()> {
        for (capacity, max_capacity) in [(1, 50), (13, 1000)] {
            let name = format!("unit-grown-{capacity}-{}", std::process::id());
            let schema = Schema::parse("id:u64,value:u64", None)?;
            let builder = UntypedPublisher::builder(&name, schema).capacity(capacity);
            let mut publisher = builder.max_capacity(max_capacity).open()?;
            commit_at_random(&mut publisher, 1500, |_, _| Ok(()))?;
            // Powers of four times the initial capacity, as many as the live rows needed.
            assert_eq!(publisher.capacity(), if capacity == 1 { 50 } else { 52 });
            publisher.close()?;
        }
        Ok(())
    }

    #[test]
    fn rolled_back_growth_leaves_the_freed_slots_of_the_region_for_the_next_rows() -> Result<()> {
        let name = format!("unit-given-up-{}", std::process::id());
        let schema = Schema::parse("id:u64,value:u64", None)?;
        let mut publisher = UntypedPublisher::builder(&name, schema).capacity(3).open()?;
        let insert = |publisher: &mut UntypedPublisher, keys: std::ops::Range<u64>| {
            let mut tx = publisher.begin();
            keys.into_iter().try_for_each(|key| tx.insert(row(&[key, 0])))?;
            tx.commit()
        };
        insert(&mut publisher, 0..3)?;
        let mut tx = publisher.begin();
        (3..9).try_for_each(|key| tx.insert(row(&[key, 0])))?;
        drop(tx);
        let mut tx = publisher.begin();
        tx.delete(&1_u64.to_ne_bytes())?;
        tx.delete(&2_u64.to_ne_bytes())?;
        // One of the deleted keys makes room for this one.
        tx.insert(row(&[9, 0]))?;
        tx.commit()?;
        insert(&mut publisher, 10..11)?;
        assert_eq!((publisher.len(), publisher.capacity()), (3, 3));
        let version = publisher.version();
        insert(&mut publisher, 11..12)?;
        assert_eq!((publisher.len(), publisher.capacity()), (4, 12));
        assert_eq!(publisher.version(), version + 2, "the growth and the transaction");
        publisher.close()
    }

    #[test]
    fn commit_after_takeover_keeps_the_rows_before_it_readable() -> Result<()> {
        // With an equal capacity, and with a larger one.
        for capacity in [50, 50, 55, 55, 60] {
            let mut publisher = publisher("taken-over", capacity)?;
            commit_at_random(&mut publisher, 300, |_, _| Ok(()))?;
        }
        publisher("taken-over", 1)?.close()
    }

    fn row(row: &[u64; 2]) -> &[u8] {
        bytemuck::bytes_of(row)
    }

    fn rows(publisher: &UntypedPublisher) -> Result<Vec<[u64; 2]>> {
        let rows = publisher.iter();
        rows.map(|row| Ok(bytemuck::pod_read_unaligned(row?.bytes()))).collect()
    }

    /// Stages an update, a deletion, and a new key that takes the deleted key's slot, and forgets
    /// the transaction.
    fn forget_transaction(publisher: &mut UntypedPublisher) -> Result<()> {
        let mut tx = publisher.begin();
        tx.update(row(&[1, 11]))?;
        tx.delete(&2_u64.to_ne_bytes())?;
        tx.insert(row(&[4, 14]))?;
        std::mem::forget(tx);
        Ok(())
    }

    #[test]
    fn forgotten_transaction_leaves_nothing_to_the_next_one() -> Result<()> {
        let mut publisher = publisher("forgotten", 3)?;
        let mut tx = publisher.begin();
        for key in 1..=3 {
            tx.insert(row(&[key, 0]))?;
        }
        tx.commit()?;
        let committed = rows(&publisher)?;
        let key = u64::to_ne_bytes;
        for round in 0..3 {
            forget_transaction(&mut publisher)?;
            // Until the next transaction begins, the publisher returns only committed rows.
            assert_eq!((publisher.len(), rows(&publisher)?), (3, committed.clone()));
            assert_eq!(publisher.get(&key(4))?, None);
            assert!(publisher.get(&key(2))?.is_some() && publisher.get(&key(1))?.is_some());
            match round {
                0 => {
                    let version = publisher.version();
                    assert_eq!(publisher.begin().commit()?, version, "nothing is staged");
                }
                1 => {
                    let rows = committed.clone();
                    let schema = (**publisher.schema()).clone();
                    publisher.reshape(schema, 3, rows.iter().map(row))?;
                }
                _ => publisher.maintain()?,
            }
            let mut tx = publisher.begin();
            assert!(tx.is_empty());
            assert!(tx.insert(row(&[2, 0])).is_err() && tx.insert(row(&[4, 0])).is_err());
            tx.update(row(&[3, 0]))?;
            tx.commit()?;
            assert_eq!((publisher.len(), rows(&publisher)?), (3, committed.clone()));
        }
        publisher.close()
    }

    #[test]
    fn damaged_row_is_an_error_of_get_and_iter_and_not_an_absent_row() -> Result<()> {
        let mut publisher = publisher("damaged-row", 3)?;
        let mut tx = publisher.begin();
        (1..=2).try_for_each(|key| tx.insert(row(&[key, 0])))?;
        tx.commit()?;
        let region = &publisher.table.region;
        let tags = region.geometry().tags(0);
        (tags..tags + 2).for_each(|tag| region.set(tag, 0));
        let get = |key: u64| publisher.get(&key.to_ne_bytes());
        assert!(matches!(get(1), Err(Error::Corrupt { .. })), "{:?}", get(1));
        assert!(get(2)?.is_some() && get(3)?.is_none());
        let rows: Vec<_> = publisher.iter().map(|row| row.is_ok()).collect();
        assert_eq!(rows, [false, true]);
        publisher.close()
    }

    #[test]
    fn staging_memory_shrinks_after_one_large_transaction() -> Result<()> {
        let mut publisher = publisher("shrinks", 100_000)?;
        let mut change = |keys: u64, value: u64| -> Result<[usize; 2]> {
            let mut tx = publisher.begin();
            for key in 0..keys {
                tx.upsert(row(&[key, value]))?;
            }
            tx.commit()?;
            let staged = &publisher.table.staged;
            Ok([staged.slots.capacity(), staged.words.capacity()])
        };
        let large = change(100_000, 0)?;
        assert!(large[0] >= 100_000 && large[1] >= 200_000, "{large:?}");
        for value in 1..50 {
            change(100, value)?;
        }
        let small = change(100, 50)?;
        assert!(small[0] <= 1_000 && small[1] <= 2_000, "{small:?}");
        publisher.close()
    }
}
