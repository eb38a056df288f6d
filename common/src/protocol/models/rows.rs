//! A publisher commits while a reader reads a row or catches up.

use std::sync::Arc;

use loom::thread;

use super::{Memory, check};
use crate::memory::AlignedWords;
use crate::protocol::Table;
use crate::protocol::catch_up::{ChangedRows, copy_all};
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;
use crate::protocol::layout::{Tag, header};
use crate::protocol::read::read_fast;
use crate::protocol::sync::Ordering;
use crate::protocol::words::set_bits;

/// Commits transaction `version`, which writes its number to each of `slots`.
fn commit(memory: &Memory, version: u64, slots: &[usize]) {
    let row = [version];
    let table = memory.table();
    let writes = slots.iter().map(|slot| table.write(*slot, Some(&row), version - 1));
    table.commit(version, 0, writes);
}

/// Runs `publish` against a reader on a separate thread, because loom explores a race better from
/// its later side.
pub(super) fn against<M: 'static, T: 'static>(
    memory: &Arc<M>,
    read: impl FnOnce(&M) -> T + 'static,
    publish: impl FnOnce(&M),
) -> T {
    let reader = {
        let memory = Arc::clone(memory);
        thread::spawn(move || read(&memory))
    };
    publish(memory);
    reader.join().unwrap()
}

fn commit_twice(memory: &Memory) {
    commit(memory, 3, &[0]);
    commit(memory, 4, &[0]);
}

fn commit_and_delete(memory: &Memory) {
    commit(memory, 3, &[0]);
    let table = memory.table();
    table.commit(4, 0, std::iter::once(table.write(0, None, 3)));
}

#[test]
fn read_returns_the_row_of_its_version_or_overwritten() {
    check("row", 4, |outcomes| {
        let read = |memory: &Memory| {
            let (version, mut row) = (last_commit(memory.words()), [0]);
            let read = memory.table().read(0, version, 0, &mut row);
            (version, read.ok().map(|tag| (tag.version(), row[0])))
        };
        let (version, row) = against(&Memory::at_version_two(1), read, commit_twice);
        assert!(
            row.is_none_or(|row| row == (version, version)),
            "{row:?} at {version}: each version writes its number"
        );
        outcomes.saw((version, row));
    });
}

#[test]
fn fast_read_returns_the_row_of_a_commit_during_the_read_or_nothing() {
    check("fast read", 4, |outcomes| {
        let read = |memory: &Memory| {
            let (before, mut row) = (memory.committed(), [0]);
            let found = read_fast(memory.words(), &memory.geometry, 0, &mut row, |_| true);
            (before, found.then_some(row[0]), last_commit(memory.words()))
        };
        let (before, row, after) = against(&Memory::at_version_two(1), read, commit_twice);
        assert!(
            row.is_none_or(|row| (before..=after).contains(&row)),
            "{row:?} between {before} and {after}"
        );
        outcomes.saw((before, row, after));
    });
}

/// Copies a table of one row in one pass. Returns the version, whether the row is live, and its
/// word.
fn copy_once(memory: &Memory) -> Option<(u64, bool, u64)> {
    let (mut rows, mut live) = (AlignedWords::default(), Vec::new());
    let look = || Ok::<_, ()>((last_commit(memory.words()), *memory.table()));
    let reached = copy_all(&mut rows, &mut live, 1, look).ok()?;
    Some((reached.version, live[0] == 1, rows[0]))
}

#[test]
fn copied_rows_are_those_of_one_version() {
    check("all rows", 4, |outcomes| {
        let copied = against(&Memory::at_version_two(1), copy_once, commit_twice);
        assert!(
            copied.is_none_or(|(version, live, row)| live && row == version),
            "{copied:?}: each version writes its number"
        );
        outcomes.saw(copied);
    });
}

#[test]
fn copied_row_is_deleted_only_at_the_version_of_its_deletion() {
    check("deletion among all rows", 4, |outcomes| {
        let memory = Memory::at_version_two(1);
        memory.table().set_copy(0, 0, Tag::deleted(1), &[]);
        let copied = against(&memory, copy_once, commit_and_delete);
        let copied = copied.map(|(version, live, _)| (version, live));
        assert!(copied.is_none_or(|(version, live)| live == (version != 4)), "{copied:?}");
        outcomes.saw(copied);
    });
}

