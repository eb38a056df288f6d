//! Tables that grow: a full region is followed by a larger one, and readers notice nothing.

use std::os::unix::fs::MetadataExt;

use common::publisher::MAX_CAPACITY;
use common::{Error, Publisher, Reader, Schema, Subscriber, UntypedPublisher};
use tests::growth::BATCH;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, NEVER, role};

fn item(number: u32) -> Item {
    Item::new((0, number), number.into())
}

fn insert(publisher: &mut Publisher<Item>, numbers: std::ops::Range<u32>) -> common::Result<u64> {
    let mut tx = publisher.begin();
    numbers.into_iter().try_for_each(|number| tx.insert(&item(number)))?;
    tx.commit()
}

#[test]
fn followers_in_other_processes_lose_no_version_while_a_table_grows() {
    const ROWS: u32 = 100_000;
    let table = Table::new("growth");
    let mut writer = Process::start(&mut role!("fill", table.name(), ROWS));
    assert_eq!(writer.line(), "open");
    let kinds = ["refresh", "wait", "reader"];
    let follower = |how: &str| Process::start(&mut role!("follow-growth", table.name(), how, ROWS));
    let mut followers = kinds.map(follower);
    for follower in &mut followers {
        assert_eq!(follower.line(), "open");
    }
    writer.write_line("go");
    let ended = writer.line();
    let growths = 4;
    // Creation, the transactions, and the growths.
    let version = 1 + u64::from(ROWS / BATCH) + growths;
    assert_eq!(ended, format!("{version} {}", 1024 << (2 * growths)));
    for (mut follower, how) in followers.into_iter().zip(kinds) {
        let line = follower.line();
        let (versions, last) = line.split_once(' ').expect("two numbers");
        println!("{how}: checked {versions} of {version} versions");
        assert_eq!(last, version.to_string(), "{how}");
        follower.ends_with(0);
    }
    writer.finish();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn new_table_takes_at_most_64_kib() {
    let table = Table::new("small");
    let publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let info = common::inspect(table.name(), None).unwrap();
    let objects = [
        format!("table.{}", table.name()),
        format!("lock.{}", table.name()),
        format!("subs.{:016x}", info.registry_id),
        format!("index.{:016x}.1", info.region_id),
    ];
    let sizes = objects.map(|object| {
        let object = format!("/dev/shm/tablecast.{object}");
        512 * std::fs::metadata(object).unwrap().blocks()
    });
    println!("region, lock, registry and index take {sizes:?} bytes");
    assert!(sizes.iter().sum::<u64>() <= 64 << 10, "{sizes:?}");
    publisher.close().unwrap();
}

#[test]
fn table_grows_to_its_maximum_capacity_and_then_refuses_rows() {
    let table = Table::new("max-capacity");
    let builder = Publisher::<Item>::builder(table.name()).capacity(2).max_capacity(20);
    let mut publisher = builder.open().unwrap();
    assert_eq!((publisher.capacity(), publisher.max_capacity()), (2, 20));
    for (number, capacity) in [(0, 2), (1, 2), (2, 8), (8, 20), (19, 20)] {
        let first = publisher.len() as u32;
        insert(&mut publisher, first..number + 1).unwrap();
        assert_eq!(publisher.capacity(), capacity);
    }
    let mut tx = publisher.begin();
    match tx.insert(&item(20)) {
        Err(error @ Error::TableFull { capacity: 20, .. }) => {
            let text = error.to_string();
            assert!(text.contains(table.name()) && text.contains("all 20 rows"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    // The transaction continues, and a deleted row makes room.
    tx.delete(&(0, 0)).unwrap();
    tx.insert(&item(20)).unwrap();
    tx.commit().unwrap();
    assert_eq!((publisher.len(), publisher.capacity()), (20, 20));
    publisher.close().unwrap();
}

#[test]
fn invalid_maximum_capacity_is_refused_and_small_one_limits_the_initial_capacity() {
    let table = Table::new("limits-initial");
    let builder = || Publisher::<Item>::builder(table.name());
    for max_capacity in [0, MAX_CAPACITY + 1] {
        let refused = builder().max_capacity(max_capacity).open();
        assert!(matches!(refused.map(drop), Err(Error::InvalidSetting { .. })));
    }
    let publisher = builder().max_capacity(5).open().unwrap();
    assert_eq!((publisher.capacity(), publisher.max_capacity()), (5, 5));
    publisher.close().unwrap();
    let publisher = builder().fixed_capacity(7).open().unwrap();
    assert_eq!((publisher.capacity(), publisher.max_capacity()), (7, 7));
    publisher.close().unwrap();
}

/// Regression: a table of wide rows could grow beyond the address space, with the error of a setting
/// instead of that of a full table.
#[test]
fn maximum_capacity_of_wide_rows_is_that_of_the_layout() {
    let table = Table::new("limits-wide");
    let texts: String = (0..15).map(|field| format!(",text{field}:text(4096)")).collect();
    let [narrow, wide] =
        ["id:u64", &format!("id:u64{texts}")].map(|fields| Schema::parse(fields, None).unwrap());
    let mut publisher = UntypedPublisher::builder(table.name(), narrow).open().unwrap();
    assert_eq!(publisher.max_capacity(), MAX_CAPACITY);
    publisher.reshape(wide, 1, [[0; 0]; 0]).unwrap();
    let max_capacity = publisher.max_capacity();
    assert!((1 << 28..1 << 29).contains(&max_capacity), "{max_capacity}");
    publisher.close().unwrap();
}

#[test]
fn one_transaction_grows_a_table_once_to_the_capacity_it_needs() {
    let table = Table::new("large-transaction");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut subscriber = Subscriber::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    let rows: Vec<Item> = (0..1000).map(item).collect();
    let mut tx = publisher.begin();
    tx.replace_with(&rows).unwrap();
    assert_eq!(tx.commit().unwrap(), 3, "creation, growth, and the transaction");
    assert_eq!(publisher.capacity(), 1024);
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 1000);
    // Other rows take the slots of these.
    let mut tx = publisher.begin();
    tx.replace_with(&(1000..2000).map(item).collect::<Vec<_>>()).unwrap();
    tx.commit().unwrap();
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 2000);
    assert_eq!(publisher.capacity(), 1024);
    // A transaction that is dropped does not let the table grow.
    let mut tx = publisher.begin();
    tx.replace_with(&(0..5000).map(item).collect::<Vec<_>>()).unwrap();
    drop(tx);
    assert_eq!((publisher.capacity(), publisher.version()), (1024, 4));
    publisher.close().unwrap();
}

#[test]
fn takeover_keeps_the_grown_capacity() {
    let table = Table::new("grown-taken-over");
    let open = || Publisher::<Item>::builder(table.name()).capacity(4).max_capacity(64).open();
    let mut publisher = open().unwrap();
    insert(&mut publisher, 0..17).unwrap();
    assert_eq!(publisher.capacity(), 64);
    let reader = Reader::<Item>::open(table.name()).unwrap();
    drop(publisher);
    let mut publisher = open().unwrap();
    assert_eq!((publisher.capacity(), publisher.len()), (64, 17));
    insert(&mut publisher, 17..64).unwrap();
    assert!(matches!(insert(&mut publisher, 64..65), Err(Error::TableFull { capacity: 64, .. })));
    assert_eq!(reader.get(&(0, 63)).unwrap(), Some(item(63)));
    drop(publisher);
    // A fixed capacity keeps a larger one, and is the limit otherwise.
    let fixed = Publisher::<Item>::builder(table.name()).fixed_capacity(10).open().unwrap();
    assert_eq!((fixed.capacity(), fixed.max_capacity()), (64, 64));
    fixed.close().unwrap();
}

/// Regression: a growth gave its region the name without a check of the lock.
#[test]
fn growth_leaves_the_table_of_another_publisher_that_has_taken_the_name() {
    let table = Table::new("growth-robbed");
    let builder = Publisher::<Item>::builder(table.name()).capacity(2);
    let mut robbed = builder.open().unwrap();
    insert(&mut robbed, 0..2).unwrap();
    table.remember();
    for kind in ["lock", "table"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.{kind}.{}", table.name())).unwrap();
    }
    let mut other = builder.open().unwrap();
    let refused = insert(&mut robbed, 2..5).unwrap_err();
    assert!(matches!(refused, Error::Lost { .. }), "{refused}");
    assert_eq!(Subscriber::<Item>::open(table.name()).unwrap().len(), 0);
    insert(&mut other, 0..1).unwrap();
    assert_eq!(Subscriber::<Item>::open(table.name()).unwrap().len(), 1);
}

#[test]
fn version_that_ends_a_region_has_the_number_of_its_rows() {
    let table = Table::new("growth-len");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(4).open().unwrap();
    insert(&mut publisher, 0..4).unwrap();
    let reader = Reader::<Item>::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    tx.delete(&(0, 0)).unwrap();
    tx.commit().unwrap();
    insert(&mut publisher, 4..9).unwrap();
    // The reader has not moved, and after the end of the table there is no other region.
    publisher.close().unwrap();
    assert_eq!(reader.len().unwrap(), 3);
}

#[test]
fn growth_keeps_the_mark_of_ended_input() {
    let table = Table::new("growth-ended");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    publisher.untyped().end_input();
    insert(&mut publisher, 0..3).unwrap();
    assert!(common::inspect(table.name(), None).unwrap().input_ended_ago.is_some());
}
