//! Kills the real process at each system call of a scenario and at random instructions.

use std::fmt;
use std::time::Duration;

use common::internals::{header, index_name};
use rand::RngExt;
use tests::object_state::{ObjectState, TableObserver};
use tests::scenario::Scenario;
use tests::stepper::Stepper;
use tests::{NEVER, role};

use super::copies::{Pass, Place, assert_nothing_left, region_id};
use super::expected::Expected;
use super::followers::{Sleeper, newcomer, rows_of, succeed};
use super::lookups::{Keys, reader_of};

/// Maximum number of draws per killed process. Maintenance that only the stepped run had can shift
/// the instructions that follow it, so some draws are never reached.
const DRAWS: usize = 5;

/// Number of system calls within which a takeover is killed. A takeover makes fewer.
const TAKEOVER_CALLS: usize = 64;

/// Number of killed processes.
pub struct Kills {
    at_calls: usize,
    at_steps: usize,
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes killed after system calls, {} at random instructions",
            self.at_calls, self.at_steps
        )
    }
}

/// The point at which a process is killed.
#[derive(Clone, Copy)]
enum Point<'p> {
    /// After this number of system calls.
    Calls(usize),
    /// Before this instruction of a stepped run.
    Step(&'p Pass, usize),
}

impl Point<'_> {
    /// Runs a process to this point. Returns false if it reached its mark first.
    fn reach(self, stepper: &Stepper) -> bool {
        match self {
            Self::Calls(calls) => (0..calls).all(|_| stepper.call().is_some()),
            Self::Step(pass, step) => {
                // Runs at full speed past the last system call before the point, then to a
                // breakpoint.
                let calls = pass.calls.partition_point(|call| *call < step);
                let from = calls.checked_sub(1).map_or(0, |last| pass.calls[last] + 1);
                let address = pass.steps[step];
                let since = &pass.steps[from..=step];
                let times = since.iter().filter(|at| **at == address).count();
                // A breakpoint does not stop the process at its current instruction.
                let times = times - usize::from(pass.steps[from] == address);
                let address = stepper.maps().translate(address, &pass.maps);
                let address = address.expect("the same program and libraries");
                Self::Calls(calls).reach(stepper) && stepper.run_to(address, times)
            }
        }
    }
}

/// After a crash in this state: reads the table, takes it over, waits until the parked subscribers
/// follow, and checks that nothing is left.
fn carry_on(
    scenario: Scenario,
    place: &Place,
    expected: &Expected,
    state: &ObjectState,
    mut asleep: Vec<Sleeper>,
) {
    let name = place.table().name();
    let new = newcomer(name);
    let version = new.as_ref().map(|new| new.version());
    if let Some(new) = &new {
        expected.check(new);
        assert_eq!(new.version(), state.commit());
    }
    let keys = Keys::of(scenario, expected);
    if let Some(reader) = reader_of(name) {
        assert_eq!(keys.check_expected(&reader, expected), state.commit());
    }
    let epoch = state.word(header::EPOCH);
    let (publisher, rows) = succeed(scenario, name, expected, version, epoch);
    let version = publisher.version();
    for sleeper in &mut asleep {
        sleeper.woken_until("the successor has committed", |s| {
            s.version() == version && s.publisher_state().is_alive()
        });
        assert_eq!(rows_of(&sleeper.0), rows);
        assert_eq!(sleeper.0.publisher_state().epoch(), publisher.epoch());
    }
    keys.check(&reader_of(name).expect("a table"), version, &rows);
    place.table().remember();
    let is_kept = region_id(name) == state.current_index().map(|(region, _)| region);
    publisher.close().unwrap();
    drop((asleep, new));
    let name_of = |(region, number)| index_name(region, number);
    assert_nothing_left(state, place.orphans(), is_kept, name_of);
}

