//! Publishes tables from the command line.
//!
//! The modules, in the order of a row's path:
//!
//! - [`args`]: the command line;
//! - [`source`]: the sources of rows: this machine's processes and network, a followed file, or
//!   stdin;
//! - [`serve`]: opens a table and publishes a source's rows in it until the program is stopped;
//! - [`demo`]: the same, next to a subscriber process in the same terminal;
//! - [`rm`]: removes the objects of dead publishers;
//! - [`man`]: the examples and exit codes of the man pages.
//!
//! The program writes nothing to stdout except help, completions and man pages. Messages go to
//! stderr, and errors in writing them are ignored.

use std::ffi::OsString;

use subscriber::shell::{self, CliError, arguments};

pub mod args;
pub mod demo;
pub mod man;
pub mod rm;
pub mod serve;
pub mod source;

use args::{Args, Command};

/// Runs the program with the arguments `args`, of which the first is the program's name.
///
/// # Errors
/// Returns the message for stderr and the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let Some((args, origin)) = arguments::parse::<Args>(args, args::completer)? else {
        return Ok(());
    };
    shell::init_logging(args.verbose);
    let done = match args.command {
        None => arguments::help(args::EXAMPLE, arguments::command::<Args>()),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Demo(demo)) => demo::run(demo),
        Some(Command::Rm(remove)) => rm::run(&remove),
        Some(Command::Subscriber(child)) => demo::run_child(&child),
        Some(Command::Completions(shell)) => shell.run(&arguments::command::<Args>()),
        Some(Command::Man(manual)) => manual.run(arguments::command::<Args>(), &man::PAGES),
    };
    done.map_err(|failure| origin.explain(failure))
}
