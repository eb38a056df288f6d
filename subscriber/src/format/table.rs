//! Columns for people. A watch prints the table, then a line for each change: what was, and what is.

use std::io::{self, Write};

use common::{Change, RowRef, Schema};

use super::cells::{cell, is_number, visible, width};
use super::columns::{Column, write_line, write_names};
use super::palette::Palette;
use super::{Printer, Told};

/// Keys longer than this do not push what follows them away.
const MAX_KEY_WIDTH: usize = 40;

pub struct Table<W> {
    out: W,
    palette: Palette,
    version_width: usize,
    key_width: usize,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, palette: Palette) -> Self {
        Self {
            out,
            palette,
            version_width: 0,
            key_width: 0,
        }
    }

    /// `field old → new` for each field that differs.
    fn differences(&mut self, old: RowRef<'_>, new: RowRef<'_>) -> io::Result<()> {
        let Palette { dim, update, .. } = self.palette;
        let mut comma = "";
        for (name, value) in new.values() {
            let (before, now) = (old.field(name), cell(&value));
            let before = before.as_ref().map(cell);
            if before.as_ref() != Some(&now) {
                let before = before.as_deref().unwrap_or("");
                write!(
                    self.out,
                    "{comma}{name} {dim}{before}{dim:#} → {update}{now}{update:#}"
                )?;
                comma = ", ";
            }
        }
        Ok(())
    }

    /// `field value` for each field that is not in the key.
    fn values(&mut self, row: RowRef<'_>) -> io::Result<()> {
        let schema = row.schema();
        let mut comma = "";
        for (name, value) in row.values() {
            if schema.key_fields().all(|field| field.name() != name) {
                write!(self.out, "{comma}{name} {}", cell(&value))?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

impl<W: Write> Printer for Table<W> {
    fn rows(&mut self, schema: &Schema, rows: &[RowRef<'_>]) -> io::Result<()> {
        let mut columns: Vec<Column> = schema
            .fields()
            .iter()
            .map(|field| Column::new(field.name(), is_number(field.kind())))
            .collect();
        for row in rows {
            for (column, (_, value)) in columns.iter_mut().zip(row.values()) {
                column.fit(&cell(&value));
            }
        }
        write_names(&mut self.out, &columns, self.palette.head)?;
        let mut cells: Vec<String> = Vec::new();
        for row in rows {
            cells.clear();
            cells.extend(row.values().map(|(_, value)| cell(&value).into_owned()));
            write_line(&mut self.out, &columns, &cells)?;
        }
        Ok(())
    }

    fn first(&mut self, _: u64, schema: &Schema, rows: &[RowRef<'_>]) -> io::Result<()> {
        self.rows(schema, rows)
    }

    fn change(&mut self, version: u64, change: &Change<RowRef<'_>>) -> io::Result<()> {
        let Told { op, key, .. } = Told::new(version, change);
        let (key, version) = (key.to_string(), format!("v{version}"));
        let key = visible(&key);
        self.version_width = self.version_width.max(version.len());
        self.key_width = self.key_width.max(width(&key).min(MAX_KEY_WIDTH));
        let blanks = self.key_width.saturating_sub(width(&key));
        let (style, dim) = (self.palette.op(op), self.palette.dim);
        let version_width = self.version_width;
        write!(
            self.out,
            "{dim}{version:version_width$}{dim:#}  {style}{op}{style:#}  {key}{:blanks$}  ",
            ""
        )?;
        match *change {
            Change::Created(row) | Change::Deleted(row) => self.values(row)?,
            Change::Updated { old, new } => self.differences(old, new)?,
        }
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
