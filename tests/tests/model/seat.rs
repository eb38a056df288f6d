//! The process of the publisher: the test's own process, a child, or a child that is stepped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Error, Snapshot, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::model::operation::{After, Operation, Reply};
use tests::model::performer::Performer;
use tests::model::reference::Observed;
use tests::model::shape::Shape;
use tests::process::Process;
use tests::stepper::Stepper;
use tests::{SetOnDrop, role, skip};

use crate::generate::Place;

/// Maximum number of observations of the table during a long step.
const LOOKS: u64 = 30;
/// Minimum number of instructions between two observations of the table.
const BETWEEN_LOOKS: u64 = 40;
/// Number of snapshots that a racing reader takes before it attaches again.
const SNAPSHOTS: usize = 300;

/// Returns true if processes can be stepped here. Reports it once if they cannot.
pub fn can_step() -> bool {
    static CAN_STEP: OnceLock<bool> = OnceLock::new();
    *CAN_STEP.get_or_init(|| {
        let stepper = Stepper::start(&mut role!("model", "can-step", "traced"));
        stepper.map(Stepper::kill).map_err(|reason| skip(&reason)).is_ok()
    })
}

/// A publisher, or the process for one.
pub enum Seat {
    Here(Performer),
    Child(Process),
    Traced(Stepper),
}

impl Seat {
    /// Creates a seat for table `name`.
    pub fn new(place: Place, name: &str) -> Self {
        match place {
            Place::Here => Self::Here(Performer::new(name)),
            Place::Child => Self::Child(Process::start(&mut role!("model", name))),
            Place::Traced => {
                let stepper = Stepper::start(&mut role!("model", name, "traced"));
                Self::Traced(stepper.expect("a process that can be traced"))
            }
        }
    }

    /// Carries out a step.
    pub fn perform(&mut self, operation: &Operation) -> Reply {
        match self {
            Self::Here(performer) => performer.perform(operation, &|| ()),
            Self::Child(process) => {
                process.write_line(&json(operation));
                reply(process)
            }
            Self::Traced(stepper) => {
                stepper.process().write_line(&json(operation));
                // The process stops before the step, after it, and before it reads the next one.
                (0..3).for_each(|_| stepper.go_on());
                reply(stepper.process())
            }
        }
    }

    /// Starts a step and stops its process in the middle, where `look` is called. Without a reply,
    /// the process was killed there.
    pub fn interrupt(
        mut self,
        operation: &Operation,
        at: u64,
        after: After,
        mut look: impl FnMut(),
    ) -> Option<(Self, Reply)> {
        match &mut self {
            Self::Here(_) => unreachable!("only other processes are interrupted"),
            Self::Child(process) => {
                process.write_line(&json(operation));
                std::thread::sleep(Duration::from_micros(at));
                process.stop();
                look();
                if after == After::Kill {
                    process.kill();
                    return None;
                }
                process.signal(Signal::SIGCONT);
            }
            Self::Traced(stepper) => {
                stepper.process().write_line(&json(operation));
                stepper.go_on();
                let mut goes_on = true;
                for step in 1..=at {
                    goes_on = goes_on && stepper.step();
                    if goes_on && step % BETWEEN_LOOKS.max(at / LOOKS) == 0 {
                        look();
                    }
                }
                look();
                if after == After::Kill {
                    stepper.process().kill();
                    return None;
                }
                if goes_on {
                    stepper.go_on();
                }
                stepper.go_on();
            }
        }
        let reply = match &mut self {
            Self::Here(_) => unreachable!("only other processes are interrupted"),
            Self::Child(process) => reply(process),
            Self::Traced(stepper) => reply(stepper.process()),
        };
        Some((self, reply))
    }

    /// Kills the process; drops the publisher if it is in the test's own process.
    pub fn kill(self) {
        match self {
            Self::Here(mut performer) => drop(performer.perform(&Operation::Drop, &|| ())),
            Self::Child(mut process) => process.kill(),
            Self::Traced(stepper) => stepper.kill(),
        }
    }
}

fn json(operation: &Operation) -> String {
    serde_json::to_string(operation).expect("a step is JSON")
}

fn reply(process: &mut Process) -> Reply {
    let line = process.line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Runs `step` while `racers` other threads continuously attach and take snapshots. Returns what
/// each of them saw.
pub fn raced<T>(name: &str, racers: usize, step: impl FnOnce() -> T) -> (T, Vec<Vec<Observed>>) {
    let (racing, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let race = || {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                look(name, &racing, &is_over, &mut seen);
            }
            seen
        };
        let racers: Vec<_> = (0..racers).map(|_| scope.spawn(race)).collect();
        let end = SetOnDrop(&is_over);
        while racing.load(Ordering::Relaxed) < racers.len()
            && !racers.iter().any(|one| one.is_finished())
        {
            std::thread::yield_now();
        }
        let done = step();
        drop(end);
        let seen = racers.into_iter().map(|one| one.join());
        let seen = seen.map(|seen| seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (done, seen.collect())
    })
}

/// Attaches to the table and takes snapshots. Adds those that differ from the previous one to
/// `seen`.
fn look(name: &str, racing: &AtomicUsize, is_over: &AtomicBool, seen: &mut Vec<Observed>) {
    let table = UntypedSubscriber::open(name);
    racing.fetch_add(1, Ordering::Relaxed);
    let table = match table {
        Ok(table) => table,
        Err(Error::NotFound { .. }) => return,
        Err(error) => panic!("a racing reader cannot attach: {error}"),
    };
    let mut snapshot = Snapshot::default();
    for _ in 0..SNAPSHOTS {
        let version = table
            .snapshot(&mut snapshot)
            .unwrap_or_else(|error| panic!("a racing reader gets no snapshot: {error}"));
        let shape = Shape::of(snapshot.schema().expect("a filled snapshot"));
        let rows = snapshot.iter().map(|row| (shape.number(row.bytes()), row.bytes().to_vec()));
        let rows = rows.collect();
        let new = Observed { version, shape, rows };
        if seen.last() != Some(&new) {
            seen.push(new);
        }
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}
