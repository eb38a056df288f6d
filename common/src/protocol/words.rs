//! Slices of words: shared words that can only be loaded, vectorized copies from and to shared
//! words, and iteration over bit sets.
#![allow(unsafe_code)]

use crate::memory::prefetch;
use crate::protocol::sync::{AtomicU64, Ordering, store};

/// Size of a cache line, in words.
const LINE_WORDS: usize = 8;

/// An [`AtomicU64`] without its stores. A read-only mapping provides these words, because a store
/// to it, which is safe to call, would end the process with SIGSEGV.
#[repr(transparent)]
pub struct ReadOnlyWord(AtomicU64);

impl ReadOnlyWord {
    /// Returns a word that holds `value`.
    #[cfg(all(test, not(loom)))]
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Loads the word. `ordering` must be `Relaxed`: Rust defines no other load from read-only
    /// memory (std::sync::atomic, "Atomic accesses to read-only memory").
    #[inline(always)]
    pub fn load(&self, ordering: Ordering) -> u64 {
        debug_assert!(matches!(ordering, Ordering::Relaxed));
        self.0.load(ordering)
    }
}

/// Returns a view of `words` without stores.
#[inline(always)]
pub fn read_only(words: &[AtomicU64]) -> &[ReadOnlyWord] {
    // SAFETY: `ReadOnlyWord` has the layout of `AtomicU64` (`repr(transparent)`), and the view has
    // the length and lifetime of the slice.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// Moves `steps` lines of eight words through vector registers, with the given load and store
/// instructions. The side that is in shared memory must use the aligned instruction. `ahead` is a
/// prefetch instruction, or empty.
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
/// A cache line in vector registers.
#[cfg(all(target_arch = "x86_64", not(loom)))]
type Line = [std::arch::x86_64::__m128i; 4];

/// Loads a line with aligned vector loads. The compiler can keep it in registers, and then moves
/// the row of which it is a part only once.
///
/// # Safety
/// `from` is valid for reading a line, and is aligned to 16 bytes.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
unsafe fn load_line(from: *const ReadOnlyWord) -> Line {
    let (a, b, c, d);
    // SAFETY: as the caller promises.
    unsafe {
        std::arch::asm!(
            "movdqa {a}, [{from}]",
            "movdqa {b}, [{from} + 16]",
            "movdqa {c}, [{from} + 32]",
            "movdqa {d}, [{from} + 48]",
            from = in(reg) from,
            a = lateout(xmm_reg) a,
            b = lateout(xmm_reg) b,
            c = lateout(xmm_reg) c,
            d = lateout(xmm_reg) d,
            options(nostack, readonly, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// Distance at which a copy prefetches, in lines.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const LINES_AHEAD: usize = 8;

/// Copies words that another process may be writing. Each word is copied as if by a relaxed load;
/// the order of the loads is unspecified.
///
/// Rust does not vectorize atomic loads, so this function does it where the processor guarantees
/// the result. On x86-64 with AVX an aligned load of 16 bytes is a single access (Intel SDM volume
/// 3, 9.1.1; AMD APM volume 2, 7.3.2), so each of its words is loaded atomically. On
/// other processors, and for words that are not aligned to 16 bytes, it loads one word at a time.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn copy_words(from: &[ReadOnlyWord], to: &mut [u64]) {
    assert_eq!(from.len(), to.len(), "source and destination must have the same length");
    let lines = vector_lines(from);
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    if lines > 0 {
        let copied = from.len() / LINE_WORDS * LINE_WORDS;
        if lines > LINES_AHEAD {
            // SAFETY: the source is aligned, as `vector_lines` has found.
            unsafe { copy_many_lines(&from[..copied], &mut to[..copied]) };
        } else {
            for at in (0..copied).step_by(LINE_WORDS) {
                // SAFETY: both slices have at least `copied` words, and the source is aligned. The
                // reads are relaxed atomic loads, see above.
                unsafe {
                    let line = load_line(from.as_ptr().add(at));
                    to.as_mut_ptr().add(at).cast::<Line>().write_unaligned(line);
                }
            }
        }
        return load_words(&from[copied..], &mut to[copied..]);
    }
    let _by_words = lines;
    load_words(from, to);
}

/// Copies whole lines, at least one, with a prefetch of those that follow.
///
/// # Safety
/// `from` is aligned to 16 bytes.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(never)]
unsafe fn copy_many_lines(from: &[ReadOnlyWord], to: &mut [u64]) {
    let lines = from.len().min(to.len()) / LINE_WORDS;
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: both slices have at least `lines` lines. The reads are relaxed atomic loads, see `copy_words`.
    // `&mut` excludes other accesses to the destination.
    unsafe { move_vectors!("prefetcht0 [{from} + 512]", "movdqa", from, "movdqu", to, lines) }
}

/// Copies words one by one; `from` may be longer than `to`.
#[inline(always)]
fn load_words(from: &[ReadOnlyWord], to: &mut [u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        // Relaxed: a read-only mapping allows no other load. The caller's fence orders it.
        *to = from.load(Ordering::Relaxed);
    }
}

/// Copies at most 64 rows of `row_words` words that another process may be writing. Row `i` comes from
/// the second of the two copies if bit `i` of `second` is set. The order of the loads is unspecified.
///
/// The caller must check afterwards whether a row was overwritten, because its words may be torn: the
/// copy uses vectors of 32 bytes, which are not atomic.
///
/// # Panics
/// If the copies are shorter than `to`, or if `to` does not hold whole rows.
// Not inlined: the loop of the caller would lose its registers to the vectors.
#[inline(never)]
pub fn copy_rows(copies: [&[ReadOnlyWord]; 2], second: u64, row_words: usize, to: &mut [u64]) {
    let [first, other] = copies.map(|copy| &copy[..to.len()]);
    assert!(to.len().is_multiple_of(row_words), "whole rows");
    let all = u64::MAX.checked_shr(64 - (to.len() / row_words) as u32).unwrap_or(0);
    // Rows that all come from the same copy are moved together.
    let is_mixed = second & all != 0 && second & all != all;
    let step = if is_mixed { row_words } else { to.len().max(1) };
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    if step >= VECTOR_WORDS && HAS_AVX.load(Ordering::Relaxed) {
        let (mut second, mut start) = (second, 0);
        while start < to.len() {
            let from = if second & 1 == 1 { other } else { first };
            // SAFETY: all three slices hold `step` words from `start` on.
            unsafe { move_wide(from.as_ptr().add(start), to.as_mut_ptr().add(start), step) };
            (second, start) = (second >> 1, start + step);
        }
        // SAFETY: the processor has the instruction. It changes the upper halves of all vector
        // registers, which `clobber_abi` declares.
        unsafe { std::arch::asm!("vzeroupper", clobber_abi("sysv64"), options(nostack)) };
        return;
    }
    for (number, to) in to.chunks_mut(step).enumerate() {
        let from = if second >> number & 1 == 1 { other } else { first };
        load_words(&from[number * step..], to);
    }
}

/// Number of words in the vectors of [`move_wide`].
#[cfg(all(target_arch = "x86_64", not(loom)))]
const VECTOR_WORDS: usize = 4;

/// Moves at least [`VECTOR_WORDS`] words. The last vector may overlap the one before it.
///
/// # Safety
/// The processor has AVX, and both pointers are valid for `words` words.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
unsafe fn move_wide(from: *const ReadOnlyWord, to: *mut u64, words: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        std::arch::asm!(
            "2:",
            "vmovdqu ymm0, [{from} + {at}]",
            "vmovdqu [{to} + {at}], ymm0",
            "add {at}, 32",
            "cmp {at}, {last}",
            "jb 2b",
            "vmovdqu ymm0, [{from} + {last}]",
            "vmovdqu [{to} + {last}], ymm0",
            from = in(reg) from,
            to = in(reg) to,
            at = inout(reg) 0usize => _,
            last = in(reg) (words - VECTOR_WORDS) * size_of::<u64>(),
            out("xmm0") _,
            options(nostack),
        );
    }
}

/// Stores words that other processes may be reading. Each word is stored as if by a relaxed store;
/// the order of the stores is unspecified. Aligned vector stores are atomic like the vector loads
/// of [`copy_words`].
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn store_words(from: &[u64], to: &[AtomicU64]) {
    assert_eq!(from.len(), to.len(), "source and destination must have the same length");
    let stored = vector_lines(to) * LINE_WORDS;
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    if stored > 0 {
        let lines = stored / LINE_WORDS;
        // SAFETY: both slices have at least `stored` words. The writes are relaxed atomic stores.
        unsafe { move_vectors!("", "movdqu", from.as_ptr(), "movdqa", to.as_ptr(), lines) }
    }
    for (to, from) in to[stored..].iter().zip(&from[stored..]) {
        store(to, *from, Ordering::Relaxed);
    }
}

/// True if [`detect_vectors`] has found AVX, with which aligned accesses of 16 bytes are atomic. The
/// macro of the standard library contains a call, around which a copy could not stay in registers.
#[cfg(all(target_arch = "x86_64", not(loom)))]
static HAS_AVX: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes copies use vectors, if the processor allows it.
pub fn detect_vectors() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    HAS_AVX.store(is_x86_feature_detected!("avx"), Ordering::Relaxed);
}

/// Returns the number of lines at the beginning of shared memory that vectors may access.
#[inline]
fn vector_lines<W>(shared: &[W]) -> usize {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        let lines = shared.len() / LINE_WORDS;
        let is_aligned = shared.as_ptr().addr().is_multiple_of(16);
        if lines > 0 && is_aligned && HAS_AVX.load(Ordering::Relaxed) {
            return lines;
        }
    }
    let _words = shared;
    0
}

/// Calls `work`, compiled for wide vectors if the processor has them.
#[inline]
pub fn by_vectors<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { wide(work) };
        }
    }
    work()
}

