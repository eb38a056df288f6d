//! `info`: all that a table says of itself, and the kernel of its publisher and subscribers.

use std::io::{self, Write};
use std::time::Duration;

use common::{Field, Schema, TableInfo, inspect};
use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;

use crate::args::{self, InfoFormat};
use crate::format::cells;
use crate::format::columns::{Column, write_table};
use crate::format::palette::Palette;
use crate::list::publisher;
use crate::output::Output;
use crate::shell::Failure;

/// A table. What is not known is left out.
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
    /// Of the last one, should there be none now.
    publisher_pid: u32,
    heartbeat_ago_ms: f64,
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

/// One subscriber, as it says itself.
#[derive(Serialize)]
struct Subscriber {
    slot: usize,
    pid: u32,
    /// `asleep` until the next commit, `awake`, or `gone` with its slot not freed yet.
    state: &'static str,
    seen: u64,
    behind_commits: u64,
}

/// Prints all about the table.
///
/// # Errors
/// As [`inspect`].
pub fn run(args: &args::Info, output: Output) -> Result<(), Failure> {
    let table = inspect(&args.name, args.owner)?;
    let report = Report::of(&table);
    let palette = Palette::of(&output);
    let mut out = output.buffered();
    match args.format {
        InfoFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        InfoFormat::Table => report.write(&mut out, palette)?,
    }
    Ok(out.flush()?)
}

impl<'a> Report<'a> {
    fn of(table: &'a TableInfo) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
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
            committed_ago_ms: table.committed_ago.map(milliseconds),
            rows: table.rows,
            capacity_rows: table.capacity,
            row_bytes: table.schema.row_size(),
            bytes: table.bytes,
            allocated_bytes: table.allocated_bytes,
            epoch: table.publisher.epoch(),
            publisher: publisher(table.publisher).0,
            publisher_pid: table.publisher_pid,
            heartbeat_ago_ms: milliseconds(table.heartbeat_ago),
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

    fn write(&self, out: &mut impl Write, palette: Palette) -> io::Result<()> {
        let head = palette.head;
        let mut line = |name: &str, value: String| writeln!(out, "{head}{name:12}{head:#}{value}");
        line("table", self.name.to_owned())?;
        line("version", self.version_text())?;
        line(
            "rows",
            format!(
                "{} of {}, {} bytes each",
                self.rows, self.capacity_rows, self.row_bytes
            ),
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
        line(
            "epoch",
            format!("{} (counts the publishers it has had)", self.epoch),
        )?;
        line("owner", owner(self.owner, self.group, &self.mode))?;
        line(
            "region",
            format!("{}, registry {}", self.region_id, self.registry_id),
        )?;
        line("subscribers", self.subscribers_text())?;
        writeln!(out)?;
        self.write_fields(out, palette)?;
        self.write_subscribers(out, palette)
    }

    fn version_text(&self) -> String {
        match self.committed_ago_ms {
            Some(ago) => format!("{}, committed {} ago", self.version, milliseconds(ago)),
            None => format!("{}, and the next ones as you read", self.version),
        }
    }

    fn publisher_text(&self) -> String {
        let ago = milliseconds(self.heartbeat_ago_ms);
        let pid = self.publisher_pid;
        match self.publisher {
            "alive" => format!("process {pid}, heartbeat {ago} ago"),
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

    fn write_fields(&self, out: &mut impl Write, palette: Palette) -> io::Result<()> {
        let columns = vec![
            Column::new("field", false),
            Column::new("kind", false),
            Column::new("offset", true),
            Column::new("key", true),
        ];
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
        write_table(out, columns, &lines, palette.head)
    }

    fn write_subscribers(&self, out: &mut impl Write, palette: Palette) -> io::Result<()> {
        let Some(subscribers) = self.subscribers.as_ref().filter(|some| !some.is_empty()) else {
            return Ok(());
        };
        let columns = vec![
            Column::new("slot", true),
            Column::new("subscriber", true),
            Column::new("state", false),
            Column::new("seen", true),
            Column::new("behind", true),
        ];
        let lines: Vec<Vec<String>> = subscribers
            .iter()
            .map(|one| {
                vec![
                    one.slot.to_string(),
                    one.pid.to_string(),
                    one.state.to_owned(),
                    one.seen.to_string(),
                    one.behind_commits.to_string(),
                ]
            })
            .collect();
        writeln!(out)?;
        write_table(out, columns, &lines, palette.head)
    }
}

impl Subscriber {
    fn of(listener: &common::inspect::Listener, version: u64) -> Self {
        Self {
            slot: listener.slot,
            pid: listener.pid,
            state: match (listener.alive, listener.parked) {
                (true, true) => "asleep",
                (true, false) => "awake",
                (false, _) => "gone",
            },
            seen: listener.seen,
            behind_commits: version.saturating_sub(listener.seen),
        }
    }
}

fn milliseconds(milliseconds: f64) -> String {
    cells::nanoseconds((milliseconds * 1e6) as u64)
}

/// `root:staff 0640`, numbers where there are no names.
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
