//! A word of shared memory that can be loaded and never stored.
//!
//! A read-only mapping hands out these and no [`AtomicU64`], whose `store` is safe to call and would end the process there with
//! SIGSEGV.
#![allow(unsafe_code)]

use crate::protocol::sync::{AtomicU64, Ordering};

/// An [`AtomicU64`] without its stores.
#[repr(transparent)]
pub struct ReadOnlyWord(AtomicU64);

impl ReadOnlyWord {
    /// A word that holds `value`.
    #[cfg(all(test, not(loom)))]
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Loads the word. `ordering` must be `Relaxed`: Rust defines no other load from read-only memory
    /// (std::sync::atomic, "Atomic accesses to read-only memory").
    #[inline(always)]
    pub fn load(&self, ordering: Ordering) -> u64 {
        debug_assert!(matches!(ordering, Ordering::Relaxed));
        self.0.load(ordering)
    }
}

/// Returns a view of `words` through which nothing can be stored.
#[inline(always)]
pub fn read_only(words: &[AtomicU64]) -> &[ReadOnlyWord] {
    // SAFETY: `ReadOnlyWord` has the layout of `AtomicU64` (`repr(transparent)`), and the view has the slice's length and lifetime.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The answer of a method that `ReadOnlyWord` does not have.
    struct Absent;

    /// An inherent method of one of these names would be called in place of the trait's, and the test would not compile.
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
}
