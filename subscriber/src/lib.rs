//! Reads and watches tables from the command line.
//!
//! Each subcommand is one module, which owns its arguments: `watch`, `get`, `list` (`ls`),
//! `info`, `top`, `hz`, `doctor`. They share:
//!
//! - `attach`: opens a table, or waits until it is published; the arguments of `get` and `watch`;
//! - `format`: prints rows and changes; [`listing`]: prints lists; `output`: writes to stdout;
//! - `select`: selects and sorts rows and fields;
//! - `cells`: formats values for people;
//! - `follow`: refreshes a table, and reports changes in the state of its publisher;
//! - `metrics`: metrics of a subscriber for Prometheus; `latency`: counts of commits, histograms of
//!   delays.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use cli::{CliError, Completions, Global, Manual, Shutdown};
use output::Output;

mod attach;
mod cells;
mod doctor;
mod follow;
mod format;
mod get;
mod hz;
mod info;
mod latency;
mod list;
pub mod listing;
mod metrics;
mod output;
mod select;
mod top;
mod watch;

/// Printed above the help if no subcommand is given.
const EXAMPLE: &str = "\
Try it. In one terminal:

    publisher serve processes --from processes

and in another:

    subscriber watch processes      every change, one per line
    subscriber top processes        a live view
";

/// Reads and watches Tablecast's tables.
///
/// Data goes to stdout, everything else to stderr. On a terminal, tables are cut to its width (COLUMNS overrides it); a pipe
/// gets whole lines. docs/cli-output.md describes each member of json, jsonl and csv. Exit codes: 0 success, 1 not found,
/// timeout, a limit or a permission, 2 wrong arguments, 4 schema or layout mismatch.
#[derive(Debug, Parser)]
#[command(name = "subscriber", version)]
pub struct Args {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the table, then every change as it happens
    ///
    /// Waits for a publisher if there is none, and continues after one ends. In jsonl each change is one line:
    ///   {"version":7,"op":"update","key":{…},"row":{…},"old":{…}}
    /// with op create (no old), update or delete (no row). The rows at the start are creates.
    ///
    /// With a COMMAND nothing is printed. The command is run once for the table at the start, with all rows as creates, and then for each change, with these lines on its stdin. One run at a time: changes during a run are combined for the next one, each key once. Its environment has:
    ///   TABLECAST_TABLE      the table's name
    ///   TABLECAST_VERSION    the version that the changes lead to
    ///   TABLECAST_EVENT      table (as it is at the start) or changes
    ///   TABLECAST_CHANGES    number of lines on stdin
    ///   TABLECAST_PUBLISHER  alive, gone or closed
    ///
    /// Variables that are options of this watch, such as TABLECAST_WHERE, are not passed on.
    ///
    /// A command that fails is reported on stderr, and the watch continues. If the watch ends by --once or --count, its exit code is that of the last run that failed, or 128 plus the signal that killed it. A command that cannot be started ends the watch, with exit code 127 if it does not exist, and 126 otherwise.
    ///
    /// Ctrl-C and SIGTERM end both: the command receives SIGTERM, and SIGKILL after 2 s.
    #[command(
        verbatim_doc_comment,
        after_long_help = "\
Examples:
  subscriber watch prices --where 'price > 100' --fields id,price
  subscriber watch routes --format jsonl | jq .row
  subscriber watch routes -- sh -c 'jq .row | logger'"
    )]
    Watch(watch::Args),
    /// Print the table, or some of its rows, at one version
    ///
    /// Answers immediately, also from a table whose publisher is dead. Rows are printed in the order of their keys, of the KEYs
    /// given, or of --sort. The exit code is 1 if a KEY has no row, or if its row does not match --where.
    #[command(after_long_help = "\
