//! A transaction: staged in the publisher's own memory, then made true at one instant, or dropped.
//!
//! Slots are given out while staging, so that everything that can fail has failed before the first tag is written. A key
//! that is deleted keeps its slot to the end of the transaction (it may come back); only in a full table is such a slot
//! given to another key at once.

use super::untyped::UntypedPublisher;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::row::RowRef;
use crate::table::commit::Write;

const NOT_STAGED: u32 = u32::MAX;

/// One slot that a transaction changes.
struct Entry {
    slot: u32,
    /// Whether the slot holds a committed row.
    committed: bool,
    /// If another key took the slot from the committed row's: where that one's key is kept.
    displaced: Option<usize>,
    /// Where the new row's words begin; None if there is to be no row.
    row: Option<usize>,
}

impl Entry {
    /// Not for a row that was inserted and deleted again.
    fn is_effective(&self) -> bool {
        self.committed || self.row.is_some()
    }
}

/// What a transaction has staged. The publisher keeps it between transactions for its memory.
#[derive(Default)]
pub(super) struct Staged {
    entries: Vec<Entry>,
    words: Vec<u64>,
    /// Number of the entry of each slot.
    by_slot: Vec<u32>,
    /// Keys of committed rows whose slots were given to others.
    displaced: Vec<u8>,
    /// Entries whose slot has no row to be, and may serve another key.
    vacated: Vec<u32>,
    key: Vec<u8>,
}

impl Staged {
    fn entry(&self, slot: usize) -> Option<usize> {
        let entry = *self.by_slot.get(slot)?;
        (entry != NOT_STAGED).then_some(entry as usize)
    }

    fn add(&mut self, slot: usize, committed: bool) -> usize {
        if slot >= self.by_slot.len() {
            self.by_slot.resize(slot + 1, NOT_STAGED);
        }
        let entry = self.entries.len();
        self.by_slot[slot] = entry as u32;
        self.entries.push(Entry {
            slot: slot as u32,
            committed,
            displaced: None,
            row: None,
        });
        entry
    }

    fn set_row(&mut self, entry: usize, row: &[u8], row_words: usize) {
        let start = *self.entries[entry].row.get_or_insert(self.words.len());
        if start == self.words.len() {
            self.words.resize(start + row_words, 0);
        }
        bytemuck::cast_slice_mut(&mut self.words[start..start + row_words])[..row.len()]
            .copy_from_slice(row);
    }

    fn vacate(&mut self, entry: usize) {
        self.entries[entry].row = None;
        self.vacated.push(entry as u32);
    }

    /// An entry whose slot no key needs any more.
    fn reusable(&mut self) -> Option<usize> {
        while let Some(entry) = self.vacated.pop() {
            if self.entries[entry as usize].row.is_none() {
                return Some(entry as usize);
            }
        }
        None
    }

    fn reset(&mut self) {
        for entry in self.entries.drain(..) {
            self.by_slot[entry.slot as usize] = NOT_STAGED;
        }
        self.words.clear();
        self.displaced.clear();
        self.vacated.clear();
    }
}

/// A transaction over rows of bytes. [`Transaction`](super::Transaction) is the typed view of it.
///
/// Nothing is seen by anybody before [`commit`](Self::commit), and then all of it at once. Dropping it changes nothing.
#[must_use = "a transaction that is dropped changes nothing"]
pub struct UntypedTransaction<'p> {
    publisher: &'p mut UntypedPublisher,
}

impl<'p> UntypedTransaction<'p> {
    pub(super) fn new(publisher: &'p mut UntypedPublisher) -> Self {
        debug_assert!(
            publisher.staged.entries.is_empty(),
            "the transaction before has ended"
        );
        Self { publisher }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::TableFull`], [`Error::WrongLength`]. The transaction goes on without the row.
    pub fn insert(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => Err(self.key_exists()),
            slot => self.put(slot, row),
        }
    }

    /// Replaces a row by its key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::WrongLength`]. The transaction goes on without the row.
    pub fn update(&mut self, row: &[u8]) -> Result<()> {
        match self.locate(row)? {
            Some(slot) if self.is_present(slot) => self.put(Some(slot), row),
            _ => Err(self.publisher.key_missing(&self.publisher.staged.key)),
        }
    }

    /// Adds a row or replaces the one of that key.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::WrongLength`]. The transaction goes on without the row.
    pub fn upsert(&mut self, row: &[u8]) -> Result<()> {
        let slot = self.locate(row)?;
        self.put(slot, row)
    }

