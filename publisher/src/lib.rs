//! Publishes tables from the command line.
//!
//! In the order of a row's path:
//!
//! - [`args`]: what can be asked for;
//! - [`source`]: where rows come from: this machine's processes, a file that is followed, or stdin;
//! - [`serve`]: opens a table and brings a source's rows into it until the end is asked for;
//! - [`demo`]: the same, with a subscriber process beside it in one terminal;
//! - [`rm`]: removes what dead publishers left;
//! - [`pages`]: what the man pages say besides.
//!
//! Data goes to stdout (there is none), all else to stderr, whose loss nobody minds.

use std::ffi::OsString;

use subscriber::shell::{self, Failure, arguments};

pub mod args;
pub mod demo;
pub mod pages;
pub mod rm;
pub mod serve;
pub mod source;

use args::{Args, Command};

/// The whole program: what `args` (the program's name first) ask for.
///
/// # Errors
/// What is to be said on stderr, with the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
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
        Some(Command::Man(manual)) => manual.run(arguments::command::<Args>(), &pages::PAGES),
    };
    done.map_err(|failure| origin.explain(failure))
}
