//! A new region with the same name: subscribers move to it and report only real differences.

use std::os::fd::AsFd;

use common::internals::lock::{self, Span};
use common::{
    Cause, Change, Error, Publisher, PublisherState, RowBuf, Schema, Sleep, Subscriber,
    UntypedPublisher, UntypedSubscriber,
};
use nix::poll::{PollFd, PollFlags, poll};
use tests::mirror::Mirror;
use tests::process::Process;
use tests::script::{Item, Script};
use tests::table::Table;
use tests::{LIMIT, NEVER, role, until};

fn insert(publisher: &mut Publisher<Item>, items: impl IntoIterator<Item = Item>) -> u64 {
    let mut tx = publisher.begin();
    for item in items {
        tx.upsert(&item).unwrap();
    }
    tx.commit().unwrap()
}

#[test]
fn larger_successor_keeps_the_rows() {
    let table = Table::new("larger");
    let open =
        |capacity| Publisher::<Item>::builder(table.name()).capacity(capacity).open().unwrap();
    let mut publisher = open(4);
    let mut subscriber = Subscriber::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut mirror = Mirror::default();
    let version = insert(&mut publisher, (0..3).map(|number| Item::new((0, number), 1)));
    mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
    assert_eq!(mirror.applied, 3);
    for (times, capacity) in [(1, 10), (2, 100), (3, 100_000)] {
        // The subscriber does not know the last commit of the previous publisher yet when the table
        // moves.
        insert(&mut publisher, [Item::new((9, times), 1)]);
        drop(publisher);
        publisher = open(capacity);
        assert!(publisher.version() > version);
        assert_eq!((publisher.epoch(), publisher.capacity()), (u64::from(times) + 1, capacity));
        insert(&mut publisher, [Item::new((0, 0), u64::from(times) + 1)]);
        until("the subscriber has moved to the new region", || {
            mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
            subscriber.version() == publisher.version()
                && subscriber.untyped().capacity() == capacity
        });
        assert_eq!(mirror.rows().len(), 3 + times as usize);
        assert_eq!(
            mirror.applied,
            3 + 2 * u64::from(times),
            "one row created and one updated each time"
        );
        assert!(subscriber.publisher_state().is_alive());
        assert_eq!(subscriber.publisher_state().epoch(), publisher.epoch());
    }
    // A smaller capacity does not move the table.
    drop(publisher);
    assert_eq!(open(1).capacity(), 100_000);
}

fn row(schema: &Schema, id: u64, name: &str) -> RowBuf {
    let mut row = RowBuf::new(schema.clone().into());
    row.set(0, common::Value::U64(id)).unwrap();
    row.set_text(1, name).unwrap();
    row
}

#[test]
fn reshape_is_one_commit() {
    let table = Table::new("reshape");
    let [narrow, wide] = ["id:u64,name:text(8)", "id:u64,name:text(24)"]
        .map(|fields| Schema::parse(fields, None).unwrap());
    let mut publisher =
        UntypedPublisher::builder(table.name(), narrow.clone()).capacity(2).open().unwrap();
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let reshape = |publisher: &mut UntypedPublisher, schema: &Schema, ids: &[u64], name| {
        let rows = ids.iter().map(|id| row(schema, *id, name));
        let rows: Vec<Vec<u8>> = rows.map(|row| row.bytes().to_vec()).collect();
        publisher.reshape(schema.clone(), 3, rows)
    };
    let mut tx = publisher.begin();
    for id in [1, 2] {
        tx.insert(row(&narrow, id, "name").bytes()).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 2);

    // One row stays, one is deleted, one is created.
    let version = reshape(&mut publisher, &wide, &[2, 3], "name").unwrap();
    let mut changed = Vec::new();
    until("the subscriber has moved to the new region", || {
        for change in subscriber.wait(Some(LIMIT)).unwrap() {
            changed.push(match change {
                Change::Created(row) => (row.value(0).to_string(), 'c'),
                Change::Deleted(row) => (row.value(0).to_string(), 'd'),
                Change::Updated { .. } => panic!("{change:?}"),
            });
        }
        subscriber.version() == version
    });
    assert_eq!(changed, [("1".to_owned(), 'd'), ("3".to_owned(), 'c')]);
    assert_eq!((publisher.epoch(), publisher.capacity()), (1, 3));
    assert_eq!(**subscriber.schema(), wide);

    // A refused reshape changes nothing, and the publisher continues.
    let twice = reshape(&mut publisher, &narrow, &[7, 7], "name").unwrap_err();
    assert!(matches!(twice, Error::KeyExists { .. }), "{twice}");
    let full = reshape(&mut publisher, &narrow, &[5, 6, 7, 8], "name").unwrap_err();
    assert!(matches!(full, Error::TableFull { capacity: 3, .. }), "{full}");
    let short = publisher.reshape(wide.clone(), 3, [b"x"]).unwrap_err();
    assert!(matches!(short, Error::WrongLength { .. }), "{short}");
    assert_eq!((publisher.version(), publisher.len()), (version, 2));
    let mut tx = publisher.begin();
    tx.update(row(&wide, 3, "a name that is wider").bytes()).unwrap();
    tx.insert(row(&wide, 4, "").bytes()).unwrap();
    assert_eq!(tx.commit().unwrap(), version + 1);
    until("the subscriber has the last version", || {
        subscriber.wait(Some(LIMIT)).unwrap();
        subscriber.version() == version + 1
    });
    assert_eq!(subscriber.len(), 3);
}

