//! Reads and watches tables from the command line.
//!
//! In the order of a row's path: `args` names the table; `attach` copies it; a `view` selects rows,
//! in the `order` that is requested; `get` and `watch` pass them and their changes to a `format`
//! (or `watch` passes them to a command); `output` writes the result to stdout. `top` draws a table
//! in a terminal; [`demo`] does so for a table of its own publisher. `list` and `info` inspect
//! tables without a copy; `doctor` checks what the machine lacks. `diagnostic` shows where an
//! argument is wrong, and `man` holds the content of the man pages. `hz` measures how often tables
//! change, with `commits` and [`latency`]; [`metrics`] serves such figures by HTTP;
//! `publisher_status` reports changes in the state of a publisher. The publisher's binary also uses
//! [`shell`] and [`service`].

use std::ffi::OsString;

use args::{Args, Command};
use output::Output;
use shell::{CliError, Shutdown, arguments};

mod args;
mod attach;
mod commits;
pub mod demo;
mod diagnostic;
mod doctor;
mod format;
mod get;
mod hz;
mod info;
pub mod latency;
mod list;
mod logs;
mod man;
pub mod metrics;
mod order;
mod output;
mod publisher_status;
pub mod service;
pub mod shell;
mod top;
mod view;
mod watch;

pub use args::user;

/// Runs the program with `args`, which start with the program's name.
///
/// # Errors
/// The message for stderr, with the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let Some((args, origin)) = arguments::parse::<Args>(args, args::completer)? else {
        return Ok(());
    };
    shell::init_logging(args.verbose);
    let stop = Shutdown::install()?;
    let output = Output::stdout(&stop)?;
    let done = match args.command {
        None => arguments::help(args::EXAMPLE, arguments::command::<Args>()),
        Some(Command::Watch(watch)) => watch::run(&watch, &stop, output),
        Some(Command::Get(get)) => get::run(&get, &stop, output),
        Some(Command::Ls(ls)) => list::run(&ls, &stop, output),
        Some(Command::Info(info)) => info::run(&info, output),
        Some(Command::Doctor(doctor)) => doctor::run(&doctor, output),
        Some(Command::Top(top)) => top::run(&top, &stop, output),
        Some(Command::Hz(hz)) => hz::run(&hz, &stop, output),
        Some(Command::Completions(shell)) => shell.run(&arguments::command::<Args>()),
        Some(Command::Man(manual)) => manual.run(arguments::command::<Args>(), &man::PAGES),
    };
    done.map_err(|failure| origin.explain(failure))
}
