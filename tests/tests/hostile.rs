//! A region that is cut short under those who use it: an error, never a signal.

use std::fs::File;

use common::{Error, Publisher, Subscriber};
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
fn a_region_cut_short_under_its_readers_is_an_error_and_no_signal() {
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
        // The last page is of blocks that wait for rows.
        assert!(corrupt || part == "a page less", "{part}: {refused:?}");
        if corrupt {
            assert_eq!(attached.get(&(0, 7)), Some(&Item::new((0, 7), 1)));
        }
        let answers = (0..ROWS).map(|number| asked.latest(&(0, number)));
        let refused = answers.filter(|answer| match answer {
            Ok(row) => {
                assert!(row.is_some(), "{part}: none is missing without a word");
                false
            }
            Err(Error::Corrupt { .. }) => true,
            Err(error) => panic!("{error}"),
        });
        assert!(refused.count() > 0 || part == "a page less", "{part}");

        // The publisher is told, too, and can do nothing: its table is lost. The watch was not killed.
        let mut tx = publisher.begin();
        for number in 0..ROWS {
            tx.upsert(&Item::new((0, number), 3)).unwrap();
        }
        let first = tx.commit();
        let second = publisher
            .begin()
            .commit()
            .and_then(|_| publisher.maintain());
        println!("{part}: {first:?}, then {second:?}");
        table.remember();
        drop(publisher);
        if corrupt {
            // By its re-check at the latest.
            watch.ends_with(1);
            assert!(watch.stderr().contains("is damaged"), "{}", watch.stderr());
        }
        drop((attached, watch));
        common::remove(table.name()).unwrap();
    }
}

#[test]
fn a_reader_goes_on_when_a_damaged_table_has_a_successor() {
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
    until("it has moved", || {
        subscriber
            .wait(Some(LIMIT))
            .is_ok_and(|changes| changes.len() == ROWS as usize)
    });
    assert_eq!(subscriber.get(&(0, 7)), Some(&Item::new((0, 7), 3)));
    publisher.close().unwrap();
}

#[test]
fn other_faults_are_what_they_were() {
    let table = Table::new("other-fault");
    let publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let mut follower = Process::start(&mut role!("read", table.name()));
    assert_eq!(follower.line(), "rows 0");
    until("it is killed", || {
        // The first one is swallowed: that is what the handler of Rust's own runtime makes of it.
        follower.signal(Signal::SIGBUS);
        !follower.is_running()
    });
    let status = follower.end();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(Signal::SIGBUS as i32), "{status:?}");
    publisher.close().unwrap();
}
