//! Prints reports to stdout in the chosen format.

use std::io::{self, BufWriter, Write};

use super::args::RateFormat;
use super::report::Report;
use super::text;
use crate::output::Output;

/// Printer of reports.
pub struct Printer {
    format: RateFormat,
    out: BufWriter<Output>,
    /// Number of intervals printed.
    intervals: u64,
}

impl Printer {
    /// Starts the output about table `name`.
    ///
    /// # Errors
    /// Fails if stdout is closed.
    pub fn begin(format: RateFormat, name: &str, output: Output) -> io::Result<Self> {
        let mut out = output.buffered();
        if format == RateFormat::Json {
            // Write each interval at once, so that only the summary is left to write at a sudden
            // end.
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
    /// Fails if stdout is closed.
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

    /// Ends the output without a table.
    ///
    /// # Errors
    /// Fails if stdout is closed.
    pub fn nothing(&mut self) -> io::Result<()> {
        if self.format == RateFormat::Json {
            self.out.write_all(b"]}\n")?;
        }
        self.out.flush()
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// Fails if stdout is closed.
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
