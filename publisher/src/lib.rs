//! Publishes tables from the command line.
//!
//! Each subcommand is one module, which owns its arguments:
//!
//! - `serve`: opens a table and publishes the rows of a [`source`] in it until the program is
//!   stopped;
//! - `run`: the same for several tables, which a configuration file describes;
//! - `demo`: the same, next to a subscriber process in the same terminal;
//! - `put`, `delete`, `load`: change a table that has no live publisher;
//! - `rm`: removes the objects of dead publishers.
//!
//! The program writes nothing to stdout except help, completions and man pages. Messages go to
//! stderr, and errors in writing them are ignored.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use cli::{CliError, Completions, Global, Manual};

mod demo;
mod edit;
mod rm;
mod run;
mod serve;
pub mod source;

/// Printed above the help if no subcommand is given.
const EXAMPLE: &str = "\
Try it, in two terminals:
  publisher serve processes --from processes
  subscriber watch processes

Or in one:
  publisher demo
";

const EXIT_CODES: &str = "Exit codes: 0 done; 1 not found, a limit or a permission; 2 wrong arguments; \
3 another publisher holds the table; 4 schema or layout mismatch; 5 bad or unreadable input.";

/// Publishes tables that any number of processes on this machine read
///
/// A table lives in shared memory and has one publisher: this program, or a program that embeds the
/// library. `subscriber` reads it, even after its publisher was killed. All messages go to stderr.
#[derive(Debug, Parser)]
#[command(name = "publisher", version, after_help = EXIT_CODES)]
pub struct Args {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a table until Ctrl-C or SIGTERM
    #[command(after_help = "More, with examples: publisher serve --help", after_long_help = serve::args::HELP)]
    Serve(Box<serve::args::Args>),
    /// Publish several tables, which a file describes, until Ctrl-C or SIGTERM
    #[command(after_help = run::HELP)]
    Run(run::Args),
    /// Publish this machine's processes and show them with a subscriber process, in one terminal
    Demo(demo::Args),
    /// Insert or replace rows of a table that has no live publisher, and keep it
    ///
    /// The rows are committed together. The table is one that a publisher kept or left, or is
    /// created if --fields is given; `publisher rm NAME` removes it.
    ///
    /// Example: publisher put limits '{"name":"cpu","max":80}' --fields 'name:text(16),max:u32'
    Put(edit::PutArgs),
    /// Delete rows of a table that has no live publisher, by their keys
    ///
    /// The rows are deleted together. If one of the keys has no row, nothing is deleted.
    Delete(edit::DeleteArgs),
    /// Replace the rows of a table that has no live publisher by those of a file, and keep it
    ///
    /// Short for: publisher serve NAME --from FILE --exit-at-eof --keep OPTIONS
    Load(edit::LoadArgs),
    /// Remove the tables of dead publishers; refuses if the publisher is alive
    #[command(after_help = rm::HELP)]
    Rm(rm::Args),
    /// Run the subscriber process of `demo`
    #[command(name = "__subscriber", hide = true)]
    Subscriber(demo::ChildArgs),
    /// Print the script that makes a shell complete lines
    ///
    /// The shell runs this program at each Tab, so it completes the names of existing tables. In
    /// ~/.bashrc, or in ~/.zshrc after compinit: source <(publisher completions bash). In
    /// ~/.config/fish/config.fish: publisher completions fish | source. In ~/.config/elvish/rc.elv: eval (publisher completions elvish | slurp).
    Completions(Completions),
    /// Print the man page, or write all man pages to a directory
    ///
    /// To read it: publisher man | man -l -. To install all pages: publisher man
    /// ~/.local/share/man/man1.
    Man(Manual),
}

/// Runs the program with `args`, which start with the program's name.
///
/// # Errors
/// Returns the message for stderr, with the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let Some(args) = cli::parse::<Args>(args)? else {
        return Ok(());
    };
    args.global.apply();
    match args.command {
        None => cli::help::<Args>(EXAMPLE),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Run(tables)) => run::run(tables),
        Some(Command::Demo(demo)) => demo::run(demo),
        Some(Command::Put(rows)) => edit::put(&rows),
        Some(Command::Delete(keys)) => edit::delete(&keys),
        Some(Command::Load(file)) => edit::load(file),
        Some(Command::Rm(remove)) => rm::run(&remove),
        Some(Command::Subscriber(child)) => demo::run_child(&child),
        Some(Command::Completions(shell)) => shell.run(&cli::command::<Args>()),
        Some(Command::Man(manual)) => manual.run(cli::command::<Args>()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_command_line() {
        Args::command().debug_assert();
    }
}
