//! Measurements as named numbers, for programs and for display.

use common::UntypedSubscriber;
use serde::Serialize;

use super::measure::Measure;

/// Period of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// One interval, or the last few.
    Interval,
    /// The whole session.
    Summary,
}

/// Report of measurements. Unknown values are left out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub what: What,
    pub table: String,
    pub intervals: u64,
    pub elapsed_ns: u64,
    pub version: u64,
    pub rows: usize,
    pub publisher: &'static str,
    pub commits: u64,
    pub commits_per_second: f64,
    pub commits_seen_singly: u64,
    pub refreshes: u64,
    pub refreshes_per_second: f64,
    pub outrun: u64,
    pub changed_rows: u64,
    pub changed_rows_per_second: f64,
    pub changed_bytes_per_second: f64,
    #[serde(flatten)]
    pub rows_per_commit: Option<RowsPerCommit>,
    #[serde(flatten)]
    pub gaps: Option<Gaps>,
    #[serde(flatten)]
    pub single_gaps: Option<SingleGaps>,
    #[serde(flatten)]
    pub delays: Option<Delays>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delay_histogram: Vec<Step>,
}

/// Rows and bytes per commit: means of all commits, the rest of commits refreshed one by one.
#[derive(Clone, Debug, Serialize)]
pub struct RowsPerCommit {
    pub rows_per_commit_mean: f64,
    pub bytes_per_commit_mean: f64,
    #[serde(flatten)]
    pub ranges: Option<Ranges>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Ranges {
    pub rows_per_commit_min: u64,
    pub rows_per_commit_max: u64,
    pub bytes_per_commit_min: u64,
    pub bytes_per_commit_max: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Gaps {
    pub gap_mean_ns: u64,
}

/// Times between commits refreshed one by one.
#[derive(Clone, Debug, Serialize)]
pub struct SingleGaps {
    pub gap_min_ns: u64,
    pub gap_max_ns: u64,
    pub gap_std_dev_ns: u64,
    pub gap_p50_ns: u64,
    pub gap_p99_ns: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delays {
    pub delays: u64,
    pub delay_p50_ns: u64,
    pub delay_p90_ns: u64,
    pub delay_p99_ns: u64,
    pub delay_p99_9_ns: u64,
    pub delay_max_ns: u64,
}

/// Number of delays up to `up_to_ns` and above the previous step. The last step is open.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_ns: Option<u64>,
    pub count: u64,
}

impl Report {
    /// Creates the report of a measure.
    pub fn of(
        what: What,
        intervals: u64,
        measure: &Measure,
        table: &UntypedSubscriber,
        publisher: &'static str,
    ) -> Self {
        let seconds = measure.time.as_secs_f64();
        let rate = |count: u64| match seconds > 0.0 {
            true => rounded(count as f64 / seconds),
            false => 0.0,
        };
        Self {
            what,
            table: table.name().to_owned(),
            intervals,
            elapsed_ns: ns(measure.time),
            version: table.version(),
            rows: table.len(),
            publisher,
            commits: measure.commits,
            commits_per_second: rate(measure.commits),
            commits_seen_singly: measure.single,
            refreshes: measure.refreshes,
            refreshes_per_second: rate(measure.refreshes),
            outrun: measure.outrun,
            changed_rows: measure.rows,
            changed_rows_per_second: rate(measure.rows),
            changed_bytes_per_second: rate(measure.bytes),
            rows_per_commit: rows_per_commit(measure),
            gaps: measure.gaps.mean_ns().map(|mean| Gaps {
                gap_mean_ns: mean.round() as u64,
            }),
            single_gaps: single_gaps(measure),
            delays: delays(measure),
            delay_histogram: match what {
                What::Interval => Vec::new(),
                What::Summary => histogram(measure),
            },
        }
    }
}

fn rows_per_commit(measure: &Measure) -> Option<RowsPerCommit> {
    let mean = |sum: u64| rounded(sum as f64 / measure.commits as f64);
    let ranges = measure
        .rows_a_commit
        .get()
        .zip(measure.bytes_a_commit.get());
    (measure.commits > 0).then(|| RowsPerCommit {
        rows_per_commit_mean: mean(measure.rows),
        bytes_per_commit_mean: mean(measure.bytes),
        ranges: ranges.map(|(rows, bytes)| Ranges {
            rows_per_commit_min: rows.0,
            rows_per_commit_max: rows.1,
            bytes_per_commit_min: bytes.0,
            bytes_per_commit_max: bytes.1,
        }),
    })
}

fn single_gaps(measure: &Measure) -> Option<SingleGaps> {
    let gaps = &measure.gaps;
    let (least, most) = gaps.range.get()?;
    let quantile = |quantile| ns(gaps.single.quantile(quantile)).clamp(least, most);
    Some(SingleGaps {
        gap_min_ns: least,
        gap_max_ns: most,
        gap_std_dev_ns: gaps.deviation_ns()?.round() as u64,
        gap_p50_ns: quantile(0.5),
        gap_p99_ns: quantile(0.99),
    })
}

fn delays(measure: &Measure) -> Option<Delays> {
    let most = ns(measure.longest);
    // A quantile, rounded to three digits, may exceed the exact maximum.
    let quantile = |quantile| ns(measure.delays.quantile(quantile)).min(most);
    (!measure.delays.is_empty()).then(|| Delays {
        delays: measure.delays.len(),
        delay_p50_ns: quantile(0.5),
        delay_p90_ns: quantile(0.9),
        delay_p99_ns: quantile(0.99),
        delay_p99_9_ns: quantile(0.999),
        delay_max_ns: most,
    })
}

/// Returns the steps from the first to the last that is not empty.
fn histogram(measure: &Measure) -> Vec<Step> {
    let steps = measure.steps.iter();
    let is_empty = |(_, count): &(Option<u64>, u64)| *count == 0;
    let end = steps.len() - steps.clone().rev().take_while(is_empty).count();
    steps
        .take(end)
        .skip_while(is_empty)
        .map(|(up_to_ns, count)| Step { up_to_ns, count })
        .collect()
}

fn ns(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Rounds to three decimal places.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
