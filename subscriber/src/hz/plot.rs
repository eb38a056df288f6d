//! Plot of the delay over time, as SVG. It has no background and is readable on light and dark
//! ones.

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plotters::prelude::*;
use tempfile::NamedTempFile;

use super::measure::Measure;
use crate::format::cells::nanoseconds;
use cli::CliError;

/// Maximum number of points. The plot has no more columns of pixels.
const MAX_POINTS: usize = 2048;
const SIZE: (u32, u32) = (860, 420);
/// Colour of text and axes, visible on light and dark backgrounds.
const INK: RGBColor = RGBColor(128, 128, 128);
/// Colours that people with colour blindness can distinguish (after Okabe and Ito), visible on
/// light and dark backgrounds. The widths differ so that lines on top of each other all show.
const LINES: [(&str, RGBColor, u32); 3] = [
    ("max", RGBColor(204, 121, 167), 5),
    ("p99", RGBColor(230, 159, 0), 2),
    ("p50", RGBColor(0, 158, 115), 2),
];
/// Space above the lines for their names, as a fraction of a power of ten.
const HEADROOM: f64 = 6.0;
const FONT: &str = "sans-serif";
const TEXT: i32 = 14;

/// Delays of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    seconds: f64,
    /// Delays in ns, in the order of [`LINES`].
    delays: [f64; LINES.len()],
}

/// Plot and the file that it is written to at the end.
pub struct Plot {
    path: PathBuf,
    /// Temporary file in the same directory, renamed to the target when complete.
    file: NamedTempFile,
    points: Vec<Point>,
    /// Number of intervals per point.
    stride: usize,
    pending: usize,
}

impl Plot {
    /// Creates the temporary file next to `path`, so that a path that cannot be written is reported
    /// before measuring.
    ///
    /// # Errors
    /// Fails if the system refuses to create the file.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(refused(path, &"it is a folder"));
        }
        let file = tempfile::Builder::new()
            .prefix(".tablecast-plot-")
            .suffix(".svg")
            // The permissions of a new file, subject to the umask.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|error| refused(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            points: Vec::new(),
            stride: 1,
            pending: 0,
        })
    }

    /// Adds an interval that ended `time` after the start. Beyond the maximum number of points,
    /// each point combines several intervals by their greatest values.
    pub fn add(&mut self, time: Duration, interval: &Measure) {
        if interval.delays.is_empty() {
            return;
        }
        let ns = |time: Duration| (time.as_nanos() as f64).max(1.0);
        let longest = ns(interval.longest);
        let point = Point {
            seconds: time.as_secs_f64(),
            delays: [
                longest,
                ns(interval.delays.quantile(0.99)).min(longest),
                ns(interval.delays.quantile(0.5)).min(longest),
            ],
        };
        match self.points.last_mut() {
            Some(last) if self.pending > 0 => *last = joined(*last, point),
            _ => self.points.push(point),
        }
        self.pending = (self.pending + 1) % self.stride;
        if self.points.len() == MAX_POINTS && self.pending == 0 {
            let pairs = self.points.chunks_exact(2);
            self.points = pairs.map(|pair| joined(pair[0], pair[1])).collect();
            self.stride *= 2;
        }
    }

    /// Draws the plot and moves the file to its target.
    ///
    /// # Errors
    /// Fails if the system refuses to write or rename the file.
    pub fn write(mut self, table: &str) -> Result<(), CliError> {
        let svg = drawn(table, &self.points)
            .map_err(|error| refused(&self.path, &error.as_ref().to_string()))?;
        self.file
            .write_all(svg.as_bytes())
            .map_err(|error| refused(&self.path, &error))?;
        let persisted = self.file.persist(&self.path);
        persisted.map_err(|error| refused(&self.path, &error.error))?;
        Ok(())
    }
}

fn refused(path: &Path, reason: &dyn std::fmt::Display) -> CliError {
    let path = path.display();
    CliError::new(
        1,
        format!("cannot write the plot {path}: {reason}; choose another --plot FILE.svg"),
    )
}

