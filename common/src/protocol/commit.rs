//! Writes a transaction, and repairs the rows that a dead publisher left.

use std::ops::Deref;

use super::journal::JournalWriter;
use super::read::Table;
use crate::protocol::layout::{BLOCK_ROWS, FANOUT, Geometry, NEVER, Tag, header};
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, ordering, store};
use crate::protocol::words::{read_only, store_words};

/// One row of a transaction.
#[derive(Clone, Copy)]
pub struct Write<'r> {
    pub slot: usize,
    /// Index of the copy to write, which must not be the [holder](Table::holder).
    pub spare: usize,
    /// Words of several rows.
    pub words: &'r [u64],
    /// Index of this row in `words`; `None` to delete the row.
    pub row: Option<usize>,
}

impl Write<'_> {
    fn tag(&self, version: u64) -> Tag {
        if self.row.is_some() { Tag::live(version) } else { Tag::deleted(version) }
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

    /// Commits all of `writes` atomically as transaction `version` (the last commit plus one) at
    /// `time` (ns of CLOCK_MONOTONIC). No slot may occur in `writes` twice. A commit without writes
    /// only signals subscribers.
    ///
    /// 1. Hide the spare copy of every row under the tag `version`.
    /// 2. Execute a release fence.
    /// 3. Store the words, the change tree, and the journal.
    /// 4. Store `commit = version` with release.
    /// 5. Execute a SeqCst fence, so that a subscriber that parks either sees the commit or is seen
    ///    parked.
    pub fn commit<'r>(
        &self,
        version: u64,
        time: u64,
        writes: impl Iterator<Item = Write<'r>> + Clone,
    ) {
        let mut count = 0;
        for write in writes.clone() {
            count += 1;
            hide(self.tag(write.slot, write.spare), write.tag(version));
        }
        // Partner: the reader's fence before its second load of a tag. One fence serves all rows.
        fence(Point::HideRows, Ordering::Release);
        let row_words = self.row_words();
        for write in writes.clone() {
            if let Some(row) = write.row {
                let row = &write.words[row * row_words..][..row_words];
                store_words(row, self.copy_words(write.slot, write.spare));
            }
        }
        let mut journal = JournalWriter::begin(self.words, self.geometry(), version, count);
        let mut raised = None;
        for write in writes {
            let block = write.slot / BLOCK_ROWS;
            if raised.replace(block) != Some(block) {
                self.raise(block, version);
            }
            journal.add(write.slot, write.spare);
        }
        journal.end();
        store(&self.words[header::TIME + (version & 1) as usize], time, Ordering::Relaxed);
        // Partner: the fence in `last_commit`.
        store(
            &self.words[header::COMMIT],
            version,
            ordering(Point::PublishCommit, Ordering::Release),
        );
        // Partner: the fence of a subscriber that parks. This fence also keeps the next
        // transaction's tags after this commit. Otherwise a reader at the previous version could
        // find both copies overwritten.
        fence(Point::AfterCommit, Ordering::SeqCst);
    }

    /// Hides everything that a dead publisher wrote above `committed`. A successor calls this
    /// before its first commit. The call can be repeated, and the successor can die at any point in
    /// it.
    pub fn repair(&self, committed: u64) {
        // The dead publisher's fences do not order stores of this process. This fence orders the
        // dead publisher's stores before those that follow.
        fence(Point::TakeoverFence, Ordering::Release);
        for slot in 0..self.rows() {
            for tag in [0, 1].map(|which| self.tag(slot, which)) {
                if Tag(tag.load(Ordering::Relaxed)).version() > committed
                    && applies(Point::TakeoverHide)
                {
                    // Not 0: a reader at an older version would read that as "no row".
                    let never = applies(Point::TakeoverNever);
                    hide(tag, Tag(if never { NEVER } else { 0 }));
                }
            }
        }
    }

    /// Writes a row (`None` for a deleted one) to copy `which` of `slot` in a table that no other
    /// process can see yet. The next transaction must overwrite the other copy.
    pub fn fill(&self, slot: usize, which: usize, version: u64, row: Option<&[u64]>) {
        let tag = row.map_or(Tag::deleted(version), |_| Tag::live(version));
        hide(self.tag(slot, which), tag);
        if let Some(row) = row {
            store_words(row, self.copy_words(slot, which));
        }
        self.raise(slot / BLOCK_ROWS, version);
    }

    #[inline]
    fn tag(&self, slot: usize, which: usize) -> &'m AtomicU64 {
        assert!(slot < self.rows(), "slot {slot} of {} rows", self.rows());
        &self.words[self.geometry().tags(slot) + which]
    }

    #[inline]
    fn copy_words(&self, slot: usize, which: usize) -> &'m [AtomicU64] {
        assert!(slot < self.rows(), "slot {slot} of {} rows", self.rows());
        &self.words[self.geometry().copy(slot, which)..][..self.row_words()]
    }

    /// Raises the entries of the change tree above a block to `version`.
    #[inline]
    fn raise(&self, block: usize, version: u64) {
        if !applies(Point::RaiseTree) {
            return;
        }
        let geometry = self.geometry();
        let mut index = block;
        for level in &geometry.levels[..geometry.depth] {
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

/// Stores the tag of a copy before its words. A release fence must follow.
#[inline]
fn hide(copy: &AtomicU64, tag: Tag) {
    // Relaxed: the fence that follows orders this store before the words, and the release of the
    // commit makes it visible.
    store(copy, tag.0, Ordering::Relaxed);
}

/// Direct access for tests and models.
#[cfg(test)]
impl<'m> WritableTable<'m> {
    /// Returns the write that stores `row` at `slot`, or deletes it, in the transaction after
    /// `committed`.
    pub fn write<'r>(&self, slot: usize, row: Option<&'r [u64]>, committed: u64) -> Write<'r> {
        let (holder, _) = self.holder(slot, committed);
        Write { slot, spare: 1 - holder, words: row.unwrap_or_default(), row: row.map(|_| 0) }
    }

    /// Stores the tag of copy `which` of `slot`, and its words unless `row` is empty.
    pub fn set_copy(&self, slot: usize, which: usize, tag: Tag, row: &[u64]) {
        hide(self.tag(slot, which), tag);
        store_words(row, &self.copy_words(slot, which)[..row.len()]);
    }

    pub fn tag_of(&self, slot: usize, which: usize) -> Tag {
        Tag(self.tag(slot, which).load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn tags_overwritten_during_a_commit_do_not_stop_it() {
        let geometry = Geometry::new(1, 64, 0, 0).unwrap();
        let words: Vec<AtomicU64> =
            (0..geometry.words_for(64)).map(|_| AtomicU64::new(0)).collect();
        let table = WritableTable::new(&words, &geometry, 64).unwrap();
        for damage in [0, 1, Tag::live(7).0, NEVER] {
            // The iterator runs twice: once to hide, and once to write.
            let writes = [3, 5].into_iter().map(|slot| {
                for which in [0, 1] {
                    table.set_copy(slot, which, Tag(damage), &[]);
                }
                table.write(slot, Some(&[7][..]), 1)
            });
            table.commit(2, 0, writes);
        }
    }
}
