//! `doctor`: what Tablecast needs of this machine, whether it is there, and what to change.
//!
//! Each room reads once what there is to know (`look`), and says of it what is to be said (`checks`), a small function a check. What can
//! be tried is tried: a queue is made and removed, a file is linked and locked.
//!
//! - `check`: what a check says, and how it is printed;
//! - `memory` and `group`: `/dev/shm`, and the memory cgroup;
//! - `queues`, and `namespace`: message queues, and whom they reach;
//! - `locks`: making objects, and seeing who lives;
//! - `kernel`: its version, calls that are refused, limits of this process; `clock`: what ages are measured by;
//! - `logout`: a login manager that removes tables;
//! - `tables`: those that there are, and what is left behind.

use std::io::{self, Write};

use clap::ValueEnum;

use crate::format::palette::Palette;
use crate::output::Output;
use crate::shell::Failure;
use check::{Report, State};

mod check;
mod clock;
mod group;
mod kernel;
mod locks;
mod logout;
mod memory;
mod namespace;
mod queues;
mod tables;

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// A table that this user is to read: that it is there, and may be read
    pub name: Option<String>,

    /// How to print: a line a check, or one array
    #[arg(long, value_enum, default_value_t = Form::Text, env = "TABLECAST_DOCTOR_FORMAT")]
    pub format: Form,
}

/// How the checks are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Checks, and says what it found.
///
/// # Errors
/// A problem; what it is has been printed.
pub fn run(args: &Doctor, output: Output) -> Result<(), Failure> {
    let tables = tables::Tables::look(args.name.as_deref());
    let mut reports = memory::Memory::look().checks(tables.largest());
    reports.extend(locks::Locks::look().checks());
    reports.extend(queues::Queues::look().checks());
    reports.extend(kernel::Kernel::look().checks());
    reports.push(clock::Clock::look().check());
    reports.push(logout::Logout::look().check());
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
        true => Err(Failure::new(1, "")),
        false => Ok(()),
    }
}
