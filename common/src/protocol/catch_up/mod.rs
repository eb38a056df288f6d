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
//! - `changed`: the changed rows, for a subscriber that updates its own copy.
//! - `places`: all rows, for a subscriber that has no copy yet or is far behind.

mod changed;
mod places;

pub use changed::{ChangedRow, Staging};
pub use places::{Destination, copy_all};

use super::Table;
use super::journal::Cursor;
use super::read::{Block, Overwritten};
use crate::protocol::bits::set_bits;
use crate::protocol::layout::BLOCK_ROWS;
use crate::protocol::memory::NoMemory;

/// Distance, in rows, at which the tags of a row are prefetched. `COPY_AHEAD` is the distance at
/// which the copy that the tags select is prefetched.
const TAGS_AHEAD: usize = 48;
const COPY_AHEAD: usize = 24;

/// Capacity of the lists of overwritten rows that is kept for the next step.
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

/// Receives the rows that a catch-up reads.
trait ChangeSink {
    /// Reserves memory for the rows of one pass over `table`: `listed` rows, or rows of any of its
    /// blocks. Called before the pass takes any row.
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory>;

    /// Copies the row if it was written after the version from which it is known.
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overwritten>;

    /// Copies the rows of a block as [`take`](Self::take) does. Returns one bit for each row that
    /// must be read again.
    fn take_block(&mut self, table: &Table<'_>, number: usize, known: ReadWindow) -> u64;

    /// Copies the rows of `slots` as [`take`](Self::take) does and appends each row that must be
    /// read again to `failed`.
    #[inline]
    fn take_slots(
        &mut self,
        table: &Table<'_>,
        slots: &[u32],
        known: ReadWindow,
        failed: &mut Vec<u32>,
    ) {
        let fetch_tags = |slot: &u32| table.prefetch_tags(*slot as usize);
        let fetch_copy = |slot: &u32| table.prefetch_copy(*slot as usize, known.version);
        slots.iter().take(TAGS_AHEAD).for_each(fetch_tags);
        slots.iter().take(COPY_AHEAD).for_each(fetch_copy);
        for (at, slot) in slots.iter().enumerate() {
            slots.get(at + TAGS_AHEAD).into_iter().for_each(fetch_tags);
            slots.get(at + COPY_AHEAD).into_iter().for_each(fetch_copy);
            let slot = *slot as usize;
            let block = &table.block(slot / BLOCK_ROWS);
            if self.take(table, Row { block, slot, known }).is_err() {
                failed.push(slot as u32);
            }
        }
    }
}

/// The versions between which rows are read: rows are known as of `since` and are read as of
/// `version`.
#[derive(Clone, Copy)]
struct ReadWindow {
    version: u64,
    since: u64,
}

/// A row that may have been written since it was last read.
struct Row<'b, 'm> {
    block: &'b Block<'m>,
    slot: usize,
    known: ReadWindow,
}

impl Row<'_, '_> {
    /// Returns `None` if the row was not written after `since`, else whether it is live. If it is
    /// live, `words` holds the row.
    #[inline]
    fn read(&self, words: &mut [u64]) -> Result<Option<bool>, Overwritten> {
        let ReadWindow { version, since } = self.known;
        let tag = self
            .block
            .read(self.slot % BLOCK_ROWS, version, since, words)?;
        Ok((tag.version() > since).then_some(tag.is_live()))
    }
}

/// Buffers of the passes, kept to reuse their memory.
#[derive(Default)]
struct Lists {
    /// Rows that were overwritten during the copy and are read again.
    failed: Vec<u32>,
    /// The failed rows of the previous pass.
    again: Vec<u32>,
    /// Rows that were written according to the journal.
    written: Vec<u32>,
}

/// Makes at most `passes` passes that copy into `aside`; see [`Staging::catch_up`]. Also returns
/// the number of passes made.
fn catch_up<'m, E>(
    aside: &mut impl ChangeSink,
    since: Cursor,
    passes: u32,
    lists: &mut Lists,
    mut look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<(Cursor, u32), Failed<E>> {
    let Lists {
        failed,
        again,
        written,
    } = lists;
    failed.clear();
    // Only a large step has many overwritten rows.
    failed.shrink_to(KEPT_ROWS);
    again.shrink_to(KEPT_ROWS);
    let mut looked = since;
    for pass in 1..=passes {
        let (version, table) = look().map_err(Failed::Caller)?;
        let mark = table.mark(version);
        let known = |since: Cursor| ReadWindow {
            version,
            since: since.version,
        };
        std::mem::swap(failed, again);
        failed.clear();
        // The row count never decreases in a valid table. In a damaged one it can: rows beyond the
        // end are dropped.
        again.retain(|slot| (*slot as usize) < table.rows());
        again.sort_unstable();
        if table.written_between(looked, mark, written) {
            if !again.is_empty() {
                written.retain(|slot| again.binary_search(slot).is_err());
            }
            aside.reserve(&table, Some(again.len() + written.len()))?;
            aside.take_slots(&table, again, known(since), failed);
            aside.take_slots(&table, written, known(looked), failed);
        } else {
            aside.reserve(&table, None)?;
            let mut again = &again[..];
            table.changed_blocks(looked.version, |block| {
                let block_of = |slot: &u32| *slot as usize / BLOCK_ROWS;
                let (before, from_here) =
                    again.split_at(again.partition_point(|slot| block_of(slot) < block));
                let (here, behind) =
                    from_here.split_at(from_here.partition_point(|slot| block_of(slot) == block));
                again = behind;
                aside.take_slots(&table, before, known(since), failed);
                // One read covers the whole block, so it uses the window that the overwritten rows
                // need: from the first version known.
                let known = known(if here.is_empty() { looked } else { since });
                let overtaken = aside.take_block(&table, block, known);
                let first = block * BLOCK_ROWS;
                failed.extend(set_bits(&[overtaken]).map(|row| (first + row) as u32));
            });
            aside.take_slots(&table, again, known(since), failed);
        }
        looked = mark;
        if failed.is_empty() {
            return Ok((mark, pass));
        }
    }
    Err(Failed::Outrun)
}

#[cfg(all(test, not(loom)))]
mod tests;
