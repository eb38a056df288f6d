//! Measures the bridge next to bare TCP and bare zenoh in one run, on one host over loopback.
//!
//! Each [case](cases) starts exporters and importers, which are processes of the binary `bridge`
//! next to this one, and other processes of this program ([`roles`]). Ratios are taken within a run,
//! from measurements that alternate. With several runs, the table has the median of each figure.

mod cases;
mod figure;
mod process;
mod proxy;
mod roles;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cases::CASES;
use figure::Figure;

/// An error that ends the program.
type Failure = Box<dyn Error + Send + Sync>;
/// The result of a function that can fail for many reasons.
type Result<T> = std::result::Result<T, Failure>;

/// Measures the bridge next to bare TCP and bare zenoh
#[derive(Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Number of runs of each case
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Only the cases whose names contain this: see `list`
    #[arg(long, default_value = "", value_name = "CASE")]
    only: String,

    #[command(flatten)]
    size: Size,

    #[command(subcommand)]
    part: Option<Part>,
}

/// Sizes of the cases.
#[derive(clap::Args)]
struct Size {
    /// Number of measurements of each kind in the case `latency`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Rows of the table in the case `resync`
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: u64,

    /// Duration of the partition in the case `resync`
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    partition: u64,

    /// Number of importers in the case `fanout`
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    importers: u16,
}

#[derive(Subcommand)]
enum Part {
    /// Print the names of the cases
    List,
    /// The other process of a case.
    #[command(name = "__role", hide = true)]
    Role {
        #[command(subcommand)]
        role: roles::Role,
    },
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

fn run(args: &Args) -> Result<()> {
    match &args.part {
        Some(Part::Role { role }) => return role.run(),
        Some(Part::List) => {
            for case in CASES {
                println!("{}: {}", case.name, case.about);
            }
            return Ok(());
        }
        None => {}
    }
    let mut table: Vec<Figure> = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&args.only)) {
        let mut runs = Vec::new();
        for run in 1..=args.runs {
            eprintln!("{}, run {run}", case.name);
            runs.push((case.run)(&args.size)?);
        }
        table.extend(figure::medians(runs));
    }
    println!("{}\n", process::machine());
    print!("{}", figure::markdown(&table));
    Ok(())
}
