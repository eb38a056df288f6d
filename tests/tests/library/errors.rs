//! Invalid calls return a typed error and change nothing.

use common::{
    Error, Publisher, Row, Schema, Subscriber, Text, UntypedPublisher, UntypedSubscriber,
};
use tests::script::Item;
use tests::table::Table;

fn open(table: &Table, capacity: usize) -> Publisher<Item> {
    Publisher::<Item>::builder(table.name()).fixed_capacity(capacity).open().unwrap()
}

#[test]
fn transaction_continues_after_refused_changes() {
    let table = Table::new("refused");
    let mut publisher = open(&table, 2);
    let [first, second, third] = [1, 2, 3].map(|number| Item::new((0, number), 1));
    let mut tx = publisher.begin();
    tx.insert(&first).unwrap();
    match tx.insert(&first) {
        Err(Error::KeyExists { table: named, key }) => {
            assert_eq!((named.as_str(), key.as_str()), (table.name(), "0,1"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(tx.update(&second), Err(Error::KeyMissing { key, .. }) if key == "0,2"));
    assert!(matches!(tx.delete(&(9, 9)), Err(Error::KeyMissing { key, .. }) if key == "9,9"));
    tx.insert(&second).unwrap();
    assert!(matches!(tx.insert(&third), Err(Error::TableFull { capacity: 2, .. })));
    assert!(matches!(tx.upsert(&third), Err(Error::TableFull { capacity: 2, .. })));
    // In a full table the slot of a deleted row is free at once.
    tx.delete(&first.key()).unwrap();
    tx.insert(&third).unwrap();
    assert!(matches!(tx.insert(&first), Err(Error::TableFull { .. })));
    assert_eq!(tx.len(), 2);
    let version = tx.commit().unwrap();
    assert_eq!((version, publisher.len()), (2, 2));
    assert_eq!(publisher.get(&third.key()).unwrap(), Some(third));
    assert_eq!(publisher.get(&first.key()).unwrap(), None);
    publisher.close().unwrap();
}

#[test]
fn dropped_or_empty_transaction_does_not_commit() {
    let table = Table::new("dropped-tx");
    let mut publisher = open(&table, 4);
    let subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    tx.insert(&Item::new((1, 1), 1)).unwrap();
    drop(tx);
    assert_eq!((publisher.version(), publisher.len()), (1, 0));
    assert_eq!(publisher.begin().commit().unwrap(), 1);
    let mut tx = publisher.begin();
    tx.insert(&Item::new((1, 1), 1)).unwrap();
    tx.delete(&(1, 1)).unwrap();
    assert!(tx.is_empty());
    assert_eq!(tx.commit().unwrap(), 1);
    assert_eq!(subscriber.latest(&(1, 1)).unwrap(), None);
}

#[test]
fn invalid_names_are_refused() {
    for name in ["", ".hidden", "a/b", "with space", "ä", &"x".repeat(65)] {
        let invalid = |result: Result<(), Error>| match result {
            Err(Error::InvalidName { name: told }) => assert_eq!(told, name),
            other => panic!("{name:?}: {other:?}"),
        };
        invalid(Publisher::<Item>::builder(name).open().map(drop));
        invalid(Subscriber::<Item>::open(name).map(drop));
        invalid(common::remove(name).map(drop));
        invalid(common::inspect(name, None).map(drop));
    }
}

#[test]
fn missing_table_is_not_found() {
    let table = Table::new("nowhere");
    let not_found = |result: Result<(), Error>| match result {
        Err(Error::NotFound { table: named }) => assert_eq!(named, table.name()),
        other => panic!("{other:?}"),
    };
    not_found(Subscriber::<Item>::open(table.name()).map(drop));
    not_found(UntypedSubscriber::open(table.name()).map(drop));
    not_found(common::remove(table.name()).map(drop));
    not_found(common::inspect(table.name(), None).map(drop));
    let timeout = std::time::Duration::from_millis(30);
    let late = Subscriber::<Item>::builder(table.name()).open_within(timeout);
    assert!(matches!(late.map(drop), Err(Error::TimedOut { waited, .. }) if waited == timeout));
}

#[test]
fn text_schema_and_settings_are_validated() {
    assert!(matches!(
        Text::<4>::new("12345"),
        Err(Error::TextTooLong { length: 5, capacity: 4, .. })
    ));
    let schema = Schema::parse("id:u64,name:text(4)", None).unwrap();
    let mut row = common::RowBuf::new(schema.into());
    match row.set_text(1, "äöü") {
        Err(Error::TextTooLong { field, length, capacity }) => {
            assert!(field.contains("name"), "{field}");
            assert_eq!((length, capacity), (6, 4));
        }
        other => panic!("{other:?}"),
    }
    for (fields, key) in
        [("", None), ("a:u8,a:u8", None), ("a:f64", Some("a")), ("a:u8", Some("b"))]
    {
        assert!(Schema::parse(fields, key).is_err(), "{fields:?} {key:?}");
    }
    for capacity in [0, usize::MAX] {
        let refused = Publisher::<Item>::builder("capacity").capacity(capacity).open();
        assert!(matches!(refused.map(drop), Err(Error::InvalidSetting { .. })));
    }
    let refused = Publisher::<Item>::builder("mode").mode(0o666).open();
    assert!(matches!(refused.map(drop), Err(Error::InvalidSetting { .. })));
}

#[test]
fn rows_of_wrong_length_are_refused() {
    let table = Table::new("length");
    let schema = Schema::parse("id:u64,value:u64", None).unwrap();
    let mut publisher = UntypedPublisher::builder(table.name(), schema).open().unwrap();
    let mut tx = publisher.begin();
    assert!(matches!(
        tx.insert(&[0; 15]),
        Err(Error::WrongLength { length: 15, expected: 16, .. })
    ));
    assert!(matches!(tx.delete(&[0; 9]), Err(Error::WrongLength { length: 9, expected: 8, .. })));
    assert!(tx.is_empty());
}

#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
struct Other {
    #[row(key)]
    group: u32,
    #[row(key)]
    number: u32,
    value: f64,
    label: Text<24>,
}

#[test]
fn schema_mismatch_names_the_field() {
    let table = Table::new("typed");
    let _publisher = open(&table, 2);
    match Subscriber::<Other>::open(table.name()).map(drop) {
        Err(Error::SchemaMismatch { table: named, difference }) => {
            assert_eq!(named, table.name());
            assert!(difference.contains("value"), "{difference}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn file_that_is_not_a_table_is_an_error() {
    let table = Table::new("damaged");
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    for bytes in [vec![], vec![0xff; 100], vec![0; 1 << 16]] {
        std::fs::write(&path, &bytes).unwrap();
        for result in [
            Subscriber::<Item>::open(table.name()).map(drop),
            common::inspect(table.name(), None).map(drop),
            Publisher::<Item>::builder(table.name()).open().map(drop),
        ] {
            let corrupt =
                matches!(result, Err(Error::Corrupt { .. } | Error::LayoutMismatch { .. }));
            assert!(corrupt, "{} bytes: {result:?}", bytes.len());
        }
    }
    common::remove(table.name()).unwrap();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn truncated_region_is_an_error_without_sigbus() {
    let table = Table::new("cut");
    let mut publisher = open(&table, 10_000);
    let mut tx = publisher.begin();
    for number in 0..10_000 {
        tx.insert(&Item::new((0, number), 1)).unwrap();
    }
    tx.commit().unwrap();
    table.remember();
    drop(publisher);
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    for part in [length - 1, length / 2, 8192, 4096, 100] {
        file.set_len(part).unwrap();
        let attached = Subscriber::<Item>::open(table.name()).map(drop);
        assert!(
            matches!(attached, Err(Error::Corrupt { .. })),
            "{part} of {length} bytes: {attached:?}"
        );
    }
}

#[test]
fn create_new_refuses_the_table_of_a_live_or_dead_publisher() {
    let table = Table::new("create-new");
    let builder = Publisher::<Item>::builder(table.name()).capacity(4);
    let mut publisher = builder.create_new().unwrap();
    let mut tx = publisher.begin();
    tx.insert(&Item::new((1, 1), 1)).unwrap();
    tx.commit().unwrap();
    table.remember();
    assert!(matches!(builder.create_new(), Err(Error::PublisherActive { .. })));
    assert!(matches!(builder.take_over(), Err(Error::PublisherActive { .. })));
    drop(publisher);
    match builder.create_new() {
        Err(Error::TableExists { table: named }) => assert_eq!(named, table.name()),
        other => panic!("{other:?}"),
    }
    let publisher = builder.take_over().unwrap();
    assert_eq!((publisher.len(), publisher.epoch()), (1, 2));
    publisher.close().unwrap();
    assert!(builder.create_new().unwrap().close().is_ok());
}

#[test]
fn take_over_of_a_missing_table_is_not_found_and_leaves_nothing() {
    let table = Table::new("take-over");
    match Publisher::<Item>::builder(table.name()).take_over() {
        Err(Error::NotFound { table: named }) => assert_eq!(named, table.name()),
        other => panic!("{other:?}"),
    }
    let lock = format!("/dev/shm/tablecast.lock.{}", table.name());
    assert!(!std::path::Path::new(&lock).exists());
}

#[test]
fn one_of_several_publishers_wins_a_race_to_create_or_take_over() {
    let table = Table::new("race");
    let builder = Publisher::<Item>::builder(table.name()).capacity(4);
    for round in 0..50 {
        let start = std::sync::Barrier::new(4);
        let race = || {
            start.wait();
            if round == 0 { builder.create_new() } else { builder.take_over() }
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let racers = [(); 4].map(|()| scope.spawn(race));
            racers.map(|racer| racer.join().unwrap()).into()
        });
        table.remember();
        assert_eq!(opened.iter().flatten().count(), 1, "round {round}: {opened:?}");
        let is_expected = |error: &Error| matches!(error, Error::PublisherActive { .. });
        assert!(opened.iter().filter_map(|opened| opened.as_ref().err()).all(is_expected));
        // All publishers are dropped, as if the winner had died.
    }
}
