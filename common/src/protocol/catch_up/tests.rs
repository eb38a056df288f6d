use std::collections::BTreeMap;

use super::*;
use crate::protocol::layout::{Geometry, Tag, header};
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::protocol::words::read_only;
use crate::protocol::{WritableTable, last_commit};
use crate::random::random;

/// Capacities around the sizes at which the change tree gets another level, and two in between.
const CAPACITIES: [usize; 8] = [1, 63, 64, 65, 200, 500, 4_096, 4_097];

fn words(geometry: &Geometry) -> Vec<AtomicU64> {
    let words: Vec<AtomicU64> =
        (0..geometry.words_for(geometry.capacity)).map(|_| AtomicU64::new(0)).collect();
    words[header::COMMIT].store(1, Ordering::Relaxed);
    words
}

#[test]
fn catch_up_over_many_commits_equals_following_each_commit() {
    const ROWS: usize = 5_000;
    let geometry = Geometry::new(2, ROWS, 0, 0).unwrap();
    let words = words(&geometry);
    let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
    let mut model: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
    // The last cursor has no position in the journal, so it searches blocks.
    let [mut near, mut far, mut lost] = [(); 3].map(|()| (Cursor::at(1), BTreeMap::new()));
    let mut changed = ChangedRows::default();
    let mut follow = |follower: &mut (Cursor, BTreeMap<usize, [u64; 2]>)| {
        let look = || Ok::<_, ()>((last_commit(read_only(&words)), *table));
        follower.0 = changed.catch_up(follower.0, 1, look).unwrap();
        for row in changed.list() {
            let slot = row.slot as usize;
            match changed.row(row) {
                Some(words) => follower.1.insert(slot, [words[0], words[1]]),
                None => follower.1.remove(&slot),
            };
        }
        changed.list().len()
    };
    let mut state = 42;
    for version in 2..400 {
        let changes: BTreeMap<usize, Option<[u64; 2]>> = (0..random(&mut state, 20))
            .map(|_| {
                let (slot, value) =
                    (random(&mut state, ROWS as u64) as usize, random(&mut state, 3));
                (slot, (value > 0).then_some([version, value]))
            })
            .collect();
        let writes = changes
            .iter()
            .map(|(slot, row)| table.write(*slot, row.as_ref().map(|row| &row[..]), version - 1));
        table.commit(version, 0, writes);
        for (slot, row) in &changes {
            match row {
                Some(row) => model.insert(*slot, *row),
                None => model.remove(slot),
            };
        }
        assert_eq!(follow(&mut near), changes.len(), "only the changed rows");
        assert_eq!((near.0.version, &near.1), (version, &model));
        lost.0 = Cursor::at(lost.0.version);
        assert_eq!(
            follow(&mut lost),
            changes.len(),
            "only the changed rows of the searched blocks"
        );
        assert_eq!(lost, near);
        if version % 97 == 0 {
            follow(&mut far);
            assert_eq!(far, near);
        }
    }
}

#[test]
fn rows_overwritten_during_the_copy_are_read_in_a_later_pass() {
    let geometry = Geometry::new(1, 64, 0, 0).unwrap();
    let words = words(&geometry);
    let table = WritableTable::new(&words, &geometry, 64).unwrap();
    let commit = |version: u64| {
        let row = [version];
        table.commit(
            version,
            0,
            [0, 9].map(|slot| table.write(slot, Some(&row[..]), version - 1)).into_iter(),
        );
    };
    commit(2);
    let mut changed = ChangedRows::default();
    // The version is loaded, and then the rows are rewritten twice before they are read. In the
    // second pass they are rewritten once.
    let mut pass = 0;
    let look = || {
        pass += 1;
        let version = last_commit(read_only(&words));
        (0..3_u64.saturating_sub(pass)).for_each(|more| commit(version + 1 + more));
        Ok::<_, ()>((version, *table))
    };
    let reached = changed.catch_up(Cursor::at(1), 5, look).unwrap();
    assert_eq!(reached.version, 4);
    let found: Vec<_> =
        changed.list().iter().map(|row| (row.slot, changed.row(row).unwrap()[0])).collect();
    assert_eq!(found, [(0, 4), (9, 4)]);

    let mut version = 6;
    let outrun = changed.catch_up(Cursor::at(1), 5, || {
        let seen = last_commit(read_only(&words));
        (0..2).for_each(|more| commit(version + more));
        version += 2;
        Ok::<_, ()>((seen, *table))
    });
    assert_eq!(outrun, Err(Failed::Outrun), "rewritten twice in each pass");
}

