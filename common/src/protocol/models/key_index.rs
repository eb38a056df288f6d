//! A reader looks up keys in shared memory while the publisher inserts, deletes, moves and replaces
//! them, changes the generation, or dies.
//!
//! A row is one word: its key in the upper half and the version that wrote it in the lower one.

use std::sync::Arc;

use super::rows::against;
use super::{Memory, check, in_a_process};
use crate::protocol::key_index::{
    IndexGeometry, KeyIndex, KeyIndexWriter, generation, publish_generation,
};
use crate::protocol::last_commit;
use crate::protocol::layout::Tag;
use crate::protocol::sync::{AtomicU64, fuse};
use crate::protocol::words::read_only;

/// Maximum number of passes of a lookup.
const PASSES: usize = 2;
/// All keys have this hash, so that they have equal entries at equal slots.
const HASH: u64 = 1 << 40;

/// A table with two slots, and two generations of its index.
struct Indexed {
    memory: Arc<Memory>,
    generations: [Vec<AtomicU64>; 2],
    geometry: IndexGeometry,
}

fn row(key: u64, version: u64) -> u64 {
    key << 32 | version
}

impl Indexed {
    /// Returns a table at version 2 with these keys at its slots, 0 for none.
    fn with_keys(keys: [u64; 2]) -> Arc<Self> {
        let memory = Memory::at_version_two(2);
        for (slot, key) in keys.into_iter().enumerate() {
            let tag = if key == 0 { Tag::deleted(1) } else { Tag::live(1) };
            memory.table().set_copy(slot, 0, tag, &[row(key, 1)]);
            let tag = if key == 0 { Tag::deleted(2) } else { Tag::live(2) };
            memory.table().set_copy(slot, 1, tag, &[row(key, 2)]);
        }
        let geometry = IndexGeometry::for_keys(1, 2);
        let words = || (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let indexed = Self { memory, generations: [words(), words()], geometry };
        indexed.writer(0).set_removed(2);
        for slot in (0..2).filter(|slot| keys[*slot] != 0) {
            indexed.writer(0).insert(HASH, slot).unwrap();
        }
        Arc::new(indexed)
    }

    fn writer(&self, generation: usize) -> KeyIndexWriter<'_> {
        KeyIndexWriter::new(&self.generations[generation], self.geometry).unwrap()
    }

    /// Commits rows with these keys (0 to delete) at these slots.
    fn commit(&self, version: u64, changes: &[(usize, u64)]) {
        let rows: Vec<[u64; 1]> = changes.iter().map(|(_, key)| [row(*key, version)]).collect();
        let table = self.memory.table();
        let writes = changes.iter().zip(&rows).map(|((slot, key), row)| {
            table.write(*slot, (*key != 0).then_some(&row[..]), version - 1)
        });
        table.commit(version, 0, writes);
    }

    /// Writes generation 1 with entries for `slots`, all keys of which are live at `commit`.
    fn next_generation(&self, commit: u64, slots: &[usize]) {
        self.writer(1).set_removed(commit);
        for slot in slots {
            self.writer(1).insert(HASH, *slot).unwrap();
        }
        publish_generation(&self.memory.words, 1);
    }

    /// Looks a key up. Returns the version and the version that wrote the row, if there is one.
    fn lookup(&self, key: u64) -> Option<(u64, Option<u64>)> {
        for _ in 0..PASSES {
            let version = last_commit(self.memory.words());
            let current = generation(self.memory.words()) as usize;
            let index = KeyIndex::new(read_only(&self.generations[current]), self.geometry);
            let mut row = [0];
            let is_key = |row: &[u64]| row[0] >> 32 == key;
            match index.find(&self.memory.table(), version, HASH, &mut row, is_key) {
                Ok(Some(_)) => return Some((version, Some(row[0] & 0xffff_ffff))),
                Ok(None) if index.proves_absence(version) => return Some((version, None)),
                _ => {}
            }
        }
        None
    }
}

/// Runs `publish` against a reader that looks up `key`, whose row as of version 2 + `n` was written
/// by `expected[n]`.
fn model<const VERSIONS: usize>(
    name: &str,
    keys: [u64; 2],
    key: u64,
    expected: [Option<u64>; VERSIONS],
    publish: fn(&Indexed),
) {
    check(name, VERSIONS, move |outcomes| {
        let indexed = Indexed::with_keys(keys);
        let found = against(&indexed, move |indexed| indexed.lookup(key), publish);
        if let Some((version, written)) = found {
            assert_eq!(written, expected[version as usize - 2], "at version {version}");
        }
        outcomes.saw(found);
        let last = 1 + VERSIONS as u64;
        assert_eq!(indexed.lookup(key), Some((last, expected[VERSIONS - 1])));
    });
}

/// The old key's entry and that of the new key are equal: the publisher knows them by position.
fn replace(indexed: &Indexed) {
    indexed.writer(0).insert(HASH, 0).unwrap();
    indexed.commit(3, &[(0, 8)]);
    indexed.writer(0).bury(3, [0]);
}

