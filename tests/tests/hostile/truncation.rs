//! A region that is truncated while it is in use gives an error, never a signal.

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::{Error, Publisher, Schema, Snapshot, Subscriber, UntypedPublisher, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::subscriber;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, role, until};

const ROWS: u32 = 10_000;

fn fill(publisher: &mut Publisher<Item>, count: u64) {
    let mut tx = publisher.begin();
    for number in 0..ROWS {
        tx.upsert(&Item::new((0, number), count)).unwrap();
    }
    tx.commit().unwrap();
}

fn region(table: &Table) -> File {
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    File::options().write(true).open(path).unwrap()
}

#[test]
fn region_truncated_under_its_readers_is_an_error_without_sigbus() {
    let table = Table::new("cut-live");
    for part in ["0", "100", "4096", "a half", "a page less"] {
        let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
        fill(&mut publisher, 1);
        table.remember();
        let watch = ["watch", table.name(), "0,7", "--format", "jsonl"];
        let mut watch = Process::start(subscriber().args(watch));
        assert!(watch.line().contains("create"));
        let mut attached = Subscriber::<Item>::open(table.name()).unwrap();
        let asked = Subscriber::<Item>::open(table.name()).unwrap();
        fill(&mut publisher, 2);
        assert!(watch.line().contains("update"));

        let file = region(&table);
        let length = file.metadata().unwrap().len();
        let kept = match part {
            "a half" => (length / 2) & !4095,
            "a page less" => length - 4096,
            number => number.parse().unwrap(),
        };
        file.set_len(kept).unwrap();
        let refused = attached.refresh().map(|changes| changes.len());
        let corrupt = matches!(refused, Err(Error::Corrupt { .. }));
        // The last page has only blocks without rows.
        assert!(corrupt || part == "a page less", "{part}: {refused:?}");
        if corrupt {
            assert_eq!(attached.get(&(0, 7)), Some(&Item::new((0, 7), 1)));
        }
        let answers = (0..ROWS).map(|number| asked.latest(&(0, number)));
        let refused = answers.filter(|answer| match answer {
            Ok(row) => {
                assert!(row.is_some(), "{part}: a row is missing without an error");
                false
            }
            Err(Error::Corrupt { .. }) => true,
            Err(error) => panic!("{error}"),
        });
        assert!(refused.count() > 0 || part == "a page less", "{part}");

        // The publisher also gets errors, because its table is lost. The watch was not killed.
        let damaged = publisher.iter().any(|row| matches!(row, Err(Error::Corrupt { .. })));
        assert!(damaged || part == "a page less", "{part}");
        assert!(publisher.iter().all(|row| row.is_err() || row.unwrap().value == 2), "{part}");
        let mut tx = publisher.begin();
        for number in 0..ROWS {
            tx.upsert(&Item::new((0, number), 3)).unwrap();
        }
        let first = tx.commit();
        let second = publisher.begin().commit().and_then(|_| publisher.maintain());
        println!("{part}: {first:?}, then {second:?}");
        table.remember();
        drop(publisher);
        if corrupt {
            // The re-check reports the damage at the latest.
            watch.ends_with(1);
            assert!(watch.stderr().contains("damaged object"), "{}", watch.stderr());
        }
        drop((attached, watch));
        common::remove(table.name()).unwrap();
    }
}

#[test]
fn reader_follows_successor_of_damaged_table() {
    let table = Table::new("cut-mended");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    fill(&mut publisher, 1);
    table.remember();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    fill(&mut publisher, 2);
    region(&table).set_len(4096).unwrap();
    assert!(subscriber.refresh().is_err());
    drop(publisher);
    common::remove(table.name()).unwrap();
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    fill(&mut publisher, 3);
    until("the subscriber has moved to the new region", || {
        subscriber.wait(Some(LIMIT)).is_ok_and(|changes| changes.len() == ROWS as usize)
    });
    assert_eq!(subscriber.get(&(0, 7)), Some(&Item::new((0, 7), 3)));
    publisher.close().unwrap();
}

#[test]
fn other_sigbus_faults_still_kill_the_process() {
    let table = Table::new("other-fault");
    let publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let mut follower = Process::start(&mut role!("read", table.name()));
    assert_eq!(follower.line(), "rows 0");
    until("the process is killed", || {
        // The handler of Rust's runtime resets itself at the first signal and returns.
        follower.signal(Signal::SIGBUS);
        !follower.is_running()
    });
    let status = follower.end();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(Signal::SIGBUS as i32), "{status:?}");
    publisher.close().unwrap();
}

