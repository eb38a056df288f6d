//! Reads the rows of a table at one version: a seqlock with two copies of each row.
//!
//! A reader always finds a copy that the writer is not writing (Lameter 2005 and Boehm 2012 for the
//! ordering; two copies as in Kopetz's non-blocking write protocol):
//!
//! 1. The writer ([`commit`](super::commit)) stores a tag that no reader accepts, executes a
//!    release fence, stores the words, and later stores the commit that makes the tag acceptable.
//! 2. The reader loads `commit` as `s`, and chooses the copy with the greatest tag that is at most
//!    `s`.
//! 3. It copies the words, executes an acquire fence, and loads the tag again. If any copied word
//!    came from a later write, the fences make the second load return that write's tag.
//!
//! The seqlock is not for data written by several threads.

use crate::memory::prefetch;
use crate::protocol::layout::{BLOCK_ROWS, FANOUT, Geometry, Tag, header};
use crate::protocol::sync::{Ordering, Point, applies, fence};
use crate::protocol::words::{
    ReadOnlyWord, by_vectors, copy_rows, copy_words, prefetch_lines, set_bits,
};

/// Number of cache lines prefetched at the start of a row that is read sequentially.
const FIRST_LINES: usize = 8;
/// Number of uncopied rows in a block above which the copied rows are prefetched one by one,
/// because the processor does not predict the next one over such distances.
const MANY: u32 = 8;

/// The row was rewritten twice since the version was loaded. The caller loads a new version and
/// tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten;

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
    of_last_commit(words, header::TIME, version)
}

/// Returns the number of live rows as of `version`, if it is still the last commit.
pub fn live_rows(words: &[ReadOnlyWord], version: u64) -> Option<u64> {
    of_last_commit(words, header::LIVE, version)
}

/// Returns one of two words from `first` on, which belong to the last two commits.
fn of_last_commit(words: &[ReadOnlyWord], first: usize, version: u64) -> Option<u64> {
    let value = words[first + (version & 1) as usize].load(Ordering::Relaxed);
    // The word of `version` is overwritten by version + 2, after the commit of version + 1.
    fence(Point::RecheckTag, Ordering::Acquire);
    (words[header::COMMIT].load(Ordering::Relaxed) == version).then_some(value)
}

