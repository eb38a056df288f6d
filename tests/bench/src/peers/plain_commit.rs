//! The words of a commit without its protocol: what any commit of such rows must at least write.
//!
//! The layout is a table's: blocks of 64 rows, their tags together, then their first copies, then
//! their second ones; a change tree of 64 entries under one; a journal of slots, two to a word; the
//! commit with its time. A commit writes, for each row, its tag, its eight words, its entry in
//! every level of the tree and in the journal, and then how far the journal has come, the time and
//! the number. Nothing is read, fenced or looked up: the copies alternate with the version, and the
//! slot is the key.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plain::Plain;
use crate::row::{Row, WORDS};

const BLOCK_ROWS: usize = 64;
const FANOUT: usize = 64;
const BLOCK_WORDS: usize = 2 * BLOCK_ROWS + 2 * BLOCK_ROWS * WORDS;
/// As long as that of a table of 100,000 rows.
const JOURNAL_WORDS: usize = 1 << 15;

/// The words, in shared memory like those of a table.
pub struct PlainCommit {
    memory: Plain,
    /// Start of each level of the tree.
    levels: Vec<usize>,
    /// Start of the journal, after a cache line with its position.
    journal: usize,
    /// Start of the blocks.
    blocks: usize,
}

impl PlainCommit {
    /// Creates the words for `rows` rows in a file at `path`.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(path: &Path, rows: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let (mut levels, mut end, mut entries) = (Vec::new(), 0, blocks);
        loop {
            levels.push(end);
            // Blocks are whole cache lines: they begin with one.
            end += entries.next_multiple_of(WORDS);
            if entries == 1 {
                break;
            }
            entries = entries.div_ceil(FANOUT);
        }
        let journal = end + WORDS;
        end = journal + JOURNAL_WORDS;
        let memory = Plain::open(path, (end + blocks * BLOCK_WORDS) / WORDS);
        // Written once, so that no page is new any more.
        for word in memory.row_words() {
            word.store(1, Ordering::Relaxed);
        }
        Self { memory, levels, journal, blocks: end }
    }

    /// Writes a commit's words.
    pub fn commit(&self, version: u64, time: u64, keys: &[usize]) {
        let words = self.memory.row_words();
        let which = (version & 1) as usize;
        for key in keys {
            let (block, at) = (key / BLOCK_ROWS, key % BLOCK_ROWS);
            let tags = &words[self.blocks + block * BLOCK_WORDS..][..BLOCK_WORDS];
            store(&tags[at * 2 + which], version << 2 | 1);
            let row = Row::new(*key as u64, version);
            let copy = &tags[2 * BLOCK_ROWS + (which * BLOCK_ROWS + at) * WORDS..][..WORDS];
            for (to, word) in copy.iter().zip(row.words()) {
                store(to, *word);
            }
            let mut entry = block;
            for level in &self.levels {
                store(&words[level + entry], version);
                entry /= FANOUT;
            }
        }
        // Of ten rows a version, which is an even number.
        let written = (version as usize * keys.len()) / 2;
        for (pair, keys) in keys.chunks_exact(2).enumerate() {
            let word = self.journal + (written + pair) % JOURNAL_WORDS;
            store(&words[word], (keys[1] << 32 | keys[0]) as u64);
        }
        store(&words[self.journal - WORDS], 2 * written as u64);
        store(self.memory.signal(1), time);
        store(self.memory.signal(0), version);
    }
}

fn store(to: &AtomicU64, value: u64) {
    to.store(value, Ordering::Relaxed);
}
