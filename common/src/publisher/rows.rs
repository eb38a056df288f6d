//! What the publisher knows of its rows: which key is at which slot, and which slots are free.

use std::sync::Arc;

use crate::error::Result;
use crate::index::KeyIndex;
use crate::schema::Schema;
use crate::table::Table;

/// Keys and slots, in the publisher's own memory. A key stands here if it is committed or staged.
pub(super) struct Rows {
    schema: Arc<Schema>,
    index: KeyIndex,
    /// The key at each slot, one after the other.
    keys: Vec<u8>,
    key_size: usize,
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
            index: KeyIndex::default(),
            keys: vec![0; table.rows() * key_size],
            key_size,
            free: Vec::new(),
            used: table.rows(),
            capacity,
        };
        let mut words = vec![0; table.row_words()];
        let mut key = Vec::with_capacity(key_size);
        for slot in 0..table.rows() {
            let live = table
                .read(slot, version, 0, &mut words)
                .is_ok_and(|tag| tag.is_live());
            if !live {
                rows.free.push(slot as u32);
                continue;
            }
            key.clear();
            schema.write_key(&bytemuck::cast_slice(&words)[..schema.row_size()], &mut key);
            if rows.find(&key).is_some() {
                return Err(twice(&key));
            }
            rows.enter(slot, &key);
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

    /// The key at a slot.
    #[inline]
    pub fn key(&self, slot: usize) -> &[u8] {
        &self.keys[slot * self.key_size..][..self.key_size]
    }

    /// A slot for a new key; None if the table is full.
    pub fn take(&mut self) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot as usize);
        }
        if self.used == self.capacity {
            return None;
        }
        self.used += 1;
        self.keys.resize(self.used * self.key_size, 0);
        Some(self.used - 1)
    }

    /// Puts a key at a slot. It stands nowhere else.
    pub fn enter(&mut self, slot: usize, key: &[u8]) {
        self.keys[slot * self.key_size..][..self.key_size].copy_from_slice(key);
        let (schema, keys, size) = (&self.schema, &self.keys, self.key_size);
        let hash = self.index.hash_key(schema, key);
        self.index.insert(hash, slot, |index, slot| {
            index.hash_key(schema, &keys[slot * size..][..size])
        });
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
