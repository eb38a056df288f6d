//! The key index: finds the slot of a key in shared memory, without a copy of the table.
//!
//! The index maps hashes to slots. Each generation of the index is a separate object: when it is
//! full, the publisher writes the next one and stores its number in the region. A generation is an
//! open-addressing hash table with linear probing. An entry is free, or holds a slot and some bits
//! of the key's hash, or is a tombstone. A free entry ends a search, and no entry becomes free
//! again or moves, so a search needs no lock. An entry is only a hint: the row at its slot decides.
//!
//! The publisher, in transaction `V`:
//!
//! 1. Reserve an entry for each new key. If there is not enough room, write a new generation with
//!    all keys that are live at `commit`, set its `removed` to `commit`, and store its number.
//! 2. Write the entries of the new keys into free entries and tombstones.
//! 3. Commit `V`. The entries of the keys that it deleted are queued in private memory.
//! 4. If the queue is long: raise `removed` to the youngest version whose entries are in it,
//!    execute a release fence, and turn the entries into tombstones.
//!
//! A reader:
//!
//! 1. Load `commit` as `s`, then the number of the generation.
//! 2. Search. Read the row at each slot found as of `s`; if it has the key, this is the answer.
//! 3. If no row has the key: execute an acquire fence and load `removed`. If it is at most `s`, the
//!    key has no row at `s`: its entry was there before commit `s`, and no entry of a key that is
//!    live at `s` has become a tombstone. Otherwise start again; the next `s` is at least
//!    `removed`.
//!
//! Comparing `commit` with `s` instead of `removed` would also be correct, but a search for an
//! absent key would then never end while the publisher commits without pause.
//!
//! A dead publisher may leave entries of rows that it did not commit. A successor therefore writes
//! a new generation before its first commit.

use super::layout::{MAX_CAPACITY, Tag, header, index as at};
use super::read::{Overwritten, Table, last_commit, overwritten};
use super::sync::{AtomicU64, Ordering, Point, applies, fence, ordering, store};
use super::words::{ReadOnlyWord, read_only};
use crate::memory::prefetch;

/// A free entry.
const FREE: u32 = 0;
/// Maximum number of entries. The publisher stores positions in 32 bits.
const MAX_ENTRIES: usize = u32::MAX as usize;
/// Number of entries for each key of a new generation, in halves: two and a half.
const HALF_ENTRIES_PER_KEY: usize = 5;

/// Loads the number of the current generation. Loads after this call see everything that the
/// publisher wrote to that generation before it stored the number.
#[inline]
pub fn generation(words: &[ReadOnlyWord]) -> u64 {
    let generation = words[header::INDEX_GENERATION].load(Ordering::Relaxed);
    // Partner: the release store in `publish_generation`.
    fence(Point::SeeGeneration, Ordering::Acquire);
    generation
}

/// Makes a complete generation current. Readers that load a later commit also load this number.
pub fn publish_generation(words: &[AtomicU64], generation: u64) {
    // Partner: the fence in `generation`.
    let release = ordering(Point::PublishGeneration, Ordering::Release);
    store(&words[header::INDEX_GENERATION], generation, release);
}

/// Returns true if `region` has committed version `removed`, which the caller has loaded from an
/// index. A publisher stores `removed` only after that commit.
pub fn is_committed(removed: u64, region: &[ReadOnlyWord]) -> bool {
    // Partner: the fence after the commit, which precedes the store of `removed`.
    let _later_commit: Overwritten = overwritten();
    removed <= last_commit(region)
}

/// The number of entries of a generation, and the format of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexGeometry {
    entries: usize,
    /// Mask of the bits of an entry that hold its slot plus one. All of them set are a tombstone.
    /// The other bits are those of the key's hash.
    slots: u32,
}

impl IndexGeometry {
    /// Returns the geometry of a new generation for `keys` keys in the first `slots` slots.
    pub fn for_keys(keys: usize, slots: usize) -> Self {
        let entries = (keys * HALF_ENTRIES_PER_KEY / 2).clamp(at::MIN_ENTRIES, MAX_ENTRIES);
        // The mask itself is the tombstone, so the greatest slot plus one must be less. There is a
        // slot for each entry, so that an index is full before it is too narrow.
        let slots = slots.max(entries.min(MAX_CAPACITY)) as u32;
        Self { entries, slots: u32::MAX >> (slots + 1).leading_zeros() }
    }