/// Regression: the old region ended with the version of the new one, so one version had two sets of
/// rows.
#[test]
fn end_of_a_region_has_a_version_of_its_own() {
    let table = Table::new("reshape-version");
    let schema = Schema::parse("id:u64", None).unwrap();
    let builder = UntypedPublisher::builder(table.name(), schema.clone());
    let mut publisher = builder.open().unwrap();
    let mut subscriber = UntypedSubscriber::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    tx.insert(&1_u64.to_ne_bytes()).unwrap();
    tx.commit().unwrap();
    let version = publisher.reshape(schema, 10, [2_u64.to_ne_bytes()]).unwrap();
    // The first refresh reports what was committed in the old region.
    assert_eq!(subscriber.refresh().unwrap().len(), 1);
    assert!(subscriber.get(&1_u64.to_ne_bytes()).is_some());
    assert!(subscriber.version() < version);
    until("the subscriber has moved to the new region", || {
        subscriber.refresh().unwrap();
        subscriber.version() == version
    });
    assert!(subscriber.get(&1_u64.to_ne_bytes()).is_none());
}

#[test]
fn wider_or_added_field_reports_no_row_change() {
    let table = Table::new("wider");
    let schemas = ["id:u64,name:text(8)", "id:u64,name:text(24)", "id:u64,name:text(24),extra:u32"]
        .map(|fields| Schema::parse(fields, None).unwrap());
    let open = |schema: &Schema| {
        UntypedPublisher::builder(table.name(), schema.clone()).capacity(100).open().unwrap()
    };
    let mut publisher = open(&schemas[0]);
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut tx = publisher.begin();
    for id in 0..50 {
        tx.insert(row(&schemas[0], id, &format!("name {id}")).bytes()).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 50);
    for (epoch, schema) in (2..).zip(&schemas[1..]) {
        drop(publisher);
        publisher = open(schema);
        until("the subscriber has moved to the new region", || {
            let changes = subscriber.wait(Some(LIMIT)).unwrap();
            // The new publisher may be visible before its schema.
            assert_eq!(changes.len(), 0);
            assert!(matches!(changes.cause(), Cause::Publisher | Cause::Schema));
            subscriber.publisher_state().epoch() == epoch && subscriber.schema().as_ref() == schema
        });
        assert_eq!(subscriber.len(), 50);
        for row in subscriber.iter() {
            let name = format!("name {}", row.field("id").unwrap());
            assert_eq!(row.field("name").unwrap().to_string(), name);
        }
        let mut tx = publisher.begin();
        tx.update(row(schema, 7, "a text that needs room").bytes()).unwrap();
        tx.delete(&8_u64.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        let changes = subscriber.wait(Some(LIMIT)).unwrap();
        assert_eq!(changes.len(), 2);
        for change in &changes {
            match change {
                Change::Updated { new, .. } => {
                    assert_eq!(new.field("name").unwrap().to_string(), "a text that needs room");
                }
                Change::Deleted(old) => assert_eq!(old.key().to_string(), "8"),
                Change::Created(new) => panic!("created {}", new.key()),
            }
        }
        let mut tx = publisher.begin();
        tx.update(row(schema, 7, "name 7").bytes()).unwrap();
        tx.insert(row(schema, 8, "name 8").bytes()).unwrap();
        tx.commit().unwrap();
        assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 2);
    }
}

