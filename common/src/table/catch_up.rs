//! All rows that changed since a version, as one.
//!
//! 1. Load `commit` as `s`. 2. Walk the change tree where it is above the last version looked at, and in those blocks
//!    copy aside each row that was written since. 3. A row that was rewritten twice meanwhile goes on a list. 4. Unless the list
//!    is empty, again from 1: a greater `s`, the rows of the list and those that changed since the last pass. 5. When the
//!    list is empty, what was copied is the table's difference from the version begun with to the last `s`.
//!
//! It is not outrun for long: a pass after the first looks only at what changed during the one before.

use super::Table;
use crate::layout::BLOCK_ROWS;

/// One row that changed: where it stands now, or that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The row's place.
    pub slot: u32,
    /// Where its words begin among [`Staging::row`]'s; None if it was deleted.
    start: Option<usize>,
}

/// Rows copied aside, not yet visible to anybody. Kept between refreshes for its memory.
#[derive(Default)]
pub struct Staging {
    moved: Vec<Moved>,
    words: Vec<u64>,
    failed: Vec<u32>,
    row_words: usize,
}

impl Staging {
    /// Copies aside all rows that changed after `since`. `look` takes a new version, and the table as of it; it is
    /// called once a pass, at most `passes` times. Returns the version that was reached, or None if the passes did not suffice.
    ///
    /// # Errors
    /// What `look` returns.
    pub fn catch_up<'m, E>(
        &mut self,
        since: u64,
        passes: u32,
        mut look: impl FnMut() -> Result<(u64, Table<'m>), E>,
    ) -> Result<Option<u64>, E> {
        self.moved.clear();
        self.words.clear();
        self.failed.clear();
        let mut looked = since;
        for pass in 1..=passes {
            let (version, table) = look()?;
            self.row_words = table.row_words();
            self.pass(&table, since, looked, version);
            looked = version;
            if self.failed.is_empty() {
                if pass > 1 {
                    self.keep_last();
                }
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    fn pass(&mut self, table: &Table<'_>, since: u64, looked: u64, version: u64) {
        for slot in std::mem::take(&mut self.failed) {
            self.copy(table, slot as usize, version, since);
        }
        table.changed_blocks(looked, |block| {
            let first = block * BLOCK_ROWS;
            for slot in first..(first + BLOCK_ROWS).min(table.rows()) {
                self.copy(table, slot, version, looked);
            }
        });
    }

    fn copy(&mut self, table: &Table<'_>, slot: usize, version: u64, since: u64) {
        let start = self.words.len();
        self.words.resize(start + self.row_words, 0);
        let tag = table.read(slot, version, since, &mut self.words[start..]);
        let keep = tag.is_ok_and(|tag| tag.is_live() && tag.version() > since);
        if !keep {
            self.words.truncate(start);
        }
        match tag {
            Ok(tag) if tag.version() > since => {
                self.moved.push(Moved {
                    slot: slot as u32,
                    start: keep.then_some(start),
                });
            }
            Ok(_) => {}
            Err(_) => self.failed.push(slot as u32),
        }
    }

    /// After several passes a slot can stand here more than once: what was copied last counts.
    fn keep_last(&mut self) {
        self.moved.reverse();
        self.moved.sort_by_key(|moved| moved.slot);
        self.moved.dedup_by_key(|moved| moved.slot);
    }

    /// The rows that changed, each slot once.
    pub fn moved(&self) -> &[Moved] {
        &self.moved
    }

    /// The words of a row that is live.
    pub fn row(&self, moved: &Moved) -> Option<&[u64]> {
        moved
            .start
            .map(|start| &self.words[start..start + self.row_words])
    }
}