Examples:
  subscriber get prices --sort price:desc -n 10
  subscriber get prices 7 --format json
  subscriber get config --timeout 5s")]
    Get(get::Args),
    /// List all tables on this machine, and orphans
    ///
    /// Includes tables of dead publishers, and objects that no longer belong to a table, with the command that removes them. Takes
    /// a second longer if there are any. Message queues are found only if their file system is mounted (-v reports if not).
    Ls(list::Args),
    /// Show everything about one table: schema, memory, publisher, each subscriber
    Info(info::Args),
    /// Show a table in a live full-screen view, to sort, filter and scroll (? shows the keys)
    ///
    /// Waits for a publisher if there is none, and continues after one ends. Cells that changed, and rows that were created (+) or deleted (-), are highlighted for a moment: in colours, or with NO_COLOR in bold, underlined or struck out. Keys:
    ///   arrows, PgUp, PgDn   scroll; left and right show columns that do not fit
    ///   Home, End            the first rows, the last rows
    ///   /                    filter while you type: a condition as for --where,
    ///                        or a text that any cell contains
    ///   Esc                  remove the filter
    ///   s or >, <            sort by the next column, or the previous one
    ///   r                    reverse the order
    ///   f or space           freeze the view, and continue
    ///   ?                    help
    ///   q, Ctrl-C            quit
    #[command(verbatim_doc_comment)]
    Top(top::Args),
    /// Measure how often a table changes, how much, and how long changes take to arrive
    Hz(hz::Args),
    /// Check whether this machine has what Tablecast needs, and what to change
    ///
    /// One line per check: ok, warning (works, but not as well as it could, or not for everybody) or problem; what was found; and
    /// what to do. Nothing is changed. With NAME, also whether this user can read that table. The exit code is 1 if there is a
    /// problem.
    Doctor(doctor::Args),
    /// Print the script that makes a shell complete lines
    ///
    /// The shell runs this program at each Tab, so it completes existing tables, their fields and, for small tables, their keys. In
    /// ~/.bashrc, or in ~/.zshrc after compinit: source <(subscriber completions bash). In ~/.config/fish/config.fish:
    /// subscriber completions fish | source. In ~/.config/elvish/rc.elv: eval (subscriber completions elvish | slurp).
    Completions(Completions),
    /// Print the man page, or write all man pages to a directory
    ///
    /// To read it: subscriber man | man -l -. To install all pages: subscriber man ~/.local/share/man/man1.
    Man(Manual),
}

/// Runs the program with `args`, of which the first is the program's name.
///
/// # Errors
/// Returns the exit code and the message for stderr if the subcommand fails.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let Some(args) = cli::parse::<Args>(args)? else {
        return Ok(());
    };
    args.global.apply();
    let stop = Shutdown::install()?;
    let output = Output::stdout(&stop)?;
    match args.command {
        None => cli::help::<Args>(EXAMPLE),
        Some(Command::Watch(watch)) => watch::run(&watch, &stop, output),
        Some(Command::Get(get)) => get::run(&get, &stop, output),
        Some(Command::Ls(ls)) => list::run(&ls, &stop, output),
        Some(Command::Info(info)) => info::run(&info, output),
        Some(Command::Doctor(doctor)) => doctor::run(&doctor, output),
        Some(Command::Top(top)) => top::run(&top, &stop, output),
        Some(Command::Hz(hz)) => hz::run(&hz, &stop, output),
        Some(Command::Completions(shell)) => shell.run(&cli::command::<Args>()),
        Some(Command::Man(manual)) => manual.run(cli::command::<Args>()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &[&str]) -> Command {
        Args::try_parse_from(line).unwrap().command.unwrap()
    }

    #[test]
    fn clap_accepts_the_command_line() {
        Args::command().debug_assert();
    }

    #[test]
    fn negative_numbers_are_keys() {
        let Command::Get(get) = parse(&["subscriber", "get", "t", "-5", "7,x"]) else { panic!() };
        assert_eq!(get.table.keys, ["-5", "7,x"]);
        let Command::Get(get) = parse(&["subscriber", "get", "t", "-n", "5", "--", "-5,x"]) else {
            panic!()
        };
        assert_eq!((get.table.keys, get.limit), (vec!["-5,x".to_owned()], Some(5)));
    }

    #[test]
    fn command_of_watch_follows_two_dashes() {
        let line = "subscriber watch t -5 --count 1 -- cat -n --";
        let Command::Watch(watch) = parse(&line.split(' ').collect::<Vec<_>>()) else { panic!() };
        assert_eq!((watch.table.keys, watch.count), (vec!["-5".to_owned()], Some(1)));
        assert_eq!(watch.command, ["cat", "-n", "--"]);
    }
}
