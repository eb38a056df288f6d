//! A table's region in shared memory: creates, opens, locks, maps and grows it. It exposes words,
//! not typed values.
//!
//! Geometry and schema are copied to private memory and checked when the region is opened
//! ([`Header`]). The number of rows is checked against the file size whenever it rises.

pub mod fork;
mod header;
mod index_object;
pub mod lock;
mod mapping;
pub mod object;
mod sigbus;

use std::borrow::Borrow;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit};

use crate::clock::{monotonic_ns, time_namespace};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::memory;
use crate::protocol::key_index::publish_generation;
use crate::protocol::layout::{
    Geometry, LAYOUT_VERSION, MAX_VERSION, REGION_MAGIC, State, header as at,
};
use crate::protocol::park;
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::protocol::words::ReadOnlyWord;
use crate::protocol::{Table, WritableTable, last_commit};
use crate::row::schema::Schema;

pub use header::Header;
pub(crate) use header::{check_allocated, read_words};
use header::{identity, offsets};
pub use index_object::{PublisherIndex, ReaderIndex};
use lock::Locked;
pub use mapping::{FutexWord, Mapping, WritableMapping};
use object::{Access, TableName, corrupt, failure, status};

/// Maximum number of words that are added beyond the required size when a region grows.
const GROWTH_SLACK_WORDS: usize = 256 * 1024 / 8;

/// Initial values of a new region.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    pub schema: Arc<Schema>,
    pub capacity: usize,
    pub slots: usize,
    /// Number of publishers that the table has had, including this one.
    pub epoch: u64,
    /// Version of the region's first commit.
    pub commit: u64,
    /// Mode and group, which decide who may read the region.
    pub access: Access,
}

/// A mapped region. `M` is the type of its mapping, which determines whether the region is
/// writable.
pub struct Region<M> {
    object: String,
    file: File,
    /// The publisher's lock, held through a file description that is not mapped.
    lock: Option<Locked>,
    mapping: M,
    /// Number of words that the file is known to contain.
    reach: AtomicUsize,
    geometry: Geometry,
    schema: Arc<Schema>,
    id: u64,
}

pub type ReaderRegion = Region<Mapping>;
/// The publisher's region, which is open for reading and writing.
pub type PublisherRegion = Region<WritableMapping>;

impl PublisherRegion {
    /// Creates an unnamed region that is locked for this publisher.
    pub fn create(name: &TableName, options: &RegionOptions) -> Result<Self> {
        let object = name.region();
        let schema_bytes = options.schema.to_bytes();
        let (row_words, capacity) = (options.schema.row_words(), options.capacity);
        let geometry = Geometry::new(row_words, capacity, options.slots, schema_bytes.len());
        let geometry = geometry.ok_or_else(|| Error::InvalidSetting {
            reason: format!(
                "{capacity} rows of {row_words} words, or {} slots, are too many",
                options.slots
            ),
        })?;
        let (lock, file, mapping) =
            create_locked(&object, options.access, geometry.blocks, geometry.words_for(capacity))?;
        let (reach, schema) = (AtomicUsize::new(geometry.blocks), Arc::clone(&options.schema));
        let (id, lock) = (random_id()?, Some(lock));
        let region = Self { object, file, lock, mapping, reach, geometry, schema, id };

        let fields = [
            (at::MAGIC, REGION_MAGIC),
            (at::LAYOUT, LAYOUT_VERSION),
            (at::ROW_WORDS, row_words as u64),
            (at::CAPACITY, capacity as u64),
            (at::SLOTS, options.slots as u64),
            (at::SCHEMA_BYTES, schema_bytes.len() as u64),
            (at::REGION_ID, region.id),
            (at::FINGERPRINT, region.schema.fingerprint()),
            (at::COMMIT, options.commit),
            (at::TIME + (options.commit & 1) as usize, monotonic_ns()),
        ];
        for (word, value) in fields.into_iter().chain(offsets(&region.geometry)) {
            region.set(word, value);
        }
        for (word, bytes) in schema_bytes.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            region.set(at::SCHEMA + word, u64::from_le_bytes(padded));
        }
        region.sign(options.epoch);
        Ok(region)
    }

    /// Gives a region of [`Region::create`] its name, and replaces the object that has the name
    /// now. Only the holder of the lock object may call this.
    pub fn take_name(&self, name: &TableName) -> Result<()> {
        let mut next = name.next_region();
        if object::remove(&next).is_err() {
            // It belongs to another user, and only its owner can remove it.
            next = object::next_region_of(self.id);
        }
        if !object::link(&self.file, &next)? {
            let reason = "another process links objects of this table without holding its lock";
            return Err(corrupt(&next, reason));
        }
        object::rename(&next, &self.object).inspect_err(|_| {
            // Another user's process has taken the table's own name.
            if let Err(error) = object::remove(&next) {
                tracing::warn!("a new region was not removed: {error}");
            }
        })
    }

    /// Gives this region the name of `old`. Marks `old` as superseded first: a reader that finds
    /// the mark checks the name, and one that does not find it reads the region that has the
    /// name.
    pub fn supersede(&self, old: &Self, name: &TableName) -> Result<()> {
        let state = old.word(at::STATE);
        old.set(at::STATE, State::Superseded as u64);
        self.take_name(name).inspect_err(|_| old.set(at::STATE, state))
    }

    /// Opens the region of a dead publisher for writing. Takes the region's lock unless a process
    /// of another user holds a lock on it ([`Region::is_locked`]).
    pub fn adopt(name: &TableName) -> Result<Option<Self>> {
        let object = name.region();
        let Some(file) = object::open(&object, true, object::own_user(), false)? else {
            return Ok(None);
        };
        let lock = object::reopen(&object, &file)?;
        let lock = Locked::take(lock).map_err(|errno| failure(&object, "lock", errno))?;
        Self::map(object, file, lock, WritableMapping::new).map(Some)
    }
}

