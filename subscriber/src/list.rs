//! `ls`: lists every table on this machine, including those that cannot be inspected, and the
//! orphans.

use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use cli::{CliError, Shutdown, complete, duration};
use common::admin::{Listener, Orphan, orphans, queue_directory};
use common::{Error, PublisherState, TableInfo, inspect, tables};
use nix::unistd::geteuid;
use serde_json::json;

use crate::cells::{self, visible};
use crate::listing::{self, Entry, Format, Members, Section};
use crate::output::{self, Output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the tables of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    owner: Option<u32>,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Time over which commits are counted, for their rate
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "200ms")]
    sample: Duration,
}

/// The columns of `csv`: the members of tables, which have a `name`, and of orphans, which have an
/// `object`. New members are last.
const NAMES: [&str; 16] = [
    "name",
    "rows",
    "version",
    "commits_per_second",
    "publisher",
    "pid",
    "subscribers",
    "owner",
    "committed_ago_ms",
    "heartbeat_ago_ms",
    "problem",
    "object",
    "kind",
    "reason",
    "remedy",
    "input_ended_ago_ms",
];

/// Prints all tables and orphans. A table that cannot be inspected is printed with its problem.
pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let first: Vec<_> = tables()?
        .into_iter()
        .map(|name| {
            let info = inspect(&name, args.owner);
            (name, info, Instant::now())
        })
        .collect();
    let begun = Instant::now();
    // `wait` may return early.
    while !first.is_empty() && begun.elapsed() < args.sample {
        let left = args.sample.saturating_sub(begun.elapsed());
        if output::wait(stop, &[], Some(left))? {
            return Err(CliError::new(1, "interrupted while counting commits"));
        }
    }
    let tables = first.into_iter().filter_map(|(name, before, looked)| {
        let counted = before.ok().filter(|_| !args.sample.is_zero());
        match inspect(&name, args.owner) {
            // The table was removed in the meantime.
            Err(Error::NotFound { .. }) => None,
            // `--owner` selects the tables of one user.
            Err(Error::WrongOwner { .. }) if args.owner.is_some() => None,
            Err(error) => Some(unreadable_table(&name, &error)),
            Ok(now) => {
                let rate = counted.and_then(|before| rate(&before, &now, looked));
                Some(table(&now, rate))
            }
        }
    });
    let mut found: Vec<Entry> = tables.collect();
    if queue_directory().is_none() {
        tracing::info!(
            "message queues are not listed, because their file system is not mounted: mount -t mqueue none /dev/mqueue"
        );
    }
    let is_wanted = |orphan: &&Orphan| args.owner.is_none_or(|owner| owner == orphan.owner);
    found.extend(orphans()?.iter().filter(is_wanted).map(orphan));
    print(&found, args.format, output)
}

/// Returns the commits per second since `before`, or `None` if `before` is of another region.
fn rate(before: &TableInfo, now: &TableInfo, looked: Instant) -> Option<f64> {
    let commits = now.version.checked_sub(before.version)?;
    let rate = commits as f64 / looked.elapsed().as_secs_f64();
    (before.region_id == now.region_id && rate.is_finite()).then(|| (rate * 10.0).round() / 10.0)
}

fn table(table: &TableInfo, commits_per_second: Option<f64>) -> Entry {
    let (publisher, pid) = publisher(table);
    let ms = |time: Option<Duration>| json!(time.map(milliseconds));
    let alive = |listeners: &Vec<Listener>| listeners.iter().filter(|one| one.alive).count();
    Members::known([
        ("name", json!(table.name)),
        ("rows", json!(table.rows)),
        ("version", json!(table.version)),
        ("commits_per_second", json!(commits_per_second)),
        ("publisher", json!(publisher)),
        ("pid", json!(pid)),
        ("subscribers", json!(table.subscribers.as_ref().ok().map(alive))),
        ("owner", json!(table.owner)),
        ("committed_ago_ms", ms(table.committed_ago)),
        ("heartbeat_ago_ms", ms(table.heartbeat_ago)),
        ("problem", json!(table.subscribers.as_ref().err().map(ToString::to_string))),
        ("input_ended_ago_ms", ms(input_ended_ago(table))),
    ])
}

