//! Damaged memory gives an error or plausible data, and never a panic, hang or signal.
//!
//! One test in a private /dev/shm, because the objects of a table with a damaged header cannot be
//! found by its name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Error, Publisher, Row, Subscriber};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::confined::own_memory;
use tests::script::Item;
use tests::table::Table;
use tests::{SetOnDrop, full_or};

#[test]
fn damage_is_an_error_or_plausible_data() {
    own_memory(64 << 20);
    damaged_memory_is_an_error_or_plausible_data();
    memory_that_is_damaged_and_cut_while_it_is_read();
}

/// Overwrites random bytes of an object, or one word with a value that is likely to do harm.
fn scribble(object: &str, dice: &mut SmallRng) {
    let Ok(file) = File::options().write(true).open(format!("/dev/shm/{object}")) else {
        return;
    };
    let length = file.metadata().unwrap().len();
    // The header and the tags of the first block are chosen more often than their share.
    let reach = if dice.random_range(0..3) == 0 { length } else { length.min(2048) };
    let at = dice.random_range(0..reach.max(1));
    let word = match dice.random_range(0..6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << dice.random_range(0..64),
        3 => dice.random_range(0..100),
        _ => dice.random(),
    };
    if dice.random_range(0..2) == 0 {
        file.write_all_at(&word.to_le_bytes(), at & !7).unwrap();
    } else {
        let count = dice.random_range(1..40);
        let bytes: Vec<u8> = (0..count).map(|_| dice.random()).collect();
        file.write_all_at(&bytes[..count.min((length - at) as usize)], at).unwrap();
    }
}

/// Capacities around the sizes at which the change tree gets another level, and one in between.
const CAPACITIES: [usize; 7] = [500, 1, 63, 64, 65, 4_096, 4_097];

fn capacity(seed: u64) -> usize {
    CAPACITIES[(seed % 7) as usize]
}

fn open(table: &Table, seed: u64) -> common::Result<Publisher<Item>> {
    Publisher::builder(table.name()).capacity(capacity(seed)).mode(mode(seed)).open()
}

fn attach(table: &Table) -> common::Result<Subscriber<Item>> {
    Subscriber::builder(table.name()).recheck(Duration::ZERO).open()
}

/// Calls every function of both sides. Errors are allowed. Returns their number.
fn use_all(
    publisher: &mut Publisher<Item>,
    subscribers: &mut [Subscriber<Item>],
    dice: &mut SmallRng,
) -> usize {
    let mut errors = 0;
    let mut note = |is_error: bool| errors += usize::from(is_error);
    for subscriber in subscribers {
        note(subscriber.refresh().is_err());
        note(subscriber.latest(&(0, dice.random_range(0..400))).is_err());
        note(subscriber.wait(Some(Duration::from_micros(10))).is_err());
        assert!(subscriber.iter().count() == subscriber.len());
        let _any =
            (subscriber.get(&(0, 7)), subscriber.publisher_state(), subscriber.untyped().delay());
    }
    let mut tx = publisher.begin();
    for _ in 0..dice.random_range(0..8) {
        let item = Item::new((0, dice.random_range(0..400)), dice.random());
        note(
            match dice.random_range(0..4) {
                0 => tx.insert(&item),
                1 => tx.delete(&item.key()),
                _ => tx.upsert(&item),
            }
            .is_err(),
        );
    }
    note(tx.commit().is_err());
    note(publisher.maintain().is_err());
    let _any = (publisher.iter().count(), publisher.get(&(0, 7)));
    errors
}