#[test]
fn row_hidden_by_repair_is_never_read() {
    let geometry = Geometry::new(1, 64, 0, 0).unwrap();
    let words = words(&geometry);
    let table = WritableTable::new(&words, &geometry, 64).unwrap();
    let write = |version, row: &[u64]| {
        table.commit(version, 0, std::iter::once(table.write(3, Some(row), version - 1)))
    };
    write(2, &[20]);
    write(3, &[30]);
    // The state that a publisher leaves if it dies after it hides the row for transaction 4.
    let spare = usize::from(table.tag_of(3, 1) < table.tag_of(3, 0));
    table.set_copy(3, spare, Tag::live(4), &[]);
    table.repair(3);
    let mut row = [0];
    assert_eq!(table.read(3, 3, 0, &mut row).map(|tag| (tag.version(), row[0])), Ok((3, 30)));
    table.commit(4, 0, std::iter::empty());
    let read = table.read(3, 4, 0, &mut row).map(|tag| tag.version());
    assert_eq!((read, row[0]), (Ok(3), 30), "the dead publisher did not commit transaction 4");
    write(5, &[50]);
    let read = table.read(3, 5, 0, &mut row).map(|tag| tag.version());
    assert_eq!((read, row[0]), (Ok(5), 50));
}

#[test]
fn rows_listed_by_the_journal_are_kept_when_the_next_pass_searches_blocks() {
    // The overwritten row is in another block than the rows that do not change.
    for capacity in CAPACITIES.into_iter().filter(|capacity| *capacity > 64) {
        let last_slot = capacity - 1;
        let geometry = Geometry::new(1, capacity, 0, 0).unwrap();
        let words = words(&geometry);
        let table = WritableTable::new(&words, &geometry, capacity).unwrap();
        let since = table.cursor(1);
        let commit = |version: u64, slots: &[usize], row: Option<&[u64]>| {
            let writes = slots.iter();
            let writes = writes.map(|slot| table.write(*slot, row, version - 1));
            table.commit(version, 0, writes);
        };
        commit(2, &[0, 1, last_slot], Some(&[2]));
        commit(3, &[1], None);
        let (mut pass, mut last) = (0, 0);
        let look = || {
            pass += 1;
            if pass == 2 {
                // Enough commits that the journal does not reach back to the first pass.
                for version in 6..6 + geometry.journal_slots as u64 {
                    commit(version, &[2, last_slot], Some(&[version]));
                }
            }
            last = last_commit(read_only(&words));
            if pass == 1 {
                // One row is overwritten. Two commits leave the cursor of the version before them
                // valid.
                (4..6).for_each(|version| commit(version, &[last_slot], Some(&[version])));
                let (cursor, mut slots) = (table.cursor(last), Vec::new());
                assert!(table.written_between(since, cursor, &mut slots));
                assert_eq!(slots, [0, 1, last_slot as u32], "the journal lists the rows");
            }
            Ok::<_, ()>((last, *table))
        };
        let mut changed = ChangedRows::default();
        let reached = changed.catch_up(since, 2, look).unwrap();
        assert_eq!((reached.version, pass), (last, 2));
        let rows = changed.list().iter();
        let rows: Vec<_> = rows.map(|row| (row.slot, changed.row(row).map(|row| row[0]))).collect();
        let expected = [(0, Some(2)), (1, None), (2, Some(last)), (last_slot as u32, Some(last))];
        assert_eq!(rows, expected, "capacity {capacity}");
    }
}

/// Commits transaction `version`, which writes the version to each of `slots` of a table with
/// `rows` rows.
fn commit_rows(
    words: &[AtomicU64],
    geometry: &Geometry,
    rows: usize,
    version: u64,
    slots: impl Iterator<Item = usize> + Clone,
) {
    let (table, row) = (WritableTable::new(words, geometry, rows).unwrap(), [version]);
    let writes = slots.map(|slot| table.write(slot, Some(&row), version - 1));
    table.commit(version, 0, writes);
}

#[test]
fn rows_added_after_the_row_count_was_loaded_are_read_by_the_next_catch_up() {
    for capacity in CAPACITIES {
        for rows in [0, 1, 62, 63, 64, 65, 199, 499, 4_095, 4_096] {
            if rows >= capacity {
                continue;
            }
            let geometry = Geometry::new(1, capacity, 0, 0).unwrap();
            let words = words(&geometry);
            commit_rows(&words, &geometry, rows, 2, 0..rows);
            // The publisher fills the table between a reader's load of the row count and its walk
            // over the tree.
            let look = || {
                let version = last_commit(read_only(&words));
                commit_rows(&words, &geometry, capacity, version + 1, 0..capacity);
                Ok::<_, ()>((version, Table::new(read_only(&words), &geometry, rows).unwrap()))
            };
            let (mut copied, mut live) = (AlignedWords::default(), Vec::new());
            let cursor = copy_all(&mut copied, &mut live, 1, look).unwrap();
            assert_eq!(cursor.version, 2, "capacity {capacity}, {rows} rows");
            let found: Vec<usize> = set_bits(&live).collect();
            assert_eq!(found, Vec::from_iter(0..rows), "capacity {capacity}");
            assert!(copied[..rows].iter().all(|word| *word == 2));

            // The next look finds the rows that were added.
            let table = Table::new(read_only(&words), &geometry, capacity).unwrap();
            let look = || Ok::<_, ()>((last_commit(read_only(&words)), table));
            let mut changed = ChangedRows::default();
            let cursor = changed.catch_up(cursor, 1, look).unwrap();
            assert_eq!((cursor.version, changed.list().len()), (3, capacity));
        }
    }
}

