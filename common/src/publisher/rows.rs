//! The publisher's index of its rows: the slot of each key, and the free slots.

use std::sync::Arc;

use crate::error::Result;
use crate::index::{Hash, KeyHasher, KeyIndex};
use crate::memory::AlignedWords;
use crate::protocol::Table;
use crate::row::schema::Schema;

/// The publisher's note of a slot. It is stored in front of the slot's key because both are used
/// together. The low half is the index of the running transaction's entry for the slot, or
/// [`Slot::UNTOUCHED`]. The bits above record which copy holds the row, and whether there is a row.
/// [`Rows::disagreement`] compares these bits with the tags in the region.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
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

/// The note of each slot, and the slot's current or last key.
struct Slots {
    schema: Arc<Schema>,
    hasher: KeyHasher,
    /// A [`Slot`] followed by its key, for each slot.
    words: AlignedWords,
    /// Number of words per slot in `words`.
    stride: usize,
    key_size: usize,
    /// Result of [`Schema::key_word`].
    key_word: Option<usize>,
}

/// The index of keys and slots, in the publisher's private memory. It contains every key that is
/// committed or staged.
pub(super) struct Rows {
    slots: Slots,
    index: KeyIndex,
    /// Slots below `used` that hold no row and are not staged.
    free: Vec<u32>,
    used: usize,
    capacity: usize,
}

impl Slots {
    fn new(schema: &Arc<Schema>) -> Self {
        let key_size = schema.key_size();
        Self {
            schema: Arc::clone(schema),
            hasher: KeyHasher::default(),
            words: AlignedWords::default(),
            stride: 1 + key_size.div_ceil(8),
            key_size,
            key_word: schema.key_word(),
        }
    }

    #[inline]
    fn slot(&self, slot: usize) -> Slot {
        Slot(self.words[slot * self.stride])
    }

    #[inline]
    fn slot_mut(&mut self, slot: usize) -> &mut u64 {
        &mut self.words[slot * self.stride]
    }

    #[inline]
    fn key(&self, slot: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.words[slot * self.stride + 1..])[..self.key_size]
    }

    fn key_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words[slot * self.stride + 1..])[..self.key_size]
    }

    /// Returns the key at a slot as one word. The key must be one aligned word.
    #[inline]
    fn word(&self, slot: usize) -> u64 {
        self.words[slot * self.stride + 1]
    }

    /// Returns the hash of the key at a slot.
    #[inline]
    fn hash(&self, slot: usize) -> Hash {
        match self.key_word {
            Some(_) => self.hasher.of_word(self.word(slot)),
            None => self.hasher.of_key(&self.schema, self.key(slot)),
        }
    }
}

impl Rows {
    /// Builds the index of the rows that `table` holds at `version`. `twice` makes the error for a
    /// key that occurs at two slots.
    pub fn of(
        schema: &Arc<Schema>,
        table: &Table<'_>,
        version: u64,
        capacity: usize,
        twice: impl FnOnce(&[u8]) -> crate::Error,
    ) -> Result<Self> {
        let mut rows = Self {
            slots: Slots::new(schema),
            index: KeyIndex::with_capacity(table.rows()),
            free: Vec::new(),
            used: 0,
            capacity,
        };
        rows.use_slots(table.rows());
        let mut words = vec![0; table.row_words()];
        for slot in 0..table.rows() {
            let live = table
                .read(slot, version, 0, &mut words)
                .is_ok_and(|tag| tag.is_live());
            let (holder, _) = table.holder(slot, version);
            *rows.slots.slot_mut(slot) = Slot::new(holder, live).0;
            if !live {
                rows.free.push(slot as u32);
                continue;
            }
            let row = bytemuck::cast_slice(&words);
            if rows.find_row(row).is_some() {
                let mut key = Vec::with_capacity(schema.key_size());
                schema.write_key(row, &mut key);
                return Err(twice(&key));
            }
            rows.enter_row(slot, row);
        }
        rows.free.reverse();
        Ok(rows)
    }

    /// Returns the number of keys, including staged ones.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the length of a key, in bytes.
    pub fn key_size(&self) -> usize {
        self.slots.key_size
    }

