//! Rows stored by slot number: all rows of a table, or too many of them to be worth listing.

use super::{ChangeSink, Failed, Lists, ReadWindow, Row, catch_up};
use crate::protocol::Table;
use crate::protocol::journal::Cursor;
use crate::protocol::layout::BLOCK_ROWS;
use crate::protocol::memory::{AlignedWords, NoMemory, try_extend};
use crate::protocol::read::{Overwritten, Tags};

/// A buffer for the rows of a whole table.
pub trait Destination {
    /// Grows the buffer to at least `words` words and keeps its contents.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn reserve(&mut self, words: usize) -> Result<(), NoMemory>;

    /// Returns the words of the buffer.
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

/// Rows by slot number, with one bit for each row that was written and one for each that is live.
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

    /// Marks all rows as not written.
    pub(super) fn clear(&mut self) {
        self.written.clear();
        self.live.clear();
    }

    /// Reserves memory for all rows of a table.
    pub(super) fn reserve_all(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        let bits = table.rows().div_ceil(64);
        try_extend(&mut self.written, bits)?;
        try_extend(&mut self.live, bits)?;
        self.rows.reserve(bits * 64 * table.row_words())
    }

    /// Marks rows from `first` on as written, and marks each as live or deleted. The rows share one
    /// word of bits.
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

/// Copies all rows of a table at one version to `rows`, and sets a bit in `live` for each slot that
/// holds a row. The words of other slots are unspecified. For `passes` and `look` see
/// [`Staging::catch_up`](super::Staging::catch_up).
///
/// # Errors
/// The errors of [`Staging::catch_up`](super::Staging::catch_up).
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
