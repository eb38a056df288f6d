//! Shared memory as words. This is the only place where a mapping is turned into references.
//!
//! A [`Mapping`] is read-only: its words have no store. A [`WritableMapping`] is mapped for reading
//! and writing, and adds words that have one.
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
use crate::memory::HUGE_WORDS;
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::protocol::words::{ReadOnlyWord, detect_vectors};

/// A shared read-only mapping of a file. It may extend beyond the end of the file, so that the file
/// can grow under it.
pub struct Mapping {
    raw: ManuallyDrop<MmapRaw>,
    words: usize,
    process: Creator,
    /// The mapping's entry in the list of watched mappings. Dropped before the memory is unmapped.
    watched: Option<Watched>,
}

impl Mapping {
    pub fn read_only(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new().len(bytes(words)?).map_raw_read_only(file)?;
        Self::of(raw, words, false)
    }

    fn of(raw: MmapRaw, words: usize, writable: bool) -> std::io::Result<Self> {
        // A child of fork must not write to its parent's table, nor park as its parent.
        raw.advise(Advice::DontFork)?;
        detect_vectors();
        if words >= HUGE_WORDS {
            // The kernel follows this if /dev/shm is mounted with `huge=advise`, and otherwise
            // ignores it or returns an error.
            let _advice = raw.advise(Advice::HugePage);
        }
        let watched = Some(Watched::new(raw.as_ptr(), raw.len(), writable));
        Ok(Self { raw: ManuallyDrop::new(raw), words, process: Creator::this_process(), watched })
    }

    /// Returns the lower half of word `word`, which the kernel can wait on. Panics if the word is
    /// beyond the mapping.
    #[inline]
    pub fn futex(&self, word: usize) -> FutexWord<'_> {
        let word: *const ReadOnlyWord = &self.words(word.saturating_add(1))[word];
        // SAFETY: the low half of a little-endian word comes first and is aligned. It lives as long
        // as `self`, whose borrow the reference carries. Only the kernel uses its address:
        // `FutexWord` makes no 4-byte access to memory that is otherwise accessed by 8 bytes.
        FutexWord(unsafe { &*word.cast::<AtomicU32>() })
    }

    /// Returns true if every access so far was within the file.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_whole)
    }

    /// Returns the number of bytes that huge pages back, after a load from each huge page. Returns
    /// None if the file was truncated, or if the system does not say.
    pub fn huge_bytes(&self) -> Option<u64> {
        for word in self.words(self.words).iter().step_by(HUGE_WORDS) {
            let _value = word.load(Ordering::Relaxed);
            if !self.is_whole() {
                return None;
            }
        }
        let start = format!("{:x}-", self.raw.as_ptr().addr());
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let mut own = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let kib = own.find_map(|line| line.strip_prefix("ShmemPmdMapped:"))?;
        Some(kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    #[inline(always)]
    pub fn all_words(&self) -> &[ReadOnlyWord] {
        self.words(self.words)
    }

    /// Returns the first `words` words. They should be within the file. A read beyond the end of
    /// the file returns zeros, and the mapping [is not whole](Self::is_whole) any more.
    ///
    /// # Panics
    /// Panics if the words are beyond the mapping.
    #[inline(always)]
    pub fn words(&self, words: usize) -> &[ReadOnlyWord] {
        assert!(words <= self.words, "more words than the mapping has");
        // SAFETY: the mapping is at least `self.words * 8` bytes long, is page-aligned and lives as
        // long as `self`, whose borrow the slice carries. Other processes write to the memory, but
        // this process accesses it only through atomics, by this slice and that of
        // `writable_words`. `ReadOnlyWord` makes only relaxed 8-byte loads, which are allowed on
        // read-only memory (std::sync::atomic, "Atomic accesses to read-only memory").
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast::<ReadOnlyWord>(), words) }
    }
}

/// Returns the size of `words` words in bytes, or an error if no slice can be that long.
fn bytes(words: usize) -> std::io::Result<usize> {
    words
        .checked_mul(8)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or(std::io::ErrorKind::InvalidInput.into())
}

/// A shared mapping of a file for reading and writing.
pub struct WritableMapping(Mapping);

impl WritableMapping {
    pub fn new(file: &File, words: usize) -> std::io::Result<Self> {
        let raw = MmapOptions::new().len(bytes(words)?).map_raw(file)?;
        Mapping::of(raw, words, true).map(Self)
    }

    /// Returns the first `words` words, as [`Mapping::words`] does.
    #[inline]
    pub fn writable_words(&self, words: usize) -> &[AtomicU64] {
        let words = self.0.words(words);
        // SAFETY: `ReadOnlyWord` is an `AtomicU64` (`repr(transparent)`), and `new` mapped the
        // memory as writable.
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

/// Half a word that the kernel can wait on. It can be neither loaded nor stored, because other code
/// accesses it as a part of its word.
#[derive(Clone, Copy)]
pub struct FutexWord<'m>(&'m AtomicU32);

impl FutexWord<'_> {
    /// Waits for a wake-up for one of `bits`, at most until `until` on CLOCK_MONOTONIC. Returns
    /// `AGAIN` at once if the half word is not `expected`.
    pub fn wait(
        self,
        expected: u32,
        until: Option<&Timespec>,
        bits: NonZeroU32,
    ) -> rustix::io::Result<()> {
        wait_bitset(self.0, Flags::empty(), expected, until, bits)
    }

    #[inline]
    pub fn wake_all(self) {
        // It can only fail if the mapping, and therefore the table, is gone.
        let _hint = wake(self.0, Flags::empty(), i32::MAX as u32);
    }

    pub fn wake_bits(self, bits: NonZeroU32) {
        let _hint = wake_bitset(self.0, Flags::empty(), i32::MAX as u32, bits);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watched = None;
        // A child of fork does not have the mapping, and its addresses may be in use for something
        // else.
        if self.process.is_this_process() {
            // SAFETY: `raw` is not used after this. It is dropped only here, while `self` is being
            // dropped.
            unsafe { ManuallyDrop::drop(&mut self.raw) }
        }
    }
}
