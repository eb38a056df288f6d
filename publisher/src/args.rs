//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand};
use common::publisher::{MAX_CAPACITY, MAX_SLOTS};
use nix::unistd::Group;
use subscriber::metrics::Address;
use subscriber::shell::complete::{Completer, Completions};
use subscriber::shell::duration;
use subscriber::shell::manual::Manual;
use subscriber::shell::nearest::nearest;

use crate::source::Room;
use crate::source::file::settings::{FormatName, OnDuplicate, Quote};

/// What to try first.
pub const EXAMPLE: &str = "\
Try it, in two terminals:
  publisher serve processes --from processes
  subscriber watch processes

Or in one:
  publisher demo
";

/// The heading of what goes with each subcommand.
const EVERYWHERE: &str = "Everywhere";

/// The heading of what says where rows come from.
const SOURCE: &str = "Source";

/// The heading of what says how the table is made, and what becomes of it.
const TABLE: &str = "Table";

const EXIT_CODES: &str = "Exit codes: 0 done; 1 not found, a limit or a permission; 2 wrong arguments; \
3 another publisher holds the table; 4 schema or layout mismatch; 5 bad or unreadable input.";

/// Lines that belong together are one, as they are broken to the terminal's width.
const SERVE_HELP: &str = r#"Lines of JSON (`--from -`), one change a line:
  {"op":"upsert","row":{"id":1}}     op: create or insert, update, upsert
  {"op":"delete","key":{"id":1}}     the key, or the whole row
  {"op":"clear"}                     removes all rows
  {"op":"begin"} … {"op":"commit"}   changes that are committed together
  {"id":1}                           a row by itself is an upsert

A line outside begin and commit is a change of its own; lines that arrive together are committed together. Lines of `subscriber watch --format jsonl` carry a version: their creates replace rows that exist. Members of a row that are not fields are ignored. A bad line is reported and skipped; between begin and commit it drops that transaction. If the table has a field `op`, an object is an operation only if it has an object `row` or `key` too.

When stdin ends the table stays up with its last rows, which is reported on stderr, in the metrics and to the service manager. With --exit-at-eof the publisher ends too: use it in a pipeline.

CSV on stdin (`--from - --format csv`): the first record names the columns, each further record is an upsert. A column `op` that is not a field says create, insert, update, upsert or delete, as `subscriber watch --format csv` prints it. A record that repeats the header is a row if it fits the fields.

Files (`--from FILE.csv`, `.tsv`, `.jsonl` or `.ndjson`): the file is the table. It is read again whenever it changes, and at SIGHUP, and the differences become visible atomically. A version that cannot be read is reported, and the rows stay as they are. Lines of a .jsonl do what they would do on stdin, beginning with no rows; a last line that is the beginning of an object is left out until it is complete.

In CSV a cell in quotes may hold delimiters, line breaks and doubled quotes. Text after a closing quote is an error; with `--quote none` every quote is an ordinary character. A file with one column whose every record has the same number of semicolons, bars or tabs is refused unless --delimiter is given.

Without --fields the kinds are inferred from the whole file: bool (true, false), u64, i64, f64, ipv4, ipv6, ipnet, mac, timestamp, else text. A value that would lose a digit makes its column text: 007, +5, numbers beyond 64 bits, leap seconds, and in CSV codes such as 12E3. So does an empty cell; a column without any cell keeps the kind that it had. A key is text unless all of it would print exactly as written. Names keep their letters; blanks, commas and colons in them become _, a name that two columns would share gets the number of the column, and a column without a name is column_N.

With --fields, fields find their columns or members by name, in any order, and others are ignored; without a header they are the columns in their order.

As a service (Type=notify of systemd): ready when what the source had at first can be read (stdin: when the table is there); SIGHUP reloads a file; the watchdog hears from the publishing loop. docs/systemd.md has a unit file.