impl ReaderRegion {
    /// Opens a region for reading. It must belong to `owner` or, if `trust_root` is set, to root.
    pub fn open(name: &TableName, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let object = name.region();
        let Some(file) = object::open(&object, false, owner, trust_root)? else {
            return Ok(None);
        };
        Self::map(object, file, None, Mapping::read_only).map(Some)
    }

    /// Returns a separate mapping of the header only.
    pub fn first_page(&self) -> Result<Mapping> {
        Mapping::read_only(&self.file, at::SCHEMA)
            .map_err(|error| failure(&self.object, "map", error))
    }

    /// Returns the last commit and the table at that commit. The table may also contain rows that
    /// were added later.
    #[inline]
    pub fn look(&self) -> Result<(u64, Table<'_>)> {
        self.look_by(|rows| Table::new(self.words(), &self.geometry, rows))
    }
}

impl<M: Borrow<Mapping>> Region<M> {
    fn map(
        object: String,
        file: File,
        lock: Option<Locked>,
        map: impl FnOnce(&File, usize) -> std::io::Result<M>,
    ) -> Result<Self> {
        let header = Header::read(&object, &file)?;
        let words = header.geometry.words_for(header.geometry.capacity);
        let mapping = map(&file, words).map_err(|error| failure(&object, "map", error))?;
        let reach = AtomicUsize::new(words.min(header.file_size as usize / 8));
        let (id, schema) = (header.word(at::REGION_ID), Arc::new(header.schema));
        Ok(Self { object, file, lock, mapping, reach, geometry: header.geometry, schema, id })
    }

    pub fn object(&self) -> &str {
        &self.object
    }

    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    fn mapping(&self) -> &Mapping {
        self.mapping.borrow()
    }

