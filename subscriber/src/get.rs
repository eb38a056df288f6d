//! `get`: prints the table, or some of its rows, once.

use std::time::Duration;

use clap::value_parser;
use common::PublisherState;

use crate::args::TableArgs;
use crate::attach::{self, Waking, attach, attach_when_published};
use crate::format::Format;
use crate::output::Output;
use crate::select::Request;
use cli::{CliError, Shutdown, duration, status};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub table: TableArgs,

    /// Print at most N rows, the first ones
    #[arg(short = 'n', long, value_name = "N", value_parser = value_parser!(u64))]
    pub limit: Option<u64>,

    /// Wait up to this time for the table: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let target = &args.table;
    let request = Request::new(&target.selection, &target.keys)?;
    let builder = attach::builder(&target.name, target.selection.owner, &Waking::default());
    let table = match args.timeout {
        None => attach(&builder)?,
        Some(_) => match attach_when_published(&builder, args.timeout, stop)? {
            Some(table) => table,
            None => return Err(CliError::new(1, "interrupted while waiting for the table")),
        },
    };
    let view = request.view(table.schema())?;
    match table.publisher_state() {
        PublisherState::Alive { .. } => {}
        PublisherState::Gone { .. } => warn(&target.name, "is gone"),
        PublisherState::Closed { .. } => warn(&target.name, "has ended"),
    }
    let is_read_by_people = target.format == Format::Table && output.is_terminal();
    let mut printer = target.format.printer(output);
    let mut rows = view.rows(&table);
    let most = args.limit.and_then(|limit| usize::try_from(limit).ok());
    rows.truncate(most.unwrap_or(usize::MAX));
    let printed = printer.rows(view.projection(), &rows).and_then(|()| printer.flush());
    if printed.is_err() && stop.requested() {
        return Err(CliError::new(1, "interrupted: the output is cut short"));
    }
    printed?;
    if rows.is_empty() && is_read_by_people {
        status(match request.has_conditions() {
            true => "no rows for which --where holds",
            false => "no rows",
        });
    }
    let (missing, unmatched) = (view.missing(&table), view.unmatched(&table));
    let name = &target.name;
    let message = match (missing.is_empty(), unmatched.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => format!("table {name:?} has no {}", keys(&missing)),
        (true, false) => {
            format!("--where does not hold in table {name:?} for {}", keys(&unmatched))
        }
    };
    Err(CliError::new(1, message))
}

fn keys(keys: &[String]) -> String {
    let plural = if keys.len() == 1 { "" } else { "s" };
    format!("key{plural} {}", keys.join(" "))
}

fn warn(name: &str, what: &str) {
    status(format_args!("warning: the publisher of table {name:?} {what}, this is what it left"));
}
