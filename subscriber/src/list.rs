//! `ls`: every table on this machine, also those that cannot be looked at.

use std::io::Write;
use std::time::Instant;

use common::{Error, PublisherState, TableInfo, inspect, tables};
use serde::Serialize;

use crate::args::List;
use crate::format::Format;
use crate::format::columns::{Column, write_table};
use crate::format::palette::Palette;
use crate::output::Output;
use crate::shell::{Failure, Stop};

/// The names of the columns of `csv` and the fields of JSON.
const NAMES: [&str; 8] = [
    "name",
    "rows",
    "version",
    "commits_per_second",
    "publisher",
    "pid",
    "subscribers",
    "problem",
];

/// One table. What is not known is left out.
#[derive(Serialize)]
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
    problem: Option<String>,
}

/// Prints all tables.
///
/// # Errors
/// What the system refuses; not what is wrong with a table, which is printed.
pub fn run(args: &List, stop: &Stop, output: Output) -> Result<(), Failure> {
    let first: Vec<_> = tables()?
        .into_iter()
        .map(|name| {
            let info = inspect(&name, args.owner);
            (name, info, Instant::now())
        })
        .collect();
    if !first.is_empty() && stop.sleep(args.sample) {
        return Ok(());
    }
    let listed: Vec<Listed> = first
        .into_iter()
        .filter_map(|(name, before, looked)| {
            let counted = before.ok().filter(|_| !args.sample.is_zero());
            match inspect(&name, args.owner) {
                // Gone while this looked.
                Err(Error::NotFound { .. }) => None,
                Err(error) => Some(Listed::unseen(name, &error)),
                Ok(now) => {
                    let rate = counted.and_then(|before| rate(&before, &now, looked));
                    Some(Listed::seen(now, rate))
                }
            }
        })
        .collect();
    print(&listed, args.format, output)
}

/// Commits a second since `before`, unless that was another region.
fn rate(before: &TableInfo, now: &TableInfo, looked: Instant) -> Option<f64> {
    let commits = now.version.checked_sub(before.version)?;
    let rate = commits as f64 / looked.elapsed().as_secs_f64();
    (before.region_id == now.region_id && rate.is_finite()).then(|| (rate * 10.0).round() / 10.0)
}

impl Listed {
    fn seen(table: TableInfo, commits_per_second: Option<f64>) -> Self {
        let (publisher, pid) = publisher(table.publisher);
        let (subscribers, problem) = match &table.subscribers {
            Ok(listeners) => (
                Some(listeners.iter().filter(|listener| listener.alive).count()),
                None,
            ),
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
            problem,
        }
    }

    fn unseen(name: String, error: &Error) -> Self {
        Self {
            name,
            rows: None,
            version: None,
            commits_per_second: None,
            publisher: None,
            pid: None,
            subscribers: None,
            problem: Some(error.to_string()),
        }
    }

    fn cells(&self) -> [String; NAMES.len()] {
        fn text(value: Option<&impl ToString>) -> String {
            value.map(ToString::to_string).unwrap_or_default()
        }
        [
            self.name.clone(),
            text(self.rows.as_ref()),
            text(self.version.as_ref()),
            text(self.commits_per_second.as_ref()),
            text(self.publisher.as_ref()),
            text(self.pid.as_ref()),
            text(self.subscribers.as_ref()),
            text(self.problem.as_ref()),
        ]
    }
}

/// In a word, and its process id while it lives.
pub fn publisher(state: PublisherState) -> (&'static str, Option<u32>) {
    match state {
        PublisherState::Alive { pid, .. } => ("alive", Some(pid)),
        PublisherState::Gone { .. } => ("gone", None),
        PublisherState::Closed { .. } => ("closed", None),
    }
}

fn print(listed: &[Listed], format: Format, output: Output) -> Result<(), Failure> {
    let palette = Palette::of(&output);
    let mut out = output.buffered();
    match format {
        Format::Table => {
            let columns = ["name", "rows", "version", "commits/s", "publisher", "pid"]
                .into_iter()
                .chain(["subscribers", "problem"])
                .map(|name| Column::new(name, !["name", "publisher", "problem"].contains(&name)));
            let shown = match listed.iter().any(|table| table.problem.is_some()) {
                true => NAMES.len(),
                false => NAMES.len() - 1,
            };
            let lines: Vec<Vec<String>> = listed
                .iter()
                .map(|table| table.cells()[..shown].to_vec())
                .collect();
            write_table(
                &mut out,
                columns.take(shown).collect(),
                &lines,
                palette.head,
            )?;
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, listed).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Format::Jsonl => {
            for table in listed {
                serde_json::to_writer(&mut out, table).map_err(std::io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(&mut out);
            let written = std::iter::once(NAMES.map(str::to_owned))
                .chain(listed.iter().map(Listed::cells))
                .try_for_each(|cells| writer.write_record(cells));
            written.map_err(crate::format::csv_error)?;
            writer.flush()?;
        }
    }
    Ok(out.flush()?)
}
