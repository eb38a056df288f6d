//! Reads one row at one version.

use super::{Table, last_commit};
use crate::protocol::bits::{runs, set_bits};
use crate::protocol::layout::{BLOCK_ROWS, Geometry, Tag};
use crate::protocol::memory;
use crate::protocol::seqlock::Guarded;
use crate::protocol::sync::{Ordering, Point, applies, fence};
use crate::protocol::word::ReadOnlyWord;

/// The row was rewritten twice since the version was loaded. The caller loads a new version and
/// tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten;

/// Copies the row of `slot` as of the last commit into `row`. Returns false for a deleted row and
/// for every unusual case, for example while the row is being written: then the caller falls back
/// to [`Table::read`].
///
/// This function takes the same steps as `read` without those whose result is the same for each
/// read, for callers that read one row repeatedly. `words` and `geometry` must be of a table whose
/// rows have the width of `row`. `slot` may be out of range.
#[inline]
pub fn read_fast(
    words: &[ReadOnlyWord],
    geometry: &Geometry,
    slot: usize,
    row: &mut [u64],
) -> bool {
    let version = last_commit(words);
    let (block, place) = (geometry.tags(slot - slot % BLOCK_ROWS), slot % BLOCK_ROWS);
    let Some(tags) = words.get(block + 2 * place..block + 2 * place + 2) else {
        return false;
    };
    let [first, second] = [0, 1].map(|which| tags[which].load(Ordering::Relaxed));
    let which = usize::from(second > first);
    let seen = first.max(second);
    let copy = block + 2 * BLOCK_ROWS + (which * BLOCK_ROWS + place) * row.len();
    match words.get(copy..copy + row.len()) {
        Some(copy) if seen <= latest(version) && Tag(seen).is_live() => {
            memory::copy_words(copy, row);
            // Partner: the writer's fence between tags and words, as in `Guarded::is_still`.
            fence(Point::RecheckTag, Ordering::Acquire);
            !applies(Point::RecheckRow) || tags[which].load(Ordering::Relaxed) == seen
        }
        _ => false,
    }
}

/// The tags of a block, loaded twice: before and after the copy.
pub(super) type Tags = [[u64; 2 * BLOCK_ROWS]; 2];

/// Number of cache lines that are prefetched at the beginning of words that are read from their
/// start.
const FIRST_LINES: usize = 8;
/// Number of uncopied rows in a block above which the copied rows are prefetched one by one. They
/// are then so far apart that the processor does not predict the next.
const MANY: u32 = 8;

/// The rows of one block: its tags, its first copies, its second copies.
#[derive(Clone, Copy)]
pub struct Block<'m> {
    tags: &'m [ReadOnlyWord],
    copies: [&'m [ReadOnlyWord]; 2],
    row_words: usize,
}

impl<'m> Block<'m> {
    /// Returns the block that consists of `words`.
    #[inline]
    pub(super) fn new(words: &'m [ReadOnlyWord], row_words: usize) -> Self {
        let (tags, copies) = words.split_at(2 * BLOCK_ROWS);
        let (first, second) = copies.split_at(BLOCK_ROWS * row_words);
        Self {
            tags,
            copies: [first, second],
            row_words,
        }
    }

    /// Prefetches the tags and the beginning of the copies.
    #[inline]
    pub(super) fn prefetch(&self) {
        memory::prefetch_lines(self.tags, usize::MAX);
        for copy in self.copies {
            memory::prefetch_lines(copy, FIRST_LINES);
        }
    }

    /// Returns both tags of `row`.
    #[inline]
    pub(super) fn tags(&self, row: usize) -> [Tag; 2] {
        [0, 1].map(|which| Tag(self.tags[2 * row + which].load(Ordering::Relaxed)))
    }

