//! Limits of the system: an error names the object, the limit and the setting. Committed rows stay,
//! and the publisher continues with what fits.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use common::{Error, Publisher, Reader, Subscriber, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::clean::command;
use tests::confined::{MemoryGroup, own_memory, own_mount, own_queues};
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::script::Item;
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, full_or, role, skip, until};

/// A capacity whose region is small.
const CAPACITY: usize = 100_000;

fn open(table: &Table) -> common::Result<Publisher<Item>> {
    Publisher::builder(table.name()).capacity(CAPACITY).subscribers(8).open()
}

fn objects() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("tablecast.")).collect()
}

/// Returns true if the error names the limit, the object and the setting.
fn names(error: &Error, object: &str, limit: &str, remedy: &str) -> bool {
    let text = error.to_string();
    matches!(error, Error::Limit { .. })
        && [object, limit, remedy].iter().all(|part| text.contains(part))
}

#[test]
fn full_memory_at_creation_leaves_nothing() {
    if !own_memory(320 << 10) {
        return skip("full_memory_at_creation_leaves_nothing: no mount namespace");
    }
    let table = Table::new("full-new");
    let builder = Publisher::<Item>::builder(table.name()).capacity(1 << 20);
    let error = builder.open().map(drop).unwrap_err();
    assert!(names(&error, table.name(), "the space of /dev/shm", "docker --shm-size"), "{error}");
    assert_eq!(objects(), Vec::<String>::new());
    // A smaller table fits.
    open(&table).unwrap().close().unwrap();
    assert_eq!(objects(), Vec::<String>::new());
}

#[test]
fn full_memory_fails_only_that_transaction() {
    if !own_memory(1 << 20) {
        return skip("full_memory_fails_only_that_transaction: no mount namespace");
    }
    let table = Table::new("full-later");
    let mut publisher = open(&table).unwrap();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let mut rows = 0;
    let error = loop {
        let mut tx = publisher.begin();
        for number in rows..rows + 100 {
            tx.insert(&Item::new((0, number), 1)).unwrap();
        }
        match tx.commit() {
            Ok(_) => rows += 100,
            Err(error) => break error,
        }
    };
    assert!(names(&error, table.name(), "the space of /dev/shm", "remount,size"), "{error}");
    assert!((100..CAPACITY as u32).contains(&rows), "{rows} rows");
    let is_whole = |subscriber: &Subscriber<Item>| {
        assert_eq!(subscriber.len(), rows as usize);
        assert_eq!(subscriber.get(&(0, rows - 1)), Some(&Item::new((0, rows - 1), 1)));
    };
    subscriber.refresh().unwrap();
    is_whole(&subscriber);
    is_whole(&Subscriber::<Item>::open(table.name()).unwrap());

    // Changes that need no memory: updates, and inserts into freed slots.
    let mut tx = publisher.begin();
    tx.update(&Item::new((0, 1), 2)).unwrap();
    tx.delete(&(0, 0)).unwrap();
    tx.commit().unwrap();
    let mut tx = publisher.begin();
    tx.insert(&Item::new((7, 7), 7)).unwrap();
    let version = tx.commit().unwrap();
    subscriber.refresh().unwrap();
    assert_eq!((subscriber.version(), subscriber.len()), (version, rows as usize));

    // A lost registry cannot be created again; subscribers learn of commits by re-check.
    let registry = common::inspect(table.name(), None).unwrap().registry_id;
    std::fs::remove_file(format!("/dev/shm/tablecast.subs.{registry:016x}")).unwrap();
    let hole = std::fs::write("/dev/shm/filler", vec![1; 1 << 20]);
    assert!(hole.is_err(), "the file system is full");
    publisher.maintain().unwrap();
    let mut tx = publisher.begin();
    tx.update(&Item::new((7, 7), 8)).unwrap();
    let version = tx.commit().unwrap();
    until("the commit is visible", || {
        subscriber.wait(Some(LIMIT)).unwrap();
        subscriber.version() >= version
    });
    assert_eq!(subscriber.get(&(7, 7)), Some(&Item::new((7, 7), 8)));

    // With free memory everything works again.
    std::fs::remove_file("/dev/shm/filler").unwrap();
    publisher.maintain().unwrap();
    // The lock, the region, the registry and the key index.
    assert_eq!(objects().len(), 4, "{:?}", objects());
    publisher.close().unwrap();
}

