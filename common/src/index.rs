//! Slots by key, holding slot numbers only: the keys stay where they are.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::schema::Schema;

/// A hash table from keys to slots. The caller supplies what the key at a slot is.
#[derive(Default)]
pub struct KeyIndex {
    slots: HashTable<u32>,
    state: RandomState,
}

impl KeyIndex {
    /// The hash of a key in its canonical bytes.
    #[inline]
    pub fn hash_key(&self, schema: &Schema, key: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        schema.hash_key(key, &mut hasher);
        hasher.finish()
    }

    /// The hash of a row's key: the same as of the key alone.
    #[inline]
    pub fn hash_row(&self, schema: &Schema, row: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        schema.hash_key_of_row(row, &mut hasher);
        hasher.finish()
    }

    /// The slot with this hash for which `matches` holds.
    #[inline]
    pub fn find(&self, hash: u64, matches: impl Fn(usize) -> bool) -> Option<usize> {
        self.slots
            .find(hash, |slot| matches(*slot as usize))
            .map(|slot| *slot as usize)
    }

    /// An index with room for as many slots.
    pub fn with_capacity(slots: usize) -> Self {
        Self {
            slots: HashTable::with_capacity(slots),
            state: RandomState::default(),
        }
    }

    /// Adds a slot whose key is not there. `rehash` tells the hash of any slot that is.
    pub fn insert(&mut self, hash: u64, slot: usize, rehash: impl Fn(&KeyIndex, usize) -> u64) {
        if self.slots.len() == self.slots.capacity() {
            // Grown here and not in `insert_unique`, so that `rehash` may use the hasher of `self`.
            let mut slots = std::mem::take(&mut self.slots);
            slots.reserve(1, |slot| rehash(self, *slot as usize));
            self.slots = slots;
        }
        self.slots
            .insert_unique(hash, slot as u32, |_| unreachable!("room was made above"));
    }

    /// Takes out the slot itself, if it is there under this hash.
    pub fn remove(&mut self, hash: u64, slot: usize) {
        if let Ok(entry) = self.slots.find_entry(hash, |held| *held as usize == slot) {
            entry.remove();
        }
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}
