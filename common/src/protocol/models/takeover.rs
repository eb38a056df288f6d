//! A publisher dies before one of its stores, and a successor takes over while a reader reads.

use std::sync::Arc;

use loom::thread;

use super::{Memory, check, in_a_process};
use crate::protocol::catch_up::ChangedRows;
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;
use crate::protocol::sync::fuse;

/// Number of stores of a transaction of one row: tag, word, tree, journal entry and end, time,
/// commit.
const STORES: usize = 7;

fn write(memory: &Memory, version: u64) {
    let row = [version];
    let table = memory.table();
    let write = table.write(0, Some(&row), version - 1);
    table.commit(version, 0, std::iter::once(write));
}

/// Writes two transactions and dies before store number `death`.
fn write_and_die(memory: &Memory, death: usize) {
    fuse::lit(Some(death), || {
        write(memory, 3);
        write(memory, 4);
    });
}

/// Takes over from a publisher whose last commit was `committed`.
fn take_over(memory: &Memory, committed: u64) {
    memory.table().repair(committed);
    memory.table().commit(committed + 1, 0, std::iter::empty());
}

/// Returns the row as of `version` if the first publisher died after `committed`. The next version
/// only announces the takeover and changes no row.
fn expected(version: u64, committed: u64) -> u64 {
    if version == committed + 1 { committed } else { version }
}

/// Checks a death before store number `death` of two transactions, then a takeover and a
/// transaction.
fn model(death: usize) {
    // Not loaded from the table: loom would not see that the load of `commit` by the reader races
    // with the next store.
    let committed = 2 + (death / STORES).min(2) as u64;
    check(&format!("takeover after {death} stores"), 3, move |outcomes| {
        let memory = Memory::at_version_two(1);
        let reader = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let version = last_commit(memory.words());
                let mut row = [0];
                let read = memory.table().read(0, version, 0, &mut row);
                (version, read.is_ok().then_some(row[0]))
            })
        };
        in_a_process(&memory, move |memory| write_and_die(memory, death));
        in_a_process(&memory, move |memory| {
            take_over(memory, committed);
            write(memory, committed + 2);
        });

        let (version, row) = reader.join().unwrap();
        if let Some(row) = row {
            assert_eq!(
                row,
                expected(version, committed),
                "at {version}, last commit before the death {committed}"
            );
        }
        outcomes.saw((version, row));
        let mut row = [0];
        let last = last_commit(memory.words());
        memory.table().read(0, last, 0, &mut row).expect("every row is readable after a takeover");
        assert_eq!((last, row[0]), (committed + 2, committed + 2));
    });
}

/// The model after eight stores, the last of which hides the row for version 4, has the mutants of
/// the takeover.
#[test]
fn publisher_death_at_any_store_shows_no_uncommitted_row() {
    for death in 0..=2 * STORES {
        model(death);
    }
}

#[test]
fn subscriber_catches_up_over_a_takeover() {
    check("catch-up over a takeover", 3, |outcomes| {
        let memory = Memory::at_version_two(1);
        let reader = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut changed = ChangedRows::default();
                let look = || Ok::<_, ()>((last_commit(memory.words()), *memory.table()));
                let reached = changed.catch_up(Cursor::at(2), 1, look).ok();
                let row = changed.list().first().and_then(|row| changed.row(row));
                reached.map(|cursor| (cursor.version, row.map_or(2, |row| row[0])))
            })
        };
        // The publisher dies before the commit of transaction 4.
        in_a_process(&memory, |memory| write_and_die(memory, 2 * STORES - 1));
        in_a_process(&memory, |memory| take_over(memory, 3));
        let reached = reader.join().unwrap();
        if let Some((version, row)) = reached {
            assert_eq!(row, [2, 3, 3][version as usize - 2], "at version {version}");
        }
        outcomes.saw(reached);
    });
}