Examples:
  publisher serve processes --from processes --every 1s
  echo '{"id":1,"price":9.5}' |
    publisher serve prices --from - --fields id:u64,price:f64
  subscriber watch A --format jsonl |
    publisher serve B --from - --clear --exit-at-eof --fields id:u64,price:f64
    B follows A, and ends with the watch
  publisher serve prices --from prices.csv
    its fields inferred, its first column the key
  publisher serve geo --from geoip.csv --no-header --comment '#' --fields \
    first:u32,last:u32,country:text(8)"#;

const RM_HELP: &str = "\
A table whose publisher is dead is data: it is removed by its name only. `--orphans` removes what `subscriber ls` shows as left \
behind, and the slots and queues of dead subscribers at every table; nothing that a live process holds.";

/// Publishes tables that any number of processes on this machine keep a consistent copy of
///
/// A table is in shared memory, and has one publisher: this program, or one that embeds the library. What is in it is read by
/// `subscriber`, also after its publisher was killed. All that is said goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "publisher", version, after_help = EXIT_CODES)]
pub struct Args {
    /// Say more on stderr; twice for even more (RUST_LOG is honoured)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = EVERYWHERE)]
    pub verbose: u8,

    /// When to use colours; auto is on a terminal, unless NO_COLOR, CLICOLOR or TERM=dumb say no, or CLICOLOR_FORCE always
    #[arg(long, global = true, value_name = "WHEN", default_value_t, help_heading = EVERYWHERE)]
    pub color: clap::ColorChoice,

    /// What to do; help if nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a table until Ctrl-C or SIGTERM
    #[command(after_help = "More, with examples: publisher serve --help", after_long_help = SERVE_HELP)]
    Serve(Serve),
    /// Publish this machine's processes and run a subscriber process beside it, in one terminal
    Demo(Demo),
    /// Remove what dead publishers left; refuses while one is alive
    #[command(after_help = RM_HELP)]
    Rm(Remove),
    /// The subscriber's role in `demo`.
    #[command(name = "__subscriber", hide = true)]
    Subscriber(Child),
    /// Print what has a shell complete lines
    ///
    /// The shell asks this program at each Tab, so that it knows the tables that there are. In ~/.bashrc, or in ~/.zshrc behind
    /// compinit: source <(publisher completions bash). In ~/.config/fish/config.fish: publisher completions fish | source.
    Completions(Completions),
    /// Print the man page, or write all of them to a directory
    ///
    /// To read it: publisher man | man -l -. To have all of them: publisher man ~/.local/share/man/man1.
    Man(Manual),
}

/// What the values of arguments can be, by their names.
pub fn completer(argument: &str) -> Option<Completer> {
    match argument {
        // What is alive can be neither served nor removed.
        "name" | "names" => Some(Completer::Abandoned),
        "from" => Some(Completer::Source),
        _ => None,
    }
}

/// `publisher rm`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The tables' names
    #[arg(value_name = "NAME", required_unless_present = "orphans")]
    pub names: Vec<String>,

    /// Remove all that dead processes left and that belongs to no table, and free the slots of dead subscribers
    #[arg(long)]
    pub orphans: bool,
}

