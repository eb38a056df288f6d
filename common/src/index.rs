//! Slots by key, holding slot numbers only: the keys stay where they are.
//!
//! Open addressing with linear probing, and deletion by moving back what follows (Knuth, The Art of Computer Programming,
//! volume 3, 6.4, Algorithms L and R). An entry is one word: 32 bits of the key's hash, and the slot. Its place begins where the
//! hash's leading bits say. So a lookup takes one cache line of the index in nearly all cases, where a table with its control bytes
//! apart takes two; a key is looked at only if 32 bits of hash agree; and growing asks for no key.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::memory::{self, Lines};
use crate::schema::Schema;

/// An entry without a slot. Others have their slot plus one in the low half.
const FREE: u64 = 0;
/// The entries of the smallest index.
const LEAST: usize = 16;

/// A hash table from keys to slots. The caller supplies what the key at a slot is.
pub struct KeyIndex {
    /// A power of two of them, at most three quarters of which are in use.
    entries: Lines,
    /// How far a hash is moved right to become a place.
    shift: u32,
    len: usize,
    state: RandomState,
}

/// 32 bits of a key's hash, by one index. They mean nothing to another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(u32);

impl Default for KeyIndex {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl KeyIndex {
    /// An index with room for as many slots.
    pub fn with_capacity(slots: usize) -> Self {
        let size = (slots + slots / 3 + 1).next_power_of_two().max(LEAST);
        Self {
            entries: Lines::zeroed(size),
            shift: 32 - size.trailing_zeros(),
            len: 0,
            state: RandomState::default(),
        }
    }

    /// The hash of a key in its canonical bytes.
    #[inline]
    pub fn hash_key(&self, schema: &Schema, key: &[u8]) -> Hash {
        let mut hasher = self.state.build_hasher();
        schema.hash_key(key, &mut hasher);
        Hash((hasher.finish() >> 32) as u32)
    }

    /// The hash of a key of 8 bytes: the same as [`hash_key`](Self::hash_key)'s.
    #[inline]
    pub fn hash_word(&self, key: u64) -> Hash {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(key);
        Hash((hasher.finish() >> 32) as u32)
    }

    /// The hash of a row's key: the same as of the key alone.
    #[inline]
    pub fn hash_row(&self, schema: &Schema, row: &[u8]) -> Hash {
        let mut hasher = self.state.build_hasher();
        schema.hash_key_of_row(row, &mut hasher);
        Hash((hasher.finish() >> 32) as u32)
    }

    /// What `matches` makes of the slot with this hash for which it makes something.
    #[inline]
    pub fn find<T>(&self, hash: Hash, matches: impl Fn(usize) -> Option<T>) -> Option<T> {
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            if entry == FREE {
                return None;
            }
            if hash_of(entry) == hash
                && let Some(found) = matches(slot_of(entry))
            {
                return Some(found);
            }
            at = self.after(at);
        }
    }

    /// Has what is about to be found or put fetched. Worth it for many in a row, as a branch that depends on what is not there
    /// yet lets the processor do nothing else meanwhile.
    #[inline]
    pub fn prefetch(&self, hash: Hash) {
        memory::prefetch(&self.entries[self.home(hash)]);
    }

    /// Adds a slot, in place of the one with this hash for which `is_twin` holds. Returns that one.
    pub fn put(
        &mut self,
        hash: Hash,
        slot: usize,
        is_twin: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let mut at = self.home(hash);
        while self.entries[at] != FREE {
            let entry = self.entries[at];
            if hash_of(entry) == hash && is_twin(slot_of(entry)) {
                self.entries[at] = entry_of(hash, slot);
                return Some(slot_of(entry));
            }
            at = self.after(at);
        }
        self.entries[at] = entry_of(hash, slot);
        self.len += 1;
        None
    }

    /// Takes out the slot itself, if it is there under this hash.
    pub fn remove(&mut self, hash: Hash, slot: usize) {
        let mut free = self.home(hash);
        while self.entries[free] != entry_of(hash, slot) {
            if self.entries[free] == FREE {
                return;
            }
            free = self.after(free);
        }
        // What follows moves back, unless it would come to stand before its own place.
        let mut at = free;
        loop {
            at = self.after(at);
            let entry = self.entries[at];
            if entry == FREE {
                break;
            }
            let from_home = self.distance(self.home(hash_of(entry)), at);
            if from_home >= self.distance(free, at) {
                self.entries[free] = entry;
                free = at;
            }
        }
        self.entries[free] = FREE;
        self.len -= 1;
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The place where the search for a hash begins.
    #[inline]
    fn home(&self, hash: Hash) -> usize {
        // By 64 bits, as an index of 2^32 entries moves it by nothing.
        (u64::from(hash.0) >> self.shift) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// How many places `to` is after `from`, around the end.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries.len() - 1)
    }

    fn grow(&mut self) {
        let size = self.entries.len() * 2;
        let entries = std::mem::replace(&mut self.entries, Lines::zeroed(size));
        self.shift = 32 - size.trailing_zeros();
        for entry in entries.iter().filter(|entry| **entry != FREE) {
            let mut at = self.home(hash_of(*entry));
            while self.entries[at] != FREE {
                at = self.after(at);
            }
            self.entries[at] = *entry;
        }
    }
}

#[inline]
fn entry_of(hash: Hash, slot: usize) -> u64 {
    (u64::from(hash.0) << 32) | (slot as u64 + 1)
}

#[inline]
fn hash_of(entry: u64) -> Hash {
    Hash((entry >> 32) as u32)
}

#[inline]
fn slot_of(entry: u64) -> usize {
    (entry as u32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A generator that is the same everywhere (Marsaglia's xorshift64).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn at_random_it_is_as_a_map() {
        // Few different hashes, so that many collide, also around the end; and many.
        for hashes in [1, 7, 40, 1 << 32] {
            let (mut index, mut model) = (KeyIndex::default(), BTreeMap::new());
            let mut state = 42;
            let hash = |key: u64| Hash(((key % hashes * 0x9e37_79b9) | 0xf000_0000) as u32);
            for step in 0..4_000 {
                let key = random(&mut state) % 300;
                match random(&mut state) % 3 {
                    // The key at a slot is the slot itself modulo 300.
                    0 => {
                        let slot = key as usize + 300 * step;
                        let twin = index.put(hash(key), slot, |other| other as u64 % 300 == key);
                        assert_eq!(twin, model.insert(key, slot));
                    }
                    1 => {
                        if let Some(slot) = model.remove(&key) {
                            index.remove(hash(key), slot);
                        }
                        index.remove(hash(key), usize::MAX >> 33);
                    }
                    _ => {}
                }
                assert_eq!(index.len(), model.len());
                let found =
                    index.find(hash(key), |slot| (slot as u64 % 300 == key).then_some(slot));
                assert_eq!(found, model.get(&key).copied());
            }
            for (key, slot) in &model {
                let found = index.find(hash(*key), |slot| {
                    (slot as u64 % 300 == *key).then_some(slot)
                });
                assert_eq!(found, Some(*slot));
            }
        }
    }

    #[test]
    fn room_for_as_many_as_asked_is_made_at_once() {
        for slots in [0, 1, 12, 13, 1000, 3 << 10] {
            let mut index = KeyIndex::with_capacity(slots);
            let size = index.entries.len();
            for slot in 0..slots {
                index.put(Hash(slot as u32), slot, |_| false);
            }
            assert_eq!(index.entries.len(), size, "{slots}");
        }
    }
}
