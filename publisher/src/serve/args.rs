//! The arguments of `serve`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap_complete::ArgValueCompleter;
use cli::metrics::Address;
use cli::{complete, duration, nearest};
use common::publisher::{MAX_CAPACITY, MAX_SLOTS};

use crate::source::format::{FormatName, OnDuplicate, Separator};

/// Help headings.
const SOURCE: &str = "Source";
const TABLE: &str = "Table";

/// Help of `serve`. Each paragraph is one line, because clap wraps it at the terminal's width.
pub const HELP: &str = r#"Lines of JSON (`--from -`), one change per line:
  {"op":"upsert","row":{"id":1}}     op: create or insert, update, upsert
  {"op":"delete","key":{"id":1}}     the key, or the whole row
  {"op":"clear"}                     removes all rows
  {"op":"begin"} … {"op":"commit"}   changes that are committed together
  {"id":1}                           a row by itself is an upsert

A line outside begin and commit is a separate change; lines that arrive together are committed together. Lines of `subscriber watch --format jsonl` carry a version, and their creates replace existing rows. Members of a row that are not fields are ignored. A bad line is reported and skipped; between begin and commit it drops that transaction. If the table has a field `op`, an object is an operation only if it also has an object `row` or `key`.

When stdin ends, the table stays up with its last rows, and the end is reported on stderr, in the metrics and to the service manager. With --exit-at-eof the publisher ends too: use it in a pipeline.

CSV on stdin (`--from - --format csv`): the first record names the columns, and each further record is an upsert. A column `op` that is not a field holds create, insert, update, upsert or delete, as `subscriber watch --format csv` prints it. A record that repeats the header is a row if it fits the fields.

With --snapshot, stdin is a series of whole tables in any format, each ended by an empty line (`--separator blank`) or a form feed. Each of them replaces the rows, and the differences become visible atomically. One that is not a table is reported once per streak, and the rows do not change.

Named pipes (`--from fifo:PATH`): scripts write lines as on stdin, and the table stays up: echo '{"id":1}' > PATH. The pipe is created with mode 600, and removed at the end. Lines of up to 4096 bytes from several writers do not mix.

Files (`--from FILE.csv`, `.tsv`, `.json`, `.jsonl` or `.ndjson`, also compressed as `.csv.gz` and so on): the file is the table. It is read again whenever it changes, and at SIGHUP, and the differences become visible atomically. A version that cannot be read is reported, and the rows do not change. The lines of a .jsonl file are applied as on stdin, to an empty table; a last line that is the beginning of an object is left out until it is complete. A .json file is an array of objects, which are the rows.

A version of a file, of a command's output or of stdin that has none of the table's columns, or that removes all rows or more than --max-loss allows, is refused like one that cannot be read. With --pin-schema the fields of the first version stay. Give --fields for a table that programs read.

Commands (`--from command -- COMMAND ARG…`): each run prints the whole table, in any format; the default is columns. The differences become visible atomically. A run that fails, takes longer than --timeout or prints something that is not a table is reported once per streak, with the end of its stderr, and the rows do not change. Runs do not overlap. At the end of a run its whole process group is ended.

Columns (`--format columns`): cells are separated by runs of blanks, as df, ps and ss print them. The first line names the columns. There are as many as the line with the fewest words has; the last one takes the rest of each line and the remaining names. A name that occurs twice gets its number appended.

In CSV, a quoted cell may hold delimiters, line breaks and doubled quotes. Text after a closing quote is an error; with `--quote none` every quote is an ordinary character. A file with one column is refused if every record has the same number of semicolons, bars or tabs, unless --delimiter is given. A first line such as `sep=;` names the delimiter.

Without --fields the kinds are inferred from the whole file: bool (true, false), u64, i64, f64, ipv4, ipv6, ipnet, mac, timestamp, else text. A value that would lose a digit makes its column text: 007, +5, numbers beyond 64 bits, leap seconds, and in CSV codes such as 12E3. An empty cell also makes its column text; a column without any cells keeps its previous kind. A key is text unless every value would print exactly as written. Names keep their letters; blanks, commas and colons in them become _. If two different names become equal, the later one gets its column number appended. A column without a name is column_N.

