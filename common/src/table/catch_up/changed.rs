//! The rows that changed, for a copy that follows.
//!
//! They are listed while the journal names them. Where blocks are searched there may be as many as the table has, and as many again in
//! the next pass: from then on they are put where their slots say.

use super::places::SlotBuffer;
use super::{ChangeSink, Failed, Lists, ReadWindow, Row, catch_up};
use crate::bits::set_bits;
use crate::memory::{AlignedWords, NoMemory};
use crate::scratch::Scratch;
use crate::table::Table;
use crate::table::journal::Cursor;
use crate::table::read::Overwritten;

/// One row that changed: where it stands now, or that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedRow {
    /// The row's place.
    pub slot: u32,
    /// Where its words begin among [`Staging::row`]'s; None if it was deleted.
    start: Option<usize>,
}

/// Rows that changed, copied aside, not yet visible to anybody. Kept between refreshes for its memory.
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
    /// Whether rows are there, and not in `words`.
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
            // It may be as large as a table, and is seldom needed.
            self.places = SlotBuffer::new(AlignedWords::default());
        }
        self.in_places = false;
        self.moved.recycle();
        self.words.recycle();
    }

    /// Moves the listed rows to their places.
    fn move_to_places(&mut self, table: &Table<'_>) -> Result<(), NoMemory> {
        self.places.reserve_all(table)?;
        // Rows never become fewer. In a damaged table they may: the rows beyond the end are dropped.
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

    /// Lists them, each slot once.
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
            // After several passes a slot can stand here more than once: what was copied last counts.
            moved.reverse();
            moved.sort_by_key(|moved| moved.slot);
            moved.dedup_by_key(|moved| moved.slot);
        }
    }
}

impl ChangeSink for Rows {
    fn reserve(&mut self, table: &Table<'_>, listed: Option<usize>) -> Result<(), NoMemory> {
        self.row_words = table.row_words();
        // Several passes may list a row several times. Places take no more memory than the table.
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
    /// Copies aside all rows that changed after `since`. `look` loads a new version and the table as of it; it is called once
    /// in each pass, of which there are at most `passes`. Returns how far the copied rows lead.
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

    /// Replaces each row by what `convert` writes from it, which is `row_words` long.
    ///
    /// # Errors
    /// [`Failed`]; there are no rows to be used then.
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

    /// The rows that changed, each slot once.
    pub fn moved(&self) -> &[ChangedRow] {
        &self.rows.moved
    }

    /// Returns the number of changed rows, and of words, that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> [usize; 2] {
        let Rows { moved, words, .. } = &self.rows;
        [moved.capacity(), words.capacity()]
    }

    /// The words of a row that is live.
    pub fn row(&self, moved: &ChangedRow) -> Option<&[u64]> {
        let start = moved.start?;
        let words = match self.rows.in_places {
            true => &self.rows.places.rows[..],
            false => &self.rows.words,
        };
        Some(&words[start..start + self.rows.row_words])
    }
}
