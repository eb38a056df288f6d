//! How rows and changes are printed: one file a format, behind [`Printer`].

use std::io::{self, Write};

use clap::ValueEnum;
use common::{Change, KeyRef};
use serde::Serialize;

use crate::output::Output;
use crate::view::{Projection, Shown};

pub mod cells;
pub mod columns;
mod csv;
pub mod fit;
mod json;
mod jsonl;
pub mod line;
pub mod palette;
mod table;
pub mod width;

pub use csv::io_error as csv_error;
pub use jsonl::change_line;
use palette::Palette;
use width::Width;

/// A format's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON array
    Json,
    /// A line of JSON each
    Jsonl,
    /// Comma-separated values with a line of names
    Csv,
}

/// What a format does with rows and with changes.
pub trait Printer {
    /// Prints all the rows of a table.
    fn rows(&mut self, projection: &Projection, rows: &[Shown<'_>]) -> io::Result<()>;

    /// Prints the rows that a watched table has at the start.
    fn first(
        &mut self,
        version: u64,
        projection: &Projection,
        rows: &[Shown<'_>],
    ) -> io::Result<()> {
        let _ = projection;
        rows.iter()
            .try_for_each(|row| self.change(version, &Change::Created(*row)))
    }

    /// Prints one change that led to `version`.
    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()>;

    /// Prints what must stand at the end of changes.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Writes out what is still buffered.
    fn flush(&mut self) -> io::Result<()>;
}

impl Format {
    /// Prints in this format to stdout.
    pub fn printer(self, output: Output) -> Box<dyn Printer> {
        let (palette, width) = (Palette::of(&output), Width::of(&output));
        self.printer_to(output.buffered(), palette, width)
    }

    fn printer_to<'a>(
        self,
        out: impl Write + 'a,
        palette: Palette,
        width: Width,
    ) -> Box<dyn Printer + 'a> {
        match self {
            Format::Table => Box::new(table::Table::new(out, palette, width)),
            Format::Json => Box::new(json::Json::new(out)),
            Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
            Format::Csv => Box::new(csv::Csv::new(out)),
        }
    }
}

/// A change as it is told: as a line of JSON, this is it.
#[derive(Serialize)]
struct Told<'a> {
    version: u64,
    op: &'static str,
    key: KeyRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Shown<'a>>,
}

impl<'a> Told<'a> {
    fn new(version: u64, change: &Change<Shown<'a>>) -> Self {
        let (op, row, old, key) = match *change {
            Change::Created(new) => ("create", Some(new), None, new.key()),
            Change::Updated { old, new } => ("update", Some(new), Some(old), new.key()),
            Change::Deleted(old) => ("delete", None, Some(old), old.key()),
        };
        Self {
            version,
            op,
            key,
            row,
            old,
        }
    }
}

#[cfg(test)]
mod tests;
