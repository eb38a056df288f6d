//! The byte maps of a region and of a registry.
//!
//! A region (all integers little-endian; `W` is the row's size in 8-byte words):
//!
//! ```text
//! 0x000  magic "TABLCAST"      0x008  layout version       0x010  row words W
//! 0x018  capacity in rows      0x020  slots for acks       0x028  schema bytes
//! 0x030  region id             0x038  schema fingerprint   0x040  offset of acks
//! 0x048  offset of tree        0x050  offset of blocks     0x058  offset of journal
//! 0x080  epoch                 0x088  state                0x090  publisher's pid
//! 0x098  its pid namespace     0x0a0  its start time       0x0a8  heartbeat
//! 0x0b0  registry id           0x0b8  rows                 0x0c0  time when its input ended
//! 0x0c8  its time namespace
//! 0x100  commit                0x108  time[0]              0x110  time[1]
//! 0x118  written[0]            0x120  written[1]           0x128  written[2]
//! 0x130  written[3]            0x138  generation of the key index
//! 0x140  live[0]               0x148  live[1]              ...    nothing else up to 0x180
//! 0x180  schema (JSON), zero-padded to 64 bytes
//!   ..   acks: 16 bytes per slot of the registry: nonce, then 0 (receiver opened) or an errno
//!   ..   change tree: 8 bytes per block of 64 rows, 8 bytes per 64 of those, ... up to one root
//!   ..   journal: 4 bytes per entry, two in a word, the earlier one in its lower half: a slot, and
//!        in the top bit which of its copies was written
//!   ..   blocks, at a multiple of 4096:
//!            1024 bytes   tags of 64 rows, two per row      tag = version << 2 | state
//!          512*W bytes    first copies
//!          512*W bytes    second copies
//! ```
//!
//! A registry:
//!
//! ```text
//! 0x000  magic "TABLSUBS"      0x008  layout version       0x010  slots
//! 0x018  registry id
//! 0x080  parked_max            0x088  slots claimed        0x090  sleeper flags, even and odd
//! 0x0a0  park words, 8 bytes per slot, dense: one read takes everything from 0x080, and the first
//!        ones are on the line that every commit reads
//!   ..   versions seen, 8 bytes per slot, dense: not needed for wake-ups
//!   ..   records, 64 bytes per slot: nonce, kind of wake-up, pid, its pid namespace, its start
//!        time, signal, asleep, ready
//!   ..   paths, 256 bytes per slot, of a socket or a FIFO, zero-padded: a hole until one is stored
//! ```
//!
//! A generation of the key index (an entry is 0 if it is free; otherwise the bits of the mask hold
//! a slot plus one, or are all set in a tombstone, and the other bits are those of the key's hash):
//!
//! ```text
//! 0x000  magic "TABLINDX"      0x008  layout version       0x010  region id
//! 0x018  generation            0x020  number of entries    0x028  mask
//! 0x030  seed of the hash
//! 0x080  removed: the youngest version whose deleted keys have lost their entries
//! 0x100  entries, 4 bytes each, two in a word, the earlier one in its lower half
//! ```
//!
//! The search for a key with hash `h` begins at entry `h * entries / 2^64`. The hash of a key
//! (wrapping arithmetic on 64 bits; `fold(a, b)` is the exclusive or of the two halves of the
//! 128-bit product): start with `h = seed`; for each run of key fields that are adjacent in the
//! row, and for each 8 bytes of it, zero-padded, as a word `w`: `h = fold(h ^ w,
//! 0x9e3779b97f4a7c15)`.
//!
//! Namespaces are identified by inode. `docs/layout.md` describes these bytes, and how to read them,
//! for readers in other languages; tests compare its numbers with the constants here.

use std::fmt;

pub const REGION_MAGIC: u64 = u64::from_le_bytes(*b"TABLCAST");
pub const REGISTRY_MAGIC: u64 = u64::from_le_bytes(*b"TABLSUBS");
pub const INDEX_MAGIC: u64 = u64::from_le_bytes(*b"TABLINDX");
/// Version of the byte maps above, increased with every change.
pub const LAYOUT_VERSION: u64 = 4;