#[test]
fn row_count_is_not_older_than_the_loaded_commit() {
    // With one row the root of the change tree is the entry of the block, with two it is above the
    // entries.
    for capacity in [1, 2] {
        check("growth", 3, move |outcomes| {
            let memory = Memory::at_version_two(capacity);
            for slot in 0..capacity {
                for which in [0, 1] {
                    memory.table().set_copy(slot, which, Tag(0), &[]);
                }
            }
            let read = |memory: &Memory| {
                let (mut rows, mut live) = (AlignedWords::default(), Vec::new());
                let mut loaded = 0;
                let look = || {
                    let version = last_commit(memory.words());
                    loaded = memory.words[header::ROWS].load(Ordering::Relaxed) as usize;
                    let table = Table::new(memory.words(), &memory.geometry, loaded).unwrap();
                    Ok::<_, ()>((version, table))
                };
                let reached = copy_all(&mut rows, &mut live, 1, look).unwrap();
                (reached.version, loaded, set_bits(&live).count())
            };
            let copied = against(&memory, read, |memory| {
                memory.words[header::ROWS].store(1, Ordering::Relaxed);
                commit(memory, 3, &[0]);
            });
            let (version, _, live) = copied;
            assert_eq!(live, version as usize - 2, "rows at version {version}");
            outcomes.saw(copied);
        });
    }
}

#[test]
fn row_is_unchanged_only_at_a_version_that_did_not_write_it() {
    check("answer", 4, |outcomes| {
        let read = |memory: &Memory| {
            let version = last_commit(memory.words());
            (version, memory.table().read(0, version, 1, &mut [0]).ok().map(|tag| tag.version()))
        };
        let (version, tag) = against(&Memory::at_version_two(1), read, commit_twice);
        assert!(
            tag.is_none_or(|tag| tag == version),
            "{tag:?} at {version}: each version writes the row"
        );
        outcomes.saw((version, tag));
    });
}

#[test]
fn row_is_deleted_only_at_the_version_of_its_deletion() {
    check("deletion", 4, |outcomes| {
        let memory = Memory::at_version_two(1);
        // The copy that version 3 will overwrite says "deleted", which is not the state at version
        // 2.
        memory.table().set_copy(0, 0, Tag::deleted(1), &[]);
        let read = |memory: &Memory| {
            let version = last_commit(memory.words());
            (version, memory.table().read(0, version, 0, &mut [0]).ok().map(|tag| tag.is_live()))
        };
        let (version, live) = against(&memory, read, commit_and_delete);
        assert!(live.is_none_or(|live| live == (version != 4)), "{live:?} at {version}");
        outcomes.saw((version, live));
    });
}

#[test]
fn reader_that_was_overwritten_loads_a_later_version() {
    check("overwritten", 4, |outcomes| {
        let read = |memory: &Memory| {
            let version = last_commit(memory.words());
            let read = memory.table().read(0, version, 0, &mut [0]);
            (version, read.is_ok(), last_commit(memory.words()))
        };
        let (version, found, next) = against(&Memory::at_version_two(1), read, commit_twice);
        assert!(found || next > version, "no progress from {version}");
        outcomes.saw((version, found, next));
    });
}

#[test]
fn catch_up_finds_all_changes_of_a_version() {
    // The models of one row cover rows that are overwritten twice. Here that would take hours.
    check("catch-up", 3, |outcomes| {
        let read = |memory: &Memory| {
            let mut changed = ChangedRows::default();
            let look = || Ok::<_, ()>((last_commit(memory.words()), *memory.table()));
            let reached = changed.catch_up(Cursor::at(2), 2, look).ok();
            let mut rows = [2, 2];
            for row in changed.list() {
                rows[row.slot as usize] = changed.row(row).unwrap()[0];
            }
            reached.map(|cursor| (cursor.version, rows))
        };
        let reached = against(&Memory::at_version_two(2), read, |memory| {
            commit(memory, 3, &[0, 1]);
            commit(memory, 4, &[0]);
        });
        if let Some((version, rows)) = reached {
            let expected = [[2, 2], [3, 3], [4, 3]][version as usize - 2];
            assert_eq!(rows, expected, "at version {version}");
        }
        outcomes.saw(reached);
    });
}
