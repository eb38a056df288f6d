//! Writes a transaction, and repairs the rows that a dead publisher left.

use super::read::CurrentCopy;
use super::{Table, WritableTable};
use crate::protocol::layout::{BLOCK_ROWS, NEVER, Tag, header};
use crate::protocol::seqlock;
use crate::protocol::sync::{Ordering, Point, applies, fence, ordering, store};

/// One row of a transaction.
#[derive(Clone, Copy)]
pub struct Write<'r> {
    /// Slot of the row.
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
        if self.row.is_some() {
            Tag::live(version)
        } else {
            Tag::deleted(version)
        }
    }
}

impl WritableTable<'_> {
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
            seqlock::hide(self.tag(write.slot, write.spare), write.tag(version));
        }
        // Partner: the reader's fence before its second load of a tag. One fence serves all rows.
        fence(Point::HideRows, Ordering::Release);
        let row_words = self.geometry.row_words;
        for write in writes.clone() {
            if let Some(row) = write.row {
                let row = &write.words[row * row_words..][..row_words];
                seqlock::write(self.copy_words(write.slot, write.spare), row);
            }
        }
        let (mut notes, mut raised) = (self.notes(version, count), None);
        for write in writes {
            let block = write.slot / BLOCK_ROWS;
            if raised.replace(block) != Some(block) {
                self.raise(block, version);
            }
            notes.add(write.slot, write.spare);
        }
        notes.end();
        store(
            &self.words[header::TIME + (version & 1) as usize],
            time,
            Ordering::Relaxed,
        );
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

    /// Returns the write that stores `row` at `slot`, or deletes it, in the transaction after
    /// `committed`.
    #[cfg(test)]
    pub fn write<'r>(&self, slot: usize, row: Option<&'r [u64]>, committed: u64) -> Write<'r> {
        let (holder, _) = self.holder(slot, committed);
        Write {
            slot,
            spare: 1 - holder,
            words: row.unwrap_or_default(),
            row: row.map(|_| 0),
        }
    }

    /// Hides everything that a dead publisher wrote above `committed`. A successor calls this
    /// before its first commit. The call can be repeated, and the successor can die at any point in
    /// it.
    pub fn repair(&self, committed: u64) {
        // The dead publisher's fences do not order stores of this process. This fence orders the
        // dead publisher's stores before those that follow.
        fence(Point::TakeoverFence, Ordering::Release);
        for slot in 0..self.rows {
            for copy in self.copies(slot) {
                if Tag(copy.tag.load(Ordering::Relaxed)).version() > committed
                    && applies(Point::TakeoverHide)
                {
                    // Not 0: a reader at an older version would read that as "no row".
                    let never = applies(Point::TakeoverNever);
                    seqlock::hide(copy.tag, Tag(if never { NEVER } else { 0 }));
                }
            }
        }
    }

    /// Writes a row (`None` for a deleted one) to copy `which` of `slot` in a table that no other
    /// process can see yet. The next transaction must overwrite the other copy.
    pub fn fill(&self, slot: usize, which: usize, version: u64, row: Option<&[u64]>) {
        let copies = self.copies(slot);
        let copy = &copies[which];
        let tag = row.map_or(Tag::deleted(version), |_| Tag::live(version));
        seqlock::hide(copy.tag, tag);
        if let Some(row) = row {
            seqlock::write(copy.words, row);
        }
        self.raise(slot / BLOCK_ROWS, version);
    }
}

impl Table<'_> {
    /// Returns the index of the copy of `slot` that is current at `committed`, the last commit, and
    /// true if it is a live row.
    ///
    /// # Panics
    /// If there is no such slot.
    #[inline]
    pub fn holder(&self, slot: usize, committed: u64) -> (usize, bool) {
        let (block, row) = self.place(slot);
        // Both tags are above the commit only if another process wrote them. Then either copy may
        // be overwritten.
        let (holder, live) = CurrentCopy::by(block.tags(row), committed)
            .map_or((0, false), |found| (found.which, found.tag.is_live()));
        let holder = if applies(Point::SpareCopy) {
            holder
        } else {
            1 - holder
        };
        (holder, live)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::layout::Geometry;
    use crate::protocol::sync::AtomicU64;

    #[test]
    fn tags_that_somebody_overwrites_during_a_commit_do_not_stop_it() {
        let geometry = Geometry::new(1, 64, 0, 0).unwrap();
        let words: Vec<AtomicU64> = (0..geometry.words_for(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        let table = WritableTable::new(&words, &geometry, 64).unwrap();
        for damage in [0, 1, Tag::live(7).0, NEVER] {
            // The iterator runs twice: once to hide, and once to write.
            let writes = [3, 5].into_iter().map(|slot| {
                table
                    .copies(slot)
                    .iter()
                    .for_each(|copy| seqlock::hide(copy.tag, Tag(damage)));
                let row = Some(&[7][..]);
                table.write(slot, row, 1)
            });
            table.commit(2, 0, writes);
        }
    }
}