/// Number of rows in a block (one in models, which 64 rows would make endless).
pub const BLOCK_ROWS: usize = if cfg!(loom) { 1 } else { 64 };
/// Number of change-tree entries under one entry of the level above.
pub const FANOUT: usize = if cfg!(loom) { 2 } else { 64 };
/// Sizes of a cache line and of a page, in words (one in models, where padding costs only time).
const LINE_WORDS: usize = if cfg!(loom) { 1 } else { 8 };
const PAGE_WORDS: usize = if cfg!(loom) { 1 } else { 512 };
/// Maximum and minimum number of entries in the journal.
const MAX_JOURNAL: usize = if cfg!(loom) { 2 } else { 1 << 16 };
const MIN_JOURNAL: usize = if cfg!(loom) { 2 } else { 1 << 10 };
/// Number of change-tree levels at the maximum capacity.
const MAX_LEVELS: usize = 6;

/// Maximum capacity of a table, in rows.
pub const MAX_CAPACITY: usize = 1 << 31;
/// Maximum number of subscriber slots.
pub const MAX_SLOTS: usize = 1 << 16;
/// Maximum size of a mapping, in words: it leaves room in 47 bits of address space.
const MAX_WORDS: usize = 1 << 42;

/// Tag of a copy that no version shows. It is above every version.
pub const NEVER: u64 = u64::MAX;
/// Maximum version.
pub const MAX_VERSION: u64 = (1 << 62) - 3;

/// Word numbers of the region's header.
pub mod header {
    /// `REGION_MAGIC`.
    pub const MAGIC: usize = 0;
    /// `LAYOUT_VERSION`.
    pub const LAYOUT: usize = 1;
    /// Size of a row, in words.
    pub const ROW_WORDS: usize = 2;
    /// Capacity, in rows.
    pub const CAPACITY: usize = 3;
    /// Number of slots that have an acknowledgement.
    pub const SLOTS: usize = 4;
    /// Length of the schema, in bytes.
    pub const SCHEMA_BYTES: usize = 5;
    /// Random id of this region.
    pub const REGION_ID: usize = 6;
    /// Fingerprint of the schema.
    pub const FINGERPRINT: usize = 7;
    /// Offset of the acknowledgements, in bytes.
    pub const ACKS: usize = 8;
    /// Offset of the change tree, in bytes.
    pub const TREE: usize = 9;
    /// Offset of the blocks, in bytes.
    pub const BLOCKS: usize = 10;
    /// Offset of the journal, in bytes.
    pub const JOURNAL: usize = 11;
    /// Number of publishers that the table has had.
    pub const EPOCH: usize = 16;
    /// A `State`.
    pub const STATE: usize = 17;
    /// Process id of the publisher, in its own pid namespace.
    pub const PID: usize = 18;
    /// Inode of the publisher's pid namespace.
    pub const PID_NAMESPACE: usize = 19;
    /// Start time of the publisher, in clock ticks since boot.
    pub const START_TIME: usize = 20;
    /// Time of the publisher's last heartbeat, in ns of CLOCK_MONOTONIC.
    pub const HEARTBEAT: usize = 21;
    /// Random id of the registry, from which its name is derived.
    pub const REGISTRY_ID: usize = 22;
    /// Number of rows in the blocks.
    pub const ROWS: usize = 23;
    /// Time at which the publisher's source of rows ended, in ns of CLOCK_MONOTONIC; 0 if it has
    /// not ended or has resumed.
    pub const INPUT_ENDED: usize = 24;
    /// Inode of the time namespace of the publisher, whose CLOCK_MONOTONIC all times of the region
    /// are in; 0 if it is unknown.
    pub const TIME_NAMESPACE: usize = 25;
    /// Number of the last committed transaction.
    pub const COMMIT: usize = 32;
    /// Times of commits, in ns of CLOCK_MONOTONIC: that of `commit` is at `TIME + (commit & 1)`.
    pub const TIME: usize = 33;
    /// Numbers of journal entries: that up to `commit` is at `WRITTEN + commit % WRITTEN_WORDS`.
    pub const WRITTEN: usize = 35;
    /// Number of the last commits whose number of journal entries is stored.
    pub const WRITTEN_WORDS: u64 = if cfg!(loom) { 2 } else { 4 };
    /// Number of the current generation of the key index.
    pub const INDEX_GENERATION: usize = 39;
    /// Numbers of live rows: that as of `commit` is at `LIVE + (commit & 1)`.
    pub const LIVE: usize = 40;
    /// Start of the schema.
    pub const SCHEMA: usize = 48;
}

