//! Models of the protocol: loom runs the library's own functions in every order that the memory
//! model allows.
//!
//! Each model must hold in every execution. It then runs once for each of its mutants
//! ([`MUTANTS`]), in which an ordering or a second load is left out, and must fail. Every test
//! prints the number of executions and of distinct outcomes, which would show a model that explores
//! nothing.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p common --lib --release models`

mod hazard;
mod interval;
mod journal;
mod key_index;
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
use crate::protocol::words::{ReadOnlyWord, read_only};

/// Points on which a read of one row depends.
const ROW_POINTS: &[Point] = &[
    Point::SeeCommit,
    Point::HideRows,
    Point::PublishCommit,
    Point::RecheckTag,
    Point::RecheckRow,
    Point::SpareCopy,
];
/// Points on which a catch-up depends. It has another fence after loading `commit`, in
/// `Table::cursor`.
const COPY_POINTS: &[Point] = &[Point::RaiseTree, Point::PublishCommit, Point::SpareCopy];

/// The mutants of each model, which must make it fail.
const MUTANTS: &[(&str, &[Point])] = &[
    ("row", ROW_POINTS),
    ("fast read", ROW_POINTS),
    ("all rows", ROW_POINTS.split_at(1).1),
    ("deletion among all rows", &[Point::RecheckAnswer]),
    ("growth", &[Point::SeeCommit]),
    ("answer", &[Point::RecheckAnswer]),
    ("deletion", &[Point::RecheckAnswer]),
    ("overwritten", &[Point::AfterCommit, Point::Overwritten]),
    ("catch-up", COPY_POINTS),
    ("moves", COPY_POINTS),
    ("takeover after 8 stores", &[Point::TakeoverFence, Point::TakeoverHide, Point::TakeoverNever]),
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
    ("key moved", &[Point::RaiseRemoved, Point::RecheckRemoved]),
    ("tombstone reused", &[Point::HideEntries, Point::SeeRemoved]),
    ("key in a new generation", &[Point::PublishGeneration, Point::SeeGeneration]),
    ("generation after a deletion", &[Point::RaiseRemoved]),
    ("catch-up over a takeover", &[Point::TakeoverHide]),
    ("park", &[Point::Park, Point::AfterCommit, Point::ParkLook, Point::ParkedMax, Point::Claimed]),
    (
        "sleep on the commit",
        &[Point::Park, Point::AfterCommit, Point::SleeperFlag, Point::SleeperParity],
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
        "hazard",
        &[
            Point::Protect,
            Point::RecheckValue,
            Point::FindHazards,
            Point::ClearHazard,
            Point::SeeClearedHazard,
        ],
    ),
    ("published value", &[Point::PublishValue]),
    ("signed record", &[Point::WriteRecord, Point::SeeNonce, Point::MarkReady, Point::SeeReady]),
    ("acknowledgement", &[Point::Acknowledge, Point::SeeAcknowledgement]),
    ("park and takeover", &[Point::Park, Point::ParkLook]),
    ("park after a takeover", &[Point::Park, Point::ParkLook, Point::ParkedMax]),
];

#[test]
fn each_point_is_a_mutant_of_some_model() {
    let missed: Vec<&Point> = Point::ALL
        .iter()
        .filter(|point| !MUTANTS.iter().any(|(_, points)| points.contains(point)))
        .collect();
    assert!(missed.is_empty(), "not a mutant of any model: {missed:?}");
}

/// Distinct outcomes of the executions of one model.
struct Outcomes<T>(Mutex<BTreeSet<T>>);

impl<T: Ord + Debug> Outcomes<T> {
    fn saw(&self, outcome: T) {
        self.0.lock().unwrap().insert(outcome);
    }
}

/// Runs `model`, which must hold and have at least `least` outcomes, and runs it with each of its
/// mutants, which must fail.
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
        let (counted, collected, model) =
            (Arc::clone(&executions), Arc::clone(&outcomes), Arc::clone(&model));
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
    assert!(outcomes.len() >= least, "model {name} saw only {outcomes:?}");
    let survivors: Vec<Point> =
        mutants.iter().copied().filter(|mutant| run(Some(*mutant)).0.is_ok()).collect();
    println!(
        "model {name}: {executions} executions, {} outcomes, mutants caught {} of {}",
        outcomes.len(),
        mutants.len() - survivors.len(),
        mutants.len()
    );
    assert!(survivors.is_empty(), "model {name} holds without {survivors:?}");
}

/// A table of a few rows of one word, in a vector.
struct Memory {
    words: Vec<AtomicU64>,
    geometry: Geometry,
    rows: usize,
}

impl Memory {
    /// Returns rows whose copies were written by versions 1 and 2. Each version writes its number.
    fn at_version_two(rows: usize) -> Arc<Self> {
        let geometry = Geometry::new(1, rows, 0, 0).unwrap();
        let words = (0..geometry.words_for(rows)).map(|_| AtomicU64::new(0)).collect();
        let memory = Self { words, geometry, rows };
        for slot in 0..rows {
            memory.write_copies(slot, [1, 2]);
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

    /// Writes both copies of `slot` at versions 1 and 2.
    fn write_copies(&self, slot: usize, values: [u64; 2]) {
        for (which, value) in values.into_iter().enumerate() {
            let tag = Tag::live(which as u64 + 1);
            self.table().set_copy(slot, which, tag, &[value]);
        }
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

/// Runs `act` to its end on a separate thread, because the fences of a process do not order the
/// accesses of its successor.
fn in_a_process<M: 'static>(memory: &Arc<M>, act: impl FnOnce(&M) + 'static) {
    let memory = Arc::clone(memory);
    thread::spawn(move || act(&memory)).join().unwrap();
}
