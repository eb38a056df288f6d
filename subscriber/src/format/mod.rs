//! Output formats for rows and changes, one file each, behind [`Printer`].

use std::io::{self, Write};

use clap::ValueEnum;
use common::{Change, KeyRef};
use serde::Serialize;

use crate::output::Output;
use crate::select::{Projection, Shown};

pub mod columns;
mod csv;
mod json;
mod table;
pub mod terminal;

pub use csv::Lines;
pub use json::{Json, write_json};
use terminal::{Palette, Width};

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON array
    Json,
    /// One line of JSON per row or change
    Jsonl,
    /// Comma-separated values with a header line
    Csv,
    /// Tab-separated values with a header line; \t, \n, \r and \\ within a cell are escaped
    Tsv,
    /// Tab-separated bare values
    #[value(skip)]
    Raw,
}

pub trait Printer {
    /// Prints rows, and the end of the output.
    fn rows(&mut self, projection: &Projection, rows: &[Shown<'_>]) -> io::Result<()>;

    /// Prints the table as it is at the start of a watch.
    fn first(&mut self, version: u64, _: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| self.change(version, &Change::Created(*row)))
    }

    /// Prints a change committed in `version`.
    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()>;

    /// Prints the end of the output after changes.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()>;
}

impl Format {
    pub(crate) fn printer(self, output: Output, has_header: bool) -> Box<dyn Printer> {
        let (palette, width) = (Palette::of(&output), Width::of(&output));
        self.printer_to(output.buffered(), palette, width, has_header)
    }

    fn printer_to<'a>(
        self,
        out: impl Write + 'a,
        palette: Palette,
        width: Width,
        has_header: bool,
    ) -> Box<dyn Printer + 'a> {
        match self {
            Format::Table => Box::new(table::Table::new(out, palette, width, has_header)),
            Format::Json | Format::Jsonl => Box::new(Json::new(out, self == Format::Json)),
            Format::Csv | Format::Tsv => Box::new(csv::Csv::new(out, self, has_header)),
            Format::Raw => Box::new(csv::Csv::new(out, self, false)),
        }
    }
}

/// A change as a line of `jsonl`.
#[derive(Serialize)]
struct ChangeRecord<'a> {
    version: u64,
    op: &'static str,
    key: KeyRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Shown<'a>>,
}

impl<'a> ChangeRecord<'a> {
    fn new(version: u64, change: &Change<Shown<'a>>) -> Self {
        let (op, row, old, key) = match *change {
            Change::Created(new) => ("create", Some(new), None, new.row().key()),
            Change::Updated { old, new } => ("update", Some(new), Some(old), new.row().key()),
            Change::Deleted(old) => ("delete", None, Some(old), old.row().key()),
        };
        Self { version, op, key, row, old }
    }
}

#[cfg(test)]
mod tests;
