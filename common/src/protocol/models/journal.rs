//! A reader asks the journal, which holds two slots, what was written, while it goes on.

use std::sync::Arc;

use super::rows::against;
use super::{Memory, check, in_a_process};
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;
use crate::protocol::sync::fuse;

/// Transaction `version`, which deletes the rows at `slots`: that is fewer stores than to write them.
fn commit(memory: &Memory, version: u64, slots: &[usize]) {
    let table = memory.table();
    let writes = slots
        .iter()
        .map(|slot| table.write(*slot, None, version - 1));
    table.commit(version, 0, writes);
}

/// How far a reader is that was at `since`, and the slots that the journal names for that, if it knows.
fn look(memory: &Memory, since: Cursor) -> (Cursor, Option<Vec<u32>>) {
    let table = memory.table();
    let mark = table.mark(last_commit(memory.words()));
    let mut slots = Vec::new();
    let known = table.written_between(since, mark, &mut slots);
    (mark, known.then_some(slots))
}

/// Fails if the journal does not name all of `written`, version by version from `since` on.
fn is_complete(since: Cursor, (mark, named): &(Cursor, Option<Vec<u32>>), written: &[(u64, u32)]) {
    let meant = |version: &u64| (since.version + 1..=mark.version).contains(version);
    let mut meant = written.iter().filter(|(version, _)| meant(version));
    if let Some(slots) = named {
        assert!(
            meant.all(|(_, slot)| slots.contains(slot)),
            "from {since:?} to {mark:?}: {slots:?}"
        );
    }
}

#[test]
fn the_journal_names_every_row_that_was_written_or_is_not_believed() {
    check("journal", 4, |outcomes| {
        let memory = Memory::at_version_two(2);
        let since = memory.table().mark(2);
        // The journal keeps its slot for one more transaction, which shares the word; the next one overwrites it. It is not
        // slot 0, which looks like an empty half of a word.
        commit(&memory, 3, &[1]);
        let seen = against(
            &memory,
            move |memory| look(memory, since),
            |memory| {
                commit(memory, 4, &[0]);
                commit(memory, 5, &[0]);
            },
        );
        let written = [(3, 1), (4, 0), (5, 0)];
        is_complete(since, &seen, &written);
        is_complete(seen.0, &look(&memory, seen.0), &written);
        outcomes.saw((seen.0.version, seen.1));
    });
}

#[test]
fn a_slot_that_shares_its_word_with_the_next_ones_stays_as_long_as_it_is_believed() {
    check("journal beside the next", 3, |outcomes| {
        let memory = Memory::at_version_two(2);
        commit(&memory, 3, &[0]);
        let since = memory.table().mark(3);
        commit(&memory, 4, &[1]);
        let seen = against(
            &memory,
            move |memory| look(memory, since),
            |memory| commit(memory, 5, &[0]),
        );
        is_complete(since, &seen, &[(4, 1), (5, 0)]);
        outcomes.saw((seen.0.version, seen.1));
    });
}

#[test]
fn a_successor_goes_on_with_the_journal() {
    check("journal over a takeover", 4, |outcomes| {
        let memory = Memory::at_version_two(2);
        let since = memory.table().mark(2);
        let reader = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || look(&memory, since))
        };
        // It dies when it has written all but the commit of transaction 4.
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
        is_complete(since, &seen, &written);
        is_complete(seen.0, &look(&memory, seen.0), &written);
        outcomes.saw((seen.0.version, seen.1));
    });
}
