//! A line of JSON for each row or change.

use std::io::{self, Write};

use common::Change;
use serde::Serialize;

use super::{Printer, Told};
use crate::view::{Projection, Shown};

pub struct Jsonl<W> {
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Printer for Jsonl<W> {
    fn rows(&mut self, _: &Projection, rows: &[Shown<'_>]) -> io::Result<()> {
        rows.iter().try_for_each(|row| self.line(row))
    }

    fn change(&mut self, version: u64, change: &Change<Shown<'_>>) -> io::Result<()> {
        self.line(&Told::new(version, change))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
