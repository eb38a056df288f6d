//! What the publisher knows of its rows: which key is at which slot, and which slots are free.

use std::sync::Arc;

use crate::error::Result;
use crate::index::KeyIndex;
use crate::memory;
use crate::schema::Schema;
use crate::table::Table;

/// A slot that the transaction has not touched.
const NOT_STAGED: u64 = u64::MAX;

/// Keys and slots, in the publisher's own memory. A key stands here if it is committed or staged.
pub(super) struct Rows {
    schema: Arc<Schema>,
    index: KeyIndex,
    /// Of each slot the number of its entry in the transaction, and then its key: what is looked at together stands together.
    slots: Vec<u64>,
    /// Words of that.
    stride: usize,
    key_size: usize,
    /// [`Schema::key_word`].
    key_word: Option<usize>,
    /// Slots below `used` that hold no row.
    free: Vec<u32>,
    used: usize,
    capacity: usize,
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
        let key_size = schema.key_size();
        let mut rows = Self {
            schema: Arc::clone(schema),
            index: KeyIndex::with_capacity(table.rows()),
            slots: Vec::new(),
            stride: 1 + key_size.div_ceil(8),
            key_size,
            key_word: schema.key_word(),
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
            if !live {
                rows.free.push(slot as u32);
                continue;
            }
            let row = bytemuck::cast_slice(&words);
            if rows.find_row(row).is_some() {
                let mut key = Vec::with_capacity(key_size);
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
        self.key_size
    }

    /// How many slots were ever used: all that hold a row are below.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The slot of a key; None also for one of another length.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        if key.len() != self.key_size {
            return None;
        }
        self.index
            .find(self.index.hash_key(&self.schema, key), |slot| {
                self.key(slot) == key
            })
    }

    /// The slot of a row's key.
    ///
    /// # Panics
    /// If the row is shorter than the key needs.
    #[inline]
    pub fn find_row(&self, row: &[u8]) -> Option<usize> {
        match self.key_word {
            Some(word) => self.find_word(row.as_chunks().0[word]),
            None => self.find_by_parts(row),
        }
    }

    #[inline]
    fn find_word(&self, key: [u8; 8]) -> Option<usize> {
        let key = u64::from_ne_bytes(key);
        self.index.find(self.index.hash_word(key), |slot| {
            self.slots[slot * self.stride + 1] == key
        })
    }

    fn find_by_parts(&self, row: &[u8]) -> Option<usize> {
        self.index
            .find(self.index.hash_row(&self.schema, row), |slot| {
                self.schema.key_matches(row, self.key(slot))
            })
    }

    /// The key at a slot.
    #[inline]
    pub fn key(&self, slot: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.slots[slot * self.stride + 1..])[..self.key_size]
    }

    fn key_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.slots[slot * self.stride + 1..])[..self.key_size]
    }

    /// The number of the entry that the transaction has for a slot.
    #[inline]
    pub fn staged(&self, slot: usize) -> Option<usize> {
        let entry = self.slots[slot * self.stride];
        (entry != NOT_STAGED).then_some(entry as usize)
    }

    /// Notes it, or that there is none any more.
    #[inline]
    pub fn set_staged(&mut self, slot: usize, entry: Option<usize>) {
        self.slots[slot * self.stride] = entry.map_or(NOT_STAGED, |entry| entry as u64);
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
        memory::grow(&mut self.slots, used * self.stride);
        for slot in std::mem::replace(&mut self.used, used)..used {
            self.set_staged(slot, None);
        }
    }

    /// Puts a key at a slot. It stands nowhere else.
    pub fn enter(&mut self, slot: usize, key: &[u8]) {
        self.key_mut(slot).copy_from_slice(key);
        let hash = self.index.hash_key(&self.schema, key);
        self.index.put(hash, slot, |_| false);
    }

    /// Puts a row's key at a slot. It stands nowhere else.
    pub fn enter_row(&mut self, slot: usize, row: &[u8]) {
        let schema = Arc::clone(&self.schema);
        let mut key = self.key_mut(slot);
        for part in schema.key_parts() {
            let (at, rest) = key.split_at_mut(part.len());
            at.copy_from_slice(&row[part.clone()]);
            key = rest;
        }
        let hash = self.index.hash_row(&schema, row);
        self.index.put(hash, slot, |_| false);
    }

    /// Takes the key at a slot away.
    pub fn leave(&mut self, slot: usize) {
        let hash = self.index.hash_key(&self.schema, self.key(slot));
        self.index.remove(hash, slot);
    }

    /// Gives a slot back that holds no row.
    pub fn release(&mut self, slot: usize) {
        self.free.push(slot as u32);
    }
}