/// Word numbers of a generation of the key index.
pub mod index {
    /// `INDEX_MAGIC`.
    pub const MAGIC: usize = 0;
    /// `LAYOUT_VERSION`.
    pub const LAYOUT: usize = 1;
    /// Random id of the region.
    pub const REGION_ID: usize = 2;
    /// Number of this generation.
    pub const GENERATION: usize = 3;
    /// Number of entries.
    pub const ENTRIES: usize = 4;
    /// Mask of the bits of an entry that hold its slot plus one.
    pub const SLOT_MASK: usize = 5;
    /// Seed of the hash.
    pub const SEED: usize = 6;
    /// Youngest version whose deleted keys have lost their entries.
    pub const REMOVED: usize = 16;
    /// Start of the entries.
    pub const FIRST: usize = 32;
    /// Minimum number of entries. Header and entries then fill a page.
    pub const MIN_ENTRIES: usize = if cfg!(loom) { 2 } else { (512 - FIRST) * 2 };
}

/// Word numbers of the registry.
pub mod registry {
    /// `REGISTRY_MAGIC`.
    pub const MAGIC: usize = 0;
    /// `LAYOUT_VERSION`.
    pub const LAYOUT: usize = 1;
    /// Number of slots.
    pub const SLOTS: usize = 2;
    /// Random id of this registry.
    pub const REGISTRY_ID: usize = 3;
    /// Maximum version at which a subscriber has parked.
    pub const PARKED_MAX: usize = 16;
    /// Number of slots that were ever claimed. The following slots are not parked.
    pub const CLAIMED: usize = 17;
    /// Two flags, for an even and an odd commit: a subscriber sleeps on that `commit` itself.
    pub const SLEEPERS: usize = 18;
    /// Start of the park words.
    pub const PARKS: usize = 20;
    /// Size of a slot's record, in words.
    pub const RECORD_WORDS: usize = 8;
    /// In a record: the random number of the slot's owner; 0 if the slot is free.
    pub const NONCE: usize = 0;
    /// In a record: the kind of wake-up.
    pub const KIND: usize = 1;
    /// In a record: the subscriber's process id.
    pub const PID: usize = 2;
    /// In a record: the inode of its pid namespace.
    pub const PID_NAMESPACE: usize = 3;
    /// In a record: its start time, in clock ticks since boot.
    pub const START_TIME: usize = 4;
    /// In a record: the signal that wakes it.
    pub const SIGNAL: usize = 5;
    /// In a record: 1 while the owner sleeps on `commit` itself, for display only.
    pub const ASLEEP: usize = 6;
    /// In a record: 1 after the owner's receiver was created.
    pub const READY: usize = 7;
    /// Size of the path of a socket or a FIFO, in bytes.
    pub const PATH_BYTES: usize = 256;

    /// Returns the word of the last version that the subscriber at `slot` of `slots` has seen.
    pub const fn seen(slots: usize, slot: usize) -> usize {
        (PARKS + slots).next_multiple_of(8) + slot
    }

    /// Returns the first word of the record of `slot`.
    pub const fn record(slots: usize, slot: usize) -> usize {
        seen(slots, slots.next_multiple_of(8)) + slot * RECORD_WORDS
    }

    /// Returns the number of words of a registry. The paths follow.
    pub fn words(slots: usize) -> usize {
        record(slots, slots)
    }

    /// Returns the offset of the path of `slot`, in bytes.
    pub fn path(slots: usize, slot: usize) -> usize {
        words(slots) * 8 + slot * PATH_BYTES
    }
}

const _: () = {
    // Every reader loads `commit`, and it changes often: no unrelated word may share its pair of
    // cache lines.
    assert!(header::COMMIT * 8 == 0x100 && header::SCHEMA * 8 == 0x180);
    assert!(header::TIME_NAMESPACE < header::COMMIT && header::TIME + 2 == header::WRITTEN);
    // All words about a commit are on its line, and what a lookup loads before the row.
    assert!(header::WRITTEN + header::WRITTEN_WORDS as usize <= header::INDEX_GENERATION);
    assert!(header::INDEX_GENERATION < header::COMMIT + 8);
    assert!(header::LIVE + 2 <= header::SCHEMA);
    // `removed` changes seldom, but entries and header must not share its line.
    assert!(index::REMOVED * 8 == 0x80 && index::FIRST * 8 == 0x100);
    // One function checks both headers.
    assert!(index::MAGIC == header::MAGIC && index::LAYOUT == header::LAYOUT);
    assert!(header::JOURNAL < header::EPOCH && header::EPOCH * 8 == 0x80);
    assert!(registry::PARKED_MAX * 8 == 0x80 && registry::PARKS * 8 == 0xa0);
    assert!(registry::CLAIMED * 8 == 0x88 && registry::SLEEPERS * 8 == 0x90);
    assert!(registry::SLEEPERS + 2 == registry::PARKS);
    // No two records share a cache line.
    assert!(registry::record(1, 0).is_multiple_of(8));
    assert!(MAX_VERSION << 2 | 3 < NEVER);
    assert!(cfg!(target_endian = "little"), "the region holds little-endian integers");
    assert!(
        cfg!(target_pointer_width = "64"),
        "8-byte loads from read-only memory need a 64-bit machine"
    );
};

