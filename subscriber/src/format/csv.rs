//! Values separated by commas or tabs: a header line, then one line per row. Changes have version
//! and op before the row.

use std::fmt::Write as _;
use std::io::{self, Write};

use common::{Change, Field};

use super::{ChangeRecord, Format, Printer};
use crate::select::{Projection, Shown};

/// Writes lines of cells, which are separated by commas and quoted (`Csv`), separated by tabs and
/// escaped (`Tsv`), or separated by tabs (`Raw`).
pub struct Lines<W: Write> {
    writer: csv::Writer<W>,
    format: Format,
}

impl<W: Write> Lines<W> {
    pub fn new(out: W, format: Format) -> Self {
        let mut builder = csv::WriterBuilder::new();
        // A schema change may change the number of fields.
        builder.flexible(true);
        if format != Format::Csv {
            builder.delimiter(b'\t').quote_style(csv::QuoteStyle::Never);
        }
        Self { writer: builder.from_writer(out), format }
    }

    pub fn cell(&mut self, cell: &str) -> io::Result<()> {
        let written = match self.format {
            Format::Tsv if cell.contains(['\t', '\n', '\r', '\\']) => {
                let escaped = cell.replace('\\', r"\\").replace('\t', r"\t");
                self.writer.write_field(escaped.replace('\n', r"\n").replace('\r', r"\r"))
            }
            _ => self.writer.write_field(cell),
        };
        written.map_err(io_error)
    }

    pub fn end(&mut self) -> io::Result<()> {
        self.writer.write_record(None::<&[u8]>).map_err(io_error)
    }

    pub fn line(&mut self, cells: impl IntoIterator<Item: AsRef<str>>) -> io::Result<()> {
        cells.into_iter().try_for_each(|cell| self.cell(cell.as_ref()))?;
        self.end()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

pub struct Csv<W: Write> {
    lines: Lines<W>,
    has_header: bool,
    /// Names in the last header line.
    header: Option<Vec<String>>,
    cell: String,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W, format: Format, has_header: bool) -> Self {
        Self { lines: Lines::new(out, format), has_header, header: None, cell: String::new() }
    }

    /// Writes a header line if it differs from the last one.
    fn header(&mut self, before: &[&str], projection: &Projection) -> io::Result<()> {
        if !self.has_header {
            return Ok(());
        }
        let names = || before.iter().copied().chain(projection.fields().map(Field::name));
        let is_same = self.header.as_ref().is_some_and(|header| names().eq(header));
        if !is_same {
            self.lines.line(names())?;
            self.header = Some(names().map(str::to_owned).collect());
        }
        Ok(())
    }

    /// Writes the row's cells and the end of the line.
    fn row(&mut self, row: Shown<'_>) -> io::Result<()> {
        for (_, value) in row.values() {
            self.cell.clear();
            write!(self.cell, "{value}").map_err(io::Error::other)?;
            self.lines.cell(&self.cell)?;
        }
        self.lines.end()
    }
}

impl<W: Write> Printer for Csv<W> {
    fn rows(&mut self, projection: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        self.header(&[], projection)?;
        rows.iter().try_for_each(|row| self.row(*row))
    }

    fn first(
        &mut self,
        version: u64,
        projection: &Projection,
        rows: &[Shown<'_>],
    ) -> io::Result<()> {
        self.header(&["version", "op"], projection)?;
        rows.iter().try_for_each(|row| self.change(version, &Change::Created(*row)))
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        let reported = ChangeRecord::new(version, change);
        let Some(row) = reported.row.or(reported.old) else {
            return Ok(());
        };
        self.header(&["version", "op"], row.projection())?;
        for cell in [&version.to_string(), reported.op] {
            self.lines.cell(cell)?;
        }
        self.row(row)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// Returns the underlying I/O error, so that a broken pipe is recognized.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
