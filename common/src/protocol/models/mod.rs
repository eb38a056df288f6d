//! Models of the protocol: the product's own functions, run by loom over every order that the memory model allows.
//!
//! Each model is run as it is, and must hold in every execution; then once for each of its mutants ([`MUTANTS`]), an ordering
//! or a second look left out, and must fail. Every test prints how many executions and distinct outcomes it saw: a model
//! that explores nothing would show there.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p common --lib --release models`

mod interval;
mod journal;
mod moves;
mod park;
mod rows;
mod takeover;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};
use std::sync::{Arc, Mutex};

use loom::thread;

use crate::protocol::WritableTable;
use crate::protocol::layout::{Geometry, Tag, header};
use crate::protocol::sync::{AtomicU64, Ordering, Point, with_mutant};
use crate::protocol::word::{ReadOnlyWord, read_only};

/// What whoever reads a row depends on.
const OF_A_ROW: &[Point] = &[
    Point::SeeCommit,
    Point::HideRows,
    Point::PublishCommit,
    Point::RecheckTag,
    Point::RecheckRow,
    Point::SpareCopy,
];
/// What whoever catches up does: taking a mark is another fence after the look at `commit`.
const OF_A_COPY: &[Point] = &[Point::RaiseTree, Point::PublishCommit, Point::SpareCopy];

/// What each model must notice the loss of.
const MUTANTS: &[(&str, &[Point])] = &[
    ("row", OF_A_ROW),
    ("glance", OF_A_ROW),
    ("all rows", OF_A_ROW.split_at(1).1),
    ("deletion among all rows", &[Point::RecheckAnswer]),
    ("growth", &[Point::SeeCommit]),
    ("answer", &[Point::RecheckAnswer]),
    ("deletion", &[Point::RecheckAnswer]),
    ("overtaken", &[Point::AfterCommit, Point::Overwritten]),
    ("catch-up", OF_A_COPY),
    ("moves", OF_A_COPY),
    (
        "takeover after 8 stores",
        &[
            Point::TakeoverFence,
            Point::TakeoverHide,
            Point::TakeoverNever,
        ],
    ),
    (
        "journal",
        &[
            Point::Note,
            Point::SeeMark,
            Point::RecheckMark,
            Point::RecheckJournal,
            Point::JournalReach,
        ],
    ),
    ("catch-up over a takeover", &[Point::TakeoverHide]),
    (
        "park",
        &[
            Point::Park,
            Point::AfterCommit,
            Point::ParkLook,
            Point::ParkedMax,
            Point::Claimed,
        ],
    ),
    (
        "sleep on the commit",
        &[
            Point::Park,
            Point::AfterCommit,
            Point::SleeperFlag,
            Point::SleeperParity,
        ],
    ),
    ("record", &[Point::ParkWord, Point::ReadRecord]),
    (
        "interval",
        &[
            Point::HideInterval,
            Point::PublishInterval,
            Point::SeeInterval,
            Point::RecheckInterval,
            Point::RecheckSequence,
        ],
    ),
    (
        "signed record",
        &[
            Point::SignRecord,
            Point::SeeNonce,
            Point::SayReady,
            Point::SeeReady,
        ],
    ),
    (
        "acknowledgement",
        &[Point::Acknowledge, Point::SeeAcknowledgement],
    ),
    ("park and takeover", &[Point::Park, Point::ParkLook]),
    (
        "park after a takeover",
        &[Point::Park, Point::ParkLook, Point::ParkedMax],
    ),
];

#[test]
fn each_point_of_the_protocol_is_a_mutant_of_some_model() {
    let missed: Vec<&Point> = Point::ALL
        .iter()
        .filter(|point| !MUTANTS.iter().any(|(_, points)| points.contains(point)))
        .collect();
    assert!(
        missed.is_empty(),
        "no model would notice the loss of {missed:?}"
    );
}

/// What the executions of one model came to.
struct Outcomes<T>(Mutex<BTreeSet<T>>);

