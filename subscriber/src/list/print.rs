//! Prints the entries of `ls` in each format.

use std::io::{self, Write};

use super::{Found, Left, Listed};
use crate::format::Format;
use crate::format::cells::{milliseconds, visible};
use crate::format::columns::{Column, write_table};
use crate::format::fit::Cut;
use crate::format::palette::Palette;
use crate::format::width::Width;
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
            let written = std::iter::once(NAMES.map(str::to_owned))
                .chain(found.iter().map(Found::record))
                .try_for_each(|cells| writer.write_record(cells));
            written.map_err(crate::format::csv_error)?;
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
    if tables
        .iter()
        .all(|line| line.last().is_some_and(String::is_empty))
    {
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
        cut.cells += below.cells;
        cut.left_out.extend(below.left_out);
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
    /// Returns the cells of a CSV record.
    fn record(&self) -> [String; NAMES.len()] {
        let mut record = [const { String::new() }; NAMES.len()];
        let mut set = |name: &str, value: String| {
            if let Some(at) = NAMES.iter().position(|known| *known == name) {
                record[at] = value;
            }
        };
        match self {
            Self::Table(table) => {
                set("name", table.name.clone());
                set("rows", text(table.rows.as_ref()));
                set("version", text(table.version.as_ref()));
                set(
                    "commits_per_second",
                    text(table.commits_per_second.as_ref()),
                );
                set("publisher", text(table.publisher.as_ref()));
                set("pid", text(table.pid.as_ref()));
                set("subscribers", text(table.subscribers.as_ref()));
                set("owner", text(table.owner.as_ref()));
                set("committed_ago_ms", text(table.committed_ago_ms.as_ref()));
                set("heartbeat_ago_ms", text(table.heartbeat_ago_ms.as_ref()));
                set("problem", text(table.problem.as_ref()));
            }
            Self::Left(left) => {
                set("owner", left.owner.to_string());
                set("object", left.object.clone());
                set("kind", left.kind.clone());
                set("reason", left.reason.to_owned());
                set("remedy", left.remedy.to_owned());
            }
        }
        record
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