#[test]
fn growth_without_memory_fails_only_that_transaction_and_succeeds_later() {
    if !own_memory(2 << 20) {
        return skip("growth_without_memory: no mount namespace");
    }
    let table = Table::new("full-growth");
    let builder = || Publisher::<Item>::builder(table.name()).subscribers(8);
    let mut publisher = builder().open().unwrap();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let mut reader = Reader::<Item>::open(table.name()).unwrap();
    let item = |number: u32| Item::new((0, number), 1);
    let insert = |publisher: &mut Publisher<Item>, numbers: std::ops::Range<u32>| {
        let mut tx = publisher.begin();
        numbers.into_iter().try_for_each(|number| tx.insert(&item(number)))?;
        tx.commit()
    };
    let rows = publisher.capacity() as u32;
    let mut version = insert(&mut publisher, 0..rows).unwrap();
    let filler = std::fs::write("/dev/shm/filler", vec![1; 2 << 20]);
    assert!(filler.is_err(), "the file system is full");
    // Whichever object of the larger table lacks memory, the table is unchanged.
    let mut failures = 0;
    let grown = loop {
        let left = objects();
        let error = match insert(&mut publisher, rows..2 * rows) {
            Ok(version) => break version,
            Err(error) => error,
        };
        failures += 1;
        assert!(names(&error, "tablecast.", "the space of /dev/shm", "remount,size"), "{error}");
        assert_eq!(objects(), left);
        assert_eq!((publisher.version(), publisher.len()), (version, rows as usize));
        assert_eq!(publisher.capacity(), rows as usize);
        // A change that needs no other region.
        let mut tx = publisher.begin();
        tx.delete(&(0, 0)).unwrap();
        tx.insert(&item(0)).unwrap();
        version = tx.commit().unwrap();
        subscriber.refresh().unwrap();
        assert_eq!((subscriber.version(), subscriber.len()), (version, rows as usize));
        // One more page is free.
        let filler = std::fs::OpenOptions::new().write(true).open("/dev/shm/filler").unwrap();
        filler.set_len(filler.metadata().unwrap().len() - 4096).unwrap();
    };
    println!("the growth failed {failures} times");
    assert!(failures > 20);
    assert_eq!((grown, publisher.capacity()), (version + 2, 4 * rows as usize));
    std::fs::remove_file("/dev/shm/filler").unwrap();
    subscriber.refresh().unwrap();
    assert_eq!((subscriber.version(), subscriber.len()), (grown, 2 * rows as usize));
    for number in [0, rows, 2 * rows - 1] {
        assert_eq!(subscriber.get(&(0, number)), Some(&item(number)));
        assert_eq!(reader.get(&(0, number)).unwrap(), Some(item(number)));
    }
    // The memory of the old region is free when the last reader has left it.
    assert!(reader.wait_for(grown, Some(LIMIT)).unwrap());
    let entries = std::fs::read_dir("/dev/shm").unwrap();
    let named: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() / 8).sum();
    let memory = nix::sys::statvfs::statvfs("/dev/shm").unwrap();
    assert_eq!(memory.blocks() - memory.blocks_free(), named, "blocks of 4 KiB");
    publisher.close().unwrap();
}