    /// Returns the geometry that a header describes, or `None` if it is invalid.
    pub fn from_words(entries: u64, slots: u64) -> Option<Self> {
        let entries = usize::try_from(entries).ok()?;
        let slots = u32::try_from(slots).ok()?;
        let valid = (2..=MAX_ENTRIES).contains(&entries) && slots.wrapping_add(1) & slots == 0;
        (valid && slots > 1).then_some(Self { entries, slots })
    }

    /// Returns the header words that describe this geometry.
    pub fn to_words(self) -> [(usize, u64); 2] {
        [(at::ENTRIES, self.entries as u64), (at::SLOT_MASK, u64::from(self.slots))]
    }

    /// Returns the size of the object, in words.
    pub fn words(self) -> usize {
        at::FIRST + self.entries.div_ceil(2)
    }

    /// Returns the number of entries.
    pub fn entries(self) -> usize {
        self.entries
    }

    /// Returns true if an entry can hold each of the first `slots` slots.
    pub fn holds_slots(self, slots: usize) -> bool {
        slots < self.slots as usize
    }

    /// Returns the first position of the search for a hash.
    #[inline]
    pub(super) fn home(self, hash: u64) -> usize {
        ((u128::from(hash) * self.entries as u128) >> 64) as usize
    }

    #[inline]
    fn after(self, position: usize) -> usize {
        if position + 1 == self.entries { 0 } else { position + 1 }
    }

    pub(super) fn entry(self, hash: u64, slot: usize) -> u32 {
        (hash as u32 & !self.slots) | (slot as u32 + 1)
    }

    /// Returns the slot of an entry for a key with this hash, or `None` for another entry.
    #[inline]
    fn slot_for(self, entry: u32, hash: u64) -> Option<usize> {
        let slot = entry & self.slots;
        let has_hash = (entry ^ hash as u32) & !self.slots == 0;
        (has_hash && slot != self.slots).then(|| slot.wrapping_sub(1) as usize)
    }
}

/// One generation of the index, for readers.
#[derive(Clone, Copy)]
pub struct KeyIndex<'m> {
    words: &'m [ReadOnlyWord],
    geometry: IndexGeometry,
}

impl<'m> KeyIndex<'m> {
    /// Returns the index in `words`, which must be as many as the geometry has.
    #[inline(always)]
    pub fn new(words: &'m [ReadOnlyWord], geometry: IndexGeometry) -> Self {
        Self { words, geometry }
    }

    /// Returns the first `Some` that `visit` yields for a slot whose entry has bits of this hash.
    #[inline(always)]
    pub fn search<T>(&self, hash: u64, mut visit: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let mut position = self.geometry.home(hash);
        // Only a damaged index has no free entry.
        for _ in 0..self.geometry.entries {
            let entry = self.entry(position);
            if entry == FREE {
                return None;
            }
            if let Some(slot) = self.geometry.slot_for(entry, hash)
                && let Some(found) = visit(slot)
            {
                return Some(found);
            }
            position = self.geometry.after(position);
        }
        None
    }

    /// Copies the row of the key with this hash as of `version` into `row`, and returns its slot
    /// and tag. Returns `None` if no row was found, which means that the key has none only if
    /// [`proves_absence`](Self::proves_absence) is true afterwards.
    ///
    /// `version` was loaded before the number of this generation. `is_key` compares the key of a
    /// row.
    #[inline]
    pub fn find(
        &self,
        table: &Table<'_>,
        version: u64,
        hash: u64,
        row: &mut [u64],
        is_key: impl Fn(&[u64]) -> bool,
    ) -> Result<Option<(usize, Tag)>, Overwritten> {
        let found = self.search(hash, |slot| {
            // A slot beyond the rows belongs to a later commit, or to a damaged index.
            if slot >= table.rows() {
                return None;
            }
            match table.read(slot, version, 0, row) {
                Ok(tag) => (tag.is_live() && is_key(row)).then_some(Ok((slot, tag))),
                Err(overwritten) => Some(Err(overwritten)),
            }
        });
        found.transpose()
    }

