//! Random transactions against a model, watched by mirrors that apply only the changes they are told.

use std::time::{Duration, Instant};

use common::{Error, Publisher, Subscriber, UntypedSubscriber};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::mirror::Mirror;
use tests::process::Process;
use tests::script::{Item, Script};
use tests::table::Table;
use tests::{LIMIT, role};

/// The copy, the mirror of what it told, and the model are one.
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

fn publisher_agrees(publisher: &Publisher<Item>, script: &Script) {
    assert_eq!(publisher.version(), script.version());
    assert_eq!(publisher.len(), script.rows().len());
    let rows: Vec<Item> = publisher.iter().collect();
    assert_eq!(rows.len(), publisher.len());
    for row in &rows {
        assert_eq!(script.rows().get(&(row.group, row.number)), Some(row));
    }
    for key in script.keys() {
        assert_eq!(publisher.get(&key).as_ref(), script.rows().get(&key));
    }
}

/// One seed: three subscribers that refresh often, seldom, and hardly ever.
fn walk(seed: u64, capacity: usize, transactions: u64) -> u64 {
    println!("seed {seed}, capacity {capacity}");
    let table = Table::new("model");
    let builder = Publisher::<Item>::builder(table.name()).capacity(capacity);
    let mut publisher = builder.clone().open().unwrap();
    let mut dice = SmallRng::seed_from_u64(seed ^ 0x5eed);
    let mut script = Script::new(seed, capacity);
    let mut watchers = [2, 10, 100].map(|pace| {
        let subscriber = Subscriber::<Item>::open(table.name()).unwrap();
        (pace, subscriber, Mirror::default())
    });
    for number in 0..transactions {
        script.next_plan().carry_out(&mut publisher);
        publisher_agrees(&publisher, &script);
        let last = number + 1 == transactions;
        for (pace, subscriber, mirror) in &mut watchers {
            for key in script.keys().step_by(7) {
                let latest = subscriber.latest(&key).unwrap();
                assert_eq!(latest.as_ref(), script.rows().get(&key));
            }
            if last || dice.random_range(0..*pace) == 0 {
                mirror.apply(&subscriber.refresh().unwrap());
                agree(subscriber, mirror, &script);
            }
        }
        if dice.random_range(0..200) == 0 {
            let mut mirror = Mirror::default();
            let late = Subscriber::<Item>::open(table.name()).unwrap();
            mirror.apply(&late.changes());
            agree(&late, &mirror, &script);
        }
    }
    publisher.close().unwrap();
    watchers.iter().map(|(_, _, mirror)| mirror.applied).sum()
}

#[test]
fn random_transactions_lead_to_what_the_model_says() {
    let seeds = (1..10).chain([rand::random()]);
    let capacities = [1, 2, 5, 17, 63, 64, 65, 4_096, 4_097, 130];
    let mut changes = 0;
    for (seed, capacity) in seeds.zip(capacities) {
        // Each step compares whole tables.
        let transactions = if capacity > 1_000 { 100 } else { 1_500 };
        changes += walk(seed, capacity, transactions);
    }
    println!("{changes} changes told, each true");
    assert!(changes > 10_000);
}

/// Follows a script that another process carries out at full speed: at each refresh the script is run to that version.
fn chase(seed: u64, capacity: usize, transactions: u64) -> u64 {
    let table = Table::new("chase");
    let mut writer = Process::start(&mut role!(
        "script",
        table.name(),
        seed,
        capacity,
        transactions
    ));
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
        assert!(begun.elapsed() < LIMIT, "the writer goes on");
        // Not for long: a last commit that changes nothing is no news.
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
    println!(
        "seed {seed}: the model agreed at {looks} of {} versions",
        last.version()
    );
    assert_eq!(writer.line(), last.version().to_string());
    writer.finish();
    looks
}

#[test]
fn another_process_follows_at_any_version() {
    let walks = [(11, 3), (12, 40), (13, 200)];
    let looks: u64 = walks
        .map(|(seed, capacity)| chase(seed, capacity, 20_000))
        .iter()
        .sum();
    assert!(looks > 100, "{looks} looks while it was written");
}

#[test]
fn a_subscriber_that_slept_through_100_000_commits_catches_up() {
    const SEED: u64 = 21;
    const CAPACITY: usize = 24;
    const TRANSACTIONS: u64 = 140_000;
    let table = Table::new("sleeper");
    let mut writer = Process::start(&mut role!(
        "script",
        table.name(),
        SEED,
        CAPACITY,
        TRANSACTIONS
    ));
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
    assert_eq!(
        mirror.applied,
        script.rows().len() as u64,
        "only what differs is told"
    );
    assert_eq!(untyped.refresh().unwrap().len(), script.rows().len());
    println!(
        "slept through {version} commits, told {} rows",
        mirror.applied
    );
    writer.finish();
}

#[test]
fn a_full_table_can_be_replaced_by_other_rows() {
    let table = Table::new("replace");
    let mut publisher = Publisher::<Item>::builder(table.name())
        .capacity(4)
        .open()
        .unwrap();
    for first in [0, 4, 2] {
        let items: Vec<Item> = (first..first + 4)
            .map(|number| Item::new((0, number), 7))
            .collect();
        let mut tx = publisher.begin();
        tx.replace_with(&items).unwrap();
        tx.commit().unwrap();
        let mut rows: Vec<Item> = publisher.iter().collect();
        rows.sort_by_key(|item| item.number);
        assert_eq!(rows, items);
    }
}
