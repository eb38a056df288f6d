//! JSON: one array with one element per line, or one line per row or change.

use std::io::{self, Write};

use common::Change;
use serde::Serialize;

use super::{Printer, Told};
use crate::select::{Projection, Shown};

pub struct Json<W> {
    out: W,
    elements: u64,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out, elements: 0 }
    }

    fn element(&mut self, value: &impl Serialize) -> io::Result<()> {
        let before = if self.elements == 0 { "[" } else { "," };
        self.elements += 1;
        writeln!(self.out, "{before}")?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }
}

impl<W: Write> Printer for Json<W> {
    fn rows(&mut self, _: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| self.element(row))?;
        self.finish()
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        self.element(&Told::new(version, change))
    }

    fn finish(&mut self) -> io::Result<()> {
        let end = if self.elements == 0 { "[]" } else { "\n]" };
        writeln!(self.out, "{end}")?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub struct Jsonl<W> {
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes a change committed in `version`.
pub fn change_line(
    out: &mut impl Write,
    version: u64,
    change: &Change<Shown<'_>>,
) -> io::Result<()> {
    line(out, &Told::new(version, change))
}

impl<W: Write> Printer for Jsonl<W> {
    fn rows(&mut self, _: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| line(&mut self.out, row))
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        change_line(&mut self.out, version, change)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
