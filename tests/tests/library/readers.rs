//! Readers find rows in shared memory without a copy of the table.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::clock::monotonic_ns;
use common::internals::header;
use common::{
    Error, Publisher, Reader, RowBuf, Schema, Snapshot, Subscriber, Text, UntypedPublisher,
    UntypedReader, UntypedSubscriber, Value,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tests::script::{Item, ItemKey};
use tests::table::Table;
use tests::{LIMIT, SetOnDrop, full_or, until};

fn open(table: &Table) -> (Publisher<Item>, Reader<Item>) {
    let publisher = Publisher::builder(table.name()).capacity(100_000).open().unwrap();
    let reader = Reader::open(table.name()).unwrap();
    (publisher, reader)
}

fn commit(publisher: &mut Publisher<Item>, put: &[Item], delete: &[ItemKey]) -> u64 {
    let mut tx = publisher.begin();
    delete.iter().for_each(|key| tx.delete(key).unwrap());
    put.iter().for_each(|row| tx.upsert(row).unwrap());
    tx.commit().unwrap()
}

fn key(number: u32) -> ItemKey {
    (number % 7, number)
}

#[test]
fn reader_finds_the_rows_of_the_last_commit_and_proves_absence() {
    let table = Table::new("reader");
    let (mut publisher, reader) = open(&table);
    let mut rows = BTreeMap::new();
    for round in 0..60_u32 {
        // Enough keys to fill several generations of the index, and to write tombstones.
        let new: Vec<Item> = (0..100).map(|n| Item::new(key(round * 100 + n), 1)).collect();
        let old: Vec<ItemKey> = match round.checked_sub(3) {
            Some(old) => (0..100).filter(|n| n % 3 > 0).map(|n| key(old * 100 + n)).collect(),
            None => Vec::new(),
        };
        let version = commit(&mut publisher, &new, &old);
        rows.extend(new.iter().map(|row| ((row.group, row.number), *row)));
        rows.retain(|key, _| !old.contains(key));
        assert_eq!(reader.version().unwrap(), version);
        assert_eq!(reader.len().unwrap(), rows.len());
        let keys: Vec<ItemKey> = (0..(round + 2) * 100).map(key).collect();
        for key in &keys {
            assert_eq!(reader.get(key).unwrap().as_ref(), rows.get(key), "{key:?}");
        }
        let mut found = Vec::new();
        let read_at = reader.get_many(&keys, |index, row| found.push((keys[index], row))).unwrap();
        assert_eq!(read_at, version);
        assert!(found.iter().all(|(key, row)| row.as_ref() == rows.get(key)));
        assert_eq!(found.len(), keys.len());
    }
    let mut all = BTreeMap::new();
    let version =
        reader.for_each(|row| assert!(all.insert((row.group, row.number), row).is_none())).unwrap();
    assert_eq!((version, &all), (publisher.version(), &rows));
    let mut snapshot = Vec::new();
    reader.snapshot(&mut snapshot).unwrap();
    assert_eq!(snapshot.len(), rows.len());
    publisher.close().unwrap();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn entry_follows_its_key_and_reports_its_deletion() {
    let table = Table::new("entry");
    let (mut publisher, reader) = open(&table);
    assert!(reader.entry(&(1, 1)).unwrap().is_none());
    commit(&mut publisher, &[Item::new((1, 1), 1), Item::new((2, 2), 1)], &[]);
    let mut entry = reader.entry(&(1, 1)).unwrap().unwrap();
    assert_eq!(entry.read().unwrap(), Some(Item::new((1, 1), 1)));
    commit(&mut publisher, &[Item::new((1, 1), 2)], &[]);
    assert_eq!(entry.read().unwrap(), Some(Item::new((1, 1), 2)));
    commit(&mut publisher, &[], &[(1, 1)]);
    assert_eq!(entry.read().unwrap(), None);
    // Another key takes the slot, and the key returns at another one.
    commit(&mut publisher, &[Item::new((3, 3), 3)], &[]);
    assert_eq!(entry.read().unwrap(), None);
    commit(&mut publisher, &[Item::new((1, 1), 4)], &[]);
    assert_eq!(entry.read().unwrap(), Some(Item::new((1, 1), 4)));
    assert_eq!(entry.key(), &(1, 1));
    publisher.close().unwrap();
}

#[test]
fn for_each_passes_rows_of_one_version_although_the_table_changes_in_the_meantime() {
    const ROWS: u32 = 1_000;
    let table = Table::new("for-each");
    let (mut publisher, reader) = open(&table);
    let all = |value| (0..ROWS).map(|number| Item::new((0, number), value)).collect::<Vec<_>>();
    let mut value = 1;
    commit(&mut publisher, &all(value), &[]);
    let subscriber = UntypedSubscriber::open(table.name()).unwrap();
    let committed = subscriber.committed().unwrap();
    until("the table is at rest", || {
        Duration::from_nanos(monotonic_ns()) - committed > Duration::from_secs(1)
    });
    let mut passed = 0;
    let read = reader.for_each(|row| {
        passed += 1;
        assert_eq!(row.value, 1);
        if passed == 100 {
            for _ in 0..2 {
                value += 1;
                commit(&mut publisher, &all(value), &[]);
            }
        }
    });
    assert!(matches!(read, Err(Error::Outrun { .. })), "no row of version 1 is left");
    assert!((100..ROWS).contains(&passed));
    // A table that has changed a moment ago is copied first. A slow machine may not read it so soon.
    for at in (0..ROWS).step_by(50) {
        until("the rows are copied", || {
            commit(&mut publisher, &all(value), &[]);
            let (mut passed, expected, version) = (0, value, publisher.version());
            let read = reader.for_each(|row| {
                assert_eq!(row.value, expected);
                if passed == at {
                    for _ in 0..2 {
                        value += 1;
                        commit(&mut publisher, &all(value), &[]);
                    }
                }
                passed += 1;
            });
            read.is_ok_and(|read_at| read_at == version && passed == ROWS)
        });
    }
    publisher.close().unwrap();
}

/// A publisher inserts and deletes some keys without pause, and other keys are always live. Readers
/// look up both kinds of keys.
#[test]
fn lookups_under_full_speed_inserts_and_deletes_have_no_false_misses() {
    const LIVE: u32 = 1000;
    let table = Table::new("flat-out");
    let (mut publisher, reader) = open(&table);
    let live: Vec<Item> = (0..LIVE).map(|number| Item::new((0, number), 0)).collect();
    commit(&mut publisher, &live, &[]);
    let lookups = full_or(100_000_000_u64, 1_000_000);
    let (reader, end) = (&reader, &AtomicBool::new(false));
    std::thread::scope(|scope| {
        let churn = scope.spawn(move || {
            let mut number = 0;
            while !end.load(Ordering::Relaxed) {
                let new: Vec<Item> =
                    (0..10).map(|n| Item::new((1, (number + n) % 5_000), number.into())).collect();
                let old = (0..10).map(|n| (1, (number + n + 2_000) % 5_000));
                let mut tx = publisher.begin();
                for key in old {
                    // Absent in the first rounds.
                    let _ = tx.delete(&key);
                }
                new.iter().for_each(|row| tx.upsert(row).unwrap());
                // Version and number of a live row change together.
                tx.upsert(&Item::new((0, number % LIVE), u64::from(number))).unwrap();
                tx.commit().unwrap();
                number += 10;
            }
            publisher
        });
        let running = SetOnDrop(end);
        let readers: Vec<_> = (0..2)
            .map(|thread| {
                scope.spawn(move || {
                    let (mut absent, mut found) = (0, 0_u64);
                    for number in 0..lookups / 4 {
                        if number % 100 == 0 {
                            let keys: Vec<ItemKey> = (number as u32..number as u32 + 100)
                                .map(|number| (0, number % LIVE))
                                .collect();
                            let read = reader.get_many(&keys, |at, row| {
                                found += 1;
                                assert_eq!(row.expect("it is always live").number, keys[at].1);
                            });
                            assert!(matches!(read, Ok(_) | Err(Error::Outrun { .. })), "{read:?}");
                        }
                        let number = (number as u32).wrapping_mul(0x9e37_79b1) >> 8;
                        let row = reader.get(&(0, number % LIVE)).unwrap();
                        assert_eq!(row.expect("it is always live").number, number % LIVE);
                        if number % 8 == thread {
                            let row = reader.get(&(1, number % 5_000)).unwrap();
                            absent += u64::from(row.is_none());
                        }
                    }
                    [absent, found]
                })
            })
            .collect();
        let counts = readers.into_iter().map(|reader| reader.join().unwrap());
        let [absent, many] =
            counts.reduce(|[a, b], [c, d]| [a + c, b + d]).expect("there are two readers");
        drop(running);
        let publisher = churn.join().unwrap();
        println!(
            "{} lookups of keys that are always live, {many} by get_many, 0 missed; {absent} proven absences; {} commits",
            lookups / 2 + many,
            publisher.version()
        );
        assert!(absent > 0 && many > 0);
        publisher.close().unwrap();
    });
}

#[test]
fn get_many_under_full_speed_commits_returns_rows_of_one_version() {
    const ROWS: u32 = 200;
    let table = Table::new("many");
    let (mut publisher, reader) = open(&table);
    let rows = |value| (0..ROWS).map(move |number| Item::new((0, number), value));
    commit(&mut publisher, &rows(0).collect::<Vec<_>>(), &[]);
    let first = publisher.version();
    let end = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // A few hot rows change in each commit, and all rows in some.
                let value = publisher.version() + 1 - first;
                let count = if value % 64 == 0 { ROWS } else { 3 };
                let mut tx = publisher.begin();
                rows(value).take(count as usize).for_each(|row| tx.upsert(&row).unwrap());
                tx.commit().unwrap();
            }
            publisher
        });
        let running = SetOnDrop(end);
        let keys: Vec<ItemKey> = (0..ROWS).map(|number| (0, number)).collect();
        for _ in 0..full_or(20_000, 2_000) {
            let mut read = Vec::new();
            match reader.get_many(&keys, |_, row| read.push(row.unwrap().value)) {
                Ok(version) => {
                    let value = version - first;
                    assert!(read[..3].iter().all(|hot| *hot == value), "{value}: {read:?}");
                    assert!(
                        read[3..].iter().all(|cold| *cold == value / 64 * 64),
                        "{value}: {read:?}"
                    );
                }
                Err(Error::Outrun { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(running);
        writer.join().unwrap().close().unwrap();
    });
}

#[test]
fn reader_follows_takeovers_and_successor_regions() {
    let table = Table::new("reader-follows");
    let (mut publisher, reader) = open(&table);
    let mut number = 0;
    let mut advance = |publisher: &mut Publisher<Item>| {
        number += 1;
        let absent = Item::new((9, number), 0);
        commit(publisher, &[Item::new((0, 0), number.into())], &[]);
        assert_eq!(reader.get(&(0, 0)).unwrap().unwrap().value, u64::from(number));
        assert_eq!(reader.get(&(absent.group, absent.number)).unwrap(), None);
        commit(publisher, &[absent], &[]);
        assert_eq!(reader.get(&(absent.group, absent.number)).unwrap(), Some(absent));
    };
    advance(&mut publisher);
    // A takeover, a larger capacity, and a table that was closed and kept.
    drop(publisher);
    let open = |capacity| Publisher::<Item>::builder(table.name()).capacity(capacity).open();
    let mut publisher = open(100_000).unwrap();
    advance(&mut publisher);
    drop(publisher);
    let mut publisher = open(200_000).unwrap();
    advance(&mut publisher);
    publisher.close_and_keep().unwrap();
    assert!(reader.get(&(0, 0)).unwrap().is_some());
    let mut publisher = open(200_000).unwrap();
    advance(&mut publisher);
    // The region's name is removed, and maintenance restores it in a successor.
    std::fs::remove_file(format!("/dev/shm/tablecast.table.{}", table.name())).unwrap();
    publisher.maintain().unwrap();
    advance(&mut publisher);
    // A closed table keeps its last rows until a new one has its name.
    publisher.close().unwrap();
    assert!(reader.get(&(0, 0)).unwrap().is_some());
    let mut publisher = open(100).unwrap();
    until("the reader finds the new table", || reader.len().unwrap() == 0);
    advance(&mut publisher);
    publisher.close().unwrap();
}

/// Each region is mapped until no thread uses it, and not until the reader is dropped.
#[test]
fn reader_shared_by_threads_follows_successor_regions_and_unmaps_the_former_ones() {
    const THREADS: usize = 4;
    const SUCCESSORS: usize = 40;
    let table = Table::new("reader-shared");
    let open = |number: usize| Publisher::<Item>::builder(table.name()).capacity(1000 * number);
    let mut publisher = open(1).open().unwrap();
    commit(&mut publisher, &[Item::new((0, 0), 0)], &[]);
    let reader = Reader::<Item>::open(table.name()).unwrap();
    let (reader, end) = (&reader, &AtomicBool::new(false));
    let publisher = std::thread::scope(|scope| {
        let running = SetOnDrop(end);
        for _ in 0..THREADS {
            scope.spawn(move || {
                let mut last = 0;
                while !end.load(Ordering::Relaxed) {
                    let row = reader.get(&(0, 0)).unwrap().expect("it is always live");
                    assert!(row.value >= last, "{} after {last}", row.value);
                    assert_eq!(reader.get(&(1, 1)).unwrap(), None);
                    last = row.value;
                }
            });
        }
        for number in 1..=SUCCESSORS {
            drop(publisher);
            publisher = open(1 + number).open().unwrap();
            commit(&mut publisher, &[Item::new((0, 0), number as u64)], &[]);
            let found = reader.get(&(0, 0)).unwrap().unwrap();
            assert_eq!(found.value, number as u64);
        }
        drop(running);
        publisher
    });
    // The publisher's mapping, the one that waits would use, the current one, and at most one for
    // each thread that was suspended while it used a former one.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let object = format!("/tablecast.table.{}", table.name());
    let mapped = maps.lines().filter(|line| line.contains(&object)).count();
    assert!((2..=3 + THREADS + 1).contains(&mapped), "{mapped} mappings of the table");
    publisher.close().unwrap();
}

#[test]
fn untyped_reader_follows_a_new_schema() {
    let table = Table::new("reader-schema");
    let schema = |fields| Schema::parse(fields, None).unwrap();
    let mut publisher =
        UntypedPublisher::builder(table.name(), schema("id:u64,a:u64")).open().unwrap();
    let reader = UntypedReader::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    tx.insert(bytemuck::bytes_of(&[7_u64, 1])).unwrap();
    tx.commit().unwrap();
    let key = 7_u64.to_ne_bytes();
    assert_eq!(reader.get(&key).unwrap().unwrap().bytes().len(), 16);
    let row = [7_u64, 1, 2];
    publisher.reshape(schema("id:u64,a:u64,b:u64"), 10, [bytemuck::bytes_of(&row)]).unwrap();
    let found = reader.get(&key).unwrap().unwrap();
    assert_eq!(found.bytes(), bytemuck::bytes_of(&row));
    assert_eq!(reader.schema().unwrap(), *publisher.schema());
    assert!(reader.contains_key(&key).unwrap() && !reader.contains_key(&[0; 8]).unwrap());
    assert!(!reader.contains_key(&[0; 3]).unwrap(), "a key of the wrong length");
    let mut rows = 0;
    reader
        .get_many(&[key, [0; 8]], |index, row| {
            rows += usize::from(row.is_some());
            assert_eq!(row.is_some(), index == 0);
        })
        .unwrap();
    assert_eq!(rows, 1);
    publisher.close().unwrap();
}

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
#[repr(C)]
struct Named {
    #[row(key)]
    name: Text<8>,
    value: u64,
}

#[test]
fn typed_reader_converts_keys_and_rows_of_another_text_width() {
    let table = Table::new("reader-widths");
    let schema = Schema::parse("name:text(16),value:u64", None).unwrap();
    let mut publisher = UntypedPublisher::builder(table.name(), schema).open().unwrap();
    let reader = Reader::<Named>::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    tx.insert(b"short\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0").unwrap();
    tx.insert(b"much too long\0\0\0\x08\0\0\0\0\0\0\0").unwrap();
    tx.commit().unwrap();
    let name = |name| Text::new(name).unwrap();
    let row = Named { name: name("short"), value: 7 };
    assert_eq!(reader.get(&row.name).unwrap(), Some(row));
    assert_eq!(reader.get(&name("much")).unwrap(), None);
    let mut found = Vec::new();
    reader.get_many(&[row.name, name("x")], |_, row| found.push(row)).unwrap();
    assert_eq!(found, [Some(row), None]);
    assert!(matches!(reader.snapshot(&mut Vec::new()), Err(Error::TextTooLong { .. })));
    assert_eq!(reader.entry(&row.name).unwrap().unwrap().read().unwrap(), Some(row));
    publisher.close().unwrap();
}

#[test]
fn untyped_reader_with_an_expected_schema_converts_rows_and_refuses_another_schema() {
    let table = Table::new("reader-expected");
    let schema = |fields| Schema::parse(fields, None).unwrap();
    let narrow = schema("name:text(8),value:u64");
    let mut publisher = UntypedPublisher::builder(table.name(), narrow).open().unwrap();
    let wide = schema("name:text(16),value:u64");
    let reader = UntypedReader::builder(table.name()).schema(wide.clone()).open().unwrap();
    let mut tx = publisher.begin();
    tx.insert(b"short\0\0\0\x07\0\0\0\0\0\0\0").unwrap();
    tx.commit().unwrap();
    let key = wide.parse_key("short").unwrap();
    let expected = b"short\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0";
    let mut snapshot = Snapshot::default();
    let mut check = |reader: &UntypedReader, rows| {
        let mut row = [0; 3];
        assert!(reader.get_into(&key, &mut row).unwrap());
        assert_eq!(bytemuck::bytes_of(&row), expected);
        reader.snapshot(&mut snapshot).unwrap();
        assert_eq!(**snapshot.schema().unwrap(), wide);
        assert_eq!((snapshot.len(), snapshot.stride()), (rows, 24));
        assert!(snapshot.iter().any(|row| row.bytes() == expected));
    };
    check(&reader, 1);
    let mut row = [0; 3];
    assert!(!reader.get_into(&wide.parse_key("absent").unwrap(), &mut row).unwrap());

    let wider = schema("name:text(24),value:u64");
    let empty = RowBuf::new(Arc::new(wider.clone()));
    let mut short = empty.clone();
    short.set_text(0, "short").unwrap();
    short.set(1, Value::U64(7)).unwrap();
    publisher.reshape(wider, 10, [empty.bytes(), short.bytes()]).unwrap();
    check(&reader, 2);
    let following = UntypedReader::open(table.name()).unwrap();
    assert!(matches!(
        following.get_into(&[0; 24], &mut row),
        Err(Error::WrongLength { what: "row", length: 24, expected: 32, .. })
    ));

    publisher.reshape(schema("id:u64"), 10, [[7; 8]]).unwrap();
    assert!(matches!(reader.get_into(&key, &mut row), Err(Error::SchemaMismatch { .. })));
    let other = UntypedSubscriber::builder(table.name()).schema(wide.clone()).open();
    assert!(matches!(other, Err(Error::SchemaMismatch { .. })));
    publisher.close().unwrap();
}

#[test]
fn snapshots_reuse_their_memory_and_have_no_gaps() {
    let table = Table::new("reader-snapshot");
    let (mut publisher, reader) = open(&table);
    let mut snapshot = Snapshot::default();
    assert!(snapshot.schema().is_none() && snapshot.bytes().is_empty());
    assert_eq!(snapshot.iter().len(), 0);
    for (inserted, deleted) in [(0..1000, 0..0), (1000..1010, 130..300), (0..0, 0..130)] {
        let rows: Vec<Item> = inserted.map(|number| Item::new(key(number), 7)).collect();
        let deleted: Vec<ItemKey> = deleted.map(key).collect();
        let version = commit(&mut publisher, &rows, &deleted);
        assert_eq!(reader.untyped().snapshot(&mut snapshot).unwrap(), version);
        let mut typed = Vec::new();
        reader.snapshot(&mut typed).unwrap();
        assert_eq!((snapshot.len(), snapshot.version()), (typed.len(), version));
        assert_eq!(snapshot.bytes(), bytemuck::cast_slice::<_, u8>(&typed));
        assert_eq!(snapshot.iter().len(), typed.len());
        assert_eq!(snapshot.bytes().as_ptr() as usize % 64, 0);
    }
    publisher.close().unwrap();
}

#[test]
fn reader_waits_for_commits_versions_and_the_publishers_state() {
    let table = Table::new("reader-waits");
    let (mut publisher, mut reader) = open(&table);
    assert_eq!(reader.wait(Some(Duration::from_millis(1))).unwrap(), None);
    let version = commit(&mut publisher, &[Item::new((0, 0), 1)], &[]);
    assert_eq!(reader.wait(Some(LIMIT)).unwrap(), Some(version));
    assert!(reader.wait_for(version, Some(LIMIT)).unwrap());
    assert!(!reader.wait_for(version + 1, Some(Duration::from_millis(1))).unwrap());
    let writer = std::thread::spawn(move || {
        let last = (0..20).map(|n| commit(&mut publisher, &[Item::new((0, 0), n)], &[])).last();
        (publisher, last.unwrap())
    });
    assert!(reader.wait_for(version + 20, Some(LIMIT)).unwrap());
    let (mut publisher, last) = writer.join().unwrap();
    assert_eq!(last, version + 20);

    let readable = |reader: &Reader<Item>, timeout: u16| {
        let mut descriptors = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::from(timeout)).unwrap() == 1
    };
    assert!(readable(&reader, 0), "at first it asks for a refresh");
    // The re-check may come between the refresh and the poll.
    until("no news, and the descriptor says so", || {
        reader.untyped_mut().refresh().unwrap().is_none() && !readable(&reader, 0)
    });
    let version = commit(&mut publisher, &[Item::new((0, 0), 9)], &[]);
    assert!(readable(&reader, 60_000));
    assert_eq!(reader.untyped_mut().refresh().unwrap(), Some(version));
    drop(publisher);
    while reader.untyped().publisher_state().is_alive() {
        reader.wait(Some(LIMIT)).unwrap().expect("the publisher's end is news");
    }
    assert_eq!(reader.get(&(0, 0)).unwrap().unwrap().value, 9);
}