    /// Returns one of the two guarded copies of `row`.
    #[inline]
    pub(super) fn copy(&self, row: usize, which: usize) -> Guarded<'m> {
        Guarded {
            tag: &self.tags[2 * row + which],
            words: &self.copies[which][row * self.row_words..][..self.row_words],
        }
    }

    /// Reads a row by its index in the block; see [`Table::read`].
    #[inline]
    pub(super) fn read(
        &self,
        row: usize,
        version: u64,
        since: u64,
        words: &mut [u64],
    ) -> Result<Tag, Overwritten> {
        let Some(found) = CurrentCopy::by(self.tags(row), version) else {
            return Err(overtaken());
        };
        let (tag, which) = (found.tag, found.which);
        let holds = if tag.is_live() && tag.version() > since {
            self.copy(row, which).try_read(tag, words)
        } else {
            found.is_final || !applies(Point::RecheckAnswer) || self.copy(row, which).is_still(tag)
        };
        if holds { Ok(tag) } else { Err(overtaken()) }
    }

    /// Copies the first rows of the block as of `version` to `words`, as many as fit, if they were
    /// written after `since`. The result is the same as that of reading one row after the other,
    /// but adjacent rows are copied together, all tags are loaded again together, and the results
    /// are bits. `before` and `after` are buffers for the tags.
    #[inline]
    pub(super) fn read_all(
        &self,
        version: u64,
        since: u64,
        words: &mut [u64],
        [before, after]: &mut Tags,
    ) -> TagScan {
        let tags = &self.tags[..words.len() / self.row_words * 2];
        let (before, after) = (&mut before[..tags.len()], &mut after[..tags.len()]);
        memory::copy_words(tags, before);
        let mut answers = memory::by_vectors(|| TagScan::usual(before, version, since))
            .unwrap_or_else(|| memory::by_vectors(|| TagScan::of(before, version, since)));
        let copied = answers.written & answers.live & !answers.failed;
        let of_copies = [copied & !answers.second, copied & answers.second];
        if copied.count_zeros() > MANY {
            for (copy, rows) in self.copies.iter().zip(of_copies) {
                set_bits(&[rows]).for_each(|row| memory::prefetch(&copy[row * self.row_words]));
            }
        }
        for (copy, rows) in self.copies.iter().zip(of_copies) {
            for run in runs(rows) {
                let run = run.start * self.row_words..run.end * self.row_words;
                memory::copy_words(&copy[run.clone()], &mut words[run]);
            }
        }
        // Partner: the writer's fence between tags and words, as in `Guarded::is_still`.
        fence(Point::RecheckTag, Ordering::Acquire);
        memory::copy_words(tags, after);
        if before != after {
            let mut looked_at = 0;
            if applies(Point::RecheckRow) {
                looked_at |= copied;
            }
            if applies(Point::RecheckAnswer) {
                looked_at |= answers.unsure & !copied;
            }
            for row in set_bits(&[looked_at]) {
                let at = 2 * row + (answers.second >> row & 1) as usize;
                answers.failed |= u64::from(before[at] != after[at]) << row;
            }
        }
        if answers.failed != 0 {
            overtaken();
        }
        answers
    }
}

/// The result of scanning the tags of a block, one bit for each row.
#[derive(Default)]
pub(super) struct TagScan {
    /// Rows that were written after the version `since`.
    pub(super) written: u64,
    /// Rows that are live.
    pub(super) live: u64,
    /// Rows that were [`Overwritten`]. The other bits of these rows have no meaning.
    pub(super) failed: u64,
    /// Rows whose current copy is the second one.
    second: u64,
    /// Rows whose tag must be loaded again, whatever it says.
    unsure: u64,
}

impl TagScan {
    /// Scans pairs of tags for the usual case, which is faster: all rows were written after `since`
    /// and are live, and no tag is above `version`. Returns `None` in every other case.
    #[inline(always)]
    fn usual(tags: &[u64], version: u64, since: u64) -> Option<Self> {
        let pairs = tags.as_chunks::<2>().0;
        let (mut least, mut greatest, mut all, mut any, mut second) = (u64::MAX, 0, u64::MAX, 0, 0);
        for (row, [one, other]) in pairs.iter().enumerate() {
            let tag = *one.max(other);
            (least, greatest) = (tag.min(least), tag.max(greatest));
            (all, any) = (all & tag, any | tag);
            second |= u64::from(one < other) << row;
        }
        let live = Tag(all).is_live() && Tag(any).is_live();
        let usual = live && greatest <= latest(version) && least > latest(since);
        usual.then(|| Self {
            written: u64::MAX >> (64 - pairs.len()),
            live: u64::MAX,
            second,
            ..Self::default()
        })
    }

