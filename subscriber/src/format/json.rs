//! One JSON array with one element per line.

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
        let before: &[u8] = if self.elements == 0 { b"[\n" } else { b",\n" };
        self.elements += 1;
        self.out.write_all(before)?;
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
        let end: &[u8] = if self.elements == 0 {
            b"[]\n"
        } else {
            b"\n]\n"
        };
        self.out.write_all(end)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
