//! Rows each where its slot says: all of a table, or so many that it is no use to list them.

use super::{ChangeSink, Failed, Lists, ReadWindow, Row, catch_up};
use crate::layout::BLOCK_ROWS;
use crate::memory::{AlignedWords, NoMemory, try_extend};
use crate::table::Table;
use crate::table::journal::Cursor;
use crate::table::read::{Overwritten, Tags};

/// Where the rows of a whole table go.
pub trait Destination {
    /// Makes room for at least `words` words. The words that are there stay.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn reserve(&mut self, words: usize) -> Result<(), NoMemory>;

    /// The words.
    fn words(&mut self) -> &mut [u64];
}

impl Destination for AlignedWords {
    fn reserve(&mut self, words: usize) -> Result<(), NoMemory> {
        self.try_grow(words)
    }

    #[inline]
    fn words(&mut self) -> &mut [u64] {
        self
    }
}

impl<D: Destination> Destination for &mut D {
    fn reserve(&mut self, words: usize) -> Result<(), NoMemory> {
        (**self).reserve(words)
    }

    #[inline]
    fn words(&mut self) -> &mut [u64] {
        (**self).words()
    }
}

/// Rows by slot, and of each a bit whether it was written, and one whether it is live.
pub(super) struct SlotBuffer<D> {
    pub(super) rows: D,
    pub(super) written: Vec<u64>,
    pub(super) live: Vec<u64>,
    tags: Tags,
}

impl<D: Destination> SlotBuffer<D> {
    pub(super) fn new(rows: D) -> Self {
        Self {
            rows,
            written: Vec::new(),
            live: Vec::new(),
            tags: [[0; 2 * BLOCK_ROWS]; 2],
        }
    }

    /// Forgets what was written.
    pub(super) fn clear(&mut self) {
        self.written.clear();
        self.live.clear();
    }

    /// Makes room for all rows of a table.
    pub(super) fn reserve_all(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        let bits = table.rows().div_ceil(64);
        try_extend(&mut self.written, bits)?;
        try_extend(&mut self.live, bits)?;
        self.rows.reserve(bits * 64 * table.row_words())
    }

    /// Says of rows from `first` on, which share a word of bits, that they were written, and which of them are live.
    #[inline]
    pub(super) fn note(&mut self, first: usize, written: u64, live: u64) {
        let (word, shift) = (first / 64, first % 64);
        self.written[word] |= written << shift;
        self.live[word] &= !(written << shift);
        self.live[word] |= (written & live) << shift;
    }
}

impl<D: Destination> ChangeSink for SlotBuffer<D> {
    fn reserve(&mut self, table: &Table<'_>, _listed: Option<usize>) -> Result<(), NoMemory> {
        self.reserve_all(table)
    }

    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overwritten> {
        let row_words = table.row_words();
        let words = &mut self.rows.words()[row.slot * row_words..][..row_words];
        if let Some(is_live) = row.read(words)? {
            self.note(row.slot, 1, u64::from(is_live));
        }
        Ok(())
    }

    fn take_block(&mut self, table: &Table<'_>, number: usize, known: ReadWindow) -> u64 {
        let first = number * BLOCK_ROWS;
        let rows = BLOCK_ROWS.min(table.rows() - first);
        if first + BLOCK_ROWS < table.rows() {
            table.block(number + 1).prefetch();
        }
        let row_words = table.row_words();
        let words = &mut self.rows.words()[first * row_words..][..rows * row_words];
        let ReadWindow { version, since } = known;
        let block = table.block(number);
        let answers = block.read_all(version, since, words, &mut self.tags);
        self.note(first, answers.written & !answers.failed, answers.live);
        answers.failed
    }
}

/// Copies all rows of a table at one version to `rows`, and sets in `live` a bit for each slot that holds one. The words of
/// other slots are unspecified. For the rest see [`Staging::catch_up`](super::Staging::catch_up).
///
/// # Errors
/// As for [`Staging::catch_up`](super::Staging::catch_up).
pub fn copy_all<'m, E>(
    rows: &mut impl Destination,
    live: &mut Vec<u64>,
    passes: u32,
    look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<Cursor, Failed<E>> {
    let mut places = SlotBuffer::new(rows);
    std::mem::swap(&mut places.live, live);
    places.clear();
    let reached = catch_up(
        &mut places,
        Cursor::START,
        passes,
        &mut Lists::default(),
        look,
    );
    std::mem::swap(&mut places.live, live);
    Ok(reached?.0)
}
