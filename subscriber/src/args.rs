//! What can be asked for on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::WakeKind;
use nix::unistd::User;

use crate::doctor::Doctor;
use crate::format::Format;
pub use crate::hz::Hz;
use crate::metrics::Address;
use crate::shell::complete::{Completer, Completions};
use crate::shell::manual::Manual;
use crate::shell::{arguments, duration, environment, whole};
use crate::top::args::Top;

/// What to type to see something.
pub const EXAMPLE: &str = "\
Try it. In one terminal:

    publisher serve processes --from processes

and in another:

    subscriber watch processes      every change, a line each
    subscriber top processes        a live picture
";

/// The heading of what says which rows, and what of them.
const VIEW: &str = "Rows and fields";

/// The heading of how to be woken.
const WAKING: &str = "Waking";

/// The heading of what goes with each subcommand.
const EVERYWHERE: &str = "Everywhere";

/// Reads and watches Tablecast's tables.
///
/// Data goes to stdout, all else to stderr. A terminal gets tables that fit it (COLUMNS, if set, is its width), a pipe
/// whole ones. What each member of json, jsonl and csv means: docs/cli-output.md. Exit codes: 0 done,
/// 1 not found, timeout, a limit or a permission, 2 wrong arguments, 4 schema or layout mismatch.
#[derive(Debug, Parser)]
#[command(name = "subscriber", version)]
pub struct Args {
    /// Say more on stderr; twice even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub verbose: u8,

    /// When to use colours; auto is on a terminal, unless NO_COLOR, CLICOLOR or TERM=dumb say no, or CLICOLOR_FORCE always
    #[arg(long, global = true, value_name = "WHEN", default_value_t, help_heading = EVERYWHERE)]
    pub color: clap::ColorChoice,

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
    ///   {"version":7,"op":"update","key":{…},"row":{…},"old":{…}}
    /// with op create (no old), update or delete (no row). What the table holds at the start comes as creates.
    ///
    /// With a COMMAND nothing is printed: the command is run for the table at the start, with all rows as creates, and then at each change of what is watched, with these lines on its stdin. One at a time: what changes while it runs is one step, each key once, for the next run. It is told in its environment:
    ///   TABLECAST_TABLE      the table's name
    ///   TABLECAST_VERSION    the version that the changes lead to
    ///   TABLECAST_EVENT      table (as it is at the start) or changes
    ///   TABLECAST_CHANGES    how many lines there are on stdin
    ///   TABLECAST_PUBLISHER  alive, gone or closed
    ///
    /// Variables that are options of this watch, such as TABLECAST_WHERE, it does not get.
    ///
    /// A command that fails is reported on stderr, and the watch goes on. A watch that ends by --once or --count has the exit code of the last run that failed, or 128 and the number of the signal that killed it. A command that cannot be started ends the watch: with 127 if it does not exist, else with 126.
    ///
    /// Ctrl-C and SIGTERM end both: the command gets SIGTERM, and 2 s later SIGKILL. As in:
    ///   subscriber watch routes --where 'metric < 9' -- sh -c 'jq .row | logger'
    #[command(verbatim_doc_comment)]
    Watch(Watch),
    /// The table, or some of its rows, once and consistent
    ///
    /// Answers at once, also from what a dead publisher left. Rows come in the order of their keys, or of the KEYs given, or
    /// as --sort says; a KEY that the table has not, or whose row --where leaves out, makes the exit code 1.
    Get(Get),
    /// Every table on this machine, and what is left behind
    ///
    /// Tables of dead publishers, too, and objects that belong to no table any more, with what removes them. Takes a second
    /// longer where there are such. Message queues are seen only where their file system is mounted (-v says so if not).
    Ls(List),
    /// All about one table: schema, memory, publisher, each subscriber
    Info(Info),
    /// A live full-screen view of a table: sort, filter and scroll it by keys (? shows them)
    ///
    /// Waits for a publisher if there is none, and goes on after one ends. Cells that changed, and rows that came (+) or went (-), stand out for a moment: in colours, or with NO_COLOR bold, underlined or struck out. Keys:
    ///   arrows, PgUp, PgDn   scroll; left and right show columns that do not fit
    ///   Home, End            the first rows, the last rows
    ///   /                    filter while you type: a condition as of --where,
    ///                        or a text that any cell contains
    ///   Esc                  no filter
    ///   s or >, <            sort by the next column, or the one before
    ///   r                    reverse the order
    ///   f or space           freeze the picture, and go on
    ///   ?                    help
    ///   q, Ctrl-C            quit
    #[command(verbatim_doc_comment)]
    Top(Top),
    /// How often a table changes, how much, and how long it takes to arrive
    Hz(Hz),
    /// What Tablecast needs on this machine: whether it is there, and what to change
    ///
    /// A line a check: ok, warning (it works, and less well than it could, or not for everybody) or problem, what was found, and
    /// what to do. Nothing is changed. With NAME, whether this user can read that table. The exit code is 1 if there is a problem.
    Doctor(Doctor),
    /// Print what has a shell complete lines
    ///
    /// The shell asks this program at each Tab, so that it knows the tables that there are, their fields and, of small ones, their
    /// keys. In ~/.bashrc, or in ~/.zshrc behind compinit: source <(subscriber completions bash). In
    /// ~/.config/fish/config.fish: subscriber completions fish | source.
    Completions(Completions),
    /// Print the man page, or write all of them to a directory
    ///
    /// To read it: subscriber man | man -l -. To have all of them: subscriber man ~/.local/share/man/man1.
    Man(Manual),
}

