//! Processes that are stopped, and not dead.
//!
//! A publisher that is stopped anywhere in a commit holds up nobody: `instructions.rs` reads the real table at every state of
//! every commit, while the process stands. Here subscribers are stopped, asleep and awake in the middle of a refresh.

use std::collections::BTreeMap;

use common::Subscriber;
use nix::sys::signal::Signal;
use rand::RngExt;
use tests::picture::{Picture, Replica, Scene};
use tests::play::Play;
use tests::process::Process;
use tests::script::Item;
use tests::stepper::Stepper;
use tests::table::Table;
use tests::{role, skip, until};

/// x86_64's number of `mq_timedsend`.
const SEND: u64 = 242;
/// How often calls are counted: upkeep, once a second, may come in between and adds to them.
const TRIES: usize = 20;
/// How many instructions of a refresh a subscriber is stopped at.
const STOPS: usize = 60;

/// How often a publisher makes each system call in its commits between two marks.
type Calls = BTreeMap<u64, usize>;

/// The calls that the commits of a publisher make while subscribers are as `arrange` leaves them: the fewest of some tries.
fn calls_while<T>(arrange: impl Fn(&Table) -> T) -> Result<Calls, String> {
    let mut fewest: Option<Calls> = None;
    for _ in 0..TRIES {
        let table = Table::new("stopped-subscriber");
        let stepper = Stepper::start(&mut role!("stepped", table.name(), Play::Beats))?;
        let _subscribers = arrange(&table);
        // It answers new subscribers, and comes to where it commits.
        stepper.go_on();
        let mut calls = Calls::new();
        while let Some(number) = stepper.call() {
            *calls.entry(number).or_default() += 1;
        }
        table.remember();
        stepper.finish();
        let count = |calls: &Calls| calls.values().sum::<usize>();
        if fewest
            .as_ref()
            .is_none_or(|fewest| count(&calls) < count(fewest))
        {
            fewest = Some(calls);
        }
    }
    Ok(fewest.expect("it was tried"))
}

fn parked(table: &Table) -> usize {
    let info = common::inspect(table.name(), None).unwrap();
    let listeners = info.subscribers.unwrap();
    listeners.iter().filter(|listener| listener.parked).count()
}

/// A subscriber that is stopped while it sleeps.
fn asleep(table: &Table) -> Process {
    let mut follower = Process::start(&mut role!("follow", table.name()));
    follower.line();
    until("it sleeps", || parked(table) == 1);
    follower.stop();
    follower
}

/// A subscriber that is stopped while it is awake, with a slot and a queue.
fn awake(table: &Table) -> Stepper {
    let stepper = Stepper::start(&mut role!("refresh", table.name())).unwrap();
    assert_eq!((parked(table), table.remember()), (0, 1));
    stepper
}

#[test]
fn a_stopped_subscriber_costs_a_commit_no_more_than_a_live_one() {
    let alone = match calls_while(|_| ()) {
        Ok(alone) => alone,
        Err(reason) => return skip(&reason),
    };
    assert_eq!(alone.get(&SEND), None);
    let with_awake = calls_while(awake).unwrap();
    assert_eq!(with_awake, alone, "nothing for one that is awake");
    let mut with_asleep = calls_while(asleep).unwrap();
    assert_eq!(
        with_asleep.remove(&SEND),
        Some(1),
        "one wake-up for one that sleeps, at the first of the commits, and none after it"
    );
    assert_eq!(with_asleep, alone, "and nothing else");
    println!("system calls of {} commits: {alone:?}", Play::BEATS);
}

#[test]
fn a_subscriber_that_was_stopped_asleep_carries_on() {
    let table = Table::new("stopped-asleep");
    let mut publisher = Play::Beats.open(table.name()).unwrap();
    let mut follower = asleep(&table);
    for writes in Play::Rewrite.history() {
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

/// What `refresh` says of its copy, at that version.
fn line(version: u64, rows: &tests::play::Rows) -> String {
    let rows: Vec<(u32, u64)> = rows
        .values()
        .map(|item| (item.number, item.value))
        .collect();
    format!("{version} {rows:?}")
}

/// The states that a publisher leaves which steps through [`Play::Rewrite`].
fn rewritten() -> Result<Vec<Picture>, String> {
    let table = Table::new("rewritten");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Play::Rewrite))?;
    let mut scene = Scene::new(table.name());
    let mut states = vec![scene.now().clone()];
    while stepper.step() {
        if scene.look(false) {
            states.push(scene.now().clone());
        }
    }
    stepper.finish();
    Ok(states)
}

#[test]
fn a_subscriber_stopped_in_a_refresh_finds_the_truth_after_a_death_and_a_takeover() {
    let states = match rewritten() {
        Ok(states) => states,
        Err(reason) => return skip(&reason),
    };
    let (begun, first) = (&states[0], states[0].commit());
    let of = |version: u64| states.iter().filter(move |state| state.commit() == version);
    let one_later = of(first + 1).next().expect("it was committed");
    let dying: Vec<&Picture> = of(first + 2).collect();
    let dying = dying[dying.len() - 1];
    let tables = Play::Rewrite.tables();
    let refreshing = || {
        let mut replica = Replica::new(begun);
        let stepper = Stepper::start(&mut role!("refresh", replica.table().name())).unwrap();
        // It stands before a refresh that has something to do.
        replica.become_as(one_later);
        (replica, stepper)
    };
    let length = {
        let (_replica, stepper) = refreshing();
        let mut steps = 0;
        while stepper.step() {
            steps += 1;
        }
        assert_eq!(stepper.finish(), line(first + 1, &tables[1]) + "\n");
        steps
    };
    let mut dice = rand::rng();
    let (mut earlier, mut later) = (0, 0);
    for _ in 0..STOPS {
        let (mut replica, mut stepper) = refreshing();
        for _ in 0..dice.random_range(0..length) {
            assert!(stepper.step(), "it is as long as the first");
        }
        // While it stands there: a commit, another publisher's death in the middle of the next, and a takeover.
        replica.become_as(dying);
        let name = replica.table().name().to_owned();
        let publisher = Play::Takeover.open(&name).unwrap();
        assert_eq!(publisher.version(), first + 3);
        let late = Subscriber::<Item>::open(&name).unwrap();
        assert_eq!(late.len(), tables[2].len());
        stepper.go_on();
        stepper.let_go();
        let found = stepper.process().line();
        let early = line(first + 1, &tables[1]);
        assert!(
            found == early || found == line(first + 3, &tables[2]),
            "neither before nor after, but {found}"
        );
        *(if found == early {
            &mut earlier
        } else {
            &mut later
        }) += 1;
        stepper.process().write_line("and again");
        assert_eq!(stepper.process().line(), line(first + 3, &tables[2]));
        stepper.process().finish();
        publisher.close().unwrap();
    }
    println!(
        "stopped at {STOPS} of {length} instructions: {earlier} times the earlier table, {later} times the later"
    );
}
