//! The local copy: rows by slot, an index by key, and what a refresh changed.

use std::sync::Arc;

use crate::index::{Hash, KeyIndex};
use crate::memory::Scratch;
use crate::memory::{AlignedWords, NoMemory, try_extend};
use crate::protocol::catch_up::{ChangedRow, ChangedRows};
use crate::protocol::words::{SetBits, set_bits};
use crate::row::RowRef;
use crate::row::schema::{Conversion, Schema};

mod rows;

use rows::Rows;

/// Number of rows that `apply` prefetches ahead.
const AHEAD: usize = 16;

/// A key that changed. `old` is the position of a row in [`ChangeList`], `slot` one in [`LocalCopy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Created { slot: usize },
    Updated { old: usize, slot: usize },
    Deleted { old: usize },
}

/// Changes of the last refresh.
pub(super) struct ChangeList {
    pub(super) items: Scratch<Changed>,
    /// If true, the changes are all rows of the copy as created, instead of `items`.
    pub(super) all: bool,
    old_rows: Scratch<u64>,
    schema: Arc<Schema>,
}

impl ChangeList {
    pub(super) fn new(schema: &Arc<Schema>) -> Self {
        Self {
            items: Scratch::default(),
            all: false,
            old_rows: Scratch::default(),
            schema: Arc::clone(schema),
        }
    }

    /// All rows of a copy of `schema`, as created.
    pub(super) fn of_all(schema: &Arc<Schema>) -> Self {
        Self {
            all: true,
            ..Self::new(schema)
        }
    }

    /// Empties the list, for changes from rows of `schema`.
    pub(super) fn clear(&mut self, schema: &Arc<Schema>) {
        self.items.recycle();
        self.all = false;
        self.old_rows.recycle();
        if !Arc::ptr_eq(&self.schema, schema) {
            self.schema = Arc::clone(schema);
        }
    }

    /// An old row.
    pub(super) fn row(&self, at: usize) -> RowRef<'_> {
        view(&self.schema, self.old(at))
    }

    /// The bytes of an old row.
    fn old(&self, at: usize) -> &[u8] {
        &bytemuck::cast_slice(self.old_words(at))[..self.schema.row_size()]
    }

    fn old_words(&self, at: usize) -> &[u64] {
        &self.old_rows[at..][..self.schema.row_words()]
    }

    fn keep(&mut self, row: &[u64]) -> usize {
        let at = self.old_rows.len();
        self.old_rows.extend_from_slice(row);
        at
    }
}

fn view<'a>(schema: &'a Schema, bytes: &'a [u8]) -> RowRef<'a> {
    RowRef::new(schema, bytes).expect("rows of a copy have its schema's size")
}

/// A whole table at one version, in private memory.
pub(super) struct LocalCopy {
    rows: Rows,
    /// One bit per slot: set if the slot holds a row.
    live: Vec<u64>,
    index: KeyIndex,
}

impl LocalCopy {
    /// A copy of the whole table, of what [`copy_all`](crate::protocol::catch_up::copy_all) copied.
    pub(super) fn whole(schema: &Arc<Schema>, rows: AlignedWords, live: Vec<u64>) -> Self {
        let count = live.iter().map(|bits| bits.count_ones() as usize).sum();
        let mut copy = Self {
            rows: Rows::new(schema, rows),
            live,
            index: KeyIndex::with_capacity(count),
        };
        let mut hashes = Vec::with_capacity(64);
        for word in 0..copy.live.len() {
            hashes.extend(set_bits(&[copy.live[word]]).map(|row| {
                let slot = word * 64 + row;
                let hash = copy.rows.hash(copy.words(slot));
                copy.index.prefetch(hash);
                (hash, slot)
            }));
            for (hash, slot) in hashes.drain(..) {
                if let Some(twin) = copy.index_row(hash, slot) {
                    copy.set_live(twin, false);
                }
            }
        }
        copy
    }