/// Damages or removes the index of an intact table.
#[test]
fn lookups_survive_the_loss_of_the_index_and_maintenance_restores_it() {
    let table = Table::new("index-lost");
    let (mut publisher, old) = open(&table);
    commit(&mut publisher, &(0..50).map(|n| Item::new((0, n), 1)).collect::<Vec<_>>(), &[]);
    let index = || {
        let info = common::inspect(table.name(), None).unwrap();
        format!("/dev/shm/tablecast.index.{:016x}.{}", info.region_id, info.index_generation)
    };
    let check = |reader: &Reader<Item>| {
        assert_eq!(reader.get(&(0, 7)).unwrap(), Some(Item::new((0, 7), 1)));
        assert_eq!(reader.get(&(1, 7)).unwrap(), None);
        let mut found = 0;
        let keys = [(0, 1), (1, 1), (0, 49)];
        reader.get_many(&keys, |_, row| found += u32::from(row.is_some())).unwrap();
        assert_eq!(found, 2);
    };
    check(&old);
    let first = index();
    std::fs::remove_file(&first).unwrap();
    let new = Reader::<Item>::open(table.name()).unwrap();
    let mut subscriber = UntypedSubscriber::open(table.name()).unwrap();
    check(&new);
    check(&old);
    let key = [0_u32, 7].map(u32::to_ne_bytes).concat();
    assert!(subscriber.latest(&key).unwrap().is_some());
    publisher.maintain().unwrap();
    assert_ne!(index(), first, "a new generation");
    check(&new);
    check(&old);
    // Another process truncates it.
    std::fs::File::options().write(true).open(index()).unwrap().set_len(0).unwrap();
    check(&new);
    check(&old);
    check(&Reader::open(table.name()).unwrap());
    publisher.maintain().unwrap();
    check(&new);
    subscriber.refresh().unwrap();
    publisher.close().unwrap();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

/// A word of the index claims deletions that were not committed, so the index proves no absence.
#[test]
fn absent_keys_are_found_absent_by_an_index_with_a_damaged_version() {
    let table = Table::new("index-removed");
    let (mut publisher, old) = open(&table);
    commit(&mut publisher, &[Item::new((0, 7), 1)], &[]);
    assert_eq!(old.get(&(1, 7)).unwrap(), None);
    let info = common::inspect(table.name(), None).unwrap();
    let index =
        format!("/dev/shm/tablecast.index.{:016x}.{}", info.region_id, info.index_generation);
    let index = std::fs::File::options().write(true).open(index).unwrap();
    index.write_all_at(&u64::MAX.to_le_bytes(), 0x80).unwrap();
    for reader in [&old, &Reader::open(table.name()).unwrap()] {
        assert_eq!(reader.get(&(1, 7)).unwrap(), None);
        let mut found = Vec::new();
        reader.get_many(&[(1, 7), (0, 7)], |_, row| found.push(row.is_some())).unwrap();
        assert_eq!(found, [false, true]);
    }
    publisher.close().unwrap();
}

#[test]
fn latest_and_snapshot_of_a_subscriber_are_current_after_growth_without_a_refresh() {
    let table = Table::new("latest-growth");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    commit(&mut publisher, &[Item::new(key(0), 1)], &[]);
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let untyped = UntypedSubscriber::open(table.name()).unwrap();
    let capacity = publisher.capacity();
    let rows: Vec<_> = (0..capacity as u32 + 1).map(|n| Item::new(key(n), 2)).collect();
    let version = commit(&mut publisher, &rows, &[]);
    assert!(publisher.capacity() > capacity, "the table has grown");
    let newest = key(capacity as u32);
    for key in [key(0), newest] {
        assert_eq!(subscriber.latest(&key).unwrap(), Some(Item::new(key, 2)));
        let bytes = [key.0, key.1].map(u32::to_ne_bytes).concat();
        assert!(untyped.latest(&bytes).unwrap().is_some());
    }
    let mut snapshot = Vec::new();
    assert_eq!(subscriber.snapshot(&mut snapshot).unwrap(), version);
    assert_eq!(snapshot.len(), rows.len());
    assert_eq!((subscriber.len(), subscriber.get(&newest)), (1, None), "the local copy");
    assert_eq!(subscriber.refresh().unwrap().len(), rows.len());
    publisher.close().unwrap();
}

#[test]
fn index_that_could_not_be_opened_is_opened_later() {
    let table = Table::new("index-later");
    let (mut publisher, reader) = open(&table);
    commit(&mut publisher, &[Item::new(key(0), 1)], &[]);
    let info = common::inspect(table.name(), None).unwrap();
    let index = format!("tablecast.index.{:016x}.{}", info.region_id, info.index_generation);
    let is_mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(&index);
    let is_found = || reader.get(&key(0)).unwrap().is_some();
    let (path, away) = (format!("/dev/shm/{index}"), format!("/dev/shm/tablecast.away.{index}"));
    drop(publisher);
    std::fs::rename(&path, &away).unwrap();
    assert!(is_found() && !is_mapped());
    std::fs::rename(&away, &path).unwrap();
    until("the index is used", || is_found() && is_mapped());
    common::remove(table.name()).unwrap();
}

/// The table cannot be taken over, so its removal cannot commit the end of the table.
#[test]
fn reader_moves_on_after_a_damaged_table_was_removed() {
    let table = Table::new("removed-damaged");
    let (mut publisher, reader) = open(&table);
    commit(&mut publisher, &[Item::new(key(0), 1)], &[]);
    assert_eq!(reader.get(&key(0)).unwrap(), Some(Item::new(key(0), 1)));
    drop(publisher);
    let region = format!("/dev/shm/tablecast.table.{}", table.name());
    let region = std::fs::File::options().write(true).open(region).unwrap();
    region.write_all_at(&[0xff; 64], header::SCHEMA as u64 * 8).unwrap();
    common::remove(table.name()).unwrap();
    let (mut publisher, _) = open(&table);
    commit(&mut publisher, &[Item::new(key(0), 2)], &[]);
    until("the reader has the new table", || {
        reader.get(&key(0)).unwrap() == Some(Item::new(key(0), 2))
    });
    publisher.close().unwrap();
}
