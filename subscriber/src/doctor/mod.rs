//! The `doctor` command: checks this machine for what Tablecast needs, and gives advice.
//!
//! Each module reads the system once (`look`) and derives its reports from that (`checks`). Where
//! possible it tries the real operation: it creates a queue, or links and locks a file.
//!
//! - `check`: the result of a check, and printing;
//! - `memory` and `group`: `/dev/shm`, and the memory cgroup;
//! - `queues` and `namespace`: message queues, and which processes they reach;
//! - `locks`: creation of objects, and liveness locks;
//! - `kernel`: version, refused system calls, resource limits; `clock`: the clock for ages and
//!   delays;
//! - `logout`: a login manager that removes tables;
//! - `tables`: existing tables, and orphans.

use std::io::{self, Write};

use clap::ValueEnum;

use crate::format::palette::Palette;
use crate::output::Output;
use check::{Report, State};
use cli::CliError;

mod check;
mod clock;
mod group;
mod kernel;
mod locks;
mod logind;
mod memory;
mod namespace;
mod queues;
mod tables;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Table that this user must be able to read
    #[arg(add = clap_complete::ArgValueCompleter::new(cli::complete::tables))]
    pub name: Option<String>,

    /// Output format: one line per check, or one array
    #[arg(long, value_enum, default_value_t = Form::Text, env = "TABLECAST_DOCTOR_FORMAT")]
    pub format: Form,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs all checks and prints the results.
///
/// # Errors
/// Fails with exit code 1 and no message if a check found a problem.
pub fn run(args: &Doctor, output: Output) -> Result<(), CliError> {
    let tables = tables::Tables::look(args.name.as_deref());
    let mut reports = memory::Memory::look().checks(tables.largest());
    reports.extend(locks::Locks::look().checks());
    reports.extend(queues::Queues::look().checks());
    reports.extend(kernel::Kernel::look().checks());
    reports.push(clock::Clock::look().check());
    reports.push(logind::Logout::look().check());
    reports.extend(tables.checks());
    let palette = Palette::of(&output);
    let mut out = output.buffered();
    match args.format {
        Form::Text => check::print(&reports, palette, &mut out)?,
        Form::Json => {
            serde_json::to_writer_pretty(&mut out, &reports).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    let is_problem = |report: &Report| report.state == State::Problem;
    match reports.iter().any(is_problem) {
        true => Err(CliError::new(1, "")),
        false => Ok(()),
    }
}
