//! The object of one generation of the key index ([`key_index`](crate::protocol::key_index)).
//!
//! Its name contains the id of the region and the number of the generation. The publisher locks it,
//! so that a sweep does not remove the object of a live publisher. Sweep and publisher remove the
//! object of a dead publisher only while they hold the lock of that object. A sweep therefore never
//! removes an object that a publisher has linked in its place.

use super::header::{check_allocated, check_format};
use super::lock::Locked;
use super::object::{self, Access, corrupt, failure, index_name, status};
use super::{Mapping, ReaderRegion, WritableMapping, create_locked, random_id, read_words};
use crate::error::Result;
use crate::index::KeyHasher;
use crate::protocol::key_index::{IndexGeometry, KeyIndex, KeyIndexWriter, is_committed};
use crate::protocol::layout::{INDEX_MAGIC, LAYOUT_VERSION, index as at};
use crate::protocol::sync::Ordering;

/// Maximum number of attempts to give a generation a name. The second attempt follows the removal
/// of an object, and the last one is for a random number, which no other process can predict.
const LINK_TRIES: usize = 4;

/// A generation that this process writes.
pub struct PublisherIndex {
    object: String,
    lock: Locked,
    mapping: WritableMapping,
    geometry: IndexGeometry,
    region_id: u64,
    generation: u64,
}

impl PublisherIndex {
    /// Creates an empty generation without a name.
    ///
    /// # Errors
    /// [`Error::Limit`], and errors of the system.
    pub fn create(
        region_id: u64,
        generation: u64,
        geometry: IndexGeometry,
        hasher: KeyHasher,
        access: Access,
    ) -> Result<Self> {
        let object = index_name(region_id, generation);
        let size = geometry.words();
        let (lock, _, mapping) = create_locked(&object, access, size, size)?;
        let header = [
            (at::MAGIC, INDEX_MAGIC),
            (at::LAYOUT, LAYOUT_VERSION),
            (at::REGION_ID, region_id),
            (at::GENERATION, generation),
            (at::SEED, hasher.seed()),
        ];
        let words = mapping.writable_words(at::FIRST);
        for (word, value) in header.into_iter().chain(geometry.to_words()) {
            words[word].store(value, Ordering::Relaxed);
        }
        Ok(Self { object, lock, mapping, geometry, region_id, generation })
    }

    /// Gives the generation its name. Replaces an object that a dead publisher did not finish. Takes
    /// another number if that object cannot be removed now: a sweep is removing it, or it belongs
    /// to another user.
    pub fn link(&mut self) -> Result<()> {
        for _ in 0..LINK_TRIES {
            if object::link(&self.lock, &self.object)? {
                return Ok(());
            }
            let removed = object::remove_unless_held(&self.object, object::own_user(), |_| true);
            if !matches!(removed, Ok(true)) {
                self.generation = random_id()?;
                self.object = index_name(self.region_id, self.generation);
                let words = self.mapping.writable_words(at::FIRST);
                words[at::GENERATION].store(self.generation, Ordering::Relaxed);
            }
        }
        Err(corrupt(&self.object, "another process links objects under this name"))
    }

    /// Removes the name, unless it belongs to another object.
    pub fn remove(&self) -> Result<()> {
        if self.has_name() { object::remove(&self.object) } else { Ok(()) }
    }

    fn has_name(&self) -> bool {
        object::names(&self.object, &self.lock)
    }

    /// Returns true if readers can open the object: it has its name and its size.
    pub fn is_intact(&self) -> bool {
        let size = self.geometry.words() as u64 * 8;
        self.has_name() && self.lock.metadata().is_ok_and(|status| status.len() == size)
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn geometry(&self) -> IndexGeometry {
        self.geometry
    }

    /// Returns the entries, to change them.
    pub fn writer(&self) -> KeyIndexWriter<'_> {
        let words = self.mapping.writable_words(self.geometry.words());
        KeyIndexWriter::new(words, self.geometry).expect("the mapping has the size of the geometry")
    }
}

/// A generation that is open for reading.
pub struct ReaderIndex {
    mapping: Mapping,
    geometry: IndexGeometry,
    hasher: KeyHasher,
}

impl ReaderIndex {
    /// Opens generation `generation` of the index of `region`. It must belong to `owner` or, if
    /// `trust_root` is set, to root. Returns None if it does not exist (any more).
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::LayoutMismatch`], [`Error::WrongOwner`], and errors of the
    /// system.
    pub fn open(
        region: &ReaderRegion,
        generation: u64,
        owner: u32,
        trust_root: bool,
    ) -> Result<Option<Self>> {
        let object = index_name(region.id(), generation);
        let Some(file) = object::open(&object, false, owner, trust_root)? else {
            return Ok(None);
        };
        let corrupt = |reason: &str| corrupt(&object, reason);
        let mut words = [0; at::FIRST];
        read_words(&object, &file, 0, &mut words)?;
        check_format(&object, &words, INDEX_MAGIC, "a key index")?;
        if words[at::REGION_ID] != region.id() || words[at::GENERATION] != generation {
            return Err(corrupt("it belongs to another region or generation"));
        }
        let geometry = IndexGeometry::from_words(words[at::ENTRIES], words[at::SLOT_MASK])
            .ok_or_else(|| corrupt("its geometry is beyond the limits"))?;
        let status = status(&object, &file)?;
        if status.len() < geometry.words() as u64 * 8 {
            return Err(corrupt("it is too short for its geometry"));
        }
        check_allocated(&object, &status)?;
        let mapping = Mapping::read_only(&file, geometry.words())
            .map_err(|error| failure(&object, "map", error))?;
        let hasher = KeyHasher::with_seed(words[at::SEED]);
        let index = Self { mapping, geometry, hasher };
        // The word of the copied header saves a page fault. It may have changed while it was copied.
        if !is_committed(words[at::REMOVED], region.words())
            && !index.index().is_committed(region.words())
        {
            return Err(corrupt("it contains a deletion that was not committed"));
        }
        Ok(Some(index))
    }

    #[inline]
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    #[inline]
    pub fn index(&self) -> KeyIndex<'_> {
        KeyIndex::new(self.mapping.all_words(), self.geometry)
    }

    /// Returns true if the file was not truncated. Call it after a search and before using the
    /// result.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.mapping.is_whole()
    }
}