    /// Makes room for `slots` slots.
    fn make_room(&mut self, slots: usize) -> Result<(), NoMemory> {
        if slots > self.live.len() * 64 {
            let bits = slots.div_ceil(64);
            self.rows.try_grow(bits * 64)?;
            try_extend(&mut self.live, bits)?;
        }
        Ok(())
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.rows.schema
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the slot of a key; `None` also for a key of another length.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let row_words = self.schema().row_words();
        self.rows
            .find(&self.index, key, row_words)
            .map(|(slot, _)| slot)
    }

    /// The words of the row of a key. `row_words` is a row's size, which a caller may know when it is compiled.
    #[inline(always)]
    pub(super) fn find_words(&self, key: &[u8], row_words: usize) -> Option<&[u64]> {
        debug_assert_eq!(row_words, self.schema().row_words());
        self.rows
            .find(&self.index, key, row_words)
            .map(|(_, row)| row)
    }

    /// A slot where a key may be: the first one that looks like it.
    #[inline]
    pub(super) fn find_alike(&self, key: &[u8]) -> Option<usize> {
        self.rows.find_alike(&self.index, key)
    }

    /// Returns true if `key` is the key of `row`.
    #[inline]
    pub(super) fn is_key_of(&self, key: &[u8], row: &[u64]) -> bool {
        self.rows.is_key_of(key, row)
    }

