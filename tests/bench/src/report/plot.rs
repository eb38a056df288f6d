//! The plots, as SVG without a background, readable on light and dark pages.

use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use super::comparison::{GROUPS, WHO};
use super::growth::{grouped, subjects};
use super::{Measured, Point, find};
use crate::growth::AXES;
use crate::measure::Unit;

/// The file of the comparison.
pub const COMPARISON: &str = "comparison.svg";

/// The file of an axis.
pub fn file(axis: &str) -> String {
    format!("{axis}.svg")
}

/// Between light and dark: text and lines.
const INK: RGBColor = RGBColor(128, 128, 128);
/// Colours that colour-blind readers can distinguish (after Okabe and Ito), visible on both
/// backgrounds.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(128, 128, 128),
];
const FONT: &str = "sans-serif";
const TEXT: i32 = 14;

/// Draws the comparison, and every axis that was measured.
///
/// # Errors
/// What the system refuses.
pub fn draw(measured: &Measured, folder: &Path) -> io::Result<()> {
    let failed = |error: Box<dyn std::error::Error>| io::Error::other(error.to_string());
    comparison(measured, &folder.join(COMPARISON)).map_err(failed)?;
    for (name, points) in &measured.growth {
        if let Some(axis) = AXES.iter().find(|axis| axis.name == name) {
            growth(axis.about, points, &folder.join(file(name))).map_err(failed)?;
        }
    }
    Ok(())
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// From the power of ten below all values to the one above.
fn decades(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = values
        .filter(|value| *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if most == 0.0 {
        return 1.0..10.0;
    }
    let least = 10_f64.powf(least.log10().floor());
    least..10_f64.powf(most.log10().ceil()).max(least * 10.0)
}

/// A time as the label of an axis.
fn tick(value: &f64) -> String {
    Unit::Nanoseconds.show(*value).replace(".00", "").replace(".0", "")
}

fn text(size: i32, colour: &RGBColor) -> TextStyle<'_> {
    (FONT, size).into_font().color(colour)
}

const WIDTH: u32 = 860;
/// More than there are, so that each has its line and its label.
const DECADES: usize = 20;
const BAR: f64 = 1.0;
/// Between the bars of two groups, for the group's words.
const GAP: f64 = 1.5;
/// How high a bar is, in pixels.
const BAR_PIXELS: f64 = 15.0;

/// A bar: whose, how long, and what to say of it.
struct Bar {
    at: f64,
    who: usize,
    value: f64,
    word: &'static str,
}

/// Bars, one below the other, for each group that was measured.
fn comparison(measured: &Measured, path: &Path) -> Drawn {
    let (mut bars, mut titles, mut at) = (Vec::new(), Vec::new(), 0.0);
    for group in GROUPS {
        let Some(figures) = group.figures(measured) else {
            continue;
        };
        titles.push((group.what, at + GAP - 0.2));
        at += GAP;
        for (who, figure) in figures.into_iter().enumerate() {
            if let Some((value, word)) = figure {
                bars.push(Bar { at, who, value, word });
                at += BAR;
            }
        }
    }
    let range = decades(bars.iter().map(|bar| bar.value));
    // Room for the words behind the longest bar.
    let range = range.start..range.end * 100.0;
    let height = (at * BAR_PIXELS) as u32 + 70;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .margin_left(20)
        .x_label_area_size(40)
        .build_cartesian_2d(range.clone().log_scale(), at..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.25))
        .axis_style(INK)
        .label_style(text(TEXT, &INK))
        .x_label_formatter(&tick)
        .x_labels(DECADES)
        .x_desc("time, less is better; each line is ten times the one before")
        .draw()?;
    let title = text(TEXT, &INK);
    chart.draw_series(
        titles.iter().map(|(what, at)| {
            Text::new((*what).to_owned(), (range.start, at - 0.9), title.clone())
        }),
    )?;
    chart.draw_series(bars.iter().map(|bar| {
        let corners = [(range.start, bar.at + 0.1), (bar.value, bar.at + 0.9)];
        Rectangle::new(corners, COLOURS[bar.who].filled())
    }))?;
    let small = text(TEXT - 3, &INK);
    chart.draw_series(bars.iter().map(|bar| {
        let word = match bar.word.replace('`', "") {
            word if word.is_empty() => word,
            word => format!(", {word}"),
        };
        let time = Unit::Nanoseconds.show(bar.value);
        let words = format!("{}{word}: {time}", WHO[bar.who]);
        Text::new(words, (bar.value * 1.1, bar.at + 0.15), small.clone())
    }))?;
    area.present()?;
    Ok(())
}

const GROWTH_SIZE: (u32, u32) = (860, 420);

/// A line for each figure, over the points of an axis.
fn growth(about: &str, points: &[Point], path: &Path) -> Drawn {
    let subjects = subjects(points);
    let values = points.iter().flat_map(|point| &point.figures);
    let times = decades(values.map(|figure| figure.median));
    let places = decades(points.iter().map(|point| point.at as f64));
    let area = SVGBackend::new(path, GROWTH_SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .margin_right(50)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(places.log_scale(), times.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.25))
        .axis_style(INK)
        .label_style(text(TEXT, &INK))
        .x_label_formatter(&|at| grouped(*at as usize))
        .y_label_formatter(&tick)
        .x_desc(about)
        .draw()?;
    for (at, subject) in subjects.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let line: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|point| Some((point.at as f64, find(&point.figures, subject)?.median)))
            .collect();
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)).point_size(3))?
            .label((*subject).to_owned())
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 16, y + 4)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text(TEXT, &INK))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_with_a_power_of_ten() {
        assert_eq!(decades([3.7, 450.0].into_iter()), 1.0..1000.0);
        assert_eq!(decades([10.0].into_iter()), 10.0..100.0);
        assert_eq!(decades(std::iter::empty()), 1.0..10.0);
    }
}