/// Copies the row of `slot` as of the last commit into `row`, if `is_match` returns true for its
/// words. Returns false for a deleted row and for every unusual case, for example while the row is
/// being written. The caller then falls back to [`Table::read`], which handles all cases.
///
/// `words` and `geometry` must be of a table whose rows have the width of `row`. `slot` may be out
/// of range. The words that `is_match` loads are part of the row only if the result is true.
#[inline(always)]
pub fn read_fast(
    words: &[ReadOnlyWord],
    geometry: &Geometry,
    slot: usize,
    row: &mut [u64],
    is_match: impl FnOnce(&[ReadOnlyWord]) -> bool,
) -> bool {
    let version = last_commit(words);
    let place = slot % BLOCK_ROWS;
    let (start, copy) = (geometry.tags(slot - place), 2 * BLOCK_ROWS + place * row.len());
    let from_first_to_second = BLOCK_ROWS * row.len();
    // From the tags of the block to the end of the second copy.
    let Some(block) =
        words.get(start..).and_then(|words| words.get(..copy + from_first_to_second + row.len()))
    else {
        return false;
    };
    let (first_tag, second_tag) = (&block[2 * place], &block[2 * place + 1]);
    let (first_copy, second_copy) =
        (&block[copy..copy + row.len()], &block[copy + from_first_to_second..]);
    // The tags select the copy. If they are not in the cache, the copies are probably not either.
    // Fetching all of them at the same time takes half as long.
    if let (Some(first_word), Some(second_word)) = (first_copy.first(), second_copy.first()) {
        prefetch(first_word);
        prefetch(second_word);
    }
    let [first, second] = [first_tag, second_tag].map(|tag| tag.load(Ordering::Relaxed));
    let seen = Tag(first.max(second));
    let is_second = second > first;
    let tag = if is_second { second_tag } else { first_tag };
    let words = if is_second { second_copy } else { first_copy };
    seen.0 <= latest(version)
        && seen.is_live()
        && is_match(words)
        && Guarded { tag, words }.try_read(seen, row)
}

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
        reaches.then_some(Self { words, geometry, rows })
    }

    /// Returns the number of rows, live or deleted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the size of a row in words.
    pub fn row_words(&self) -> usize {
        self.geometry.row_words
    }

    /// Returns the words of the region.
    #[inline]
    pub(super) fn words(&self) -> &'m [ReadOnlyWord] {
        self.words
    }

    /// Returns the geometry of the region.
    #[inline]
    pub(super) fn geometry(&self) -> &'m Geometry {
        self.geometry
    }

    /// Copies the row of `slot` as of `version` into `row`, if it was written after `since`. The
    /// returned tag holds the version that wrote the row and says if the row was deleted. `row`
    /// holds the row only if the tag is live and after `since`.
    ///
    /// # Panics
    /// If `slot` is out of range, or if the length of `row` is not the row width of the table.
    #[inline]
    pub fn read(
        &self,
        slot: usize,
        version: u64,
        since: u64,
        row: &mut [u64],
    ) -> Result<Tag, Overwritten> {
        let (block, place) = self.place(slot);
        let Some(found) = CurrentCopy::by(block.tags(place), version) else {
            return Err(overwritten());
        };
        let (tag, copy) = (found.tag, block.copy(place, found.which));
        let holds = if tag.is_live() && tag.version() > since {
            copy.try_read(tag, row)
        } else {
            found.is_final || !applies(Point::RecheckAnswer) || copy.is_still(tag)
        };
        if holds { Ok(tag) } else { Err(overwritten()) }
    }

    /// Returns the index of the copy of `slot` that is current at `committed`, the last commit, and
    /// true if it is a live row.
    ///
    /// # Panics
    /// If `slot` is out of range.
    #[inline]
    pub fn holder(&self, slot: usize, committed: u64) -> (usize, bool) {
        let (block, row) = self.place(slot);
        // Both tags are above the commit only if another process wrote them. Then either copy may
        // be overwritten.
        let (holder, live) = CurrentCopy::by(block.tags(row), committed)
            .map_or((0, false), |found| (found.which, found.tag.is_live()));
        let is_spared = applies(Point::SpareCopy);
        (if is_spared { holder } else { 1 - holder }, live)
    }

    /// Returns the block of `slot` and the index of the row in that block.
    #[inline]
    fn place(&self, slot: usize) -> (Block<'m>, usize) {
        assert!(slot < self.rows, "slot {slot} of {} rows", self.rows);
        (self.block(slot / BLOCK_ROWS), slot % BLOCK_ROWS)
    }

    /// Returns block number `block`.
    ///
    /// # Panics
    /// If the block is out of range.
    #[inline]
    pub(super) fn block(&self, block: usize) -> Block<'m> {
        assert!(block * BLOCK_ROWS < self.rows, "block {block} of {} rows", self.rows);
        let row_words = self.geometry.row_words;
        let start = self.geometry.tags(block * BLOCK_ROWS);
        let words = &self.words[start..start + self.geometry.block_words];
        let (tags, copies) = words.split_at(2 * BLOCK_ROWS);
        let (first, second) = copies.split_at(BLOCK_ROWS * row_words);
        Block { tags, copies: [first, second], row_words }
    }

    /// Calls `visit` with each block that was written after `since`, in ascending order. The caller
    /// has loaded `commit` by [`last_commit`] before.
    ///
    /// The change tree may be ahead of the row count, which was loaded before it. Blocks beyond
    /// that count hold only rows of commits that the caller has not loaded, so they are not
    /// visited: `descend` bounds the entries below the root, and the root covers an existing block
    /// unless the table has no rows.
    pub(super) fn changed_blocks(&self, since: u64, mut visit: impl FnMut(usize)) {
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

    /// Prefetches the tags of `slot`.
    #[inline]
    pub(super) fn prefetch_tags(&self, slot: usize) {
        prefetch(&self.words[self.geometry.tags(slot)]);
    }

    /// Prefetches the tags of `slot` and copy `which`, if the slot exists.
    #[inline]
    pub(super) fn prefetch(&self, slot: usize, which: usize) {
        let copy = self.geometry.copy(slot, which);
        if let Some(copy) = self.words.get(copy..copy + self.geometry.row_words) {
            self.prefetch_tags(slot);
            prefetch_lines(copy, FIRST_LINES);
        }
    }

    /// Prefetches the tags of `slot`, if it exists.
    #[inline]
    pub fn prefetch_place(&self, slot: usize) {
        if slot < self.rows {
            self.prefetch_tags(slot);
        }
    }

    /// Prefetches the copy that holds the row as of `version`. Its tags should be in the cache.
    ///
    /// # Panics
    /// If `slot` is out of range.
    #[inline]
    pub fn prefetch_copy(&self, slot: usize, version: u64) {
        // A loom model would explore the results of these loads.
        if cfg!(not(loom)) {
            let (block, row) = self.place(slot);
            if let Some(found) = CurrentCopy::by(block.tags(row), version) {
                prefetch_lines(block.copy(row, found.which).words, FIRST_LINES);
            }
        }
    }
}

