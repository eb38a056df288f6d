//! Waiting for a version, interrupting a wait, and waiting for several tables.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use common::{Cause, Change, Publisher, Schema, Subscriber, UntypedPublisher, UntypedSubscriber};
use common::{PublisherState, WaitSet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, NEVER, role, until};

fn publisher(table: &Table) -> Publisher<Item> {
    Publisher::builder(table.name()).capacity(8).open().unwrap()
}

/// Returns a subscriber that only a wake-up wakes.
fn subscriber(table: &Table) -> Subscriber<Item> {
    let builder = Subscriber::builder(table.name()).recheck(NEVER);
    builder.open().unwrap()
}

fn put(publisher: &mut Publisher<Item>, number: u32, value: u64) -> u64 {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((0, number), value)).unwrap();
    tx.commit().unwrap()
}

/// Waits until the table's only subscriber is parked at commit `seen`.
fn until_asleep(table: &Table, seen: u64) {
    until("the subscriber is parked", || {
        let info = common::inspect(table.name(), None).unwrap();
        let all = info.subscribers.unwrap();
        all.iter().any(|one| one.parked && one.seen == seen)
    });
}

fn is_readable(descriptor: impl AsFd) -> bool {
    let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn wait_for_version_combines_earlier_changes() {
    let table = Table::new("wait-for");
    let mut publisher = publisher(&table);
    let before = put(&mut publisher, 0, 1);
    let mut follower = subscriber(&table);
    let waiting = std::thread::spawn(move || {
        let changes = follower.wait_for(before + 5, None).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Created(new) => (new.number, None, Some(new.value)),
                Change::Updated { old, new } => (new.number, Some(old.value), Some(new.value)),
                Change::Deleted(old) => (old.number, Some(old.value), None),
            })
            .collect();
        (changes.version(), told)
    });
    until_asleep(&table, before);
    // Commits before the awaited version wake the subscriber but are not applied.
    until_asleep(&table, put(&mut publisher, 0, 2));
    until_asleep(&table, put(&mut publisher, 1, 3));
    until_asleep(&table, put(&mut publisher, 0, 4));
    let mut tx = publisher.begin();
    tx.delete(&(0, 1)).unwrap();
    until_asleep(&table, tx.commit().unwrap());
    assert!(!waiting.is_finished());
    let last = put(&mut publisher, 2, 5);
    let (version, mut told) = waiting.join().unwrap();
    told.sort_unstable();
    assert_eq!(version, last);
    assert_eq!(told, [(0, Some(1), Some(4)), (2, None, Some(5))]);
}

#[test]
fn wait_for_reached_version_returns_at_once() {
    let table = Table::new("wait-for-now");
    let mut publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let version = follower.version();
    assert_eq!(follower.wait_for(version, None).unwrap().len(), 0);
    // The call refreshes anyway.
    let later = put(&mut publisher, 0, 1);
    let changes = follower.wait_for(version, None).unwrap();
    assert_eq!((changes.version(), changes.len()), (later, 1));
}

#[test]
fn wait_for_timeout_returns_changes_so_far() {
    let table = Table::new("wait-for-time");
    let mut publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let version = put(&mut publisher, 0, 1);
    let changes = follower.wait_for(version + 1, Some(Duration::from_millis(20)));
    let changes = changes.unwrap();
    assert_eq!((changes.version(), changes.len()), (version, 1));
    assert_eq!(changes.cause(), Cause::Rows);
}

#[test]
fn wait_for_version_ends_when_publisher_dies() {
    let table = Table::new("wait-for-dead");
    let mut publisher = Process::start(&mut role!("script", table.name(), 1, 8, 10));
    assert_eq!(publisher.line(), "open");
    let mut follower = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let version = follower.version();
    let waiting = std::thread::spawn(move || {
        let cause = follower.wait_for(version + 1, None).unwrap().cause();
        (cause, follower.publisher_state())
    });
    until_asleep(&table, version);
    publisher.kill();
    let gone = PublisherState::Gone { epoch: 1 };
    assert_eq!(waiting.join().unwrap(), (Cause::Publisher, gone));
}

