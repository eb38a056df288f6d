//! Comma-separated values: a header line, then one line per row. Changes have version and op before
//! the row.

use std::fmt::Write as _;
use std::io::{self, Write};

use common::{Change, Field};

use super::{ChangeRecord, Printer};
use crate::select::{Projection, Shown};

pub struct Csv<W: Write> {
    writer: csv::Writer<W>,
    /// Names in the last header line.
    header: Option<Vec<String>>,
    cell: String,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W) -> Self {
        Self {
            // A schema change may change the number of fields.
            writer: csv::WriterBuilder::new().flexible(true).from_writer(out),
            header: None,
            cell: String::new(),
        }
    }

    /// Writes a header line if it differs from the last one.
    fn header(&mut self, before: &[&str], projection: &Projection) -> io::Result<()> {
        let names = || before.iter().copied().chain(projection.fields().map(Field::name));
        let is_same = self.header.as_ref().is_some_and(|header| names().eq(header));
        if !is_same {
            self.writer.write_record(names()).map_err(io_error)?;
            self.header = Some(names().map(str::to_owned).collect());
        }
        Ok(())
    }

    /// Writes the row's cells and the end of the line.
    fn row(&mut self, row: Shown<'_>) -> io::Result<()> {
        for (_, value) in row.values() {
            self.cell.clear();
            write!(self.cell, "{value}").map_err(io::Error::other)?;
            self.writer.write_field(&self.cell).map_err(io_error)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(io_error)
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
            self.writer.write_field(cell).map_err(io_error)?;
        }
        self.row(row)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Returns the underlying I/O error, so that a broken pipe is recognized.
pub fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
