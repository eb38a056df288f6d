//! Publishers and subscribers that are killed, stopped and replaced.

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Cause, Change, Error, Publisher, PublisherState, Subscriber};
use nix::sys::signal::Signal;
use rand::RngExt;
use tests::checked_rows::{Account, check};
use tests::mirror::Mirror;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, NEVER, role, skip, until};

const SIZE: usize = 400;

/// Applies changes until the publisher is in the wanted state.
fn follow(
    subscriber: &mut Subscriber<Account>,
    mirror: &mut Mirror<Account>,
    wanted: impl Fn(PublisherState) -> bool,
) {
    let begun = Instant::now();
    while !wanted(subscriber.publisher_state()) {
        assert!(begun.elapsed() < LIMIT, "{:?}", subscriber.publisher_state());
        match subscriber.wait(Some(LIMIT)) {
            Ok(changes) => {
                assert_ne!(changes.cause(), Cause::Nothing, "only a change wakes the subscriber");
                mirror.apply(&changes);
            }
            // The publisher changes every row in every commit.
            Err(Error::Outrun { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // The previous publisher may have ended while the next one already commits.
    until("a refresh succeeds", || match subscriber.refresh() {
        Ok(changes) => {
            mirror.apply(&changes);
            true
        }
        Err(Error::Outrun { .. }) => false,
        Err(error) => panic!("{error}"),
    });
}

fn assert_whole(subscriber: &Subscriber<Account>, mirror: &Mirror<Account>) {
    assert_eq!(subscriber.len(), mirror.rows().len());
    for row in subscriber.iter() {
        assert_eq!(mirror.rows().get(&row.id), Some(row));
    }
    if !subscriber.is_empty() {
        check(subscriber.iter()).unwrap();
    }
}

#[test]
fn publishers_killed_at_random_lose_no_commit() {
    const ROUNDS: u64 = 60;
    let table = Table::new("takeover");
    let start = |seed: u64| Process::start(&mut role!("ledger", table.name(), SIZE, seed, "print"));
    let mut dice = rand::rng();
    let mut writer = start(0);
    assert_eq!(writer.line(), "open 1 1 0");
    let mut subscriber =
        Subscriber::<Account>::builder(table.name()).recheck(NEVER).open_within(LIMIT).unwrap();
    let mut mirror = Mirror::default();
    mirror.apply(&subscriber.changes());
    let (mut epoch, mut version) = (1, 1);
    for round in 1..=ROUNDS {
        let commits = dice.random_range(0..40);
        for _ in 0..commits {
            writer.line();
        }
        writer.signal(Signal::SIGKILL);
        // The subscriber never re-checks, so the death itself must wake it.
        follow(&mut subscriber, &mut mirror, |state| state == PublisherState::Gone { epoch });
        writer.kill();
        let told = writer.stdout().lines().last().and_then(|line| line.parse::<u64>().ok());
        assert!(subscriber.version() >= told.unwrap_or(0), "a reported commit was lost");
        assert!(subscriber.version() >= version, "the version went back");
        version = subscriber.version();
        let rows = subscriber.len() as u64;
        assert_whole(&subscriber, &mirror);

        writer = start(round);
        if round % 4 == 0 {
            // Killed during or before its takeover.
            std::thread::sleep(Duration::from_micros(dice.random_range(0..8_000)));
            writer.kill();
            writer = start(round);
        }
        let opened: Vec<u64> =
            writer.line().split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        let alive = |state: PublisherState| state.is_alive() && state.epoch() == opened[0];
        follow(&mut subscriber, &mut mirror, alive);
        if opened[0] == epoch + 1 {
            assert_eq!(
                opened[1..],
                [version + 1, rows],
                "the takeover is one commit of the same rows"
            );
        } else {
            assert_eq!((round % 4, opened[0]), (0, epoch + 2), "two publishers took over");
            assert!(opened[1] > version);
        }
        assert_whole(&subscriber, &mirror);
        (epoch, version) = (opened[0], opened[1]);
    }
    println!(
        "{ROUNDS} publishers killed, up to version {version} and epoch {epoch}; {} changes told",
        mirror.applied
    );
    writer.finish();
    follow(&mut subscriber, &mut mirror, |state| state == PublisherState::Closed { epoch });
    assert_whole(&subscriber, &mirror);
}

#[test]
fn stopped_publisher_blocks_no_reader() {
    let table = Table::new("stopped");
    let mut writer = Process::start(&mut role!("ledger", table.name(), SIZE, 1, "print"));
    let mut subscriber = Subscriber::<Account>::builder(table.name()).open_within(LIMIT).unwrap();
    for _ in 0..50 {
        for _ in 0..20 {
            writer.line();
        }
        writer.stop();
        // All of these calls return at once, wherever the publisher is stopped.
        for _ in 0..3 {
            subscriber.refresh().unwrap();
            assert!(check(subscriber.iter()).unwrap() > 1);
            assert!(subscriber.latest(&0).unwrap().unwrap().is_whole());
            let late = Subscriber::<Account>::open(table.name()).unwrap();
            assert!(check(late.iter()).unwrap() > 1);
            assert!(late.version() >= subscriber.version());
        }
        let pid = writer.id();
        assert_eq!(subscriber.publisher_state(), PublisherState::Alive { epoch: 1, pid });
        writer.signal(Signal::SIGCONT);
    }
    writer.finish();
}

#[test]
fn dropped_publisher_is_taken_over_like_a_dead_one() {
    let table = Table::new("dropped");
    let open = || Publisher::<Item>::builder(table.name()).capacity(10).open();
    let mut first = open().unwrap();
    let mut tx = first.begin();
    tx.insert(&Item::new((1, 1), 5)).unwrap();
    let version = tx.commit().unwrap();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    drop(first);
    // No process died, so no pidfd reports it; the re-check does.
    until("the publisher is gone", || {
        subscriber.wait(Some(LIMIT)).unwrap();
        subscriber.publisher_state() == PublisherState::Gone { epoch: 1 }
    });
    let second = open().unwrap();
    assert_eq!((second.epoch(), second.version(), second.len()), (2, version + 1, 1));
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().cause(), Cause::Publisher);
    assert!(subscriber.publisher_state().is_alive());
    assert_eq!(subscriber.get(&(1, 1)), Some(&Item::new((1, 1), 5)));
    second.close_and_keep().unwrap();
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().cause(), Cause::Publisher);
    assert_eq!(subscriber.publisher_state(), PublisherState::Closed { epoch: 2 });
    let third = open().unwrap();
    assert_eq!((third.epoch(), third.len()), (3, 1), "kept");
}

#[test]
fn refresh_after_takeover_includes_new_rows() {
    let table = Table::new("both-news");
    let open = || Publisher::<Item>::builder(table.name()).open().unwrap();
    let mut publisher = open();
    let mut subscriber =
        Subscriber::<Item>::builder(table.name()).recheck(Duration::ZERO).open().unwrap();
    for value in 1..10 {
        drop(publisher);
        publisher = open();
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), value)).unwrap();
        tx.commit().unwrap();
        // Long enough for the re-check to be due, which runs first.
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Rows);
        assert_eq!(subscriber.get(&(0, 0)).map(|item| item.value), Some(value));
        assert_eq!(subscriber.publisher_state().epoch(), value + 1);
    }
    publisher.close().unwrap();
}

