//! Every case: its figures, and its bars, held or not.

use std::fmt::Write;

use super::{Measured, find, median};
use crate::cases::{Bar, CASES, Case};
use crate::measure::Figure;

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
    // What is one number in every run has no percentiles.
    let single = |figure: &Figure| figure.median == figure.p99;
    let singles = runs.iter().flatten().all(single);
    let head = if singles {
        "| | |\n|---|--:|"
    } else {
        "| | median | p99 |\n|---|--:|--:|"
    };
    writeln!(text, "{head}")?;
    for figure in runs.first().into_iter().flatten() {
        let of = |pick: fn(&Figure) -> f64| {
            let found = runs.iter().filter_map(|run| find(run, &figure.subject));
            figure
                .unit
                .show(median(found.map(pick)).unwrap_or(f64::NAN))
        };
        let (middle, late) = (of(|figure| figure.median), of(|figure| figure.p99));
        let subject = &figure.subject;
        match (singles, single(figure)) {
            (true, _) => writeln!(text, "| {subject} | {middle} |")?,
            (false, true) => writeln!(text, "| {subject} | {middle} | |")?,
            (false, false) => writeln!(text, "| {subject} | {middle} | {late} |")?,
        }
    }
    if !case.bars.is_empty() {
        writeln!(text, "\n| bar | ratio | at most | |\n|---|--:|--:|---|")?;
    }
    for bar in case.bars {
        let ratios = runs.iter().filter_map(|run| ratio(bar, run));
        let Some(ratio) = median(ratios) else {
            continue;
        };
        let verdict = if ratio <= bar.at_most {
            "held"
        } else {
            "**not held**"
        };
        let which = if bar.of_p99 { ", p99" } else { "" };
        let (of, against, most) = (bar.of, bar.against, bar.at_most);
        writeln!(
            text,
            "| {of} : {against}{which} | {ratio:.3} | {most:.3} | {verdict} |"
        )?;
    }
    Ok(())
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

/// Of one run.
fn ratio(bar: &Bar, run: &[Figure]) -> Option<f64> {
    let of = |subject| {
        let figure = find(run, subject)?;
        Some(if bar.of_p99 {
            figure.p99
        } else {
            figure.median
        })
    };
    Some(of(bar.of)? / of(bar.against)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_compares_two_figures_of_its_case_or_is_left_out() {
        let figure = |subject, median, p99| Figure {
            p99,
            ..Figure::of(subject, vec![median])
        };
        let run = [figure("a", 3.0, 8.0), figure("b", 2.0, 2.0)];
        let mut bar = Bar {
            of: "a",
            against: "b",
            at_most: 2.0,
            of_p99: false,
        };
        assert_eq!(ratio(&bar, &run), Some(1.5));
        bar.of_p99 = true;
        assert_eq!(ratio(&bar, &run), Some(4.0));
        bar.against = "c";
        assert_eq!(ratio(&bar, &run), None);
    }
}
