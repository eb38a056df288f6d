//! Copies that follow a table by slot, as programs in other languages and on other hosts do.

use std::collections::HashMap;

use common::{Error, Position, Publisher, RowRef, UntypedReader};
use tests::full_or;
use tests::script::{Item, ItemKey, Script};
use tests::table::Table;

/// A copy that is maintained only from the reported slots.
#[derive(Default)]
struct Copy {
    position: Position,
    rows: HashMap<u32, Item>,
}

impl Copy {
    /// Moves to the last commit, and returns the number of slots that were reported.
    fn follow(&mut self, table: &UntypedReader) -> Result<usize, Error> {
        let changes = table.changed_slots(self.position)?;
        assert_eq!(changes.bytes().len(), changes.slots().len() * changes.stride());
        if changes.is_complete() {
            self.rows.clear();
        }
        let mut reported = 0;
        for (slot, row) in changes.iter() {
            match row {
                Some(row) => self.rows.insert(slot, item(row)),
                None => self.rows.remove(&slot),
            };
            reported += 1;
        }
        assert_eq!(reported, changes.slots().len() + changes.deleted().len());
        self.position = changes.position();
        Ok(reported)
    }

    fn by_key(&self) -> HashMap<ItemKey, Item> {
        let rows = self.rows.values().map(|row| ((row.group, row.number), *row)).collect();
        assert_eq!(HashMap::len(&rows), self.rows.len(), "no key is in two slots");
        rows
    }
}

fn item(row: RowRef<'_>) -> Item {
    bytemuck::pod_read_unaligned(row.bytes())
}

#[test]
fn copies_by_slot_follow_random_transactions_takeovers_and_successor_regions() {
    const CAPACITY: usize = 200;
    let table = Table::new("slots");
    let open = |capacity| Publisher::<Item>::builder(table.name()).fixed_capacity(capacity).open();
    let mut publisher = open(CAPACITY).unwrap();
    let reader = UntypedReader::open(table.name()).unwrap();
    let mut script = Script::new(7, CAPACITY);
    // The first copy follows each transaction, the second one by positions as another host keeps
    // them, and the third one takes large steps.
    let mut copies = [(); 3].map(|()| Copy::default());
    for round in 0..full_or(20_000, 1_000) {
        script.next_plan().carry_out(&mut publisher);
        let at = copies[1].position;
        copies[1].position = Position::new(at.region_id(), at.version());
        for copy in &mut copies[..if round % 37 == 0 { 3 } else { 2 }] {
            copy.follow(&reader).unwrap();
            assert_eq!(copy.position.version(), publisher.version());
            assert_eq!(&copy.by_key(), script.rows());
        }
        assert_eq!(copies[0].follow(&reader).unwrap(), 0, "nothing was committed since");
    }
    let region_id = copies[0].position.region_id();
    drop(publisher);
    // A takeover of the same region, and then another region, whose versions say nothing about the
    // slots of the first one.
    for (epoch, capacity) in [(2, CAPACITY), (3, 2 * CAPACITY)] {
        let mut publisher = open(capacity).unwrap();
        let mut tx = publisher.begin();
        tx.replace_with(&[Item::new((9, 9), epoch)]).unwrap();
        tx.commit().unwrap();
        for copy in &mut copies {
            let changes = reader.changed_slots(copy.position).unwrap();
            assert_eq!((changes.is_complete(), changes.epoch()), (epoch == 3, epoch));
            copy.follow(&reader).unwrap();
            assert_eq!(copy.position.region_id() == region_id, epoch == 2);
            assert_eq!(copy.position.version(), publisher.version());
            let expected = HashMap::from([((9, 9), Item::new((9, 9), epoch))]);
            assert_eq!(copy.by_key(), expected);
        }
    }
    // A version that the region does not have yet.
    let future = Position::new(copies[0].position.region_id(), u64::MAX);
    assert!(reader.changed_slots(future).unwrap().is_complete());
}

#[test]
fn copies_by_slot_under_full_speed_commits_are_of_one_version() {
    const ROWS: u32 = 3_000;
    let table = Table::new("slots-busy");
    let mut publisher =
        Publisher::<Item>::builder(table.name()).fixed_capacity(10_000).open().unwrap();
    let mut tx = publisher.begin();
    (0..ROWS).for_each(|number| tx.insert(&Item::new((0, number), 1_000)).unwrap());
    let first = tx.commit().unwrap();
    let reader = UntypedReader::open(table.name()).unwrap();
    std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let mut copy = Copy::default();
            let mut followed = 0;
            while followed < full_or(20_000, 2_000) {
                match copy.follow(&reader) {
                    Ok(_) => followed += 1,
                    Err(Error::Outrun { .. }) => continue,
                    Err(error) => panic!("{error}"),
                }
                let rows = copy.by_key();
                let (units, versions): (Vec<&Item>, Vec<&Item>) =
                    rows.values().partition(|row| row.group == 0);
                assert_eq!(units.iter().map(|row| row.value).sum::<u64>(), u64::from(ROWS) * 1_000);
                let version = copy.position.version();
                let expected = Vec::from_iter((version > first).then_some(version));
                assert_eq!(versions.iter().map(|row| row.value).collect::<Vec<_>>(), expected);
            }
        });
        let mut units = vec![1_000_u64; ROWS as usize];
        while !following.is_finished() {
            // Moves a unit from one row to another one, and replaces a row by its version.
            let version = publisher.version() + 1;
            let number = |step: u64| (version.wrapping_mul(step) % u64::from(ROWS)) as u32;
            let mut tx = publisher.begin();
            for (number, more) in [(number(7), 1), (number(11), -1)] {
                let units = &mut units[number as usize];
                *units = units.wrapping_add_signed(more);
                tx.update(&Item::new((0, number), *units)).unwrap();
            }
            if version - first > 1 {
                tx.delete(&(1, version as u32 - 1)).unwrap();
            }
            tx.insert(&Item::new((1, version as u32), version)).unwrap();
            tx.commit().unwrap();
        }
    });
    publisher.close().unwrap();
}
