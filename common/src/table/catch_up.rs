//! All rows that changed since a version, as one.
//!
//! 1. Load `commit` as `s`. 2. Walk the change tree where it is above the last version looked at, and in those blocks
//!    copy aside each row that was written since. 3. A row that was rewritten twice meanwhile goes on a list. 4. Unless the list
//!    is empty, again from 1: a greater `s`, the rows of the list and those that changed since the last pass. 5. When the
//!    list is empty, what was copied is the table's difference from the version begun with to the last `s`.
//!
//! It is not outrun for long: a pass after the first looks only at what changed during the one before.

use super::Table;
use super::read::{Block, Overtaken, Tags};
use crate::bits::set_bits;
use crate::layout::BLOCK_ROWS;
use crate::memory::Lines;

/// Takes what a catching up reads.
trait Aside {
    /// Copies aside the row, if it was written after what is known of it.
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overtaken>;

    /// The same for all rows of a block. Those that must be read again go to `failed`.
    #[inline]
    fn take_block(
        &mut self,
        table: &Table<'_>,
        number: usize,
        known: Known,
        failed: &mut Vec<u32>,
    ) {
        let first = number * BLOCK_ROWS;
        let block = &table.block(number);
        for slot in first..(first + BLOCK_ROWS).min(table.rows()) {
            let row = Row { block, slot, known };
            if !block.is_unchanged(slot - first, known.since) && self.take(table, row).is_err() {
                failed.push(slot as u32);
            }
        }
    }
}

/// What is to be read is the table as of `version`; rows are known as of `since`.
#[derive(Clone, Copy)]
struct Known {
    version: u64,
    since: u64,
}

/// A row that may have been written since.
struct Row<'b, 'm> {
    block: &'b Block<'m>,
    slot: usize,
    known: Known,
}

impl Row<'_, '_> {
    /// Whether the row was written, and if so whether it is live; `words` then holds it.
    #[inline]
    fn read(&self, words: &mut [u64]) -> Result<Option<bool>, Overtaken> {
        let Known { version, since } = self.known;
        let tag = self
            .block
            .read(self.slot % BLOCK_ROWS, version, since, words)?;
        Ok((tag.version() > since).then_some(tag.is_live()))
    }
}

/// The passes, for `aside`; for the rest see [`Staging::catch_up`]. Returns also how many passes it took.
fn catch_up<'m, E>(
    aside: &mut impl Aside,
    since: u64,
    passes: u32,
    failed: &mut Vec<u32>,
    mut look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<Option<(u64, u32)>, E> {
    failed.clear();
    let mut looked = since;
    for pass in 1..=passes {
        let (version, table) = look()?;
        failed.retain(|slot| {
            let slot = *slot as usize;
            // Rows never become fewer: what says so is damaged, and is given up on.
            slot >= table.rows() || {
                let block = &table.block(slot / BLOCK_ROWS);
                let known = Known { version, since };
                aside.take(&table, Row { block, slot, known }).is_err()
            }
        });
        let known = Known {
            version,
            since: looked,
        };
        table.changed_blocks(looked, |block| {
            aside.take_block(&table, block, known, failed)
        });
        looked = version;
        if failed.is_empty() {
            return Ok(Some((version, pass)));
        }
    }
    Ok(None)
}

/// One row that changed: where it stands now, or that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The row's place.
    pub slot: u32,
    /// Where its words begin among [`Staging::row`]'s; None if it was deleted.
    start: Option<usize>,
}

/// How many rows are expected to change again.
const EXPECTED: usize = 16;

/// Rows that changed, copied aside, not yet visible to anybody. Kept between refreshes for its memory.
#[derive(Default)]
pub struct Staging {
    rows: Rows,
    failed: Vec<u32>,
    /// Some rows that changed last time.
    before: Vec<u32>,
}

#[derive(Default)]
struct Rows {
    moved: Vec<Moved>,
    words: Vec<u64>,
    row_words: usize,
}

