//! Compares operations that the peers have, too: Tablecast, its peers, and the bare machine.

use std::fmt::Write;

use super::Measured;
use crate::cases::GET_MANY;
use crate::measure::{Figure, Unit};

/// Who is compared, in the order of the columns.
pub const WHO: [&str; 5] = ["Tablecast", "iceoryx2", "mmap-sync", "LMDB", "the machine"];

/// One thing that can be done in several ways.
pub struct Group {
    /// Name of the operation.
    pub what: &'static str,
    case: &'static str,
    pick: fn(&Figure) -> f64,
    /// The subject of the figure of each of [`WHO`], and a remark.
    ways: [Option<Way>; 5],
}

/// A figure's subject, and a word about it.
type Way = (&'static str, &'static str);

const MEDIAN: fn(&Figure) -> f64 = |figure| figure.median;
const P99: fn(&Figure) -> f64 = |figure| figure.p99;

const ASLEEP: [Option<Way>; 5] = [
    Some(("commit to applied", "")),
    Some(("iceoryx2 event and blackboard", "event and blackboard")),
    None,
    None,
    Some(("bare queue and a shared row", "bare queue")),
];

/// All that is compared.
pub const GROUPS: &[Group] = &[
    Group {
        what: "read one row from shared memory, hot",
        case: "read-hot",
        pick: MEDIAN,
        ways: [
            Some(("latest", "`latest`")),
            Some(("iceoryx2 held handle", "held handle")),
            Some(("mmap-sync unchecked", "unchecked")),
            Some(("LMDB get", "")),
            None,
        ],
    },
    Group {
        what: "the same by a handle",
        case: "read-hot",
        pick: MEDIAN,
        ways: [
            Some(("Entry::read", "`Entry::read`")),
            Some(("iceoryx2 held handle", "held handle")),
            None,
            None,
            None,
        ],
    },
    Group {
        what: "look a row up by a random key of 1,000,000",
        case: "read-random",
        pick: MEDIAN,
        ways: [
            Some(("get", "`get`")),
            None,
            None,
            Some(("LMDB get", "")),
            Some(("a random load of 64 bytes", "random load")),
        ],
    },
    Group {
        what: "the same from shared memory",
        case: "read-random",
        pick: MEDIAN,
        ways: [
            Some(("Reader::get", "`Reader::get`")),
            None,
            None,
            Some(("LMDB get", "")),
            Some(("a random load of 64 bytes", "random load")),
        ],
    },
    Group {
        what: "the same, one of 1,000 keys at once",
        case: "read-random",
        pick: MEDIAN,
        ways: [
            Some((GET_MANY, "`Reader::get_many`")),
            None,
            None,
            Some(("LMDB get", "")),
            Some(("a random load of 64 bytes", "random load")),
        ],
    },
    Group {
        what: "open 1,000,000 rows in place and read one",
        case: "open",
        pick: MEDIAN,
        ways: [
            Some(("Reader::open and get, 1,000,000 rows", "")),
            Some(("iceoryx2 open and get, 1,000 rows", "1,000 rows")),
            None,
            Some(("LMDB open and get, 1,000,000 rows", "")),
            None,
        ],
    },
    Group {
        what: "commit 10 rows of 100,000",
        case: "commit",
        pick: MEDIAN,
        ways: [
            Some(("commit", "")),
            Some(("iceoryx2, ten held handles, not atomic", "10 handles, not atomic")),
            Some(("mmap-sync write of the whole table", "all rows")),
            Some(("LMDB commit", "no sync")),
            Some(("the same words without any protocol", "same words")),
        ],
    },
    Group {
        what: "wake a sleeper, commit to row, median",
        case: "wake",
        pick: MEDIAN,
        ways: ASLEEP,
    },
    Group { what: "the same, p99", case: "wake", pick: P99, ways: ASLEEP },
    Group {
        what: "commit 10 rows to a spinning reader",
        case: "spin",
        pick: MEDIAN,
        ways: [
            Some(("commit to applied", "")),
            None,
            None,
            None,
            Some(("bare exchange of the same lines", "same lines")),
        ],
    },
    Group {
        what: "catch up with 10 changed rows of 1,000,000",
        case: "catch-up",
        pick: MEDIAN,
        ways: [
            Some(("refresh", "`refresh`")),
            None,
            None,
            None,
            Some(("copying just these ten", "those ten")),
        ],
    },
    Group {
        what: "attach to 100,000 rows",
        case: "attach",
        pick: MEDIAN,
        ways: [
            Some(("open and get", "copy and index")),
            None,
            None,
            Some(("LMDB copying them out", "copying out")),
            Some(("memcpy of the same bytes", "memcpy")),
        ],
    },
    Group {
        what: "copy 100,000 rows at one version",
        case: "snapshot",
        pick: MEDIAN,
        ways: [
            Some(("snapshot", "`snapshot`")),
            None,
            None,
            Some(("LMDB copying them out", "")),
            Some(("memcpy of the same bytes", "memcpy")),
        ],
    },
    Group {
        what: "the same while 10 rows a commit change",
        case: "snapshot",
        pick: MEDIAN,
        ways: [Some(("snapshot under commits", "`snapshot`")), None, None, None, None],
    },
];

impl Group {
    /// The figure of each, with its word; None if its case was not measured.
    ///
    /// # Panics
    /// If the case has no such figure.
    pub fn figures(&self, measured: &Measured) -> Option<[Option<(f64, &'static str)>; 5]> {
        measured.runs(self.case)?;
        let found = self.ways.map(|way| {
            let (subject, word) = way?;
            let figure = measured.median(self.case, subject, self.pick);
            let figure = figure.unwrap_or_else(|| panic!("{} has no {subject:?}", self.case));
            Some((figure, word))
        });
        Some(found)
    }
}

/// A row for each thing that was measured.
pub fn table(measured: &Measured) -> String {
    let mut text = format!("| | {} |\n|---|{}\n", WHO.join(" | "), "--:|".repeat(5));
    for group in GROUPS {
        let Some(figures) = group.figures(measured) else {
            continue;
        };
        let cells = figures.map(|figure| match figure {
            Some((figure, "")) => Unit::Nanoseconds.show(figure),
            Some((figure, word)) => format!("{} ({word})", Unit::Nanoseconds.show(figure)),
            None => String::new(),
        });
        let row = cells.join(" | ");
        writeln!(text, "| {} | {row} |", group.what).expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    #[test]
    fn each_group_is_of_a_case_that_there_is() {
        for group in GROUPS {
            assert!(CASES.iter().any(|case| case.name == group.case), "{}", group.what);
        }
    }
}
