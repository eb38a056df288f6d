//! All rows that changed since a version, as one.
//!
//! 1. Load `commit` as `s`.
//! 2. Copy aside each row that was written since the last version looked at: the rows that the [journal](super::journal) names,
//!    or, where it does not reach that far back, the rows of the blocks at which the change tree is above that version.
//! 3. Put each row that was rewritten twice in the meantime on a list.
//! 4. Unless the list is empty, start again at 1 with a greater `s`, the rows on the list, and the rows that changed since the
//!    last pass. Each row is read once in a pass, also a row that is on the list and changed again.
//! 5. When the list is empty, what was copied is the table's difference from the first version to the last `s`.
//!
//! It is not outrun for long: a pass after the first looks only at what changed during the one before.
//!
//! - `changed`: the rows that changed, for a copy that follows.
//! - `places`: all rows, for who has none yet or comes from far behind.

mod changed;
mod places;

pub use changed::{ChangedRow, Staging};
pub use places::{Destination, copy_all};

use super::Table;
use super::journal::Cursor;
use super::read::{Block, Overwritten};
use crate::bits::set_bits;
use crate::layout::BLOCK_ROWS;
use crate::memory::NoMemory;

/// How many rows before a row is copied its tags are fetched, and then what these say of its copies.
const TAGS_AHEAD: usize = 48;
const COPY_AHEAD: usize = 24;

/// Capacity of the lists of overtaken rows that is kept for the next step.
const KEPT_ROWS: usize = 4096;

/// The reason why nothing was caught up with.
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

/// Takes what a catching up reads.
trait ChangeSink {
    /// Makes room for the rows of one pass over `table`: `listed` rows, or rows of any of its blocks. Called before the pass
    /// takes any.
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory>;

    /// Copies aside the row, if it was written after what is known of it.
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overwritten>;

    /// The same for all rows of a block. Returns a bit for each that must be read again.
    fn take_block(&mut self, table: &Table<'_>, number: usize, known: ReadWindow) -> u64;

    /// The same for these slots.
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

/// What is to be read is the table as of `version`; rows are known as of `since`.
#[derive(Clone, Copy)]
struct ReadWindow {
    version: u64,
    since: u64,
}

/// A row that may have been written since.
struct Row<'b, 'm> {
    block: &'b Block<'m>,
    slot: usize,
    known: ReadWindow,
}

impl Row<'_, '_> {
    /// Whether the row was written, and if so whether it is live; `words` then holds it.
    #[inline]
    fn read(&self, words: &mut [u64]) -> Result<Option<bool>, Overwritten> {
        let ReadWindow { version, since } = self.known;
        let tag = self
            .block
            .read(self.slot % BLOCK_ROWS, version, since, words)?;
        Ok((tag.version() > since).then_some(tag.is_live()))
    }
}

/// What the passes need memory for.
#[derive(Default)]
struct Lists {
    /// Rows that were overtaken, and are taken again.
    failed: Vec<u32>,
    /// Those of the pass before.
    again: Vec<u32>,
    /// Rows that were written, by the journal.
    written: Vec<u32>,
}

/// Makes at most `passes` passes for `aside`; see [`Staging::catch_up`]. Also returns how many passes it made.
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
    // Few rows are overtaken, except in a large step.
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
        // Rows never become fewer. In a damaged table they may: the rows beyond the end are dropped.
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
                // The whole block is read as its rows that were overtaken must be: as of what was known at first.
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