    /// Removes the row of a key (in its canonical bytes).
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::WrongLength`]. The transaction goes on without it.
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

    /// Makes the table hold exactly these rows, staging differences only. Of two rows with one key the later counts.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::WrongLength`]; then some of the differences are staged.
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
            // The slot of a key that was deleted may yet be given to another.
            slots.push(slot.filter(|slot| self.is_present(*slot)));
        }
        // What goes makes room for what comes.
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

    /// How many rows are staged.
    pub fn len(&self) -> usize {
        self.publisher
            .staged
            .entries
            .iter()
            .filter(|entry| entry.is_effective())
            .count()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        !self
            .publisher
            .staged
            .entries
            .iter()
            .any(Entry::is_effective)
    }

    /// Makes all of it true at one instant, wakes whoever sleeps, and returns the version of the table. Without anything
    /// staged it does nothing and returns the version there is.
    ///
    /// # Errors
    /// [`Error::Limit`] if the region cannot grow. Nothing was committed then, and the publisher can go on.
    /// [`Error::Lost`] if another publisher has taken the name, [`Error::Corrupt`] if the region was cut short: it cannot.
    pub fn commit(self) -> Result<u64> {
        if self.is_empty() {
            return Ok(self.publisher.version());
        }
        let now = monotonic_ns();
        let publisher = &mut *self.publisher;
        publisher.upkeep_if_due(now)?;
        let version = publisher.next_version()?;
        let staged = &publisher.staged;
        let (entries, words, row_words) =
            (&staged.entries, &staged.words, publisher.schema.row_words());
        let writes = entries
            .iter()
            .filter(|entry| entry.is_effective())
            .map(|entry| Write {
                slot: entry.slot as usize,
                row: entry.row.map(|start| &words[start..start + row_words]),
            });
        let rows = writes
            .clone()
            .map(|write| write.slot + 1)
            .max()
            .unwrap_or(0);
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
        for entry in staged.entries.drain(..) {
            let slot = entry.slot as usize;
            staged.by_slot[slot] = NOT_STAGED;
            if entry.row.is_none() {
                rows.leave(slot);
                rows.release(slot);
            }
        }
        Ok(version)
    }

    /// The slot of a row's key, which is left in `staged.key`.
    fn locate(&mut self, row: &[u8]) -> Result<Option<usize>> {
        let publisher = &mut *self.publisher;
        publisher.check_length("row", row.len(), publisher.schema.row_size())?;
        publisher.staged.key.clear();
        publisher.schema.write_key(row, &mut publisher.staged.key);
        Ok(publisher.rows.find(&publisher.staged.key))
    }

    /// Whether a row is to be at a slot that a key was found at, or that was ever used.
    fn is_present(&self, slot: usize) -> bool {
        match self.publisher.staged.entry(slot) {
            Some(entry) => self.publisher.staged.entries[entry].row.is_some(),
            None => self.publisher.is_committed(slot),
        }
    }

    /// Whether the row that is to be at `slot` is `row`. `held` is of the width of a row.
    fn holds(&self, slot: usize, row: &[u8], held: &mut [u64]) -> bool {
        let staged = &self.publisher.staged;
        let staged_row = staged
            .entry(slot)
            .and_then(|entry| staged.entries[entry].row);
        let words = match staged_row {
            Some(start) => &staged.words[start..],
            None if self.publisher.read_into(slot, 0, held) => held,
            None => return false,
        };
        bytemuck::cast_slice::<u64, u8>(words)[..row.len()] == *row
    }

    /// Stages `row`, whose key is `staged.key` and stands at `slot`, if anywhere.
    fn put(&mut self, slot: Option<usize>, row: &[u8]) -> Result<()> {
        let publisher = &mut *self.publisher;
        let entry = match slot {
            Some(slot) => publisher
                .staged
                .entry(slot)
                .unwrap_or_else(|| publisher.staged.add(slot, true)),
            None => {
                let entry = match publisher.rows.take() {
                    Some(slot) => publisher.staged.add(slot, false),
                    None => {
                        let Some(entry) = publisher.staged.reusable() else {
                            return Err(publisher.table_full());
                        };
                        let (staged, rows) = (&mut publisher.staged, &mut publisher.rows);
                        let displaced = &mut staged.entries[entry];
                        if displaced.committed && displaced.displaced.is_none() {
                            displaced.displaced = Some(staged.displaced.len());
                            staged
                                .displaced
                                .extend_from_slice(rows.key(displaced.slot as usize));
                        }
                        rows.leave(displaced.slot as usize);
                        entry
                    }
                };
                let slot = publisher.staged.entries[entry].slot as usize;
                publisher.rows.enter(slot, &publisher.staged.key);
                entry
            }
        };
        publisher
            .staged
            .set_row(entry, row, publisher.schema.row_words());
        Ok(())
    }

    fn remove(&mut self, slot: usize) {
        let staged = &mut self.publisher.staged;
        let entry = staged.entry(slot).unwrap_or_else(|| staged.add(slot, true));
        staged.vacate(entry);
    }

    fn key_exists(&self) -> Error {
        let publisher = &*self.publisher;
        Error::KeyExists {
            table: publisher.name().to_owned(),
            key: publisher.schema.format_key(&publisher.staged.key),
        }
    }
}

impl Drop for UntypedTransaction<'_> {
    fn drop(&mut self) {
        // After a commit nothing is staged any more.
        let publisher = &mut *self.publisher;
        // The last one first, so that the lowest slots are the next to be given out again.
        for entry in publisher.staged.entries.iter().rev() {
            let slot = entry.slot as usize;
            if !entry.committed {
                publisher.rows.leave(slot);
                publisher.rows.release(slot);
            } else if entry.displaced.is_some() {
                publisher.rows.leave(slot);
            }
        }
        // Only when all new keys are out may the former ones come back: they may have been staged at other slots.
        let (staged, rows) = (&mut publisher.staged, &mut publisher.rows);
        for entry in &staged.entries {
            if let Some(key) = entry.displaced {
                let key = &staged.displaced[key..key + rows.key_size()];
                rows.enter(entry.slot as usize, key);
            }
        }
        publisher.staged.reset();
    }
}

impl std::fmt::Debug for UntypedTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.publisher.staged.entries.iter().filter_map(|entry| {
            let start = entry.row?;
            let bytes = bytemuck::cast_slice(&self.publisher.staged.words[start..]);
            let row = RowRef::new(
                &self.publisher.schema,
                &bytes[..self.publisher.schema.row_size()],
            )
            .ok()?;
            Some(row.key().to_string())
        });
        f.debug_struct("UntypedTransaction")
            .field("table", &self.publisher.name())
            .field("rows", &rows.collect::<Vec<_>>())
            .finish()
    }
}