#[test]
fn wait_for_version_ends_with_last_rows_on_close() {
    let table = Table::new("wait-for-closed");
    let mut publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let version = follower.version();
    let waiting = std::thread::spawn(move || {
        let changed = follower.wait_for(version + 1000, None).unwrap().len();
        (changed, follower.publisher_state())
    });
    until_asleep(&table, version);
    until_asleep(&table, put(&mut publisher, 0, 1));
    publisher.close().unwrap();
    let closed = PublisherState::Closed { epoch: 1 };
    assert_eq!(waiting.join().unwrap(), (1, closed));
}

#[test]
fn interrupter_ends_wait_from_another_thread() {
    let table = Table::new("interrupt");
    let publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let interrupter = follower.interrupter().unwrap();
    let version = follower.version();
    let waiting = std::thread::spawn(move || {
        let cause = follower.wait(None).unwrap().cause();
        (cause, follower)
    });
    until_asleep(&table, version);
    interrupter.clone().interrupt();
    let (cause, mut follower) = waiting.join().unwrap();
    assert_eq!(cause, Cause::Interrupted);
    assert!(follower.changes().interrupted());
    // Reported once.
    let changes = follower.wait(Some(Duration::from_millis(5))).unwrap();
    assert_eq!((changes.cause(), changes.interrupted()), (Cause::Nothing, false));
    publisher.close().unwrap();
}

#[test]
fn interruption_is_kept_for_next_wait() {
    let table = Table::new("interrupt-kept");
    let mut publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let interrupter = follower.interrupter().unwrap();
    // Several unreported interruptions count as one.
    interrupter.interrupt();
    interrupter.interrupt();
    assert_eq!(follower.wait(None).unwrap().cause(), Cause::Interrupted);
    assert_eq!(follower.refresh().unwrap().cause(), Cause::Nothing);
    // An interruption is reported together with changes, so a busy table cannot hide it.
    interrupter.interrupt();
    put(&mut publisher, 0, 1);
    let changes = follower.wait(None).unwrap();
    assert_eq!((changes.cause(), changes.interrupted()), (Cause::Rows, true));
    // An interrupted `wait_for` returns the changes so far.
    interrupter.interrupt();
    let version = put(&mut publisher, 0, 2);
    let changes = follower.wait_for(version + 1, None).unwrap();
    assert_eq!((changes.version(), changes.len()), (version, 1));
    assert!(changes.interrupted());
}

#[test]
fn descriptor_is_readable_until_interruption_is_reported() {
    let table = Table::new("interrupt-fd");
    let publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let interrupter = follower.interrupter().unwrap();
    follower.as_fd();
    assert_eq!(follower.refresh().unwrap().cause(), Cause::Nothing);
    assert!(!is_readable(&follower));
    interrupter.interrupt();
    assert!(is_readable(&follower));
    assert_eq!(follower.refresh().unwrap().cause(), Cause::Interrupted);
    assert_eq!(follower.refresh().unwrap().cause(), Cause::Nothing);
    assert!(!is_readable(&follower));
    publisher.close().unwrap();
}

#[test]
fn no_interruption_is_lost_during_commits() {
    const ROUNDS: u64 = 2_000;
    let table = Table::new("interrupt-race");
    let mut publisher = publisher(&table);
    let mut follower = subscriber(&table);
    let interrupter = follower.interrupter().unwrap();
    let (heard, round) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut told = 0;
        for _ in 0..ROUNDS {
            // Each round has one interruption, at any moment of the loop below, between commits.
            interrupter.interrupt();
            round.recv_timeout(LIMIT).expect("the wait has ended");
            told += 1;
        }
        told
    });
    let mut value = 0;
    while !thread.is_finished() {
        if value % 3 == 0 {
            put(&mut publisher, 0, value);
        }
        value += 1;
        // After the last round there is no further interruption.
        let changes = follower.wait(Some(Duration::from_millis(100))).unwrap();
        if changes.interrupted() {
            heard.send(()).unwrap();
        }
    }
    assert_eq!(thread.join().unwrap(), ROUNDS);
}

