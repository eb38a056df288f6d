//! A reusable buffer.

use std::ops::{Deref, DerefMut};

/// A vector that keeps its memory between uses, up to [`SLACK`] times what recent uses needed.
#[derive(Debug)]
pub struct Scratch<T> {
    items: Vec<T>,
    /// Length of the longest recent use. Each use reduces it by an eighth.
    recent: usize,
}

/// Maximum ratio of the capacity to what recent uses needed. Above it, memory is freed.
const SLACK: usize = 4;
/// Number of items for which memory is always kept.
const LEAST: usize = 64;

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            recent: 0,
        }
    }
}

impl<T> Scratch<T> {
    /// Ends a use: empties the vector and frees memory that recent uses did not need. An empty use
    /// does not count, so a caller can poll for work often without losing the buffer.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_shrinks_after_one_large_use_and_is_kept_for_alternating_ones() {
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