#[test]
fn typed_subscriber_keeps_its_copy_after_schema_change() {
    let table = Table::new("retyped");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(3).open().unwrap();
    insert(&mut publisher, [Item::new((1, 2), 3)]);
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    drop(publisher);
    let schema =
        Schema::parse("group:u32,number:u32,value:u32,label:text(24)", Some("group,number"));
    let publisher = UntypedPublisher::builder(table.name(), schema.unwrap()).open().unwrap();
    assert_eq!(publisher.len(), 1);
    let mut mismatch = None;
    until("the subscriber reports the change", || match subscriber.wait(Some(LIMIT)) {
        Ok(_) => false,
        Err(error) => {
            mismatch = Some(error);
            true
        }
    });
    match mismatch {
        Some(Error::SchemaMismatch { difference, .. }) => {
            assert!(difference.contains("value"), "{difference}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(subscriber.get(&(1, 2)), Some(&Item::new((1, 2), 3)), "the local copy is unchanged");
}

#[test]
fn foreign_read_lock_does_not_block_successor() {
    let table = Table::new("read-lock");
    let open = || Publisher::<Item>::builder(table.name()).capacity(9).open().unwrap();
    let mut publisher = open();
    insert(&mut publisher, (0..3).map(|number| Item::new((0, number), 1)));
    let mut subscriber = Subscriber::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(&subscriber.changes());
    let mut follower = Process::start(&mut role!("follow", table.name()));
    assert!(follower.line().starts_with("2 3 Alive"));
    assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Nothing);
    for epoch in 2..=4 {
        let region = format!("/dev/shm/tablecast.table.{}", table.name());
        // Any reader can take a read lock, which blocks a write lock.
        let neighbour = std::fs::File::open(&region).unwrap();
        drop(publisher);
        assert!(lock::try_share(&neighbour, Span::WHOLE).unwrap());
        publisher = open();
        let renamed = std::fs::File::open(&region).unwrap();
        assert!(
            lock::is_held(&renamed, Span::WHOLE).unwrap(),
            "another region that is locked by its publisher"
        );
        assert_eq!((publisher.epoch(), publisher.len()), (epoch, 3));
        insert(&mut publisher, [Item::new((0, 0), epoch)]);
        until("the subscriber has moved to the new region", || {
            mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
            subscriber.version() == publisher.version()
        });
        assert_eq!(mirror.applied, 3 + epoch - 1, "one row has changed");
        assert_eq!(subscriber.publisher_state().epoch(), epoch);
        let version = publisher.version();
        while !follower.line().starts_with(&format!("{version} 3 Alive {{ epoch: {epoch}")) {}
    }
    publisher.close().unwrap();
}

#[test]
fn subscriber_follows_new_table_after_close() {
    let table = Table::new("reborn");
    let open = || Publisher::<Item>::builder(table.name()).capacity(9).open().unwrap();
    let mut publisher = open();
    insert(&mut publisher, (0..5).map(|number| Item::new((0, number), 1)));
    let mut subscriber = Subscriber::<Item>::builder(table.name()).open().unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(&subscriber.changes());
    publisher.close().unwrap();
    until("the close is reported", || {
        mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
        matches!(subscriber.publisher_state(), PublisherState::Closed { .. })
    });
    assert_eq!(subscriber.len(), 5, "the local copy stays");

    let mut publisher = open();
    insert(&mut publisher, (3..7).map(|number| Item::new((0, number), u64::from(number) % 2)));
    until("the subscriber has moved to the new region", || {
        mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
        subscriber.publisher_state().is_alive() && subscriber.len() == 4
    });
    let expected =
        (3..7).map(|number| ((0, number), Item::new((0, number), u64::from(number) % 2)));
    assert_eq!(mirror.rows(), &expected.collect());
    assert_eq!(
        mirror.applied,
        5 + 3 + 1 + 2,
        "0 to 2 deleted, 4 updated, 5 and 6 created; 3 is as it was"
    );
}

#[test]
fn subscriber_follows_random_successive_tables() {
    let table = Table::new("random-successors");
    let mut mirror = Mirror::default();
    let mut subscriber: Option<Subscriber<Item>> = None;
    for (seed, capacity) in [(1, 5), (2, 20), (3, 3), (4, 60)] {
        let mut publisher =
            Publisher::<Item>::builder(table.name()).fixed_capacity(capacity).open().unwrap();
        let mut script = Script::new(seed, capacity);
        for _ in 0..50 {
            script.next_plan().carry_out(&mut publisher);
        }
        let subscriber = subscriber.get_or_insert_with(|| {
            let new = Subscriber::open(table.name()).unwrap();
            mirror.apply(&new.changes());
            new
        });
        while mirror.rows() != script.rows() {
            mirror.apply(&subscriber.wait(Some(LIMIT)).unwrap());
        }
        for _ in 0..50 {
            script.next_plan().carry_out(&mut publisher);
            mirror.apply(&subscriber.refresh().unwrap());
            assert_eq!(mirror.rows(), script.rows());
        }
        publisher.close().unwrap();
    }
}

#[test]
fn publisher_recreates_its_removed_objects() {
    let table = Table::new("robbed");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(3).open().unwrap();
    insert(&mut publisher, [Item::new((0, 1), 1)]);
    let mut follower = Process::start(&mut role!("follow", table.name()));
    assert!(follower.line().starts_with("2 1 Alive"));
    table.remember();
    for kind in ["table", "lock"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.{kind}.{}", table.name())).unwrap();
    }
    publisher.maintain().unwrap();
    let version = insert(&mut publisher, [Item::new((0, 2), 2)]);
    while !follower.line().starts_with(&format!("{version} 2 Alive")) {}
    let late = Subscriber::<Item>::open(table.name()).unwrap();
    assert_eq!((late.len(), late.version()), (2, version));
    publisher.close().unwrap();
}

#[test]
fn publisher_that_lost_its_name_reports_it() {
    let table = Table::new("lost");
    let mut robbed = Publisher::<Item>::builder(table.name()).capacity(3).open().unwrap();
    insert(&mut robbed, [Item::new((0, 1), 1)]);
    table.remember();
    for kind in ["table", "lock"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.{kind}.{}", table.name())).unwrap();
    }
    let mut other = Publisher::<Item>::builder(table.name()).capacity(3).open().unwrap();
    insert(&mut other, [Item::new((0, 2), 2)]);
    assert!(matches!(robbed.maintain(), Err(Error::Lost { .. })));
    drop(robbed);
    let subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    assert_eq!(subscriber.get(&(0, 2)), Some(&Item::new((0, 2), 2)));
    other.close().unwrap();
}

/// Returns rows whose fields are given as texts.
fn rows(schema: &Schema, texts: &[&[&str]]) -> Vec<Vec<u8>> {
    let row = |texts: &&[&str]| {
        let mut row = RowBuf::new(schema.clone().into());
        for (index, text) in texts.iter().enumerate() {
            row.set_text(index, text).unwrap();
        }
        row.bytes().to_vec()
    };
    texts.iter().map(row).collect()
}

/// Returns a change as text: the values of the row before and after.
fn told(change: Change<common::RowRef<'_>>) -> String {
    let text = |row: common::RowRef<'_>| {
        let values = row.values().map(|(name, value)| format!("{name}={value}"));
        values.collect::<Vec<_>>().join(" ")
    };
    match change {
        Change::Created(new) => format!("created {}", text(new)),
        Change::Updated { old, new } => format!("updated {} to {}", text(old), text(new)),
        Change::Deleted(old) => format!("deleted {}", text(old)),
    }
}

/// A step from a table to its successor: fields and rows before and after, and the changes that a
/// subscriber reports.
type Step<'s> = (&'s str, &'s [&'s [&'s str]], &'s str, &'s [&'s [&'s str]], &'s [&'s str]);

#[test]
fn refresh_reports_schema_change_with_and_without_row_changes() {
    let steps: &[Step] = &[
        // A field is dropped.
        ("id:u64,a:u32,b:u32", &[], "id:u64,b:u32", &[], &[]),
        ("id:u64,a:u32,b:u32", &[&["1", "2", "3"]], "id:u64,b:u32", &[&["1", "3"]], &[]),
        (
            "id:u64,a:u32,b:u32",
            &[&["1", "2", "3"]],
            "id:u64,b:u32",
            &[&["1", "4"]],
            &["updated id=1 a=2 b=3 to id=1 b=4"],
        ),
        // A field is added.
        ("id:u64,a:u32", &[&["1", "2"]], "id:u64,a:u32,b:u32", &[&["1", "2", "0"]], &[]),
        // Fields are reordered.
        ("id:u64,a:u32,b:u32", &[], "id:u64,b:u32,a:u32", &[], &[]),
        ("id:u64,a:u32,b:u32", &[&["1", "2", "3"]], "id:u64,b:u32,a:u32", &[&["1", "3", "2"]], &[]),
        (
            "id:u64,a:u32,b:u32",
            &[&["1", "2", "3"]],
            "id:u64,b:u32,a:u32",
            &[&["1", "2", "3"]],
            &["updated id=1 a=2 b=3 to id=1 b=2 a=3"],
        ),
        // A field gets another kind.
        ("id:u64,a:u32", &[], "id:u64,a:text(8)", &[], &[]),
        (
            "id:u64,a:u32",
            &[&["1", "5"], &["2", "0"]],
            "id:u64,a:text(8)",
            &[&["1", ""], &["2", ""]],
            &["updated id=1 a=5 to id=1 a=", "updated id=2 a=0 to id=2 a="],
        ),
        ("id:u64,a:u8", &[&["1", "5"]], "id:u64,a:u64", &[&["1", "5"]], &[]),
        (
            "id:u64,a:u8",
            &[&["1", "5"]],
            "id:u64,a:u64",
            &[&["1", "6"]],
            &["updated id=1 a=5 to id=1 a=6"],
        ),
        // A text is wider or narrower.
        ("id:u64,a:text(8)", &[], "id:u64,a:text(16)", &[], &[]),
        ("id:u64,a:text(8)", &[&["1", "x"]], "id:u64,a:text(16)", &[&["1", "x"]], &[]),
        ("id:u64,a:text(16)", &[&["1", "x"]], "id:u64,a:text(8)", &[&["1", "x"]], &[]),
        (
            "id:u64,a:text(8)",
            &[&["1", "x"]],
            "id:u64,a:text(16)",
            &[&["1", "longer than 8"]],
            &["updated id=1 a=x to id=1 a=longer than 8"],
        ),
        // Only the capacity differs.
        ("id:u64,a:u32", &[], "id:u64,a:u32", &[], &[]),
        ("id:u64,a:u32", &[&["1", "2"]], "id:u64,a:u32", &[&["1", "2"]], &[]),
        (
            "id:u64,a:u32",
            &[&["1", "2"]],
            "id:u64,a:u32",
            &[&["1", "3"]],
            &["updated id=1 a=2 to id=1 a=3"],
        ),
    ];
    for (before, old_rows, after, new_rows, expected) in steps {
        println!("{before} {old_rows:?} to {after} {new_rows:?}");
        let table = Table::new("schemas");
        let [before, after] = [before, after].map(|fields| Schema::parse(fields, None).unwrap());
        let mut publisher =
            UntypedPublisher::builder(table.name(), before.clone()).capacity(64).open().unwrap();
        let mut tx = publisher.begin();
        for row in rows(&before, old_rows) {
            tx.insert(&row).unwrap();
        }
        tx.commit().unwrap();
        let mut subscriber =
            UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
        let version = publisher.reshape(after.clone(), 65, rows(&after, new_rows)).unwrap();
        let (mut seen, mut schema_changes) = (Vec::new(), 0);
        until("the subscriber has moved to the new region", || {
            let changes = subscriber.refresh().unwrap();
            seen.extend(changes.iter().map(told));
            if changes.schema_changed() {
                schema_changes += 1;
                let cause = if changes.is_empty() { Cause::Schema } else { Cause::Rows };
                assert_eq!(changes.cause(), cause);
            }
            assert_eq!(
                changes.schema_changed(),
                **subscriber.schema() != before && schema_changes == 1
            );
            subscriber.version() == version
        });
        assert_eq!(schema_changes, usize::from(before != after));
        assert_eq!(seen, *expected);
        assert_eq!((&**subscriber.schema(), subscriber.capacity()), (&after, 65));
        let found: Vec<Vec<u8>> = subscriber.iter().map(|row| row.bytes().to_vec()).collect();
        assert_eq!(found, rows(&after, new_rows));
        // The change of schema is reported once.
        assert!(!subscriber.refresh().unwrap().schema_changed());
        assert_eq!(subscriber.changes().cause(), Cause::Nothing);
        publisher.close().unwrap();
    }
}

#[test]
fn wait_returns_when_only_the_schema_changes() {
    let table = Table::new("schema-wait");
    let schema = |fields| Schema::parse(fields, None).unwrap();
    let open = |fields| UntypedPublisher::builder(table.name(), schema(fields)).open();
    let mut publisher = open("id:u64,a:u32").unwrap();
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let waiting = std::thread::spawn(move || {
        let changes = subscriber.wait(Some(LIMIT)).unwrap();
        (changes.cause(), changes.schema_changed(), subscriber.schema().to_string())
    });
    publisher.reshape(schema("id:u64,b:u32"), 10, [[0_u8; 0]; 0]).unwrap();
    let expected = (Cause::Schema, true, "id:u64,b:u32".to_owned());
    assert_eq!(waiting.join().unwrap(), expected);
    publisher.close().unwrap();
}

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
#[repr(C)]
struct Note {
    #[row(key)]
    id: common::Text<8>,
    #[row(key)]
    number: u64,
    text: common::Text<16>,
}

impl Note {
    fn new(number: u64, text: &str) -> Self {
        let id = common::Text::truncated("key");
        Self { id, number, text: common::Text::truncated(text) }
    }
}

#[test]
fn typed_subscriber_reads_texts_of_other_widths() {
    let table = Table::new("widths");
    let schema = |fields| Schema::parse(fields, Some("id,number")).unwrap();
    let open =
        |schema: &Schema| UntypedPublisher::builder(table.name(), schema.clone()).open().unwrap();
    let narrow = schema("id:text(3),number:u64,text:text(8)");
    let mut publisher = open(&narrow);
    let mut tx = publisher.begin();
    for row in rows(&narrow, &[&["key", "1", "one"], &["key", "2", "two"], &["key", "3", "three"]])
    {
        tx.insert(&row).unwrap();
    }
    tx.commit().unwrap();
    let mut subscriber = Subscriber::<Note>::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(&subscriber.changes());
    let key = |number| (common::Text::truncated("key"), number);
    assert_eq!(subscriber.len(), 3);
    assert_eq!(subscriber.get(&key(1)), Some(&Note::new(1, "one")));
    assert_eq!(**subscriber.untyped().schema(), Schema::of::<Note>().unwrap());
    for (fields, text) in [
        ("id:text(3),number:u64,text:text(8)", "8 bytes."),
        ("id:text(8),number:u64,text:text(16)", "sixteen bytes .."),
        ("id:text(12),number:u64,text:text(40)", "sixteen bytes !!"),
        ("id:text(40),number:u64,text:text(400)", "short"),
    ] {
        println!("{fields}");
        let wider = schema(fields);
        if wider != **publisher.schema() {
            drop(publisher);
            publisher = open(&wider);
        }
        let mut tx = publisher.begin();
        for row in rows(&wider, &[&["key", "1", text], &["key", "9", text]]) {
            tx.upsert(&row).unwrap();
        }
        tx.delete(&wider.parse_key("key,9").unwrap()).unwrap();
        let version = tx.commit().unwrap();
        until("the subscriber has the row", || {
            let changes = subscriber.wait(Some(LIMIT)).unwrap();
            mirror.apply(&changes);
            subscriber.version() == version
        });
        let expected = [Note::new(1, text), Note::new(2, "two"), Note::new(3, "three")];
        for note in &expected {
            assert_eq!(subscriber.get(&key(note.number)), Some(note));
            assert_eq!(subscriber.latest(&key(note.number)).unwrap().as_ref(), Some(note));
        }
        assert_eq!(subscriber.latest(&key(9)).unwrap(), None);
        let mut snapshot = Vec::new();
        assert_eq!(subscriber.snapshot(&mut snapshot).unwrap(), version);
        snapshot.sort_by_key(|note| note.number);
        assert_eq!(snapshot, expected);
        assert_eq!(mirror.rows().len(), 3);
        assert_eq!(mirror.rows()[&key(1)], expected[0]);
        // A row that is newer than the local copy.
        let mut tx = publisher.begin();
        tx.insert(&rows(&wider, &[&["key", "7", text]])[0]).unwrap();
        tx.commit().unwrap();
        assert_eq!(subscriber.latest(&key(7)).unwrap(), Some(Note::new(7, text)));
        let mut tx = publisher.begin();
        tx.delete(&wider.parse_key("key,7").unwrap()).unwrap();
        tx.commit().unwrap();
    }
    publisher.close().unwrap();
}

/// Publishes notes whose texts may be too long for [`Note`].
fn longer_texts(table: &Table) -> UntypedPublisher {
    let schema = Schema::parse("id:text(8),number:u64,text:text(20)", Some("id,number")).unwrap();
    UntypedPublisher::builder(table.name(), schema).open().unwrap()
}

fn write_text(publisher: &mut UntypedPublisher, text: &str) {
    let row = &rows(publisher.schema(), &[&["key", "1", text]])[0];
    let mut tx = publisher.begin();
    tx.upsert(row).unwrap();
    tx.commit().unwrap();
}

#[test]
fn text_too_long_for_typed_subscriber_names_field_and_keeps_copy() {
    let table = Table::new("too-wide");
    let mut publisher = longer_texts(&table);
    let mut write = |text| write_text(&mut publisher, text);
    write("it fits");
    let mut subscriber = Subscriber::<Note>::open(table.name()).unwrap();
    let key = (common::Text::truncated("key"), 1);
    let too_long = |error: Error| match error {
        Error::TextTooLong { field, length: 17, capacity: 16 } => assert_eq!(field, "text"),
        error => panic!("{error}"),
    };
    write("it has 17 bytes..");
    too_long(subscriber.refresh().map(drop).unwrap_err());
    too_long(subscriber.latest(&key).unwrap_err());
    too_long(subscriber.snapshot(&mut Vec::new()).unwrap_err());
    too_long(Subscriber::<Note>::open(table.name()).map(drop).unwrap_err());
    assert_eq!(subscriber.get(&key), Some(&Note::new(1, "it fits")));
    // The subscriber continues once the text fits.
    write("it fits again");
    assert_eq!(subscriber.refresh().unwrap().len(), 1);
    assert_eq!(subscriber.get(&key), Some(&Note::new(1, "it fits again")));
    publisher.close().unwrap();
}

/// An event loop would otherwise try again at once, for as long as the text does not fit.
#[test]
fn descriptor_is_not_readable_after_an_error_until_the_next_check() {
    let table = Table::new("too-wide-parked");
    let mut publisher = longer_texts(&table);
    let mut write = |text| write_text(&mut publisher, text);
    let is_readable = |subscriber: &Subscriber<Note>| {
        let mut descriptors = [PollFd::new(subscriber.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, 100_u8).unwrap() > 0
    };
    for sleep in [Sleep::Queue, Sleep::Futex, Sleep::Unix] {
        write("it fits");
        let options = Subscriber::<Note>::builder(table.name()).recheck(NEVER).wake(sleep);
        let mut subscriber = options.open().unwrap();
        until("the subscriber is parked", || {
            subscriber.refresh().unwrap();
            !is_readable(&subscriber)
        });
        write("it has 17 bytes..");
        until("the wake-up arrived", || is_readable(&subscriber));
        assert!(matches!(subscriber.refresh(), Err(Error::TextTooLong { .. })), "{sleep}");
        assert!(!is_readable(&subscriber), "{sleep}");
    }
    publisher.close().unwrap();
}
