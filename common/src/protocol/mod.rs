//! The table over plain words: rows, versions, transactions, change tracking.
//!
//! All code here works on a slice of words, which is a mapping of shared memory in production and a
//! vector in tests and models. [`Table`] reads, and [`WritableTable`] also writes. Nothing here
//! waits, allocates on behalf of a reader, or makes a system call.
//!
//! Each row has two copies, each with a tag (`version << 2 | live`). The row at version `s` is the
//! copy with the greatest tag that is at most `s`. Transaction `V` writes each of its rows into the
//! other copy under the tag `V`, which no reader accepts while `commit` is less than `V`. Then it
//! stores `commit = V`. A reader therefore loses a row only if the row is rewritten twice during
//! the read, and a publisher that dies leaves the last commit readable.
//!
//! - [`commit`](mod@commit): writes a transaction, and repairs the rows that a dead publisher left.
//! - [`read`](mod@read): reads one row at one version.
//! - [`journal`](mod@journal): lists the slots that the last transactions wrote.
//! - [`catch_up`](mod@catch_up): reads all rows that changed since a version, as of one later
//!   version.

pub mod bits;
pub mod catch_up;
pub mod commit;
pub mod interval;
pub mod journal;
pub mod layout;
pub mod memory;
#[cfg(all(test, loom))]
mod models;
pub mod park;
pub mod read;
pub mod seqlock;
pub mod sync;
pub mod word;

use std::ops::Deref;

use read::Block;

use crate::protocol::layout::{BLOCK_ROWS, FANOUT, Geometry, header};
use crate::protocol::seqlock::Writable;
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, store};
use crate::protocol::word::{ReadOnlyWord, read_only};

/// The words of a table, their geometry, and the row count.
#[derive(Clone, Copy)]
pub struct Table<'m> {
    words: &'m [ReadOnlyWord],
    geometry: &'m Geometry,
    rows: usize,
}

impl<'m> Table<'m> {
    /// Returns a table of `rows` rows, or `None` if the words do not hold that many.
    pub fn new(words: &'m [ReadOnlyWord], geometry: &'m Geometry, rows: usize) -> Option<Self> {
        let reaches = rows <= geometry.capacity && geometry.words_for(rows) <= words.len();
        reaches.then_some(Self {
            words,
            geometry,
            rows,
        })
    }

    /// Returns the number of rows, live or deleted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the size of a row in words.
    pub fn row_words(&self) -> usize {
        self.geometry.row_words
    }

    /// Returns the block of `slot` and the index of the row in that block.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    fn place(&self, slot: usize) -> (Block<'m>, usize) {
        assert!(slot < self.rows, "slot {slot} of {} rows", self.rows);
        (self.block(slot / BLOCK_ROWS), slot % BLOCK_ROWS)
    }

    /// Calls `visit` with each block that was written after `since`, in ascending order. The caller
    /// has loaded `commit` by [`last_commit`] before.
    ///
    /// The change tree may be ahead of the row count, which was loaded before it. Blocks beyond
    /// that count hold only rows of commits that the caller has not loaded, so they are not
    /// visited: `descend` bounds the entries below the root, and the root covers an existing block
    /// unless the table has no rows.
    fn changed_blocks(&self, since: u64, mut visit: impl FnMut(usize)) {
        if self.rows > 0 {
            self.descend(self.geometry.depth - 1, 0, since, &mut visit);
        }
    }

    fn descend(&self, level: usize, index: usize, since: u64, visit: &mut impl FnMut(usize)) {
        if self.words[self.geometry.levels[level] + index].load(Ordering::Relaxed) <= since {
            return;
        }
        if level == 0 {
            return visit(index);
        }
        let blocks_per_entry = FANOUT.pow(level as u32 - 1);
        let blocks = self.rows.div_ceil(BLOCK_ROWS);
        let first = index * FANOUT;
        for child in first..(first + FANOUT).min(blocks.div_ceil(blocks_per_entry)) {
            self.descend(level - 1, child, since, visit);
        }
    }
}

/// A [`Table`] whose words this process may write. Only the publisher has one.
#[derive(Clone, Copy)]
pub struct WritableTable<'m> {
    table: Table<'m>,
    words: &'m [AtomicU64],
}

impl<'m> Deref for WritableTable<'m> {
    type Target = Table<'m>;

    #[inline]
    fn deref(&self) -> &Table<'m> {
        &self.table
    }
}

impl<'m> WritableTable<'m> {
    /// Returns a table of `rows` rows, or `None` if the words do not hold that many.
    pub fn new(words: &'m [AtomicU64], geometry: &'m Geometry, rows: usize) -> Option<Self> {
        let table = Table::new(read_only(words), geometry, rows)?;
        Some(Self { table, words })
    }

    /// Returns both copies of `slot`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn copies(&self, slot: usize) -> [Writable<'m>; 2] {
        [0, 1].map(|which| Writable {
            tag: self.tag(slot, which),
            words: self.copy_words(slot, which),
        })
    }

    /// Returns the tag of copy `which` of `slot`.
    #[inline]
    fn tag(&self, slot: usize, which: usize) -> &'m AtomicU64 {
        assert!(slot < self.rows, "slot {slot} of {} rows", self.rows);
        &self.words[self.geometry.tags(slot) + which]
    }

    /// Returns the words of copy `which` of `slot`.
    #[inline]
    fn copy_words(&self, slot: usize, which: usize) -> &'m [AtomicU64] {
        assert!(slot < self.rows, "slot {slot} of {} rows", self.rows);
        &self.words[self.geometry.copy(slot, which)..][..self.geometry.row_words]
    }

    /// Raises the entries of the change tree above a block to `version`.
    #[inline]
    fn raise(&self, block: usize, version: u64) {
        if !applies(Point::RaiseTree) {
            return;
        }
        let mut index = block;
        for level in &self.geometry.levels[..self.geometry.depth] {
            let entry = &self.words[level + index];
            if entry.load(Ordering::Relaxed) < version {
                // Relaxed: the release store of `commit` makes it visible to every reader that has
                // loaded that commit.
                store(entry, version, Ordering::Relaxed);
            }
            index /= FANOUT;
        }
    }
}

/// Returns the number of the last committed transaction. Loads after this call see everything that
/// this transaction and its predecessors wrote.
#[inline]
pub fn last_commit(words: &[ReadOnlyWord]) -> u64 {
    let version = words[header::COMMIT].load(Ordering::Relaxed);
    // Partner: the release store of `commit`. This fence precedes every load of rows, tags, and the
    // change tree.
    fence(Point::SeeCommit, Ordering::Acquire);
    version
}

/// Returns the time at which transaction `version` was committed, in ns of CLOCK_MONOTONIC, if it
/// is still the last one.
pub fn commit_time(words: &[ReadOnlyWord], version: u64) -> Option<u64> {
    let time = words[header::TIME + (version & 1) as usize].load(Ordering::Relaxed);
    // The time of `version` is overwritten by version + 2, after the commit of version + 1.
    fence(Point::RecheckTag, Ordering::Acquire);
    (words[header::COMMIT].load(Ordering::Relaxed) == version).then_some(time)
}
