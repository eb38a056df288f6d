//! Transactions: changes are staged in the publisher's private memory, then committed atomically or
//! discarded.
//!
//! Slots are assigned while staging, so that every step that can fail has succeeded before the
//! first tag is written. A deleted key keeps its slot until the end of the transaction, because the
//! key may be inserted again. Only if the table is full is such a slot reassigned to another key
//! during the transaction.

use std::time::Duration;

use super::untyped::UntypedPublisher;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::memory::Scratch;
use crate::protocol::commit::Write;
use crate::row::RowRef;

/// Marks an entry without a row or a displaced key.
const NONE: u32 = u32::MAX;

/// One slot that a transaction changes.
struct Entry {
    slot: u32,
    /// Index of the staged row that the slot will hold; [`NONE`] if the slot will hold no row.
    row: u32,
    /// Index of the displaced key, if another key took the slot from a committed row; otherwise
    /// [`NONE`].
    displaced: u32,
    /// Index of the copy of the slot to write.
    spare: u8,
    /// True if the slot holds a committed row.
    committed: bool,
}

impl Entry {
    /// Returns false for a row that was inserted and deleted in the same transaction.
    fn is_effective(&self) -> bool {
        self.committed || self.row != NONE
    }

    /// Returns the part of the staged `words` that is the entry's row.
    #[inline]
    fn row<'w>(&self, words: &'w [u64], row_words: usize) -> Option<&'w [u64]> {
        (self.row != NONE).then(|| &words[self.row as usize * row_words..][..row_words])
    }
}

/// Staged changes of a transaction. The publisher keeps this value between transactions to reuse
/// its memory.
#[derive(Default)]
pub(super) struct Staged {
    entries: Scratch<Entry>,
    words: Scratch<u64>,
    /// Number of rows in `words`.
    rows: u32,
    /// Upper bound of all changed slots, exclusive.
    end: usize,
    /// Keys of committed rows whose slots were reassigned to other keys.
    displaced: Scratch<u8>,
    /// Entries whose slot will hold no row and can be reassigned to another key.
    vacated: Scratch<u32>,
}

impl Staged {
    /// Returns true if no transaction is open and none was forgotten.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the index of the next entry.
    #[inline]
    fn next(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn add(&mut self, slot: usize, spare: usize, committed: bool) -> usize {
        self.entries.push(Entry {
            slot: slot as u32,
            row: NONE,
            displaced: NONE,
            spare: spare as u8,
            committed,
        });
        self.end = self.end.max(slot + 1);
        self.entries.len() - 1
    }

    #[inline]
    fn set_row(&mut self, entry: usize, row: &[u8], row_words: usize) {
        let entry = &mut self.entries[entry];
        let (whole, rest) = row.as_chunks();
        if entry.row == NONE {
            entry.row = self.rows;
            self.rows += 1;
            self.words
                .extend(whole.iter().map(|word| u64::from_ne_bytes(*word)));
            if !rest.is_empty() {
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                self.words.push(u64::from_ne_bytes(last));
            }
        } else {
            let start = entry.row as usize * row_words;
            bytemuck::cast_slice_mut(&mut self.words[start..start + row_words])[..row.len()]
                .copy_from_slice(row);
        }
    }

    fn vacate(&mut self, entry: usize) {
        self.entries[entry].row = NONE;
        self.vacated.push(entry as u32);
    }

    /// Returns an entry whose slot no key needs any more.
    fn reusable(&mut self) -> Option<usize> {
        while let Some(entry) = self.vacated.pop() {
            if self.entries[entry as usize].row == NONE {
                return Some(entry as usize);
            }
        }
        None
    }

    fn clear(&mut self) {
        self.entries.recycle();
        self.words.recycle();
        (self.rows, self.end) = (0, 0);
        self.displaced.recycle();
        self.vacated.recycle();
    }
}

/// A transaction over rows given as bytes. [`Transaction`](super::Transaction) is the typed view of
/// it.
///
/// Readers see none of the changes before [`commit`](Self::commit), and all of them after it.
/// Dropping the transaction discards them.
#[must_use = "a transaction that is dropped changes nothing"]
pub struct UntypedTransaction<'p> {
    publisher: &'p mut UntypedPublisher,
}