    /// Returns the words that the file is known to contain.
    #[inline(always)]
    pub fn words(&self) -> &[ReadOnlyWord] {
        self.mapping().words(self.reach.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn word(&self, word: usize) -> u64 {
        self.words()[word].load(Ordering::Relaxed)
    }

    /// Returns the half of `commit` that subscribers without a slot wait on.
    #[inline]
    pub fn commit_half(&self) -> FutexWord<'_> {
        self.mapping().futex(at::COMMIT)
    }

    /// Returns the last commit, and the result of `table` for the number of rows.
    #[inline]
    fn look_by<T>(&self, table: impl FnOnce(usize) -> Option<T>) -> Result<(u64, T)> {
        self.check_whole()?;
        let version = last_commit(self.words());
        let rows = self.word(at::ROWS) as usize;
        let reaches =
            rows <= self.geometry.capacity && self.reaches(self.geometry.words_for(rows))?;
        match table(rows) {
            Some(table) if reaches && (1..=MAX_VERSION).contains(&version) => Ok((version, table)),
            _ => Err(self.corrupt(format!("commit {version} with {rows} rows is invalid"))),
        }
    }

    /// Checks that the file was not truncated. Call it after reading and before using the values.
    /// In a truncated file some of the values may be zeros.
    #[inline]
    pub fn check_whole(&self) -> Result<()> {
        if self.is_whole() { Ok(()) } else { Err(self.truncated()) }
    }

    #[inline]
    pub fn is_whole(&self) -> bool {
        self.mapping().is_whole()
    }

    fn truncated(&self) -> Error {
        self.corrupt("it was truncated while it was in use".to_owned())
    }

    fn reaches(&self, words: usize) -> Result<bool> {
        if words <= self.reach.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let status = status(&self.object, &self.file)?;
        check_allocated(&self.object, &status)?;
        let size = status.len() as usize / 8;
        if words <= size {
            let whole = self.geometry.words_for(self.geometry.capacity);
            self.reach.fetch_max(size.min(whole), Ordering::Relaxed);
        }
        Ok(words <= size)
    }

    /// Checks that the file is not shorter than before, by a system call. A parked reader needs this
    /// check, because it reads no page beyond a new end of the file and so causes no fault.
    pub fn check_length(&self) -> Result<()> {
        let length = status(&self.object, &self.file)?.len() as usize / 8;
        if length < self.reach.load(Ordering::Relaxed) {
            return Err(self.truncated());
        }
        Ok(())
    }

    /// Returns the process that published last.
    pub fn publisher(&self) -> Identity {
        identity(|word| self.word(word))
    }

    pub fn has_publisher(&self) -> Result<bool> {
        object::is_held(&self.object, &self.file)
    }

    pub fn has_name(&self) -> bool {
        object::names(&self.object, &self.file)
    }

    pub fn access(&self) -> Result<Access> {
        let status = status(&self.object, &self.file)?;
        Ok(Access { mode: status.mode() & 0o777, group: Some(status.gid()) })
    }

    /// Returns the publisher's answer to subscriber `nonce` at `slot`: 0 if its receiver is open,
    /// or an errno; `None` until there is an answer.
    pub fn acknowledged(&self, slot: usize, nonce: u64) -> Option<i32> {
        if slot >= self.geometry.slots {
            return None;
        }
        let at = self.geometry.acks + 2 * slot;
        park::acknowledged(&self.words()[at..at + 2], nonce)
    }

    pub fn corrupt(&self, reason: String) -> Error {
        corrupt(&self.object, reason)
    }
}

impl PublisherRegion {
    #[inline]
    fn writable_words(&self) -> &[AtomicU64] {
        self.mapping.writable_words(self.reach.load(Ordering::Relaxed))
    }

    pub fn set(&self, word: usize, value: u64) {
        self.writable_words()[word].store(value, Ordering::Relaxed);
    }

    /// Returns the last commit and the table at that commit, as [`ReaderRegion::look`] does.
    #[inline]
    pub fn look(&self) -> Result<(u64, WritableTable<'_>)> {
        self.look_by(|rows| WritableTable::new(self.writable_words(), &self.geometry, rows))
    }

    /// Prefetches the words that a commit to this copy of `slot` writes.
    #[inline]
    pub fn prefetch(&self, slot: usize, copy: usize) {
        let (words, geometry) = (self.words(), &self.geometry);
        for at in [geometry.tags(slot), geometry.copy(slot, copy)] {
            // The file may still be too short to contain the word.
            if let Some(word) = words.get(at) {
                memory::prefetch_to_write(word);
            }
        }
    }

    /// Returns the number of the current generation of the key index, or 0 before the first one.
    pub fn index_generation(&self) -> u64 {
        self.word(at::INDEX_GENERATION)
    }

    /// Makes a complete generation of the key index current.
    pub fn set_index_generation(&self, generation: u64) {
        publish_generation(self.writable_words(), generation);
    }

