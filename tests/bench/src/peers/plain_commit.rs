//! The words of a commit without its protocol: what any commit of such rows must at least write.
//!
//! The layout is a table's: blocks of 64 rows, their tags together, then their first copies, then their second ones; a change
//! tree of 64 entries under one; the commit with its time. A commit writes, for each row, its tag, its eight words, and its entry in
//! every level of the tree, and then the time and the number. Nothing is read, fenced or looked up: the copies alternate with
//! the version, and the slot is the key.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::row::{Row, WORDS};

const BLOCK_ROWS: usize = 64;
const FANOUT: usize = 64;
const BLOCK_WORDS: usize = 2 * BLOCK_ROWS + 2 * BLOCK_ROWS * WORDS;

/// Where such words are written.
pub struct PlainCommit {
    head: Vec<AtomicU64>,
    tree: Vec<Vec<AtomicU64>>,
    blocks: Vec<AtomicU64>,
}

/// Written already, so that no page is new any more.
fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(1)).collect()
}

impl PlainCommit {
    /// For so many rows.
    pub fn new(rows: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let mut tree = vec![words(blocks)];
        while tree[tree.len() - 1].len() > 1 {
            tree.push(words(tree[tree.len() - 1].len().div_ceil(FANOUT)));
        }
        Self {
            head: words(3),
            tree,
            blocks: words(blocks * BLOCK_WORDS),
        }
    }

    /// Writes a commit's words.
    pub fn commit(&self, version: u64, time: u64, keys: &[usize]) {
        let which = (version & 1) as usize;
        for key in keys {
            let (block, at) = (key / BLOCK_ROWS, key % BLOCK_ROWS);
            let block_words = &self.blocks[block * BLOCK_WORDS..][..BLOCK_WORDS];
            block_words[at * 2 + which].store(version << 2 | 1, Ordering::Relaxed);
            let row = Row::new(*key as u64, version);
            let copy = &block_words[2 * BLOCK_ROWS + (which * BLOCK_ROWS + at) * WORDS..][..WORDS];
            for (to, word) in copy.iter().zip(row.words()) {
                to.store(*word, Ordering::Relaxed);
            }
            let mut entry = block;
            for level in &self.tree {
                level[entry].store(version, Ordering::Relaxed);
                entry /= FANOUT;
            }
        }
        self.head[1 + which].store(time, Ordering::Relaxed);
        self.head[0].store(version, Ordering::Relaxed);
    }
}