/// One copy of a row and the tag that guards it, in words that a publisher may be writing.
#[derive(Clone, Copy)]
struct Guarded<'m> {
    tag: &'m ReadOnlyWord,
    words: &'m [ReadOnlyWord],
}

impl Guarded<'_> {
    /// Copies the words into `row` and returns true if the tag was still `seen` after the copy.
    #[inline(always)]
    fn try_read(&self, seen: Tag, row: &mut [u64]) -> bool {
        copy_words(self.words, row);
        !applies(Point::RecheckRow) || self.is_still(seen)
    }

    /// Returns true if the tag is still `seen` after all earlier loads.
    #[inline]
    fn is_still(&self, seen: Tag) -> bool {
        // Partner: the writer's fence between tags and words. If an earlier load returned a word of
        // a later write, the load below returns that write's tag.
        fence(Point::RecheckTag, Ordering::Acquire);
        self.tag.load(Ordering::Relaxed) == seen.0
    }
}

/// Returns the greatest tag of a version.
fn latest(version: u64) -> u64 {
    version << 2 | 3
}

/// Returns [`Overwritten`] after a load saw a later transaction than the version. Later loads see
/// the commits that precede that transaction, so the next version loaded is greater.
#[cold]
pub(super) fn overwritten() -> Overwritten {
    // Partner: the fence after the commit, which precedes the tags of the transaction that was
    // seen.
    fence(Point::Overwritten, Ordering::Acquire);
    Overwritten
}

/// The copy that holds a row at a version.
#[derive(Clone, Copy)]
struct CurrentCopy {
    tag: Tag,
    which: usize,
    /// True if both tags are at most that version. Then neither tag can have had another value at
    /// that version. Otherwise the current tag may have been loaded before the other copy was
    /// committed, and this copy rewritten afterwards.
    is_final: bool,
}

