//! Memory in bulk: private memory on huge pages, and words of shared memory copied by vectors.
//!
//! A lookup at random among a million rows misses the translation buffer at every step, and that costs more than the rows'
//! own cache misses. Pages of 2 MiB make it reach; they also come by one page fault where small ones take 512.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

use crate::sync::{AtomicU64, Ordering};

/// The size of a huge page (x86-64, and AArch64 with pages of 4 KiB), in words.
const HUGE_WORDS: usize = (2 << 20) / 8;
const PAGE: usize = 4096;

/// So many words of zeros.
pub fn zeroed(words: usize) -> Vec<u64> {
    let mut memory = vec![0; words];
    advise(&mut memory);
    memory
}

/// Makes it at least so many words, with zeros after those it has. Each growth makes room for half as much again.
pub fn grow(memory: &mut Vec<u64>, words: usize) {
    if words > memory.capacity() {
        let mut larger = zeroed(words.max(memory.len() + memory.len() / 2));
        larger[..memory.len()].copy_from_slice(memory);
        larger.truncate(words);
        *memory = larger;
    } else if words > memory.len() {
        memory.resize(words, 0);
    }
}

/// Asks for huge pages. Where the system has none it says so, and everything goes on as it is.
fn advise(memory: &mut Vec<u64>) {
    if memory.capacity() < HUGE_WORDS {
        return;
    }
    let start = memory.as_mut_ptr() as usize;
    let first = start.next_multiple_of(PAGE);
    let end = (start + memory.capacity() * 8) / PAGE * PAGE;
    let Some(first_page) = NonNull::new(first as *mut _) else {
        return;
    };
    // SAFETY: the pages are within the vector's memory, and this advice changes nothing that stands there.
    let _advice = unsafe { madvise(first_page, end - first, MmapAdvise::MADV_HUGEPAGE) };
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
pub fn copy_words(from: &[AtomicU64], to: &mut [u64]) {
    assert_eq!(from.len(), to.len(), "as many words as there is room for");
    let copied = copy_vectors(from, to);
    for (to, from) in to[copied..].iter_mut().zip(&from[copied..]) {
        // Relaxed: on a read-only mapping there is no other. The caller's fence gives it its order.
        *to = from.load(Ordering::Relaxed);
    }
}

/// Copies as many words as vectors serve for, from the first on, and returns how many these are.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
fn copy_vectors(from: &[AtomicU64], to: &mut [u64]) -> usize {
    const STEP: usize = 8;
    let steps = from.len() / STEP;
    if steps == 0 || !from.as_ptr().addr().is_multiple_of(16) || !is_x86_feature_detected!("avx") {
        return 0;
    }
    // SAFETY: reads and writes `steps * STEP` words, which both slices have. The reads are those of as many relaxed atomic loads,
    // see above; nobody else has what is written to, by `&mut`.
    unsafe {
        std::arch::asm!(
            "2:",
            "prefetcht0 [{from} + 512]",
            "movdqa {a}, [{from}]",
            "movdqa {b}, [{from} + 16]",
            "movdqa {c}, [{from} + 32]",
            "movdqa {d}, [{from} + 48]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "dec {steps}",
            "jnz 2b",
            from = inout(reg) from.as_ptr() => _,
            to = inout(reg) to.as_mut_ptr() => _,
            steps = inout(reg) steps => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
    steps * STEP
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
fn copy_vectors(_from: &[AtomicU64], _to: &mut [u64]) -> usize {
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

    #[test]
    fn words_are_copied_wherever_they_stand_and_however_many() {
        let from: Vec<AtomicU64> = (0..100).map(AtomicU64::new).collect();
        for start in 0..20 {
            for length in 0..60 {
                let mut to = vec![u64::MAX; length + 1];
                copy_words(&from[start..start + length], &mut to[..length]);
                let copied = (start as u64..).take(length).chain([u64::MAX]);
                assert!(to.into_iter().eq(copied), "{length} words from {start}");
            }
        }
    }

    #[test]
    fn what_is_there_stays_and_what_comes_is_zero() {
        for mut size in [1, HUGE_WORDS - 1, 2 * HUGE_WORDS + 5] {
            let mut memory = zeroed(size);
            memory.fill(7);
            for more in [1, 3, size] {
                grow(&mut memory, size + more);
                assert!(memory[..size].iter().all(|word| *word == 7));
                assert!(memory[size..].iter().all(|word| *word == 0));
                size += more;
                assert_eq!(memory.len(), size);
                memory.fill(7);
            }
        }
    }
}
