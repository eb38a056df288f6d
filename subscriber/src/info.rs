//! `info`: prints everything that a table's header contains, and the state of its publisher and
//! subscribers.

use std::io::{self, Write};

use anstyle::Style;
use clap_complete::ArgValueCompleter;
use common::admin::orphans;
use common::{Error, Field, Schema, TableInfo, inspect};
use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;
use serde_json::Value;

use crate::cells::{self, milliseconds};
use crate::format::columns::{Column, Cut, write_table};
use crate::format::line::Line;
use crate::format::terminal::{Palette, Width};
use crate::format::{Format, csv_error};
use crate::list::{self, publisher};
use crate::output::Output;
use cli::{CliError, complete, status};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    name: String,

    /// Inspect a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    owner: Option<u32>,

    /// Output format: one JSON object on many lines (json) or on one (jsonl), or its members as csv
    /// with name and value
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    schema: &'a Schema,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed_ago_ms: Option<f64>,
    rows: usize,
    capacity_rows: usize,
    row_bytes: usize,
    bytes: u64,
    allocated_bytes: u64,
    epoch: u64,
    publisher: &'static str,
    /// Process id of the publisher; the last one's, if there is none now.
    publisher_pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_ago_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ended_ago_ms: Option<f64>,
    owner: u32,
    group: u32,
    mode: String,
    region_id: String,
    registry_id: String,
    slots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<Vec<Subscriber>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
struct Subscriber {
    slot: usize,
    pid: u32,
    /// `asleep` until the next commit, `awake`, or `gone` with its slot not freed yet.
    state: &'static str,
    wake: &'static str,
    seen: u64,
    behind_commits: u64,
}

