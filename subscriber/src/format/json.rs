//! JSON: one array with one element per line (`json`), or one line per row or change (`jsonl`).

use std::io::{self, Write};

use common::Change;
use serde::Serialize;

use super::{ChangeRecord, Printer};
use crate::select::{Projection, Shown};

/// Writes a value, over several lines if `is_pretty`, and the end of the line.
pub fn write_json(out: &mut impl Write, value: &impl Serialize, is_pretty: bool) -> io::Result<()> {
    match is_pretty {
        true => serde_json::to_writer_pretty(&mut *out, value)?,
        false => serde_json::to_writer(&mut *out, value)?,
    }
    out.write_all(b"\n")
}

pub struct Json<W> {
    out: W,
    /// True for one array, false for lines.
    is_array: bool,
    elements: u64,
}

impl<W: Write> Json<W> {
    pub fn new(out: W, is_array: bool) -> Self {
        Self { out, is_array, elements: 0 }
    }

    fn element(&mut self, value: &impl Serialize) -> io::Result<()> {
        if self.is_array {
            self.out.write_all(if self.elements == 0 { b"[\n" } else { b",\n" })?;
        }
        self.elements += 1;
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(if self.is_array { b"" } else { b"\n" })
    }
}

impl<W: Write> Printer for Json<W> {
    fn rows(&mut self, _: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| self.element(row))?;
        self.finish()
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        self.element(&ChangeRecord::new(version, change))
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.is_array {
            writeln!(self.out, "{}", if self.elements == 0 { "[]" } else { "\n]" })?;
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
