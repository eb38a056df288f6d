//! Attaches to a table, or waits until it is published; the arguments that subcommands share.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use cli::{CliError, Shutdown, complete, status, suggest_table};
use common::{Error, Open, OpenOptions, WakeKind};

use crate::format::{Format, Printer};
use crate::output::{self, Output};
use crate::select::Selection;

/// A table, some of its rows, and how to print them.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    pub name: String,

    /// Only the rows with these keys. A key's fields are joined by commas and quoted as in CSV: 7
    /// "a, b",-5 "" 10.0.0.0/8. The first fields of a key select all rows whose keys begin with them
    ///
    /// The shell removes its own quotes: write '"a, b",-5'. Quote a KEY that begins with a minus
    /// and is more than a number: '"-5",a' (or write it after --, except with watch).
    #[arg(value_name = "KEY", allow_negative_numbers = true, add = ArgValueCompleter::new(complete::keys))]
    pub keys: Vec<String>,

    #[command(flatten)]
    pub selection: Selection,

    /// Output format. With watch, csv has the columns version, op and the row's fields (the old
    /// row's for a delete), and a new header line when these change; json needs --once or
    /// --count
    #[arg(short = 'o', long, visible_alias = "output", value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Print no line of names (table, csv and tsv)
    #[arg(long)]
    pub no_header: bool,
}

impl TableArgs {
    /// Returns the printer of the output.
    pub fn printer(&self, output: Output) -> Box<dyn Printer> {
        self.format.printer(output, !self.no_header)
    }
}

/// How the publisher wakes this subscriber.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Waking {
    /// Wake kind: auto, mq, futex, unix, signal[:USR2|:RTMIN+3], fifo, spin, spin:50us[+KIND]
    ///
    /// auto is a message queue, or the futex if there is none available. fifo is a named pipe that
    /// scripts can read, too: one line for each wake-up, with the version. spin occupies a
    /// processor. docs/wake-kinds.md compares them.
    #[arg(help_heading = "Wake-ups", long, value_name = "KIND", default_value_t, add = ArgValueCompleter::new(complete::wake_kinds))]
    pub wake: WakeKind,

    /// Where to create the pipe of --wake fifo (a path, or a directory) or the socket of --wake
    /// unix (a directory)
    #[arg(help_heading = "Wake-ups", long, value_name = "PATH")]
    pub wake_at: Option<PathBuf>,
}

/// Interval between attempts to open a table that is not published yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of attempts to copy a table that changes faster than it can be copied.
const OUTRUN_TRIES: u32 = 64;

/// Adds the owner (`None`: this user or root) and the wake kind to `options`.
pub fn options<T: Open>(
    mut options: OpenOptions<T>,
    owner: Option<u32>,
    waking: &Waking,
) -> OpenOptions<T> {
    if let Some(owner) = owner {
        options = options.owner(owner);
    }
    if let Some(path) = &waking.wake_at {
        options = options.wake_at(path);
    }
    options.wake(waking.wake)
}

/// Attaches to a table. Tries again if the publisher outruns the copy.
pub fn attach<T: Open>(builder: &OpenOptions<T>) -> Result<T, Error> {
    retry(|| builder.open())
}

/// Calls `read` again as long as the table changes faster than it can be copied, up to
/// [`OUTRUN_TRIES`] times.
pub fn retry<T>(mut read: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..OUTRUN_TRIES {
        match read() {
            Err(Error::Outrun { .. }) => {}
            other => return other,
        }
    }
    read()
}

/// Attaches as soon as the table is published, within `timeout` if one is given. Returns `None` if
/// a shutdown is requested first.
pub fn attach_when_published<T: Open>(
    builder: &OpenOptions<T>,
    timeout: Option<Duration>,
    stop: &Shutdown,
) -> Result<Option<T>, CliError> {
    let begun = Instant::now();
    let mut is_reported = false;
    loop {
        match attach(builder) {
            Err(Error::NotFound { table }) => {
                let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
                if let (Some(waited), Some(Duration::ZERO)) = (timeout, left) {
                    return Err(Error::TimedOut { table, waited }.into());
                }
                if !std::mem::replace(&mut is_reported, true) {
                    let meant =
                        suggest_table(&table).map_or(String::new(), |meant| format!("; {meant}"));
                    status(format_args!("waiting for a publisher of table {table:?}{meant}"));
                }
                let pause = left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
                if output::wait(stop, &[], Some(pause))? {
                    return Ok(None);
                }
            }
            other => return Ok(Some(other?)),
        }
    }
}