impl<'p> UntypedTransaction<'p> {
    pub(super) fn new(publisher: &'p mut UntypedPublisher) -> Self {
        // A forgotten transaction (`std::mem::forget`) was never dropped, so its changes are still
        // staged.
        publisher.roll_back();
        Self { publisher }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::TableFull`], [`Error::WrongLength`]. The row is not staged;
    /// the transaction stays usable.
    #[inline]
    pub fn insert(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => Err(self.key_exists(row)),
            slot => self.put(slot, row),
        }
    }

    /// Replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::WrongLength`]. Nothing is staged; the transaction stays
    /// usable.
    #[inline]
    pub fn update(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => self.put(Some(slot), row),
            _ => Err(self.publisher.key_missing(&self.key(row))),
        }
    }

    /// Adds a row, or replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::WrongLength`]. The row is not staged; the transaction stays
    /// usable.
    #[inline]
    pub fn upsert(&mut self, row: &[u8]) -> Result<()> {
        let slot = self.locate(row)?;
        self.put(slot, row)
    }

    /// Removes the row of a key, given in canonical bytes.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::WrongLength`]. Nothing is staged; the transaction stays
    /// usable.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.publisher
            .check_length("key", key.len(), self.publisher.schema().key_size())?;
        match self.publisher.rows.find(key) {
            Some(slot) if self.is_present(slot) => {
                self.remove(slot);
                Ok(())
            }
            _ => Err(self.publisher.key_missing(key)),
        }
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        for slot in 0..self.publisher.rows.used() {
            if self.is_present(slot) {
                self.remove(slot);
            }
        }
    }

    /// Replaces the content of the table with these rows, and stages only the differences. If two
    /// rows have the same key, the later one is used.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::WrongLength`]. Some of the differences are staged in that
    /// case.
    pub fn replace_with<B: AsRef<[u8]>>(
        &mut self,
        rows: impl IntoIterator<Item = B>,
    ) -> Result<()> {
        let rows: Vec<B> = rows.into_iter().collect();
        let mut kept = vec![false; self.publisher.rows.used()];
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
                self.remove(slot);
            }
        }
        let mut held = vec![0; self.publisher.schema.row_words()];
        for (row, slot) in rows.iter().zip(slots) {
            let row = row.as_ref();
            let (slot, is_present) = match slot {
                Some(slot) => (Some(slot), true),
                None => {
                    let slot = self.locate(row)?;
                    (slot, slot.is_some_and(|slot| self.is_present(slot)))
                }
            };
            let unchanged = is_present && slot.is_some_and(|slot| self.holds(slot, row, &mut held));
            if !unchanged {
                self.put(slot, row)?;
            }
        }
        Ok(())
    }

    /// Returns the number of staged changes.
    pub fn len(&self) -> usize {
        self.publisher
            .staged
            .entries
            .iter()
            .filter(|entry| entry.is_effective())
            .count()
    }

    /// Returns true if nothing is staged.
    pub fn is_empty(&self) -> bool {
        !self
            .publisher
            .staged
            .entries
            .iter()
            .any(Entry::is_effective)
    }

    /// Commits all staged changes atomically, wakes parked subscribers, and returns the new version
    /// of the table. If nothing is staged, does nothing and returns the current version.
    ///
    /// # Errors
    /// [`Error::Limit`] if the region cannot grow; nothing is committed in that case, and the
    /// publisher stays usable. [`Error::Lost`] if another publisher has taken the name, and
    /// [`Error::Corrupt`] if the region was truncated; the publisher is not usable any more.
    pub fn commit(self) -> Result<u64> {
        if self.is_empty() {
            return Ok(self.publisher.version());
        }
        let now = monotonic_ns();
        let publisher = &mut *self.publisher;
        publisher.upkeep_if_due(now)?;
        let version = publisher.next_version()?;
        let staged = &publisher.staged;
        publisher.check_notes(staged.entries.iter().map(|entry| entry.slot as usize))?;
        let writes = staged
            .entries
            .iter()
            .filter(|entry| entry.is_effective())
            .map(|entry| Write {
                slot: entry.slot as usize,
                spare: usize::from(entry.spare),
                words: &staged.words,
                row: (entry.row != NONE).then_some(entry.row as usize),
            });
        let rows = staged.end;
        publisher.region.grow(rows)?;
        let (_, table) = publisher.region.look()?;
        if table.rows() < rows {
            let reason = format!("its rows became fewer than {rows}");
            return Err(publisher.region.corrupt(reason));
        }
        table.commit(version, now, writes);
        publisher.region.check_whole()?;
        publisher.version = version;
        publisher.wake(version, false);

        let (staged, rows) = (&mut publisher.staged, &mut publisher.rows);
        let statistics = &mut publisher.statistics;
        for entry in staged.entries.iter() {
            let slot = entry.slot as usize;
            let live = entry.row != NONE;
            statistics.count(entry.committed, live, entry.displaced != NONE);
            rows.unstage(slot, entry.is_effective().then_some(live));
            if !live {
                rows.leave(slot);
                rows.release(slot);
            }
        }
        staged.clear();
        statistics.commits += 1;
        if let Some(record) = &mut publisher.commit_timer {
            record(Duration::from_nanos(monotonic_ns().saturating_sub(now)));
        }
        Ok(version)
    }

    /// Returns the slot of a row's key.
    #[inline]
    fn locate(&self, row: &[u8]) -> Result<Option<usize>> {
        let publisher = &*self.publisher;
        publisher.check_length("row", row.len(), publisher.schema.row_size())?;
        Ok(publisher.rows.find_row(row))
    }

    fn entry(&self, slot: usize) -> Option<&Entry> {
        let entry = self.publisher.rows.staged(slot)?;
        Some(&self.publisher.staged.entries[entry])
    }

    /// Returns true if `slot` will hold a row after the commit. `slot` must be the slot of a known
    /// key, or below the number of used slots.
    fn is_present(&self, slot: usize) -> bool {
        match self.entry(slot) {
            Some(entry) => entry.row != NONE,
            None => self.publisher.rows.is_committed(slot),
        }
    }

    /// Returns true if the row that `slot` will hold after the commit equals `row`. `held` is a
    /// buffer with the width of a row.
    fn holds(&self, slot: usize, row: &[u8], held: &mut [u64]) -> bool {
        let staged = &self.publisher.staged;
        let words = match self
            .entry(slot)
            .and_then(|entry| entry.row(&staged.words, held.len()))
        {
            Some(words) => words,
            None if self.publisher.read_into(slot, held) => held,
            None => return false,
        };
        bytemuck::cast_slice::<u64, u8>(words)[..row.len()] == *row
    }

    /// Stages `row`. `slot` is the slot of its key, if the key has one.
    #[inline]
    fn put(&mut self, slot: Option<usize>, row: &[u8]) -> Result<()> {
        let entry = match slot {
            Some(slot) => self.entry_of(slot),
            None => self.entry_of_new_key(row)?,
        };
        let row_words = self.publisher.schema.row_words();
        self.publisher.staged.set_row(entry, row, row_words);
        Ok(())
    }

    /// Returns the entry of a slot that holds a known key, and adds the entry if it does not exist.
    #[inline]
    fn entry_of(&mut self, slot: usize) -> usize {
        let publisher = &mut *self.publisher;
        publisher.rows.staged(slot).unwrap_or_else(|| {
            let spare = publisher.rows.stage(slot, publisher.staged.next());
            publisher.region.prefetch(slot, spare);
            publisher.staged.add(slot, spare, true)
        })
    }

    /// Returns the entry of a slot for a row whose key is not in the index, and adds the key.
    fn entry_of_new_key(&mut self, row: &[u8]) -> Result<usize> {
        let publisher = &mut *self.publisher;
        let (staged, rows) = (&mut publisher.staged, &mut publisher.rows);
        let entry = match rows.take() {
            Some(slot) => {
                let spare = rows.stage(slot, staged.next());
                staged.add(slot, spare, false)
            }
            None => {
                let Some(entry) = staged.reusable() else {
                    return Err(publisher.table_full());
                };
                let displaced = &mut staged.entries[entry];
                let slot = displaced.slot as usize;
                if displaced.committed && displaced.displaced == NONE {
                    displaced.displaced = (staged.displaced.len() / rows.key_size()) as u32;
                    staged.displaced.extend_from_slice(rows.key(slot));
                }
                rows.leave(slot);
                entry
            }
        };
        rows.enter_row(staged.entries[entry].slot as usize, row);
        Ok(entry)
    }

    fn remove(&mut self, slot: usize) {
        let entry = self.entry_of(slot);
        self.publisher.staged.vacate(entry);
    }

    fn key(&self, row: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        self.publisher.schema.write_key(row, &mut key);
        key
    }

    fn key_exists(&self, row: &[u8]) -> Error {
        let publisher = &*self.publisher;
        Error::KeyExists {
            table: publisher.name().to_owned(),
            key: publisher.schema.format_key(&self.key(row)),
        }
    }
}

