//! `get`: the table, or some of its rows, once.

use common::PublisherState;

use crate::args::Get;
use crate::attach::{attach, attach_when_published};
use crate::output::Output;
use crate::select::Selection;
use crate::shell::{Failure, Stop, tell};

/// Prints the rows.
///
/// # Errors
/// No table, or a KEY that it has not; wrong KEYs.
pub fn run(args: &Get, stop: &Stop, output: Output) -> Result<(), Failure> {
    let asked = &args.table;
    let table = match args.timeout {
        None => attach(&asked.name, asked.owner)?,
        Some(_) => match attach_when_published(&asked.name, asked.owner, args.timeout, stop)? {
            Some(table) => table,
            None => return Ok(()),
        },
    };
    let selection = Selection::parse(&asked.keys, table.schema())?;
    match table.publisher_state() {
        PublisherState::Alive { .. } => {}
        PublisherState::Gone { .. } => warn(&asked.name, "is gone"),
        PublisherState::Closed { .. } => warn(&asked.name, "has ended"),
    }
    let mut printer = asked.format.printer(output);
    let printed = printer
        .rows(table.schema(), &selection.rows(&table))
        .and_then(|()| printer.flush());
    if printed.is_err() && stop.requested() {
        return Err(Failure::new(1, "interrupted: the output is cut short"));
    }
    printed?;
    match selection.missing(&table).as_slice() {
        [] => Ok(()),
        [key] => Err(Failure::new(
            1,
            format!("table {:?} has no key {key}", asked.name),
        )),
        keys => Err(Failure::new(
            1,
            format!("table {:?} has no keys {}", asked.name, keys.join(" ")),
        )),
    }
}

fn warn(name: &str, what: &str) {
    tell(format_args!(
        "warning: the publisher of table {name:?} {what}, this is what it left"
    ));
}
