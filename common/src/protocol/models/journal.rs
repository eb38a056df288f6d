//! A reader reads the journal, which holds two slots, while the publisher writes to it.

use std::sync::Arc;

use super::rows::against;
use super::{Memory, check, in_a_process};
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;
use crate::protocol::sync::fuse;

/// Commits transaction `version`, which deletes the rows at `slots`, because a deletion takes fewer
/// stores than a row.
fn commit(memory: &Memory, version: u64, slots: &[usize]) {
    let table = memory.table();
    let writes = slots.iter().map(|slot| table.write(*slot, None, version - 1));
    table.commit(version, 0, writes);
}

/// Returns the new cursor of a reader at `since`, and the slots that the journal names, if it
/// covers the range.
fn read(memory: &Memory, since: Cursor) -> (Cursor, Option<Vec<u32>>) {
    let table = memory.table();
    let reached = table.cursor(last_commit(memory.words()));
    let mut slots = Vec::new();
    let known = table.written_between(since, reached, &mut slots);
    (reached, known.then_some(slots))
}

/// Asserts that the journal, if it covers the range, names all slots of `written` after `since`.
fn assert_complete(
    since: Cursor,
    (reached, named): &(Cursor, Option<Vec<u32>>),
    written: &[(u64, u32)],
) {
    let range = since.version + 1..=reached.version;
    let mut expected = written.iter().filter(|(version, _)| range.contains(version));
    if let Some(slots) = named {
        assert!(
            expected.all(|(_, slot)| slots.contains(slot)),
            "from {since:?} to {reached:?}: {slots:?}"
        );
    }
}

#[test]
fn journal_names_every_written_row_or_is_rejected() {
    check("journal", 4, |outcomes| {
        let memory = Memory::at_version_two(2);
        let since = memory.table().cursor(2);
        // The next transaction shares the word of this entry, and the one after it overwrites the
        // entry. Not slot 0, which looks like an empty half of a word.
        commit(&memory, 3, &[1]);
        let seen = against(
            &memory,
            move |memory| read(memory, since),
            |memory| {
                commit(memory, 4, &[0]);
                commit(memory, 5, &[0]);
            },
        );
        let written = [(3, 1), (4, 0), (5, 0)];
        assert_complete(since, &seen, &written);
        assert_complete(seen.0, &read(&memory, seen.0), &written);
        outcomes.saw((seen.0.version, seen.1));
    });
}

#[test]
fn entry_is_kept_while_the_next_one_is_stored_in_the_same_word() {
    check("journal entry next to a new one", 3, |outcomes| {
        let memory = Memory::at_version_two(2);
        commit(&memory, 3, &[0]);
        let since = memory.table().cursor(3);
        commit(&memory, 4, &[1]);
        let seen =
            against(&memory, move |memory| read(memory, since), |memory| commit(memory, 5, &[0]));
        assert_complete(since, &seen, &[(4, 1), (5, 0)]);
        outcomes.saw((seen.0.version, seen.1));
    });
}

#[test]
fn successor_continues_the_journal() {
    check("journal over a takeover", 4, |outcomes| {
        let memory = Memory::at_version_two(2);
        let since = memory.table().cursor(2);
        let reader = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || read(&memory, since))
        };
        // The publisher dies before the commit of transaction 4.
        in_a_process(&memory, |memory| {
            commit(memory, 3, &[1]);
            fuse::lit(Some(6), || commit(memory, 4, &[0]));
            assert_eq!(memory.committed(), 3);
        });
        in_a_process(&memory, |memory| {
            memory.table().repair(3);
            commit(memory, 4, &[]);
            commit(memory, 5, &[0]);
        });
        let seen = reader.join().unwrap();
        let written = [(3, 1), (5, 0)];
        assert_complete(since, &seen, &written);
        assert_complete(seen.0, &read(&memory, seen.0), &written);
        outcomes.saw((seen.0.version, seen.1));
    });
}
