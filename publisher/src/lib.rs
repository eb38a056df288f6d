//! Publishes tables from the command line.
//!
//! In the order of a row's path:
//!
//! - [`args`]: what can be asked for;
//! - [`source`]: where rows come from: this machine's processes, a file that is followed, or stdin;
//! - [`serve`]: opens a table and brings a source's rows into it until the end is asked for;
//! - [`demo`]: the same, with a subscriber process beside it in one terminal;
//! - [`rm`]: removes what dead publishers left.
//!
//! Data goes to stdout (there is none), all else to stderr, whose loss nobody minds.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{CommandFactory, Parser};
use subscriber::shell::{self, Failure};

pub mod args;
pub mod demo;
pub mod rm;
pub mod serve;
pub mod source;

use args::{Args, Command};

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
    match args.command {
        None => {
            let help = Args::command().render_help();
            write!(io::stdout(), "{}\n\n{help}", args::EXAMPLE)?;
            Ok(())
        }
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Demo(demo)) => demo::run(demo),
        Some(Command::Rm(remove)) => rm::run(&remove),
        Some(Command::Subscriber(child)) => demo::run_child(&child),
    }
}