    /// Scans the pairs of tags of a block.
    #[inline(always)]
    fn of(tags: &[u64], version: u64, since: u64) -> Self {
        let (latest, known) = (latest(version), latest(since));
        let mut all = Self::default();
        // No branches, so that the compiler vectorizes the loop.
        for (row, [one, other]) in tags.as_chunks().0.iter().enumerate() {
            let (greater, lesser) = (*one.max(other), *one.min(other));
            // As in `read`: a tag above the version does not count, and the other tag must be
            // loaded again, whatever it says.
            let hidden = greater > latest;
            let tag = if hidden { lesser } else { greater };
            all.second |= u64::from((other > one) ^ hidden) << row;
            all.written |= u64::from(tag > known) << row;
            all.live |= u64::from(Tag(tag).is_live()) << row;
            all.unsure |= u64::from(hidden) << row;
            all.failed |= u64::from(tag > latest) << row;
        }
        all
    }
}

/// Returns the greatest tag of a version.
fn latest(version: u64) -> u64 {
    version << 2 | 3
}

/// The copy that holds a row at a version.
#[derive(Clone, Copy)]
pub(super) struct CurrentCopy {
    pub(super) tag: Tag,
    pub(super) which: usize,
    /// True if both tags are at most that version. Then neither tag can have had another value at
    /// that version. Otherwise the current tag may have been loaded before the other copy was
    /// committed, and this copy rewritten afterwards.
    is_final: bool,
}

impl CurrentCopy {
    /// Returns `None` if neither copy holds the row at `version`.
    #[inline]
    pub(super) fn by([first, second]: [Tag; 2], version: u64) -> Option<Self> {
        let which = match [first.version() <= version, second.version() <= version] {
            [false, false] => return None,
            [true, true] => usize::from(second > first),
            [first_counts, _] => usize::from(!first_counts),
        };
        Some(Self {
            tag: [first, second][which],
            which,
            is_final: first.version().max(second.version()) <= version,
        })
    }
}

/// Returns [`Overwritten`] after a load saw a later transaction than the version. Later loads see
/// the commits that precede that transaction, so the next version loaded is greater.
#[cold]
fn overtaken() -> Overwritten {
    // Partner: the fence after the commit, which precedes the tags of the transaction that was
    // seen.
    fence(Point::Overwritten, Ordering::Acquire);
    Overwritten
}

impl<'m> Table<'m> {
    /// Prefetches the tags of `slot`.
    #[inline]
    pub(super) fn prefetch_tags(&self, slot: usize) {
        memory::prefetch(&self.words[self.geometry.tags(slot)]);
    }

    /// Prefetches the tags of `slot` and copy `which`, if the slot exists.
    #[inline]
    pub(super) fn prefetch(&self, slot: usize, which: usize) {
        let (tags, copy) = (self.geometry.tags(slot), self.geometry.copy(slot, which));
        if let Some(copy) = self.words.get(copy..copy + self.geometry.row_words) {
            memory::prefetch(&self.words[tags]);
            memory::prefetch_lines(copy, FIRST_LINES);
        }
    }

    /// Prefetches the copy that holds the row as of `version`. Its tags should be in the cache.
    #[inline]
    pub(super) fn prefetch_copy(&self, slot: usize, version: u64) {
        // A loom model would explore the results of these loads.
        if cfg!(not(loom)) {
            let (block, row) = self.place(slot);
            if let Some(found) = CurrentCopy::by(block.tags(row), version) {
                memory::prefetch_lines(block.copy(row, found.which).words, FIRST_LINES);
            }
        }
    }

    /// Returns block number `block`.
    ///
    /// # Panics
    /// If there are no rows in it.
    #[inline]
    pub(super) fn block(&self, block: usize) -> Block<'m> {
        assert!(
            block * BLOCK_ROWS < self.rows,
            "block {block} of {} rows",
            self.rows
        );
        let start = self.geometry.tags(block * BLOCK_ROWS);
        let words = &self.words[start..start + self.geometry.block_words];
        Block::new(words, self.geometry.row_words)
    }

    /// Copies the row of `slot` as of `version` into `row`, if it was written after `since`. The
    /// returned tag holds the version that wrote the row and says if the row was deleted. `row`
    /// holds the row only if the tag is live and after `since`.
    ///
    /// # Errors
    /// [`Overwritten`].
    ///
    /// # Panics
    /// If there is no such slot, or if the length of `row` is not the row width of the table.
    #[inline]
    pub fn read(
        &self,
        slot: usize,
        version: u64,
        since: u64,
        row: &mut [u64],
    ) -> Result<Tag, Overwritten> {
        let (block, place) = self.place(slot);
        block.read(place, version, since, row)
    }
}
