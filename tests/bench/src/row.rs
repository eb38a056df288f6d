//! The row that everybody shares: 64 bytes, the key first.

use bytemuck::{Pod, Zeroable};
use iceoryx2::prelude::ZeroCopySend;

/// Number of words of a row.
pub const WORDS: usize = 8;

/// A row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable, common::Row, ZeroCopySend)]
pub struct Row {
    /// Which row.
    #[row(key)]
    pub key: u64,
    /// The version it was written in, and all the same in one row, so that a torn one would show.
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub d: u64,
    pub e: u64,
    pub f: u64,
    pub g: u64,
}

impl Row {
    /// The row of a key at a version.
    pub fn new(key: u64, version: u64) -> Self {
        let v = version;
        Self { key, a: v, b: v, c: v, d: v, e: v, f: v, g: v }
    }

    /// Returns the words.
    pub fn words(&self) -> &[u64; WORDS] {
        bytemuck::cast_ref(self)
    }
}

/// Numbers that look random and are the same in every run: xorshift, after George Marsaglia.
pub struct Random(u64);

impl Random {
    /// From a seed that is not zero.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half of the product is uniform over the range and needs no division.
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }

    /// `count` numbers below `bound`.
    pub fn numbers(&mut self, count: usize, bound: usize) -> Vec<usize> {
        (0..count).map(|_| self.below(bound)).collect()
    }
}