fn unreadable_table(name: &str, error: &Error) -> Entry {
    Members::known([("name", json!(name)), ("problem", json!(error.to_string()))])
}

fn orphan(orphan: &Orphan) -> Entry {
    Members::known([
        ("object", json!(orphan.object.to_string_lossy())),
        ("kind", json!(orphan.kind.to_string())),
        ("owner", json!(orphan.owner)),
        ("reason", json!(orphan.reason)),
        ("remedy", json!(remedy("--orphans", orphan.owner))),
    ])
}

/// Returns the cells of a table's line for people.
fn table_line(table: &Entry) -> Vec<String> {
    let ago = |name| Some(cells::milliseconds(table.get(name)?.as_f64()?));
    let state = table.text("publisher");
    let publisher = match (ago("heartbeat_ago_ms"), ago("input_ended_ago_ms")) {
        (Some(ago), _) if !["", "alive"].contains(&state.as_str()) => format!("{state} {ago}"),
        (_, Some(ago)) => format!("input ended {ago} ago"),
        _ => state,
    };
    let [name, rows, version, rate, pid, subscribers, problem] =
        ["name", "rows", "version", "commits_per_second", "pid", "subscribers", "problem"]
            .map(|name| table.text(name));
    let committed = ago("committed_ago_ms").map_or(String::new(), |ago| format!("{ago} ago"));
    vec![name, rows, version, rate, publisher, pid, subscribers, committed, problem]
}

/// Returns the cells of an orphan's line for people.
fn orphan_line(orphan: &Entry) -> Vec<String> {
    let object = visible(&orphan.text("object")).into_owned();
    vec![object, orphan.text("kind"), orphan.text("owner"), orphan.text("remedy")]
}

fn print(found: &[Entry], format: Format, output: Output) -> Result<(), CliError> {
    let (tables, orphans): (Vec<&Entry>, Vec<&Entry>) =
        found.iter().partition(|one| one.get("name").is_some());
    let sections = [
        Section {
            columns: &[
                ("name", false),
                ("rows", true),
                ("version", true),
                ("commits/s", true),
                ("publisher", false),
                ("pid", true),
                ("subscribers", true),
                ("committed", true),
                ("problem", false),
            ],
            lines: tables.into_iter().map(table_line).collect(),
        },
        Section {
            columns: &[
                ("left behind", false),
                ("kind", false),
                ("owner", true),
                ("to remove it", false),
            ],
            lines: orphans.into_iter().map(orphan_line).collect(),
        },
    ];
    listing::print(found, &NAMES, &sections, format, output)
}

/// Returns the command with which this user removes `what`, a table or `--orphans` of `owner`.
pub fn remedy(what: &str, owner: u32) -> String {
    let user = geteuid();
    let is_own = user.as_raw() == owner;
    let sudo = if is_own || user.is_root() { "" } else { "sudo " };
    // `--orphans` removes the orphans of all users.
    if is_own || what == "--orphans" {
        return format!("{sudo}publisher rm {what}");
    }
    format!("{sudo}publisher rm --owner {owner} {what}")
}

/// Converts to milliseconds, rounded to the microsecond.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Returns how long ago the input of a live publisher ended.
pub fn input_ended_ago(table: &TableInfo) -> Option<Duration> {
    table.input_ended_ago.filter(|_| table.publisher.is_alive())
}

/// Returns the publisher's state as a word, and its process id while it is alive.
pub fn publisher(table: &TableInfo) -> (&'static str, Option<u32>) {
    match table.publisher {
        PublisherState::Alive { pid, .. } if table.is_silent() => ("silent", Some(pid)),
        PublisherState::Alive { pid, .. } => (table.publisher.as_str(), Some(pid)),
        state => (state.as_str(), None),
    }
}