With --fields, fields select their columns or members by name, in any order, and other columns are ignored; without a header the fields are the columns in their order.

As a service (Type=notify of systemd): ready when the source's initial rows have been published (stdin: when the table is open); SIGHUP reloads a file; the publishing loop feeds the watchdog. docs/systemd.md has a unit file.

Examples:
  publisher serve processes --from processes --every 1s
  echo '{"id":1,"price":9.5}' |
    publisher serve prices --from - --fields id:u64,price:f64
  subscriber watch A --format jsonl |
    publisher serve B --from - --clear --exit-at-eof --fields id:u64,price:f64
        B follows A, and ends when the watch ends
  publisher serve prices --from prices.csv
        fields are inferred, and the first column is the key
  while sleep 1; do ps -e; echo; done |
    publisher serve ps --from - --snapshot --format columns
  publisher serve disks --from command --every 5s --key Mounted_on -- df -P
  publisher serve geo --from geoip.csv --no-header --comment '#' --fields \
    first:u32,last:u32,country:text(8)"#;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the table: 1 to 64 of A-Z a-z 0-9 . _ - without a leading dot
    #[arg(add = ArgValueCompleter::new(complete::abandoned_tables))]
    pub name: String,

    /// Source of the rows: `processes`, `routes` or `neighbors` (of this machine), a file of CSV
    /// or lines of JSON, which is followed, `command` (the output of COMMAND, at an interval),
    /// `-` (CSV or lines of JSON on stdin), or `fifo:PATH` (the same, from a named pipe)
    #[arg(help_heading = SOURCE, long, value_name = "SOURCE", value_parser = OsStringValueParser::new().try_map(From::try_from), add = ArgValueCompleter::new(complete::sources))]
    pub from: From,

    /// The fields of a row: NAME:KIND,… with bool, u8 to u64, i8 to i64, f32, f64, text(N), ipv4,
    /// ipv6, ipnet, mac or timestamp as KIND. Required for lines on stdin; they select columns of CSV and
    /// members of JSON [default for files, commands and --snapshot: inferred]
    // `TABLECAST_FIELDS` and `TABLECAST_FORMAT` belong to the subscriber, and users export them for
    // a whole shell.
    #[arg(help_heading = SOURCE, long, env = "TABLECAST_SERVE_FIELDS")]
    pub fields: Option<String>,

    /// The key fields, joined by commas [default: the first field]
    #[arg(help_heading = SOURCE, long, value_name = "FIELDS")]
    pub key: Option<String>,

    /// Format of the input: csv, tsv, jsonl (lines), json (an array) or columns (separated by blanks)
    /// [default: by the file's extension; columns of a command; jsonl on stdin]
    #[arg(help_heading = SOURCE, long, value_name = "FORMAT", hide_possible_values = true, env = "TABLECAST_SERVE_FORMAT")]
    pub format: Option<FormatName>,

    /// The delimiter between cells of CSV: one character, or `tab` [default: a comma; a tab for
    /// tsv]
    #[arg(help_heading = SOURCE, long, value_name = "CHAR", value_parser = delimiter)]
    pub delimiter: Option<u8>,

    /// With `none`, quotes in CSV are ordinary characters; otherwise a quoted cell may hold
    /// delimiters and line breaks, and malformed quotes are refused
    #[arg(help_heading = SOURCE, long, value_name = "none", value_parser = ["none"], hide_possible_values = true)]
    pub quote: Option<String>,

    /// Skip lines of CSV that begin with this character
    #[arg(help_heading = SOURCE, long, value_name = "CHAR", value_parser = one_byte)]
    pub comment: Option<u8>,

    /// Read the first line of CSV as a row: --fields gives the names in their order [default:
    /// column_1, column_2, …]
    #[arg(help_heading = SOURCE, long)]
    pub no_header: bool,

    /// Number of lines to skip before the header of CSV or columns
    #[arg(help_heading = SOURCE, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub skip_lines: u64,

    /// Names of the columns, joined by commas, in place of those in the header
    #[arg(help_heading = SOURCE, long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// The row to keep if a table of CSV, columns or a JSON array has several with the same key:
    /// first or last [default: such a version is refused]
    #[arg(help_heading = SOURCE, long, value_name = "WHICH", hide_possible_values = true)]
    pub on_duplicate: Option<OnDuplicate>,

    /// Maximum part of the rows that a new version of a file, of a command's output or of stdin may
    /// remove, in percent, or `none`; a version that removes more is refused, and so is one without
    /// rows [default: 100]
    #[arg(help_heading = SOURCE, long, value_name = "PERCENT", value_parser = max_loss)]
    pub max_loss: Option<MaxLoss>,

    /// Keep the fields that were inferred from the first version, and refuse a version that does not
    /// fit them
    #[arg(help_heading = SOURCE, long, conflicts_with = "fields")]
    pub pin_schema: bool,

    /// Interval at which the processes are read or the command is run [default: 100ms; 5s for a
    /// command]
    #[arg(help_heading = SOURCE, long, value_name = "DURATION", value_parser = interval)]
    pub every: Option<Duration>,

    /// Maximum time of a run of the command, which is then terminated [default: 30s]
    // `TABLECAST_TIMEOUT` belongs to the subscriber.
    #[arg(help_heading = SOURCE, long, value_name = "DURATION", value_parser = interval, env = "TABLECAST_SERVE_TIMEOUT")]
    pub timeout: Option<Duration>,

    /// Each version on stdin is the whole table: it replaces the rows, and its fields may be inferred
    #[arg(help_heading = SOURCE, long)]
    pub snapshot: bool,

    /// Separator of the versions on stdin: blank (an empty line) or formfeed [default: blank]
    #[arg(help_heading = SOURCE, long, value_name = "WHICH", requires = "snapshot", hide_possible_values = true)]
    pub separator: Option<Separator>,

    /// Size of the receive buffer for events of `routes` and `neighbors`; if it overflows,
    /// everything is read again
    #[arg(help_heading = SOURCE, long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = within::<{ 1 << 30 }>)]
    pub receive_buffer: usize,

    /// End at the first bad line or bad version (exit code 5; 1 if a row does not fit into the
    /// table)
    #[arg(help_heading = SOURCE, long)]
    pub strict: bool,

    /// End at the end of the input, or when a file or a command's output has been read once, with
    /// exit code 5 if lines or versions were refused and 1 if rows did not fit into the table;
    /// otherwise the table stays up
    #[arg(help_heading = SOURCE, long)]
    pub exit_at_eof: bool,

    /// Delete each row at the time in this field, a timestamp; zero is never (`--from -` only)
    #[arg(help_heading = TABLE, long, value_name = "FIELD")]
    pub expire: Option<String>,

    /// Delete each row this time after it was last written: 30s (`--from -` only)
    #[arg(help_heading = TABLE, long, value_name = "TIME", value_parser = interval, conflicts_with = "expire")]
    pub ttl: Option<Duration>,

    /// Start with an empty table even if an earlier publisher left rows
    #[arg(help_heading = TABLE, long)]
    pub clear: bool,

    /// At the end, keep the table for the next publisher and for readers; otherwise it is removed
    #[arg(help_heading = TABLE, long)]
    pub keep: bool,

    /// Maximum number of rows [default: the table grows as needed]
    #[arg(help_heading = TABLE, long, value_name = "ROWS", value_parser = within::<{ MAX_CAPACITY }>)]
    pub capacity: Option<usize>,

    /// Number of slots for subscribers that are woken directly; further subscribers use the futex
    /// or poll
    #[arg(help_heading = TABLE, long, value_name = "N", default_value_t = 512, value_parser = within::<{ MAX_SLOTS }>)]
    pub subscribers: usize,

    /// Permissions to read the table, in octal: 600 the owner, 640 also the group, 644 everybody
    #[arg(help_heading = TABLE, long, value_name = "OCTAL", default_value = "600", value_parser = cli::mode)]
    pub mode: u32,

    /// The group that owns the table [default: the publisher's]
    #[arg(help_heading = TABLE, long, value_name = "NAME|GID", value_parser = cli::group)]
    pub group: Option<u32>,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free
    /// port, reported on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,

    /// The command of `--from command`, after --, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The value of `--from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Processes,
    Routes,
    Neighbors,
    Stdin,
    /// A named pipe at this path.
    Fifo(PathBuf),
    Command,
    File(PathBuf),
}

