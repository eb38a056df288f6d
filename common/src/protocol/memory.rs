//! Memory in bulk: private memory on huge pages, and words of shared memory copied by vectors.
//!
//! A lookup at random among a million rows misses the translation buffer at every step, and that costs more than the rows'
//! own cache misses. Pages of 2 MiB make it reach; they also come by one page fault where small ones take 512.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::collections::TryReserveError;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::protocol::sync::{AtomicU64, Ordering, store};
use crate::protocol::word::ReadOnlyWord;

/// A huge page (of x86-64, and of AArch64 with pages of 4 KiB), in words.
const HUGE_WORDS: usize = (2 << 20) / 8;
/// From this size on memory is taken from the system, in whole pages of its own, and not from the allocator.
const LARGE_WORDS: usize = HUGE_WORDS / 2;
/// A cache line, in words, also where the layout has none, as in models.
const LINE_WORDS: usize = 8;

/// The system has no memory for so many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl From<TryReserveError> for NoMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// Makes `vector` at least `len` long, with zeros after the numbers it has.
///
/// # Errors
/// [`NoMemory`]; the vector is then as it was.
pub fn try_extend<T: bytemuck::Zeroable + Clone>(
    vector: &mut Vec<T>,
    len: usize,
) -> Result<(), NoMemory> {
    if vector.len() < len {
        vector.try_reserve(len - vector.len())?;
        vector.resize(len, T::zeroed());
    }
    Ok(())
}

/// Words of private memory that begin at a cache line, so that a row of a line's size takes one.
pub struct AlignedWords {
    first: NonNull<u64>,
    len: usize,
    /// How many there is room for. Beyond `len` they are zero.
    room: usize,
}

// SAFETY: it owns its words, as a vector does.
unsafe impl Send for AlignedWords {}
// SAFETY: as a vector's, they are changed by `&mut` only.
unsafe impl Sync for AlignedWords {}

impl Default for AlignedWords {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl AlignedWords {
    /// `words` words of zeros. Aborts the process if there is no memory for them.
    pub fn zeroed(words: usize) -> Self {
        Self::try_zeroed(words).unwrap_or_else(|NoMemory| {
            handle_alloc_error(layout(words).unwrap_or(Layout::new::<u64>()))
        })
    }

    /// `words` words of zeros.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn try_zeroed(words: usize) -> Result<Self, NoMemory> {
        let room = match words {
            // Whole huge pages only are given to where one can begin.
            LARGE_WORDS.. => words.checked_next_multiple_of(HUGE_WORDS).ok_or(NoMemory)?,
            _ => words,
        };
        let first = match room {
            0 => NonNull::dangling(),
            LARGE_WORDS.. => map(room)?,
            _ => {
                // SAFETY: the layout's size is not zero.
                let memory = unsafe { std::alloc::alloc_zeroed(layout(room)?) };
                NonNull::new(memory.cast()).ok_or(NoMemory)?
            }
        };
        Ok(Self {
            first,
            len: words,
            room,
        })
    }

    /// Extends it to at least `words` words, with zeros after those it has. Room is made for half as much again.
    /// Aborts the process if there is no memory for them.
    pub fn grow(&mut self, words: usize) {
        if self.try_grow(words).is_err() {
            handle_alloc_error(layout(words).unwrap_or(Layout::new::<u64>()));
        }
    }

