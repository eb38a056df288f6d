//! Death at every instruction of a publisher.
//!
//! A publisher is stepped through a [`Play`] once. After each instruction the bytes that it shares are compared with those
//! before. For each state of them that is new the process merely stands, and its real table is read; and a copy of the
//! state is treated as what a dead publisher left: subscribers that attached before and after read it, a successor takes over,
//! commits, and is followed. At system calls and at random steps the real process is killed instead.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::AsFd;

use common::layout::header;
use common::{Cause, Error, Publisher, PublisherState, Subscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::RngExt;
use tests::picture::{Named, Picture, Replica, Scene};
use tests::play::{Play, Rows};
use tests::script::{Item, ItemKey};
use tests::stepper::{Maps, Stepper};
use tests::table::Table;
use tests::{LIMIT, NEVER, role, skip};

/// Subscribers that sleep at the real table.
const SLEEPERS: usize = 3;
/// How many instructions a play may take before it is given up on.
const MOST_STEPS: usize = 5_000_000;
/// Processes that are killed at random steps, over all plays.
const RANDOM_KILLS: usize = 200;

/// What may be seen in the course of a play.
struct Expected {
    /// The version of the first of the tables.
    first: u64,
    tables: Vec<Rows>,
    /// Whether there is a table before, and after.
    ends: [bool; 2],
}

impl Expected {
    fn of(play: Play, left: Option<&Picture>, now: &Picture) -> Self {
        let first = now.commit();
        match left {
            _ if play == Play::Creation => Self {
                first: 1,
                tables: vec![Rows::new()],
                ends: [false, true],
            },
            // Opening changes no row, and is one commit.
            Some(left) => {
                let rows = left_rows(left);
                Self {
                    first,
                    tables: vec![rows.clone(), rows],
                    ends: [true, true],
                }
            }
            None => {
                let mut tables = play.tables();
                if play == Play::Closing {
                    tables.extend(tables.last().cloned());
                }
                Self {
                    first,
                    tables,
                    ends: [true, play != Play::Closing],
                }
            }
        }
    }

    fn last(&self) -> u64 {
        self.first + self.tables.len() as u64 - 1
    }

    fn rows(&self, version: u64) -> &Rows {
        let table = version.checked_sub(self.first);
        let table = table.and_then(|number| self.tables.get(number as usize));
        table.unwrap_or_else(|| panic!("version {version} was never committed"))
    }

    /// What a newcomer must see in the course of the play, in this order: no table, or one of a version.
    fn outcomes(&self) -> Vec<Option<u64>> {
        let mut outcomes: Vec<Option<u64>> = (self.first..=self.last()).map(Some).collect();
        let [before, after] = self.ends;
        if !before {
            outcomes.insert(0, None);
        }
        if !after {
            outcomes.push(None);
        }
        outcomes
    }

    /// The subscriber must hold exactly a table of these.
    fn check(&self, subscriber: &Subscriber<Item>) {
        assert_eq!(&rows_of(subscriber), self.rows(subscriber.version()));
    }
}

/// The rows that the play [`Play::Rewrite`] had committed in a picture of it.
fn left_rows(left: &Picture) -> Rows {
    // Creation is version 1, each transaction of the history one more.
    let first = 1 + Play::Rewrite.history().len() as u64;
    Play::Rewrite.tables()[(left.commit() - first) as usize].clone()
}

fn rows_of(subscriber: &Subscriber<Item>) -> Rows {
    let rows = subscriber.iter();
    rows.map(|item| ((item.group, item.number), *item))
        .collect()
}

/// A subscriber that sleeps, and has nothing but news to wake it.
struct Sleeper(Subscriber<Item>);

impl Sleeper {
    fn attach(name: &str) -> Self {
        let subscriber = Subscriber::builder(name).recheck(NEVER).open().unwrap();
        let mut sleeper = Self(subscriber);
        // From here on a refresh that finds nothing parks.
        sleeper.0.as_fd();
        sleeper.fall_asleep();
        sleeper
    }

    fn fall_asleep(&mut self) {
        while self.0.refresh().unwrap().cause() != Cause::Nothing {}
    }

    /// Sleeps and is woken until it is as it must be.
    fn woken_until(&mut self, what: &str, holds: impl Fn(&Subscriber<Item>) -> bool) {
        self.fall_asleep();
        while !holds(&self.0) {
            let timeout = PollTimeout::try_from(LIMIT).unwrap();
            let mut news = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut news, timeout).unwrap();
            assert_eq!(ready, 1, "a sleeper is not woken until {what}");
            self.fall_asleep();
        }
    }
}

