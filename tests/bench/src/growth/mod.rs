//! How cost grows: each axis alone, the others at their defaults (100,000 rows of 64 bytes, ten
//! changes a commit, one subscriber).
//!
//! Each point is measured once, in a separate process, with the publisher on the other core.

mod host;
mod points;

use crate::cases::{with_awake, with_parked};
use crate::measure::Figure;
use crate::wide::{Wide, Wide8, Wide16, Wide32, Wide64, Wide128, Wide256, Wide512, Wide1024};
pub use host::host;

/// One thing that grows.
pub struct Axis {
    /// Name on the command line.
    pub name: &'static str,
    /// Description for the report.
    pub about: &'static str,
    /// From the least to the greatest.
    pub points: &'static [usize],
    /// Measures at a point.
    pub run: fn(usize) -> Vec<Figure>,
}

/// All of them, in the report's order.
pub const AXES: &[Axis] = &[
    Axis {
        name: "growth-rows",
        about: "rows of the table",
        points: &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        run: |rows| points::reading(&Shape { rows, ..Shape::DEFAULT }),
    },
    Axis {
        name: "growth-width",
        about: "bytes of a row",
        points: &[8, 16, 32, 64, 128, 256, 512, 1024],
        run: |width| points::reading(&Shape { width, ..Shape::DEFAULT }),
    },
    Axis {
        name: "growth-changes",
        about: "rows changed by a commit",
        points: &[1, 10, 100, 1_000, 10_000, 100_000],
        run: |changes| points::changing(&Shape { changes, ..Shape::DEFAULT }),
    },
    Axis {
        name: "growth-subscribers",
        about: "subscribers, of a table of 1,000 rows, for each keeps a copy",
        points: &[1, 10, 100, 1_000],
        run: subscribers,
    },
];

/// Beyond that, sleepers in threads of one process measure the scheduler.
const MOST_PARKED: usize = 100;

fn subscribers(count: usize) -> Vec<Figure> {
    let mut figures = with_awake(count, "commit, all awake");
    figures.truncate(1);
    if count <= MOST_PARKED {
        let [commit, _, sends] = with_parked(count);
        let named =
            |subject: &str, figure: Figure| Figure { subject: subject.to_owned(), ..figure };
        figures.push(named("commit, all parked", commit));
        figures.push(named("bare sends to as many that work", sends));
    }
    figures
}

/// A table, and what a commit changes of it.
pub struct Shape {
    width: usize,
    rows: usize,
    changes: usize,
}

impl Shape {
    const DEFAULT: Self = Self { width: 64, rows: 100_000, changes: 10 };

    fn arguments(&self) -> [String; 3] {
        [self.width, self.rows, self.changes].map(|number| number.to_string())
    }

    fn of(arguments: &[String]) -> Self {
        let numbers = arguments.iter().map(|text| text.parse().expect("a number"));
        let numbers: Vec<usize> = numbers.collect();
        let [width, rows, changes] = numbers[..] else { panic!("width, rows, changes") };
        Self { width, rows, changes }
    }

    /// Does something with the type of such a row.
    fn with<D: Do>(&self, task: D) -> D::Answer {
        match self.width {
            8 => task.with::<Wide8>(),
            16 => task.with::<Wide16>(),
            32 => task.with::<Wide32>(),
            64 => task.with::<Wide64>(),
            128 => task.with::<Wide128>(),
            256 => task.with::<Wide256>(),
            512 => task.with::<Wide512>(),
            1024 => task.with::<Wide1024>(),
            width => panic!("no row of {width} bytes"),
        }
    }
}

/// Something that is done with rows of any type.
trait Do {
    type Answer;
    fn with<R: Wide>(self) -> Self::Answer;
}