impl TryFrom<OsString> for From {
    type Error = String;

    /// Accepts any path, even if it is not UTF-8.
    fn try_from(value: OsString) -> Result<Self, String> {
        if let Some(path) = value.as_encoded_bytes().strip_prefix(b"fifo:") {
            return Ok(Self::Fifo(PathBuf::from(OsStr::from_bytes(path))));
        }
        match value.to_str() {
            Some("processes") => Ok(Self::Processes),
            Some("routes") => Ok(Self::Routes),
            Some("neighbors") => Ok(Self::Neighbors),
            Some("-") => Ok(Self::Stdin),
            Some("command") => Ok(Self::Command),
            _ => {
                let path = PathBuf::from(value);
                let is_path = path.as_os_str().as_encoded_bytes().contains(&b'/')
                    || FormatName::of_path(&path).is_some();
                if is_path || path.exists() {
                    return Ok(Self::File(path));
                }
                let text = path.to_string_lossy();
                let similar = nearest(&text, ["processes", "routes", "neighbors", "command"]);
                let hint = similar.map_or(String::new(), |name| format!("did you mean {name}? "));
                Err(format!(
                    "it is neither a source nor a file: {hint}use processes, routes, neighbors, command, FILE.csv, FILE.tsv, FILE.json, FILE.jsonl, fifo:PATH, or - for stdin"
                ))
            }
        }
    }
}

