//! Reads and watches tables from the command line.
//!
//! In the order of a row's path: `args` says which table; `attach` gets a copy of it, and a `view` the rows that are
//! asked for, in the `order` that is; `get` and `watch` hand them and their changes to a `format` (or `watch` to a command);
//! `output` writes that to stdout. `top` draws a table in a terminal, [`demo`] that of its own publisher. `list` and `info` look at tables without a copy. `point` shows where an argument is wrong. [`shell`] is what the publisher's binary needs, too.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use output::Output;
use shell::{Failure, Stop};

mod args;
mod attach;
pub mod delays;
pub mod demo;
mod format;
mod get;
mod info;
mod list;
mod logs;
mod order;
mod output;
mod point;
pub mod shell;
mod top;
mod view;
mod watch;

/// The whole program: what `args` (the program's name first) ask for.
///
/// # Errors
/// What is to be said on stderr, with the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return shell::usage(&error),
    };
    shell::init_logging(args.verbose);
    let stop = Stop::install()?;
    let output = Output::stdout(&stop)?;
    match args.command {
        None => output.text(&format!(
            "{}\n{}",
            args::EXAMPLE,
            Args::command().render_help()
        )),
        Some(Command::Watch(watch)) => watch::run(&watch, &stop, output),
        Some(Command::Get(get)) => get::run(&get, &stop, output),
        Some(Command::Ls(ls)) => list::run(&ls, &stop, output),
        Some(Command::Info(info)) => info::run(&info, output),
        Some(Command::Top(top)) => top::run(&top, &stop, output),
    }
}