/// What a successor commits, and nobody else. There is room for it also in a full table.
fn commit_a_row(publisher: &mut Publisher<Item>) -> Item {
    let item = Item::new((0, 0), 1000 + publisher.version());
    let mut tx = publisher.begin();
    tx.upsert(&item).unwrap();
    tx.commit().unwrap();
    item
}

/// A successor takes over, with exactly the rows of `version`, and commits. Returns it, and the rows afterwards.
fn succeed(
    play: Play,
    name: &str,
    expected: &Expected,
    version: Option<u64>,
    epoch: u64,
) -> (Publisher<Item>, Rows) {
    let mut publisher = play.open(name).unwrap();
    let mut rows = version.map_or_else(Rows::new, |version| expected.rows(version).clone());
    let found: Rows = publisher
        .iter()
        .map(|item| ((item.group, item.number), item))
        .collect();
    assert_eq!(found, rows, "the successor has exactly the rows there were");
    assert_eq!(
        publisher.version(),
        version.map_or(1, |version| version + 1)
    );
    assert_eq!(publisher.epoch(), epoch + 1, "epochs count up");
    let item = commit_a_row(&mut publisher);
    rows.insert((0, 0), item);
    assert_eq!(
        publisher.version(),
        version.map_or(2, |version| version + 2)
    );
    (publisher, rows)
}

/// Follows a publisher that is alive, and has come to these rows.
fn follow(subscriber: &mut Subscriber<Item>, publisher: &Publisher<Item>, rows: &Rows) {
    let state = PublisherState::Alive {
        epoch: publisher.epoch(),
        pid: std::process::id(),
    };
    tests::until("a subscriber follows the successor", || {
        subscriber.refresh().unwrap();
        subscriber.version() == publisher.version() && subscriber.publisher_state() == state
    });
    assert_eq!(&rows_of(subscriber), rows);
}

