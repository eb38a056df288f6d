//! `ls`: lists every table on this machine, including those that cannot be inspected, and the
//! orphans.

use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use common::admin::{Orphan, orphans, queue_directory};
use common::{Error, PublisherState, TableInfo, inspect, tables};
use nix::unistd::geteuid;
use serde::Serialize;

use crate::format::Format;
use crate::output::{self, Output};
use cli::{CliError, Shutdown, complete, duration};

mod print;

/// The arguments of `ls`.
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

/// An entry of `ls`: a table, which has a name, or an orphan, which is an object.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Table(Box<Listed>),
    Left(Left),
}

/// One table. Unknown values are left out.
#[derive(Default, Serialize)]
struct Listed {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed_ago_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_ago_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ended_ago_ms: Option<f64>,
}

/// One orphan.
#[derive(Serialize)]
struct Left {
    object: String,
    kind: String,
    owner: u32,
    reason: &'static str,
    remedy: String,
}

/// Prints all tables and the orphans.
///
/// # Errors
/// The error of a system call that failed. Problems of single tables are printed.
pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let first: Vec<_> = tables()?
        .into_iter()
        .map(|name| {
            let info = inspect(&name, args.owner);
            (name, info, Instant::now())
        })
        .collect();
    if !first.is_empty() && output::sleep(stop, args.sample)? {
        return Err(CliError::new(1, "interrupted while counting commits"));
    }
    let tables = first.into_iter().filter_map(|(name, before, looked)| {
        let counted = before.ok().filter(|_| !args.sample.is_zero());
        match inspect(&name, args.owner) {
            // Removed in the meantime.
            Err(Error::NotFound { .. }) => None,
            // `--owner` selects the tables of one user.
            Err(Error::WrongOwner { .. }) if args.owner.is_some() => None,
            Err(error) => Some(Listed::unseen(name, &error)),
            Ok(now) => {
                let rate = counted.and_then(|before| rate(&before, &now, looked));
                Some(Listed::seen(now, rate))
            }
        }
    });
    let tables = tables.map(|table| Found::Table(Box::new(table)));
    let mut found: Vec<Found> = tables.collect();
    if queue_directory().is_none() {
        tracing::info!(
            "message queues are not listed, because their file system is not mounted: mount -t mqueue none /dev/mqueue"
        );
    }
    let left = orphans()?.into_iter();
    let left = left.filter(|left| args.owner.is_none_or(|owner| owner == left.owner));
    found.extend(left.map(|left| Found::Left(Left::of(&left))));
    print::print(&found, args.format, output)
}

/// Returns the commits per second since `before`, unless that was another region.
fn rate(before: &TableInfo, now: &TableInfo, looked: Instant) -> Option<f64> {
    let commits = now.version.checked_sub(before.version)?;
    let rate = commits as f64 / looked.elapsed().as_secs_f64();
    (before.region_id == now.region_id && rate.is_finite()).then(|| (rate * 10.0).round() / 10.0)
}

impl Listed {
    fn seen(table: TableInfo, commits_per_second: Option<f64>) -> Self {
        let (publisher, pid) = publisher(&table);
        let input_ended_ago_ms = input_ended_ago(&table).map(milliseconds);
        let (subscribers, problem) = match &table.subscribers {
            Ok(listeners) => {
                (Some(listeners.iter().filter(|listener| listener.alive).count()), None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            name: table.name,
            rows: Some(table.rows),
            version: Some(table.version),
            commits_per_second,
            publisher: Some(publisher),
            pid,
            subscribers,
            owner: Some(table.owner),
            committed_ago_ms: table.committed_ago.map(milliseconds),
            heartbeat_ago_ms: table.heartbeat_ago.map(milliseconds),
            problem,
            input_ended_ago_ms,
        }
    }

    /// An entry for a table that cannot be inspected.
    fn unseen(name: String, error: &Error) -> Self {
        Self { name, problem: Some(error.to_string()), ..Self::default() }
    }
}

impl Left {
    fn of(left: &Orphan) -> Self {
        Self {
            object: left.object.to_string_lossy().into_owned(),
            kind: left.kind.to_string(),
            owner: left.owner,
            reason: left.reason,
            remedy: remedy("--orphans", left.owner),
        }
    }
}

/// Returns the command with which this user removes `what`, which belongs to `owner`.
pub fn remedy(what: &str, owner: u32) -> String {
    let user = geteuid();
    let sudo = match user.is_root() || user.as_raw() == owner {
        true => "",
        false => "sudo ",
    };
    // `--orphans` removes the orphans of all users.
    let whose = match user.as_raw() == owner || what == "--orphans" {
        true => String::new(),
        false => format!("--owner {owner} "),
    };
    format!("{sudo}publisher rm {whose}{what}")
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
