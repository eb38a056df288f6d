//! Carries tables to other hosts, over zenoh.
//!
//! - `export`: makes local tables available, by [`exchange::Exporter`];
//! - `import`: publishes local tables that follow others, by [`exchange::Importer`];
//! - `list`: lists the tables of other hosts;
//! - `links`: the table with the state of each link, and `metrics`;
//! - `net`: the session of zenoh, and the reason why an endpoint does not answer.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use cli::{CliError, Completions, Global, Manual};

mod connect;
mod export;
mod import;
mod keys;
mod links;
mod list;
mod metrics;
pub mod net;
mod replica;

/// Printed above the help if no subcommand is given.
const EXAMPLE: &str = "\
On host a, which publishes a table prices:
  bridge export prices --listen 0.0.0.0:7447
On host b:
  bridge import prices --connect a:7447
  subscriber watch prices
";

const EXIT_CODES: &str = "Exit codes: 0 success; 1 not found, a limit or a permission; 2 wrong arguments, or several \
hosts with the table; 3 another publisher holds the local table; 5 bad or unreadable configuration or certificate.";

/// Carries tables to other hosts, where programs read them as local tables.
///
/// `export` offers tables of this host. `import` publishes a local table that follows a table of another host, whole commits at a
/// time. One side listens at an address and the other side connects to it, or both connect to a router of zenoh. Data goes to
/// stdout, everything else to stderr. docs/bridge.md describes TLS, access control, routers and the table bridge.links.
#[derive(Debug, Parser)]
#[command(name = "bridge", version, after_help = EXIT_CODES)]
pub struct Args {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make local tables available to other hosts, until Ctrl-C or SIGTERM
    ///
    /// Waits for tables that do not exist yet, and continues after their publishers end. Importers can read the tables and not
    /// change them. The table bridge.links has a row for each exported table.
    #[command(after_long_help = "\
Examples:
  bridge export prices rates --listen 0.0.0.0:7447
  bridge export '*' --listen tls/0.0.0.0:7447 --tls-cert a.pem --tls-key a.key")]
    Export(export::Args),
    /// Publish local tables that follow tables of other hosts, until Ctrl-C or SIGTERM
    ///
    /// Waits for an exporter if there is none, and continues after one ends. While none can be reached, the local table keeps its
    /// rows: it is `stale` in the table bridge.links, and `subscriber info` reports since when its input has ended.
    #[command(after_long_help = "\
Examples:
  bridge import prices --connect a:7447
  bridge import a/prices --as prices-of-a --connect a:7447 --connect c:7447
  subscriber watch bridge.links --where 'state != following'")]
    Import(import::Args),
    /// List the tables that other hosts export
    ///
    /// Ends as soon as all exporters that were found have replied. If there are none, the exit code is 1, and the message says
    /// why: for each address of --connect, what is wrong with it.
    #[command(after_long_help = "\
Examples:
  bridge ls --connect a:7447
  bridge ls --connect a:7447 --format jsonl | jq -r .name")]
    Ls(list::Args),
    /// Print the script that makes a shell complete lines
    ///
    /// In ~/.bashrc, or in ~/.zshrc after compinit: source <(bridge completions bash). In
    /// ~/.config/fish/config.fish: bridge completions fish | source. In ~/.config/elvish/rc.elv: eval (bridge completions elvish | slurp).
    Completions(Completions),
    /// Print the man page, or write all man pages to a directory
    ///
    /// To read it: bridge man | man -l -. To install all pages: bridge man ~/.local/share/man/man1.
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
        Some(Command::Export(export)) => export::run(&export),
        Some(Command::Import(import)) => import::run(&import),
        Some(Command::Ls(ls)) => list::run(&ls),
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