/// State of a publisher, as stored by the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// Publishing, unless its lock was released.
    Running = 1,
    /// Closed by the publisher.
    Closed = 2,
    /// Replaced by another region of the same name.
    Superseded = 3,
}

impl State {
    /// Returns the state that a word of the header encodes.
    pub fn from_word(word: u64) -> Option<Self> {
        [Self::Running, Self::Closed, Self::Superseded]
            .into_iter()
            .find(|state| *state as u64 == word)
    }
}

/// Tag of a copy: the version that wrote it, and a bit that is set for a row and clear for its
/// deletion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u64);

impl Tag {
    pub fn live(version: u64) -> Self {
        Self(version << 2 | 1)
    }

    pub fn deleted(version: u64) -> Self {
        Self(version << 2)
    }

    /// Returns the version that wrote the copy. It is above every version for [`NEVER`].
    pub fn version(self) -> u64 {
        self.0 >> 2
    }

    /// Returns true if the copy holds a row.
    pub fn is_live(self) -> bool {
        self.0 & 3 == 1
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NEVER => f.write_str("never"),
            _ => write!(
                f,
                "{} at {}",
                if self.is_live() { "live" } else { "deleted" },
                self.version()
            ),
        }
    }
}

/// The location of each part of a region, in words. It follows from the first four fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub row_words: usize,
    pub capacity: usize,
    /// Number of slots that have an acknowledgement.
    pub slots: usize,
    pub schema_bytes: usize,
    pub acks: usize,
    /// Start of each level of the change tree, from the blocks to the root.
    pub levels: [usize; MAX_LEVELS],
    pub depth: usize,
    pub journal: usize,
    /// Number of entries of the journal, a power of two.
    pub journal_slots: usize,
    pub blocks: usize,
    pub block_words: usize,
}

impl Geometry {
    /// Returns the geometry for these numbers, or `None` if they are beyond the limits.
    pub fn new(
        row_words: usize,
        capacity: usize,
        slots: usize,
        schema_bytes: usize,
    ) -> Option<Self> {
        use crate::row::schema::{MAX_ROW_SIZE, MAX_SCHEMA_SIZE};
        let within = (1..=MAX_ROW_SIZE / 8).contains(&row_words)
            && (1..=MAX_CAPACITY).contains(&capacity)
            && slots <= MAX_SLOTS
            && schema_bytes <= MAX_SCHEMA_SIZE;
        if !within {
            return None;
        }
        let geometry = Self::unlimited(row_words, capacity, slots, schema_bytes);
        (geometry.words_for(capacity) <= MAX_WORDS).then_some(geometry)
    }

    /// Returns the geometry for these numbers, which may be larger than a mapping can be.
    fn unlimited(row_words: usize, capacity: usize, slots: usize, schema_bytes: usize) -> Self {
        let acks = (header::SCHEMA + schema_bytes.div_ceil(8)).next_multiple_of(LINE_WORDS);
        let mut end = acks + (2 * slots).next_multiple_of(LINE_WORDS);
        let mut levels = [0; MAX_LEVELS];
        let mut depth = 0;
        let mut entries = capacity.div_ceil(BLOCK_ROWS);
        loop {
            levels[depth] = end;
            depth += 1;
            end += entries.next_multiple_of(LINE_WORDS);
            if entries == 1 {
                break;
            }
            entries = entries.div_ceil(FANOUT);
        }
        let journal = end;
        let journal_slots = capacity.next_power_of_two().clamp(MIN_JOURNAL, MAX_JOURNAL);
        end += (journal_slots / 2).next_multiple_of(LINE_WORDS);
        Self {
            row_words,
            capacity,
            slots,
            schema_bytes,
            acks,
            levels,
            depth,
            journal,
            journal_slots,
            blocks: end.next_multiple_of(PAGE_WORDS),
            block_words: 2 * BLOCK_ROWS + 2 * BLOCK_ROWS * row_words,
        }
    }

