//! Measurements of a table over a period, and their reports as text and JSON.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use common::UntypedSubscriber;
use hdrhistogram::Histogram;
use serde::Serializer as _;
use serde_json::{Value, json};

use super::RateFormat;
use crate::cells::{bytes, nanoseconds};
use crate::latency::{Durations, bucket_ends, ns};
use crate::output::Output;

/// Length of the longest bar of a histogram.
const BAR: u64 = 40;

#[derive(Clone, Debug, Default)]
pub struct Measure {
    time: Duration,
    /// Number of commits, by version numbers.
    commits: u64,
    /// Number of commits that were refreshed one by one.
    single: u64,
    /// Number of refreshes with at least one commit.
    refreshes: u64,
    outrun: u64,
    rows: u64,
    bytes: u64,
    /// Rows and bytes per commit, of commits refreshed one by one.
    rows_range: Range,
    bytes_range: Range,
    /// Version and time of the last commit whose time is known.
    last: Option<(u64, Duration)>,
    /// Time from the first to the last commit whose times are known, and number of commits after
    /// the first.
    gap_time: Duration,
    gap_commits: u64,
    /// Times between two successive commits whose times are both known.
    gaps: Durations,
    /// Delays from commit to the end of the refresh.
    delays: Durations,
}

/// Name in reports for programs, name in reports for people, and time in ns.
type Figure = (&'static str, &'static str, u64);

#[derive(Clone, Copy, Debug)]
struct Range {
    min: u64,
    max: u64,
}

impl Default for Range {
    fn default() -> Self {
        Self { min: u64::MAX, max: 0 }
    }
}

impl Range {
    fn add(&mut self, other: Self) {
        *self = Self { min: self.min.min(other.min), max: self.max.max(other.max) };
    }
}

impl Measure {
    /// Records a refresh that applied `commits` commits and changed `rows` rows, `bytes` bytes in
    /// total. `delay` is the time from the last commit to the end of the refresh, if known.
    pub fn record(&mut self, commits: u64, rows: u64, bytes: u64, delay: Option<Duration>) {
        self.commits += commits;
        self.refreshes += 1;
        self.rows += rows;
        self.bytes += bytes;
        if commits == 1 {
            self.single += 1;
            self.rows_range.add(Range { min: rows, max: rows });
            self.bytes_range.add(Range { min: bytes, max: bytes });
        }
        delay.into_iter().for_each(|delay| self.delays.add(delay));
    }

    /// Records the time at which `version` was committed.
    pub fn record_commit_time(&mut self, version: u64, committed: Duration) {
        let Some((before, since)) = self.last.replace((version, committed)) else {
            return;
        };
        // The version is lower if the table was created again.
        let Some(commits) = version.checked_sub(before).filter(|commits| *commits > 0) else {
            return;
        };
        let gap = committed.saturating_sub(since);
        self.gap_time += gap;
        self.gap_commits += commits;
        if commits == 1 {
            self.gaps.add(gap);
        }
    }

    /// Counts a refresh that failed because the table changed too fast.
    pub fn record_outrun(&mut self) {
        self.outrun += 1;
    }

    /// Ends the current period, which took `time`, and returns its measurements. The next period
    /// starts.
    pub fn take(&mut self, time: Duration) -> Self {
        let next = Self { last: self.last, ..Self::default() };
        Self { time, ..std::mem::replace(self, next) }
    }

    pub fn add(&mut self, other: &Self) {
        self.time += other.time;
        self.commits += other.commits;
        self.single += other.single;
        self.refreshes += other.refreshes;
        self.outrun += other.outrun;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.rows_range.add(other.rows_range);
        self.bytes_range.add(other.bytes_range);
        self.gap_time += other.gap_time;
        self.gap_commits += other.gap_commits;
        self.gaps.0 += &other.gaps.0;
        self.delays.0 += &other.delays.0;
    }

