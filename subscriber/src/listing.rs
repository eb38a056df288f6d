//! Prints lists such as that of `ls`: in columns for people, as JSON or CSV for programs.

use std::io::Write;

use cli::CliError;
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use crate::format::Format;
use crate::format::columns::{Column, Cut, write_table};
use crate::format::terminal::{Palette, Width};
use crate::format::{Lines, write_json};
pub use crate::output::Output;

/// The members of a JSON object, which are also the columns of CSV: names and values in the order in
/// which they are printed.
#[derive(Debug)]
pub struct Members<V>(pub Vec<(&'static str, V)>);

impl Members<Value> {
    /// Creates members without the unknown ones, which are null.
    pub fn known(members: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    /// Returns a member, or `None` if it is unknown.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(member, _)| *member == name).map(|(_, value)| value)
    }

    /// Returns the member as text, or an empty text if it is unknown.
    pub fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => match (value.as_u64(), value.as_f64()) {
                (None, Some(float)) => float.to_string(),
                _ => value.to_string(),
            },
            None => String::new(),
        }
    }
}

impl<V: Serialize> Serialize for Members<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// An element of a list. Unknown members are left out.
pub type Entry = Members<Value>;

/// Lines for people.
#[derive(Debug)]
pub struct Section<'a> {
    /// The name of each column, and true if its cells are aligned to the right. The first column is
    /// the last one to be cut.
    pub columns: &'a [(&'a str, bool)],
    /// The cells of each line.
    pub lines: Vec<Vec<String>>,
}

/// Prints a list: the `entries` for programs, with `names` as the columns of CSV, or the `sections`
/// for people. Sections after the first are left out if they have no lines, and so is the last
/// column of a section if all of its cells are empty.
///
/// # Errors
/// Stdout cannot be written.
pub fn print(
    entries: &[Entry],
    names: &[&str],
    sections: &[Section<'_>],
    format: Format,
    output: Output,
) -> Result<(), CliError> {
    let (palette, width) = (Palette::of(&output), Width::of(&output));
    let mut out = output.buffered();
    match format {
        Format::Table => {
            let (columns, mut cut) = (width.columns(), Cut::default());
            for (at, section) in sections.iter().enumerate() {
                if at > 0 && section.lines.is_empty() {
                    continue;
                }
                if at > 0 {
                    writeln!(out)?;
                }
                let mut names = Column::list(section.columns);
                if section.lines.iter().all(|line| line.last().is_some_and(String::is_empty)) {
                    names.pop();
                }
                cut.add(write_table(&mut out, names, &section.lines, Some(palette.head), columns)?);
            }
            out.flush()?;
            cut.report(columns, "--format jsonl");
        }
        Format::Json => write_json(&mut out, &entries, true)?,
        Format::Jsonl => entries.iter().try_for_each(|one| write_json(&mut out, one, false))?,
        Format::Csv | Format::Tsv | Format::Raw => {
            let mut lines = Lines::new(&mut out, format);
            lines.line(names)?;
            for one in entries {
                lines.line(names.iter().map(|name| one.text(name)))?;
            }
            lines.flush()?;
        }
    }
    Ok(out.flush()?)
}