#[test]
fn transaction_that_met_full_memory_is_committed_when_memory_is_free() {
    if !own_memory(1 << 20) {
        return skip("transaction_that_met_full_memory_is_committed: no mount namespace");
    }
    let table = Table::new("full-again");
    let mut publisher = open(&table).unwrap();
    let mut tx = publisher.begin();
    (0..10).for_each(|number| tx.insert(&Item::new((0, number), 1)).unwrap());
    tx.commit().unwrap();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    assert!(std::fs::write("/dev/shm/filler", vec![1; 1 << 20]).is_err(), "it is full");

    let mut tx = publisher.begin();
    tx.delete(&(0, 0)).unwrap();
    tx.update(&Item::new((0, 1), 2)).unwrap();
    (10..5_000).for_each(|number| tx.insert(&Item::new((0, number), 1)).unwrap());
    for _ in 0..2 {
        let error = tx.try_commit().unwrap_err();
        assert!(names(&error, table.name(), "the space of /dev/shm", "remount,size"), "{error}");
        assert_eq!((tx.len(), subscriber.refresh().unwrap().len()), (4_992, 0));
    }
    std::fs::remove_file("/dev/shm/filler").unwrap();
    // The transaction can still change before it is committed.
    tx.insert(&Item::new((0, 5_000), 1)).unwrap();
    let version = tx.try_commit().unwrap();
    assert_eq!((tx.len(), subscriber.refresh().unwrap().len()), (0, 4_993));
    assert_eq!((subscriber.version(), subscriber.len()), (version, 5_000));
    assert_eq!(subscriber.get(&(0, 1)), Some(&Item::new((0, 1), 2)));
    tx.delete(&(0, 1)).unwrap();
    assert_eq!(tx.commit().unwrap(), version + 1);
    assert_eq!(publisher.len(), 4_999);

    // `commit` discards the changes that do not fit.
    assert!(std::fs::write("/dev/shm/filler", vec![1; 1 << 20]).is_err(), "it is full");
    let mut tx = publisher.begin();
    (6_000..9_000).for_each(|number| tx.insert(&Item::new((0, number), 1)).unwrap());
    assert!(matches!(tx.commit(), Err(Error::Limit { .. })));
    assert!(publisher.begin().is_empty());
    std::fs::remove_file("/dev/shm/filler").unwrap();
    publisher.close().unwrap();
}