impl<T: Ord + Debug> Outcomes<T> {
    fn saw(&self, outcome: T) {
        self.0.lock().unwrap().insert(outcome);
    }
}

/// Runs `model` as it is, which must hold and come to at least `least` outcomes, and with each of its mutants, which must fail.
fn check<T: Ord + Debug + Send + 'static>(
    name: &str,
    least: usize,
    model: impl Fn(&Outcomes<T>) + Send + Sync + 'static,
) {
    let known = MUTANTS.iter().find(|(model, _)| *model == name);
    let mutants = known.map_or(&[] as &[Point], |(_, points)| points);
    let model = Arc::new(model);
    let run = |mutant| {
        let executions = Arc::new(AtomicUsize::new(0));
        let outcomes = Arc::new(Outcomes(Mutex::new(BTreeSet::new())));
        let (counted, collected, model) = (
            Arc::clone(&executions),
            Arc::clone(&outcomes),
            Arc::clone(&model),
        );
        let held = with_mutant(mutant, || {
            catch_unwind(AssertUnwindSafe(|| {
                loom::model::Builder::new().check(move || {
                    counted.fetch_add(1, StdOrdering::Relaxed);
                    model(&collected);
                });
            }))
        });
        (held, executions.load(StdOrdering::Relaxed), outcomes)
    };
    let (held, executions, outcomes) = run(None);
    let outcomes = outcomes.0.lock().unwrap();
    assert!(held.is_ok(), "model {name} does not hold");
    assert!(
        outcomes.len() >= least,
        "model {name} saw only {outcomes:?}"
    );
    let survivors: Vec<Point> = mutants
        .iter()
        .copied()
        .filter(|mutant| run(Some(*mutant)).0.is_ok())
        .collect();
    println!(
        "model {name}: {executions} executions, {} outcomes, mutants caught {} of {}",
        outcomes.len(),
        mutants.len() - survivors.len(),
        mutants.len()
    );
    assert!(
        survivors.is_empty(),
        "model {name} does not notice the loss of {survivors:?}"
    );
}

/// A table of a few rows of one word, in a vector.
struct Memory {
    words: Vec<AtomicU64>,
    geometry: Geometry,
    rows: usize,
}

impl Memory {
    /// Rows whose copies hold what versions 1 and 2 wrote into them, which is their own number.
    fn at_version_two(rows: usize) -> Arc<Self> {
        let geometry = Geometry::new(1, rows, 0, 0).unwrap();
        let words = (0..geometry.words_for(rows))
            .map(|_| AtomicU64::new(0))
            .collect();
        let memory = Self {
            words,
            geometry,
            rows,
        };
        for slot in 0..rows {
            for (copy, version) in memory.table().copies(slot).iter().zip([1, 2]) {
                copy.tag.store(Tag::live(version).0, Ordering::Relaxed);
                copy.words[0].store(version, Ordering::Relaxed);
            }
        }
        for level in &memory.geometry.levels[..memory.geometry.depth] {
            memory.words[*level].store(2, Ordering::Relaxed);
        }
        for entry in 0..rows {
            memory.words[memory.geometry.levels[0] + entry].store(2, Ordering::Relaxed);
        }
        memory.words[header::COMMIT].store(2, Ordering::Relaxed);
        Arc::new(memory)
    }

    fn table(&self) -> WritableTable<'_> {
        WritableTable::new(&self.words, &self.geometry, self.rows).unwrap()
    }

    fn words(&self) -> &[ReadOnlyWord] {
        read_only(&self.words)
    }

    fn committed(&self) -> u64 {
        self.words[header::COMMIT].load(Ordering::Relaxed)
    }
}

/// Does it to its end on a thread of its own: a process's fences are not its successor's.
fn in_a_process(memory: &Arc<Memory>, act: impl FnOnce(&Memory) + 'static) {
    let memory = Arc::clone(memory);
    thread::spawn(move || act(&memory)).join().unwrap();
}
