//! An index from keys to slots. It stores slot numbers only; the caller stores the keys.
//!
//! The index uses open addressing with linear probing, and deletion by moving the following entries
//! back (Knuth, The Art of Computer Programming, volume 3, 6.4, Algorithms L and R). An entry is
//! half a word: the slot in the low bits, and the key's hash in the remaining ones (11 bits at a
//! million keys), so a lookup seldom compares a wrong key. The leading bits of the hash select the
//! first entry of the search. A lookup therefore usually touches one cache line of the index, and
//! much of the index stays in the caches. Growth recomputes the hashes of existing keys. A deletion
//! needs only the low bits of the positions that they select, which entries hold, unless it is in a
//! long run of used entries.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::memory::{AlignedWords, NoMemory, out_of_memory, prefetch, try_extend};
use crate::protocol::words::set_bits;
use crate::row::schema::Schema;

/// A free entry. An entry in use has its slot plus one in the low bits.
const FREE: u32 = 0;
/// Minimum number of entries.
const LEAST: usize = 16;
/// Maximum number of bits of an entry that repeat the low bits of its first position.
const HOME_BITS: u32 = 6;
/// Factor of the hash: an odd number with about as many zeros as ones.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of a key, valid for one [`KeyHasher`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub u64);

/// A hasher of keys, which is part of the layout: `protocol/layout.rs` defines it. Each word is
/// multiplied into the hash, and the halves of the product are combined (Frank J. T. Wojcik's and
/// Wang Yi's "mum", as in wyhash).
#[derive(Clone, Copy)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// Returns a hasher with a random seed.
    pub fn random() -> Self {
        Self { seed: RandomState::new().build_hasher().finish() }
    }

    /// Returns the hasher with this seed.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns the seed.
    pub fn seed(self) -> u64 {
        self.seed
    }

    /// Returns the hash of a key, given in canonical bytes.
    #[inline]
    pub fn of_key(self, schema: &Schema, key: &[u8]) -> Hash {
        let mut state = State(self.seed);
        schema.hash_key(key, &mut state);
        Hash(state.finish())
    }

    /// Returns the hash of a key of 8 bytes, equal to that of [`of_key`](Self::of_key).
    #[inline]
    pub fn of_word(self, key: u64) -> Hash {
        let mut state = State(self.seed);
        state.write_u64(key);
        Hash(state.finish())
    }

    /// Returns the hash of a row's key, equal to that of [`of_key`](Self::of_key).
    #[inline]
    pub fn of_row(self, schema: &Schema, row: &[u8]) -> Hash {
        let mut state = State(self.seed);
        schema.hash_key_of_row(row, &mut state);
        Hash(state.finish())
    }
}

struct State(u64);

