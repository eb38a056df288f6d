//! One row at one version.

use super::{Table, last_commit};
use crate::bits::{runs, set_bits};
use crate::layout::{BLOCK_ROWS, Geometry, Tag};
use crate::memory;
use crate::seqlock::Guarded;
use crate::sync::{Ordering, Point, applies, fence};
use crate::word::ReadOnlyWord;

/// The row was rewritten twice since the version was taken: take a new version and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten;

/// Copies the row of `slot` as of the last commit into `row`; false for a deleted one, and wherever anything is unusual, as while
/// it is being written: then [`Table::read`] finds out. The same steps, less what is the same from one read to the next, for
/// those who read one row again and again. `words` and `geometry` are of a table of rows of that width; there may be no such
/// slot.
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

/// The tags of a block, at two looks.
pub(super) type Tags = [[u64; 2 * BLOCK_ROWS]; 2];

/// How many lines of what is read from its beginning are fetched ahead.
const FIRST_LINES: usize = 8;
/// Among how many rows that are not copied those that are stand so far apart that the processor does not guess the next.
const MANY: u32 = 8;

/// The rows of one block: its tags, its first copies, its second copies.
#[derive(Clone, Copy)]
pub struct Block<'m> {
    tags: &'m [ReadOnlyWord],
    copies: [&'m [ReadOnlyWord]; 2],
    row_words: usize,
}

impl<'m> Block<'m> {
    /// Of a block's words.
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

    /// Has the tags fetched, and where the copies begin.
    #[inline]
    pub(super) fn prefetch(&self) {
        memory::prefetch_lines(self.tags, usize::MAX);
        for copy in self.copies {
            memory::prefetch_lines(copy, FIRST_LINES);
        }
    }

    /// Both tags of `row`.
    #[inline]
    pub(super) fn tags(&self, row: usize) -> [Tag; 2] {
        [0, 1].map(|which| Tag(self.tags[2 * row + which].load(Ordering::Relaxed)))
    }

    /// One of the two guarded copies of `row`.
    #[inline]
    pub(super) fn copy(&self, row: usize, which: usize) -> Guarded<'m> {
        Guarded {
            tag: &self.tags[2 * row + which],
            words: &self.copies[which][row * self.row_words..][..self.row_words],
        }
    }

    /// As [`Table::read`], of a row by its place in the block.
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

    /// Copies the first rows of the block as of `version` to `words`, as many as these have room for, if they were written
    /// after `since`. The same as reading one after the other, but neighbours are copied as one, tags are looked at again
    /// together, and the answers are bits. `before` and `after` are where tags are copied to.
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

/// What the tags of a block say, a bit a row.
#[derive(Default)]
pub(super) struct TagScan {
    /// Which rows were written.
    pub(super) written: u64,
    /// Which are live.
    pub(super) live: u64,
    /// Which were [`Overwritten`]: of these nothing else means anything.
    pub(super) failed: u64,
    /// Which are held by their second copy.
    second: u64,
    /// Which need a second look, whatever they say.
    unsure: u64,
}

impl TagScan {
    /// Of the pairs of tags of a block, if all rows were written after `since`, and are live, and no tag is above `version`: the
    /// usual case, and sooner known.
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

    /// Of the pairs of tags of a block.
    #[inline(always)]
    fn of(tags: &[u64], version: u64, since: u64) -> Self {
        let (latest, known) = (latest(version), latest(since));
        let mut all = Self::default();
        // Without a branch, so that it is done by vectors.
        for (row, [one, other]) in tags.as_chunks().0.iter().enumerate() {
            let (greater, lesser) = (*one.max(other), *one.min(other));
            // As in `read`: then that one does not count, and the other needs a second look, whatever it says.
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

/// The greatest tag of a version.
fn latest(version: u64) -> u64 {
    version << 2 | 3
}

/// Which of a row's two copies holds it at a version.
#[derive(Clone, Copy)]
pub(super) struct CurrentCopy {
    pub(super) tag: Tag,
    pub(super) which: usize,
    /// Whether both tags are at most that version. Then neither can have been another at that version; else the tag that counts
    /// may have been loaded before the other copy was committed and then this one rewritten.
    is_final: bool,
}

impl CurrentCopy {
    /// None if neither does.
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

/// What was seen is of a later transaction than the version: the commits before that one are seen from here on, so
/// that the next version taken is greater.
#[cold]
fn overtaken() -> Overwritten {
    // Partner: the fence after the commit, which stands before the tags of the transaction that was seen.
    fence(Point::Overwritten, Ordering::Acquire);
    Overwritten
}

impl<'m> Table<'m> {
    /// Has the tags of `slot` fetched.
    #[inline]
    pub(super) fn prefetch_tags(&self, slot: usize) {
        memory::prefetch(&self.words[self.geometry.tags(slot)]);
    }

    /// Has the tags of `slot` and that copy fetched, if they are here.
    #[inline]
    pub(super) fn prefetch(&self, slot: usize, which: usize) {
        let (tags, copy) = (self.geometry.tags(slot), self.geometry.copy(slot, which));
        if let Some(copy) = self.words.get(copy..copy + self.geometry.row_words) {
            memory::prefetch(&self.words[tags]);
            memory::prefetch_lines(copy, FIRST_LINES);
        }
    }

    /// Has the copy fetched that holds the row as of `version`. Its tags should be there.
    #[inline]
    pub(super) fn prefetch_copy(&self, slot: usize, version: u64) {
        // A model would follow where these looks lead.
        if cfg!(not(loom)) {
            let (block, row) = self.place(slot);
            if let Some(found) = CurrentCopy::by(block.tags(row), version) {
                memory::prefetch_lines(block.copy(row, found.which).words, FIRST_LINES);
            }
        }
    }

    /// The block of that number.
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

    /// Copies the row of `slot` as of `version` into `row`, if it was written after `since`. The tag that is returned
    /// says by which version, and whether it was deleted; `row` holds a row only if the tag is live and after `since`.
    ///
    /// # Errors
    /// [`Overwritten`].
    ///
    /// # Panics
    /// If there is no such slot, or `row` is not of the table's width.
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