    /// Extends the file until it has room for `rows`, and raises the row count to `rows`.
    /// After an error the region is unchanged.
    pub fn grow(&self, rows: usize) -> Result<()> {
        let capacity = self.geometry.capacity;
        if rows > capacity {
            let reason = format!("{rows} rows are more than the capacity of {capacity}");
            return Err(Error::InvalidSetting { reason });
        }
        let reach = self.reach.load(Ordering::Relaxed);
        let needed = self.geometry.words_for(rows);
        if needed > reach {
            // Allocate a little more than needed, to save a system call for most blocks. If there
            // is not enough memory for that, allocate only what is needed.
            let slack = (reach / 16).min(GROWTH_SLACK_WORDS) + needed;
            let rows = self.geometry.rows_in(slack);
            let roomy = self.geometry.words_for(rows).max(needed);
            let grown = match extend(&self.object, &self.file, reach, roomy) {
                Ok(()) => roomy,
                Err(_) => extend(&self.object, &self.file, reach, needed).map(|()| needed)?,
            };
            self.reach.store(grown, Ordering::Relaxed);
        }
        if rows as u64 > self.word(at::ROWS) {
            // Store the row count before the commit that uses the new rows. The commit's release
            // store makes it visible.
            self.set(at::ROWS, rows as u64);
        }
        Ok(())
    }

    /// Stores this process as the running publisher, which is number `epoch` of the table.
    pub fn sign(&self, epoch: u64) {
        let own = Identity::own();
        self.set(at::PID, u64::from(own.pid));
        self.set(at::PID_NAMESPACE, own.pid_namespace);
        self.set(at::START_TIME, own.start_time);
        self.set(at::EPOCH, epoch);
        self.set(at::INPUT_ENDED, 0);
        self.set(at::TIME_NAMESPACE, time_namespace());
        self.set(at::STATE, State::Running as u64);
        self.beat();
    }

    pub fn beat(&self) {
        self.set(at::HEARTBEAT, monotonic_ns());
    }

    /// Returns true if this value holds the publisher's lock.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    pub fn restrict(&self, access: Access) -> Result<()> {
        object::restrict(self.file.as_fd(), access.mode, access.group)
            .map_err(|errno| failure(&self.object, "set the mode and group of", errno))
    }

    /// Acknowledges the receiver of subscriber `nonce` at `slot`, or rejects it with an errno. Does
    /// nothing if the region does not have that slot: the subscriber expects no answer then.
    pub fn acknowledge(&self, slot: usize, nonce: u64, errno: i32) {
        if slot < self.geometry.slots {
            let at = self.geometry.acks + 2 * slot;
            park::acknowledge(&self.writable_words()[at..at + 2], nonce, errno);
        }
    }
}

/// Creates an unnamed file of `words` words that this process has locked, and maps `mapped` words
/// of it. The lock is held through another file description than the mapping.
fn create_locked(
    object: &str,
    access: Access,
    words: usize,
    mapped: usize,
) -> Result<(Locked, File, WritableMapping)> {
    let lock = Locked::take(object::create(object, access.mode, access.group)?)
        .map_err(|errno| failure(object, "lock", errno))?
        .expect("a file without a name is not open elsewhere");
    let file = object::reopen(object, &lock)?;
    extend(object, &file, 0, words)?;
    let mapping =
        WritableMapping::new(&file, mapped).map_err(|error| failure(object, "map", error))?;
    Ok((lock, file, mapping))
}

/// Extends a file and allocates all of its new blocks, so that it has no holes.
fn extend(object: &str, file: &File, from_words: usize, to_words: usize) -> Result<()> {
    let (from, to) = (from_words as u64 * 8, to_words as u64 * 8);
    // Beyond this limit the kernel sends a signal that kills the process.
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(soft, _)| to > soft) {
        return Err(failure(object, "grow", Errno::EFBIG));
    }
    loop {
        match fallocate(file, FallocateFlags::empty(), from as i64, (to - from) as i64) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failure(object, "grow", errno)),
        }
    }
}

/// Returns an unpredictable number that no other region, registry or subscriber has. It is never 0.
pub fn random_id() -> Result<u64> {
    let refused = |error| Error::System {
        object: "the random number generator".to_owned(),
        action: "read",
        source: std::io::Error::other(error),
    };
    Ok(getrandom::u64().map_err(refused)?.max(1))
}

#[cfg(test)]
mod tests;
