//! Model-based tests of the whole public API: random programs of steps and faults, with readers of
//! all kinds attached, each compared with a reference table after each step.
//!
//! - [`generate`]: random programs;
//! - [`runner`]: runs a program;
//! - [`seat`]: the publisher, in this process or in another one, which is killed, stopped, or
//!   stepped by ptrace in the middle of a step;
//! - [`readers`]: typed and untyped subscribers, their snapshots, `latest` and changes;
//! - [`full_speed`]: readers of a publisher that does not wait for them.
//!
//! The steps, the reference table and the publisher are in `tests/src/model/`.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TABLECAST_MODEL_CASES` | programs in this process; half this number with a publisher in another process | 24 |
//! | `TABLECAST_MODEL_SEED` | the seed of the programs | 12 |
//!
//! A failure prints the seed and the shortest program that still fails, as Rust that can be pasted
//! into [`replay`].

mod found;
mod full_speed;
mod generate;
mod readers;
mod runner;
mod seat;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use tests::confined::{own_memory, own_queues, show_queues};
use tests::model::operation::{Operation, program};

use generate::{Machine, Place};
use runner::{MEMORY, Runner, STEPS};

/// Number of programs in a short run.
const CASES: u64 = 24;
/// Number of runs of each program while a failure is shortened, because races do not always end
/// alike.
const REPEATS: u32 = 10;

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// Runs a program.
fn replay(place: Place, is_confined: bool, operations: &[Operation]) {
    let mut runner = Runner::new(place, is_confined);
    for operation in operations {
        runner.step(operation);
    }
    runner.finish();
}

/// The private message queues of a thread, mounted so that `common` can list them.
struct Confined(tempfile::TempDir);

impl Drop for Confined {
    fn drop(&mut self) {
        nix::mount::umount(self.0.path()).expect("the private mount of this test");
    }
}

/// Gives this thread a private /dev/shm and private message queues, if it has the permission.
fn confined() -> Option<Confined> {
    if !own_memory(MEMORY) || !own_queues(256) {
        return None;
    }
    let place = tempfile::tempdir().expect("a directory");
    show_queues(place.path());
    Some(Confined(place))
}

/// Runs a program, and returns the message that it fails with.
fn failure_of(place: Place, is_confined: bool, operations: &[Operation]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| replay(place, is_confined, operations))).err()?;
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default())
}

/// Returns true if two messages begin with the same letters and so describe the same failure.
fn is_alike(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphabetic() || *c == ' ');
        letters.take(24).collect()
    };
    letters(one) == letters(other)
}

/// Removes all steps and calls that a failure does not need. Also removes steps in pairs, because
/// the second may undo the first.
fn shorten(mut operations: Vec<Operation>, fails: impl Fn(&[Operation]) -> bool) -> Vec<Operation> {
    for length in [2, 1] {
        let mut at = 0;
        while at + length <= operations.len() {
            let mut fewer = operations.clone();
            fewer.drain(at..at + length);
            if fails(&fewer) {
                operations = fewer;
            } else {
                at += 1;
            }
        }
    }
    for step in 0..operations.len() {
        let mut at = 0;
        while operations[step].calls().is_some_and(|calls| at < calls.len()) {
            let mut fewer = operations.clone();
            fewer[step].calls().expect("as many calls as before").remove(at);
            if fails(&fewer) {
                operations = fewer;
            } else {
                at += 1;
            }
        }
    }
    operations
}

/// Runs random programs with a publisher in this process, or in another one.
fn explore<const HERE: bool>(cases: u64) {
    let confined = confined();
    let is_confined = confined.is_some();
    let seed = setting("TABLECAST_MODEL_SEED", 12);
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_time: 120_000,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let ran = AtomicU64::new(0);
    let failed: OnceLock<String> = OnceLock::new();
    let outcome = TestRunner::new(config).run(
        &Machine::<HERE>::sequential_strategy(1..=40),
        |(sketch, operations, seen)| {
            let repeats = if failed.get().is_some() { REPEATS } else { 1 };
            if repeats == 1 {
                ran.fetch_add(1, Ordering::Relaxed);
            }
            for _ in 0..repeats {
                let steps = STEPS.get();
                let failure = failure_of(sketch.place, is_confined, &operations);
                // Steps after the failed one are removed first.
                let carried_out = (STEPS.get() - steps) as usize;
                seen.iter().for_each(|seen| seen.store(carried_out, Ordering::Relaxed));
                let Some(message) = failure else {
                    continue;
                };
                let first = failed.get_or_init(|| {
                    let step = STEPS.get();
                    println!(
                        "model: seed {seed}: failed in case {ran:?}, at step {step}: {message}"
                    );
                    message.clone()
                });
                // A shorter program with another failure does not explain this one.
                if is_alike(first, &message) {
                    return Err(TestCaseError::fail(message));
                }
            }
            Ok(())
        },
    );
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, (sketch, operations, _))) => {
            let fails = |operations: &[Operation]| {
                let failure = || failure_of(sketch.place, is_confined, operations);
                (0..REPEATS)
                    .filter_map(|_| failure())
                    .any(|message| is_alike(&message, reason.message()))
            };
            panic!(
                "seed {seed}: {reason}\nreplay(Place::{:?}, {is_confined}, &[\n{}]);",
                sketch.place,
                program(&shorten(operations, fails))
            )
        }
        Err(TestError::Abort(reason)) => panic!("seed {seed}: no programs: {reason}"),
    }
    println!("model: seed {seed}: {ran:?} cases, {} steps", STEPS.get());
}

#[test]
fn random_programs_match_reference_table() {
    explore::<true>(setting("TABLECAST_MODEL_CASES", CASES));
}

#[test]
fn random_programs_match_reference_table_with_publisher_faults() {
    explore::<false>(setting("TABLECAST_MODEL_CASES", CASES) / 2);
}
