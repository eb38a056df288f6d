//! `info`: prints the contents of a table's header, and the state of its publisher and subscribers.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::Style;
use clap_complete::ArgValueCompleter;
use common::admin::{Listener, huge_bytes, orphans};
use common::{Error, Field, Schema, TableInfo, inspect};
use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cells;
use crate::format::columns::{Column, Cut, write_table};
use crate::format::terminal::{Line, Palette, Width};
use crate::format::{Format, Lines, write_json};
use crate::list::{self, publisher};
use crate::listing::Members;
use crate::output::Output;
use cli::{CliError, complete};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    name: String,

    /// Inspect a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    owner: Option<u32>,

    /// Output format: one JSON object on many lines (json) or on one (jsonl), or its members as
    /// csv with name and value
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let table = match inspect(&args.name, args.owner) {
        Err(Error::NotFound { table }) => return Err(not_found(&table)),
        other => other?,
    };
    let (palette, width) = (Palette::of(&output), Width::of(&output));
    let mut out = output.buffered();
    match args.format {
        Format::Json => write_json(&mut out, &members(&table), true)?,
        Format::Jsonl => write_json(&mut out, &members(&table), false)?,
        Format::Csv | Format::Tsv | Format::Raw => {
            let members = serde_json::to_value(members(&table)).map_err(io::Error::from)?;
            let mut lines = Lines::new(&mut out, args.format);
            lines.line(["name", "value"])?;
            write_members(&mut lines, "", &members)?;
            lines.flush()?;
        }
        Format::Table => {
            let columns = width.columns();
            let cut = write_text(&table, &mut out, palette, columns)?;
            out.flush()?;
            cut.report(columns, "--format json");
        }
    }
    Ok(out.flush()?)
}

/// Returns the error for a table that does not exist. It names the objects that a dead publisher
/// left.
fn not_found(table: &str) -> CliError {
    let orphans = orphans().unwrap_or_default();
    let of_table = orphans.iter().filter(|orphan| orphan.table.as_deref() == Some(table));
    let objects: Vec<String> = of_table.map(|orphan| orphan.object.display().to_string()).collect();
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

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Schema(&'a Schema),
    Subscribers(Vec<Members<Value>>),
    Value(Value),
}

/// Returns the members of the table in JSON. Unknown members are left out.
fn members(table: &TableInfo) -> Members<Member<'_>> {
    let ms = |time: Option<Duration>| json!(time.map(list::milliseconds));
    let subscriber = |one: &Listener| {
        Members(vec![
            ("slot", json!(one.slot)),
            ("pid", json!(one.pid)),
            ("state", json!(state(one))),
            ("wake", json!(one.kind)),
            ("seen", json!(one.seen)),
            ("behind_commits", json!(table.version.saturating_sub(one.seen))),
        ])
    };
    let (subscribers, problem) = match &table.subscribers {
        Ok(all) => (Member::Subscribers(all.iter().map(subscriber).collect()), Value::Null),
        Err(error) => (Member::Value(Value::Null), json!(error.to_string())),
    };
    let values = [
        ("version", json!(table.version)),
        ("committed_ago_ms", ms(table.committed_ago)),
        ("rows", json!(table.rows)),
        ("capacity_rows", json!(table.capacity)),
        ("row_bytes", json!(table.schema.row_size())),
        ("bytes", json!(table.bytes)),
        ("allocated_bytes", json!(table.allocated_bytes)),
        ("epoch", json!(table.publisher.epoch())),
        ("publisher", json!(publisher(table).0)),
        // Also known if the publisher is dead.
        ("publisher_pid", json!(table.publisher_pid)),
        ("heartbeat_ago_ms", ms(table.heartbeat_ago)),
        ("input_ended_ago_ms", ms(list::input_ended_ago(table))),
        ("owner", json!(table.owner)),
        ("group", json!(table.group)),
        ("mode", json!(format!("{:04o}", table.mode))),
        ("region_id", json!(format!("{:016x}", table.region_id))),
        ("registry_id", json!(format!("{:016x}", table.registry_id))),
        ("index_generation", json!(table.index_generation)),
        ("index_bytes", json!(table.index_bytes)),
        ("huge_page_bytes", json!(huge_bytes(table))),
        ("slots", json!(table.slots)),
    ];
    let mut members =
        vec![("name", Member::Value(json!(table.name))), ("schema", Member::Schema(&table.schema))];
    members.extend(values.map(|(name, value)| (name, Member::Value(value))));
    members.extend([("subscribers", subscribers), ("problem", Member::Value(problem))]);
    members.retain(|(_, member)| !matches!(member, Member::Value(Value::Null)));
    Members(members)
}

/// Returns `asleep` (until the next commit), `awake`, or `gone` (and its slot is not freed yet).
fn state(subscriber: &Listener) -> &'static str {
    match (subscriber.alive, subscriber.parked) {
        (true, true) => "asleep",
        (true, false) => "awake",
        (false, _) => "gone",
    }
}

