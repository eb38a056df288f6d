//! What can be asked for on the command line.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use nix::unistd::User;

use crate::format::Format;
use crate::shell::duration;

/// What to type to see something.
pub const EXAMPLE: &str = "\
Try it. In one terminal:

    publisher serve processes --from processes

and in another:

    subscriber watch processes
";

/// Reads and watches Tablecast's tables.
///
/// Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 not found, timeout, a limit or a permission, 2 wrong
/// arguments, 4 schema or layout mismatch.
#[derive(Debug, Parser)]
#[command(name = "subscriber", version)]
pub struct Args {
    /// Say more on stderr; twice even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The table, then every change as it happens
    ///
    /// Waits for a publisher if there is none, and goes on after one ends. A change is, as jsonl, one line:
    /// {"version":7,"op":"update","key":{…},"row":{…},"old":{…}} with op create (no old), update or delete (no row).
    /// What the table holds at the start comes as creates.
    Watch(Watch),
    /// The table, or some of its rows, once and consistent
    ///
    /// Answers at once, also from what a dead publisher left. Rows come in the order of their keys, or of the KEYs given;
    /// a KEY that the table has not makes the exit code 1.
    Get(Get),
    /// Every table on this machine
    Ls(List),
    /// All about one table: schema, memory, publisher, each subscriber
    Info(Info),
}

/// Which table, and of which of its rows.
#[derive(Debug, clap::Args)]
pub struct Table {
    /// The table's name
    pub name: String,

    /// Only rows of these keys: a key's fields joined by commas, quoted as in CSV
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    pub keys: Vec<String>,

    /// Read a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = user)]
    pub owner: Option<u32>,

    /// How to print: csv of a watch has the columns version, op, then the row's fields (the old row's of a delete), and
    /// another line of names when the schema changes; json of a watch needs an end, --once or --count
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// What `watch` takes.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// Which table
    #[command(flatten)]
    pub table: Table,

    /// End after the table as it is at the start
    #[arg(long, conflicts_with = "count")]
    pub once: bool,

    /// End after so many changes, not counting the table at the start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Fail if there is no table within this time, or --count is not reached: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// What `get` takes.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// Which table
    #[command(flatten)]
    pub table: Table,

    /// Wait so long for a table that nobody publishes yet: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// What `ls` takes.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Look at tables of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = user)]
    pub owner: Option<u32>,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// How long to count commits for their rate
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "200ms")]
    pub sample: Duration,
}

/// What `info` takes.
#[derive(Debug, clap::Args)]
pub struct Info {
    /// The table's name
    pub name: String,

    /// Look at a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = user)]
    pub owner: Option<u32>,

    /// How to print
    #[arg(long, value_enum, default_value_t = InfoFormat::Table)]
    pub format: InfoFormat,
}

/// How `info` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InfoFormat {
    /// Lines for people
    Table,
    /// One JSON object
    Json,
}

/// A user id, by number or by name.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("there is no such user on this machine".to_owned()),
        Err(errno) => Err(format!("cannot look up the user: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn users_go_by_name_and_number() {
        assert_eq!(user("root"), Ok(0));
        assert_eq!(user("1000"), Ok(1000));
        assert!(user("no such user").is_err());
    }

    #[test]
    fn negative_numbers_are_keys() {
        let args = Args::try_parse_from(["subscriber", "get", "t", "-5", "7,x"]).unwrap();
        let Some(Command::Get(get)) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(get.table.keys, ["-5", "7,x"]);
    }
}
