//! What was measured, as Markdown on stdout and in a file, and all runs as JSON.

use std::fmt::Write;
use std::path::Path;

use crate::cases::{Bar, Case};
use crate::measure::Figure;

/// Writes the report of these cases, each with its runs.
///
/// # Errors
/// What the system refuses.
pub fn write(folder: &Path, measured: &[(&Case, Vec<Vec<Figure>>)]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let raw: Vec<(&str, &Vec<Vec<Figure>>)> = measured
        .iter()
        .map(|(case, runs)| (case.name, runs))
        .collect();
    std::fs::write(
        folder.join("runs.json"),
        serde_json::to_string_pretty(&raw)?,
    )?;
    let mut text = machine();
    for (case, runs) in measured {
        section(&mut text, case, runs).expect("a string takes everything");
    }
    std::fs::write(folder.join("report.md"), &text)?;
    print!("{text}");
    Ok(())
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let processor = processor
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, Linux {}\n", kernel.trim())
}

fn section(text: &mut String, case: &Case, runs: &[Vec<Figure>]) -> std::fmt::Result {
    writeln!(text, "\n## {}\n\n{}\n", case.name, case.about)?;
    writeln!(text, "| | median | p99 |\n|---|--:|--:|")?;
    for figure in runs.first().into_iter().flatten() {
        let of = |pick: fn(&Figure) -> f64| {
            median(runs.iter().map(|run| pick(find(run, &figure.subject))))
        };
        writeln!(
            text,
            "| {} | {} | {} |",
            figure.subject,
            number(of(|figure| figure.median)),
            number(of(|figure| figure.p99))
        )?;
    }
    if !case.bars.is_empty() {
        writeln!(text, "\n| bar | ratio | at most | |\n|---|--:|--:|---|")?;
    }
    for bar in case.bars {
        let ratio = median(runs.iter().map(|run| ratio(bar, run)));
        let verdict = if ratio <= bar.at_most {
            "held"
        } else {
            "**not held**"
        };
        let which = if bar.of_p99 { ", p99" } else { "" };
        writeln!(
            text,
            "| {} : {}{which} | {ratio:.3} | {:.3} | {verdict} |",
            bar.of, bar.against, bar.at_most
        )?;
    }
    Ok(())
}

fn find<'f>(run: &'f [Figure], subject: &str) -> &'f Figure {
    let found = run.iter().find(|figure| figure.subject == subject);
    found.unwrap_or_else(|| panic!("every run measures {subject}"))
}

fn ratio(bar: &Bar, run: &[Figure]) -> f64 {
    let of = |subject| {
        let figure = find(run, subject);
        if bar.of_p99 {
            figure.p99
        } else {
            figure.median
        }
    };
    of(bar.of) / of(bar.against)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// With as many digits as mean something.
fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
