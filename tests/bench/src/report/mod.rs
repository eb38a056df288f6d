//! The report: the raw runs as JSON, a report in Markdown with plots, and the parts that the
//! documents contain.
//!
//! - [`peers`]: what the others are, their versions, how they were set up.
//! - [`comparison`]: the figures that have counterparts, side by side.
//! - [`cases`], [`growth`]: everything, case by case and axis by axis.
//! - [`plot`]: drawings. [`readme`]: the blocks in README.md and docs/performance.md.

mod cases;
mod comparison;
mod growth;
mod peers;
mod plot;
mod readme;

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::measure::Figure;

const RAW: &str = "runs.json";

/// All that was measured in one go.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    /// The machine.
    pub machine: String,
    /// The version of LMDB itself, which no package tells.
    pub lmdb: String,
    /// Each case with its runs.
    pub cases: Vec<(String, Vec<Vec<Figure>>)>,
    /// Each axis with its points.
    pub growth: Vec<(String, Vec<Point>)>,
}

/// The result at one point of an axis.
#[derive(Serialize, Deserialize)]
pub struct Point {
    /// Position on the axis.
    pub at: usize,
    /// Subject.
    pub figures: Vec<Figure>,
}

impl Measured {
    /// Reads the results of an earlier run in `folder`.
    ///
    /// # Errors
    /// Fails if a file cannot be read or is not a run.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(RAW);
        let text = fs::read(&path).map_err(|error| {
            let path = path.display();
            io::Error::other(format!(
                "no runs were kept at {path}: {error}; give the --out of an earlier run"
            ))
        })?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Keeps the raw runs.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(RAW), serde_json::to_string_pretty(self)?)
    }

    /// Writes the report and its plots into `folder`, and prints it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn report(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        plot::draw(self, folder)?;
        let parts = [
            format!("# Tablecast and its peers\n\n{}\n", self.about()),
            comparison::table(self),
            format!("\n![side by side]({})\n", plot::COMPARISON),
            peers::table(&self.lmdb),
            cases::sections(self),
            growth::sections(self),
        ];
        let text = parts.concat();
        fs::write(folder.join("report.md"), &text)?;
        print!("{text}");
        Ok(())
    }

    /// Rewrites the table of a README and the plots of docs/performance.md next to it.
    ///
    /// # Errors
    /// What the system refuses, and a README without the markers.
    pub fn readme(&self, path: &Path) -> io::Result<()> {
        readme::rewrite(self, path)
    }

    /// Describes the machine and the versions.
    fn about(&self) -> String {
        let runs = self.cases.iter().map(|(_, runs)| runs.len()).max();
        let runs = runs.unwrap_or(0);
        format!(
            "{}. Medians of {runs} runs; p99 is of single times where these can be measured, else of batches.",
            self.machine
        )
    }

    /// The runs of a case, if it was measured.
    fn runs(&self, case: &str) -> Option<&[Vec<Figure>]> {
        let found = self.cases.iter().find(|(name, _)| name == case);
        found.map(|(_, runs)| runs.as_slice())
    }

    /// The median over the runs of what `pick` finds in one figure of a case.
    fn median(&self, case: &str, subject: &str, pick: fn(&Figure) -> f64) -> Option<f64> {
        let runs = self.runs(case)?;
        let values = runs.iter().filter_map(|run| find(run, subject)).map(pick);
        median(values)
    }
}

fn find<'f>(run: &'f [Figure], subject: &str) -> Option<&'f Figure> {
    run.iter().find(|figure| figure.subject == subject)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
