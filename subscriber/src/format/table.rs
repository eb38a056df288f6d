//! Columns for people. `watch` prints the table, then a line with old and new values for each
//! change.
//!
//! On a terminal lines are cut to its width, and stderr reports what was cut.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::Style;
use common::{Change, Field};

use super::columns::{Column, write_table};
use super::terminal::{Line, Palette, Width};
use super::{ChangeRecord, Printer};
use crate::cells::{cell, is_number, shorten, visible, width};
use crate::select::{Projection, Shown};
use cli::status;

/// Maximum width to which keys are padded, so that a long key does not move the values of all later
/// lines.
const MAX_KEY_WIDTH: usize = 40;

pub struct Table<W> {
    out: W,
    palette: Palette,
    width: Width,
    has_header: bool,
    version_width: usize,
    key_width: usize,
    /// True if it was reported that lines of changes are cut.
    is_cut_reported: bool,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, palette: Palette, width: Width, has_header: bool) -> Self {
        Self {
            out,
            palette,
            width,
            has_header,
            version_width: 0,
            key_width: 0,
            is_cut_reported: false,
        }
    }

    /// Adds `field old → new` for each field that differs.
    fn differences(&self, line: &mut Line, old: Shown<'_>, new: Shown<'_>) {
        let Palette { dim, update, .. } = self.palette;
        let mut comma = "";
        for (name, value) in new.values() {
            let (before, now) = (old.field(name), cell(&value));
            let before = before.as_ref().map(cell);
            if before.as_ref() != Some(&now) {
                line.push(Style::new(), format_args!("{comma}{name} "));
                line.push(dim, before.as_deref().unwrap_or(""));
                line.push(Style::new(), " → ");
                line.push(update, now);
                comma = ", ";
            }
        }
    }

    /// Adds `field value` for each field outside the key.
    fn values(line: &mut Line, row: Shown<'_>) {
        let schema = row.row().schema();
        let mut comma = "";
        for (name, value) in row.values() {
            if schema.key_fields().all(|field| field.name() != name) {
                let value = cell(&value);
                line.push(Style::new(), format_args!("{comma}{name} {value}"));
                comma = ", ";
            }
        }
    }
}

fn columns(projection: &Projection) -> Vec<Column> {
    let key: Vec<&str> = projection.schema().key_fields().map(Field::name).collect();
    let column = |field: &Field| {
        let name = field.name();
        Column::new(name, is_number(field.kind())).key(key.contains(&name))
    };
    projection.fields().map(column).collect()
}

impl<W: Write> Printer for Table<W> {
    fn rows(&mut self, projection: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        let width = self.width.columns();
        let lines = rows.iter().map(|row| -> Vec<String> {
            let values = row.values();
            values.map(|(_, value)| cell(&value).into_owned()).collect()
        });
        let (columns, head) = (columns(projection), self.has_header.then_some(self.palette.head));
        let cut = write_table(&mut self.out, columns, lines, head, width)?;
        self.out.flush()?;
        cut.report(width, "--fields, or --format csv");
        Ok(())
    }

    fn first(&mut self, _: u64, projection: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        self.rows(projection, rows)
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        let columns = self.width.columns();
        let ChangeRecord { op, key, .. } = ChangeRecord::new(version, change);
        let (key, version) = (key.to_string(), format!("v{version}"));
        let key = visible(&key);
        let longest = columns.map_or(usize::MAX, |columns| MAX_KEY_WIDTH.min(columns / 2));
        let key = shorten(&key, longest);
        self.version_width = self.version_width.max(version.len());
        self.key_width = self.key_width.max(width(&key).min(MAX_KEY_WIDTH));
        let blanks = self.key_width.saturating_sub(width(&key));
        let Palette { dim, .. } = self.palette;
        let mut line = Line::default();
        line.push(dim, format_args!("{version:0$}", self.version_width));
        line.push(Style::new(), "  ");
        line.push(self.palette.op(op), op);
        line.push(Style::new(), format_args!("  {key}{:blanks$}  ", ""));
        match *change {
            Change::Created(row) | Change::Deleted(row) => Self::values(&mut line, row),
            Change::Updated { old, new } => self.differences(&mut line, old, new),
        }
        let is_cut = line.write(&mut self.out, columns)? || matches!(key, Cow::Owned(_));
        if let (true, Some(columns)) = (is_cut && !self.is_cut_reported, columns) {
            self.is_cut_reported = true;
            self.out.flush()?;
            status(cut_note(columns));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns a note that lines of changes are cut, in a wording that fits.
fn cut_note(columns: usize) -> String {
    let short = format!("changes are cut to {columns} columns");
    let long = format!("{short}, marked by … (--fields, or --format jsonl for all)");
    let fitting = [long, short].into_iter().find(|line| width(line) <= columns);
    fitting.unwrap_or_else(|| "changes are cut".to_owned())
}
