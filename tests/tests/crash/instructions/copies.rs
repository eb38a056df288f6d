//! Steps through a scenario and simulates a crash, in copies, at each state that the publisher
//! shares.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use common::internals::header;
use common::{PublisherState, Subscriber};
use tests::object_state::{Named, ObjectState, TableObserver};
use tests::replica::Replica;
use tests::scenario::Scenario;
use tests::script::{Item, ItemKey};
use tests::stepper::{Maps, Stepper};
use tests::table::Table;
use tests::{NEVER, role};

use super::expected::Expected;
use super::followers::{Sleeper, follow, newcomer, succeed};

/// Number of parked subscribers of the real table.
const SLEEPERS: usize = 3;
/// Maximum number of instructions of a scenario.
const MOST_STEPS: usize = 5_000_000;

/// Result of stepping through a scenario.
pub struct Pass {
    /// The address of each instruction.
    pub steps: Vec<u64>,
    /// File mappings of the process.
    pub maps: Maps,
    /// Indices of the instructions that are system calls.
    pub calls: Vec<usize>,
    /// Number of distinct states of the shared bytes.
    states: usize,
    /// Number of words and names that differ between the beginning and the end.
    written: usize,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} instructions stepped, {} system calls among them, {} states for at least {} words and names written",
            self.steps.len(),
            self.calls.len(),
            self.states,
            self.written
        )
    }
}

/// The table of a scenario.
pub enum Place {
    /// A table without a previous publisher.
    New(Table),
    /// The table that a dead publisher left.
    Left(Replica),
}

impl Place {
    /// Returns a new table, or a replica of the table that a dead publisher `left`.
    pub fn new(left: Option<&ObjectState>) -> Self {
        match left {
            Some(left) => Self::Left(Replica::new(left)),
            None => Self::New(Table::new("instructions")),
        }
    }

    /// Returns the table.
    pub fn table(&self) -> &Table {
        match self {
            Self::New(table) => table,
            Self::Left(replica) => replica.table(),
        }
    }

    /// Returns the remaining objects of the table.
    pub fn orphans(&self) -> Vec<String> {
        match self {
            Self::New(table) => table.orphans(),
            Self::Left(replica) => replica.orphans(),
        }
    }

    /// Starts a process that stops at the beginning of the scenario. Also returns parked
    /// subscribers if a table exists.
    pub fn begin(&self, scenario: Scenario, recheck: Duration) -> (Stepper, Vec<Sleeper>) {
        let name = self.table().name();
        let stepper = Stepper::start(&mut role!("stepped", name, scenario)).unwrap();
        let asleep = (scenario != Scenario::Creation).then(|| self.sleepers(recheck));
        (stepper, asleep.unwrap_or_default())
    }

    /// Returns three parked subscribers.
    pub fn sleepers(&self, recheck: Duration) -> Vec<Sleeper> {
        let asleep = (0..SLEEPERS).map(|_| Sleeper::attach(self.table().name(), recheck));
        asleep.collect()
    }
}

/// Checks that nothing is left of a table whose publisher died in this state. If the region had no
/// name, its successor cannot know the registry, so only a sweep can remove it.
pub fn assert_nothing_left(state: &ObjectState, mut orphans: Vec<String>) {
    if state.is_removed() {
        orphans.retain(|object| !object.contains("/tablecast.subs."));
    }
    assert_eq!(orphans, Vec::<String>::new());
}

/// Steps through a scenario and observes the shared bytes after each instruction. Calls `visit` for
/// each new state, while the process is stopped. The names of the table change only at system
/// calls.
fn step_through(
    stepper: &Stepper,
    observer: &mut TableObserver,
    mut visit: impl FnMut(&ObjectState),
) -> Pass {
    let begun = observer.now().clone();
    let (mut steps, mut calls, maps) = (Vec::new(), Vec::new(), stepper.maps());
    let mut seen = HashSet::from([begun.clone()]);
    let (mut is_call, mut last) = (HashMap::new(), begun.clone());
    visit(&begun);
    loop {
        let address = stepper.at();
        let is_call = is_call.entry(address);
        let is_call = *is_call.or_insert_with(|| stepper.is_call(address));
        if is_call {
            calls.push(steps.len());
        }
        steps.push(address);
        if !stepper.step() {
            break;
        }
        assert!(steps.len() < MOST_STEPS, "the process does not reach its mark");
        let is_new = observer.look(is_call);
        if is_call {
            let unknown = observer.unknown_to_all_but(stepper.id());
            assert_eq!(
                unknown,
                Vec::<PathBuf>::new(),
                "a crash would leave objects that a sweep cannot find"
            );
        }
        if is_new {
            let state = observer.now().clone();
            let words = state.words_from(&last);
            assert!(is_call || words == 1, "an instruction stored {words} words");
            if seen.insert(state.clone()) {
                visit(&state);
            }
            last = state;
        }
    }
    let ended = observer.now();
    Pass {
        steps,
        maps,
        calls,
        states: seen.len(),
        written: ended.words_from(&begun) + ended.names_from(&begun),
    }
}

