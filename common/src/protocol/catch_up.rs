//! Reads all rows that changed since a version, as of one later version.
//!
//! 1. Load `commit` as `s`.
//! 2. Copy each row that was written since the last version read into private memory: the rows that
//!    the [journal](super::journal) names or, if the journal does not reach back that far, the rows
//!    of the blocks whose change-tree entry is above that version.
//! 3. List each row that was overwritten twice in the meantime.
//! 4. Unless the list is empty, start again at step 1 with a greater `s`. The next pass reads the
//!    listed rows and the rows that changed since the last pass. Each pass reads a row once, even a
//!    listed row that changed again.
//! 5. When the list is empty, the copied rows are the difference between the first version and the
//!    last `s`.
//!
//! Passes converge quickly: each pass after the first reads only what changed during the previous
//! one.
//!
//! A subscriber updates its copy by [`ChangedRows`] and creates it by [`copy_all`].

use super::journal::Cursor;
use super::read::{BlockTags, Overwritten, Table};
use crate::memory::{AlignedWords, NoMemory, Scratch, try_extend};
use crate::protocol::layout::BLOCK_ROWS;
use crate::protocol::words::set_bits;

/// Distance, in rows, at which the tags of a row are prefetched. `COPY_AHEAD` is the distance at
/// which the copy that the tags select is prefetched.
const TAGS_AHEAD: usize = 48;
const COPY_AHEAD: usize = 24;

/// Capacity of the lists of overwritten rows that is kept for the next catch-up.
const KEPT_ROWS: usize = 4096;

/// The reason why a catch-up failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed<E> {
    /// A function of the caller failed.
    Caller(E),
    /// The rows changed faster than they could be copied.
    Outrun,
    /// The system has no memory for the copied rows.
    NoMemory,
}

