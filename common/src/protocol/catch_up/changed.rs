//! The changed rows, for a subscriber that updates its own copy.
//!
//! While the journal covers the changes, the rows are appended to a list. When blocks are searched
//! instead, a pass can yield every row of the table, and the next pass every row again. From then
//! on each row is stored at the position of its slot.

use super::places::SlotBuffer;
use super::{ChangeSink, Failed, Lists, ReadWindow, Row, catch_up};
use crate::protocol::Table;
use crate::protocol::bits::set_bits;
use crate::protocol::journal::Cursor;
use crate::protocol::memory::{AlignedWords, NoMemory};
use crate::protocol::read::Overwritten;
use crate::scratch::Scratch;

/// One row that changed: the location of its words, or the fact that it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedRow {
    /// Slot of the row.
    pub slot: u32,
    /// Index of its first word in the buffer that [`Staging::row`] reads; `None` if the row was
    /// deleted.
    start: Option<usize>,
}

/// Changed rows in private memory, not yet visible to the caller's readers. The value is kept
/// between refreshes to reuse its memory.
#[derive(Default)]
pub struct Staging {
    rows: Rows,
    lists: Lists,
}

struct Rows {
    moved: Scratch<ChangedRow>,
    words: Scratch<u64>,
    row_words: usize,
    places: SlotBuffer<AlignedWords>,
    /// True if the rows are in `places` and not in `words`.
    in_places: bool,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            moved: Scratch::default(),
            words: Scratch::default(),
            row_words: 0,
            places: SlotBuffer::new(AlignedWords::default()),
            in_places: false,
        }
    }
}

impl Rows {
    fn clear(&mut self) {
        if self.in_places {
            self.places.clear();
        } else {
            // This buffer can be as large as a table and is seldom needed.
            self.places = SlotBuffer::new(AlignedWords::default());
        }
        self.in_places = false;
        self.moved.recycle();
        self.words.recycle();
    }

    /// Moves the listed rows to the positions of their slots.
    fn move_to_places(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        self.places.reserve_all(table)?;
        // The row count never decreases in a valid table. In a damaged one it can: rows beyond the
        // end are dropped.
        self.moved
            .retain(|moved| (moved.slot as usize) < table.rows());
        let rows = &mut self.places.rows;
        for moved in self.moved.iter() {
            if let Some(start) = moved.start {
                let words = &self.words[start..start + self.row_words];
                rows[moved.slot as usize * self.row_words..][..self.row_words]
                    .copy_from_slice(words);
            }
        }
        for moved in self.moved.iter() {
            let is_live = u64::from(moved.start.is_some());
            self.places.note(moved.slot as usize, 1, is_live);
        }
        self.in_places = true;
        Ok(())
    }

    /// Lists the changed rows, each slot once.
    fn list(&mut self) {
        let moved = &mut self.moved;
        if self.in_places {
            moved.clear();
            moved.extend(set_bits(&self.places.written).map(|slot| {
                let is_live = self.places.live[slot / 64] >> (slot % 64) & 1 == 1;
                ChangedRow {
                    slot: slot as u32,
                    start: is_live.then_some(slot * self.row_words),
                }
            }));
        } else {
            // After several passes a slot can be listed more than once. The last copy counts.
            moved.reverse();
            moved.sort_by_key(|moved| moved.slot);
            moved.dedup_by_key(|moved| moved.slot);
        }
    }
}

impl ChangeSink for Rows {
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory> {
        self.row_words = table.row_words();
        // Several passes can list a row several times. The slot buffer takes no more memory than
        // the table.
        let listed = listed.filter(|listed| self.moved.len() + listed <= table.rows());
        match listed {
            _ if self.in_places => self.places.reserve_all(table),
            None => self.move_to_places(table),
            Some(listed) => {
                self.moved.try_reserve(listed)?;
                Ok(self.words.try_reserve(listed * self.row_words)?)
            }
        }
    }

    #[inline]
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overwritten> {
        if self.in_places {
            return self.places.take(table, row);
        }
        let start = self.words.len();
        self.words.resize(start + self.row_words, 0);
        let read = row.read(&mut self.words[start..]);
        let keep = read == Ok(Some(true));
        if !keep {
            self.words.truncate(start);
        }
        if read?.is_some() {
            self.moved.push(ChangedRow {
                slot: row.slot as u32,
                start: keep.then_some(start),
            });
        }
        Ok(())
    }

    fn take_block(&mut self, table: &Table<'_>, number: usize, known: ReadWindow) -> u64 {
        self.places.take_block(table, number, known)
    }
}

impl Staging {
    /// Copies all rows that changed after `since` into private memory and returns the cursor that
    /// the copied rows reach. `look` loads a new version and the table at that version. It is
    /// called once in each pass, for at most `passes` passes.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn catch_up<'m, E>(
        &mut self,
        since: Cursor,
        passes: u32,
        look: impl FnMut() -> Result<(u64, Table<'m>), E>,
    ) -> Result<Cursor, Failed<E>> {
        self.rows.clear();
        let (mark, passes) = catch_up(&mut self.rows, since, passes, &mut self.lists, look)?;
        if self.rows.in_places || passes > 1 {
            self.rows.list();
        }
        Ok(mark)
    }

    /// Replaces each row by the `row_words` words that `convert` writes from it.
    ///
    /// # Errors
    /// [`Failed`]; the staged rows must not be used afterwards.
    pub fn convert<E>(
        &mut self,
        row_words: usize,
        convert: impl Fn(&[u64], &mut [u64]) -> Result<(), E>,
    ) -> Result<(), Failed<E>> {
        let mut words = Vec::new();
        words
            .try_reserve(self.moved().len() * row_words)
            .map_err(NoMemory::from)?;
        for number in 0..self.moved().len() {
            let start = words.len();
            if let Some(row) = self.row(&self.moved()[number]) {
                words.resize(start + row_words, 0);
                convert(row, &mut words[start..]).map_err(Failed::Caller)?;
                self.rows.moved[number].start = Some(start);
            }
        }
        *self.rows.words = words;
        self.rows.row_words = row_words;
        self.rows.in_places = false;
        Ok(())
    }

    /// Returns the changed rows, each slot once.
    pub fn moved(&self) -> &[ChangedRow] {
        &self.rows.moved
    }

    /// Returns the capacity in changed rows and in words.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> [usize; 2] {
        let Rows { moved, words, .. } = &self.rows;
        [moved.capacity(), words.capacity()]
    }

    /// Returns the words of a live row, or `None` for a deleted one.
    pub fn row(&self, moved: &ChangedRow) -> Option<&[u64]> {
        let start = moved.start?;
        let words = match self.rows.in_places {
            true => &self.rows.places.rows[..],
            false => &self.rows.words,
        };
        Some(&words[start..start + self.rows.row_words])
    }
}
