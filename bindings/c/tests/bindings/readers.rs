//! Programs in C that read tables of these tests.

use std::process::Command;

use bytemuck::{Pod, Zeroable};
use common::{Publisher, Row, Text};
use tests::process::Process;
use tests::published::Published;
use tests::table::Table;

use crate::installed::{Check, Installed};

/// A row of `programs/check.h`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Price {
    #[row(key)]
    instrument: u64,
    name: Text<12>,
    lots: u32,
    bid: f64,
}

impl Price {
    pub fn new(instrument: u64, bid: f64) -> Self {
        let name = Text::new(&format!("number {instrument}")).unwrap();
        Self { instrument, name, lots: 1, bid }
    }
}

/// Other fields for the same table.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
struct Other {
    #[row(key)]
    id: u64,
}

pub fn commit(publisher: &mut Publisher<Price>, rows: &[Price]) {
    let mut tx = publisher.begin();
    rows.iter().for_each(|row| tx.upsert(row).unwrap());
    tx.commit().unwrap();
}

/// Publishes instruments 0 to 9, and calls `test` with the command that runs a program on the table,
/// for each way to run it.
pub fn with_prices(source: &str, test: impl Fn(Command, Publisher<Price>)) {
    let Some(installed) = Installed::new() else { return };
    for check in Check::ALL {
        let table = Table::new("c-prices");
        let mut publisher = Publisher::<Price>::builder(table.name()).open().unwrap();
        let rows: Vec<Price> = (0..10).map(|id| Price::new(id, id as f64)).collect();
        commit(&mut publisher, &rows);
        if let Some(mut program) = installed.program(source, check) {
            program.arg(table.name());
            test(program, publisher);
        }
    }
}

#[test]
fn reader_reads_rows_and_waits() {
    with_prices("tests/bindings/programs/reader.c", |mut command, mut publisher| {
        let mut program = Process::start(&mut command);
        for bid in [9.5, 10.5] {
            assert_eq!(program.line(), "ready");
            commit(&mut publisher, &[Price::new(10, bid)]);
        }
        assert_eq!(program.line(), "ready");
        let name = publisher.name().to_owned();
        publisher.close().unwrap();
        assert_eq!(program.line(), "ready");
        let _other = Publisher::<Other>::builder(&name).open().unwrap();
        assert_eq!(program.line(), "done");
        program.ends_with(0);
    });
}

#[test]
fn subscriber_reports_changes() {
    with_prices("tests/bindings/programs/subscriber.c", |mut command, mut publisher| {
        let name = publisher.name().to_owned();
        let mut program = Process::start(&mut command);
        assert_eq!(program.line(), "ready");
        commit(&mut publisher, &[Price::new(3, 3.5)]);
        assert_eq!(program.line(), "ready");
        let mut tx = publisher.begin();
        tx.delete(&3).unwrap();
        tx.commit().unwrap();
        assert_eq!(program.line(), "ready");
        commit(&mut publisher, &[Price::new(10, 10.0)]);
        assert_eq!(program.line(), "ready");
        publisher.close().unwrap();
        assert_eq!(program.line(), "ready");
        let other = Publisher::<Other>::builder(&name).open().unwrap();
        assert_eq!(program.line(), "done");
        program.ends_with(0);
        drop(other);
    });
}

#[test]
fn misuse_is_an_error() {
    with_prices("tests/bindings/programs/misuse.c", |mut command, _publisher| {
        Process::run(&mut command, 0);
    });
}

#[test]
fn wrapper_closes_handles_and_throws() {
    with_prices("tests/bindings/programs/wrapper.cpp", |mut command, publisher| {
        let mut program = Process::start(&mut command);
        assert_eq!(program.line(), "ready");
        publisher.close().unwrap();
        program.ends_with(0);
    });
}

#[test]
fn rows_of_all_kinds_are_structs() {
    let Some(installed) = Installed::new() else { return };
    for check in Check::ALL {
        let published = Published::new("c-kinds");
        if let Some(mut program) = installed.program("tests/bindings/programs/kinds.c", check) {
            Process::run(program.arg(published.table.name()), 0);
        }
    }
}