/// The variables of the environment that are flags of this subcommand and not of all.
pub fn variables_of(subcommand: &str) -> Vec<String> {
    let command = arguments::command::<Args>();
    let found = command.find_subcommand(subcommand);
    found.map(environment::of_flags).unwrap_or_default()
}

/// What the values of arguments can be, by their names.
pub fn completer(argument: &str) -> Option<Completer> {
    Some(match argument {
        "name" => Completer::Table,
        "keys" => Completer::Key,
        "fields" => Completer::Fields,
        "sort" => Completer::Sort,
        "where" => Completer::Condition,
        "owner" => Completer::Owner,
        "wake" => Completer::Wake,
        _ => return None,
    })
}

/// Which table, and of which of its rows.
#[derive(Debug, clap::Args)]
pub struct Table {
    /// The table's name
    pub name: String,

    /// Only rows of these keys: a key's fields joined by commas, quoted as in CSV: 7 "a, b",-5 "" 10.0.0.0/8
    ///
    /// Mind the shell's own quotes: '"a, b",-5'. A KEY that begins with a minus and is more than a number is quoted: '"-5",a' (or, of get, stands behind --).
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    pub keys: Vec<String>,

    /// What of it
    #[command(flatten)]
    pub asked: Asked,

    /// How to print: csv of a watch has the columns version, op, then the row's fields (the old row's of a delete), and
    /// another line of names when these change; json of a watch needs an end, --once or --count
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// What of a table.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Asked {
    /// Read a table of this user, by name or number, instead of your own and root's
    #[arg(help_heading = VIEW, long, value_name = "USER|UID", value_parser = user)]
    pub owner: Option<u32>,

    /// Only these fields, in this order: a,b,c. Of a watch, an update that changes none of them is not printed
    #[arg(help_heading = VIEW, long, value_name = "FIELD,…")]
    pub fields: Option<String>,

    /// Only rows for which this holds; given several times, all must
    ///
    /// FIELD OP VALUE is one argument, and OP:
    ///   for every kind      = != < <= > >=  by value (nothing equals NaN)
    ///   for text            contains, starts
    ///   for addresses, networks, and text that holds one: in NETWORK
    ///   for networks        contains ADDRESS or NETWORK
    ///
    /// A name with blanks, or a value with quotes or blanks around it, stands in '…' or "…": 'name = "a b"', 'net in 10.0.0.0/8'.
    ///
    /// Of a watch, a row that comes to match is a create, and one that ceases to match a delete.
    #[arg(help_heading = VIEW, long = "where", value_name = "'FIELD OP VALUE'", verbatim_doc_comment)]
    pub conditions: Vec<String>,

    /// Sort by these fields: a,b:desc. Numbers, times and addresses by value, text by its bytes, NaN last, what is equal by key
    ///
    /// Of a watch, also the changes of one refresh, of which deletes come first.
    #[arg(help_heading = VIEW, long, value_name = "FIELD[:desc],…")]
    pub sort: Option<String>,
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
    #[arg(long, value_name = "N", value_parser = whole::<1>)]
    pub count: Option<u64>,

    /// Do not run COMMAND for the table at the start, but only for changes
    #[arg(long, requires = "command", conflicts_with = "once")]
    pub postpone: bool,

    /// Fail if there is no table within this time, or --count is not reached: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Run this at each change, with the changes as jsonl on its stdin
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "format")]
    pub command: Vec<OsString>,

    /// How to be woken
    #[command(flatten)]
    pub waking: Waking,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free port, told on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

/// How to be woken.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Waking {
    /// How to be woken: auto, mq, futex, unix, signal[:USR2|:RTMIN+3], fifo, spin, spin:50us[+KIND]
    ///
    /// auto is a message queue, and the futex where there is none to be had. `fifo` is a named pipe that scripts can read
    /// beside this watch: a line for each wake-up, the version. `spin` takes a processor. docs/wake-kinds.md helps to choose.
    #[arg(help_heading = WAKING, long, value_name = "KIND", default_value_t)]
    pub wake: WakeKind,

    /// Where the pipe of --wake fifo is made (a path, or a directory), or the socket of --wake unix (a directory)
    #[arg(help_heading = WAKING, long, value_name = "PATH")]
    pub wake_at: Option<PathBuf>,
}

/// What `get` takes.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// Which table
    #[command(flatten)]
    pub table: Table,

    /// No more rows than this, the first ones
    #[arg(short = 'n', long, value_name = "N", value_parser = whole::<0>)]
    pub limit: Option<u64>,

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

    /// How to print: one JSON object on many lines (json) or one (jsonl), or its members as csv of name and value
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Parses a user id, given by number or by name.
///
/// # Errors
/// A sentence for clap.
pub fn user(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => {
            Err("there is no such user on this machine: write a name or a number".to_owned())
        }
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
        let args =
            Args::try_parse_from(["subscriber", "get", "t", "-n", "5", "--", "-5,x"]).unwrap();
        let Some(Command::Get(get)) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(
            (get.table.keys, get.limit),
            (vec!["-5,x".to_owned()], Some(5))
        );
    }

    #[test]
    fn a_command_stands_behind_two_dashes() {
        let line = [
            "subscriber",
            "watch",
            "t",
            "-5",
            "--count",
            "1",
            "--",
            "cat",
            "-n",
            "--",
        ];
        let args = Args::try_parse_from(line).unwrap();
        let Some(Command::Watch(watch)) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(
            (watch.table.keys, watch.count),
            (vec!["-5".to_owned()], Some(1))
        );
        assert_eq!(watch.command, ["cat", "-n", "--"]);
    }
}