fn write_text(
    table: &TableInfo,
    out: &mut impl Write,
    palette: Palette,
    width: Option<usize>,
) -> io::Result<Cut> {
    let mut cut = Cut::default();
    let (bytes, allocated) = (cells::bytes(table.bytes), cells::bytes(table.allocated_bytes));
    let huge = huge_bytes(table).map_or("an unknown part".to_owned(), cells::bytes);
    let row_bytes = table.schema.row_size();
    let index_bytes = table.index_bytes.map_or("not readable".to_owned(), cells::bytes);
    let subscribers = match &table.subscribers {
        Ok(all) => {
            format!("{} in {} slots", all.iter().filter(|one| one.alive).count(), table.slots)
        }
        Err(error) => error.to_string(),
    };
    for (name, value) in [
        ("table", table.name.clone()),
        ("version", version_text(table)),
        ("rows", format!("{} of {}, {row_bytes} bytes each", table.rows, table.capacity)),
        ("memory", format!("{allocated} in a file of {bytes}, {huge} on huge pages")),
        ("publisher", publisher_text(table)),
        ("epoch", format!("{} (number of publishers so far)", table.publisher.epoch())),
        ("owner", owner(table)),
        ("region", format!("{:016x}, registry {:016x}", table.region_id, table.registry_id)),
        ("key index", format!("generation {}, {index_bytes}", table.index_generation)),
        ("subscribers", subscribers),
    ] {
        let mut line = Line::default();
        line.push(palette.head, format_args!("{name:12}"));
        line.push(Style::new(), value);
        if line.write(out, width)? {
            cut.add_cell();
        }
    }
    writeln!(out)?;
    let columns =
        Column::list(&[("field", false), ("kind", false), ("offset", true), ("key", true)]);
    let key: Vec<&Field> = table.schema.key_fields().collect();
    let line = |field: &Field| {
        let in_key = key.iter().position(|key| *key == field);
        vec![
            field.name().to_owned(),
            field.kind().to_string(),
            field.offset().to_string(),
            in_key.map_or(String::new(), |position| (position + 1).to_string()),
        ]
    };
    let lines: Vec<Vec<String>> = table.schema.fields().iter().map(line).collect();
    cut.add(write_table(out, columns, &lines, Some(palette.head), width)?);
    let Some(subscribers) = table.subscribers.as_ref().ok().filter(|all| !all.is_empty()) else {
        return Ok(cut);
    };
    writeln!(out)?;
    let columns = Column::list(&[
        ("slot", true),
        ("subscriber", true),
        ("state", false),
        ("woken by", false),
        ("seen", true),
        ("behind", true),
    ]);
    let line = |one: &Listener| {
        let behind = table.version.saturating_sub(one.seen).to_string();
        let [slot, pid] = [one.slot.to_string(), one.pid.to_string()];
        vec![slot, pid, state(one).to_owned(), one.kind.to_owned(), one.seen.to_string(), behind]
    };
    let lines: Vec<Vec<String>> = subscribers.iter().map(line).collect();
    cut.add(write_table(out, columns, &lines, Some(palette.head), width)?);
    Ok(cut)
}

fn version_text(table: &TableInfo) -> String {
    match table.committed_ago.map(ago) {
        Some(ago) => format!("{}, committed {ago} ago", table.version),
        None if table.heartbeat_ago.is_none() => table.version.to_string(),
        None => format!("{}, committed just now", table.version),
    }
}

fn publisher_text(table: &TableInfo) -> String {
    let (state, pid) = (publisher(table).0, table.publisher_pid);
    let Some(heartbeat) = table.heartbeat_ago.map(ago) else {
        return format!("{state} (process {pid}, in another time namespace: ages are unknown)");
    };
    match state {
        "alive" if let Some(ended) = list::input_ended_ago(table).map(ago) => {
            format!("process {pid}, its input ended {ended} ago, heartbeat {heartbeat} ago")
        }
        "alive" => format!("process {pid}, heartbeat {heartbeat} ago"),
        "silent" => format!("process {pid}, silent: last heartbeat {heartbeat} ago"),
        state => format!("{state} (it was process {pid}, last heartbeat {heartbeat} ago)"),
    }
}

fn ago(time: Duration) -> String {
    cells::milliseconds(list::milliseconds(time))
}

/// Returns owner and mode as `root:staff 0640`, with numbers for ids that have no name.
fn owner(table: &TableInfo) -> String {
    let user = match User::from_uid(Uid::from_raw(table.owner)) {
        Ok(Some(found)) => found.name,
        _ => table.owner.to_string(),
    };
    let group = match Group::from_gid(Gid::from_raw(table.group)) {
        Ok(Some(found)) => found.name,
        _ => table.group.to_string(),
    };
    format!("{user}:{group} {:04o}", table.mode)
}

/// Writes a line for each member: its name, with the names of nested members joined by dots, and
/// its value.
fn write_members(lines: &mut Lines<impl Write>, name: &str, value: &Value) -> io::Result<()> {
    let nested = |member: &str| match name {
        "" => member.to_owned(),
        name => format!("{name}.{member}"),
    };
    match value {
        Value::Object(members) => members
            .iter()
            .try_for_each(|(member, value)| write_members(lines, &nested(member), value)),
        Value::Array(elements) => elements.iter().enumerate().try_for_each(|(index, value)| {
            write_members(lines, &nested(&index.to_string()), value)
        }),
        Value::String(text) => lines.line([name, text]),
        other => lines.line([name, &other.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nested_members_are_joined_by_dots() {
        let object = serde_json::json!({"b": 1.5, "a": {"list": [{"x": "p,q"}, 7], "none": []}});
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, Format::Csv);
        write_members(&mut lines, "", &object).unwrap();
        lines.flush().unwrap();
        drop(lines);
        let expected = "a.list.0.x,\"p,q\"\na.list.1,7\nb,1.5\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