#[test]
fn full_memory_is_reported_at_intervals_not_per_line() {
    if !own_memory(1 << 20) {
        return skip("full_memory_is_reported_at_intervals_not_per_line: no mount namespace");
    }
    let table = Table::new("full-lines");
    let fields = ["--fields", "id:u64,text:text(64)"];
    let mut serve = publisher();
    serve
        .args(["serve", table.name(), "--from", "-", "--exit-at-eof"])
        .args(["--capacity", "100000", "--subscribers", "8"])
        .args(fields);
    let mut serve = Process::start(&mut serve);
    for id in 0..20_000 {
        serve.write_line(&format!(r#"{{"id":{id},"text":"some text"}}"#));
    }
    for _ in 0..1_000 {
        serve.write_line("no JSON");
    }
    serve.close_input();
    serve.end();
    let stderr = serve.stderr();
    // Reports are limited to one per interval; a slow machine prints several.
    assert!(stderr.lines().count() < 500, "{stderr}");
    assert!(stderr.contains("the space of /dev/shm"), "{stderr}");
    assert!(stderr.contains("more lines were refused, the last of them line 21000"), "{stderr}");
}

/// Regression: each line that did not fit tried to allocate a larger region.
#[test]
fn refused_growth_is_not_tried_again_for_each_line() {
    const TEST: &str = "refused_growth_is_not_tried_again_for_each_line";
    const ROWS: u64 = 20_000;
    if !own_memory(1 << 20) {
        return skip(&format!("{TEST}: no mount namespace"));
    }
    let options = ["--subscribers", "8", "--metrics", "127.0.0.1:0"];
    let mut serving = Serving::start("refused-growth", "id:u64,text:text(64)", &options);
    let row = |id: u64| format!(r#"{{"id":{id},"text":"some text"}}"#);
    serving.process.write_line(&(0..ROWS).map(row).collect::<Vec<_>>().join("\n"));
    // Deleted rows make room, and the last line follows all refused ones.
    let delete = |id: u64| format!(r#"{{"op":"delete","key":{{"id":{id}}}}}"#);
    serving.process.write_line(&[delete(0), delete(1), row(ROWS)].join("\n"));
    let mut table = UntypedSubscriber::open("refused-growth").unwrap();
    until("the last row is published", || {
        table.wait(Some(Duration::from_millis(100))).unwrap();
        table.get(&ROWS.to_ne_bytes()).is_some()
    });
    let rows = table.len() as u64;
    assert!((1_000..ROWS / 2).contains(&rows), "{rows} rows");
    // Each attempt to move to a larger region begins with a sweep.
    let stderr = serving.process.stderr();
    let url = stderr.lines().find_map(|line| line.strip_prefix("metrics at ")).unwrap();
    let page = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    let sweeps = page.lines().find(|line| line.starts_with("tablecast_sweeps_total")).unwrap();
    let sweeps: u64 = sweeps.rsplit(' ').next().unwrap().parse().unwrap();
    println!("{sweeps} sweeps for {} lines that did not fit", ROWS - rows);
    assert!(sweeps < 1_000, "{sweeps}");
    serving.stop(Signal::SIGTERM);
}

/// Returns the command with a lower limit.
fn limited(limit: &str, program: &Command) -> Command {
    let mut command = role!("limited", limit);
    command.arg(program.get_program()).args(program.get_args());
    command
}

/// Checks that a watch without a queue names the limit and still follows.
fn follows_without_a_queue(table: &Table, watch: &mut Command, said: [&str; 2]) {
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(10).open().unwrap();
    let mut watch = Process::start(watch);
    let stderr = watch.stderr_until(|stderr| stderr.contains(said[1]));
    assert!(
        stderr.contains(said[0]) && stderr.contains("sleeps on the futex and in no message queue"),
        "{stderr}"
    );
    for value in 0..3 {
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), value)).unwrap();
        tx.commit().unwrap();
        let line = watch.line();
        assert!(line.contains(&format!("\"value\":{value}")), "{line}");
    }
    publisher.close().unwrap();
}

fn watch(table: &Table) -> Command {
    let mut watch = subscriber();
    watch.args(["watch", table.name(), "--format", "jsonl"]);
    watch
}

#[test]
fn subscriber_beyond_queue_limit_follows() {
    if !own_memory(8 << 20) || !own_queues(0) {
        return skip("subscriber_beyond_queue_limit_follows: no IPC namespace");
    }
    let table = Table::new("no-queues");
    let mut watch = limited("unprivileged", &watch(&table));
    let said = ["the number of message queues is used up", "queues_max"];
    follows_without_a_queue(&table, &mut watch, said);
}

#[test]
fn subscriber_without_queue_memory_follows() {
    let table = Table::new("no-queue-memory");
    let mut watch = limited("queues=1", &watch(&table));
    let said = ["memory for message queues is used up", "ulimit -q"];
    follows_without_a_queue(&table, &mut watch, said);
}

#[test]
fn publisher_without_descriptors_names_the_limit() {
    let table = Table::new("no-files");
    let mut serve = publisher();
    serve.args(["serve", table.name(), "--from", "-", "--fields", "id:u64"]);
    // Whichever call lacks a descriptor, an error is printed.
    for files in 4..12 {
        let mut process = Process::start(&mut limited(&format!("files={files}"), &serve));
        until("the program has failed or publishes", || {
            process.stderr().contains("publishing") || !process.is_running()
        });
        if process.is_running() {
            assert!(files > 4, "{files} are enough");
            process.signal(Signal::SIGINT);
            process.ends_with(0);
            continue;
        }
        // Exit code 5 if stdin cannot be read.
        assert!(matches!(process.end().code(), Some(1 | 5)), "{}", process.stderr());
        let stderr = process.stderr();
        assert!(
            stderr.contains("ulimit -n") || stderr.contains("Too many open files"),
            "{files}: {stderr}"
        );
    }
}

/// Regression: a publisher aborted if its private memory could not grow.
#[test]
fn publisher_without_address_space_names_the_limit() {
    // Whichever allocation is refused, with small transactions and with large ones.
    for space in (36 << 20..64 << 20).step_by(full_or(1 << 19, 4 << 20)) {
        for batch in [1_000, 1_000_000] {
            let table = Table::new("no-space");
            let grow = role!("grow", table.name(), 300_000, batch);
            let mut process = Process::start(&mut limited(&format!("space={space}"), &grow));
            process.write_line("go");
            let (status, stderr) = (process.end(), process.stderr());
            let rows = process.stdout().lines().last().unwrap().to_owned();
            println!("{space} bytes, {batch} rows at a time: {rows}");
            assert_eq!(status.code(), Some(1), "{space}, {batch}: {status}, {stderr}");
            assert!(stderr.contains("memory is used up"), "{space}, {batch}: {stderr}");
        }
    }
}

#[test]
fn publisher_killed_for_memory_loses_nothing() {
    const BATCH: usize = 1_000;
    let group = match MemoryGroup::new(24 << 20) {
        Ok(group) => group,
        Err(error) => return skip(&format!("no private memory cgroup: {error}")),
    };
    let table = Table::new("no-memory");
    let mut grow = Process::start(&mut role!("grow", table.name(), 10 * CAPACITY, BATCH));
    assert_eq!(grow.line(), "here");
    group.admit(grow.id()).unwrap();
    grow.write_line("go");
    grow.line();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let status = grow.end();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");

    let said: usize = grow.stdout().lines().last().unwrap().parse().unwrap();
    subscriber.refresh().unwrap();
    let rows = subscriber.len();
    // The process may have died between a commit and its report.
    assert!([said, said + BATCH].contains(&rows), "{rows} rows of {said}");
    let is_whole = |item: &Item| *item == Item::new((0, item.number), item.number.into());
    assert!(subscriber.iter().all(is_whole));
    let mut publisher =
        Publisher::<Item>::builder(table.name()).capacity(10 * CAPACITY).open().unwrap();
    assert_eq!(publisher.len(), rows);
    let mut tx = publisher.begin();
    tx.insert(&Item::new((1, 1), 1)).unwrap();
    tx.commit().unwrap();
    until("the commit is visible", || {
        subscriber.wait(Some(LIMIT)).unwrap();
        subscriber.len() == rows + 1
    });
    publisher.close().unwrap();
}

#[test]
fn subscribers_beyond_slot_limit_follow() {
    let table = Table::new("few-slots");
    let mut publisher =
        Publisher::<Item>::builder(table.name()).capacity(10).subscribers(1).open().unwrap();
    let mut subscribers: Vec<_> =
        (0..3).map(|_| Subscriber::<Item>::open(table.name()).unwrap()).collect();
    for subscriber in &mut subscribers {
        subscriber.wait(Some(Duration::from_millis(1))).unwrap();
    }
    let listeners = common::inspect(table.name(), None).unwrap().subscribers;
    assert_eq!(listeners.unwrap().len(), 1);
    let mut tx = publisher.begin();
    tx.insert(&Item::new((0, 0), 1)).unwrap();
    tx.commit().unwrap();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().len(), 1);
    }
    publisher.close().unwrap();
}

