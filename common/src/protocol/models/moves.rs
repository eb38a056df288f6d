//! Keys move between slots while a subscriber catches up.

use super::rows::against;
use super::{Memory, check};
use crate::protocol::catch_up::ChangedRows;
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;

/// The keys at both slots, 0 for none, as of versions 2, 3 and 4. Version 3 moves a key to the slot
/// of another key, which is deleted. Version 4 inserts that key into the free slot.
const KEYS: [[u64; 2]; 3] = [[7, 8], [0, 7], [8, 7]];

fn commit(memory: &Memory, version: u64, slots: &[usize]) {
    let keys = KEYS[version as usize - 2].map(|key| [key]);
    let table = memory.table();
    let writes = slots.iter().map(|slot| {
        let row = (keys[*slot][0] != 0).then_some(&keys[*slot][..]);
        table.write(*slot, row, version - 1)
    });
    table.commit(version, 0, writes);
}

#[test]
fn moved_key_is_at_the_slot_of_its_version_only() {
    check("moves", 3, |outcomes| {
        let memory = Memory::at_version_two(2);
        for (slot, key) in KEYS[0].iter().enumerate() {
            memory.write_copies(slot, [*key; 2]);
        }
        let read = |memory: &Memory| {
            let mut changed = ChangedRows::default();
            let look = || Ok::<_, ()>((last_commit(memory.words()), *memory.table()));
            let reached = changed.catch_up(Cursor::at(2), 2, look).ok();
            let mut keys = KEYS[0];
            for row in changed.list() {
                keys[row.slot as usize] = changed.row(row).map_or(0, |row| row[0]);
            }
            reached.map(|cursor| (cursor.version, keys))
        };
        let reached = against(&memory, read, |memory| {
            commit(memory, 3, &[0, 1]);
            commit(memory, 4, &[0]);
        });
        if let Some((version, keys)) = reached {
            assert_eq!(keys, KEYS[version as usize - 2], "at version {version}");
        }
        outcomes.saw(reached);
    });
}
