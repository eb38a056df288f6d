//! Views of a table's rows and changes, typed and untyped.

use common::{Change, KeyRef, Publisher, Subscriber, UntypedSubscriber};
use tests::script::Item;
use tests::table::Table;

#[test]
fn keys_and_rows_of_a_subscriber_agree_and_are_counted() {
    let table = Table::new("views");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let mut tx = publisher.begin();
    (0..100).for_each(|number| tx.insert(&Item::new((0, number), 1)).unwrap());
    tx.commit().unwrap();
    let mut tx = publisher.begin();
    (0..50).for_each(|number| tx.delete(&(0, number)).unwrap());
    tx.commit().unwrap();

    let typed = Subscriber::<Item>::open(table.name()).unwrap();
    let rows = typed.iter();
    assert_eq!((rows.len(), rows.count()), (50, 50));
    let mut keys: Vec<_> = typed.keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, (50..100).map(|number| (0, number)).collect::<Vec<_>>());
    assert!(typed.contains_key(&(0, 50)) && !typed.contains_key(&(0, 49)));

    let untyped = UntypedSubscriber::open(table.name()).unwrap();
    let mut rows = untyped.iter();
    assert!(rows.next().is_some());
    assert_eq!(rows.len(), 49);
    let keys: Vec<Vec<u8>> = untyped.keys().map(KeyRef::to_bytes).collect();
    assert_eq!(keys.len(), 50);
    assert!(keys.iter().all(|key| untyped.contains_key(key)));
    assert!(!untyped.contains_key(&[0; 8]) && !untyped.contains_key(&[]));
    publisher.close().unwrap();
}

#[test]
fn changes_are_iterated_by_value_and_counted() {
    let table = Table::new("views-changes");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let mut typed = Subscriber::<Item>::open(table.name()).unwrap();
    let mut untyped = UntypedSubscriber::open(table.name()).unwrap();
    let row = Item::new((1, 2), 3);
    let mut tx = publisher.begin();
    tx.insert(&row).unwrap();
    tx.commit().unwrap();
    for change in typed.refresh().unwrap() {
        assert_eq!(change, Change::Created(&row));
    }
    for change in untyped.refresh().unwrap() {
        assert!(matches!(change, Change::Created(row) if row.key().to_string() == "1,2"));
    }
    assert_eq!((typed.changes().iter().len(), untyped.changes().iter().len()), (1, 1));
    // After opening, all rows are reported as created.
    let opened = Subscriber::<Item>::open(table.name()).unwrap();
    let mut changes = opened.changes().iter();
    assert_eq!((changes.len(), changes.next(), changes.len()), (1, Some(Change::Created(&row)), 0));
    publisher.close().unwrap();
}