#[test]
fn replaced_key_is_found_up_to_the_version_that_replaced_it() {
    model("key replaced in its slot", [7, 0], 7, [Some(2), None], replace);
}

#[test]
fn key_that_replaces_another_is_found_from_its_version_on() {
    model("new key in the slot of another", [7, 0], 8, [None, Some(3)], replace);
}

#[test]
fn key_that_moves_to_another_slot_is_found_at_every_version() {
    model("key moved", [7, 0], 7, [Some(2), Some(3)], |indexed| {
        indexed.writer(0).insert(HASH, 1).unwrap();
        indexed.commit(3, &[(0, 0), (1, 7)]);
        indexed.writer(0).bury(3, [0]);
    });
}

#[test]
fn entry_over_a_tombstone_does_not_hide_the_deleted_key() {
    model("tombstone reused", [7, 0], 7, [Some(2), None, None], |indexed| {
        indexed.commit(3, &[(0, 0)]);
        indexed.writer(0).bury(3, [0]);
        indexed.writer(0).insert(HASH, 1).unwrap();
        indexed.commit(4, &[(1, 8)]);
    });
}

#[test]
fn key_is_found_in_a_new_generation_before_and_after_a_commit() {
    model("key in a new generation", [7, 0], 7, [Some(2), Some(2)], |indexed| {
        indexed.next_generation(2, &[0]);
        indexed.commit(3, &[]);
    });
}

#[test]
fn new_key_is_found_in_the_generation_that_its_commit_made_current() {
    model("generation before a commit", [7, 0], 8, [None, Some(3)], |indexed| {
        indexed.next_generation(2, &[0]);
        indexed.writer(1).insert(HASH, 1).unwrap();
        indexed.commit(3, &[(1, 8)]);
    });
}

#[test]
fn deleted_key_is_not_missed_at_its_version_in_a_later_generation() {
    model("generation after a deletion", [7, 0], 7, [Some(2), None, None], |indexed| {
        indexed.commit(3, &[(0, 0)]);
        indexed.next_generation(3, &[]);
        indexed.writer(1).insert(HASH, 1).unwrap();
        indexed.commit(4, &[(1, 8)]);
    });
}

/// Number of stores of [`insert_and_die`] up to the commit: the entry, two tags, a word, three of
/// the change tree, the journal's end, time, commit.
const COMMITTED: usize = 10;
/// Number of all of its stores, with `removed` and the tombstone.
const STORES: usize = COMMITTED + 2;

#[test]
fn successor_after_a_death_at_any_store_finds_and_misses_the_right_keys() {
    for death in 0..STORES {
        let committed = if death < COMMITTED { 2 } else { 3 };
        for (key, before) in [(7, [Some(2), None]), (8, [None, Some(3)])] {
            let name = format!("lookup of {key}, death after {death} stores, takeover");
            check(&name, 2, move |outcomes| {
                let indexed = Indexed::with_keys([7, 0]);
                let look_up = move |indexed: &Indexed| indexed.lookup(key);
                let found = against(&indexed, look_up, |_| {
                    in_a_process(&indexed, move |indexed| insert_and_die(indexed, death));
                    in_a_process(&indexed, move |indexed| {
                        indexed.memory.table().repair(committed);
                        indexed.next_generation(committed, &[committed as usize - 2]);
                        indexed.commit(committed + 1, &[]);
                    });
                });
                let expected = |version: u64| before[version.min(committed) as usize - 2];
                if let Some((version, written)) = found {
                    assert_eq!(written, expected(version), "at version {version}");
                }
                outcomes.saw(found);
                let last = committed + 1;
                assert_eq!(indexed.lookup(key), Some((last, expected(last))));
            });
        }
    }
}

/// Moves from key 7 at slot 0 to key 8 at slot 1, and dies before store number `death`.
fn insert_and_die(indexed: &Indexed, death: usize) {
    fuse::lit(Some(death), || {
        indexed.writer(0).insert(HASH, 1).unwrap();
        indexed.commit(3, &[(0, 0), (1, 8)]);
        indexed.writer(0).bury(3, [0]);
    });
}

#[test]
fn publisher_death_at_any_store_hides_no_key_and_leaves_absence_provable() {
    for death in 0..=STORES {
        for (key, expected) in [(7, [Some(2), None]), (8, [None, Some(3)])] {
            let name = format!("lookup of {key} after {death} stores");
            check(&name, 1, move |outcomes| {
                let indexed = Indexed::with_keys([7, 0]);
                let look_up = move |indexed: &Indexed| indexed.lookup(key);
                let found = against(&indexed, look_up, |_| {
                    in_a_process(&indexed, move |indexed| insert_and_die(indexed, death));
                });
                if let Some((version, written)) = found {
                    assert_eq!(written, expected[version as usize - 2], "at version {version}");
                }
                outcomes.saw(found);
                // Without a successor every lookup has an answer.
                let last = last_commit(indexed.memory.words());
                let found = indexed.lookup(key);
                assert_eq!(found, Some((last, expected[last as usize - 2])));
            });
        }
    }
}