#[test]
fn wait_set_waits_for_typed_and_untyped_tables() {
    let tables = ["set-a", "set-b", "set-c"].map(Table::new);
    let mut items = publisher(&tables[0]);
    let schema = Schema::parse("id:u64,n:u64", None).unwrap();
    let mut others = [&tables[1], &tables[2]].map(|table| {
        UntypedPublisher::builder(table.name(), schema.clone()).capacity(4).open().unwrap()
    });
    let mut typed = subscriber(&tables[0]);
    let mut untyped = [&tables[1], &tables[2]].map(|table| {
        let builder = UntypedSubscriber::builder(table.name()).recheck(NEVER);
        builder.open().unwrap()
    });
    let mut set = WaitSet::new().unwrap();
    let first = set.add(&typed).unwrap();
    let rest = [&untyped[0], &untyped[1]].map(|table| set.add(table).unwrap());
    let mut told = [0_u64; 3];
    for round in 0..3_000_u64 {
        // One table, or two at once.
        for which in [round % 3, round % 7 % 3] {
            if which == 0 {
                put(&mut items, 0, round);
                continue;
            }
            let row: Vec<u8> = [1, round].iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
            let mut tx = others[which as usize - 1].begin();
            tx.upsert(&row).unwrap();
            tx.commit().unwrap();
        }
        let expected = BTreeSet::from([round % 3, round % 7 % 3]);
        let mut changed = BTreeSet::new();
        while changed.len() < expected.len() {
            let members = set.wait(Some(LIMIT)).unwrap().to_vec();
            assert!(!members.is_empty(), "round {round}: no member is reported");
            for member in members {
                let (which, changes) = match member {
                    member if member == first => (0, typed.refresh().unwrap().len()),
                    member if member == rest[0] => (1, untyped[0].refresh().unwrap().len()),
                    member => {
                        assert_eq!(member, rest[1]);
                        (2, untyped[1].refresh().unwrap().len())
                    }
                };
                if changes > 0 {
                    told[which] += 1;
                    changed.insert(which as u64);
                }
            }
        }
        assert_eq!(changed, expected);
    }
    assert!(told.iter().all(|told| *told >= 1_000), "{told:?}");
    // No more changes until the timeout.
    while let [member, ..] = set.wait(Some(Duration::from_millis(5))).unwrap() {
        let cause = match *member {
            member if member == first => typed.refresh().unwrap().cause(),
            member if member == rest[0] => untyped[0].refresh().unwrap().cause(),
            _ => untyped[1].refresh().unwrap().cause(),
        };
        assert_eq!(cause, Cause::Nothing);
    }
    // Dropped and removed members leave the set.
    let [b, c] = untyped;
    drop(b);
    set.remove(&c).unwrap();
    assert!(set.remove(&c).is_err());
    items.close().unwrap();
    for other in others {
        other.close().unwrap();
    }
    let members = set.wait(Some(LIMIT)).unwrap();
    assert_eq!(members, [first]);
    assert_eq!(typed.refresh().unwrap().cause(), Cause::Publisher);
}

#[test]
fn wait_set_reports_more_members_than_fit_one_wait() {
    let all: Vec<EventFd> = (0..600).map(|_| EventFd::from_value(1).unwrap()).collect();
    let mut set = WaitSet::new().unwrap();
    let added: BTreeSet<_> = all.iter().map(|one| set.add(one).unwrap()).collect();
    assert!(set.add(&all[0]).is_err(), "twice");
    let mut told = BTreeSet::new();
    until("all members are reported", || {
        told.extend(set.wait(Some(LIMIT)).unwrap().iter().copied());
        told.len() == added.len()
    });
    assert_eq!(told, added);
    // A set can be a member of another set.
    let mut outer = WaitSet::new().unwrap();
    let inner = outer.add(&set).unwrap();
    assert_eq!(outer.wait(None).unwrap(), [inner]);
}
