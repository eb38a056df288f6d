//! `doctor`: checks whether this machine has what Tablecast needs, and says what to change.
//!
//! Where possible, a check tries the real operation: it creates a queue, or links and locks a file.
//! It leaves nothing behind. `machine` checks shared memory, locks, the kernel and limits; `queues`
//! checks message queues; `tables` checks the existing tables and orphans.

use std::io::{self, Write};

use clap::ValueEnum;
use cli::CliError;
use serde::Serialize;

use crate::format::terminal::Palette;
use crate::format::write_json;
use crate::output::Output;

mod machine;
mod queues;
mod tables;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Table that this user must be able to read
    #[arg(add = clap_complete::ArgValueCompleter::new(cli::complete::tables))]
    name: Option<String>,

    /// Output format: one line per check, or one array
    #[arg(long, value_enum, default_value_t = Form::Text, env = "TABLECAST_DOCTOR_FORMAT")]
    format: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, but not as well as it could, or not for every user.
    Warning,
    /// It does not work.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    check: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Report {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), state: State::Ok, found: found.into(), advice: None }
    }

    fn warning(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warning, advice: Some(advice.into()), ..Self::ok(check, found) }
    }

    fn problem(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Problem, ..Self::warning(check, found, advice) }
    }
}

/// Runs all checks and prints the results. Fails with exit code 1 and no message if a check found a
/// problem.
pub fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let mut reports = machine::checks();
    reports.extend(queues::checks());
    reports.extend(tables::checks(args.name.as_deref()));
    let palette = Palette::of(&output);
    let mut out = output.buffered();
    match args.format {
        Form::Text => print(&reports, palette, &mut out)?,
        Form::Json => write_json(&mut out, &reports, true)?,
    }
    out.flush()?;
    let has_problem = reports.iter().any(|report| report.state == State::Problem);
    if has_problem { Err(CliError::new(1, "")) } else { Ok(()) }
}

fn print(reports: &[Report], palette: Palette, out: &mut impl Write) -> io::Result<()> {
    let width = reports.iter().map(|report| report.check.len()).max().unwrap_or(0);
    for report in reports {
        let (word, style) = match report.state {
            State::Ok => ("ok", palette.create),
            State::Warning => ("warning", palette.update),
            State::Problem => ("problem", palette.delete),
        };
        let (check, found) = (&report.check, &report.found);
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
            Report::ok("a", "fine"),
            Report::warning("long", "slow", "do this"),
            Report::problem("b", "bad", "do that"),
        ];
        let mut out = Vec::new();
        print(&reports, Palette::default(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok       a     fine\nwarning  long  slow → do this\nproblem  b     bad → do that\n"
        );
        assert_eq!(
            serde_json::to_string(&reports[..2]).unwrap(),
            r#"[{"check":"a","state":"ok","found":"fine"},{"check":"long","state":"warning","found":"slow","advice":"do this"}]"#
        );
    }
}