#[test]
fn second_publisher_is_refused() {
    let table = Table::new("second");
    let mut holder = Process::start(&mut role!("ledger", table.name(), SIZE, 1, "print"));
    holder.line();
    let refused = |pid: u32| match Publisher::<Account>::builder(table.name()).open() {
        Err(Error::PublisherActive { table: named, pid: found }) => {
            assert_eq!((named.as_str(), found), (table.name(), pid));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("two publishers"),
    };
    refused(holder.id());
    assert!(matches!(common::remove(table.name()), Err(Error::PublisherActive { .. })));
    holder.kill();
    let own = Publisher::<Account>::builder(table.name()).capacity(SIZE + 1).open().unwrap();
    refused(std::process::id());
    own.close().unwrap();
}

#[test]
fn killed_subscriber_leaves_nothing_after_next_sweep() {
    let table = Table::new("swept");
    let mut publisher =
        Publisher::<Item>::builder(table.name()).capacity(1).subscribers(1).open().unwrap();
    for round in 1..=5 {
        let mut follower = Process::start(&mut role!("follow", table.name()));
        follower.line();
        until("the subscriber has a queue", || table.remember() == 1);
        follower.kill();
        assert!(table.has_queue(), "the queue is not removed yet");
        // The commit neither waits for the dead subscriber nor fails.
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), round)).unwrap();
        tx.commit().unwrap();
        publisher.maintain().unwrap();
        assert!(!table.has_queue(), "{:?}", table.orphans());
        let listeners = common::inspect(table.name(), None).unwrap().subscribers.unwrap();
        assert!(listeners.is_empty(), "{listeners:?}");
    }
    // The next subscriber gets the only slot.
    let mut subscriber = Subscriber::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let changes = subscriber.wait(Some(LIMIT)).unwrap();
            assert!(matches!(changes.iter().next(), Some(Change::Updated { .. })));
        });
        until("the subscriber is parked", || {
            let listeners = common::inspect(table.name(), None).unwrap().subscribers.unwrap();
            listeners.iter().any(|listener| listener.parked)
        });
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), 99)).unwrap();
        tx.commit().unwrap();
        sleeping.join().unwrap();
    });
    table.remember();
    publisher.close().unwrap();
    drop(subscriber);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn forked_child_holds_nothing_of_its_dead_parent() {
    let table = Table::new("fork");
    let mut parent = Process::start(&mut role!("fork", table.name()));
    assert_eq!(parent.line(), "open");
    let mut subscriber = Subscriber::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    assert!(subscriber.publisher_state().is_alive());
    parent.write_line("die, and leave a child");
    assert_eq!(parent.line(), "child");
    until("the death is reported", || {
        subscriber.wait(Some(LIMIT)).unwrap();
        subscriber.publisher_state() == PublisherState::Gone { epoch: 1 }
    });
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    assert_eq!((publisher.epoch(), publisher.len()), (2, 1));
    publisher.maintain().unwrap();
    let listeners = common::inspect(table.name(), None).unwrap().subscribers.unwrap();
    let pids: Vec<u32> = listeners.iter().map(|listener| listener.pid).collect();
    assert_eq!(pids, [std::process::id()], "its parent's slot is freed");
    table.remember();
    let objects = table.orphans();
    parent.write_line("drop");
    assert_eq!(parent.line(), "dropped");
    subscriber.refresh().unwrap();
    assert!(subscriber.publisher_state().is_alive());
    assert_eq!(table.orphans(), objects, "no object was removed");
    parent.finish();
    publisher.close().unwrap();
    drop(subscriber);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

/// Starts a role that leaves its publisher and its subscriber to a child of `fork`, which drops
/// both. The objects of the role must still exist.
fn leave_all_to_a_child(wake: &str, place: &str, mut start: impl FnMut(Command) -> Command) {
    let table = Table::new("forked");
    let mut parent = Process::start(&mut start(role!("forked", table.name(), wake, place)));
    until("the role has opened the table", || parent.line() == "open");
    table.remember();
    let objects = table.orphans();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    assert_eq!(parent.line(), "well", "{wake}, {place}");
    assert_eq!(table.orphans(), objects, "{wake}, {place}");
    subscriber.refresh().unwrap();
    assert!(subscriber.publisher_state().is_alive());
    let opened = Publisher::<Item>::builder(table.name()).open();
    assert!(matches!(opened, Err(Error::PublisherActive { .. })));
    let info = common::inspect(table.name(), None).unwrap();
    let slots = info.subscribers.unwrap().len();
    assert_eq!(slots, 1, "the parent's slot is not freed: {wake}, {place}");
    parent.write_line("end");
    parent.finish();
    drop(subscriber);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

/// Wake kinds whose target has a name.
const NAMED_KINDS: [&str; 3] = ["mq", "unix", "fifo"];

#[test]
fn forked_child_closes_none_of_its_own_files() {
    for wake in NAMED_KINDS {
        for place in ["same", "full", "lowered"] {
            leave_all_to_a_child(wake, place, |role| role);
        }
    }
}

#[test]
fn forked_child_with_same_pid_drops_nothing_of_its_parent() {
    let mut probe = role!("pids");
    let mut probe = Process::start(probe.arg("true"));
    if !probe.end().success() {
        return skip("no pid namespaces");
    }
    for wake in NAMED_KINDS {
        leave_all_to_a_child(wake, "other-pids", |role| {
            let mut apart = role!("pids");
            apart.arg(role.get_program()).args(role.get_args());
            apart
        });
    }
}