impl CurrentCopy {
    /// Returns `None` if neither copy holds the row at `version`.
    #[inline]
    fn by([first, second]: [Tag; 2], version: u64) -> Option<Self> {
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

/// The tags of a block, loaded twice: before and after the copy.
pub(super) type BlockTags = [[u64; 2 * BLOCK_ROWS]; 2];

/// The rows of one block: its tags, its first copies, its second copies.
#[derive(Clone, Copy)]
pub(super) struct Block<'m> {
    tags: &'m [ReadOnlyWord],
    copies: [&'m [ReadOnlyWord]; 2],
    row_words: usize,
}

impl<'m> Block<'m> {
    /// Prefetches the tags and the beginning of the copies.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch_lines(self.tags, usize::MAX);
        for copy in self.copies {
            prefetch_lines(copy, FIRST_LINES);
        }
    }

    #[inline]
    fn tags(&self, row: usize) -> [Tag; 2] {
        [0, 1].map(|which| Tag(self.tags[2 * row + which].load(Ordering::Relaxed)))
    }

    #[inline]
    fn copy(&self, row: usize, which: usize) -> Guarded<'m> {
        Guarded {
            tag: &self.tags[2 * row + which],
            words: &self.copies[which][row * self.row_words..][..self.row_words],
        }
    }

    /// Copies the first rows of the block as of `version` to `words`, as many as fit, if they were
    /// written after `since`. The result is the same as that of [`Table::read`] for each row, but
    /// the rows are copied together, and all tags are loaded again together. `before` and
    /// `after` are buffers for the tags.
    ///
    /// Returns three sets of rows as bits: those that were written after `since`, those that are
    /// live, and those that were [`Overwritten`]. An overwritten row is not in the first set, and
    /// its bit in the second one is meaningless.
    #[inline]
    pub(super) fn read_all(
        &self,
        version: u64,
        since: u64,
        words: &mut [u64],
        [before, after]: &mut BlockTags,
    ) -> [u64; 3] {
        let tags = &self.tags[..words.len() / self.row_words * 2];
        let (before, after) = (&mut before[..tags.len()], &mut after[..tags.len()]);
        copy_words(tags, before);
        let mut scan = by_vectors(|| TagScan::usual(before, version, since))
            .unwrap_or_else(|| by_vectors(|| TagScan::of(before, version, since)));
        let copied = scan.written & scan.live & !scan.failed;
        if copied.count_zeros() > MANY {
            let of_copies = [copied & !scan.second, copied & scan.second];
            for (copy, rows) in self.copies.iter().zip(of_copies) {
                set_bits(&[rows]).for_each(|row| prefetch(&copy[row * self.row_words]));
            }
        }
        if copied.count_ones() as usize == tags.len() / 2 {
            copy_rows(self.copies, scan.second, self.row_words, words);
        } else {
            for row in set_bits(&[copied]) {
                let place = row * self.row_words..(row + 1) * self.row_words;
                let copies = self.copies.map(|copy| &copy[place.clone()]);
                copy_rows(copies, scan.second >> row & 1, self.row_words, &mut words[place]);
            }
        }
        // Partner: the writer's fence between tags and words, as in `Guarded::is_still`.
        fence(Point::RecheckTag, Ordering::Acquire);
        copy_words(tags, after);
        if before != after {
            scan.recheck(copied, before, after);
        }
        if scan.failed != 0 {
            overwritten();
        }
        [scan.written & !scan.failed, scan.live, scan.failed]
    }
}

/// The result of scanning the tags of a block, one bit for each row.
#[derive(Default)]
struct TagScan {
    written: u64,
    live: u64,
    failed: u64,
    /// Rows whose current copy is the second one.
    second: u64,
    /// Rows whose tag must be loaded again even if they were not copied.
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
            // As in `Table::read`: a tag above the version does not count, and the other tag must
            // be loaded again even if the row is not copied.
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

    /// Marks rows as failed whose tag was changed between the two loads.
    fn recheck(&mut self, copied: u64, before: &[u64], after: &[u64]) {
        let mut checked = 0;
        if applies(Point::RecheckRow) {
            checked |= copied;
        }
        if applies(Point::RecheckAnswer) {
            checked |= self.unsure & !copied;
        }
        for row in set_bits(&[checked]) {
            let at = 2 * row + (self.second >> row & 1) as usize;
            self.failed |= u64::from(before[at] != after[at]) << row;
        }
    }
}
