//! Compares Tablecast with its peers and the machine's limits in one run.
//!
//! `cargo run --release --manifest-path tests/bench/Cargo.toml`
//!
//! Every case runs several times, each time in a separate process that is pinned to a core, with
//! its other side on another core. What is reported are medians over the runs; ratios are taken
//! within a run, so that what disturbs the machine disturbs both sides. How cost grows is measured
//! once, along each axis.
//!
//! - [`cases`]: the cases, which use [`measure`], other processes ([`other`]) and [`peers`].
//! - [`growth`]: the axes.
//! - [`report`]: tables and plots.

mod cases;
mod growth;
mod machine;
mod measure;
mod other;
mod peers;
mod report;
mod row;
mod wide;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use cases::{CASES, play};
use growth::AXES;
use measure::Figure;
use report::{Measured, Point};

/// Compares Tablecast with its peers and the machine's limits
#[derive(Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Number of runs of each case
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Only cases and axes whose names contain this: see `list`
    #[arg(long, default_value = "")]
    only: String,

    /// Directory for the report, its plots and the raw runs
    #[arg(long, default_value = "bench-results")]
    out: PathBuf,

    /// Rewrites the table in this README, docs/performance.md next to it, and the plots in
    /// tests/bench/figures
    #[arg(long)]
    readme: Option<PathBuf>,

    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Names what can be measured
    List,
    /// Measure nothing, and write the report of the raw runs in --out again
    Report,
    /// One case, once.
    #[command(name = "__case", hide = true)]
    Case { name: String },
    /// One point of an axis.
    #[command(name = "__point", hide = true)]
    Point { axis: String, at: usize },
    /// The other process of a case.
    #[command(name = "__role", hide = true)]
    Role { role: String, arguments: Vec<String> },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> std::io::Result<()> {
    match &args.part {
        Some(Part::Role { role, arguments }) => play(role, arguments),
        Some(Part::Case { name }) => {
            let case = CASES.iter().find(|case| case.name == name).expect("a case");
            println!("{}", serde_json::to_string(&(case.run)())?);
        }
        Some(Part::Point { axis, at }) => {
            let axis = AXES.iter().find(|one| one.name == axis).expect("an axis");
            println!("{}", serde_json::to_string(&(axis.run)(*at))?);
        }
        Some(Part::List) => {
            let cases = CASES.iter().map(|case| (case.name, case.about));
            for (name, about) in cases.chain(AXES.iter().map(|axis| (axis.name, axis.about))) {
                println!("{name}: {about}");
            }
        }
        Some(Part::Report) => write(args, &Measured::read(&args.out)?)?,
        None => {
            let measured = measure(args);
            measured.keep(&args.out)?;
            write(args, &measured)?;
        }
    }
    Ok(())
}

fn write(args: &Args, measured: &Measured) -> std::io::Result<()> {
    measured.report(&args.out)?;
    match &args.readme {
        Some(path) => measured.readme(path),
        None => Ok(()),
    }
}

fn measure(args: &Args) -> Measured {
    let wanted = |name: &str| name.contains(&args.only);
    let mut cases: Vec<(String, Vec<Vec<Figure>>)> = CASES
        .iter()
        .filter(|case| wanted(case.name))
        .map(|case| (case.name.to_owned(), Vec::new()))
        .collect();
    // Run after run, so that what changes on the machine in the meantime is in all cases alike.
    for run in 1..=args.runs {
        for (name, runs) in &mut cases {
            eprintln!("{name}, run {run}");
            runs.push(figures(&["__case", name]));
        }
    }
    let growth = AXES.iter().filter(|axis| wanted(axis.name)).map(|axis| {
        let points = axis.points.iter().map(|&at| {
            eprintln!("{} at {at}", axis.name);
            let figures = figures(&["__point", axis.name, &at.to_string()]);
            Point { at, figures }
        });
        (axis.name.to_owned(), points.collect())
    });
    Measured {
        machine: machine::describe(),
        lmdb: heed::lmdb_version().string.to_owned(),
        cases,
        growth: growth.collect(),
    }
}

/// Results of a process of this program.
fn figures(arguments: &[&str]) -> Vec<Figure> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("a process");
    let status = output.status;
    assert!(status.success(), "{arguments:?} ended with {status}");
    serde_json::from_slice(&output.stdout).expect("figures")
}
