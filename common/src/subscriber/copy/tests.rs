//! Tests of rows that follow a table whose words are a vector.

use super::*;
use crate::protocol::journal::Cursor;
use crate::protocol::layout::{Geometry, header};
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::protocol::words::read_only;
use crate::protocol::{WritableTable, last_commit};

/// A publisher that writes whole slots, and rows that follow it.
struct Pair {
    words: Vec<AtomicU64>,
    geometry: Geometry,
    rows: KeyedRows,
    cursor: Cursor,
}

impl Pair {
    fn new() -> Self {
        let geometry = Geometry::new(2, 128, 0, 0).unwrap();
        let words: Vec<AtomicU64> =
            (0..geometry.words_for(128)).map(|_| AtomicU64::new(0)).collect();
        words[header::COMMIT].store(1, Ordering::Relaxed);
        let schema = Arc::new(Schema::parse("id:u64,value:u64", None).unwrap());
        Self {
            words,
            geometry,
            rows: KeyedRows::new(&schema, AlignedWords::default(), Vec::new()).unwrap(),
            cursor: Cursor::at(1),
        }
    }

    fn commit(&mut self, slots: &[(usize, Option<[u64; 2]>)]) {
        let table = WritableTable::new(&self.words, &self.geometry, 128).unwrap();
        let version = last_commit(read_only(&self.words)) + 1;
        table.commit(
            version,
            0,
            slots.iter().map(|(slot, row)| {
                table.write(*slot, row.as_ref().map(|row| &row[..]), version - 1)
            }),
        );
    }

    /// Refreshes, and returns the changes: key, old value, new value.
    fn refresh(&mut self) -> Vec<(u64, Option<u64>, Option<u64>)> {
        let table = WritableTable::new(&self.words, &self.geometry, 128).unwrap();
        let mut changed = ChangedRows::default();
        let look = || Ok::<_, ()>((last_commit(read_only(&self.words)), *table));
        self.cursor = changed.catch_up(self.cursor, 1, look).unwrap();
        let mut changes = ChangeList::new(&self.rows.rows.schema);
        self.rows.apply(&changed, &mut changes).unwrap();
        let row = |bytes: &[u8]| bytemuck::pod_read_unaligned::<[u64; 2]>(bytes);
        let mut reported: Vec<_> = changes
            .items
            .iter()
            .map(|item| {
                let (old, new) = match *item {
                    Changed::Created { slot } => (None, Some(row(self.rows.rows.bytes(slot)))),
                    Changed::Updated { old, slot } => {
                        (Some(row(changes.old_bytes(old))), Some(row(self.rows.rows.bytes(slot))))
                    }
                    Changed::Deleted { old } => (Some(row(changes.old_bytes(old))), None),
                };
                assert!(
                    old.is_none()
                        || new.is_none()
                        || old.map(|row| row[0]) == new.map(|row| row[0])
                );
                (old.or(new).unwrap()[0], old.map(|row| row[1]), new.map(|row| row[1]))
            })
            .collect();
        reported.sort_unstable();
        reported
    }

    fn get(&self, key: u64) -> Option<u64> {
        let (slot, _) = self.rows.find(&key.to_le_bytes(), 2)?;
        Some(bytemuck::pod_read_unaligned::<[u64; 2]>(self.rows.rows.bytes(slot))[1])
    }
}

#[test]
fn keys_that_swap_move_or_return_are_reported_by_key() {
    let mut pair = Pair::new();
    pair.commit(&[(0, Some([1, 10])), (1, Some([2, 20])), (70, Some([3, 30]))]);
    assert_eq!(pair.refresh(), [(1, None, Some(10)), (2, None, Some(20)), (3, None, Some(30))]);

    // Keys 1 and 2 swap their slots, and key 2 gets another value. Key 3 moves, and key 4 takes its
    // former slot.
    pair.commit(&[(0, Some([2, 21])), (1, Some([1, 10])), (2, Some([3, 30])), (70, Some([4, 40]))]);
    assert_eq!(pair.refresh(), [(2, Some(20), Some(21)), (4, None, Some(40))]);
    assert_eq!([1, 2, 3, 4].map(|key| pair.get(key)), [Some(10), Some(21), Some(30), Some(40)]);
    assert_eq!(pair.rows.index.len(), 4);

    // Key 2 is deleted and inserted at another slot between two refreshes, key 1 is deleted, and
    // key 9 is inserted and deleted.
    pair.commit(&[(0, None), (1, None), (3, Some([9, 90]))]);
    pair.commit(&[(3, None), (5, Some([2, 22]))]);
    assert_eq!(pair.refresh(), [(1, Some(10), None), (2, Some(21), Some(22))]);
    assert_eq!([1, 2, 9].map(|key| pair.get(key)), [None, Some(22), None]);
    assert_eq!(set_bits(&pair.rows.live).collect::<Vec<_>>(), [2, 5, 70]);
    assert_eq!(pair.refresh(), []);
}

#[test]
fn later_row_counts_if_a_damaged_table_has_a_key_at_two_slots() {
    let mut pair = Pair::new();
    pair.commit(&[(0, Some([1, 10])), (1, Some([1, 11]))]);
    pair.refresh();
    assert_eq!(pair.get(1), Some(11), "the later row counts");
    pair.commit(&[(0, None)]);
    pair.refresh();
    assert_eq!(pair.get(1), Some(11), "and stays when the other row is deleted");
}

#[test]
fn move_to_another_region_reports_the_differences_by_key() {
    let mut old = Pair::new();
    old.commit(&[(0, Some([1, 10])), (1, Some([2, 20])), (2, Some([3, 30]))]);
    old.refresh();
    let mut new = Pair::new();
    new.commit(&[(5, Some([1, 10])), (1, Some([2, 21])), (9, Some([4, 40]))]);
    new.refresh();
    let changes = old.rows.differences(&new.rows);
    let kinds: Vec<_> = changes
        .items
        .iter()
        .map(|item| match item {
            Changed::Created { slot } => (0, *slot),
            Changed::Updated { slot, .. } => (1, *slot),
            Changed::Deleted { old } => (2, changes.old_bytes(*old)[0] as usize),
        })
        .collect();
    assert_eq!(kinds, [(1, 1), (2, 3), (0, 9)]);
}

#[test]
fn memory_of_old_rows_shrinks_after_one_large_refresh() -> crate::Result<()> {
    let name = format!("unit-old-rows-{}", std::process::id());
    let schema = Schema::parse("id:u64,value:u64", None)?;
    let mut publisher = crate::UntypedPublisher::builder(&name, schema).open()?;
    let mut subscriber = crate::UntypedSubscriber::open(&name)?;
    let mut step = |rows: u64, value: u64| -> crate::Result<[usize; 2]> {
        let mut tx = publisher.begin();
        for id in 0..rows {
            tx.upsert(bytemuck::bytes_of(&[id, value]))?;
        }
        tx.commit()?;
        assert_eq!(subscriber.refresh()?.len(), rows as usize);
        let ChangeList { items, old_rows, .. } = &subscriber.local_copy().changes;
        Ok([items.capacity(), old_rows.capacity()])
    };
    step(50_000, 0)?;
    let [items, old_rows] = step(50_000, 1)?;
    assert!(items >= 50_000 && old_rows >= 100_000);
    for value in 2..50 {
        step(100, value)?;
    }
    let [items, old_rows] = step(100, 50)?;
    assert!(items <= 1_000 && old_rows <= 2_000, "{items} changes, {old_rows} words");
    publisher.close()
}
