//! The memory of many processes that read a large table in place.

use super::super::{Case, bar, unique};
use super::holders::Way;
use super::processes::{bytes, private};
use crate::measure::{Figure, Unit};
use crate::other::Other;

const ROWS: usize = 1_000_000;
const COUNT: usize = 100;
const ALLOWED: &str = "100 × 1 MB";

/// Memory of readers beyond the region.
pub const READERS: Case = Case {
    name: "memory-readers",
    about: "private memory and page tables of 100 processes that have read each of 1,000,000 rows in place by its key, in all (by Private_* of smaps_rollup and VmPTE), what such a process takes with nothing opened included",
    run,
    bars: &[bar("Tablecast, Reader", ALLOWED, 1.0)],
};

fn run() -> Vec<Figure> {
    let ways = [Way::TablecastReader, Way::Lmdb, Way::Nothing];
    let mut figures: Vec<Figure> = ways.into_iter().map(of).collect();
    figures.push(Figure::one(ALLOWED, Unit::Bytes, COUNT as f64 * 1e6));
    figures
}

fn of(way: Way) -> Figure {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().display().to_string();
    let arguments = [way.name().to_owned(), unique("readers"), path, ROWS.to_string()];
    let _writer = Other::start("memory-host", &arguments);
    let readers: Vec<Other> =
        (0..COUNT).map(|_| Other::start("memory-reader", &arguments)).collect();
    let file = |process: u32, name| {
        std::fs::read_to_string(format!("/proc/{process}/{name}")).expect("its own process")
    };
    let taken = readers.iter().map(|reader| {
        private(&file(reader.id(), "smaps_rollup")) + bytes(&file(reader.id(), "status"), "VmPTE:")
    });
    Figure::one(way.name(), Unit::Bytes, taken.sum())
}
