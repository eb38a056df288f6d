//! Keys that move between slots, and slots that other keys come to, against a subscriber that catches up.

use super::rows::against;
use super::{Memory, check};
use crate::protocol::catch_up::Staging;
use crate::protocol::journal::Cursor;
use crate::protocol::last_commit;
use crate::protocol::layout::Tag;
use crate::protocol::sync::Ordering;

/// The keys at both slots, 0 for none, as of versions 2, 3 and 4: a slot is freed and its key moves to the slot of another
/// one, which goes; then that one comes to the free slot.
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
fn a_key_stands_at_one_slot_at_a_time_and_at_its_own() {
    check("moves", 3, |outcomes| {
        let memory = Memory::at_version_two(2);
        for (slot, key) in KEYS[0].iter().enumerate() {
            for (copy, version) in memory.table().copies(slot).iter().zip([1, 2]) {
                copy.tag.store(Tag::live(version).0, Ordering::Relaxed);
                copy.words[0].store(*key, Ordering::Relaxed);
            }
        }
        let read = |memory: &Memory| {
            let mut staging = Staging::default();
            let look = || Ok::<_, ()>((last_commit(memory.words()), *memory.table()));
            let reached = staging.catch_up(Cursor::at(2), 2, look).ok();
            let mut keys = KEYS[0];
            for moved in staging.moved() {
                keys[moved.slot as usize] = staging.row(moved).map_or(0, |row| row[0]);
            }
            reached.map(|mark| (mark.version, keys))
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