/// `publisher serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The table's name: 1 to 64 of A-Z a-z 0-9 . _ - and no dot first
    pub name: String,

    /// Where rows come from: `processes`, `routes` or `neighbors` (of this machine), a file of CSV or lines of JSON, which is
    /// followed, or `-` (either of them on stdin)
    #[arg(help_heading = SOURCE, long, value_name = "SOURCE", value_parser = OsStringValueParser::new().try_map(From::try_from))]
    pub from: From,

    /// The fields of a row: NAME:KIND,… with bool, u8 to u64, i8 to i64, f32, f64, text(N), ipv4, ipv6, ipnet, mac or
    /// timestamp as KIND. Needed for `-`; they select columns of CSV and members of JSON [default of files: inferred]
    // `TABLECAST_FIELDS` and `TABLECAST_FORMAT` are the subscriber's, which are set for all of a shell's commands.
    #[arg(help_heading = SOURCE, long, env = "TABLECAST_SERVE_FIELDS")]
    pub fields: Option<String>,

    /// Which of the fields are the key, joined by commas [default: the first]
    #[arg(help_heading = SOURCE, long, value_name = "FIELDS")]
    pub key: Option<String>,

    /// What FILE or stdin is written in: csv, tsv or jsonl [default: by the file's extension; jsonl on stdin]
    #[arg(help_heading = SOURCE, long, value_name = "FORMAT", env = "TABLECAST_SERVE_FORMAT")]
    pub format: Option<FormatName>,

    /// What stands between two cells of CSV: one character, or `tab` [default: a comma; a tab for tsv]
    #[arg(help_heading = SOURCE, long, value_name = "CHAR", value_parser = delimiter)]
    pub delimiter: Option<u8>,

    /// `none` if quotes in CSV are ordinary characters; otherwise a cell in quotes may hold delimiters and line breaks, and
    /// malformed quotes are refused
    #[arg(help_heading = SOURCE, long, value_name = "none")]
    pub quote: Option<Quote>,

    /// Lines of CSV that begin with it are passed over
    #[arg(help_heading = SOURCE, long, value_name = "CHAR", value_parser = one_byte)]
    pub comment: Option<u8>,

    /// The first line of CSV is a row: --fields gives the names in their order [default: column_1, column_2, …]
    #[arg(help_heading = SOURCE, long)]
    pub no_header: bool,

    /// Which row counts where a CSV file has several of one key: first or last [default: that is an error]
    #[arg(help_heading = SOURCE, long, value_name = "WHICH")]
    pub on_duplicate: Option<OnDuplicate>,

    /// How often to look at the processes
    #[arg(help_heading = SOURCE, long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    pub every: Duration,

    /// Room for events of `routes` and `neighbors` that are not read yet; when it is used up, all is read anew
    #[arg(help_heading = SOURCE, long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = within::<{ 1 << 30 }>)]
    pub receive_buffer: usize,

    /// End at the first bad line (exit code 5; 1 if a row has no room), or version of a file
    #[arg(help_heading = SOURCE, long)]
    pub strict: bool,

    /// End at the end of the input, or when a file has been read once, with exit code 5 if lines were refused and 1 if rows had
    /// no room; otherwise the table stays up
    #[arg(help_heading = SOURCE, long)]
    pub exit_at_eof: bool,

    /// Begin with an empty table, should an earlier publisher have left rows
    #[arg(help_heading = TABLE, long)]
    pub clear: bool,

    /// Leave the table for the next publisher and for readers at the end; otherwise it is removed
    #[arg(help_heading = TABLE, long)]
    pub keep: bool,

    /// How many rows there can be [default: 1048576, and as many as come where the source brings whole tables]
    #[arg(help_heading = TABLE, long, value_name = "ROWS", value_parser = within::<{ MAX_CAPACITY }>)]
    pub capacity: Option<usize>,

    /// How many subscribers can be woken by name; beyond that they look for themselves
    #[arg(help_heading = TABLE, long, value_name = "N", default_value_t = 1024, value_parser = within::<{ MAX_SLOTS }>)]
    pub subscribers: usize,

    /// Who may read the table, in octal: 600 its owner, 640 a group, 644 everybody
    #[arg(help_heading = TABLE, long, value_name = "OCTAL", default_value = "600", value_parser = mode)]
    pub mode: u32,

    /// The group that the table belongs to [default: the publisher's]
    #[arg(help_heading = TABLE, long, value_name = "NAME|GID", value_parser = group)]
    pub group: Option<u32>,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free port, told on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

impl Serve {
    /// What becomes of rows that there is no room for.
    pub fn room(&self) -> Room {
        match self.capacity {
            Some(_) => Room::Fixed,
            None => Room::Grows,
        }
    }
}

/// `publisher demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// End after so many seconds; otherwise by Ctrl-C
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// How often to look at the processes
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    pub every: Duration,

    /// The table's name [default: demo-PID]
    #[arg(long)]
    pub name: Option<String>,
}

/// `publisher __subscriber`.
#[derive(Debug, clap::Args)]
pub struct Child {
    /// The table's name.
    pub name: String,

    /// End after so many seconds.
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<f64>,