/// Parses a single ASCII character other than a quote, a line end or NUL.
fn one_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if !matches!(byte, b'"' | b'\r' | b'\n' | 0) && byte.is_ascii() => Ok(*byte),
        _ => Err("use one ASCII character other than a quote".to_owned()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        text => one_byte(text),
    }
}

/// The value of `--max-loss`: percent, or `None` for no maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxLoss(pub Option<usize>);

impl Default for MaxLoss {
    fn default() -> Self {
        Self(Some(100))
    }
}

fn max_loss(text: &str) -> Result<MaxLoss, String> {
    match (text, text.strip_suffix('%').unwrap_or(text).parse()) {
        ("none", _) => Ok(MaxLoss(None)),
        (_, Ok(percent @ 0..=100)) => Ok(MaxLoss(Some(percent))),
        _ => Err("write a whole number from 0 to 100, or none".to_owned()),
    }
}

/// Maximum value of `--every`.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it cannot be zero".to_owned()),
        interval if interval > MAX_INTERVAL => Err("it cannot be more than a day".to_owned()),
        interval => Ok(interval),
    }
}

fn within<const MAX: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX).contains(number));
    number.ok_or_else(|| format!("write a whole number from 1 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_accepts_source_names_and_files() {
        let source = |text: &str| From::try_from(OsString::from(text));
        assert_eq!(source("processes"), Ok(From::Processes));
        assert_eq!(source("-"), Ok(From::Stdin));
        for path in [
            "missing.csv",
            "missing.JSONL",
            "missing.csv.gz",
            "x.JSON.GZ",
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
    fn delimiter_must_be_one_byte() {
        assert_eq!(
            (delimiter(";"), delimiter("tab"), delimiter("\t")),
            (Ok(b';'), Ok(b'\t'), Ok(b'\t'))
        );
        for text in ["", ";;", "\"", "\n", "ä"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_rejected() {
        for text in ["", "0", "-1", "11", "1.5", "99999999999999999999"] {
            assert!(within::<10>(text).is_err(), "{text}");
        }
        assert_eq!(within::<10>("10"), Ok(10));
        assert!(interval("0s").is_err() && interval("5").is_err());
        for (text, percent) in
            [("none", None), ("0", Some(0)), ("50%", Some(50)), ("100", Some(100))]
        {
            assert_eq!(max_loss(text), Ok(MaxLoss(percent)), "{text}");
        }
        for text in ["", "%", "101", "-1", "1.5", "none%", "all"] {
            assert!(max_loss(text).is_err(), "{text}");
        }
    }
}