    /// Returns the members of the report for programs. Unknown ones are left out.
    fn members(
        &self,
        period: Period,
        intervals: u64,
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
            ("elapsed_ns", ns(self.time).into()),
            ("commits", self.commits.into()),
            ("commits_per_second", self.rate(self.commits).into()),
            ("commits_seen_singly", self.single.into()),
            ("refreshes", self.refreshes.into()),
            ("refreshes_per_second", self.rate(self.refreshes).into()),
            ("outrun", self.outrun.into()),
            ("changed_rows", self.rows.into()),
            ("changed_rows_per_second", self.rate(self.rows).into()),
            ("changed_bytes_per_second", self.rate(self.bytes).into()),
            ("delays", self.delays.0.len().into()),
        ];
        if self.commits > 0 {
            members.push(("rows_per_commit_mean", self.mean(self.rows).into()));
            members.push(("bytes_per_commit_mean", self.mean(self.bytes).into()));
        }
        if self.single > 0 {
            members.extend([
                ("rows_per_commit_min", self.rows_range.min.into()),
                ("rows_per_commit_max", self.rows_range.max.into()),
                ("bytes_per_commit_min", self.bytes_range.min.into()),
                ("bytes_per_commit_max", self.bytes_range.max.into()),
            ]);
        }
        let times = self.gap_figures().into_iter().chain(self.delay_figures());
        members.extend(times.map(|(name, _, ns)| (name, ns.into())));
        let buckets = buckets(&self.delays.0);
        if is_summary && !buckets.is_empty() {
            let buckets = buckets.into_iter().map(|(end, count)| match end {
                Some(end) => json!({"up_to_ns": end, "count": count}),
                None => json!({"count": count}),
            });
            members.push(("delay_histogram", buckets.collect()));
        }
        members
    }

    /// Writes the report for people: a block of lines, and in the summary a histogram.
    fn write_text(
        &self,
        out: &mut impl Write,
        period: Period,
        table: &UntypedSubscriber,
    ) -> io::Result<()> {
        if period == Period::Summary {
            write!(out, "table {} over ", table.name())?;
        }
        let (version, rows) = (table.version(), table.len());
        let (elapsed, publisher) = (nanoseconds(ns(self.time)), table.publisher_state().as_str());
        writeln!(out, "{elapsed}: version {version}, rows {rows}, publisher {publisher}")?;
        let Self { commits, single, outrun, .. } = self;
        let [commit_rate, refresh_rate, row_rate] =
            [self.commits, self.refreshes, self.rows].map(|count| number(self.rate(count)));
        let byte_rate = bytes(self.rate(self.bytes) as u64);
        writeln!(out, "  commits   {commit_rate}/s ({commits}, {single} of them seen one by one)")?;
        writeln!(out, "  refreshes {refresh_rate}/s, outrun {outrun} times")?;
        writeln!(out, "  changes   {row_rate} rows/s, {byte_rate}/s")?;
        if self.commits > 0 {
            let (rows, size) = (number(self.mean(self.rows)), bytes(self.mean(self.bytes) as u64));
            write!(out, "  a commit  mean {rows} rows, {size}")?;
            if self.single > 0 {
                let Range { min, max } = self.rows_range;
                let [least, most] = [self.bytes_range.min, self.bytes_range.max].map(bytes);
                write!(out, "; min {min} rows, {least}; max {max} rows, {most}")?;
            }
            writeln!(out)?;
        }
        for (name, figures) in [("gap", self.gap_figures()), ("delay", self.delay_figures())] {
            let figures =
                figures.iter().map(|(_, label, ns)| format!("{label} {}", nanoseconds(*ns)));
            let figures: Vec<String> = figures.collect();
            if !figures.is_empty() {
                writeln!(out, "  {name:<9} {}", figures.join(", "))?;
            }
        }
        match (period, self.delays.0.len()) {
            (Period::Interval, _) => writeln!(out),
            (Period::Summary, 0) => Ok(()),
            (Period::Summary, delays) => {
                writeln!(out, "\ndelay from commit to applied, {delays} seen")?;
                write_histogram(out, &buckets(&self.delays.0))
            }
        }
    }

    /// Returns the figures of the times between commits. The mean covers all commits, the others
    /// only those that were refreshed one by one.
    fn gap_figures(&self) -> Vec<Figure> {
        let gaps = &self.gaps.0;
        let mean = self.gap_mean_ns().map(|mean| ("gap_mean_ns", "mean", mean));
        let single = [
            ("gap_min_ns", "min", gaps.min()),
            ("gap_p50_ns", "p50", gaps.value_at_quantile(0.5)),
            ("gap_p99_ns", "p99", gaps.value_at_quantile(0.99)),
            ("gap_max_ns", "max", gaps.max()),
            ("gap_std_dev_ns", "std dev", gaps.stdev().round() as u64),
        ];
        let single = single.into_iter().filter(|_| !gaps.is_empty());
        mean.into_iter().chain(single).collect()
    }

    fn delay_figures(&self) -> Vec<Figure> {
        let delays = &self.delays.0;
        let figures = [
            ("delay_p50_ns", "p50", delays.value_at_quantile(0.5)),
            ("delay_p90_ns", "p90", delays.value_at_quantile(0.9)),
            ("delay_p99_ns", "p99", delays.value_at_quantile(0.99)),
            ("delay_p99_9_ns", "p99.9", delays.value_at_quantile(0.999)),
            ("delay_max_ns", "max", delays.max()),
        ];
        figures.into_iter().filter(|_| !delays.is_empty()).collect()
    }

    fn rate(&self, count: u64) -> f64 {
        match self.time.as_secs_f64() {
            0.0 => 0.0,
            seconds => rounded(count as f64 / seconds),
        }
    }

    fn mean(&self, sum: u64) -> f64 {
        rounded(sum as f64 / self.commits as f64)
    }

    fn gap_mean_ns(&self) -> Option<u64> {
        ns(self.gap_time).checked_div(self.gap_commits)
    }
}