/// Attaches, if there is a table.
fn newcomer(name: &str) -> Option<Subscriber<Item>> {
    match Subscriber::<Item>::builder(name).open() {
        Ok(subscriber) => Some(subscriber),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A dead publisher's table in that state: read by who attached at the beginning and by who attaches now, taken over, and
/// followed. Returns what the newcomer saw.
fn die_at(play: Play, begun: &Picture, state: &Picture, expected: &Expected) -> Option<u64> {
    let mut replica = Replica::new(begun);
    let name = replica.table().name().to_owned();
    // It looks at the name soon: no death of a process tells it that somebody else has the name.
    let attach = Subscriber::<Item>::builder(&name).recheck(std::time::Duration::from_millis(1));
    let mut old = begun.region().map(|_| attach.open().unwrap());
    replica.become_as(state);
    if let Some(old) = &mut old {
        old.refresh().unwrap();
        expected.check(old);
        assert!(!old.publisher_state().is_alive());
    }
    let mut new = newcomer(&name);
    let outcome = new.as_ref().map(|new| new.version());
    if let Some(new) = &new {
        expected.check(new);
        assert!(!new.publisher_state().is_alive());
    }
    if let (Some(old), Some(version), Named::First) = (&old, outcome, state.named()) {
        assert_eq!(old.version(), version, "both read one table");
    }
    let epoch = state.word(header::EPOCH);
    let (publisher, rows) = succeed(play, &name, expected, outcome, epoch);
    for subscriber in old.iter_mut().chain(&mut new) {
        follow(subscriber, &publisher, &rows);
    }
    publisher.close().unwrap();
    assert_eq!(replica.leftovers(), Vec::<String>::new());
    outcome
}

/// While the process stands in the middle of whatever it does: who attached before, single rows, and newcomers.
fn read_while_it_stands(
    live: &mut Option<Subscriber<Item>>,
    name: &str,
    state: &Picture,
    keys: &BTreeSet<ItemKey>,
    expected: &Expected,
) {
    if let Some(live) = live {
        live.refresh().unwrap();
        expected.check(live);
        for key in keys {
            let row = live.latest(key).unwrap();
            assert_eq!(row.as_ref(), expected.rows(live.version()).get(key));
        }
        if state.named() == Named::First {
            assert_eq!(live.version(), state.commit(), "nothing holds it up");
        }
    }
    let new = newcomer(name);
    assert_eq!(new.is_some(), state.region().is_some());
    if let Some(new) = new {
        expected.check(&new);
        assert_eq!(new.version(), state.commit());
    }
}

/// What stepping through a play showed.
struct Pass {
    /// The address of each instruction.
    steps: Vec<u64>,
    maps: Maps,
    /// Which of them are system calls.
    calls: Vec<usize>,
    states: Vec<Picture>,
}

/// Steps through a play, and looks at what is shared after each instruction. `visit` is called for each state that is new, while
/// the process stands.
fn step_through(stepper: &Stepper, scene: &mut Scene, mut visit: impl FnMut(&Picture)) -> Pass {
    let mut pass = Pass {
        steps: Vec::new(),
        maps: stepper.maps(),
        calls: Vec::new(),
        states: vec![scene.now().clone()],
    };
    let mut seen = HashSet::from([scene.now().clone()]);
    let mut calls = HashMap::new();
    visit(scene.now());
    loop {
        let address = stepper.at();
        let is_call = *calls
            .entry(address)
            .or_insert_with(|| stepper.is_call(address));
        if is_call {
            pass.calls.push(pass.steps.len());
        }
        pass.steps.push(address);
        if !stepper.step() {
            return pass;
        }
        assert!(
            pass.steps.len() < MOST_STEPS,
            "it does not come to its mark"
        );
        if scene.look(is_call) {
            let state = scene.now();
            let before = pass.states.last().expect("the state it began with");
            let words = state.words_from(before);
            assert!(
                is_call || words == 1,
                "an instruction that stores {words} words"
            );
            if seen.insert(state.clone()) {
                visit(state);
            }
            pass.states.push(state.clone());
        }
    }
}

/// A table for a play: new, or what a publisher left.
enum Place {
    New(Table),
    Left(Replica),
}

impl Place {
    fn new(left: Option<&Picture>) -> Self {
        match left {
            Some(left) => Self::Left(Replica::new(left)),
            None => Self::New(Table::new("instructions")),
        }
    }

    fn table(&self) -> &Table {
        match self {
            Self::New(table) => table,
            Self::Left(replica) => replica.table(),
        }
    }
}

fn sleepers(play: Play, name: &str) -> Vec<Sleeper> {
    let count = if play == Play::Creation { 0 } else { SLEEPERS };
    (0..count).map(|_| Sleeper::attach(name)).collect()
}

/// Dies, in copies, at each state of a play, and tells what was counted. Returns the pass.
fn die_everywhere(play: Play, left: Option<&Picture>) -> Pass {
    let place = Place::new(left);
    let name = place.table().name();
    let stepper = Stepper::start(&mut role!("stepped", name, play)).unwrap();
    let mut asleep = sleepers(play, name);
    let mut live = newcomer(name);
    let mut scene = Scene::new(name);
    let begun = scene.now().clone();
    let expected = Expected::of(play, left, &begun);
    let keys = expected.tables.iter().flat_map(|rows| rows.keys().copied());
    let keys: BTreeSet<ItemKey> = keys.collect();
    let mut outcomes = Vec::new();
    let pass = step_through(&stepper, &mut scene, |state| {
        read_while_it_stands(&mut live, name, state, &keys, &expected);
        outcomes.push(die_at(play, &begun, state, &expected));
    });
    let states = outcomes.len();
    outcomes.dedup();
    assert_eq!(
        outcomes,
        expected.outcomes(),
        "each table is seen, and one switch from each to the next"
    );
    let ended = scene.now();
    let written = ended.words_from(&begun) + ended.names_from(&begun);
    assert!(
        states > written,
        "{states} states of {written} words and names"
    );
    // Continued, it carries on as if nothing had been; whoever slept was woken.
    for sleeper in &mut asleep {
        let last = expected.last();
        sleeper.woken_until("the last commit is seen", |s| s.version() == last);
        expected.check(&sleeper.0);
    }
    stepper.finish();
    for sleeper in &mut asleep {
        sleeper.woken_until("the end is told", |s| {
            matches!(s.publisher_state(), PublisherState::Closed { .. })
        });
    }
    println!(
        "{play}: {} instructions and {} system calls stepped, {states} states, {written} words and names written",
        pass.steps.len(),
        pass.calls.len()
    );
    pass
}

/// Where a process is killed.
#[derive(Clone, Copy)]
enum Point<'p> {
    /// After so many system calls.
    Calls(usize),
    /// Before that instruction of a pass.
    Step(&'p Pass, usize),
}

impl Point<'_> {
    /// Brings a process there; false if it came to its mark before.
    fn reach(self, stepper: &Stepper) -> bool {
        match self {
            Self::Calls(calls) => (0..calls).all(|_| stepper.call().is_some()),
            Self::Step(pass, step) => {
                let calls = pass.calls.partition_point(|call| *call < step);
                let from = calls.checked_sub(1).map_or(0, |last| pass.calls[last] + 1);
                let address = pass.steps[step];
                let since = &pass.steps[from..=step];
                let times = since.iter().filter(|at| **at == address).count();
                let address = stepper.maps().translate(address, &pass.maps);
                // The very first it stands at already, where no breakpoint would stop it.
                let times = times - usize::from(pass.steps[from] == pass.steps[step]);
                let address = address.expect("the same program, and the same libraries");
                Self::Calls(calls).reach(stepper) && stepper.run_to(address, times)
            }
        }
    }
}

/// Kills a real process there, while three subscribers sleep. False if it came to its mark before.
fn kill_at(play: Play, left: Option<&Picture>, point: Point<'_>) -> bool {
    let place = Place::new(left);
    let name = place.table().name();
    let stepper = Stepper::start(&mut role!("stepped", name, play)).unwrap();
    let mut asleep = sleepers(play, name);
    let begun = Scene::new(name).now().clone();
    let expected = Expected::of(play, left, &begun);
    let came = point.reach(&stepper);
    eprintln!(
        "DEBUG {play} {}",
        match point {
            Point::Calls(n) => format!("calls {n}"),
            Point::Step(_, n) => format!("step {n}"),
        }
    );
    let state = Scene::new(name).now().clone();
    place.table().remember();
    stepper.kill();
    eprintln!(
        "DEBUG {:?} commit {} epoch {}",
        state.named(),
        state.commit(),
        state.word(header::EPOCH)
    );

    for sleeper in &mut asleep {
        sleeper.woken_until("the death is told", |s| !s.publisher_state().is_alive());
        expected.check(&sleeper.0);
    }
    let new = newcomer(name);
    let version = new.as_ref().map(|new| new.version());
    if let Some(new) = &new {
        expected.check(new);
        assert_eq!(new.version(), state.commit());
    }
    let epoch = state.word(header::EPOCH);
    let (publisher, rows) = succeed(play, name, &expected, version, epoch);
    for sleeper in &mut asleep {
        let version = publisher.version();
        sleeper.woken_until("the successor has committed", |s| {
            s.version() == version && s.publisher_state().is_alive()
        });
        assert_eq!(rows_of(&sleeper.0), rows);
        assert_eq!(sleeper.0.publisher_state().epoch(), publisher.epoch());
    }
    place.table().remember();
    publisher.close().unwrap();
    drop(asleep);
    assert_eq!(place.table().leftovers(), Vec::<String>::new());
    came
}

/// Kills at each system call, and at random steps.
fn kill_everywhere(play: Play, left: Option<&Picture>, pass: &Pass, random: usize) -> usize {
    let mut calls = 0;
    while kill_at(play, left, Point::Calls(calls)) {
        calls += 1;
        assert!(
            calls <= 2 * pass.calls.len() + 100,
            "as many as were stepped, and those that wake the sleepers"
        );
    }
    let mut dice = rand::rng();
    for _ in 0..random {
        let step = dice.random_range(0..pass.steps.len());
        kill_at(play, left, Point::Step(pass, step));
    }
    calls + 1 + random
}

/// What a publisher leaves that dies in the middle of the last transaction of [`Play::Rewrite`].
fn middle_of_the_last(pass: &Pass) -> &Picture {
    let last = pass.states.last().expect("the first one at least").commit();
    let of_it: Vec<&Picture> = pass
        .states
        .iter()
        .filter(|state| state.commit() == last - 1)
        .collect();
    of_it[of_it.len() / 2]
}

fn can_step() -> bool {
    let table = Table::new("can-step");
    let stepper = Stepper::start(&mut role!("stepped", table.name(), Play::Creation));
    stepper
        .map(Stepper::kill)
        .map_err(|reason| skip(&reason))
        .is_ok()
}

#[test]
fn a_death_at_any_instruction_loses_nothing_and_holds_up_nobody() {
    if !can_step() {
        return;
    }
    let rewrite = die_everywhere(Play::Rewrite, None);
    let left = middle_of_the_last(&rewrite);
    let others = [
        (Play::Growth, None),
        (Play::Creation, None),
        (Play::Takeover, Some(left)),
        (Play::Successor, Some(left)),
        (Play::Closing, None),
    ];
    let others = others.map(|(play, left)| (play, left, die_everywhere(play, left)));
    let (mut steps, mut kills) = (rewrite.steps.len(), 0);
    kills += kill_everywhere(Play::Rewrite, None, &rewrite, RANDOM_KILLS / 4);
    for (play, left, pass) in &others {
        steps += pass.steps.len();
        let share = RANDOM_KILLS * 3 / 4 / others.len();
        kills += kill_everywhere(*play, *left, pass, share);
    }
    println!("{steps} instructions stepped, {kills} processes killed");
}