fn damaged_memory_is_an_error_or_plausible_data() {
    let (mut steps, mut errors, mut takeovers) = (0, 0, 0);
    let begun = Instant::now();
    // 21 seeds combine each capacity with each mode.
    for seed in (0..full_or(60, 21)).chain([rand::random()]) {
        println!("seed {seed}");
        let mut dice = SmallRng::seed_from_u64(seed);
        let table = Table::new("scribble");
        let open = || open(&table, seed);
        let mut publisher = open().unwrap();
        let mut tx = publisher.begin();
        for number in 0..capacity(seed).min(300) as u32 {
            tx.insert(&Item::new((0, number), 1)).unwrap();
        }
        tx.commit().unwrap();
        let attach = || attach(&table);
        let mut subscribers = vec![attach().unwrap(), attach().unwrap()];
        for _ in 0..40 {
            let registry = registry(table.name());
            scribble(&format!("tablecast.table.{}", table.name()), &mut dice);
            if let Some(registry) = registry {
                scribble(&registry, &mut dice);
                cut(&registry, &mut dice);
            }
            errors += use_all(&mut publisher, &mut subscribers, &mut dice);
            steps += 1;
            match attach() {
                Ok(subscriber) if subscribers.len() < 4 => subscribers.push(subscriber),
                other => errors += usize::from(other.is_err()),
            }
            errors += usize::from(common::tables().is_err());
            if dice.random_range(0..8) == 0 {
                drop(publisher);
                takeovers += 1;
                publisher = match open() {
                    Ok(publisher) => publisher,
                    // The remedy that the error names must work.
                    Err(_) => {
                        common::remove(table.name()).unwrap();
                        open().unwrap()
                    }
                };
            }
        }
        if seed % 2 == 0 {
            // Closing may fail.
            let _any = publisher.close();
        } else {
            drop(publisher);
        }
        match common::remove(table.name()) {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let left = common::admin::orphans().map(|left| left.len());
    println!(
        "left behind: {left:?}; {steps} steps, {takeovers} takeovers, {errors} errors, {:?}",
        begun.elapsed()
    );
    assert!(errors > 100, "{errors}");
}

fn memory_that_is_damaged_and_cut_while_it_is_read() {
    let (mut rounds, mut errors) = (0, 0);
    for seed in 0..full_or(14, 7) {
        let mut dice = SmallRng::seed_from_u64(seed);
        let table = Table::new("scribble-live");
        let open = || open(&table, seed);
        let mut publisher = open().unwrap();
        let attach = || attach(&table);
        let mut subscribers = vec![attach().unwrap(), attach().unwrap()];
        let done = AtomicBool::new(false);
        let (object, region) = (format!("tablecast.table.{}", table.name()), region(&table));
        let name = table.name();
        let damage = |seed| {
            let mut dice = SmallRng::seed_from_u64(seed);
            let length = region.metadata().unwrap().len();
            while !done.load(Ordering::Relaxed) {
                scribble(&object, &mut dice);
                if let Some(registry) = registry(name) {
                    scribble(&registry, &mut dice);
                    cut(&registry, &mut dice);
                }
                // Every other table is also truncated and extended again.
                if seed % 2 == 0 && dice.random_range(0..20) == 0 {
                    region.set_len(dice.random_range(0..length)).unwrap();
                    region.set_len(length).unwrap();
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| damage(seed));
            let _running = SetOnDrop(&done);
            for _ in 0..150 {
                errors += use_all(&mut publisher, &mut subscribers, &mut dice);
                if let Ok(subscriber) = attach() {
                    subscribers[dice.random_range(0..2)] = subscriber;
                }
                rounds += 1;
            }
        });
        drop(publisher);
        common::remove(table.name()).unwrap();
    }
    println!("{rounds} rounds, {errors} errors");
    assert!(errors > 100, "{errors}");
}

/// Returns a mode with a mapped registry, or one whose registry is read by system calls.
fn mode(seed: u64) -> u32 {
    if seed.is_multiple_of(3) { 0o644 } else { 0o600 }
}

/// Returns the current name of the registry, if the table is readable.
fn registry(table: &str) -> Option<String> {
    let info = common::inspect(table, None).ok()?;
    Some(format!("tablecast.subs.{:016x}", info.registry_id))
}

/// Sometimes truncates an object and extends it again.
fn cut(object: &str, dice: &mut SmallRng) {
    let file = File::options().write(true).open(format!("/dev/shm/{object}"));
    if let (Ok(file), 0) = (file, dice.random_range(0..20)) {
        let length = file.metadata().unwrap().len();
        file.set_len(dice.random_range(0..=length)).unwrap();
        file.set_len(length).unwrap();
    }
}

fn region(table: &Table) -> File {
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    File::options().write(true).open(path).unwrap()
}