    /// Extends it as [`grow`](Self::grow) does.
    ///
    /// # Errors
    /// [`NoMemory`]; it is then as it was.
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

impl Drop for AlignedWords {
    fn drop(&mut self) {
        let memory = self.first.cast();
        match self.room {
            0 => {}
            LARGE_WORDS.. => {
                // SAFETY: `map` mapped it, and nobody else knows it. A refusal leaves it mapped, which is no use to anybody.
                let _unmapped = unsafe { munmap(memory, self.room * 8) };
            }
            _ => {
                if let Ok(layout) = layout(self.room) {
                    // SAFETY: `try_zeroed` allocated it with this layout.
                    unsafe { std::alloc::dealloc(memory.as_ptr().cast(), layout) }
                }
            }
        }
    }
}

impl Deref for AlignedWords {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: `len` words from `first` on are this value's, aligned, and zero or what was written.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedWords {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

/// The layout of `words` words, which the allocator may be asked for.
fn layout(words: usize) -> Result<Layout, NoMemory> {
    let bytes = words.checked_mul(8).ok_or(NoMemory)?;
    Layout::from_size_align(bytes, LINE_WORDS * 8).map_err(|_| NoMemory)
}

/// Takes zeroed pages from the system, huge ones where it has them.
fn map(words: usize) -> Result<NonNull<u64>, NoMemory> {
    let size = layout(words)?.size();
    let size = NonZeroUsize::new(size).ok_or(NoMemory)?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: new pages, which nobody else has.
    let memory = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE) };
    let memory = memory.map_err(|_| NoMemory)?;
    // SAFETY: of these very pages. Where there are no huge ones it is refused, and all goes on.
    let _advice = unsafe { madvise(memory, size.get(), MmapAdvise::MADV_HUGEPAGE) };
    Ok(memory.cast())
}

/// Does `work` in a way that the compiler may use wide vectors for, where the processor has them.
#[inline]
pub fn by_vectors<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what it is compiled for.
            return unsafe { wide(work) };
        }
    }
    work()
}

/// Copies words that another process may be writing, each as by a relaxed load, in any order.
///
/// Rust makes no vectors of atomic loads, so this does it by hand where the processor promises what is needed: on x86-64 with AVX
/// an aligned load of 16 bytes is one access (Intel SDM volume 3, 9.1.1; AMD APM volume 2, 7.3.2), so both of its words are as
/// if loaded by themselves. Elsewhere, and where the words are not aligned so, they are loaded one by one.
///
/// # Panics
/// If one has another length than the other.
#[inline]
pub fn copy_words(from: &[ReadOnlyWord], to: &mut [u64]) {
    assert_eq!(from.len(), to.len(), "as many words as there is room for");
    let copied = copy_vectors(from, to);
    for (to, from) in to[copied..].iter_mut().zip(&from[copied..]) {
        // Relaxed: on a read-only mapping there is no other. The caller's fence gives it its order.
        *to = from.load(Ordering::Relaxed);
    }
}

/// Moves `steps` times eight words by vectors, with that instruction to load and that to store; the aligned one is for shared memory.
/// `ahead` is what fetches lines that are far from the first.
#[cfg(all(target_arch = "x86_64", not(loom)))]
macro_rules! move_vectors {
    ($ahead:literal, $load:literal, $from:expr, $store:literal, $to:expr, $steps:expr) => {
        std::arch::asm!(
            "2:",
            $ahead,
            concat!($load, " {a}, [{from}]"),
            concat!($load, " {b}, [{from} + 16]"),
            concat!($load, " {c}, [{from} + 32]"),
            concat!($load, " {d}, [{from} + 48]"),
            concat!($store, " [{to}], {a}"),
            concat!($store, " [{to} + 16], {b}"),
            concat!($store, " [{to} + 32], {c}"),
            concat!($store, " [{to} + 48], {d}"),
            "add {from}, 64",
            "add {to}, 64",
            "dec {steps}",
            "jnz 2b",
            from = inout(reg) $from => _,
            to = inout(reg) $to => _,
            steps = inout(reg) $steps => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        )
    };
}

/// How far ahead of a step its line is fetched, in steps.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const STEPS_AHEAD: usize = 8;

/// How many steps of [`move_vectors`] serve for these words of shared memory: none where vectors are not as words.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
fn vector_steps<W>(shared: &[W]) -> usize {
    let steps = shared.len() / LINE_WORDS;
    if steps > 0 && shared.as_ptr().addr().is_multiple_of(16) && is_x86_feature_detected!("avx") {
        steps
    } else {
        0
    }
}

