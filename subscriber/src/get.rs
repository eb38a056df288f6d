//! `get`: prints the table, or some of its rows, once.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use common::{PublisherState, RowRef, UntypedReader};

use crate::attach::{self, TableArgs, Waking, attach, attach_when_published, retry};
use crate::format::Format;
use crate::output::{self, Output};
use crate::select::{Aggregation, Projection, Request, Shown, View};
use cli::{CliError, Shutdown, complete, duration, status};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub table: TableArgs,

    /// Print at most N rows, the first ones
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,

    /// Skip the first N rows
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub offset: usize,

    /// Print bare values, one row per line, separated by tabs, without names or quotes
    #[arg(long)]
    pub raw: bool,

    /// Print only the number of rows
    #[arg(long)]
    pub count: bool,

    /// Print totals instead of rows, to which --fields and --sort then apply: count, sum(FIELD), min(FIELD), max(FIELD), avg(FIELD)
    #[arg(long, value_name = "TOTAL,…")]
    pub aggregate: Option<String>,

    /// Print the totals of each group of rows that have the same values of these fields
    #[arg(long, value_name = "FIELD,…", requires = "aggregate", add = ArgValueCompleter::new(complete::fields))]
    pub by: Option<String>,

    /// Wait until the table has this version, which a script may know that has published it
    #[arg(long, value_name = "VERSION")]
    pub at_least_version: Option<u64>,

    /// Wait up to this time for the table, and for --at-least-version: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let target = &args.table;
    let mut selection = target.selection.clone();
    if args.aggregate.is_some() {
        // These apply to the groups.
        (selection.fields, selection.sort) = (None, None);
    }
    let request = Request::new(&selection, &target.keys)?;
    let begun = Instant::now();
    let owner = target.selection.owner;
    let options = attach::options(UntypedReader::builder(&target.name), owner, &Waking::default());
    let mut table = match args.timeout {
        None => attach(&options)?,
        Some(_) => attach_when_published(&options, args.timeout, stop)?
            .ok_or_else(|| CliError::new(1, "interrupted while waiting for the table"))?,
    };
    if let Some(version) = args.at_least_version {
        wait_for(&mut table, version, args.timeout.map(|time| (begun, time)), stop)?;
    }
    let mut view = request.view(&table.schema()?)?;
    warn_of_end(&target.name, table.publisher_state());
    let found = loop {
        if let Some(found) = retry(|| view.read(&table))? {
            break found;
        }
        // The table got another schema in the meantime.
        view = request.view(&table.schema()?)?;
    };
    print(args, &view, view.rows_of(&found.bytes)?, stop, output)?;
    let name = &target.name;
    let message = match (found.missing.is_empty(), found.unmatched.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => format!("table {name:?} has no {}", keys(&found.missing)),
        (true, false) => {
            format!("--where does not hold in table {name:?} for {}", keys(&found.unmatched))
        }
    };
    Err(CliError::new(1, message))
}

/// Waits until the table has a version. `limit` is a time, and the maximum time since then.
fn wait_for(
    table: &mut UntypedReader,
    version: u64,
    limit: Option<(Instant, Duration)>,
    stop: &Shutdown,
) -> Result<(), CliError> {
    loop {
        table.refresh()?;
        if table.version()? >= version {
            return Ok(());
        }
        let left = limit.map(|(begun, time)| time.saturating_sub(begun.elapsed()));
        if left == Some(Duration::ZERO) {
            let (name, found) = (table.name(), table.version()?);
            let message = format!("timed out: table {name:?} has version {found}, not {version}");
            return Err(CliError::new(1, message));
        }
        if output::wait(stop, &[table.as_fd()], left)? {
            let message = format!("interrupted while waiting for version {version}");
            return Err(CliError::new(1, message));
        }
    }
}

fn print(
    args: &Args,
    view: &View,
    rows: Vec<RowRef<'_>>,
    stop: &Shutdown,
    mut output: Output,
) -> Result<(), CliError> {
    if args.count {
        return Ok(writeln!(output, "{}", rows.len())?);
    }
    let Some(aggregate) = &args.aggregate else {
        return print_rows(args, view.projection(), view.arrange(rows), stop, output);
    };
    let by = args.by.as_deref();
    let aggregation = Aggregation::parse(aggregate, by, &args.table.selection, view.schema())?;
    let groups = aggregation.rows(rows)?;
    let projection = aggregation.projection();
    let groups = groups.iter().map(|row| projection.show(row.as_ref())).collect();
    print_rows(args, projection, groups, stop, output)
}

fn print_rows(
    args: &Args,
    projection: &Projection,
    rows: Vec<Shown<'_>>,
    stop: &Shutdown,
    output: Output,
) -> Result<(), CliError> {
    let is_read_by_people = args.table.format == Format::Table && !args.raw && output.is_terminal();
    let mut printer = match args.raw {
        true => Format::Raw.printer(output, false),
        false => args.table.printer(output),
    };
    let rows = &rows[args.offset.min(rows.len())..];
    let rows = &rows[..args.limit.unwrap_or(usize::MAX).min(rows.len())];
    let printed = printer.rows(projection, rows).and_then(|()| printer.flush());
    if printed.is_err() && stop.requested() {
        return Err(CliError::new(1, "interrupted: the output is cut short"));
    }
    printed?;
    if rows.is_empty() && is_read_by_people {
        status(match args.table.selection.conditions.is_empty() {
            true => "no rows",
            false => "no rows for which --where holds",
        });
    }
    Ok(())
}

fn keys(keys: &[String]) -> String {
    let plural = if keys.len() == 1 { "" } else { "s" };
    format!("key{plural} {}", keys.join(" "))
}

fn warn_of_end(name: &str, publisher: PublisherState) {
    let what = match publisher {
        PublisherState::Gone { .. } => "is gone",
        PublisherState::Closed { .. } => "has ended",
        _ => return,
    };
    status(format_args!("warning: the publisher of table {name:?} {what}, this is what it left"));
}
