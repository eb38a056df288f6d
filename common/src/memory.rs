//! Private memory: words on huge pages, and vectors that are reused.
//!
//! A random lookup among a million rows misses the TLB (translation lookaside buffer) at every
//! step, which costs more than the cache misses of the rows themselves. Huge pages (2 MiB) avoid
//! that, and one page fault provides one of them instead of 512 small ones.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use bytemuck::allocation::try_zeroed_vec;
use bytemuck::{Pod, Zeroable};
use memmap2::{Advice, MmapMut, MmapOptions};

/// Size of a huge page (on x86-64, and on AArch64 with pages of 4 KiB), in words.
pub const HUGE_WORDS: usize = (2 << 20) / 8;
/// Minimum size, in words, that is mapped from the system in whole huge pages. The allocator
/// provides smaller sizes.
const LARGE_WORDS: usize = HUGE_WORDS / 2;
/// Maximum ratio of a [`Scratch`]'s capacity to the need of recent uses. [`Scratch::recycle`] frees
/// memory above it.
const SLACK: usize = 4;
/// Number of items for which a [`Scratch`] always keeps memory.
const LEAST: usize = 64;

/// The system does not have enough memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl From<TryReserveError> for NoMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// Extends `vector` with zeros to at least `len` items.
///
/// # Errors
/// [`NoMemory`]; the vector is unchanged in that case.
pub fn try_extend<T: Zeroable + Clone>(vector: &mut Vec<T>, len: usize) -> Result<(), NoMemory> {
    if vector.len() < len {
        vector.try_reserve(len - vector.len())?;
        vector.resize(len, T::zeroed());
    }
    Ok(())
}

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Words that begin at a cache line, so that a row of the size of a line occupies one line.
pub struct AlignedWords {
    first: NonNull<u64>,
    len: usize,
    /// Number of allocated words. The words from `len` on are zero.
    room: usize,
    /// The allocation, which ends with this value.
    _memory: Memory,
}

enum Memory {
    Lines { _owner: Vec<Line> },
    Pages { _owner: MmapMut },
}

// SAFETY: `AlignedWords` owns its words, as a vector does.
unsafe impl Send for AlignedWords {}
// SAFETY: the words only change through `&mut`, as those of a vector do.
unsafe impl Sync for AlignedWords {}

impl Default for AlignedWords {
    fn default() -> Self {
        Self::try_zeroed(0).unwrap_or_else(|NoMemory| out_of_memory(0))
    }
}

impl AlignedWords {
    /// Returns `words` zeros.
    pub fn try_zeroed(words: usize) -> Result<Self, NoMemory> {
        let (first, room, memory) = if words < LARGE_WORDS {
            let mut lines = try_zeroed_vec::<Line>(words.div_ceil(8)).map_err(|()| NoMemory)?;
            let first = NonNull::from(lines.as_mut_slice()).cast();
            (first, lines.len() * 8, Memory::Lines { _owner: lines })
        } else {
            // The kernel uses a huge page only where a whole one fits.
            let room = words.checked_next_multiple_of(HUGE_WORDS).ok_or(NoMemory)?;
            let size = room.checked_mul(8).ok_or(NoMemory)?;
            let mut pages = MmapOptions::new().len(size).map_anon().map_err(|_| NoMemory)?;
            // On a system without huge pages the call fails and has no effect.
            let _advice = pages.advise(Advice::HugePage);
            (NonNull::from(&mut *pages).cast(), room, Memory::Pages { _owner: pages })
        };
        Ok(Self { first, len: words, room, _memory: memory })
    }

    /// Extends the slice with zeros to at least `words` words. The allocation grows by at least
    /// half.
    ///
    /// # Errors
    /// [`NoMemory`]; the slice is unchanged in that case.
    pub fn try_grow(&mut self, words: usize) -> Result<(), NoMemory> {
        if words > self.room {
            let mut larger = Self::try_zeroed(words.max(self.len + self.len / 2))?;
            larger[..self.len].copy_from_slice(self);
            larger.len = self.len;
            *self = larger;
        }
        self.len = self.len.max(words);
        Ok(())
    }
}

impl Deref for AlignedWords {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: `_memory` owns `len` words from `first` on. They are aligned and initialized.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedWords {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `deref`; `&mut self` excludes other references.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

/// Aborts the process because there is not enough memory for `words` words.
pub fn out_of_memory(words: usize) -> ! {
    handle_alloc_error(Layout::array::<u64>(words).unwrap_or(Layout::new::<u64>()))
}

/// A vector that keeps its memory between uses, up to [`SLACK`] times the need of recent uses.
#[derive(Debug)]
pub struct Scratch<T> {
    items: Vec<T>,
    /// Length of the longest recent use. Each use reduces it by an eighth.
    recent: usize,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        let (items, recent) = (Vec::new(), 0);
        Self { items, recent }
    }
}

impl<T> Scratch<T> {
    /// Ends a use: empties the vector and frees memory that recent uses did not need. An empty use
    /// is ignored, so a caller can poll for work often without losing the buffer.
    #[inline]
    pub fn recycle(&mut self) {
        if self.items.is_empty() {
            return;
        }
        self.recent = self.items.len().max(self.recent - self.recent / 8);
        self.items.clear();
        let needed = self.recent.max(LEAST);
        if self.items.capacity() > SLACK * needed {
            self.items.shrink_to(needed);
        }
    }
}

impl<T> Deref for Scratch<T> {
    type Target = Vec<T>;

    #[inline]
    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> DerefMut for Scratch<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

/// Prefetches the cache line of `value` for reading.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint about an existing value.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _no_hint = value;
}

/// Prefetches the cache line of `value` for writing, which takes it from other cores.
#[cfg(not(loom))]
#[inline]
pub fn prefetch_to_write<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint about an existing value. `_mm_prefetch` would compile to a hint for reading
    // unless the target has this instruction; on processors without it, it has no effect.
    unsafe {
        std::arch::asm!(
            "prefetchw [{value}]",
            value = in(reg) std::ptr::from_ref(value),
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _no_hint = value;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn grown_words_keep_their_values_and_the_new_ones_are_zero() {
        for mut size in [1, LARGE_WORDS - 4, 2 * LARGE_WORDS + 5] {
            let mut words = AlignedWords::default();
            words.try_grow(size).unwrap();
            words.fill(7);
            for more in [1, 3, size] {
                words.try_grow(size + more).unwrap();
                assert_eq!(words.as_ptr().addr() % size_of::<Line>(), 0);
                assert!(words[..size].iter().all(|word| *word == 7));
                assert!(words[size..].iter().all(|word| *word == 0));
                size += more;
                assert_eq!(words.len(), size);
                words.fill(7);
            }
        }
    }

    #[test]
    fn scratch_shrinks_after_one_large_use_and_is_kept_for_alternating_ones() {
        let mut scratch = Scratch::default();
        let mut use_it = |items: usize| {
            scratch.extend(0..items);
            scratch.recycle();
            assert!(scratch.is_empty());
            scratch.capacity()
        };
        assert!(use_it(1_000_000) >= 1_000_000);
        assert!(use_it(0) >= 1_000_000, "an empty use does not count");
        let shrunk = (0..100).map(|_| use_it(1_000)).collect::<Vec<_>>();
        assert!(shrunk[99] <= SLACK * 1_000, "{shrunk:?}");
        let reallocations = shrunk.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(reallocations < 10, "{shrunk:?}");

        let kept = use_it(10_000);
        for items in [10, 10_000, 10, 10_000] {
            assert_eq!(use_it(items), kept);
        }
    }
}
