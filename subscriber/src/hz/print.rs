//! Reports on stdout, in the format that was asked for.

use std::io::{self, BufWriter, Write};

use super::args::RateFormat;
use super::report::Report;
use super::text;
use crate::output::Output;

/// What prints reports.
pub struct Printer {
    format: RateFormat,
    out: BufWriter<Output>,
    /// How many intervals were printed.
    intervals: u64,
}

impl Printer {
    /// Begins, about table `name`.
    ///
    /// # Errors
    /// Nobody reads stdout.
    pub fn begin(format: RateFormat, name: &str, output: Output) -> io::Result<Self> {
        let mut out = output.buffered();
        if format == RateFormat::Json {
            // Interval by interval, so that no end, however sudden, finds more to write than a summary.
            let name = serde_json::to_string(name)?;
            write!(out, "{{\"table\":{name},\"intervals\":[")?;
        }
        Ok(Self {
            format,
            out,
            intervals: 0,
        })
    }

    /// Prints an interval.
    ///
    /// # Errors
    /// Nobody reads stdout.
    pub fn interval(&mut self, report: &Report) -> io::Result<()> {
        let is_first = self.intervals == 0;
        self.intervals += 1;
        match self.format {
            RateFormat::Text => text::interval(&mut self.out, report)?,
            RateFormat::Jsonl => self.line(report)?,
            RateFormat::Json => {
                self.out.write_all(if is_first { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut self.out, report)?;
            }
        }
        self.out.flush()
    }

    /// There was no table until the end was asked for.
    ///
    /// # Errors
    /// Nobody reads stdout.
    pub fn nothing(&mut self) -> io::Result<()> {
        if self.format == RateFormat::Json {
            self.out.write_all(b"]}\n")?;
        }
        self.out.flush()
    }

    /// Prints what there was in the end.
    ///
    /// # Errors
    /// Nobody reads stdout.
    pub fn summary(&mut self, report: &Report) -> io::Result<()> {
        match self.format {
            RateFormat::Text => text::summary(&mut self.out, report)?,
            RateFormat::Jsonl => self.line(report)?,
            RateFormat::Json => {
                self.out.write_all(b"],\n\"summary\":")?;
                serde_json::to_writer(&mut self.out, report)?;
                self.out.write_all(b"}\n")?;
            }
        }
        self.out.flush()
    }

    fn line(&mut self, report: &Report) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, report)?;
        self.out.write_all(b"\n")
    }
}