/// Returns the states that a publisher shares during a scenario without a previous publisher.
pub fn states_of(scenario: Scenario) -> Vec<ObjectState> {
    let place = Place::new(None);
    let (stepper, _) = place.begin(scenario, NEVER);
    let mut states = Vec::new();
    let mut observer = TableObserver::new(place.table().name());
    step_through(&stepper, &mut observer, |state| states.push(state.clone()));
    place.table().remember();
    stepper.finish();
    states
}

/// Simulates a publisher crash in this state, in a replica: one subscriber that attached at the
/// beginning and one that attaches now read the table, follow a takeover, and follow a commit.
/// Returns the version that the new subscriber saw.
fn die_at(
    scenario: Scenario,
    begun: &ObjectState,
    state: &ObjectState,
    expected: &Expected,
) -> Option<u64> {
    let mut replica = Replica::new(begun);
    let name = replica.table().name().to_owned();
    // A short re-check interval, because no pidfd reports that another region has the name.
    let attach = Subscriber::<Item>::builder(&name).recheck(Duration::from_millis(1));
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
        assert_eq!(old.version(), version, "both read the same version");
    }
    let epoch = state.word(header::EPOCH);
    let (publisher, rows) = succeed(scenario, &name, expected, outcome, epoch);
    for subscriber in old.iter_mut().chain(&mut new) {
        follow(subscriber, &publisher, &rows);
    }
    publisher.close().unwrap();
    assert_nothing_left(state, replica.orphans());
    outcome
}

/// Reads the real table while its publisher is stopped: by a subscriber that attached earlier, by
/// `latest`, and by a new subscriber.
fn read_while_it_stands(
    live: &mut Option<Subscriber<Item>>,
    name: &str,
    state: &ObjectState,
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
            assert_eq!(live.version(), state.commit(), "the reader sees the last commit");
        }
    }
    let new = newcomer(name);
    assert_eq!(new.is_some(), state.region().is_some());
    if let Some(new) = new {
        expected.check(&new);
        assert_eq!(new.version(), state.commit());
    }
}

/// Simulates a crash at each state of a scenario, in replicas. The real process completes the
/// scenario.
pub fn die_everywhere(scenario: Scenario, left: Option<&ObjectState>) -> Pass {
    let place = Place::new(left);
    let name = place.table().name();
    let (stepper, mut asleep) = place.begin(scenario, NEVER);
    let mut live = newcomer(name);
    let mut observer = TableObserver::new(name);
    let begun = observer.now().clone();
    let expected = Expected::of(scenario, left, &begun);
    let keys = expected.tables().iter().flat_map(|rows| rows.keys());
    let keys: BTreeSet<ItemKey> = keys.copied().collect();
    let mut outcomes = Vec::new();
    let pass = step_through(&stepper, &mut observer, |state| {
        read_while_it_stands(&mut live, name, state, &keys, &expected);
        outcomes.push(die_at(scenario, &begun, state, &expected));
    });
    outcomes.dedup();
    assert_eq!(outcomes, expected.outcomes(), "each table is seen, in order");
    assert!(pass.states > pass.written, "at least one state per store: {pass}");
    place.table().remember();
    for sleeper in &mut asleep {
        let last = expected.last();
        sleeper.woken_until("the last commit is visible", |s| s.version() == last);
        expected.check(&sleeper.0);
    }
    stepper.finish();
    for sleeper in &mut asleep {
        sleeper.woken_until("the close is reported", |s| {
            matches!(s.publisher_state(), PublisherState::Closed { .. })
        });
    }
    drop((asleep, live));
    assert_eq!(place.orphans(), Vec::<String>::new());
    pass
}
