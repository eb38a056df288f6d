//! Slots by key, holding slot numbers only: the keys stay where they are.
//!
//! Open addressing with linear probing, and deletion by moving back what follows (Knuth, The Art of Computer Programming,
//! volume 3, 6.4, Algorithms L and R). An entry is half a word: the slot, and above it as much of the key's hash as there is room
//! for (11 bits at a million keys), so that a key is looked at in vain only rarely. Its place begins where the hash's leading bits say.
//! So a lookup takes one cache line of the index in nearly all cases, where a table with its control bytes apart takes two; and the
//! whole takes so little room that much of it stays in the caches. Growing and deletion ask for the hashes of what is there.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::memory::{self, AlignedWords};
use crate::protocol::words::set_bits;
use crate::row::schema::Schema;

/// An entry without a slot. Others have their slot plus one in the low bits.
const FREE: u32 = 0;
/// The entries of the smallest index.
const LEAST: usize = 16;

/// A hash of a key, by one hasher. It means nothing to another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(u64);

/// What makes hashes of keys.
#[derive(Default)]
pub struct KeyHasher(RandomState);

impl KeyHasher {
    /// The hash of a key in its canonical bytes.
    #[inline]
    pub fn of_key(&self, schema: &Schema, key: &[u8]) -> Hash {
        let mut hasher = self.0.build_hasher();
        schema.hash_key(key, &mut hasher);
        Hash(hasher.finish())
    }

    /// The hash of a key of 8 bytes: the same as [`of_key`](Self::of_key)'s.
    #[inline]
    pub fn of_word(&self, key: u64) -> Hash {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(key);
        Hash(hasher.finish())
    }

    /// The hash of a row's key: the same as of the key alone.
    #[inline]
    pub fn of_row(&self, schema: &Schema, row: &[u8]) -> Hash {
        let mut hasher = self.0.build_hasher();
        schema.hash_key_of_row(row, &mut hasher);
        Hash(hasher.finish())
    }
}

