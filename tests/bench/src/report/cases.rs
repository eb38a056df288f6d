//! Every case: its figures, and its bars, held or not.

use std::fmt::Write;

use super::{Measured, find, median};
use crate::cases::{Bar, CASES, Case};
use crate::measure::{Figure, Unit};

/// A section for each case that was measured.
pub fn sections(measured: &Measured) -> String {
    let mut text = String::new();
    for case in CASES {
        if let Some(runs) = measured.runs(case.name) {
            section(&mut text, case, runs).expect("a string takes everything");
        }
    }
    text
}

fn section(text: &mut String, case: &Case, runs: &[Vec<Figure>]) -> std::fmt::Result {
    writeln!(text, "\n## {}\n\n{}.\n", case.name, capitalized(case.about))?;
    figures(text, runs)?;
    if !case.bars.is_empty() {
        writeln!(text, "\n| bar | ratio | at most | |\n|---|--:|--:|---|")?;
    }
    for bar in case.bars {
        let ratios = runs.iter().filter_map(|run| ratio(bar, run));
        let (ratio, verdict) = match median(ratios) {
            // A name that no figure has: never to be taken for a bar that is held.
            None => ("?".to_owned(), "**not measured**"),
            Some(ratio) if ratio <= bar.at_most => (format!("{ratio:.3}"), "held"),
            Some(ratio) => (format!("{ratio:.3}"), "**not held**"),
        };
        let which = if bar.of_p99 { ", p99" } else { "" };
        let (of, against, most) = (bar.of, bar.against, bar.at_most);
        writeln!(text, "| {of} : {against}{which} | {ratio} | {most:.3} | {verdict} |")?;
    }
    Ok(())
}

/// The results of the runs. Times are compared with the first one, which is Tablecast's; other
/// numbers are not compared.
fn figures(text: &mut String, runs: &[Vec<Figure>]) -> std::fmt::Result {
    let Some(all) = runs.first() else {
        return Ok(());
    };
    let timed = |figure: &Figure| figure.unit == Unit::Nanoseconds;
    let first = all.first().filter(|first| timed(first));
    let Some(first) = first else {
        writeln!(text, "| | |\n|---|--:|")?;
        for figure in all {
            let value = of(runs, figure, |figure| figure.median);
            writeln!(text, "| {} | {value} |", figure.subject)?;
        }
        return Ok(());
    };
    let subject = &first.subject;
    writeln!(text, "| | median | p99 | : {subject} |")?;
    writeln!(text, "|---|--:|--:|--:|")?;
    for figure in all {
        let (subject, value) = (&figure.subject, of(runs, figure, |figure| figure.median));
        if !timed(figure) {
            writeln!(text, "| {subject} | {value} | | |")?;
            continue;
        }
        let late = of(runs, figure, |figure| figure.p99);
        let ratios = runs.iter().filter_map(|run| {
            let [this, first] = [subject, &first.subject].map(|subject| find(run, subject));
            Some(this?.median / first?.median)
        });
        let ratio = Unit::Count.show(median(ratios).unwrap_or(f64::NAN));
        writeln!(text, "| {subject} | {value} | {late} | {ratio} |")?;
    }
    Ok(())
}

/// The median over the runs, to be read.
fn of(runs: &[Vec<Figure>], figure: &Figure, pick: fn(&Figure) -> f64) -> String {
    let found = runs.iter().filter_map(|run| find(run, &figure.subject));
    let middle = median(found.map(pick)).unwrap_or(f64::NAN);
    figure.unit.show(middle)
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

/// Of one run.
fn ratio(bar: &Bar, run: &[Figure]) -> Option<f64> {
    let of = |subject| {
        let figure = find(run, subject)?;
        Some(if bar.of_p99 { figure.p99 } else { figure.median })
    };
    Some(of(bar.of)? / of(bar.against)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_compares_two_figures_of_a_run() {
        let figure = |subject, median, p99| Figure { p99, ..Figure::of(subject, vec![median]) };
        let run = [figure("a", 3.0, 8.0), figure("b", 2.0, 2.0)];
        let mut bar = Bar { of: "a", against: "b", at_most: 2.0, of_p99: false };
        assert_eq!(ratio(&bar, &run), Some(1.5));
        bar.of_p99 = true;
        assert_eq!(ratio(&bar, &run), Some(4.0));
        bar.against = "c";
        assert_eq!(ratio(&bar, &run), None);
    }

    #[test]
    fn a_bar_is_held_or_not_or_not_measured() {
        const BARS: &[Bar] = &[
            Bar { of: "a", against: "b", at_most: 1.5, of_p99: false },
            Bar { of: "a", against: "b", at_most: 1.4, of_p99: false },
            Bar { of: "a", against: "nobody", at_most: 9.0, of_p99: false },
        ];
        let case = Case { name: "case", about: "something", run: Vec::new, bars: BARS };
        let run =
            [Figure::of("a", vec![3.0]), Figure::of("b", vec![2.0]), Figure::of("c", vec![30.0])];
        let mut text = String::new();
        section(&mut text, &case, &[run.to_vec()]).expect("a string takes everything");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| a :")).collect();
        assert_eq!(
            rows,
            [
                "| a : b | 1.500 | 1.500 | held |",
                "| a : b | 1.500 | 1.400 | **not held** |",
                "| a : nobody | ? | 9.000 | **not measured** |",
            ]
        );
        assert!(text.contains("| c | 30.0 ns | 30.0 ns | 10 |"), "{text}");
    }
}
