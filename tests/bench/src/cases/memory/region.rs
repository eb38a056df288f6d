//! The memory of a region, per row and for unused capacity.

use common::{Publisher, TableInfo, inspect};

use super::super::{Case, bar, unique};
use crate::measure::{Figure, Unit};
use crate::wide::{Wide, Wide16, Wide64, Wide256};

const ROWS: usize = 100_000;
const LARGE: usize = 100_000_000;
/// Maximum memory of a row in addition to its two copies.
const BESIDE: usize = 32;

/// Bytes a row.
pub const REGION: Case = Case {
    name: "memory-region",
    about: "what a table of 100,000 rows takes in shared memory, header and schema included, for each row, and its key index, a separate object; and a table for 100,000,000 rows of 64 bytes that holds one: 8 bytes for 64 rows in the change tree and at most 256 KiB for the journal are all that unused capacity costs, and they are taken when the table is made",
    run,
    bars: &[
        bar("a row of 16 bytes", "2 × 16 + 32", 1.0),
        bar("a row of 64 bytes", "2 × 64 + 32", 1.0),
        bar("a row of 256 bytes", "2 × 256 + 32", 1.0),
        bar("the key index, a row", "12 bytes", 1.0),
    ],
};

fn run() -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(row::<Wide16>());
    figures.extend(row::<Wide64>());
    figures.extend(row::<Wide256>());
    figures.push(bytes("the key index, a row", indexed::<Wide64>() / ROWS as f64));
    figures.push(bytes("12 bytes", 12.0));
    let one = allocated::<Wide64>(1, 1);
    let large = allocated::<Wide64>(LARGE, 1);
    figures.push(bytes("capacity for 1 row, 1 row", one));
    figures.push(bytes("capacity for 100,000,000 rows, 1 row", large));
    figures.push(bytes("each row of unused capacity", (large - one) / (LARGE - 1) as f64));
    figures
}

fn bytes(subject: impl Into<String>, value: f64) -> Figure {
    Figure::one(subject, Unit::Bytes, value)
}

fn row<R: Wide>() -> [Figure; 2] {
    let size = size_of::<R>();
    let allowed = (2 * size + BESIDE) as f64;
    let taken = allocated::<R>(ROWS, ROWS) / ROWS as f64;
    [
        bytes(format!("a row of {size} bytes"), taken),
        bytes(format!("2 × {size} + {BESIDE}"), allowed),
    ]
}

/// Memory of a region for `capacity` rows that holds `rows`.
fn allocated<R: Wide>(capacity: usize, rows: usize) -> f64 {
    table::<R>(capacity, rows).allocated_bytes as f64
}

/// Memory of the key index of a table of [`ROWS`] rows.
fn indexed<R: Wide>() -> f64 {
    table::<R>(ROWS, ROWS).index_bytes.expect("an index") as f64
}

/// Describes a table for `capacity` rows that holds `rows`.
fn table<R: Wide>(capacity: usize, rows: usize) -> TableInfo {
    let name = unique("region");
    let builder = Publisher::<R>::builder(&name).capacity(capacity);
    let mut publisher = builder.open().expect("room");
    let mut tx = publisher.begin();
    for key in 0..rows {
        tx.insert(&R::new(key as u32, 1)).expect("room");
    }
    tx.commit().expect("room");
    let info = inspect(&name, None).expect("a live table");
    publisher.close().expect("a live table");
    info
}