impl Hasher for State {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, FACTOR);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Returns the exclusive or of both halves of the product.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A hash table from keys to slots. The caller provides the keys.
pub struct KeyIndex {
    /// Entries, two in a word. Their number is a power of two. At most three quarters are in use.
    words: AlignedWords,
    /// Right shift from a hash to its first entry.
    shift: u32,
    /// Mask of the bits of an entry that hold its slot plus one. The other bits are part of the
    /// key's hash. The highest `home_bits` of them are the low bits of the key's first position.
    slots: u32,
    /// Number of bits of an entry that repeat its first position: at most half of those of the hash,
    /// because the others tell keys with the same first position apart.
    home_bits: u32,
    len: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl KeyIndex {
    /// Returns an index with room for `slots` slots. Aborts the process if there is not enough
    /// memory.
    pub fn with_capacity(slots: usize) -> Self {
        Self::try_with_capacity(slots).unwrap_or_else(|NoMemory| out_of_memory(slots))
    }

    /// Returns an index with room for `slots` slots.
    pub fn try_with_capacity(slots: usize) -> Result<Self, NoMemory> {
        Self::of_size((slots + slots / 3 + 1).next_power_of_two().max(LEAST), 0)
    }

    /// Returns an index of `size` entries. Entries use at least the bits of the mask `slots` for
    /// their slots.
    fn of_size(size: usize, slots: u32) -> Result<Self, NoMemory> {
        let slots = slots | u32::try_from(size - 1).unwrap_or(u32::MAX);
        Ok(Self {
            words: AlignedWords::try_zeroed(size / 2)?,
            shift: 64 - size.trailing_zeros(),
            slots,
            home_bits: HOME_BITS.min(size.trailing_zeros()).min(slots.leading_zeros() / 2),
            len: 0,
        })
    }

    /// Returns the first `Some` that `matches` yields for a slot with this hash.
    #[inline]
    pub fn find<T>(&self, hash: Hash, matches: impl Fn(usize) -> Option<T>) -> Option<T> {
        let entries = self.entries();
        let mut at = self.home(hash);
        loop {
            let entry = entries[at];
            if entry == FREE {
                return None;
            }
            if self.has_hash(entry, hash)
                && let Some(found) = matches(self.slot_of(entry))
            {
                return Some(found);
            }
            at = self.after(at);
        }
    }

    /// Prefetches the first entry of the search for `hash`. This pays off for a series of lookups:
    /// otherwise each of them waits for its cache miss.
    #[inline]
    pub fn prefetch(&self, hash: Hash) {
        prefetch(&self.words[self.home(hash) / 2]);
    }

    /// Adds a slot. If `is_twin` returns true for a slot with this hash, replaces that slot and
    /// returns it. `hash_at` returns the hash of the key at an existing slot. Aborts the process if
    /// there is not enough memory; [`try_reserve`](Self::try_reserve) prevents that.
    pub fn put(
        &mut self,
        hash: Hash,
        slot: usize,
        is_twin: impl Fn(usize) -> bool,
        hash_at: impl Fn(usize) -> Hash,
    ) -> Option<usize> {
        if self.try_reserve(1, slot, hash_at).is_err() {
            out_of_memory(self.words.len() * 2);
        }
        let mut at = self.home(hash);
        loop {
            let entry = self.entries()[at];
            if entry == FREE {
                break;
            }
            if self.has_hash(entry, hash) && is_twin(self.slot_of(entry)) {
                self.set(at, hash, slot);
                return Some(self.slot_of(entry));
            }
            at = self.after(at);
        }
        self.set(at, hash, slot);
        self.len += 1;
        None
    }

    /// Removes `slot` if it has this hash. `hash_at` returns the hash of the key at another
    /// existing slot.
    pub fn remove(&mut self, hash: Hash, slot: usize, hash_at: impl Fn(usize) -> Hash) {
        let mut free = self.home(hash);
        while self.entries()[free] == FREE || self.slot_of(self.entries()[free]) != slot {
            if self.entries()[free] == FREE {
                return;
            }
            free = self.after(free);
        }
        // A run of used entries begins after a free one, so no entry of the run is as far from its
        // home as from that free one. If the free one is near, the low bits of a home suffice to
        // compute how far an entry is from it.
        let near = 1 << self.home_bits;
        let before_run = (1..near)
            .map(|back| free.wrapping_sub(back) & (self.entries().len() - 1))
            .find(|at| self.entries()[*at] == FREE);
        // Close the gap: move each following entry back, unless that would put it before the first
        // entry of its search.
        let mut at = free;
        loop {
            at = self.after(at);
            let entry = self.entries()[at];
            if entry == FREE {
                break;
            }
            let from_home = match before_run {
                Some(start) if self.distance(start, at) <= near => {
                    at.wrapping_sub(self.low_bits_of_home(entry)) & (near - 1)
                }
                _ => self.distance(self.home(hash_at(self.slot_of(entry))), at),
            };
            if from_home >= self.distance(free, at) {
                self.entries_mut()[free] = entry;
                free = at;
            }
        }
        self.entries_mut()[free] = FREE;
        self.len -= 1;
    }

    /// Returns the number of slots.
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
        let entry = self.hash_bits(hash) | (slot as u32 + 1);
        self.entries_mut()[at] = entry;
    }

    /// Returns the bits of a hash that an entry holds, at their places.
    #[inline]
    fn hash_bits(&self, hash: Hash) -> u32 {
        ((hash.0 << (64 - self.shift - self.home_bits)) >> 32) as u32 & !self.slots
    }

    /// Returns true if the hash bits of an entry are those of `hash`.
    #[inline]
    fn has_hash(&self, entry: u32, hash: Hash) -> bool {
        entry & !self.slots == self.hash_bits(hash)
    }