    /// The row at a slot.
    #[inline]
    pub(super) fn row(&self, slot: usize) -> RowRef<'_> {
        view(&self.rows.schema, self.bytes(slot))
    }

    #[inline]
    fn bytes(&self, slot: usize) -> &[u8] {
        self.rows.bytes(slot)
    }

    /// Returns the words of the row at a slot.
    #[inline]
    pub(super) fn words(&self, slot: usize) -> &[u64] {
        self.rows.at(slot)
    }

    /// All slots that hold a row.
    pub(super) fn slots(&self) -> SetBits<'_> {
        set_bits(&self.live)
    }

    fn is_live(&self, slot: usize) -> bool {
        self.live
            .get(slot / 64)
            .is_some_and(|bits| bits >> (slot % 64) & 1 == 1)
    }

    fn set_live(&mut self, slot: usize, live: bool) {
        let bit = 1 << (slot % 64);
        let bits = &mut self.live[slot / 64];
        *bits = if live { *bits | bit } else { *bits & !bit };
    }

    /// Applies the rows that were copied aside, by key: first every key that left a slot, then every key that entered one. A key
    /// that did both is one update, or nothing if its row is the same.
    ///
    /// # Errors
    /// [`NoMemory`]; the copy is then as it was.
    pub(super) fn apply(
        &mut self,
        staging: &ChangedRows,
        changes: &mut ChangeList,
    ) -> Result<(), NoMemory> {
        if let Some(last) = staging.list().iter().map(|moved| moved.slot).max() {
            self.make_room(last as usize + 1)?;
        }
        let mut left: Vec<usize> = Vec::new();
        let mut entered: Vec<&ChangedRow> = Vec::new();
        for (at, moved) in staging.list().iter().enumerate() {
            if let Some(later) = staging.list().get(at + AHEAD) {
                self.rows.prefetch(later.slot as usize);
            }
            let slot = moved.slot as usize;
            let row = staging.row(moved);
            if self.is_live(slot) {
                if let Some(row) = row.filter(|row| self.rows.same_key(self.words(slot), row)) {
                    if self.words(slot) != row {
                        let old = changes.keep(self.words(slot));
                        changes.items.push(Changed::Updated { old, slot });
                        self.rows.write(slot, row);
                    }
                    continue;
                }
                left.push(changes.keep(self.words(slot)));
                let rows = &self.rows;
                let hash_at = |slot| rows.hash(rows.at(slot));
                self.index.remove(hash_at(slot), slot, hash_at);
                self.set_live(slot, false);
            }
            if row.is_some() {
                entered.push(moved);
            }
        }
        self.enter(staging, changes, &left, &entered);
        Ok(())
    }

    fn enter(
        &mut self,
        staging: &ChangedRows,
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
        let mut back = vec![false; left.len()];
        for moved in entered {
            let slot = moved.slot as usize;
            let row = staging.row(moved).expect("only rows that are live entered");
            let hash = self.rows.hash(row);
            self.rows.write(slot, row);
            self.set_live(slot, true);
            let twin = self.index_row(hash, slot);
            if let Some(twin) = twin {
                self.set_live(twin, false);
            }
            let old = returning.find(hash, |number| {
                let is_it = self.rows.same_key(changes.old_words(left[number]), row);
                is_it.then_some(number)
            });
            match old {
                Some(number) => {
                    back[number] = true;
                    let old = left[number];
                    if changes.old(old) != self.bytes(slot) {
                        changes.items.push(Changed::Updated { old, slot });
                    }
                }
                None => {
                    let old = twin.map(|twin| changes.keep(self.words(twin)));
                    changes.items.push(match old {
                        Some(old) => Changed::Updated { old, slot },
                        None => Changed::Created { slot },
                    });
                }
            }
        }
        let gone = left.iter().zip(back).filter(|(_, back)| !back);
        changes
            .items
            .extend(gone.map(|(old, _)| Changed::Deleted { old: *old }));
    }

    /// Returns the slot that had the same key: no publisher of ours has a key at two slots. If this one does, the later
    /// counts.
    #[inline]
    fn index_row(&mut self, hash: Hash, slot: usize) -> Option<usize> {
        let rows = &self.rows;
        let is_twin = |twin| rows.same_key(rows.at(twin), rows.at(slot));
        let hash_at = |other| rows.hash(rows.at(other));
        self.index.put(hash, slot, is_twin, hash_at)
    }

    /// Lists the changes that lead from this copy to `new`, which is of another region and may be of another schema. A row
    /// has changed if a field that both schemas have holds another value.
    pub(super) fn differences(&self, new: &LocalCopy, changes: &mut ChangeList) {
        changes.clear(self.schema());
        let conversion = Conversion::between(self.schema(), new.schema());
        let mut converted = vec![0; new.schema().row_size()];
        let mut key = Vec::with_capacity(new.schema().key_size());
        let mut known = vec![false; new.live.len() * 64];
        // Fields of both schemas that are not converted, because their kind is another or a narrower text.
        let lost = conversion.as_ref().map(Conversion::lost);
        let retyped = lost.unwrap_or_default().iter();
        let retyped: Vec<(usize, usize)> = retyped
            .filter_map(|name| Some((self.schema().field(name)?.0, new.schema().field(name)?.0)))
            .collect();
        for slot in self.slots() {
            let successor = conversion.as_ref().and_then(|conversion| {
                conversion.convert(self.bytes(slot), &mut converted);
                key.clear();
                new.schema().write_key(&converted, &mut key);
                new.find(&key)
            });
            match successor {
                Some(successor) => {
                    known[successor] = true;
                    let (before, now) = (self.row(slot), new.row(successor));
                    let mut differs = false;
                    for (from, to) in &retyped {
                        differs |= before.value(*from) != now.value(*to);
                        let place = new.schema().fields()[*to].range();
                        converted[place.clone()].copy_from_slice(&now.bytes()[place]);
                    }
                    if differs || converted != new.bytes(successor) {
                        let old = changes.keep(self.words(slot));
                        changes.items.push(Changed::Updated {
                            old,
                            slot: successor,
                        });
                    }
                }
                None => {
                    let old = changes.keep(self.words(slot));
                    changes.items.push(Changed::Deleted { old });
                }
            }
        }
        let created = new
            .slots()
            .filter(|slot| !known[*slot])
            .map(|slot| Changed::Created { slot });
        changes.items.extend(created);
    }
}

#[cfg(test)]
mod tests;