fn joined(one: Point, other: Point) -> Point {
    let mut delays = one.delays;
    for (delay, others) in delays.iter_mut().zip(other.delays) {
        *delay = delay.max(others);
    }
    Point {
        seconds: other.seconds,
        delays,
    }
}

/// Returns the range from the power of ten below all delays to the one above.
fn decades(points: &[Point]) -> Range<f64> {
    let delays = points.iter().flat_map(|point| point.delays);
    let least = delays.clone().fold(f64::INFINITY, f64::min);
    let most = delays.fold(0.0, f64::max);
    if points.is_empty() {
        return 1e3..1e6;
    }
    let least = 10_f64.powf(least.log10().floor());
    least..10_f64.powf(most.log10().ceil()).max(least * 10.0)
}

fn text(size: i32, colour: &RGBColor) -> TextStyle<'_> {
    (FONT, size).into_font().color(colour)
}

fn drawn(table: &str, points: &[Point]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let end = points.last().map_or(1.0, |point| point.seconds);
        let caption = match points.is_empty() {
            true => format!("table {table}: there was no change"),
            false => format!("table {table}: delay from commit to applied"),
        };
        let delays = decades(points);
        let delays = (delays.start..delays.end * HEADROOM).log_scale();
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, text(TEXT + 2, &INK))
            .margin(10)
            .margin_right(30)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end, delays)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.25))
            .axis_style(INK)
            .label_style(text(TEXT, &INK))
            .y_label_formatter(&|ns| nanoseconds(*ns as u64).replace(".0", ""))
            .x_desc("seconds")
            .draw()?;
        for (at, (name, colour, width)) in LINES.into_iter().enumerate() {
            let line = points.iter().map(|point| (point.seconds, point.delays[at]));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(width)).point_size(2))?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 4), (x + 16, y + 4)], colour.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(text(TEXT, &INK))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(ns: u64) -> Measure {
        let mut measure = Measure::default();
        measure.delays.record(Duration::from_nanos(ns));
        measure.longest = Duration::from_nanos(ns);
        measure
    }

    #[test]
    fn axis_begins_and_ends_with_a_power_of_ten() {
        let point = |ns| Point {
            seconds: 1.0,
            delays: [ns; 3],
        };
        assert_eq!(decades(&[point(3_700.0), point(450.0)]), 100.0..10_000.0);
        assert_eq!(decades(&[point(10.0)]), 10.0..100.0);
        assert_eq!(decades(&[]), 1e3..1e6);
    }

    #[test]
    fn points_are_bounded_and_keep_maxima() {
        let folder = tempfile::tempdir().unwrap();
        let mut plot = Plot::create(&folder.path().join("plot.svg")).unwrap();
        let intervals = 3 * MAX_POINTS;
        let slowest = 5_000_000;
        for at in 0..intervals {
            let ns = if at == 1000 { slowest } else { 1_000 };
            plot.add(Duration::from_secs(at as u64), &measure(ns));
        }
        assert!((MAX_POINTS / 2..MAX_POINTS).contains(&plot.points.len()));
        let most = plot.points.iter().map(|point| point.delays[0]);
        assert_eq!(most.fold(0.0, f64::max), slowest as f64);
        let last = plot.points.last().unwrap().seconds;
        assert_eq!(last, (intervals - 1) as f64);
        assert!(
            plot.points
                .windows(2)
                .all(|two| two[0].seconds < two[1].seconds)
        );
        plot.write("t").unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn empty_plot_is_drawn_and_unwritable_path_fails_at_once() {
        assert!(drawn("t", &[]).unwrap().contains("there was no change"));
        let refused = Plot::create(Path::new("/nowhere/plot.svg"));
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("/nowhere/plot.svg"), "{message}");
        assert!(Plot::create(Path::new("/tmp")).is_err());
    }
}
