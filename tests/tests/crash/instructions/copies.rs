//! Steps through a scenario and simulates a crash, in copies, at each state that the publisher
//! shares.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use common::internals::{header, index_name};
use common::{PublisherState, Reader, Subscriber};
use tests::object_state::{IndexId, Named, ObjectState, TableObserver};
use tests::replica::Replica;
use tests::scenario::Scenario;
use tests::script::Item;
use tests::stepper::{Maps, Stepper};
use tests::table::Table;
use tests::{NEVER, role};

use super::expected::Expected;
use super::followers::{Sleeper, follow, newcomer, succeed};
use super::lookups::{Keys, reader_of};
use super::sweeps::{NamesOnly, sweep_everywhere};

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

/// Checks that nothing is left of a table whose publisher died in this state, except what only a
/// sweep can remove:
///
/// - the registry, if the region had no name, because the successor cannot know it;
/// - generations of a key index that the region with the name does not refer to: the next one, and
///   former ones. If the successor uses this region, it replaces the next one.
///
/// `is_kept` is true if the successor used the region that has the name. `name_of` returns the name
/// of a generation. [`sweep_everywhere`] checks that a sweep removes these objects.
pub fn assert_nothing_left(
    state: &ObjectState,
    mut orphans: Vec<String>,
    is_kept: bool,
    name_of: impl Fn(IndexId) -> String,
) {
    if state.is_removed() {
        orphans.retain(|object| !object.contains("/tablecast.subs."));
    }
    let is_swept = |(region, number): &IndexId| match state.current_index() {
        Some((named, current)) if named == *region => {
            *number < current || (*number > current && !is_kept)
        }
        _ => true,
    };
    let swept: Vec<String> = state.indexes().filter(is_swept).map(name_of).collect();
    orphans.retain(|object| !swept.iter().any(|name| object.contains(&format!("{name}\""))));
    assert_eq!(orphans, Vec::<String>::new());
}

/// Returns the id of the region that has the name.
pub fn region_id(name: &str) -> Option<u64> {
    common::inspect(name, None).map(|table| table.region_id).ok()
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
    let mut observer = TableObserver::of_process(place.table().name(), stepper.id());
    step_through(&stepper, &mut observer, |state| states.push(state.clone()));
    place.table().remember();
    stepper.finish();
    states
}

/// Simulates a publisher crash in this state, in a replica: one subscriber that attached at the
/// beginning and one that attaches now read the table, follow a takeover, and follow a commit, and
/// so do two readers. Returns the version that the new subscriber saw.
fn die_at(
    scenario: Scenario,
    begun: &ObjectState,
    state: &ObjectState,
    keys: &Keys,
    expected: &Expected,
) -> Option<u64> {
    let mut replica = Replica::new(begun);
    let name = replica.table().name().to_owned();
    // A short re-check interval, because no pidfd reports that another region has the name.
    let attach = Subscriber::<Item>::builder(&name).recheck(Duration::from_millis(1));
    let mut old = begun.region().map(|_| attach.open().unwrap());
    let mut old_reader = reader_of(&name);
    let mut entries = Vec::new();
    if let Some(reader) = &old_reader {
        // The reader maps the key index of the beginning.
        let version = keys.check_expected(reader, expected);
        let present = expected.rows(version).keys();
        entries.extend(present.map(|key| reader.entry(key).unwrap().expect("its row")));
    }
    replica.become_as(state);
    let mut new_reader = reader_of(&name);
    for reader in old_reader.iter().chain(&new_reader) {
        let version = keys.check_expected(reader, expected);
        if state.region().is_some() {
            assert_eq!(version, state.commit(), "the reader sees the last commit");
        }
        for entry in &mut entries {
            assert_eq!(entry.read().unwrap().as_ref(), expected.rows(version).get(entry.key()));
        }
    }
    drop(entries);
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
    for reader in old_reader.iter_mut().chain(&mut new_reader) {
        keys.follow(reader, &publisher, &rows);
    }
    let region = region_id(&name).expect("the region of the successor");
    replica.table().remember_indexes(region);
    publisher.close().unwrap();
    let named = state.current_index().map(|id| replica.index_name((id.0, 0)));
    let is_kept = named == Some(index_name(region, 0));
    assert_nothing_left(state, replica.orphans(), is_kept, |id| replica.index_name(id));
    outcome
}

/// Reads the real table while its publisher is stopped: by a subscriber that attached earlier, by
/// `latest`, by a new subscriber, and by a reader that was opened earlier and a new one.
fn read_while_it_stands(
    live: &mut Option<Subscriber<Item>>,
    reader: &Option<Reader<Item>>,
    name: &str,
    state: &ObjectState,
    keys: &Keys,
    expected: &Expected,
) {
    if let Some(live) = live {
        live.refresh().unwrap();
        expected.check(live);
        // The copy may still be that of the region before.
        let last = if state.region().is_some() { state.commit() } else { live.version() };
        for key in keys.iter() {
            let row = live.latest(key).unwrap();
            assert_eq!(row.as_ref(), expected.rows(last).get(key));
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
    let new = reader_of(name);
    assert_eq!(new.is_some(), state.region().is_some());
    for reader in reader.iter().chain(&new) {
        let version = keys.check_expected(reader, expected);
        if state.region().is_some() {
            assert_eq!(version, state.commit(), "the reader sees the last commit");
        }
    }
}

/// Simulates a crash at each state of a scenario, in replicas. The real process completes the
/// scenario.
pub fn die_everywhere(scenario: Scenario, left: Option<&ObjectState>) -> Pass {
    let place = Place::new(left);
    let name = place.table().name();
    let (stepper, mut asleep) = place.begin(scenario, NEVER);
    let (mut live, reader) = (newcomer(name), reader_of(name));
    let mut observer = TableObserver::of_process(name, stepper.id());
    let begun = observer.now().clone();
    let expected = Expected::of(scenario, left, &begun);
    let keys = Keys::of(scenario, &expected);
    let (mut outcomes, mut names) = (Vec::new(), NamesOnly::default());
    let pass = step_through(&stepper, &mut observer, |state| {
        read_while_it_stands(&mut live, &reader, name, state, &keys, &expected);
        outcomes.push(die_at(scenario, &begun, state, &keys, &expected));
        names.add(state);
        state.region_ids().iter().for_each(|id| place.table().remember_indexes(*id));
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
    drop((asleep, live, reader));
    assert_eq!(place.orphans(), Vec::<String>::new());
    sweep_everywhere(scenario, &names, &expected);
    pass
}
