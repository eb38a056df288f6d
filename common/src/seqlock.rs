//! One guarded copy of a row.
//!
//! A seqlock of which each row has two, so that a reader always finds one at rest (Lameter 2005 and Boehm 2012
//! for the ordering; two copies as in Kopetz's non-blocking write protocol):
//!
//! 1. the writer stores a tag that no reader accepts, 2. a release fence, 3. the words, and later the commit that
//!    makes the tag acceptable.
//! 2. the reader has accepted the tag, copies the words, 2. an acquire fence, 3. looks at the tag again: if any
//!    word it copied was of a later write, the fences make it see that write's tag.
//!
//! Not for data that is written by several threads, and not without the commit number that decides which tag
//! counts: that is [`table`](crate::table).

use crate::layout::Tag;
use crate::memory;
use crate::sync::{AtomicU64, Ordering, Point, applies, fence, store};
use crate::word::ReadOnlyWord;

/// One copy of a row, in words that a publisher may be writing.
#[derive(Clone, Copy)]
pub struct Guarded<'m> {
    /// The tag that guards the words.
    pub tag: &'m ReadOnlyWord,
    /// The row's words.
    pub words: &'m [ReadOnlyWord],
}

/// One copy of a row, in words that this process may write.
#[derive(Clone, Copy)]
pub struct Writable<'m> {
    /// The tag that guards the words.
    pub tag: &'m AtomicU64,
    /// The row's words.
    pub words: &'m [AtomicU64],
}

/// Step 1 of the writer: hides a copy behind a tag above the commit. A release fence (`Point::HideRows`) must follow before
/// [`write()`].
#[inline]
pub fn hide(copy: &AtomicU64, tag: Tag) {
    // Relaxed: the fence that follows orders it before the words, the commit's release before being seen.
    store(copy, tag.0, Ordering::Relaxed);
}

/// Step 3 of the writer: the words.
///
/// # Panics
/// If `row` has another length than the copy.
#[inline]
pub fn write(copy: &[AtomicU64], row: &[u64]) {
    memory::store_words(row, copy);
}

impl Guarded<'_> {
    /// Copies the words into `row`, if they are those that `seen` was the tag of, from before to after.
    ///
    /// # Panics
    /// If `row` has another length than the copy.
    #[inline]
    pub fn try_read(&self, seen: Tag, row: &mut [u64]) -> bool {
        memory::copy_words(self.words, row);
        !applies(Point::RecheckRow) || self.is_still(seen)
    }

    /// Whether the tag is still `seen`, after everything that was loaded before.
    #[inline]
    pub fn is_still(&self, seen: Tag) -> bool {
        // Partner: the writer's fence between tags and words. A word of a later write was loaded: its tag is seen.
        fence(Point::RecheckTag, Ordering::Acquire);
        self.tag.load(Ordering::Relaxed) == seen.0
    }
}
