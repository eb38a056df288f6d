//! Views of a table's rows and changes, typed and untyped, and of the maintenance that is due.

use std::time::Duration;

use common::{Change, KeyRef, Publisher, Subscriber, UntypedSubscriber, WaitSet};
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, until};

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

#[test]
fn maintenance_timer_is_readable_while_maintenance_is_due() {
    let table = Table::new("views-timer");
    let mut publisher = Publisher::<Item>::open(table.name()).unwrap();
    let mut set = WaitSet::new().unwrap();
    set.add(&publisher.maintenance_timer().unwrap()).unwrap();
    // The first maintenance is due at once, and stays due.
    for _ in 0..2 {
        assert_eq!(set.wait(Some(LIMIT)).unwrap().len(), 1);
    }
    let mut value = 0;
    for round in 0..2 {
        // Maintenance by a call or by a commit ends the readiness. A slow machine may need several
        // rounds to see that before the next maintenance is due.
        until("the timer is not readable", || {
            if round == 0 {
                publisher.maintain().unwrap();
            } else if !set.wait(Some(Duration::ZERO)).unwrap().is_empty() {
                let mut tx = publisher.begin();
                value += 1;
                tx.upsert(&Item::new((0, 1), value)).unwrap();
                tx.commit().unwrap();
            }
            set.wait(Some(Duration::ZERO)).unwrap().is_empty()
        });
        assert_eq!(set.wait(Some(LIMIT)).unwrap().len(), 1, "it is due again");
    }
    publisher.close().unwrap();
}