/// Prefetches the first `lines` cache lines of `words`. The processor predicts the following ones.
#[inline]
pub fn prefetch_lines(words: &[ReadOnlyWord], lines: usize) {
    for line in words.chunks(LINE_WORDS).take(lines) {
        prefetch(&line[0]);
    }
}

/// Returns the numbers of the bits that are set.
#[inline]
pub fn set_bits(words: &[u64]) -> SetBits<'_> {
    SetBits { words, word: 0, bits: words.first().copied().unwrap_or(0) }
}

/// Iterator of [`set_bits`].
#[derive(Clone)]
pub struct SetBits<'w> {
    words: &'w [u64],
    word: usize,
    bits: u64,
}

impl Iterator for SetBits<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            self.bits = *self.words.get(self.word + 1)?;
            self.word += 1;
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.word * 64 + bit)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Result of a method that `ReadOnlyWord` does not have.
    struct Absent;

    /// An inherent method with one of these names would take precedence over the trait's, and the
    /// test would not compile.
    trait Stores {
        fn store(&self, _value: u64, _ordering: Ordering) -> Absent {
            Absent
        }
        fn swap(&self, _value: u64, _ordering: Ordering) -> Absent {
            Absent
        }
        fn fetch_max(&self, _value: u64, _ordering: Ordering) -> Absent {
            Absent
        }
    }

    impl Stores for ReadOnlyWord {}

    #[test]
    fn store_to_a_read_only_word_does_not_compile() {
        let word = ReadOnlyWord::new(7);
        let Absent = word.store(8, Ordering::Relaxed);
        let Absent = word.swap(8, Ordering::Relaxed);
        let Absent = word.fetch_max(8, Ordering::Relaxed);
        assert_eq!(word.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn words_are_copied_at_any_alignment_and_in_any_number() {
        detect_vectors();
        let from: Vec<AtomicU64> = (0..100).map(AtomicU64::new).collect();
        for start in 0..20 {
            for length in 0..60 {
                let copied: Vec<u64> = (start as u64..).take(length).chain([u64::MAX]).collect();
                let mut to = vec![u64::MAX; length + 1];
                copy_words(read_only(&from[start..start + length]), &mut to[..length]);
                assert_eq!(to, copied, "{length} words from {start}");

                let to: Vec<_> = (0..=start + length).map(|_| AtomicU64::new(u64::MAX)).collect();
                store_words(&copied[..length], &to[start..start + length]);
                let stored = to.iter().skip(start);
                let stored = stored.map(|word| word.load(Ordering::Relaxed));
                assert!(stored.eq(copied), "{length} words to {start}");
            }
        }
    }

    #[test]
    fn each_row_is_copied_from_the_copy_that_its_bit_selects() {
        detect_vectors();
        let copies = [0, 1000]
            .map(|first| (first..first + 64 * 9 + 4).map(AtomicU64::new).collect::<Vec<_>>());
        for (row_words, rows, start) in
            (1..10).flat_map(|width| [1, 2, 63, 64].map(|rows| (width, rows, width % 4)))
        {
            for second in [0, u64::MAX, 0xa5a5_0ff0_1234_8001] {
                let all = copies.each_ref().map(|copy| read_only(&copy[start..]));
                let mut to = vec![u64::MAX; rows * row_words + 1];
                copy_rows(all, second, row_words, &mut to[..rows * row_words]);
                let word =
                    |at: usize| (start + at) as u64 + 1000 * (second >> (at / row_words) & 1);
                let expected = (0..rows * row_words).map(word).chain([u64::MAX]);
                assert!(to.into_iter().eq(expected), "{rows} rows of {row_words}, {second:x}");
            }
        }
    }

    #[test]
    fn set_bits_are_found_in_all_words() {
        let numbers = |bits: &[u64]| set_bits(bits).collect::<Vec<_>>();
        assert_eq!(numbers(&[0, 1 << 63 | 1, 0, 2]), [64, 127, 193]);
        assert_eq!(numbers(&[u64::MAX]), (0..64).collect::<Vec<_>>());
    }
}