#[test]
fn rows_beyond_the_row_count_of_a_later_pass_are_dropped() {
    // Only a hostile publisher lowers the row count. The first pass lists a row by the journal. The
    // second pass must move the list to the slot buffer for fewer rows.
    let geometry = Geometry::new(1, 4_097, 0, 0).unwrap();
    let words = words(&geometry);
    let commit = |version, slots| commit_rows(&words, &geometry, 4_097, version, slots);
    let since = Table::new(read_only(&words), &geometry, 4_097).unwrap().cursor(1);
    commit(2, [0, 4_096].iter().copied());
    let mut pass = 0;
    let look = || {
        pass += 1;
        if pass == 2 {
            // Enough writes that the journal does not reach back to the first pass.
            (5..9).for_each(|version| commit_rows(&words, &geometry, 4_097, version, 0..4_097));
        }
        let version = last_commit(read_only(&words));
        if pass == 1 {
            (3..5).for_each(|version| commit(version, [0].iter().copied()));
        }
        let rows = if pass == 1 { 4_097 } else { 10 };
        Ok::<_, ()>((version, Table::new(read_only(&words), &geometry, rows).unwrap()))
    };
    let mut changed = ChangedRows::default();
    let cursor = changed.catch_up(since, 2, look).unwrap();
    assert_eq!((cursor.version, pass), (8, 2));
    let slots = changed.list().iter().map(|row| row.slot);
    assert_eq!(slots.collect::<Vec<_>>(), Vec::from_iter(0..10));
}

/// Counts the reads of each row in a pass, and rejects every row.
#[derive(Default)]
struct Counter {
    reads: BTreeMap<usize, usize>,
}

impl ChangeSink for Counter {
    fn reserve(&mut self, _table: &Table<'_>, _listed: Option<usize>) -> Result<(), NoMemory> {
        Ok(())
    }

    fn take(
        &mut self,
        _table: &Table<'_>,
        slot: usize,
        _window: ReadWindow,
    ) -> Result<(), Overwritten> {
        *self.reads.entry(slot).or_default() += 1;
        Err(Overwritten)
    }

    fn take_block(&mut self, table: &Table<'_>, number: usize, _window: ReadWindow) -> u64 {
        let first = number * BLOCK_ROWS;
        for slot in first..table.rows().min(first + BLOCK_ROWS) {
            *self.reads.entry(slot).or_default() += 1;
        }
        u64::MAX
    }
}

#[test]
fn overwritten_row_is_read_once_in_each_pass() {
    const ROWS: usize = 4_097;
    let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
    // The journal covers the commits with few rows but not those with many. For those, blocks are
    // searched.
    for (written, by_journal) in [(3, true), (ROWS, false)] {
        let words = words(&geometry);
        let table = Table::new(read_only(&words), &geometry, ROWS).unwrap();
        let since = table.cursor(1);
        let mut passes = Vec::new();
        let mut counter = Counter::default();
        for passes_made in 1..6 {
            counter.reads.clear();
            let mut pass = 0;
            let look = || {
                pass += 1;
                let version = last_commit(read_only(&words));
                commit_rows(&words, &geometry, ROWS, version + 1, (0..ROWS).rev().take(written));
                Ok::<_, ()>((version + 1, table))
            };
            let reached =
                catch_up(&mut counter, since, passes_made, &mut SlotLists::default(), look);
            assert_eq!(reached, Err(Failed::Outrun));
            assert_eq!(pass, passes_made);
            passes.push(counter.reads.values().copied().max());
        }
        let expected: Vec<_> = (1..6).map(Some).collect();
        assert_eq!(passes, expected, "by the journal: {by_journal}");
    }
}

#[test]
fn memory_shrinks_after_one_large_step() {
    const ROWS: usize = 60_000;
    let geometry = Geometry::new(2, ROWS, 0, 0).unwrap();
    let words = words(&geometry);
    let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
    let mut changed = ChangedRows::default();
    let mut cursor = table.cursor(1);
    let mut step = |version: u64, rows: usize| {
        let writes = (0..rows).map(|slot| table.write(slot, Some(&[7, 7]), version - 1));
        table.commit(version, 0, writes);
        let look = || Ok::<_, ()>((last_commit(read_only(&words)), *table));
        cursor = changed.catch_up(cursor, 1, look).unwrap();
        assert_eq!(changed.list().len(), rows);
        [changed.list.capacity(), changed.words.capacity()]
    };
    // One step that the journal covers, and one so large that blocks are searched.
    for (first, large) in [(2, 30_000), (100, 60_000)] {
        let [row, _] = step(first, large);
        assert!(row >= large, "{row}");
        for version in first + 1..first + 50 {
            step(version, 100);
        }
        let [row, words] = step(first + 50, 100);
        assert!(row <= 1_000 && words <= 2_000, "{row}, {words}");
        for version in first + 51..100 {
            step(version, 1);
        }
    }
}
