//! Shared memory as words. The only place where a mapping is made into references.
//!
//! A [`Mapping`] is for reading: its words have no store. A [`WritableMapping`] was mapped to read and write, and adds words that
//! have one.
#![allow(unsafe_code)]

use std::borrow::Borrow;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::atomic::AtomicU32;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::thread::futex::{Flags, Timespec, wait_bitset, wake, wake_bitset};

use super::fork::Creator;
use super::sigbus::Watched;
use crate::sync::AtomicU64;
use crate::word::ReadOnlyWord;

/// A shared mapping of a file, for reading. It may reach beyond the file's end, so that the file can grow under it.
pub struct Mapping {
    raw: ManuallyDrop<MmapRaw>,
    words: usize,
    process: Creator,
    /// Taken before the memory is unmapped.
    watched: Option<Watched>,
}

impl Mapping {
    /// Maps `words` of `file` to read only.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read_only(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new()
            .len(bytes(words)?)
            .map_raw_read_only(file)?;
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

    /// Returns the lower half of word `word`, for the kernel to sleep on.
    ///
    /// # Panics
    /// If that is beyond the mapping.
    #[inline]
    pub fn futex(&self, word: usize) -> FutexWord<'_> {
        let word: *const ReadOnlyWord = &self.words(word.saturating_add(1))[word];
        // SAFETY: the low half of a little-endian word stands first, is aligned and lives as long as `self`, whose borrow the
        // reference carries. Only its address is used, by the kernel: `FutexWord` makes no access of 4 bytes to what others
        // access by 8.
        FutexWord(unsafe { &*word.cast::<AtomicU32>() })
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
    pub fn words(&self, words: usize) -> &[ReadOnlyWord] {
        assert!(
            words <= self.words,
            "{words} words of a mapping of {}",
            self.words
        );
        // SAFETY: the mapping is at least `self.words * 8` bytes long, is page-aligned and lives as long as `self`, whose
        // borrow the slice carries. Other processes write to the memory, but it is only ever accessed as atomics, from
        // this process by slices of this function and of `writable_words`. `ReadOnlyWord` makes relaxed loads of 8 bytes only,
        // which the standard library allows on read-only memory (std::sync::atomic, "Atomic accesses to read-only memory").
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast::<ReadOnlyWord>(), words) }
    }
}

/// Returns the size of `words` words in bytes.
///
/// # Errors
/// `InvalidInput` if no slice can be that long.
fn bytes(words: usize) -> std::io::Result<usize> {
    words
        .checked_mul(8)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or(std::io::ErrorKind::InvalidInput.into())
}

/// A shared mapping of a file, for reading and writing.
pub struct WritableMapping(Mapping);

impl WritableMapping {
    /// Maps `words` of `file` to read and write.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new().len(bytes(words)?).map_raw(file)?;
        Mapping::of(raw, words, true).map(Self)
    }

    /// Returns the first `words` words, as [`Mapping::words`] does.
    ///
    /// # Panics
    /// If they are beyond the mapping.
    #[inline]
    pub fn writable_words(&self, words: usize) -> &[AtomicU64] {
        let words = self.0.words(words);
        // SAFETY: `ReadOnlyWord` is an `AtomicU64` (`repr(transparent)`), and `new` mapped the memory to be written.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<AtomicU64>(), words.len()) }
    }
}

impl Deref for WritableMapping {
    type Target = Mapping;

    #[inline]
    fn deref(&self) -> &Mapping {
        &self.0
    }
}

impl Borrow<Mapping> for WritableMapping {
    #[inline]
    fn borrow(&self) -> &Mapping {
        &self.0
    }
}

/// Half a word that the kernel sleeps on. It can be neither loaded nor stored: others access it as a part of its word.
#[derive(Clone, Copy)]
pub struct FutexWord<'m>(&'m AtomicU32);

impl FutexWord<'_> {
    /// Sleeps while the half word is `expected`, at most until `until` on CLOCK_MONOTONIC, or until a wake-up by one of `bits`.
    ///
    /// # Errors
    /// `AGAIN` if the half word is not `expected`, `TIMEDOUT`, `INTR`, and other errors of the system.
    pub fn wait(
        self,
        expected: u32,
        until: Option<&Timespec>,
        bits: NonZeroU32,
    ) -> rustix::io::Result<()> {
        wait_bitset(self.0, Flags::empty(), expected, until, bits)
    }

    /// Wakes every sleeper.
    #[inline]
    pub fn wake_all(self) {
        // It can only fail where the mapping is gone, and with it the table.
        let _hint = wake(self.0, Flags::empty(), i32::MAX as u32);
    }

    /// Wakes every sleeper that waits for one of `bits`.
    pub fn wake_bits(self, bits: NonZeroU32) {
        let _hint = wake_bitset(self.0, Flags::empty(), i32::MAX as u32, bits);
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