/// A hash table from keys to slots. The caller supplies what the key at a slot is.
pub struct KeyIndex {
    /// A power of two of entries, two to a word, at most three quarters of which are in use.
    words: AlignedWords,
    /// How far a hash is moved right to become a place.
    shift: u32,
    /// Which bits of an entry are its slot plus one. The others are those of the hash.
    slots: u32,
    len: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl KeyIndex {
    /// An index with room for as many slots.
    pub fn with_capacity(slots: usize) -> Self {
        Self::of_size((slots + slots / 3 + 1).next_power_of_two().max(LEAST), 0)
    }

    /// An index of so many entries, for slots as large as these bits, or its own number of entries.
    fn of_size(size: usize, slots: u32) -> Self {
        Self {
            words: AlignedWords::zeroed(size / 2),
            shift: 64 - size.trailing_zeros(),
            slots: slots | u32::try_from(size - 1).unwrap_or(u32::MAX),
            len: 0,
        }
    }

    /// What `matches` makes of the slot with this hash for which it makes something.
    #[inline]
    pub fn find<T>(&self, hash: Hash, matches: impl Fn(usize) -> Option<T>) -> Option<T> {
        let entries = self.entries();
        let mut at = self.home(hash);
        loop {
            let entry = entries[at];
            if entry == FREE {
                return None;
            }
            if self.is_of(entry, hash)
                && let Some(found) = matches(self.slot_of(entry))
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
        memory::prefetch(&self.words[self.home(hash) / 2]);
    }

    /// Adds a slot, in place of the one with this hash for which `is_twin` holds. Returns that one. `hash_at` is the hash of the
    /// key at a slot that is there already.
    pub fn put(
        &mut self,
        hash: Hash,
        slot: usize,
        is_twin: impl Fn(usize) -> bool,
        hash_at: impl Fn(usize) -> Hash,
    ) -> Option<usize> {
        self.make_room(slot, hash_at);
        let mut at = self.home(hash);
        loop {
            let entry = self.entries()[at];
            if entry == FREE {
                break;
            }
            if self.is_of(entry, hash) && is_twin(self.slot_of(entry)) {
                self.set(at, hash, slot);
                return Some(self.slot_of(entry));
            }
            at = self.after(at);
        }
        self.set(at, hash, slot);
        self.len += 1;
        None
    }

    /// Takes out the slot itself, if it is there under this hash. `hash_at` is the hash of the key at another that is there.
    pub fn remove(&mut self, hash: Hash, slot: usize, hash_at: impl Fn(usize) -> Hash) {
        let mut free = self.home(hash);
        while self.entries()[free] == FREE || self.slot_of(self.entries()[free]) != slot {
            if self.entries()[free] == FREE {
                return;
            }
            free = self.after(free);
        }
        // What follows moves back, unless it would come to stand before its own place.
        let mut at = free;
        loop {
            at = self.after(at);
            let entry = self.entries()[at];
            if entry == FREE {
                break;
            }
            let home = self.home(hash_at(self.slot_of(entry)));
            if self.distance(home, at) >= self.distance(free, at) {
                self.entries_mut()[free] = entry;
                free = at;
            }
        }
        self.entries_mut()[free] = FREE;
        self.len -= 1;
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn entries(&self) -> &[u32] {
        bytemuck::cast_slice(&self.words)
    }

    fn entries_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    fn set(&mut self, at: usize, hash: Hash, slot: usize) {
        let entry = (hash.0 as u32 & !self.slots) | (slot as u32 + 1);
        self.entries_mut()[at] = entry;
    }

    /// Whether what an entry has of a hash is of this one.
    #[inline]
    fn is_of(&self, entry: u32, hash: Hash) -> bool {
        (entry ^ hash.0 as u32) & !self.slots == 0
    }

    #[inline]
    fn slot_of(&self, entry: u32) -> usize {
        ((entry & self.slots) - 1) as usize
    }

    /// The place where the search for a hash begins.
    #[inline]
    fn home(&self, hash: Hash) -> usize {
        (hash.0 >> self.shift) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries().len() - 1)
    }

    /// How many places `to` is after `from`, around the end.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries().len() - 1)
    }

    /// Makes room for one more, which is `slot`.
    fn make_room(&mut self, slot: usize, hash_at: impl Fn(usize) -> Hash) {
        let size = self.entries().len();
        let is_full = (self.len + 1) * 4 > size * 3;
        let is_wide = slot as u32 >= self.slots;
        if is_full || is_wide {
            let slots = u32::MAX >> (slot as u32 + 1).leading_zeros();
            self.rebuild(if is_full { size * 2 } else { size }, slots, hash_at);
        }
    }

    fn rebuild(&mut self, size: usize, slots: u32, hash_at: impl Fn(usize) -> Hash) {
        let larger = Self::of_size(size, self.slots | slots);
        let former = std::mem::replace(self, larger);
        // In the order of the slots, as keys stand in memory.
        let mut known = vec![0_u64; former.slots as usize / 64 + 1];
        for entry in former.entries().iter().filter(|entry| **entry != FREE) {
            let slot = former.slot_of(*entry);
            known[slot / 64] |= 1 << (slot % 64);
        }
        for slot in set_bits(&known) {
            let hash = hash_at(slot);
            let mut at = self.home(hash);
            while self.entries()[at] != FREE {
                at = self.after(at);
            }
            self.set(at, hash, slot);
        }
        self.len = former.len;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::random;

    #[test]
    fn at_random_it_is_as_a_map() {
        // Few different hashes, so that many collide, also around the end; and many.
        for hashes in [1, 7, 40, 1 << 32] {
            let (mut index, mut model) = (KeyIndex::default(), BTreeMap::new());
            let mut state = 42;
            let hash = |key: u64| {
                let bits = (key % hashes).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Hash(bits | 0xf000_0000_0000_0000)
            };
            let hash_at = |slot: usize| hash(slot as u64 % 300);
            for step in 0..4_000 {
                let key = random(&mut state, 300);
                match random(&mut state, 3) {
                    // The key at a slot is the slot itself modulo 300.
                    0 => {
                        let slot = key as usize + 300 * step;
                        let is_twin = |other| other as u64 % 300 == key;
                        let twin = index.put(hash(key), slot, is_twin, hash_at);
                        assert_eq!(twin, model.insert(key, slot));
                    }
                    1 => {
                        if let Some(slot) = model.remove(&key) {
                            index.remove(hash(key), slot, hash_at);
                        }
                        index.remove(hash(key), usize::MAX >> 33, hash_at);
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
            let size = index.entries().len();
            for slot in 0..slots {
                index.put(Hash(slot as u64), slot, |_| false, |_| unreachable!());
            }
            assert_eq!(index.entries().len(), size, "{slots}");
        }
    }
}
