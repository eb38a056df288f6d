//! Tablecast beside its peers and the machine's limits, in one run.
//!
//! `cargo run --release --manifest-path tests/bench/Cargo.toml`
//!
//! Every case is run several times, each time in a process of its own, pinned, with its other side pinned to another core. What
//! is reported are medians over the runs; ratios are taken within a run, so that what disturbs the machine disturbs both sides.

mod cases;
mod measure;
mod other;
mod peers;
mod report;
mod row;

use std::path::PathBuf;
use std::process::Command;

use clap::{Parser, Subcommand};

use cases::{CASES, Case, play};
use measure::Figure;

/// Measures Tablecast beside its peers and the machine's limits
#[derive(Parser)]
#[command(name = "bench", version)]
struct Args {
    /// How often each case is run
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// Only cases whose names contain this
    #[arg(long, default_value = "")]
    only: String,

    /// Where the report and the raw runs go
    #[arg(long, default_value = "bench-results")]
    out: PathBuf,

    #[command(subcommand)]
    part: Option<Part>,
}

/// What the program starts itself for.
#[derive(Subcommand)]
enum Part {
    /// One case, once.
    #[command(name = "__case", hide = true)]
    Case { name: String },
    /// The other process of a case.
    #[command(name = "__role", hide = true)]
    Role {
        role: String,
        arguments: Vec<String>,
    },
}

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    match args.part {
        Some(Part::Role { role, arguments }) => play(&role, &arguments),
        Some(Part::Case { name }) => {
            let case = CASES.iter().find(|case| case.name == name).expect("a case");
            println!("{}", serde_json::to_string(&(case.run)())?);
        }
        None => {
            let measured: Vec<(&Case, Vec<Vec<Figure>>)> = CASES
                .iter()
                .filter(|case| case.name.contains(&args.only))
                .map(|case| (case, (0..args.runs).map(|run| once(case, run)).collect()))
                .collect();
            report::write(&args.out, &measured)?;
        }
    }
    Ok(())
}

/// Runs a case in a process of its own.
fn once(case: &Case, run: usize) -> Vec<Figure> {
    eprintln!("{}, run {}", case.name, run + 1);
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["__case", case.name])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("a process");
    assert!(
        output.status.success(),
        "{} ended with {}",
        case.name,
        output.status
    );
    serde_json::from_slice(&output.stdout).expect("figures")
}