    /// Returns true if a search that found no row was complete as of `version`. After false, the
    /// next commit that is loaded is later.
    #[inline]
    pub fn proves_absence(&self, version: u64) -> bool {
        // Partner: the fence in `KeyIndexWriter::bury`. If the search read a tombstone, or an entry
        // written over one, the load below returns the version of its key's deletion or a later
        // one.
        fence(Point::SeeRemoved, Ordering::Acquire);
        let removed = self.words[at::REMOVED].load(Ordering::Relaxed);
        if removed <= version || !applies(Point::RecheckRemoved) {
            return true;
        }
        // Partner: the fence after the commit, which precedes the store of `removed`.
        let _later_commit: Overwritten = overwritten();
        false
    }

    /// Returns true if the deletions in this generation were committed ([`is_committed`]).
    /// Otherwise the index is damaged, and proves no absence before that commit.
    pub fn is_committed(&self, region: &[ReadOnlyWord]) -> bool {
        is_committed(self.words[at::REMOVED].load(Ordering::Relaxed), region)
    }

    /// Prefetches the first entry of the search for a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.words[at::FIRST + self.geometry.home(hash) / 2]);
    }

    #[inline]
    fn entry(&self, position: usize) -> u32 {
        let word = self.words[at::FIRST + position / 2].load(Ordering::Relaxed);
        (word >> (position % 2 * 32)) as u32
    }
}

/// One generation of the index, for its publisher.
#[derive(Clone, Copy)]
pub struct KeyIndexWriter<'m> {
    words: &'m [AtomicU64],
    geometry: IndexGeometry,
}

impl<'m> KeyIndexWriter<'m> {
    /// Returns the index in `words`, or `None` if they are too few.
    pub fn new(words: &'m [AtomicU64], geometry: IndexGeometry) -> Option<Self> {
        (geometry.words() <= words.len()).then_some(Self { words, geometry })
    }

    /// Prefetches the first entry of the search for a hash, to write it.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.words[at::FIRST + self.geometry.home(hash) / 2]);
    }

    /// Adds an entry. Returns its position, and true if it was free before. Returns `None` if
    /// the index is full. The publisher counts the free entries, so this happens only if another
    /// process wrote to the index.
    pub fn insert(&self, hash: u64, slot: usize) -> Option<(usize, bool)> {
        let index = KeyIndex { words: read_only(self.words), geometry: self.geometry };
        let mut position = self.geometry.home(hash);
        for _ in 0..self.geometry.entries {
            let entry = index.entry(position);
            if entry == FREE || entry & self.geometry.slots == self.geometry.slots {
                self.set(position, self.geometry.entry(hash, slot));
                return Some((position, entry == FREE));
            }
            position = self.geometry.after(position);
        }
        None
    }

    /// Turns the entries at `positions` into tombstones. Their keys were deleted by committed
    /// transactions, the last of which is `version`.
    pub fn bury(&self, version: u64, positions: impl IntoIterator<Item = usize>) {
        self.set_removed(version);
        // Partner: the fence in `proves_absence`. It also orders later entries at these positions.
        fence(Point::HideEntries, Ordering::Release);
        for position in positions {
            self.set(position, self.geometry.slots);
        }
    }

    /// Sets `removed`: all keys that were deleted after `version` have their entries.
    pub fn set_removed(&self, version: u64) {
        if applies(Point::RaiseRemoved) {
            // After the commit of `version`. Before it, the death of the publisher between the two
            // stores would leave every absence unproven.
            store(&self.words[at::REMOVED], version, Ordering::Relaxed);
        }
    }

    /// Writes an entry. Its neighbor in the word stays, because there is one publisher.
    fn set(&self, position: usize, entry: u32) {
        let (word, shift) = (&self.words[at::FIRST + position / 2], position % 2 * 32);
        let others = word.load(Ordering::Relaxed) & !(u64::from(u32::MAX) << shift);
        // Relaxed: the release of the commit makes an entry visible; a tombstone is only a hint.
        store(word, others | u64::from(entry) << shift, Ordering::Relaxed);
    }
}
