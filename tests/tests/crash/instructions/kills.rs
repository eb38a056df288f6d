//! Killing the real process, at each system call of a play and at random instructions.

use std::fmt;
use std::time::Duration;

use common::internals::header;
use rand::RngExt;
use tests::object_state::{Picture, Scene};
use tests::scenario::Play;
use tests::stepper::Stepper;
use tests::{NEVER, role};

use super::copies::{Pass, Place, assert_nothing_left};
use super::expected::Expected;
use super::followers::{Sleeper, newcomer, rows_of, succeed};

/// How many steps are drawn at most for each that a process comes to: upkeep that only the pass had shifts what follows it.
const DRAWS: usize = 5;

/// System calls within which a takeover is killed: some more than it makes.
const TAKEOVER_CALLS: usize = 64;

/// How many processes were killed.
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
                // At full speed past the last call before it, and from there by a breakpoint.
                let calls = pass.calls.partition_point(|call| *call < step);
                let from = calls.checked_sub(1).map_or(0, |last| pass.calls[last] + 1);
                let address = pass.steps[step];
                let since = &pass.steps[from..=step];
                let times = since.iter().filter(|at| **at == address).count();
                // The very first it stands at already, where no breakpoint would stop it.
                let times = times - usize::from(pass.steps[from] == address);
                let address = stepper.maps().translate(address, &pass.maps);
                let address = address.expect("the same program, and the same libraries");
                Self::Calls(calls).reach(stepper) && stepper.run_to(address, times)
            }
        }
    }
}

/// After a death in that state: it is read, taken over, and the sleepers are woken and follow. Nothing is left in the end.
fn carry_on(
    play: Play,
    place: &Place,
    expected: &Expected,
    state: &Picture,
    mut asleep: Vec<Sleeper>,
) {
    let name = place.table().name();
    let new = newcomer(name);
    let version = new.as_ref().map(|new| new.version());
    if let Some(new) = &new {
        expected.check(new);
        assert_eq!(new.version(), state.commit());
    }
    let epoch = state.word(header::EPOCH);
    let (publisher, rows) = succeed(play, name, expected, version, epoch);
    let version = publisher.version();
    for sleeper in &mut asleep {
        sleeper.woken_until("the successor has committed", |s| {
            s.version() == version && s.publisher_state().is_alive()
        });
        assert_eq!(rows_of(&sleeper.0), rows);
        assert_eq!(sleeper.0.publisher_state().epoch(), publisher.epoch());
    }
    place.table().remember();
    publisher.close().unwrap();
    drop((asleep, new));
    assert_nothing_left(state, place.leftovers());
}

/// Kills a real process there, while three subscribers sleep. False if it came to its mark before.
fn kill_at(play: Play, left: Option<&Picture>, point: Point<'_>) -> bool {
    let place = Place::new(left);
    let name = place.table().name();
    let recheck = match play {
        // No other process can wake a subscriber whose region has neither name nor publisher, or whose registry just lost its
        // name.
        Play::Removed | Play::EqualSuccessor => Duration::from_millis(10),
        _ => NEVER,
    };
    let (stepper, mut asleep) = place.begin(play, recheck);
    let registry = common::inspect(name, None).map(|table| table.registry_id);
    let expected = Expected::of(play, left, Scene::new(name).now());
    let came = point.reach(&stepper);
    let state = Scene::new(name).now().clone();
    place.table().remember();
    stepper.kill();

    for sleeper in &mut asleep {
        sleeper.woken_until("the death is told", |s| !s.publisher_state().is_alive());
        expected.check(&sleeper.0);
    }
    carry_on(play, &place, &expected, &state, asleep);
    if let Ok(id) = registry {
        // A death while the region had no name leaves the registry to a sweep.
        let _removed_already = std::fs::remove_file(format!("/dev/shm/tablecast.subs.{id:016x}"));
    }
    came
}

/// Kills after each system call, and at random steps.
pub fn kill_everywhere(play: Play, left: Option<&Picture>, pass: &Pass, random: usize) -> Kills {
    // As many as were stepped, and perhaps some upkeep, which comes once a second.
    let most = 2 * pass.calls.len() + 100;
    let calls = (0..most).take_while(|calls| kill_at(play, left, Point::Calls(*calls)));
    let at_calls = calls.count();
    assert!(at_calls < most, "it does not come to its mark");
    let mut dice = rand::rng();
    let at_step = |_: &usize| {
        let step = dice.random_range(0..pass.steps.len());
        kill_at(play, left, Point::Step(pass, step))
    };
    let at_steps = (0..DRAWS * random).filter(at_step).take(random).count();
    assert_eq!(
        at_steps, random,
        "not all processes came to where they were to die"
    );
    Kills { at_calls, at_steps }
}

/// Kills takeovers of what a publisher `left` one after the other, each at a random system call, while three subscribers sleep.
/// Returns how often one had committed before.
pub fn kill_takeovers(left: &Picture, times: usize) -> u64 {
    let place = Place::new(Some(left));
    let name = place.table().name();
    let expected = Expected::opened(left, times);
    let mut asleep = place.sleepers(NEVER);
    let mut dice = rand::rng();
    for _ in 0..times {
        let before = Scene::new(name).now().clone();
        let stepper = Stepper::start(&mut role!("stepped", name, Play::Takeover)).unwrap();
        let _came = Point::Calls(dice.random_range(0..TAKEOVER_CALLS)).reach(&stepper);
        stepper.kill();
        let state = Scene::new(name).now().clone();
        let versions = before.commit()..=before.commit() + 1;
        assert!(versions.contains(&state.commit()), "one commit at most");
        let epochs = before.word(header::EPOCH)..=before.word(header::EPOCH) + 1;
        assert!(epochs.contains(&state.word(header::EPOCH)));
        for sleeper in &mut asleep {
            // Killed between its commit and its wake-ups it wakes nobody: that is the re-check's, or the next takeover's.
            sleeper.fall_asleep();
            assert_eq!(sleeper.0.version(), state.commit());
            expected.check(&sleeper.0);
        }
    }
    let state = Scene::new(name).now().clone();
    carry_on(Play::Takeover, &place, &expected, &state, asleep);
    state.commit() - left.commit()
}
