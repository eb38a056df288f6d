//! Stopped processes.
//!
//! A publisher that is stopped anywhere in a commit blocks no reader: `instructions/` reads the
//! real table at every state of every commit while the process is stopped. The tests here stop
//! subscribers: parked ones, and one in the middle of a refresh.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use rand::RngExt;
use tests::object_state::{ObjectState, TableObserver};
use tests::process::Process;
use tests::replica::Replica;
use tests::scenario::{Rows, Scenario};
use tests::stepper::Stepper;
use tests::table::Table;
use tests::{full_or, role, skip, until};

/// The number of `mq_timedsend` on x86_64.
const SEND: u64 = 242;
/// Number of runs. Maintenance, once a second, may add system calls to one of them.
const TRIES: usize = 5;
/// Maximum number of instructions of a refresh.
const MOST_STEPS: usize = 1_000_000;

/// Number of system calls, by number, that a publisher makes in its commits between two marks.
type Calls = BTreeMap<u64, usize>;

/// Returns the system calls of commits while subscribers are in the state that `arrange` sets up.
fn calls_of_a_try<T>(arrange: impl Fn(&Table) -> T) -> Result<Calls, String> {
    let table = Table::new("stopped-subscriber");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Scenario::Beats))?;
    let _subscribers = arrange(&table);
    // The publisher accepts new subscribers and runs to its commits.
    stepper.go_on();
    let mut calls = Calls::new();
    while let Some(number) = stepper.call() {
        *calls.entry(number).or_default() += 1;
    }
    table.remember();
    stepper.finish();
    Ok(calls)
}

/// Returns the system calls of the run with the fewest.
fn calls_while<T>(arrange: impl Fn(&Table) -> T) -> Result<Calls, String> {
    let tries = (0..TRIES).map(|_| calls_of_a_try(&arrange));
    let tries = tries.collect::<Result<Vec<Calls>, String>>()?;
    let fewest = tries.into_iter().min_by_key(|calls| calls.values().sum::<usize>());
    Ok(fewest.expect("at least one run"))
}

fn parked(table: &Table) -> usize {
    let info = common::inspect(table.name(), None).unwrap();
    let listeners = info.subscribers.unwrap();
    listeners.iter().filter(|listener| listener.parked).count()
}

/// Returns a subscriber that was stopped while parked.
fn asleep(table: &Table) -> Process {
    let mut follower = Process::start(&mut role!("follow", table.name()));
    follower.line();
    until("the subscriber is parked", || parked(table) == 1);
    follower.stop();
    follower
}

/// Returns a subscriber that is stopped in the middle of a refresh: awake, with a slot and a queue.
fn awake(table: &Table) -> Stepper {
    let stepper = Stepper::start(&mut role!("refresh", table.name())).unwrap();
    while parked(table) != 0 {
        assert!(stepper.step(), "a refresh begins by being awake");
    }
    assert_eq!(table.remember(), 1, "queues");
    stepper
}

#[test]
fn stopped_subscriber_adds_no_system_calls_to_commits() {
    let alone = match calls_while(|_| ()) {
        Ok(alone) => alone,
        Err(reason) => return skip(&reason),
    };
    assert_eq!(alone.get(&SEND), None);
    let with_awake = calls_while(awake).unwrap();
    assert_eq!(with_awake, alone, "no system call for an awake subscriber");
    let mut with_asleep = calls_while(asleep).unwrap();
    assert_eq!(
        with_asleep.remove(&SEND),
        Some(1),
        "one wake-up for a parked subscriber, at the first commit only"
    );
    assert_eq!(with_asleep, alone, "no other system call");
    println!("system calls of {} commits: {alone:?}", Scenario::BEATS);
}