    /// Returns the number of slots that were ever used. All slots that hold a row are below it.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Returns the slot of a key. Returns None if the key is unknown or has the wrong length.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let slots = &self.slots;
        if key.len() != slots.key_size {
            return None;
        }
        let hash = slots.hasher.of_key(&slots.schema, key);
        self.index
            .find(hash, |slot| (slots.key(slot) == key).then_some(slot))
    }

    /// Returns the slot of a row's key.
    ///
    /// # Panics
    /// Panics if the row is too short to contain the key.
    #[inline]
    pub fn find_row(&self, row: &[u8]) -> Option<usize> {
        match self.slots.key_word {
            Some(word) => self.find_word(row.as_chunks().0[word]),
            None => self.find_by_parts(row),
        }
    }

    #[inline]
    fn find_word(&self, key: [u8; 8]) -> Option<usize> {
        let (slots, key) = (&self.slots, u64::from_ne_bytes(key));
        self.index.find(slots.hasher.of_word(key), |slot| {
            (slots.word(slot) == key).then_some(slot)
        })
    }

    fn find_by_parts(&self, row: &[u8]) -> Option<usize> {
        let slots = &self.slots;
        let hash = slots.hasher.of_row(&slots.schema, row);
        self.index.find(hash, |slot| {
            let is_it = slots.schema.key_matches(row, slots.key(slot));
            is_it.then_some(slot)
        })
    }

    /// Returns the key at a slot.
    pub fn key(&self, slot: usize) -> &[u8] {
        self.slots.key(slot)
    }

    /// Returns the index of the transaction's entry for a slot.
    #[inline]
    pub fn staged(&self, slot: usize) -> Option<usize> {
        let entry = self.slots.slot(slot).0 as u32;
        (entry != Slot::UNTOUCHED).then_some(entry as usize)
    }

    /// Records the index of the transaction's entry for a slot, and returns the copy that the
    /// transaction must write.
    #[inline]
    pub fn stage(&mut self, slot: usize, entry: usize) -> usize {
        let slot = self.slots.slot_mut(slot);
        *slot = *slot & !u64::from(u32::MAX) | entry as u64;
        1 - Slot(*slot).holder()
    }

    /// Ends the staging of a slot. `committed` is None after a rollback, or if the entry had no
    /// effect. Otherwise the other copy is now the current one, and `committed` is true if it holds
    /// a live row.
    #[inline]
    pub fn unstage(&mut self, slot: usize, committed: Option<bool>) {
        let slot = self.slots.slot_mut(slot);
        let before = Slot(*slot);
        *slot = match committed {
            Some(live) => Slot::new(1 - before.holder(), live).0,
            None => *slot | u64::from(Slot::UNTOUCHED),
        };
    }

    /// Returns true if there is a committed row at a slot.
    #[inline]
    pub fn is_committed(&self, slot: usize) -> bool {
        self.slots.slot(slot).is_live()
    }

    /// Returns which copy of a slot is current as of the last commit, and whether it holds a live
    /// row.
    pub fn holder(&self, slot: usize) -> (usize, bool) {
        let slot = self.slots.slot(slot);
        (slot.holder(), slot.is_live())
    }

    /// Returns the first of `slots` whose note differs from the tags of `table` as of `version`,
    /// the last commit. A commit to such a slot would overwrite the committed row.
    pub fn disagreement(
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

    /// Returns a slot for a new key, or None if the table is full.
    pub fn take(&mut self) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot as usize);
        }
        if self.used == self.capacity {
            return None;
        }
        self.use_slots(self.used + 1);
        Some(self.used - 1)
    }

    fn use_slots(&mut self, used: usize) {
        self.slots.words.grow(used * self.slots.stride);
        for slot in std::mem::replace(&mut self.used, used)..used {
            *self.slots.slot_mut(slot) = Slot::new(0, false).0;
        }
    }

    /// Stores a key at a slot and adds it to the index, which must not contain it.
    pub fn enter(&mut self, slot: usize, key: &[u8]) {
        self.slots.key_mut(slot).copy_from_slice(key);
        self.index_slot(slot);
    }

    /// Stores a row's key at a slot and adds it to the index, which must not contain it.
    pub fn enter_row(&mut self, slot: usize, row: &[u8]) {
        let schema = Arc::clone(&self.slots.schema);
        let mut key = self.slots.key_mut(slot);
        for part in schema.key_parts() {
            let (at, rest) = key.split_at_mut(part.len());
            at.copy_from_slice(&row[part.clone()]);
            key = rest;
        }
        self.index_slot(slot);
    }

    fn index_slot(&mut self, slot: usize) {
        let hash = self.slots.hash(slot);
        self.index
            .put(hash, slot, |_| false, |other| self.slots.hash(other));
    }

    /// Removes the key at a slot from the index.
    pub fn leave(&mut self, slot: usize) {
        let hash = self.slots.hash(slot);
        self.index
            .remove(hash, slot, |other| self.slots.hash(other));
    }

    /// Returns a slot without a row to the free slots.
    pub fn release(&mut self, slot: usize) {
        self.free.push(slot as u32);
    }
}

#[cfg(test)]
mod tests {
    use crate::random::random;
    use crate::region::object;
    use crate::{Result, Schema, UntypedPublisher};

    fn publisher(test: &str, capacity: usize) -> Result<UntypedPublisher> {
        let name = format!("unit-{test}-{}", std::process::id());
        let schema = Schema::parse("id:u64,value:u64", None)?;
        UntypedPublisher::builder(&name, schema)
            .capacity(capacity)
            .open()
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
        let rows = |publisher: &UntypedPublisher, version| -> Result<Vec<Option<[u64; 2]>>> {
            let (_, table) = publisher.region.look()?;
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
            let before = rows(publisher, version)?;
            random_transaction(publisher, &mut state)?;
            // If the publisher replaces a lost region during the commit, that is a separate commit
            // with the same rows.
            let last_but_one = version.max(publisher.version() - 1);
            let after = rows(publisher, last_but_one)?;
            assert_eq!(before, after[..before.len()], "at {version}");
            let (version, table) = publisher.region.look()?;
            let notes = &publisher.rows;
            let wrong = notes.disagreement(&table, version, 0..notes.used());
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
                object::remove(publisher.region.object())?;
                // Maintenance runs within the next commit, whose transaction is staged by then, or
                // before it.
                publisher.next_upkeep_ns = 0;
                if chance % 2 == 0 {
                    let before: Vec<_> = publisher.iter().collect();
                    publisher.maintain()?;
                    assert!(publisher.region.has_name());
                    assert!(publisher.iter().eq(before));
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
                let rows: Vec<_> = publisher.iter().collect();
                let schema = (**publisher.schema()).clone();
                // With an equal capacity, and with a different one.
                let capacity = 50 + chance as usize % 2;
                publisher.reshape(schema, capacity, rows.iter().map(|row| row.bytes()))?;
                assert!(publisher.iter().eq(rows));
                assert_eq!(publisher.capacity(), capacity);
            }
            Ok(())
        })?;
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
}
