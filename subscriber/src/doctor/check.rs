//! Result of a check: its state, the findings and advice.

use std::io::{self, Write};

use serde::Serialize;

use crate::format::palette::Palette;

/// State of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No objection.
    Ok,
    /// Works, but not as well as it could or not for every user.
    Warning,
    /// Does not work.
    Problem,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the check.
    pub check: String,
    /// State.
    pub state: State,
    /// Findings.
    pub found: String,
    /// Advice: a command or a setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Report {
    /// Creates a report without an objection.
    pub fn ok(check: &str, found: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            state: State::Ok,
            found: found.into(),
            advice: None,
        }
    }

    /// Creates a warning.
    pub fn warning(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Warning,
            ..Self::ok(check, found).advising(advice)
        }
    }

    /// Creates a problem.
    pub fn problem(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            ..Self::ok(check, found).advising(advice)
        }
    }

    /// Adds advice to a report.
    pub fn advising(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Prints one line per report, in aligned columns.
///
/// # Errors
/// Fails if `out` cannot be written to.
pub fn print(reports: &[Report], palette: Palette, out: &mut impl Write) -> io::Result<()> {
    let width = reports.iter().map(|report| report.check.len()).max();
    let width = width.unwrap_or(0);
    for report in reports {
        let style = match report.state {
            State::Ok => palette.create,
            State::Warning => palette.update,
            State::Problem => palette.delete,
        };
        let (word, check, found) = (report.state.word(), &report.check, &report.found);
        write!(out, "{style}{word:<7}{style:#}  {check:<width$}  {found}")?;
        match &report.advice {
            Some(advice) => writeln!(out, " → {advice}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_line_per_check() {
        let reports = [
            Report::ok("a", "well"),
            Report::warning("long", "so so", "do this"),
            Report::problem("b", "bad", "do that"),
        ];
        let mut out = Vec::new();
        print(&reports, Palette::default(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok       a     well\nwarning  long  so so → do this\nproblem  b     bad → do that\n"
        );
        assert_eq!(
            serde_json::to_string(&reports[..2]).unwrap(),
            r#"[{"check":"a","state":"ok","found":"well"},{"check":"long","state":"warning","found":"so so","advice":"do this"}]"#
        );
    }
}