/// Regression: one errno means several limits, and the error named the wrong one or none.
#[test]
fn exhausted_inodes_are_named_instead_of_space() {
    const TEST: &str = "exhausted_inodes_are_named_instead_of_space";
    // The root directory takes one inode and the lock the other, so there is none for the region.
    if !own_mount("/dev/shm", "tmpfs", "nr_inodes=2") {
        return skip(&format!("{TEST}: no mount namespace"));
    }
    let mut serve = publisher();
    serve.args(["serve", "inodes", "--from", "-", "--fields", "id:u64"]);
    let (_, stderr) = Process::run(&mut serve, 1);
    assert!(stderr.contains("inodes of /dev/shm") && stderr.contains("nr_inodes"), "{stderr}");
}

/// Regression: the error for EAGAIN, with which the system refuses threads and processes, named the
/// wrong limit or none.
#[test]
fn exhausted_threads_are_named() {
    const TEST: &str = "exhausted_threads_are_named";
    const USER: &str = "65533";
    if !nix::unistd::geteuid().is_root() {
        return skip(&format!("{TEST}: not root, and another user's processes would count"));
    }
    let mut limited = command("prlimit");
    limited.args(["--nproc=1", "setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]);
    limited.arg(subscriber().get_program()).arg("ls");
    let (_, stderr) = Process::run(&mut limited, 1);
    assert!(stderr.contains("ulimit -u"), "{stderr}");
}