    /// The process whose end is this one's too.
    #[arg(long)]
    pub parent: i32,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// This machine's processes.
    Processes,
    /// The kernel's routes.
    Routes,
    /// The kernel's neighbors.
    Neighbors,
    /// Lines on stdin.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl TryFrom<OsString> for From {
    type Error = String;

    /// A path need not be UTF-8.
    fn try_from(value: OsString) -> Result<Self, String> {
        match value.to_str() {
            Some("processes") => Ok(Self::Processes),
            Some("routes") => Ok(Self::Routes),
            Some("neighbors") => Ok(Self::Neighbors),
            Some("-") => Ok(Self::Stdin),
            _ => {
                let path = PathBuf::from(value);
                let is_meant = path.as_os_str().as_encoded_bytes().contains(&b'/')
                    || FormatName::of_path(&path).is_some();
                match is_meant || path.exists() {
                    true => Ok(Self::File(path)),
                    false => Err(neither(&path.to_string_lossy())),
                }
            }
        }
    }
}

/// What is said of what is no source.
fn neither(text: &str) -> String {
    let meant = nearest(text, ["processes", "routes", "neighbors"]);
    let meant = meant.map_or(String::new(), |meant| format!("did you mean {meant}? "));
    format!(
        "it is neither a source nor a file: {meant}use processes, routes, neighbors, FILE.csv, FILE.tsv, FILE.jsonl, or - for stdin"
    )
}

/// A character of one byte that is no part of a line's structure.
fn one_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if !matches!(byte, b'"' | b'\r' | b'\n' | 0) && byte.is_ascii() => Ok(*byte),
        _ => Err("use one character of ASCII, and no quote".to_owned()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        text => one_byte(text),
    }
}

/// The longest time between two looks.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it cannot be zero".to_owned()),
        interval if interval > MAX_INTERVAL => Err("it cannot be more than a day".to_owned()),
        interval => Ok(interval),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| Duration::try_from_secs_f64(*seconds).is_ok())
        .ok_or_else(|| "write a number of seconds, such as 10 or 0.5".to_owned())
}

fn within<const MAX: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MAX).contains(number))
        .ok_or_else(|| format!("write a whole number from 1 to {MAX}"))
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok();
    mode.filter(|mode| mode & 0o600 == 0o600 && mode & !0o644 == 0)
        .ok_or_else(|| {
            "write 600, with read bits for group (640) and everybody (644) as wanted".to_owned()
        })
}

fn group(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            Err("there is no such group on this machine: write a name or a number".to_owned())
        }
        Err(errno) => Err(format!("cannot look it up: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn modes_are_octal_and_never_writable_by_others() {
        for (text, bits) in [("600", 0o600), ("0640", 0o640), ("0o644", 0o644)] {
            assert_eq!(mode(text), Ok(bits));
        }
        for text in ["", "400", "660", "666", "1600", "698", "rw", "-600"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_are_words_or_files() {
        let source = |text: &str| From::try_from(OsString::from(text));
        assert_eq!(source("processes"), Ok(From::Processes));
        assert_eq!(source("-"), Ok(From::Stdin));
        for path in [
            "missing.csv",
            "missing.JSONL",
            "./processes",
            "/etc/passwd",
            "Cargo.toml",
        ] {
            assert_eq!(source(path), Ok(From::File(path.into())), "{path}");
        }
        for typo in ["csvfile", "process", ""] {
            let error = source(typo).unwrap_err();
            assert!(error.contains("neither"), "{error}");
        }
    }

    #[test]
    fn delimiters_are_one_byte() {
        assert_eq!(
            (delimiter(";"), delimiter("tab"), delimiter("\t")),
            (Ok(b';'), Ok(b'\t'), Ok(b'\t'))
        );
        for text in ["", ";;", "\"", "\n", "ä"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in ["", "0", "-1", "11", "1.5", "99999999999999999999"] {
            assert!(within::<10>(text).is_err(), "{text}");
        }
        assert_eq!(within::<10>("10"), Ok(10));
        for text in ["", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(interval("0s").is_err() && interval("5").is_err());
    }
}
