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
    /// Whether it is the whole table: each row stands where its slot says, so that the words can be taken over as they are.
    is_whole: bool,
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
        self.is_whole = since == 0;
        let mut looked = since;
        for pass in 1..=passes {
            let (version, table) = look()?;
            self.row_words = table.row_words();
            if self.is_whole && pass == 1 {
                self.moved.reserve(table.rows());
                self.words
                    .reserve(table.rows().next_multiple_of(BLOCK_ROWS) * self.row_words);
            }
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
            if (slot as usize) < table.rows() {
                self.copy(table, slot as usize, version, since);
            } else {
                // Rows never become fewer: what says so is damaged, and is given up on.
                self.failed.push(slot);
            }
        }
        table.changed_blocks(looked, |block| {
            let first = block * BLOCK_ROWS;
            for slot in first..(first + BLOCK_ROWS).min(table.rows()) {
                if !table.is_unchanged(slot, looked) {
                    self.copy(table, slot, version, looked);
                }
            }
        });
    }

    fn copy(&mut self, table: &Table<'_>, slot: usize, version: u64, since: u64) {
        let start = match self.is_whole {
            true => slot * self.row_words,
            false => self.words.len(),
        };
        let end = start + self.row_words;
        if self.words.len() < end {
            self.words.resize(end, 0);
        }
        let tag = table.read(slot, version, since, &mut self.words[start..end]);
        let keep = tag.is_ok_and(|tag| tag.is_live() && tag.version() > since);
        if !keep && !self.is_whole {
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

    /// After catching up from version 0: the slots of all rows, and the words of the table, each row where its slot says.
    ///
    /// # Panics
    /// If it was another version.
    pub fn into_whole(mut self) -> (impl ExactSizeIterator<Item = usize>, Vec<u64>) {
        assert!(self.is_whole, "the whole table was copied");
        self.moved.retain(|moved| moved.start.is_some());
        let slots = self.moved.into_iter().map(|moved| moved.slot as usize);
        (slots, self.words)
    }

    /// The words of a row that is live.
    pub fn row(&self, moved: &Moved) -> Option<&[u64]> {
        moved
            .start
            .map(|start| &self.words[start..start + self.row_words])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::layout::{Geometry, header};
    use crate::sync::{AtomicU64, Ordering};
    use crate::table::commit::Write;
    use crate::table::last_commit;

    fn words(geometry: &Geometry) -> Vec<AtomicU64> {
        let words: Vec<AtomicU64> = (0..geometry.words_for(geometry.capacity))
            .map(|_| AtomicU64::new(0))
            .collect();
        words[header::COMMIT].store(1, Ordering::Relaxed);
        words
    }

    /// A generator that is the same everywhere (Marsaglia's xorshift64).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn following_at_any_distance_is_the_same_as_following_each_commit() {
        const ROWS: usize = 5_000;
        let geometry = Geometry::new(2, ROWS, 0, 0).unwrap();
        let words = words(&geometry);
        let table = Table::new(&words, &geometry, ROWS).unwrap();
        let mut model: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
        let (mut near, mut far) = ((1, BTreeMap::new()), (1, BTreeMap::new()));
        let mut staging = Staging::default();
        let mut follow = |follower: &mut (u64, BTreeMap<usize, [u64; 2]>)| {
            let look = || Ok::<_, ()>((last_commit(&words), table));
            follower.0 = staging.catch_up(follower.0, 1, look).unwrap().unwrap();
            for moved in staging.moved() {
                match staging.row(moved) {
                    Some(row) => follower.1.insert(moved.slot as usize, [row[0], row[1]]),
                    None => follower.1.remove(&(moved.slot as usize)),
                };
            }
            staging.moved().len()
        };
        let mut state = 42;
        for version in 2..400 {
            let changes: BTreeMap<usize, Option<[u64; 2]>> = (0..random(&mut state) % 20)
                .map(|_| {
                    let (slot, value) = (random(&mut state) as usize % ROWS, random(&mut state));
                    (slot, (value % 3 > 0).then_some([version, value]))
                })
                .collect();
            let writes = changes.iter().map(|(slot, row)| Write {
                slot: *slot,
                row: row.as_ref().map(|row| &row[..]),
            });
            table.commit(version, 0, writes);
            for (slot, row) in &changes {
                match row {
                    Some(row) => model.insert(*slot, *row),
                    None => model.remove(slot),
                };
            }
            assert_eq!(
                follow(&mut near),
                changes.len(),
                "what changed, and nothing else"
            );
            assert_eq!(near, (version, model.clone()));
            if version % 97 == 0 {
                follow(&mut far);
                assert_eq!(far, near);
            }
        }
    }

    #[test]
    fn rows_rewritten_while_they_are_copied_are_taken_in_a_later_pass() {
        let geometry = Geometry::new(1, 64, 0, 0).unwrap();
        let words = words(&geometry);
        let table = Table::new(&words, &geometry, 64).unwrap();
        let commit = |version: u64| {
            let row = [version];
            table.commit(
                version,
                0,
                [0, 9]
                    .map(|slot| Write {
                        slot,
                        row: Some(&row[..]),
                    })
                    .into_iter(),
            );
        };
        commit(2);
        let mut staging = Staging::default();
        // The version is taken, then the rows are rewritten twice before they are read; the second time once.
        let mut pass = 0;
        let look = || {
            pass += 1;
            let version = last_commit(&words);
            (0..3_u64.saturating_sub(pass)).for_each(|more| commit(version + 1 + more));
            Ok::<_, ()>((version, table))
        };
        assert_eq!(staging.catch_up(1, 5, look), Ok(Some(4)));
        let found: Vec<_> = staging
            .moved()
            .iter()
            .map(|moved| (moved.slot, staging.row(moved).unwrap()[0]))
            .collect();
        assert_eq!(found, [(0, 4), (9, 4)]);

        let mut version = 6;
        let outrun = staging.catch_up(1, 5, || {
            let seen = last_commit(&words);
            (0..2).for_each(|more| commit(version + more));
            version += 2;
            Ok::<_, ()>((seen, table))
        });
        assert_eq!(outrun, Ok(None), "rewritten twice in each pass");
    }

    #[test]
    fn a_tag_above_all_is_never_believed() {
        let geometry = Geometry::new(1, 64, 0, 0).unwrap();
        let words = words(&geometry);
        let table = Table::new(&words, &geometry, 64).unwrap();
        let write = |version, row: &[u64]| {
            table.commit(
                version,
                0,
                std::iter::once(Write {
                    slot: 3,
                    row: Some(row),
                }),
            )
        };
        write(2, &[20]);
        write(3, &[30]);
        // What a publisher leaves that dies after hiding the row for transaction 4.
        let spare = table
            .copies(3)
            .into_iter()
            .min_by_key(|copy| copy.tag.load(Ordering::Relaxed))
            .unwrap();
        spare.hide(crate::layout::Tag::live(4));
        table.repair(3);
        let mut row = [0];
        assert_eq!(
            table
                .read(3, 3, 0, &mut row)
                .map(|tag| (tag.version(), row[0])),
            Ok((3, 30))
        );
        table.commit(4, 0, std::iter::empty());
        let read = table.read(3, 4, 0, &mut row).map(|tag| tag.version());
        assert_eq!(
            (read, row[0]),
            (Ok(3), 30),
            "the dead one's transaction 4 never was"
        );
        write(5, &[50]);
        let read = table.read(3, 5, 0, &mut row).map(|tag| tag.version());
        assert_eq!((read, row[0]), (Ok(5), 50));
    }
}