pub fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let table = match inspect(&args.name, args.owner) {
        Err(Error::NotFound { table }) => return Err(not_found(&table)),
        other => other?,
    };
    let report = Report::of(&table);
    let (palette, width) = (Palette::of(&output), Width::of(&output));
    let mut out = output.buffered();
    match args.format {
        Format::Json => serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?,
        Format::Jsonl => serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?,
        Format::Csv => {
            write_csv(&mut out, &serde_json::to_value(&report).map_err(io::Error::from)?)?
        }
        Format::Table => {
            let columns = width.columns();
            let cut = report.write(&mut out, palette, columns)?;
            out.flush()?;
            let note = columns.and_then(|columns| cut.note(columns, "--format json"));
            note.into_iter().for_each(status);
        }
    }
    if matches!(args.format, Format::Json | Format::Jsonl) {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Returns an error that the table does not exist, and names the objects that a publisher left.
fn not_found(table: &str) -> CliError {
    let left = orphans().unwrap_or_default();
    let of_table = left.iter().filter(|left| left.table.as_deref() == Some(table));
    let objects: Vec<String> = of_table.map(|left| left.object.display().to_string()).collect();
    match objects.is_empty() {
        true => Error::NotFound { table: table.to_owned() }.into(),
        false => CliError::new(
            1,
            format!(
                "table not found: {table:?}: a dead publisher left only {}; `publisher rm {table}` removes it",
                objects.join(", "),
            ),
        ),
    }
}

impl<'a> Report<'a> {
    fn of(table: &'a TableInfo) -> Self {
        let (subscribers, problem) = match &table.subscribers {
            Ok(listeners) => {
                let of = |listener| Subscriber::of(listener, table.version);
                (Some(listeners.iter().map(of).collect()), None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            name: &table.name,
            schema: &table.schema,
            version: table.version,
            committed_ago_ms: table.committed_ago.map(list::milliseconds),
            rows: table.rows,
            capacity_rows: table.capacity,
            row_bytes: table.schema.row_size(),
            bytes: table.bytes,
            allocated_bytes: table.allocated_bytes,
            epoch: table.publisher.epoch(),
            publisher: publisher(table).0,
            publisher_pid: table.publisher_pid,
            heartbeat_ago_ms: table.heartbeat_ago.map(list::milliseconds),
            input_ended_ago_ms: list::input_ended_ago(table).map(list::milliseconds),
            owner: table.owner,
            group: table.group,
            mode: format!("{:04o}", table.mode),
            region_id: format!("{:016x}", table.region_id),
            registry_id: format!("{:016x}", table.registry_id),
            slots: table.slots,
            subscribers,
            problem,
        }
    }

    fn write(
        &self,
        out: &mut impl Write,
        palette: Palette,
        width: Option<usize>,
    ) -> io::Result<Cut> {
        let mut cut = Cut::default();
        let mut line = |name: &str, value: String| -> io::Result<()> {
            let mut line = Line::default();
            line.push(palette.head, format_args!("{name:12}"));
            line.push(Style::new(), value);
            if line.write(out, width)? {
                cut.add_cell();
            }
            Ok(())
        };
        line("table", self.name.to_owned())?;
        line("version", self.version_text())?;
        line(
            "rows",
            format!("{} of {}, {} bytes each", self.rows, self.capacity_rows, self.row_bytes),
        )?;
        line(
            "memory",
            format!(
                "{} in a file of {}",
                cells::bytes(self.allocated_bytes),
                cells::bytes(self.bytes)
            ),
        )?;
        line("publisher", self.publisher_text())?;
        line("epoch", format!("{} (counts the publishers it has had)", self.epoch))?;
        line("owner", owner(self.owner, self.group, &self.mode))?;
        line("region", format!("{}, registry {}", self.region_id, self.registry_id))?;
        line("subscribers", self.subscribers_text())?;
        writeln!(out)?;
        for below in
            [self.write_fields(out, palette, width)?, self.write_subscribers(out, palette, width)?]
        {
            cut.add(below);
        }
        Ok(cut)
    }

    fn version_text(&self) -> String {
        match self.committed_ago_ms {
            Some(ago) => format!("{}, committed {} ago", self.version, milliseconds(ago)),
            None if self.heartbeat_ago_ms.is_none() => self.version.to_string(),
            None => format!("{}, and the next ones as you read", self.version),
        }
    }

    fn publisher_text(&self) -> String {
        let pid = self.publisher_pid;
        let Some(ago) = self.heartbeat_ago_ms.map(milliseconds) else {
            let state = self.publisher;
            return format!("{state} (process {pid}, in another time namespace: ages are unknown)");
        };
        match self.publisher {
            "alive" if let Some(ended) = self.input_ended_ago_ms.map(milliseconds) => {
                format!("process {pid}, its input ended {ended} ago, heartbeat {ago} ago")
            }
            "alive" => format!("process {pid}, heartbeat {ago} ago"),
            "silent" => format!("process {pid}, silent: last heartbeat {ago} ago"),
            state => format!("{state} (it was process {pid}, last heartbeat {ago} ago)"),
        }
    }

    fn subscribers_text(&self) -> String {
        match (&self.subscribers, &self.problem) {
            (Some(subscribers), _) => {
                let alive = subscribers.iter().filter(|one| one.state != "gone").count();
                format!("{alive} in {} slots", self.slots)
            }
            (None, problem) => problem.clone().unwrap_or_default(),
        }
    }

    fn write_fields(
        &self,
        out: &mut impl Write,
        palette: Palette,
        width: Option<usize>,
    ) -> io::Result<Cut> {
        let columns =
            Column::list(&[("field", false), ("kind", false), ("offset", true), ("key", true)]);
        let key: Vec<&str> = self.schema.key_fields().map(Field::name).collect();
        let lines: Vec<Vec<String>> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let in_key = key.iter().position(|name| *name == field.name());
                vec![
                    field.name().to_owned(),
                    field.kind().to_string(),
                    field.offset().to_string(),
                    in_key.map_or(String::new(), |position| (position + 1).to_string()),
                ]
            })
            .collect();
        write_table(out, columns, &lines, palette.head, width)
    }

    fn write_subscribers(
        &self,
        out: &mut impl Write,
        palette: Palette,
        width: Option<usize>,
    ) -> io::Result<Cut> {
        let Some(subscribers) = self.subscribers.as_ref().filter(|some| !some.is_empty()) else {
            return Ok(Cut::default());
        };
        let columns = Column::list(&[
            ("slot", true),
            ("subscriber", true),
            ("state", false),
            ("woken by", false),
            ("seen", true),
            ("behind", true),
        ]);
        let lines: Vec<Vec<String>> = subscribers
            .iter()
            .map(|one| {
                vec![
                    one.slot.to_string(),
                    one.pid.to_string(),
                    one.state.to_owned(),
                    one.wake.to_owned(),
                    one.seen.to_string(),
                    one.behind_commits.to_string(),
                ]
            })
            .collect();
        writeln!(out)?;
        write_table(out, columns, &lines, palette.head, width)
    }
}

impl Subscriber {
    fn of(listener: &common::admin::Listener, version: u64) -> Self {
        Self {
            slot: listener.slot,
            pid: listener.pid,
            state: match (listener.alive, listener.parked) {
                (true, true) => "asleep",
                (true, false) => "awake",
                (false, _) => "gone",
            },
            wake: listener.kind,
            seen: listener.seen,
            behind_commits: version.saturating_sub(listener.seen),
        }
    }
}

/// Returns owner and mode as `root:staff 0640`, with numbers for ids that have no name.
fn owner(user: u32, group: u32, mode: &str) -> String {
    let user = match User::from_uid(Uid::from_raw(user)) {
        Ok(Some(found)) => found.name,
        _ => user.to_string(),
    };
    let group = match Group::from_gid(Gid::from_raw(group)) {
        Ok(Some(found)) => found.name,
        _ => group.to_string(),
    };
    format!("{user}:{group} {mode}")
}

/// Writes a line for each member: its name, with the names of nested members joined by dots, and its
/// value.
fn write_csv(out: &mut impl Write, object: &Value) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["name", "value"]).map_err(csv_error)?;
    write_members(&mut writer, "", object)?;
    writer.flush()
}

fn write_members(
    writer: &mut csv::Writer<impl Write>,
    name: &str,
    value: &Value,
) -> io::Result<()> {
    let nested = |member: &str| match name {
        "" => member.to_owned(),
        name => format!("{name}.{member}"),
    };
    match value {
        Value::Object(members) => members
            .iter()
            .try_for_each(|(member, value)| write_members(writer, &nested(member), value)),
        Value::Array(elements) => elements.iter().enumerate().try_for_each(|(index, value)| {
            write_members(writer, &nested(&index.to_string()), value)
        }),
        Value::String(text) => writer.write_record([name, text]).map_err(csv_error),
        other => writer.write_record([name, &other.to_string()]).map_err(csv_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_within_members_are_joined_by_dots() {
        let object = serde_json::json!({"b": 1.5, "a": {"list": [{"x": "p,q"}, 7], "none": []}});
        let mut out = Vec::new();
        write_csv(&mut out, &object).unwrap();
        let expected = "name,value\na.list.0.x,\"p,q\"\na.list.1,7\nb,1.5\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
