//! Measures how long an operation takes: batches are timed, and the median and 99th percentile of
//! the batches are reported.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Unit of a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Time, in nanoseconds.
    #[default]
    Nanoseconds,
    /// Memory, in bytes.
    Bytes,
    /// A number of things.
    Count,
}

impl Unit {
    /// Formats a number with its significant digits.
    pub fn show(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Self::Nanoseconds => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
            Self::Bytes => &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")],
            Self::Count => &[(1.0, "")],
        };
        let smallest = steps[steps.len() - 1];
        let (size, name) = steps.iter().find(|(size, _)| value >= *size).unwrap_or(&smallest);
        let value = value / size;
        // Bytes are whole, and so are most things that are counted.
        if value >= 100.0 || (value.fract() == 0.0 && self != Self::Nanoseconds) {
            format!("{value:.0}{name}")
        } else if value >= 10.0 {
            format!("{value:.1}{name}")
        } else {
            format!("{value:.2}{name}")
        }
    }
}

/// The result of one run about one way to do something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Which way.
    pub subject: String,
    /// Unit of the numbers.
    pub unit: Unit,
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Figure {
    /// Of measurements in any order, in nanoseconds.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn of(subject: impl Into<String>, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        // Returns a quantile. The 99th percentile of few samples is the greatest one.
        let at = |share: f64| samples[(samples.len() as f64 * share).ceil() as usize - 1];
        Self { subject: subject.into(), unit: Unit::default(), median: at(0.5), p99: at(0.99) }
    }

    /// Of one number.
    pub fn one(subject: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self::of(subject, vec![value]).counted_in(unit)
    }

    /// Returns the figure in another unit.
    pub fn counted_in(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }
}

/// Maximum and minimum number of batches of a figure.
const BATCHES: usize = 400;
/// See [`BATCHES`].
const LEAST: usize = 3;
/// Approximate duration of a measurement.
const TIME: Duration = Duration::from_millis(400);

/// Times `batch`, which does something `count` times, until there is enough of it; of each batch
/// the time of one. To drop what it returns is not timed.
pub fn batches<U>(
    subject: impl Into<String>,
    count: usize,
    mut batch: impl FnMut() -> U,
) -> Figure {
    prepared(subject, count, || (), |()| batch())
}

/// As [`batches`], each with something that is prepared before and not timed.
pub fn prepared<T, U>(
    subject: impl Into<String>,
    count: usize,
    mut prepare: impl FnMut() -> T,
    mut batch: impl FnMut(T) -> U,
) -> Figure {
    batch(prepare());
    let begun = Instant::now();
    let mut samples = Vec::with_capacity(BATCHES);
    while samples.len() < BATCHES && (samples.len() < LEAST || begun.elapsed() < TIME) {
        let ready = prepare();
        let start = Instant::now();
        let made = batch(ready);
        samples.push(start.elapsed().as_nanos() as f64 / count as f64);
        drop(made);
    }
    Figure::of(subject, samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let shown = |value| Unit::Nanoseconds.show(value);
        assert_eq!(shown(3.712), "3.71 ns");
        assert_eq!(shown(0.0), "0.00 ns");
        assert_eq!(shown(12_345.0), "12.3 µs");
        assert_eq!(shown(1.5e9), "1.50 s");
        assert_eq!(Unit::Bytes.show(144.0), "144 B");
        assert_eq!(Unit::Bytes.show(13_600_000.0), "13.6 MB");
        assert_eq!(Unit::Count.show(0.0), "0");
        assert_eq!(Unit::Count.show(10.5), "10.5");
    }

    #[test]
    fn the_99th_percentile_of_a_few_is_the_greatest() {
        let figure = Figure::of("numbers", vec![3.0, 1.0, 2.0]);
        assert_eq!((figure.median, figure.p99), (2.0, 3.0));
        let figure = Figure::of("a number", vec![7.0]);
        assert_eq!((figure.median, figure.p99), (7.0, 7.0));
    }

    #[test]
    fn the_median_and_the_99th_percentile_of_what_comes_in_any_order() {
        let figure = Figure::of("numbers", (1..=101).rev().map(f64::from).collect());
        assert_eq!((figure.median, figure.p99), (51.0, 100.0));
    }
}