/// Rounds to three decimal places.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Formats a number with about three digits, whole numbers without a point.
fn number(number: f64) -> String {
    match number {
        _ if number.fract() == 0.0 || number >= 1000.0 => format!("{number:.0}"),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

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
                measure.write_text(&mut self.out, period, table)?;
                return self.out.flush();
            }
            (RateFormat::Jsonl, _) => ("", "\n"),
            (RateFormat::Json, Period::Interval) if is_first => ("\n", ""),
            (RateFormat::Json, Period::Interval) => (",\n", ""),
            (RateFormat::Json, Period::Summary) => ("],\n\"summary\":", "}\n"),
        };
        self.out.write_all(before.as_bytes())?;
        let members = measure.members(period, intervals, table);
        serde_json::Serializer::new(&mut self.out).collect_map(members)?;
        self.out.write_all(after.as_bytes())?;
        self.out.flush()
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

    const MS: Duration = Duration::from_millis(1);

    /// Records a refresh, given as version and time of the last commit in ms and number of commits.
    fn record(measure: &mut Measure, (version, at, commits): (u64, u32, u64)) {
        measure.record(commits, commits * 2, commits * 16, Some(MS));
        measure.record_commit_time(version, at * MS);
    }

    fn near(found: u64, expected: u64) {
        let error = found.abs_diff(expected) as f64 / expected as f64;
        assert!(error < 1e-3, "{found} {expected}");
    }

    #[test]
    fn combined_commits_count_for_rates_and_means_only() {
        let mut measure = Measure::default();
        for refresh in [(2, 10, 1), (3, 20, 1), (6, 50, 3), (7, 60, 1)] {
            record(&mut measure, refresh);
        }
        assert_eq!((measure.commits, measure.single, measure.refreshes), (6, 3, 4));
        assert_eq!((measure.rows, measure.bytes), (12, 96));
        assert_eq!((measure.rows_range.min, measure.rows_range.max), (2, 2));
        assert_eq!((measure.bytes_range.min, measure.bytes_range.max), (16, 16));
        assert_eq!(measure.gap_mean_ns(), Some(10_000_000));
        let gaps = &measure.gaps.0;
        assert_eq!(gaps.len(), 2);
        near(gaps.min(), 10_000_000);
        near(gaps.max(), 10_000_000);
        assert_eq!(measure.delays.0.len(), 4);
        near(measure.delays.0.max(), 1_000_000);
    }

    #[test]
    fn sum_of_periods_equals_whole_period() {
        let (mut whole, mut part, mut sum) = <(Measure, Measure, Measure)>::default();
        for refresh in [(2, 10, 1), (3, 20, 1), (6, 50, 3), (7, 55, 1), (8, 75, 1)] {
            record(&mut whole, refresh);
            record(&mut part, refresh);
            sum.add(&part.take(MS));
        }
        assert_eq!(sum.time, 5 * MS);
        assert_eq!((sum.commits, sum.rows), (whole.commits, whole.rows));
        assert_eq!(sum.gap_time, whole.gap_time);
        assert_eq!(sum.gaps.0, whole.gaps.0);
        assert_eq!(sum.delays.0, whole.delays.0);
    }

    #[test]
    fn restarted_table_has_no_gap_to_its_predecessor() {
        let mut measure = Measure::default();
        for (at, version) in [(1, 7), (2, 8), (3, 2), (5, 3)] {
            measure.record_commit_time(version, at * MS);
        }
        let gaps = &measure.gaps.0;
        assert_eq!(gaps.len(), 2);
        near(gaps.min(), 1_000_000);
        near(gaps.max(), 2_000_000);
    }

    #[test]
    fn numbers_stay_short() {
        let shown = [0.0, 1.234, 12.34, 100.0, 1234.5].map(number);
        assert_eq!(shown, ["0", "1.23", "12.3", "100", "1234"]);
    }

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
