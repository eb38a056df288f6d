//! The key index that this publisher keeps in shared memory for its readers.
//!
//! The publisher itself looks keys up in private memory ([`RowIndex`](super::table)). Here it keeps
//! the position of each slot's entry, the number of free entries, and the queue of entries whose
//! keys were deleted. `protocol/key_index.rs` describes the order of the steps.

use crate::error::Result;
use crate::index::{Hash, KeyHasher};
use crate::memory::{NoMemory, Scratch, try_extend};
use crate::protocol::key_index::IndexGeometry;
use crate::region::object::{self, index_name, no_memory};
use crate::region::{PublisherIndex, PublisherRegion};

/// A new generation is written when fewer entries than this part of all of them are free: a search
/// for an absent key ends at a free entry.
const LEAST_FREE: usize = 8;
/// Entries of deleted keys become tombstones when this part of all entries is queued.
const QUEUE: usize = 8;

/// The current generation of the index.
pub(super) struct PublishedIndex {
    object: PublisherIndex,
    /// Position of the entry of each slot that holds a key.
    positions: Vec<u32>,
    /// Number of free entries.
    free: usize,
    /// Positions of the entries of deleted keys.
    queue: Scratch<u32>,
}

impl PublishedIndex {
    /// Writes the next generation of the index of `region`, with an entry for each of `entries`,
    /// the slots and keys of the rows as of `commit`, and room for `keys` keys in the first
    /// `slots` slots. Makes it the current generation, and removes the former one.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit), and errors of the system. The former generation is
    /// then still the current one.
    pub fn create(
        region: &PublisherRegion,
        hasher: KeyHasher,
        commit: u64,
        entries: impl Iterator<Item = (usize, Hash)>,
        keys: usize,
        slots: usize,
    ) -> Result<Self> {
        let former = region.index_generation();
        let geometry = IndexGeometry::for_keys(keys, slots);
        let (next, access) = (former.wrapping_add(1), region.access()?);
        let object = PublisherIndex::create(region.id(), next, geometry, hasher, access)?;
        let free = geometry.entries();
        let (positions, queue) = (Vec::new(), Scratch::default());
        let mut index = Self { object, positions, free, queue };
        index.reserve_slots(slots).map_err(|NoMemory| no_memory(region.object()))?;
        index.object.writer().set_removed(commit);
        for (slot, hash) in entries {
            index.insert(slot, hash);
        }
        index.object.link()?;
        region.set_index_generation(index.object.generation());
        if let Err(error) = object::remove(&index_name(region.id(), former)) {
            tracing::warn!("a former generation of the key index stays: {error}");
        }
        Ok(index)
    }

    /// Returns true if there is room for `keys` more keys in the first `slots` slots.
    pub fn has_room(&self, keys: usize, slots: usize) -> bool {
        let geometry = self.object.geometry();
        let after = self.free.checked_sub(keys);
        after.is_some_and(|free| free >= geometry.entries() / LEAST_FREE)
            && geometry.holds_slots(slots)
    }

    /// Makes room for entries of the first `slots` slots.
    pub fn reserve_slots(&mut self, slots: usize) -> std::result::Result<(), NoMemory> {
        try_extend(&mut self.positions, slots)
    }

    /// Prefetches the entry of a key that a commit will add.
    #[inline]
    pub fn prefetch(&self, hash: Hash) {
        self.object.writer().prefetch(hash.0);
    }

    /// Adds the entry of a key at a slot for which there is room. A commit that makes its row visible must follow.
    #[inline]
    pub fn insert(&mut self, slot: usize, hash: Hash) {
        let inserted = self.object.writer().insert(hash.0, slot);
        // An insert fails only if another process wrote to the index. Readers then miss the key
        // until the next generation.
        let (position, was_free) = inserted.unwrap_or((0, false));
        self.free -= usize::from(was_free && self.free > 0);
        self.positions[slot] = position as u32;
    }

    /// Queues the entry of a slot whose key the next commit deletes or replaces.
    #[inline]
    pub fn leave(&mut self, slot: usize) {
        self.queue.push(self.positions[slot]);
    }

    /// Turns the queued entries into tombstones if there are many. `version` was committed.
    #[inline]
    pub fn bury(&mut self, version: u64) {
        if self.queue.len() > self.object.geometry().entries() / QUEUE {
            let positions = self.queue.iter().map(|position| *position as usize);
            self.object.writer().bury(version, positions);
            self.queue.recycle();
        }
    }

    /// Returns true if readers can open the index under its name.
    pub fn is_intact(&self, region: &PublisherRegion) -> bool {
        self.object.is_intact() && region.index_generation() == self.object.generation()
    }

    /// Removes the object.
    pub fn remove(&self) -> Result<()> {
        self.object.remove()
    }
}