impl Aside for Rows {
    #[inline]
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overtaken> {
        self.row_words = table.row_words();
        let start = self.words.len();
        self.words.resize(start + self.row_words, 0);
        let read = row.read(&mut self.words[start..]);
        let keep = read == Ok(Some(true));
        if !keep {
            self.words.truncate(start);
        }
        if read?.is_some() {
            self.moved.push(Moved {
                slot: row.slot as u32,
                start: keep.then_some(start),
            });
        }
        Ok(())
    }
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
        self.before.clear();
        let moved = self.rows.moved.iter().take(EXPECTED);
        self.before.extend(moved.map(|moved| moved.slot));
        self.rows.moved.clear();
        self.rows.words.clear();
        let look = || {
            let (version, table) = look()?;
            // What changed last time may have changed again. From commit to tree to tags to row each is another line of the
            // publisher's core, and so they come together.
            self.before
                .drain(..)
                .for_each(|slot| table.prefetch(slot as usize));
            Ok((version, table))
        };
        let reached = catch_up(&mut self.rows, since, passes, &mut self.failed, look)?;
        if reached.is_some_and(|(_, passes)| passes > 1) {
            self.keep_last();
        }
        Ok(reached.map(|(version, _)| version))
    }

    /// After several passes a slot can stand here more than once: what was copied last counts.
    fn keep_last(&mut self) {
        let moved = &mut self.rows.moved;
        moved.reverse();
        moved.sort_by_key(|moved| moved.slot);
        moved.dedup_by_key(|moved| moved.slot);
    }

    /// The rows that changed, each slot once.
    pub fn moved(&self) -> &[Moved] {
        &self.rows.moved
    }

    /// The words of a row that is live.
    pub fn row(&self, moved: &Moved) -> Option<&[u64]> {
        let start = moved.start?;
        Some(&self.rows.words[start..start + self.rows.row_words])
    }
}

/// Where the rows of a whole table go, each where its slot says.
pub trait Destination {
    /// At least `words` words. What was there stays.
    fn reserve(&mut self, words: usize) -> &mut [u64];
}

impl Destination for Lines {
    #[inline]
    fn reserve(&mut self, words: usize) -> &mut [u64] {
        if self.len() < words {
            self.grow(words);
        }
        self
    }
}

/// All rows of a table.
struct Whole<'d, D> {
    rows: &'d mut D,
    live: &'d mut Vec<u64>,
    tags: Tags,
}

impl<D: Destination> Whole<'_, D> {
    /// The words of the rows from `slot` on, and of all that are live a bit.
    #[inline]
    fn at(&mut self, table: &Table<'_>, slot: usize) -> (&mut [u64], &mut [u64], &mut Tags) {
        let bits = table.rows().div_ceil(64);
        if self.live.len() < bits {
            self.live.resize(bits, 0);
        }
        let words = self.rows.reserve(bits * 64 * table.row_words());
        (
            &mut words[slot * table.row_words()..],
            self.live,
            &mut self.tags,
        )
    }
}

#[inline]
fn set_bit(bits: &mut [u64], at: usize, value: bool) {
    let (word, bit) = (&mut bits[at / 64], 1 << (at % 64));
    *word = if value { *word | bit } else { *word & !bit };
}

impl<D: Destination> Aside for Whole<'_, D> {
    fn take(&mut self, table: &Table<'_>, row: Row<'_, '_>) -> Result<(), Overtaken> {
        let (words, live, _) = self.at(table, row.slot);
        if let Some(is_live) = row.read(&mut words[..table.row_words()])? {
            set_bit(live, row.slot, is_live);
        }
        Ok(())
    }

    fn take_block(
        &mut self,
        table: &Table<'_>,
        number: usize,
        known: Known,
        failed: &mut Vec<u32>,
    ) {
        let first = number * BLOCK_ROWS;
        let rows = BLOCK_ROWS.min(table.rows() - first);
        let (words, live, tags) = self.at(table, first);
        let words = &mut words[..rows * table.row_words()];
        if first + BLOCK_ROWS < table.rows() {
            table.block(number + 1).prefetch();
        }
        let answers = table
            .block(number)
            .read_all(known.version, known.since, words, tags);
        let (live, shift) = (&mut live[first / 64], first % 64);
        let written = answers.written & !answers.failed;
        *live &= !(written << shift);
        *live |= (written & answers.live) << shift;
        failed.extend(set_bits(&[answers.failed]).map(|row| (first + row) as u32));
    }
}

/// Copies all rows of a table at one version to `rows`, and sets in `live` a bit for each slot that holds one; elsewhere
/// anything may stand. For the rest see [`Staging::catch_up`].
///
/// # Errors
/// What `look` returns.
pub fn copy_all<'m, E>(
    rows: &mut impl Destination,
    live: &mut Vec<u64>,
    passes: u32,
    look: impl FnMut() -> Result<(u64, Table<'m>), E>,
) -> Result<Option<u64>, E> {
    live.clear();
    let tags = [[0; 2 * BLOCK_ROWS]; 2];
    let mut whole = Whole { rows, live, tags };
    let reached = catch_up(&mut whole, 0, passes, &mut Vec::new(), look)?;
    Ok(reached.map(|(version, _)| version))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::layout::{Geometry, header};
    use crate::sync::{AtomicU64, Ordering};
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
            let writes = changes.iter().map(|(slot, row)| {
                table.write(*slot, row.as_ref().map(|row| &row[..]), version - 1)
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
                    .map(|slot| table.write(slot, Some(&row[..]), version - 1))
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
                std::iter::once(table.write(3, Some(row), version - 1)),
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