#[test]
fn sigbus_that_the_program_ignores_stays_ignored() {
    let table = Table::new("ignored-fault");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let role = role!("read", table.name());
    let mut command = tests::clean::command("sh");
    command.args(["-c", "trap '' BUS; exec \"$0\" \"$@\""]).arg(role.get_program());
    let mut follower = Process::start(command.args(role.get_args()));
    assert_eq!(follower.line(), "rows 0");
    follower.signal(Signal::SIGBUS);
    fill(&mut publisher, 1);
    assert_eq!(follower.line(), format!("rows {ROWS}"));
    assert!(follower.is_running());
    publisher.close().unwrap();
}

/// Returns a table with rows of maximum width, so that few rows need much memory.
fn wide_rows(table: &Table, capacity: usize) -> (UntypedPublisher, Vec<u8>) {
    let fields: Vec<String> = (0..15).map(|n| format!("t{n}:text(4096)")).collect();
    let schema = Schema::parse(&format!("id:u64,{}", fields.join(",")), None).unwrap();
    let row = vec![0; schema.row_size()];
    let publisher =
        UntypedPublisher::builder(table.name(), schema).capacity(capacity).open().unwrap();
    (publisher, row)
}

#[test]
fn region_enlarged_by_hole_is_an_error_and_allocates_nothing() {
    const CAPACITY: usize = 1 << 21;
    const ROWS: u64 = 0xb8;
    const COMMIT: u64 = 0x100;
    const TREE: u64 = 0x48;
    const JOURNAL: u64 = 0x58;
    const BLOCKS: u64 = 0x50;
    let table = Table::new("hole");
    let (mut publisher, row) = wide_rows(&table, CAPACITY);
    let mut tx = publisher.begin();
    tx.insert(&row).unwrap();
    tx.commit().unwrap();
    let mut subscriber = UntypedSubscriber::open(table.name()).unwrap();
    let asked = UntypedSubscriber::open(table.name()).unwrap();
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let word = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let put = |at: u64, value: u64| file.write_all_at(&value.to_le_bytes(), at).unwrap();
    let block = 1024 + 2 * 64 * row.len().next_multiple_of(8) as u64;
    file.set_len(word(BLOCKS) + (CAPACITY as u64 / 64) * block).unwrap();
    // Claims that all rows exist and were written by the next commit.
    (word(TREE)..word(JOURNAL)).step_by(8).for_each(|entry| put(entry, 3));
    put(ROWS, CAPACITY as u64);
    put(COMMIT, 3);
    for answer in [
        subscriber.refresh().map(drop),
        subscriber.latest(&[9; 8]).map(drop),
        asked.snapshot(&mut Snapshot::default()).map(drop),
        UntypedSubscriber::open(table.name()).map(drop),
    ] {
        match answer {
            Err(Error::Corrupt { reason, .. }) => assert!(reason.contains("holes"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(subscriber.len(), 1, "the local copy is unchanged");
}

#[test]
fn failed_allocation_of_local_copy_is_an_error() {
    let table = Table::new("starved");
    let (mut publisher, mut row) = wide_rows(&table, 200);
    // The process may allocate 4 MiB more than it has when it attaches to an empty table.
    let mut starved = Process::start(&mut role!("starved", table.name(), 4 << 20));
    assert_eq!(starved.line(), "rows 0");
    let mut tx = publisher.begin();
    for id in 0..150 {
        row[0] = id;
        tx.insert(&row).unwrap();
    }
    tx.commit().unwrap();
    starved.write_line("refresh");
    let answers = ["refresh", "snapshot", "open"].map(|call| (call, starved.line()));
    for (call, answer) in answers {
        let expected = format!(
            "{call}: limit reached: /dev/shm/tablecast.table.{}: memory is used up",
            table.name()
        );
        assert!(answer.starts_with(&expected), "{answer}");
    }
    assert_eq!(starved.line(), "rows 0", "the local copy is unchanged");
    starved.finish();
    publisher.close().unwrap();
}

#[test]
fn each_failed_allocation_of_the_copy_is_an_error_and_changes_nothing() {
    let table = Table::new("rationed");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(40_000).open().unwrap();
    let mut insert = |numbers: std::ops::Range<u32>| {
        let mut tx = publisher.begin();
        for number in numbers {
            tx.upsert(&Item::new((0, number), u64::from(number))).unwrap();
        }
        tx.commit().unwrap();
    };
    insert(0..1000);
    let mut rationed = Process::start(&mut role!("rationed", table.name()));
    assert_eq!(rationed.line(), "open");
    insert(500..40_000);
    rationed.write_line("refresh");
    for call in ["refresh", "open"] {
        let line = rationed.line();
        let numbers = line.strip_prefix(&format!("{call}: failures ")).unwrap();
        let (failures, rows) = numbers.split_once(", rows ").unwrap();
        assert!(failures.parse::<u32>().unwrap() > 20 && rows == "40000", "{line}");
    }
    rationed.finish();
    publisher.close().unwrap();
}
