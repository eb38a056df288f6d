//! What the publisher knows of its rows: which key is at which slot, and which slots are free.

use std::sync::Arc;

use crate::error::Result;
use crate::index::{Hash, KeyHasher, KeyIndex};
use crate::memory::AlignedWords;
use crate::schema::Schema;
use crate::table::Table;

/// The publisher's note of a slot. It is stored in front of the slot's key because both are used together. The low half is the number
/// of the running transaction's entry for the slot, or [`Slot::UNTOUCHED`]; the bits above say which copy holds the row, and
/// whether there is one. [`Rows::disagreement`] compares these bits with the tags in the region.
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

/// What is known of each slot, and the key that stands or stood there.
struct Slots {
    schema: Arc<Schema>,
    hasher: KeyHasher,
    /// A [`Slot`] and its key each.
    words: AlignedWords,
    /// Words of that.
    stride: usize,
    key_size: usize,
    /// [`Schema::key_word`].
    key_word: Option<usize>,
}

/// Keys and slots, in the publisher's own memory. A key stands in the index if it is committed or staged.
pub(super) struct Rows {
    slots: Slots,
    index: KeyIndex,
    /// Slots below `used` that hold no row.
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

    /// The key at a slot, if a key is one aligned word.
    #[inline]
    fn word(&self, slot: usize) -> u64 {
        self.words[slot * self.stride + 1]
    }

    /// The hash of the key at a slot.
    #[inline]
    fn hash(&self, slot: usize) -> Hash {
        match self.key_word {
            Some(_) => self.hasher.of_word(self.word(slot)),
            None => self.hasher.of_key(&self.schema, self.key(slot)),
        }
    }
}

impl Rows {
    /// Of the rows that `table` holds at `version`. `twice` is the error for the key that stands at two slots.
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

    /// How many keys there are, staged ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The length of a key, in bytes.
    pub fn key_size(&self) -> usize {
        self.slots.key_size
    }

    /// How many slots were ever used: all that hold a row are below.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The slot of a key; None also for one of another length.
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

    /// The slot of a row's key.
    ///
    /// # Panics
    /// If the row is shorter than the key needs.
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

    /// The key at a slot.
    pub fn key(&self, slot: usize) -> &[u8] {
        self.slots.key(slot)
    }

    /// The number of the entry that the transaction has for a slot.
    #[inline]
    pub fn staged(&self, slot: usize) -> Option<usize> {
        let entry = self.slots.slot(slot).0 as u32;
        (entry != Slot::UNTOUCHED).then_some(entry as usize)
    }

    /// Notes the number of the entry that the transaction has for a slot, and returns which copy it is to write.
    #[inline]
    pub fn stage(&mut self, slot: usize, entry: usize) -> usize {
        let slot = self.slots.slot_mut(slot);
        *slot = *slot & !u64::from(u32::MAX) | entry as u64;
        1 - Slot(*slot).holder()
    }

    /// The transaction has ended that had an entry for a slot. If it was committed, now the other copy holds the row, if there is one.
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

    /// Returns which copy of a slot counts as of the last commit, and whether it is a live row.
    pub fn holder(&self, slot: usize) -> (usize, bool) {
        let slot = self.slots.slot(slot);
        (slot.holder(), slot.is_live())
    }

    /// Returns the first of `slots` whose note differs from the tags of `table` as of `version`, the last commit. A commit to such a slot
    /// would overwrite the committed row.
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

    /// A slot for a new key; None if the table is full.
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

    /// Puts a key at a slot. It stands nowhere else.
    pub fn enter(&mut self, slot: usize, key: &[u8]) {
        self.slots.key_mut(slot).copy_from_slice(key);
        self.index_slot(slot);
    }

    /// Puts a row's key at a slot. It stands nowhere else.
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

    /// Takes the key at a slot away.
    pub fn leave(&mut self, slot: usize) {
        let hash = self.slots.hash(slot);
        self.index
            .remove(hash, slot, |other| self.slots.hash(other));
    }

    /// Gives a slot back that holds no row.
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

    /// Commits, aborts or forgets a random transaction. The keys are more than fit into 50 rows.
    fn random_transaction(publisher: &mut UntypedPublisher, state: &mut u64) -> Result<()> {
        let version = publisher.version();
        let mut tx = publisher.begin();
        for _ in 0..random(state, 6) {
            let key = random(state, 60);
            // Refused or not: the table is full at times, and a key may be missing.
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

    /// Commits random transactions, and calls `between` before each. A commit must keep the rows of the version before it readable.
    fn commit_at_random(
        publisher: &mut UntypedPublisher,
        times: usize,
        mut between: impl FnMut(&mut UntypedPublisher, u64) -> Result<()>,
    ) -> Result<()> {
        // The rows as of a version, by slot.
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
            // A succession within the commit is a separate commit with the same rows.
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
                // Within the next commit, whose transaction is staged by then, or before it.
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
