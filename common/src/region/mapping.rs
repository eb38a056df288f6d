//! Shared memory as words. The only place where a mapping is made into references.
#![allow(unsafe_code)]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicU32;

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::fault::Watched;
use super::fork::Creator;
use crate::sync::AtomicU64;

/// A shared mapping of a file. It may reach beyond the file's end, so that the file can grow under it.
pub struct Mapping {
    raw: ManuallyDrop<MmapRaw>,
    words: usize,
    process: Creator,
    /// Taken before the memory is unmapped.
    watched: Option<Watched>,
}

impl Mapping {
    /// Maps `words` of `file` to read and write.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read_write(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new().len(words * 8).map_raw(file)?;
        Self::of(raw, words, true)
    }

    /// Maps `words` of `file` to read only: a store through it is stopped by the processor.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read_only(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new().len(words * 8).map_raw_read_only(file)?;
        Self::of(raw, words, false)
    }

    fn of(raw: MmapRaw, words: usize, writable: bool) -> std::io::Result<Self> {
        // A child of fork must not write what its parent publishes, nor park in its name.
        raw.advise(Advice::DontFork)?;
        let watched = Some(Watched::new(raw.as_ptr(), raw.len(), writable));
        Ok(Self {
            raw: ManuallyDrop::new(raw),
            words,
            process: Creator::this_process(),
            watched,
        })
    }

    /// The lower half of word `word`, for the kernel to sleep on. Nobody loads or stores through it.
    ///
    /// # Panics
    /// If that is beyond the mapping.
    #[inline]
    pub fn low_half(&self, word: usize) -> &AtomicU32 {
        let word: *const AtomicU64 = &self.words(word + 1)[word];
        // SAFETY: the low half of a little-endian word stands first, is aligned and lives as long as `self`, whose borrow the
        // reference carries. Only its address is used, by the kernel: no access of 4 bytes is ever made to what others access
        // by 8.
        unsafe { &*word.cast::<AtomicU32>() }
    }

    /// Whether no access went beyond the end of the file.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_whole)
    }

    /// The first `words` words. They should be within the file: beyond its end there are zeros, and the mapping
    /// [is not whole](Self::is_whole) any more.
    ///
    /// # Panics
    /// If they are beyond the mapping.
    #[inline]
    pub fn words(&self, words: usize) -> &[AtomicU64] {
        assert!(
            words <= self.words,
            "{words} words of a mapping of {}",
            self.words
        );
        // SAFETY: the mapping is at least `self.words * 8` bytes long, is page-aligned and lives as long as `self`, whose
        // borrow the slice carries. Other processes write to the memory, but it is only ever accessed as atomics, from
        // this process by this very slice. On a read-only mapping only relaxed loads of 8 bytes are made, which the
        // standard library allows there (std::sync::atomic, "Atomic accesses to read-only memory").
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast::<AtomicU64>(), words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watched = None;
        // In a child of fork the mapping is not there, and its addresses may be somebody else's by now.
        if self.process.is_this_process() {
            // SAFETY: `raw` is not used after this: it is dropped here only, and `self` is going.
            unsafe { ManuallyDrop::drop(&mut self.raw) }
        }
    }
}
