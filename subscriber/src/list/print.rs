//! Prints the entries of `ls` in each format.

use std::io::{self, Write};

use serde_json::{Number, Value};

use super::{Found, Left, Listed};
use crate::cells::{milliseconds, visible};
use crate::format::Format;
use crate::format::columns::{Column, Cut, write_table};
use crate::format::terminal::{Palette, Width};
use crate::output::Output;
use cli::{CliError, status};

/// The columns of `csv`: the members of a table in JSON, then those that only orphans have.
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

/// Prints all entries.
pub fn print(found: &[Found], format: Format, output: Output) -> Result<(), CliError> {
    let (palette, width) = (Palette::of(&output), Width::of(&output));
    let mut out = output.buffered();
    match format {
        Format::Table => {
            let columns = width.columns();
            let cut = print_tables(found, &mut out, palette, columns)?;
            out.flush()?;
            let note = columns.and_then(|columns| cut.note(columns, "--format jsonl"));
            note.into_iter().for_each(status);
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, found).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Format::Jsonl => {
            for one in found {
                serde_json::to_writer(&mut out, one).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(&mut out);
            writer.write_record(NAMES).map_err(crate::format::csv_error)?;
            for one in found {
                let record = one.record().map_err(io::Error::from)?;
                writer.write_record(record).map_err(crate::format::csv_error)?;
            }
            writer.flush()?;
        }
    }
    Ok(out.flush()?)
}

/// Prints the tables, then the orphans, if there are any.
fn print_tables(
    found: &[Found],
    out: &mut impl Write,
    palette: Palette,
    width: Option<usize>,
) -> io::Result<Cut> {
    let (mut tables, mut left) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Found::Table(table) => tables.push(table.line()),
            Found::Left(object) => left.push(object.line()),
        }
    }
    let mut columns = vec![
        Column::new("name", false).key(true),
        Column::new("rows", true),
        Column::new("version", true),
        Column::new("commits/s", true),
        Column::new("publisher", false),
        Column::new("pid", true),
        Column::new("subscribers", true),
        Column::new("committed", true),
        Column::new("problem", false),
    ];
    if tables.iter().all(|line| line.last().is_some_and(String::is_empty)) {
        columns.pop();
    }
    let mut cut = write_table(out, columns, &tables, palette.head, width)?;
    if !left.is_empty() {
        writeln!(out)?;
        let columns = vec![
            Column::new("left behind", false).key(true),
            Column::new("kind", false),
            Column::new("owner", true),
            Column::new("to remove it", false),
        ];
        let below = write_table(out, columns, &left, palette.head, width)?;
        cut.add(below);
    }
    Ok(cut)
}

impl Listed {
    fn line(&self) -> Vec<String> {
        let ago = |time: Option<f64>| time.map(milliseconds);
        let publisher = match (self.publisher, ago(self.heartbeat_ago_ms)) {
            (Some(state), Some(ago)) if state != "alive" => format!("{state} {ago}"),
            (state, _) => match ago(self.input_ended_ago_ms) {
                Some(ago) => format!("input ended {ago} ago"),
                None => text(state.as_ref()),
            },
        };
        vec![
            self.name.clone(),
            text(self.rows.as_ref()),
            text(self.version.as_ref()),
            text(self.commits_per_second.as_ref()),
            publisher,
            text(self.pid.as_ref()),
            text(self.subscribers.as_ref()),
            ago(self.committed_ago_ms).map_or(String::new(), |ago| format!("{ago} ago")),
            text(self.problem.as_ref()),
        ]
    }
}

impl Left {
    fn line(&self) -> Vec<String> {
        vec![
            visible(&self.object).into_owned(),
            self.kind.clone(),
            self.owner.to_string(),
            self.remedy.to_owned(),
        ]
    }
}

impl Found {
    /// Returns the cells of a CSV record: the members of the JSON object.
    fn record(&self) -> serde_json::Result<[String; NAMES.len()]> {
        let members = serde_json::to_value(self)?;
        let number = |number: &Number| match number.as_u64() {
            Some(integer) => integer.to_string(),
            None => text(number.as_f64().as_ref()),
        };
        Ok(NAMES.map(|name| match members.get(name) {
            Some(Value::Number(value)) => number(value),
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        }))
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
