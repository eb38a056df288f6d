//! Readers of a publisher in another process that carries out random transactions at full speed.
//!
//! The test and that process generate the same transactions from one seed ([`Script`]), so the test
//! knows the table of each version.

use std::time::{Duration, Instant};

use common::{Error, Subscriber, UntypedSubscriber};
use tests::mirror::Mirror;
use tests::process::Process;
use tests::script::{Item, Script};
use tests::table::Table;
use tests::{LIMIT, role};

/// Asserts that the copy, the mirror and the model are equal.
fn agree(subscriber: &Subscriber<Item>, mirror: &Mirror<Item>, script: &Script) {
    assert_eq!(subscriber.version(), script.version());
    assert_eq!(mirror.rows(), script.rows());
    assert_eq!(subscriber.len(), script.rows().len());
    let mut seen = 0;
    for row in subscriber.iter() {
        assert_eq!(script.rows().get(&(row.group, row.number)), Some(row));
        seen += 1;
    }
    assert_eq!(seen, subscriber.len());
    for key in script.keys() {
        assert_eq!(subscriber.get(&key), script.rows().get(&key));
    }
}

/// Follows a script that another process carries out at full speed. At each refresh the script is
/// run to that version.
fn chase(seed: u64, capacity: usize, transactions: u64) -> u64 {
    let table = Table::new("chase");
    let mut writer =
        Process::start(&mut role!("script", table.name(), seed, capacity, transactions));
    assert_eq!(writer.line(), "open");
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let mut mirror = Mirror::default();
    let (mut script, mut last) = (Script::new(seed, capacity), Script::new(seed, capacity));
    for _ in 0..transactions {
        last.next_plan();
    }
    writer.write_line("begin");
    let mut looks = 0;
    let begun = Instant::now();
    while subscriber.version() < last.version() {
        assert!(begun.elapsed() < LIMIT, "the writer still runs");
        // With a timeout, because a last commit without changes is not reported.
        match subscriber.wait(Some(Duration::from_millis(10))) {
            Ok(changes) => mirror.apply(&changes),
            Err(Error::Outrun { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
        while script.version() < subscriber.version() {
            script.next_plan();
        }
        agree(&subscriber, &mirror, &script);
        looks += 1;
    }
    println!("seed {seed}: the model agreed at {looks} of {} versions", last.version());
    assert_eq!(writer.line(), last.version().to_string());
    writer.finish();
    looks
}

#[test]
fn refresh_at_any_version_matches_script() {
    let walks = [(11, 3), (12, 40), (13, 200)];
    let looks: u64 = walks.map(|(seed, capacity)| chase(seed, capacity, 20_000)).iter().sum();
    assert!(looks > 100, "{looks} refreshes during the commits");
}

#[test]
fn subscriber_catches_up_after_100_000_missed_commits() {
    const SEED: u64 = 21;
    const CAPACITY: usize = 24;
    const TRANSACTIONS: u64 = 140_000;
    let table = Table::new("sleeper");
    let mut writer =
        Process::start(&mut role!("script", table.name(), SEED, CAPACITY, TRANSACTIONS));
    assert_eq!(writer.line(), "open");
    let mut sleeper = Subscriber::<Item>::open(table.name()).unwrap();
    let mut untyped = UntypedSubscriber::open(table.name()).unwrap();
    let mut script = Script::new(SEED, CAPACITY);
    writer.write_line("begin");
    for _ in 0..TRANSACTIONS {
        script.next_plan();
    }
    let version: u64 = writer.line().parse().unwrap();
    assert!(version > 100_000, "{version} commits");
    let mut mirror = Mirror::default();
    mirror.apply(&sleeper.refresh().unwrap());
    agree(&sleeper, &mirror, &script);
    assert_eq!(mirror.applied, script.rows().len() as u64, "only differences are reported");
    assert_eq!(untyped.refresh().unwrap().len(), script.rows().len());
    println!("missed {version} commits, {} rows reported", mirror.applied);
    writer.finish();
}
