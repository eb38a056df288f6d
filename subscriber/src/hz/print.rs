//! Prints reports to stdout, as text or JSON.

use std::io::{self, BufWriter, Write};

use common::UntypedSubscriber;
use hdrhistogram::Histogram;
use serde::Serializer as _;
use serde_json::{Value, json};

use super::RateFormat;
use super::measure::Measure;
use crate::cells::nanoseconds;
use crate::latency::bucket_ends;
use crate::output::Output;

/// Length of the longest bar of a histogram.
const BAR: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// One interval, or the last few.
    Interval,
    /// The whole session.
    Summary,
}

pub struct Printer {
    format: RateFormat,
    out: BufWriter<Output>,
    is_first: bool,
}

impl Printer {
    pub fn begin(format: RateFormat, name: &str, output: Output) -> io::Result<Self> {
        let mut out = output.buffered();
        if format == RateFormat::Json {
            // Intervals are written as they end, so that after a signal only the summary remains to
            // be written.
            write!(out, "{{\"table\":{},\"intervals\":[", json!(name))?;
        }
        Ok(Self { format, out, is_first: true })
    }

    pub fn end_without_table(&mut self) -> io::Result<()> {
        if self.format == RateFormat::Json {
            self.out.write_all(b"]}\n")?;
        }
        self.out.flush()
    }

    /// Prints a report about `table`. `intervals` is the number of the interval; in the summary,
    /// the number of all intervals.
    pub fn print(
        &mut self,
        period: Period,
        intervals: u64,
        measure: &Measure,
        table: &UntypedSubscriber,
    ) -> io::Result<()> {
        let is_first = std::mem::take(&mut self.is_first);
        let (before, after) = match (self.format, period) {
            (RateFormat::Text, _) => {
                text(&mut self.out, period, measure, table)?;
                return self.out.flush();
            }
            (RateFormat::Jsonl, _) => ("", "\n"),
            (RateFormat::Json, Period::Interval) if is_first => ("\n", ""),
            (RateFormat::Json, Period::Interval) => (",\n", ""),
            (RateFormat::Json, Period::Summary) => ("],\n\"summary\":", "}\n"),
        };
        self.out.write_all(before.as_bytes())?;
        let members = members(period, intervals, measure, table);
        serde_json::Serializer::new(&mut self.out).collect_map(members)?;
        self.out.write_all(after.as_bytes())?;
        self.out.flush()
    }
}

/// Returns the members of the report for programs.
fn members(
    period: Period,
    intervals: u64,
    measure: &Measure,
    table: &UntypedSubscriber,
) -> Vec<(&'static str, Value)> {
    let is_summary = period == Period::Summary;
    let mut members = vec![
        ("what", if is_summary { "summary" } else { "interval" }.into()),
        ("table", table.name().into()),
        ("intervals", intervals.into()),
        ("version", table.version().into()),
        ("rows", table.len().into()),
        ("publisher", table.publisher_state().as_str().into()),
    ];
    members.extend(measure.members());
    let buckets = buckets(measure.delays());
    if is_summary && !buckets.is_empty() {
        let buckets = buckets.into_iter().map(|(end, count)| match end {
            Some(end) => json!({"up_to_ns": end, "count": count}),
            None => json!({"count": count}),
        });
        members.push(("delay_histogram", buckets.collect()));
    }
    members
}

/// Writes a report for people: a block of lines, and in the summary a histogram.
fn text(
    out: &mut impl Write,
    period: Period,
    measure: &Measure,
    table: &UntypedSubscriber,
) -> io::Result<()> {
    if period == Period::Summary {
        write!(out, "table {} over ", table.name())?;
    }
    let elapsed = nanoseconds(measure.elapsed_ns());
    let (version, rows) = (table.version(), table.len());
    let publisher = table.publisher_state().as_str();
    writeln!(out, "{elapsed}: version {version}, rows {rows}, publisher {publisher}")?;
    measure.write_text(out)?;
    match (period, measure.delays().len()) {
        (Period::Interval, _) => writeln!(out),
        (Period::Summary, 0) => Ok(()),
        (Period::Summary, delays) => {
            writeln!(out, "\ndelay from commit to applied, {delays} seen")?;
            write_histogram(out, &buckets(measure.delays()))
        }
    }
}

/// Returns the buckets of a histogram from the first to the last that is not empty. Each has its
/// upper end, which is `None` for the open last bucket, and its count.
fn buckets(histogram: &Histogram<u64>) -> Vec<(Option<u64>, u64)> {
    let ends = bucket_ends().map(Some).chain([None]);
    let mut below = 0;
    let mut buckets: Vec<_> = ends
        .map(|end| {
            let up_to = end.map_or(histogram.len(), |end| histogram.count_between(0, end));
            (end, up_to - std::mem::replace(&mut below, up_to))
        })
        .skip_while(|(_, count)| *count == 0)
        .collect();
    while buckets.pop_if(|(_, count)| *count == 0).is_some() {}
    buckets
}

/// Writes a line per bucket. The length of its bar is relative to the fullest bucket.
fn write_histogram(out: &mut impl Write, buckets: &[(Option<u64>, u64)]) -> io::Result<()> {
    let counts = buckets.iter().map(|(_, count)| *count);
    let (fullest, all) = (counts.clone().max().unwrap_or_default(), counts.sum::<u64>());
    for (end, count) in buckets {
        let name = match end {
            Some(end) => format!("up to {}", nanoseconds(*end)),
            None => "more".to_owned(),
        };
        // Rounded up, so that a bucket that is not empty has a visible bar.
        let bar = "#".repeat((count * BAR).div_ceil(fullest) as usize);
        let percent = 100.0 * *count as f64 / all as f64;
        let width = BAR as usize;
        writeln!(out, "  {name:>13} |{bar:<width$}| {count:>8}  {percent:>5.1} %")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_to_the_fullest_bucket() {
        let buckets = [(Some(2_000), 1), (Some(5_000), 0), (None, 100)];
        let mut out = Vec::new();
        write_histogram(&mut out, &buckets).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let bars: Vec<usize> = lines.iter().map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [1, 0, 40]);
        assert!(lines[0].starts_with("   up to 2.0 µs |#  "), "{text}");
        assert!(lines[0].ends_with("|        1    1.0 %"), "{text}");
        assert!(lines[2].starts_with("           more |####"), "{text}");
    }

    #[test]
    fn buckets_go_from_the_first_to_the_last_with_values() {
        let mut histogram = Histogram::new(3).unwrap();
        assert!(buckets(&histogram).is_empty());
        for ns in [0, 1_000, 1_001, 5_100, 20_000_000_000] {
            histogram += ns;
        }
        let found = buckets(&histogram);
        assert_eq!(found.len(), 23);
        let first = [(1_000, 2), (2_000, 1), (5_000, 0), (10_000, 1), (20_000, 0)];
        assert_eq!(found[..5], first.map(|(end, count)| (Some(end), count)));
        assert_eq!(found[21..], [(Some(10_000_000_000), 0), (None, 1)]);
    }
}
