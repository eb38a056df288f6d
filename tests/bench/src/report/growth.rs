//! Every axis: its points, one below the other.

use std::fmt::Write;

use super::{Measured, Point, find, plot};
use crate::growth::{AXES, Axis};

/// A section for each axis that was measured.
pub fn sections(measured: &Measured) -> String {
    let mut text = String::new();
    for axis in AXES {
        let found = measured.growth.iter().find(|(name, _)| name == axis.name);
        if let Some((_, points)) = found {
            section(&mut text, axis, points).expect("a string takes everything");
        }
    }
    text
}

/// The subjects along an axis, in the order of their first appearance.
pub fn subjects(points: &[Point]) -> Vec<&str> {
    let mut subjects: Vec<&str> = Vec::new();
    for figure in points.iter().flat_map(|point| &point.figures) {
        if !subjects.contains(&figure.subject.as_str()) {
            subjects.push(&figure.subject);
        }
    }
    subjects
}

fn section(text: &mut String, axis: &Axis, points: &[Point]) -> std::fmt::Result {
    let subjects = subjects(points);
    writeln!(text, "\n## {}\n", axis.name)?;
    writeln!(text, "Along the {}, all else as it is: medians, measured once.\n", axis.about)?;
    writeln!(text, "| {} | {} |", axis.about, subjects.join(" | "))?;
    writeln!(text, "|--:|{}", "--:|".repeat(subjects.len()))?;
    for point in points {
        write!(text, "| {} |", grouped(point.at))?;
        for subject in &subjects {
            match find(&point.figures, subject) {
                Some(figure) => write!(text, " {} |", figure.unit.show(figure.median))?,
                None => write!(text, " |")?,
            }
        }
        writeln!(text)?;
    }
    writeln!(text, "\n![{}]({})", axis.name, plot::file(axis.name))
}

/// A number with its thousands apart.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let text = [1, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(text, ["1", "999", "1,000", "1,234,567"]);
    }
}
