//! Words that two processes share, without any protocol: what the machine itself can do.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::row::{Row, WORDS};

/// A file of rows in memory, after a word on its own cache lines.
pub struct Plain(MmapRaw);

/// Before the rows: two pairs of cache lines.
const HEAD: usize = 32;

impl Plain {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(path: &Path, rows: usize) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("a file");
        let size = (HEAD + rows * WORDS) * size_of::<u64>();
        file.set_len(size as u64).expect("room");
        Self(MmapRaw::map_raw(&file).expect("a mapping"))
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, lives as long as `self`, and is written by atomic
        // words only.
        unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() / size_of::<u64>())
        }
    }

    /// One of two words on separate cache lines, by which two processes signal each other.
    pub fn signal(&self, at: usize) -> &AtomicU64 {
        &self.words()[at * HEAD / 2]
    }

    /// The low half of such a word, as a futex wants it.
    pub fn half_signal(&self, at: usize) -> &AtomicU32 {
        // SAFETY: a word of the mapping, aligned for its halves, too; nobody uses the whole word at
        // the same time.
        unsafe { AtomicU32::from_ptr(self.signal(at).as_ptr().cast()) }
    }

    /// The words of all rows, one after the other.
    pub fn row_words(&self) -> &[AtomicU64] {
        &self.words()[HEAD..]
    }

    /// Writes a row.
    pub fn write(&self, at: usize, row: &Row) {
        let words = &self.row_words()[at * WORDS..];
        for (to, word) in words.iter().zip(row.words()) {
            to.store(*word, Ordering::Relaxed);
        }
    }

    /// Reads a row.
    pub fn read(&self, at: usize) -> [u64; WORDS] {
        let words = &self.row_words()[at * WORDS..];
        std::array::from_fn(|word| words[word].load(Ordering::Relaxed))
    }
}
