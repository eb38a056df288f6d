//! Reads and watches tables from the command line.
//!
//! In the order of a row's path: `args` says which table; `attach` gets a copy of it, and a `view` the rows that are
//! asked for, in the `order` that is; `get` and `watch` hand them and their changes to a `format` (or `watch` to a command);
//! `output` writes that to stdout. `top` draws a table in a terminal, [`demo`] that of its own publisher. `list` and `info` look at
//! tables without a copy, `doctor` at what the machine lacks. `point` shows where an argument is wrong, `pages` is what the man pages say
//! besides. `hz` measures how often tables change, in `commits` and [`latency`], and [`metrics`] tell such figures to who asks by
//! HTTP; `news` is what becomes of a publisher. [`shell`] and [`service`] are what the publisher's binary needs, too.

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

/// The whole program: what `args` (the program's name first) ask for.
///
/// # Errors
/// What is to be said on stderr, with the exit code.
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