    /// Returns the capacity up to which a table with such rows can grow.
    pub fn max_capacity(&self) -> usize {
        Self::unlimited(self.row_words, MAX_CAPACITY, self.slots, self.schema_bytes)
            .rows_in(MAX_WORDS)
    }

    /// Returns the location of the two tags of `slot`.
    #[inline]
    pub fn tags(&self, slot: usize) -> usize {
        self.blocks + slot / BLOCK_ROWS * self.block_words + slot % BLOCK_ROWS * 2
    }

    #[inline]
    pub fn copy(&self, slot: usize, which: usize) -> usize {
        let block = self.blocks + slot / BLOCK_ROWS * self.block_words;
        block + 2 * BLOCK_ROWS + (which * BLOCK_ROWS + slot % BLOCK_ROWS) * self.row_words
    }

    /// Returns the size of a region with room for `rows`.
    #[inline]
    pub fn words_for(&self, rows: usize) -> usize {
        self.blocks + rows.div_ceil(BLOCK_ROWS) * self.block_words
    }

    /// Returns the number of rows for which a region of `words` has room, at most its capacity.
    pub fn rows_in(&self, words: usize) -> usize {
        let blocks = words.saturating_sub(self.blocks) / self.block_words;
        (blocks * BLOCK_ROWS).min(self.capacity)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    mod page;

    #[test]
    fn a_row_takes_twice_its_size_and_at_most_32_bytes() {
        for row_words in [1, 2, 8, 32, 128] {
            let geometry = Geometry::new(row_words, 1 << 20, 1024, 500).unwrap();
            let bytes = geometry.words_for(1 << 20) * 8;
            assert!(
                bytes <= (1 << 20) * (2 * 8 * row_words + 32),
                "{row_words} words: {bytes} bytes"
            );
        }
    }

    #[test]
    fn parts_follow_each_other_and_do_not_overlap() {
        let geometry = Geometry::new(3, 100_000, 10, 77).unwrap();
        assert!(geometry.acks >= header::SCHEMA + 10);
        assert!(geometry.levels[0] >= geometry.acks + 20);
        assert_eq!(geometry.depth, 3);
        assert!(geometry.journal > geometry.levels[2]);
        assert_eq!(geometry.journal_slots, 1 << 16);
        assert!(geometry.blocks >= geometry.journal + (1 << 15));
        assert_eq!(geometry.tags(64) - geometry.tags(0), geometry.block_words);
        assert_eq!(geometry.copy(0, 0), geometry.tags(63) + 2);
        assert_eq!(geometry.copy(63, 1) + 3, geometry.tags(64));
        assert_eq!(geometry.rows_in(geometry.words_for(65)), 128);
        assert_eq!(geometry.rows_in(geometry.words_for(100_000)), 100_000);
    }

    #[test]
    fn geometry_beyond_the_limits_is_refused() {
        assert!(
            Geometry::new(1, MAX_CAPACITY, MAX_SLOTS, 0).is_some_and(|g| g.depth <= MAX_LEVELS)
        );
        assert!(Geometry::new(8192, MAX_CAPACITY / 64, 0, 0).is_some());
        assert!(Geometry::new(8192, MAX_CAPACITY, 0, 0).is_none(), "beyond the address space");
        for row_words in [1, 500, 1000, 8192] {
            let max_capacity = Geometry::new(row_words, 1, 9, 7).unwrap().max_capacity();
            let largest = Geometry::new(row_words, max_capacity, 9, 7).unwrap();
            assert!(
                max_capacity == MAX_CAPACITY || largest.words_for(max_capacity) > MAX_WORDS / 2
            );
        }
        for (words, capacity, slots, schema) in [
            (0, 1, 0, 0),
            (1, 0, 0, 0),
            (8193, 1, 0, 0),
            (1, MAX_CAPACITY + 1, 0, 0),
            (1, 1, MAX_SLOTS + 1, 0),
            (1, 1, 0, 65_537),
        ] {
            assert_eq!(Geometry::new(words, capacity, slots, schema), None);
        }
    }
}