/// Copies as many words as vectors serve for, from the first on, and returns how many these are.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
fn copy_vectors(from: &[ReadOnlyWord], to: &mut [u64]) -> usize {
    let steps = vector_steps(from);
    if steps > 0 {
        // SAFETY: reads and writes as many lines as both slices have. The reads are those of as many relaxed atomic loads, see
        // `copy_words`; nobody else has what is written to, by `&mut`.
        unsafe {
            let (from, to) = (from.as_ptr(), to.as_mut_ptr());
            if steps > STEPS_AHEAD {
                move_vectors!(
                    "prefetcht0 [{from} + 512]",
                    "movdqa",
                    from,
                    "movdqu",
                    to,
                    steps
                )
            } else {
                move_vectors!("", "movdqa", from, "movdqu", to, steps)
            }
        }
    }
    steps * LINE_WORDS
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
fn copy_vectors(_from: &[ReadOnlyWord], _to: &mut [u64]) -> usize {
    0
}

/// Stores words that other processes may be reading, each as by a relaxed store, in any order: what [`copy_words`] says of loads
/// holds for stores.
///
/// # Panics
/// If one has another length than the other.
#[inline]
pub fn store_words(from: &[u64], to: &[AtomicU64]) {
    assert_eq!(from.len(), to.len(), "as many words as there is room for");
    let stored = store_vectors(from, to);
    for (to, from) in to[stored..].iter().zip(&from[stored..]) {
        store(to, *from, Ordering::Relaxed);
    }
}

/// As [`copy_vectors`].
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
fn store_vectors(from: &[u64], to: &[AtomicU64]) -> usize {
    let steps = vector_steps(to);
    if steps > 0 {
        // SAFETY: as above; the writes are those of as many relaxed atomic stores.
        unsafe { move_vectors!("", "movdqu", from.as_ptr(), "movdqa", to.as_ptr(), steps) }
    }
    steps * LINE_WORDS
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
fn store_vectors(_from: &[u64], _to: &[AtomicU64]) -> usize {
    0
}

/// Has the processor fetch what is about to be looked at, while it does something else.
#[inline]
pub fn prefetch<T>(what: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, of memory that there is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _no_hint = what;
}

/// The same for words, of which the first `lines` cache lines are fetched: the processor guesses what follows.
#[inline]
pub fn prefetch_lines(words: &[ReadOnlyWord], lines: usize) {
    for line in words.chunks(LINE_WORDS).take(lines) {
        prefetch(&line[0]);
    }
}

/// Has the processor fetch what is about to be written, and take it from other cores, while it does something else.
#[inline]
pub fn prefetch_to_write<T>(what: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: as above. By hand, as `_mm_prefetch` makes it a hint to read unless told of a processor that has this one;
    // to others it is no operation.
    unsafe {
        std::arch::asm!(
            "prefetchw [{what}]",
            what = in(reg) std::ptr::from_ref(what),
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _no_hint = what;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::word::read_only;

    #[test]
    fn words_are_copied_wherever_they_stand_and_however_many() {
        let from: Vec<AtomicU64> = (0..100).map(AtomicU64::new).collect();
        for start in 0..20 {
            for length in 0..60 {
                let copied: Vec<u64> = (start as u64..).take(length).chain([u64::MAX]).collect();
                let mut to = vec![u64::MAX; length + 1];
                copy_words(read_only(&from[start..start + length]), &mut to[..length]);
                assert_eq!(to, copied, "{length} words from {start}");

                let to: Vec<_> = (0..=start + length)
                    .map(|_| AtomicU64::new(u64::MAX))
                    .collect();
                store_words(&copied[..length], &to[start..start + length]);
                let stored = to
                    .iter()
                    .skip(start)
                    .map(|word| word.load(Ordering::Relaxed));
                assert!(stored.eq(copied), "{length} words to {start}");
            }
        }
    }

    #[test]
    fn what_is_there_stays_and_what_comes_is_zero() {
        for mut size in [1, LARGE_WORDS - 4, 2 * LARGE_WORDS + 5] {
            let mut lines = AlignedWords::default();
            lines.grow(size);
            lines.fill(7);
            for more in [1, 3, size] {
                lines.grow(size + more);
                let memory = &mut lines;
                assert_eq!(memory.as_ptr().addr() % (LINE_WORDS * 8), 0);
                assert!(memory[..size].iter().all(|word| *word == 7));
                assert!(memory[size..].iter().all(|word| *word == 0));
                size += more;
                assert_eq!(memory.len(), size);
                memory.fill(7);
            }
        }
    }
}