impl UntypedPublisher {
    /// Discards all staged changes. After a commit there are none.
    pub(super) fn roll_back(&mut self) {
        let (staged, rows) = (&mut self.staged, &mut self.rows);
        // Start with the last entry, so that the lowest slots are the next to be assigned.
        for entry in staged.entries.iter().rev() {
            let slot = entry.slot as usize;
            rows.unstage(slot, None);
            if !entry.committed {
                rows.leave(slot);
                rows.release(slot);
            } else if entry.displaced != NONE {
                rows.leave(slot);
            }
        }
        // Restore displaced keys only after all new keys are removed, because the displaced keys
        // may have been staged at other slots.
        for entry in staged
            .entries
            .iter()
            .filter(|entry| entry.displaced != NONE)
        {
            let key = entry.displaced as usize * rows.key_size();
            let key = &staged.displaced[key..key + rows.key_size()];
            rows.enter(entry.slot as usize, key);
        }
        staged.clear();
    }
}

impl Drop for UntypedTransaction<'_> {
    fn drop(&mut self) {
        self.publisher.roll_back();
    }
}

impl std::fmt::Debug for UntypedTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (staged, schema) = (&self.publisher.staged, &self.publisher.schema);
        let rows = staged.entries.iter().filter_map(|entry| {
            let words = entry.row(&staged.words, schema.row_words())?;
            let bytes = &bytemuck::cast_slice(words)[..schema.row_size()];
            Some(RowRef::new(schema, bytes).ok()?.key().to_string())
        });
        f.debug_struct("UntypedTransaction")
            .field("table", &self.publisher.name())
            .field("rows", &rows.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Result, Schema, UntypedPublisher};

    fn publisher(test: &str, capacity: usize) -> Result<UntypedPublisher> {
        let name = format!("unit-{test}-{}", std::process::id());
        UntypedPublisher::builder(&name, Schema::parse("id:u64,value:u64", None)?)
            .capacity(capacity)
            .open()
    }

    fn row(row: &[u64; 2]) -> &[u8] {
        bytemuck::bytes_of(row)
    }

    fn rows(publisher: &UntypedPublisher) -> Vec<[u64; 2]> {
        let rows = publisher.iter();
        rows.map(|row| bytemuck::pod_read_unaligned(row.bytes()))
            .collect()
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
        let committed = rows(&publisher);
        let key = u64::to_ne_bytes;
        for round in 0..3 {
            forget_transaction(&mut publisher)?;
            // Until the next transaction begins, the publisher returns only committed rows.
            assert_eq!((publisher.len(), rows(&publisher)), (3, committed.clone()));
            assert_eq!(publisher.get(&key(4)), None);
            assert!(publisher.get(&key(2)).is_some() && publisher.get(&key(1)).is_some());
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
            assert_eq!((publisher.len(), rows(&publisher)), (3, committed.clone()));
        }
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
            let staged = &publisher.staged;
            Ok([staged.entries.capacity(), staged.words.capacity()])
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
