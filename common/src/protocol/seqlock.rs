//! One guarded copy of a row.
//!
//! A seqlock with two copies of each row: a reader always finds a copy that the writer is not
//! writing (Lameter 2005 and Boehm 2012 for the ordering; two copies as in Kopetz's non-blocking
//! write protocol):
//!
//! 1. The writer stores a tag that no reader accepts, executes a release fence, stores the words,
//!    and later stores the commit that makes the tag acceptable.
//! 2. The reader accepts a tag, copies the words, executes an acquire fence, and loads the tag
//!    again. If any copied word came from a later write, the fences make the second load return
//!    that write's tag.
//!
//! This module is not for data written by several threads. It does not know the commit number that
//! decides which tag counts: that is the job of [`table`](crate::protocol).

use crate::protocol::layout::Tag;
use crate::protocol::memory;
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, store};
use crate::protocol::word::ReadOnlyWord;

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

/// Step 1 of the writer: hides a copy behind a tag above the commit. A release fence
/// (`Point::HideRows`) must follow before [`write()`].
#[inline]
pub fn hide(copy: &AtomicU64, tag: Tag) {
    // Relaxed: the fence that follows orders this store before the words, and the release of the
    // commit makes it visible.
    store(copy, tag.0, Ordering::Relaxed);
}

/// Stores the words of a copy, after the writer's fence.
///
/// # Panics
/// If `row` and the copy differ in length.
#[inline]
pub fn write(copy: &[AtomicU64], row: &[u64]) {
    memory::store_words(row, copy);
}

impl Guarded<'_> {
    /// Copies the words into `row` and returns true if the tag was still `seen` after the copy.
    ///
    /// # Panics
    /// If `row` and the copy differ in length.
    #[inline]
    pub fn try_read(&self, seen: Tag, row: &mut [u64]) -> bool {
        memory::copy_words(self.words, row);
        !applies(Point::RecheckRow) || self.is_still(seen)
    }

    /// Returns true if the tag is still `seen` after all earlier loads.
    #[inline]
    pub fn is_still(&self, seen: Tag) -> bool {
        // Partner: the writer's fence between tags and words. If an earlier load returned a word of
        // a later write, the load below returns that write's tag.
        fence(Point::RecheckTag, Ordering::Acquire);
        self.tag.load(Ordering::Relaxed) == seen.0
    }
}