#[test]
fn subscriber_stopped_while_parked_catches_up() {
    let table = Table::new("stopped-asleep");
    let mut publisher = Scenario::Beats.open(table.name()).unwrap();
    let mut follower = asleep(&table);
    for writes in Scenario::Rewrite.history() {
        writes.commit(&mut publisher).unwrap();
    }
    let rows = publisher.len();
    follower.signal(Signal::SIGCONT);
    let last = format!("{} {rows} Alive", publisher.version());
    follower.stdout_until(|text| text.contains(&last));
    follower.finish();
    table.remember();
    publisher.close().unwrap();
}

/// Returns the line that the role `refresh` prints for this version.
fn said(version: u64, rows: &Rows) -> String {
    let rows = rows.values().map(|item| (item.number, item.value));
    format!("{version} {:?}", rows.collect::<Vec<(u32, u64)>>())
}

/// Returns the states that a publisher shares during [`Scenario::Rewrite`].
fn rewritten() -> Result<Vec<ObjectState>, String> {
    let table = Table::new("rewritten");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Scenario::Rewrite))?;
    let mut observer = TableObserver::new(table.name());
    let mut states = vec![observer.now().clone()];
    while stepper.step() {
        if observer.look(false) {
            states.push(observer.now().clone());
        }
    }
    table.remember();
    stepper.finish();
    Ok(states)
}

/// Returns a subscriber that is stopped before a refresh from the table `before` to the table
/// `after`.
fn refreshing(before: &ObjectState, after: &ObjectState) -> (Replica, Stepper) {
    let mut replica = Replica::new(before);
    let stepper = Stepper::start(&mut role!("refresh", replica.table().name())).unwrap();
    replica.become_as(after);
    (replica, stepper)
}

#[test]
fn subscriber_stopped_in_refresh_reads_a_committed_table_afterwards() {
    let states = match rewritten() {
        Ok(states) => states,
        Err(reason) => return skip(&reason),
    };
    let begun = &states[0];
    let first = begun.commit();
    let tables = Scenario::Rewrite.tables();
    let rows = |version: u64| &tables[(version - first) as usize];
    let committed = states.iter().position(|state| state.commit() == first + 1);
    let later = &states[committed.expect("the first transaction")..];
    let (committed, early) = (&later[0], said(first + 1, rows(first + 1)));
    let length = {
        let (_replica, stepper) = refreshing(begun, committed);
        let length = (0..MOST_STEPS).take_while(|_| stepper.step()).count();
        // Not killed, because the current state of the replica does not contain the subscriber's
        // queue.
        stepper.finish();
        length
    };
    let mut dice = rand::rng();
    let mut earlier = 0;
    let stops = full_or(60, 15);
    for _ in 0..stops {
        let (mut replica, mut stepper) = refreshing(begun, committed);
        // Hashes are random, so this run may be shorter than the first.
        let is_in_it = (0..dice.random_range(0..length)).all(|_| stepper.step());
        // While the subscriber is stopped, more commits and a publisher crash occur, and a takeover
        // before or after it continues.
        let state = &later[dice.random_range(0..later.len())];
        replica.become_as(state);
        let open = || Scenario::Takeover.open(replica.table().name()).unwrap();
        let taken_over = dice.random::<bool>().then(open);
        if is_in_it {
            stepper.go_on();
        }
        let publisher = taken_over.unwrap_or_else(open);
        stepper.let_go();
        let (last, found) = (publisher.version(), stepper.process().line());
        assert_eq!(last, state.commit() + 1);
        let rows = rows(state.commit());
        let late = [said(last - 1, rows), said(last, rows)];
        assert!(
            found == early || late.contains(&found),
            "neither {early} nor {late:?}, but {found}"
        );
        earlier += usize::from(found == early);
        stepper.process().write_line("and again");
        assert_eq!(stepper.process().line(), said(last, rows));
        stepper.process().finish();
        publisher.close().unwrap();
        assert_eq!(replica.orphans(), Vec::<String>::new());
    }
    println!(
        "stopped {stops} times in {length} instructions: found the earlier table {earlier} times"
    );
}
