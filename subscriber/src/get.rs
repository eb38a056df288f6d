//! `get`: prints the table, or some of its rows, once.

use std::time::Duration;

use clap::value_parser;
use common::{Error, Open, OpenOptions, PublisherState, RowBuf, RowRef, UntypedReader};

use crate::args::TableArgs;
use crate::attach::{self, Waking, attach, attach_when_published, retry};
use crate::format::Format;
use crate::output::Output;
use crate::select::{Request, Shown, View};
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
    let table = open(UntypedReader::builder(&target.name), args, stop)?;
    let mut view = request.view(&table.schema()?)?;
    warn_of_end(&target.name, table.publisher_state());
    if target.keys.is_empty() {
        let bytes = in_view(&mut view, &request, &table, |view| retry(|| view.read_all(&table)))?;
        let rows = bytes.chunks_exact(view.schema().row_size());
        let rows = rows.map(|row| RowRef::new(view.schema(), row)).collect::<Result<_, _>>()?;
        return print(args, &view, view.arrange(rows), stop, output);
    }
    let found = in_view(&mut view, &request, &table, |view| view.read(&table))?;
    let rows = view.arrange(found.rows.iter().map(RowBuf::as_ref).collect());
    print(args, &view, rows, stop, output)?;
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

/// Calls `read` until it returns rows of the view. It returns none if the table got another schema
/// in the meantime; the view is then made for that schema.
fn in_view<T>(
    view: &mut View,
    request: &Request,
    table: &UntypedReader,
    read: impl Fn(&View) -> Result<Option<T>, Error>,
) -> Result<T, CliError> {
    loop {
        if let Some(rows) = read(view)? {
            return Ok(rows);
        }
        *view = request.view(&table.schema()?)?;
    }
}

/// Opens the table, and waits for it if `--timeout` is given.
fn open<T: Open>(options: OpenOptions<T>, args: &Args, stop: &Shutdown) -> Result<T, CliError> {
    let options = attach::options(options, args.table.selection.owner, &Waking::default());
    match args.timeout {
        None => Ok(attach(&options)?),
        Some(_) => attach_when_published(&options, args.timeout, stop)?
            .ok_or_else(|| CliError::new(1, "interrupted while waiting for the table")),
    }
}

fn print(
    args: &Args,
    view: &View,
    mut rows: Vec<Shown<'_>>,
    stop: &Shutdown,
    output: Output,
) -> Result<(), CliError> {
    let is_read_by_people = args.table.format == Format::Table && output.is_terminal();
    let mut printer = args.table.format.printer(output);
    let most = args.limit.and_then(|limit| usize::try_from(limit).ok());
    rows.truncate(most.unwrap_or(usize::MAX));
    let printed = printer.rows(view.projection(), &rows).and_then(|()| printer.flush());
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