    /// Returns the low bits of the home of the entry's key, `home_bits` of them.
    fn low_bits_of_home(&self, entry: u32) -> usize {
        (u64::from(entry) >> (u32::BITS - self.home_bits)) as usize
    }

    #[inline]
    fn slot_of(&self, entry: u32) -> usize {
        ((entry & self.slots) - 1) as usize
    }

    /// Returns the first entry of the search for `hash`.
    #[inline]
    fn home(&self, hash: Hash) -> usize {
        (hash.0 >> self.shift) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries().len() - 1)
    }

    /// Returns the number of entries from `from` to `to`, wrapping around at the end.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries().len() - 1)
    }

    /// Makes room for `count` more entries, which will hold slots up to `slot`. `hash_at` returns the
    /// hash of the key at an existing slot.
    ///
    /// # Errors
    /// [`NoMemory`]; the index is unchanged in that case.
    #[inline]
    pub fn try_reserve(
        &mut self,
        count: usize,
        slot: usize,
        hash_at: impl Fn(usize) -> Hash,
    ) -> Result<(), NoMemory> {
        let size = self.entries().len();
        let is_full = (self.len + count) * 4 > size * 3;
        let is_wide = slot as u32 >= self.slots;
        if is_full || is_wide {
            let slots = u32::MAX >> (slot as u32 + 1).leading_zeros();
            let needed = ((self.len + count) * 4).div_ceil(3).next_power_of_two();
            self.rebuild(size.max(needed), slots, hash_at)?;
        }
        Ok(())
    }

    fn rebuild(
        &mut self,
        size: usize,
        slots: u32,
        hash_at: impl Fn(usize) -> Hash,
    ) -> Result<(), NoMemory> {
        let mut known = Vec::new();
        try_extend(&mut known, self.slots as usize / 64 + 1)?;
        let larger = Self::of_size(size, self.slots | slots)?;
        let former = std::mem::replace(self, larger);
        // Add the slots in ascending order, so that `hash_at` reads the keys in their order in
        // memory.
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::random;

    #[test]
    fn random_operations_match_a_map() {
        // A few distinct hashes cause many collisions, also where the search wraps around.
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
                let found =
                    index.find(hash(*key), |slot| (slot as u64 % 300 == *key).then_some(slot));
                assert_eq!(found, Some(*slot));
            }
        }
    }

    #[test]
    fn hash_is_that_of_the_layout_and_spreads_regular_keys() {
        // Other programs compute the same hashes.
        let hasher = KeyHasher::with_seed(7);
        assert_eq!(hasher.of_word(1).0, fold(6, FACTOR));
        let schema = Schema::parse("a:text(5),b:u32,c:u64", Some("c,a")).unwrap();
        let key = [&9_u64.to_le_bytes()[..], b"abcde"].concat();
        let rest = u64::from_le_bytes(*b"abcde\0\0\0");
        assert_eq!(hasher.of_key(&schema, &key).0, fold(fold(7 ^ 9, FACTOR) ^ rest, FACTOR));

        for (step, seed) in [1, 8, 1 << 12, 1 << 32, (1 << 40) + 1, 1 << 48].into_iter().zip(0..) {
            let hasher = KeyHasher::with_seed(0x1234_5678_9abc_def0 * seed);
            let (mut homes, mut bits) = (vec![0_u32; 1 << 10], vec![0_u32; 1 << 10]);
            for key in 0..1 << 16_u64 {
                let hash = hasher.of_word(key * step).0;
                homes[(hash >> 54) as usize] += 1;
                bits[(hash >> 22) as usize & 1023] += 1;
            }
            for counts in [homes, bits] {
                // The mean is 64, and the standard deviation of random numbers is 8.
                assert!(counts.iter().all(|count| (20..120).contains(count)), "{step}: {counts:?}");
            }
        }
    }

    #[test]
    fn index_beyond_the_memory_of_the_machine_is_an_error() {
        assert!(KeyIndex::try_with_capacity(1 << 60).is_err());
    }

    #[test]
    fn index_with_capacity_does_not_grow_up_to_it() {
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
