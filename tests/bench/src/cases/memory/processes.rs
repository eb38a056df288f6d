//! The memory of all processes that share a table: each page once, however many map it, and of
//! these what is one process's alone.

use super::super::{Case, unique};
use super::holders::Way;
use crate::measure::{Figure, Unit};
use crate::other::Other;

/// Rows of the table.
const ROWS: usize = 100_000;
/// Numbers of readers.
const READERS: [usize; 3] = [1, 10, 100];

/// All processes together.
pub const PROCESSES: Case = Case {
    name: "memory-processes",
    about: "memory of the process that writes 100,000 rows of 64 bytes (6.4 MB) and of 1, 10 and 100 that have read all of them; shared pages counted once, what is not private is shared (by Pss and Private_* of smaps_rollup); each process begins with what it takes with nothing opened. A Tablecast `Reader` and the readers of LMDB, mmap-sync and iceoryx2 keep no copy. iceoryx2 holds 1,000 rows here: it finds a key by looking through all of them, so that the time until a process holds an entry for each grows with their square",
    run,
    bars: &[],
};

fn run() -> Vec<Figure> {
    Way::ALL.into_iter().flat_map(of).collect()
}

fn of(way: Way) -> Vec<Figure> {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().display().to_string();
    let arguments = [way.name().to_owned(), unique("memory"), path, ROWS.to_string()];
    let writer = Other::start("memory-host", &arguments);
    let mut readers: Vec<Other> = Vec::new();
    let mut figures = Vec::new();
    for count in READERS {
        readers.extend((readers.len()..count).map(|_| Other::start("memory-reader", &arguments)));
        let processes = readers.iter().chain([&writer]);
        let taken = processes.map(|process| Memory::of(process.id()));
        let taken = taken.fold(Memory::default(), Memory::and);
        let all = format!("{}, {count} readers: in all", way.name());
        figures.push(Figure::one(all, Unit::Bytes, taken.proportional));
        let private = format!("{}, {count} readers: private", way.name());
        figures.push(Figure::one(private, Unit::Bytes, taken.private));
    }
    drop(readers);
    drop(writer);
    figures
}

/// Memory of a process, or of several.
#[derive(Default)]
struct Memory {
    /// Each page by its share: a page of two processes counts half for each.
    proportional: f64,
    /// Pages that nobody else maps.
    private: f64,
}

impl Memory {
    fn of(process: u32) -> Self {
        let path = format!("/proc/{process}/smaps_rollup");
        let text = std::fs::read_to_string(path).expect("its own process");
        Self { proportional: bytes(&text, "Pss:"), private: private(&text) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            proportional: self.proportional + other.proportional,
            private: self.private + other.private,
        }
    }
}

/// Returns the pages that nobody else maps, of a text of smaps_rollup.
pub(super) fn private(text: &str) -> f64 {
    bytes(text, "Private_Clean:") + bytes(text, "Private_Dirty:")
}

/// Returns what the kernel gives in kB under a name.
pub(super) fn bytes(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let numbers = lines.map(|rest| rest.trim_end_matches("kB").trim().parse::<f64>());
    numbers.map(|number| number.expect("a number of the kernel")).sum::<f64>() * 1024.0
}