impl<E> From<NoMemory> for Failed<E> {
    fn from(NoMemory: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// A range of versions: the caller knows the rows as of `since` and reads them as of `version`.
#[derive(Clone, Copy)]
struct ReadWindow {
    version: u64,
    since: u64,
}

impl ReadWindow {
    /// Returns `None` if the row of `slot` was not written after `since`, and otherwise
    /// `Some(is_live)`. If the row is live, `words` holds it.
    #[inline]
    fn read(
        self,
        table: &Table<'_>,
        slot: usize,
        words: &mut [u64],
    ) -> Result<Option<bool>, Overwritten> {
        let tag = table.read(slot, self.version, self.since, words)?;
        Ok((tag.version() > self.since).then_some(tag.is_live()))
    }
}

/// Receives the rows that a catch-up reads.
trait ChangeSink {
    /// Reserves memory for the rows of one pass over `table`: `listed` rows, or rows of any of its
    /// blocks. Called before the pass takes any row.
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory>;

    /// Copies the row of `slot` if it was written in `window`.
    fn take(
        &mut self,
        table: &Table<'_>,
        slot: usize,
        window: ReadWindow,
    ) -> Result<(), Overwritten>;

    /// Copies the rows of a block as [`take`](Self::take) does. Returns one bit for each row that
    /// must be read again.
    fn take_block(&mut self, table: &Table<'_>, number: usize, window: ReadWindow) -> u64;

    /// Copies the rows of `slots` as [`take`](Self::take) does and appends each row that must be
    /// read again to `failed`.
    #[inline]
    fn take_slots(
        &mut self,
        table: &Table<'_>,
        slots: &[u32],
        window: ReadWindow,
        failed: &mut Vec<u32>,
    ) {
        let fetch_tags = |slot: &u32| table.prefetch_tags(*slot as usize);
        let fetch_copy = |slot: &u32| table.prefetch_copy(*slot as usize, window.version);
        slots.iter().take(TAGS_AHEAD).for_each(fetch_tags);
        slots.iter().take(COPY_AHEAD).for_each(fetch_copy);
        for (at, slot) in slots.iter().enumerate() {
            slots.get(at + TAGS_AHEAD).into_iter().for_each(fetch_tags);
            slots.get(at + COPY_AHEAD).into_iter().for_each(fetch_copy);
            if self.take(table, *slot as usize, window).is_err() {
                failed.push(*slot);
            }
        }
    }
}

/// Lists of slots, kept to reuse their memory.
#[derive(Default)]
struct SlotLists {
    /// Rows that were overwritten during the copy and are read again.
    failed: Vec<u32>,
    /// The failed rows of the previous pass.
    again: Vec<u32>,
    /// Rows that were written according to the journal.
    written: Vec<u32>,
}

/// Makes at most `passes` passes that copy into `sink`; see [`ChangedRows::catch_up`]. Also returns
/// the number of passes made.
fn catch_up<'m, E>(
    sink: &mut impl ChangeSink,
    since: Cursor,
    passes: u32,
    lists: &mut SlotLists,
    mut look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<(Cursor, u32), Failed<E>> {
    let SlotLists { failed, again, written } = lists;
    failed.clear();
    // Only a large step has many overwritten rows.
    failed.shrink_to(KEPT_ROWS);
    again.shrink_to(KEPT_ROWS);
    let mut reached = since;
    for pass in 1..=passes {
        let (version, table) = look().map_err(Failed::Caller)?;
        let next = table.cursor(version);
        let window = |since: Cursor| ReadWindow { version, since: since.version };
        std::mem::swap(failed, again);
        failed.clear();
        // The row count never decreases in a valid table. In a damaged one it can: rows beyond the
        // end are dropped.
        again.retain(|slot| (*slot as usize) < table.rows());
        again.sort_unstable();
        if table.written_between(reached, next, written) {
            if !again.is_empty() {
                written.retain(|slot| again.binary_search(slot).is_err());
            }
            sink.reserve(&table, Some(again.len() + written.len()))?;
            sink.take_slots(&table, again, window(since), failed);
            sink.take_slots(&table, written, window(reached), failed);
        } else {
            sink.reserve(&table, None)?;
            let mut again = &again[..];
            table.changed_blocks(reached.version, |block| {
                let block_of = |slot: &u32| *slot as usize / BLOCK_ROWS;
                let (before, rest) =
                    again.split_at(again.partition_point(|slot| block_of(slot) < block));
                let (here, after) =
                    rest.split_at(rest.partition_point(|slot| block_of(slot) == block));
                again = after;
                sink.take_slots(&table, before, window(since), failed);
                // One read covers the whole block, so it uses the window that the overwritten rows
                // need: from the first version known.
                let window = window(if here.is_empty() { reached } else { since });
                let overwritten = sink.take_block(&table, block, window);
                let first = block * BLOCK_ROWS;
                failed.extend(set_bits(&[overwritten]).map(|row| (first + row) as u32));
            });
            sink.take_slots(&table, again, window(since), failed);
        }
        reached = next;
        if failed.is_empty() {
            return Ok((reached, pass));
        }
    }
    Err(Failed::Outrun)
}

/// One row that changed: the location of its words, or the fact that it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedRow {
    /// Slot of the row.
    pub slot: u32,
    /// Index of its first word in the buffer that [`ChangedRows::row`] reads; `None` if the row
    /// was deleted.
    start: Option<usize>,
}

/// Changed rows in private memory, not yet visible to the caller's readers. The value is kept
/// between refreshes to reuse its memory.
///
/// While the journal covers the changes, the rows are appended to a list. When blocks are searched
/// instead, a pass can yield every row of the table, and the next pass every row again. From then
/// on each row is stored at the position of its slot.
#[derive(Default)]
pub struct ChangedRows {
    list: Scratch<ChangedRow>,
    words: Scratch<u64>,
    row_words: usize,
    by_slot: SlotBuffer<AlignedWords>,
    /// True if the rows are in `by_slot` and not in `words`.
    is_by_slot: bool,
    lists: SlotLists,
}

impl ChangedRows {
    /// Copies all rows that changed after `since` into private memory and returns the cursor that
    /// the copied rows reach. `look` loads a new version and the table at that version. It is
    /// called once in each pass, for at most `passes` passes.
    pub fn catch_up<'m, E>(
        &mut self,
        since: Cursor,
        passes: u32,
        look: impl FnMut() -> Result<(u64, Table<'m>), E>,
    ) -> Result<Cursor, Failed<E>> {
        if self.is_by_slot {
            self.by_slot.clear();
        } else {
            // This buffer can be as large as a table and is seldom needed.
            self.by_slot = SlotBuffer::default();
        }
        self.is_by_slot = false;
        self.list.recycle();
        self.words.recycle();
        let mut lists = std::mem::take(&mut self.lists);
        let caught_up = catch_up(self, since, passes, &mut lists, look);
        self.lists = lists;
        let (cursor, passes) = caught_up?;
        if self.is_by_slot {
            self.list.clear();
            let (buffer, row_words) = (&self.by_slot, self.row_words);
            let count: u32 = buffer.written.iter().map(|bits| bits.count_ones()).sum();
            self.list.try_reserve(count as usize).map_err(NoMemory::from)?;
            self.list.extend(set_bits(&buffer.written).map(|slot| ChangedRow {
                slot: slot as u32,
                start: buffer.is_live(slot).then_some(slot * row_words),
            }));
        } else if passes > 1 {
            // After several passes a slot can be listed more than once. The last copy counts.
            self.list.reverse();
            self.list.sort_by_key(|row| row.slot);
            self.list.dedup_by_key(|row| row.slot);
        }
        Ok(cursor)
    }

    /// Replaces each row by the `row_words` words that `convert` writes from it.
    ///
    /// # Errors
    /// [`Failed`]; the rows must not be used afterwards.
    pub fn convert<E>(
        &mut self,
        row_words: usize,
        convert: impl Fn(&[u64], &mut [u64]) -> Result<(), E>,
    ) -> Result<(), Failed<E>> {
        let mut words = Vec::new();
        words.try_reserve(self.list.len() * row_words).map_err(NoMemory::from)?;
        for number in 0..self.list.len() {
            let start = words.len();
            if let Some(row) = self.row(&self.list[number]) {
                words.resize(start + row_words, 0);
                convert(row, &mut words[start..]).map_err(Failed::Caller)?;
                self.list[number].start = Some(start);
            }
        }
        *self.words = words;
        self.row_words = row_words;
        self.is_by_slot = false;
        Ok(())
    }

    /// Returns the changed rows, each slot once.
    pub fn list(&self) -> &[ChangedRow] {
        &self.list
    }

    /// Returns the words of a live row, or `None` for a deleted one.
    pub fn row(&self, changed: &ChangedRow) -> Option<&[u64]> {
        let start = changed.start?;
        Some(&self.words()[start..start + self.row_words])
    }

    /// Moves the live rows together at the beginning of the buffer, and empties the list. Returns
    /// the slots of the live rows in the order of their words, and those of the deleted rows.
    pub fn pack(&mut self) -> [Vec<u32>; 2] {
        let mut list = std::mem::take(&mut self.list);
        // Each row then moves to the front, and to a place that was already read. `None`, the start
        // of a deleted row, comes first.
        list.sort_unstable_by_key(|row| row.start);
        let (deleted, live) = list.split_at(list.partition_point(|row| row.start.is_none()));
        let words = match self.is_by_slot {
            true => &mut self.by_slot.rows[..],
            false => &mut self.words,
        };
        for (number, start) in live.iter().filter_map(|row| row.start).enumerate() {
            words.copy_within(start..start + self.row_words, number * self.row_words);
        }
        [live, deleted].map(|rows| rows.iter().map(|row| row.slot).collect())
    }

    /// Returns the words of all rows, with other words between them unless they are
    /// [packed](Self::pack).
    pub fn words(&self) -> &[u64] {
        if self.is_by_slot { &self.by_slot.rows } else { &self.words }
    }

    /// Moves the listed rows to the positions of their slots.
    fn move_to_slots(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        self.by_slot.reserve_all(table)?;
        // As in `catch_up`: rows beyond the end of a damaged table are dropped.
        self.list.retain(|row| (row.slot as usize) < table.rows());
        let row_words = self.row_words;
        for row in self.list.iter() {
            let slot = row.slot as usize;
            if let Some(start) = row.start {
                self.by_slot.rows[slot * row_words..][..row_words]
                    .copy_from_slice(&self.words[start..start + row_words]);
            }
            let is_live = u64::from(row.start.is_some());
            self.by_slot.mark_written(slot, 1, is_live);
        }
        self.is_by_slot = true;
        Ok(())
    }
}

impl ChangeSink for ChangedRows {
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory> {
        self.row_words = table.row_words();
        // Several passes can list a row several times. The slot buffer takes no more memory than
        // the table.
        let listed = listed.filter(|listed| self.list.len() + listed <= table.rows());
        match listed {
            _ if self.is_by_slot => self.by_slot.reserve_all(table),
            None => self.move_to_slots(table),
            Some(listed) => {
                self.list.try_reserve(listed)?;
                Ok(self.words.try_reserve(listed * self.row_words)?)
            }
        }
    }

    #[inline]
    fn take(
        &mut self,
        table: &Table<'_>,
        slot: usize,
        window: ReadWindow,
    ) -> Result<(), Overwritten> {
        if self.is_by_slot {
            return self.by_slot.take(table, slot, window);
        }
        let start = self.words.len();
        self.words.resize(start + self.row_words, 0);
        let read = window.read(table, slot, &mut self.words[start..]);
        let keep = read == Ok(Some(true));
        if !keep {
            self.words.truncate(start);
        }
        if read?.is_some() {
            self.list.push(ChangedRow { slot: slot as u32, start: keep.then_some(start) });
        }
        Ok(())
    }

    fn take_block(&mut self, table: &Table<'_>, number: usize, window: ReadWindow) -> u64 {
        self.by_slot.take_block(table, number, window)
    }
}

/// A buffer for the rows of a whole table.
pub trait Destination {
    /// Grows the buffer to at least `words` words and keeps its contents.
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
struct SlotBuffer<D> {
    rows: D,
    written: Vec<u64>,
    live: Vec<u64>,
    tags: BlockTags,
}

impl Default for SlotBuffer<AlignedWords> {
    fn default() -> Self {
        Self::new(AlignedWords::default())
    }
}

impl<D: Destination> SlotBuffer<D> {
    fn new(rows: D) -> Self {
        Self { rows, written: Vec::new(), live: Vec::new(), tags: [[0; 2 * BLOCK_ROWS]; 2] }
    }

    /// Marks all rows as not written.
    fn clear(&mut self) {
        self.written.clear();
        self.live.clear();
    }

    /// Reserves memory for all rows of a table.
    fn reserve_all(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        let bits = table.rows().div_ceil(64);
        try_extend(&mut self.written, bits)?;
        try_extend(&mut self.live, bits)?;
        self.rows.reserve(bits * 64 * table.row_words())
    }

    fn is_live(&self, slot: usize) -> bool {
        self.live[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Marks rows from `first` on as written, and marks each as live or deleted. The rows share one
    /// word of bits.
    #[inline]
    fn mark_written(&mut self, first: usize, written: u64, live: u64) {
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

    fn take(
        &mut self,
        table: &Table<'_>,
        slot: usize,
        window: ReadWindow,
    ) -> Result<(), Overwritten> {
        let row_words = table.row_words();
        let words = &mut self.rows.words()[slot * row_words..][..row_words];
        if let Some(is_live) = window.read(table, slot, words)? {
            self.mark_written(slot, 1, u64::from(is_live));
        }
        Ok(())
    }

    fn take_block(&mut self, table: &Table<'_>, number: usize, window: ReadWindow) -> u64 {
        let first = number * BLOCK_ROWS;
        let rows = BLOCK_ROWS.min(table.rows() - first);
        if first + BLOCK_ROWS < table.rows() {
            table.block(number + 1).prefetch();
        }
        let row_words = table.row_words();
        let words = &mut self.rows.words()[first * row_words..][..rows * row_words];
        let ReadWindow { version, since } = window;
        let block = table.block(number);
        let [written, live, failed] = block.read_all(version, since, words, &mut self.tags);
        self.mark_written(first, written, live);
        failed
    }
}

/// Copies all rows of a table at one version to `rows`, and sets a bit in `live` for each slot that
/// holds a row. The words of other slots are unspecified. For `passes` and `look` see
/// [`ChangedRows::catch_up`].
pub fn copy_all<'m, E>(
    rows: &mut impl Destination,
    live: &mut Vec<u64>,
    passes: u32,
    look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<Cursor, Failed<E>> {
    let mut buffer = SlotBuffer::new(rows);
    std::mem::swap(&mut buffer.live, live);
    buffer.clear();
    let lists = &mut SlotLists::default();
    let reached = catch_up(&mut buffer, Cursor::START, passes, lists, look);
    std::mem::swap(&mut buffer.live, live);
    Ok(reached?.0)
}

#[cfg(all(test, not(loom)))]
mod tests;