/// Kills a real process at `point` while three subscribers are parked. Returns false if the process
/// reached its mark first.
fn kill_at(scenario: Scenario, left: Option<&ObjectState>, point: Point<'_>) -> bool {
    let place = Place::new(left);
    let name = place.table().name();
    let recheck = match scenario {
        // No other process can wake a subscriber whose region has neither a name nor a publisher,
        // or whose registry has just lost its name.
        Scenario::Removed | Scenario::EqualSuccessor => Duration::from_millis(10),
        _ => NEVER,
    };
    let (stepper, mut asleep) = place.begin(scenario, recheck);
    let registry = common::inspect(name, None).map(|table| table.registry_id);
    let mut observer = TableObserver::of_process(name, stepper.id());
    let expected = Expected::of(scenario, left, observer.now());
    let came = point.reach(&stepper);
    observer.look(true);
    let state = observer.now().clone();
    place.table().remember();
    state.region_ids().iter().for_each(|id| place.table().remember_indexes(*id));
    stepper.kill();

    for sleeper in &mut asleep {
        sleeper.woken_until("the death is reported", |s| !s.publisher_state().is_alive());
        expected.check(&sleeper.0);
    }
    carry_on(scenario, &place, &expected, &state, asleep);
    if let Ok(id) = registry {
        // If the region had no name, only a sweep removes the registry.
        let _removed_already = std::fs::remove_file(format!("/dev/shm/tablecast.subs.{id:016x}"));
    }
    came
}

/// Kills processes after each system call and at random instructions.
pub fn kill_everywhere(
    scenario: Scenario,
    left: Option<&ObjectState>,
    pass: &Pass,
    random: usize,
) -> Kills {
    // Maintenance, which runs once a second, may add system calls to those of the stepped run.
    let most = 2 * pass.calls.len() + 100;
    let calls = (0..most).take_while(|calls| kill_at(scenario, left, Point::Calls(*calls)));
    let at_calls = calls.count();
    assert!(at_calls < most, "the process does not reach its mark");
    let mut dice = rand::rng();
    let at_step = |_: &usize| {
        let step = dice.random_range(0..pass.steps.len());
        kill_at(scenario, left, Point::Step(pass, step))
    };
    let at_steps = (0..DRAWS * random).filter(at_step).take(random).count();
    assert_eq!(at_steps, random, "some processes did not reach the point to be killed at");
    Kills { at_calls, at_steps }
}

/// Successively kills takeovers of the table that a publisher `left`, each at a random system call,
/// while three subscribers are parked. Returns the number of takeovers that committed.
pub fn kill_takeovers(left: &ObjectState, times: usize) -> u64 {
    let place = Place::new(Some(left));
    let name = place.table().name();
    let expected = Expected::opened(left, times);
    let keys = Keys::of(Scenario::Takeover, &expected);
    let mut asleep = place.sleepers(NEVER);
    let mut dice = rand::rng();
    for _ in 0..times {
        let before = TableObserver::new(name).now().clone();
        let stepper = Stepper::start(&mut role!("stepped", name, Scenario::Takeover)).unwrap();
        let _came = Point::Calls(dice.random_range(0..TAKEOVER_CALLS)).reach(&stepper);
        stepper.kill();
        let state = TableObserver::new(name).now().clone();
        state.region_ids().iter().for_each(|id| place.table().remember_indexes(*id));
        if let Some(reader) = reader_of(name) {
            keys.check_expected(&reader, &expected);
        }
        let versions = before.commit()..=before.commit() + 1;
        assert!(versions.contains(&state.commit()), "one commit at most");
        let epochs = before.word(header::EPOCH)..=before.word(header::EPOCH) + 1;
        assert!(epochs.contains(&state.word(header::EPOCH)));
        for sleeper in &mut asleep {
            // A takeover killed between its commit and its wake-ups wakes nobody; the re-check or
            // the next takeover does.
            sleeper.fall_asleep();
            assert_eq!(sleeper.0.version(), state.commit());
            expected.check(&sleeper.0);
        }
    }
    let state = TableObserver::new(name).now().clone();
    carry_on(Scenario::Takeover, &place, &expected, &state, asleep);
    state.commit() - left.commit()
}
