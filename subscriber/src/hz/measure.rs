//! Measurements of a table over a period.

use std::time::Duration;

use crate::latency::Delays;
use cli::metrics::Buckets;

/// Result of one refresh.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// Version after the refresh.
    pub version: u64,
    /// Number of commits applied.
    pub commits: u64,
    /// Number of rows that changed.
    pub rows: u64,
    /// Size of a row.
    pub row_bytes: u64,
    /// Time from the last commit to the end of the refresh, if known.
    pub delay: Option<Duration>,
    /// Time of the last commit, if known.
    pub committed: Option<Duration>,
}

/// Measurements over a period.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    /// Length of the period.
    pub time: Duration,
    /// Number of commits, by version numbers.
    pub commits: u64,
    /// Number of commits that were refreshed one by one.
    pub single: u64,
    /// Number of refreshes with at least one commit.
    pub refreshes: u64,
    /// Number of refreshes that failed because the table changed too fast.
    pub outrun: u64,
    /// Number of rows changed by the refreshes.
    pub rows: u64,
    /// Size of these rows in bytes.
    pub bytes: u64,
    /// Rows per commit, of commits refreshed one by one.
    pub rows_a_commit: Range,
    /// Bytes per commit, of commits refreshed one by one.
    pub bytes_a_commit: Range,
    /// Times between commits.
    pub gaps: Gaps,
    /// Delays from commit to the end of the refresh.
    pub delays: Delays,
    /// Maximum delay, to the nanosecond.
    pub longest: Duration,
    /// Delays in the buckets of the metrics.
    pub steps: Buckets,
}

/// Minimum and maximum of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range(Option<(u64, u64)>);

impl Range {
    fn note(&mut self, number: u64) {
        self.add(Self(Some((number, number))));
    }

    fn add(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some((least, most)), Some((other_least, other_most))) => {
                Some((least.min(other_least), most.max(other_most)))
            }
            (one, other) => one.or(other),
        };
    }

    /// Returns minimum and maximum, or `None` for an empty series.
    pub fn get(self) -> Option<(u64, u64)> {
        self.0
    }
}

/// Times from each commit to the next.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// Version and time of the last commit whose time is known.
    last: Option<(u64, Duration)>,
    /// Sum of all times, including those that span several commits.
    total: Duration,
    commits: u64,
    /// Times between two successive commits, both with a known time.
    pub single: Delays,
    /// Minimum and maximum of `single`, in ns.
    pub range: Range,
    /// Mean of `single` in ns, and the sum of squared deviations from it (Welford's method).
    mean: f64,
    squares: f64,
}

impl Gaps {
    fn note(&mut self, version: u64, at: Duration) {
        let last = self.last.replace((version, at));
        let Some((before, since)) = last.filter(|(before, _)| *before < version) else {
            return;
        };
        let (time, commits) = (at.saturating_sub(since), version - before);
        self.total += time;
        self.commits += commits;
        if commits == 1 {
            self.single.record(time);
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.range.note(ns);
            let off = ns as f64 - self.mean;
            self.mean += off / self.single.len() as f64;
            self.squares += off * (ns as f64 - self.mean);
        }
    }

    fn add(&mut self, other: &Self) {
        let (count, others) = (self.single.len() as f64, other.single.len() as f64);
        if others > 0.0 {
            // Merge means and squares by the method of Chan, Golub and LeVeque.
            let apart = other.mean - self.mean;
            self.squares += other.squares + apart * apart * count * others / (count + others);
            self.mean += apart * others / (count + others);
        }
        self.total += other.total;
        self.commits += other.commits;
        self.single.add(&other.single);
        self.range.add(other.range);
    }

    /// Returns the mean in ns, including times that span several commits.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.commits > 0).then(|| self.total.as_nanos() as f64 / self.commits as f64)
    }

    /// Returns the standard deviation of `single` in ns.
    pub fn deviation_ns(&self) -> Option<f64> {
        (!self.single.is_empty()).then(|| (self.squares / self.single.len() as f64).sqrt())
    }
}

impl Measure {
    /// Adds a refresh.
    pub fn note(&mut self, refresh: &Refresh) {
        if refresh.commits == 0 {
            return;
        }
        self.commits += refresh.commits;
        self.refreshes += 1;
        self.rows += refresh.rows;
        let bytes = refresh.rows * refresh.row_bytes;
        self.bytes += bytes;
        if refresh.commits == 1 {
            self.single += 1;
            self.rows_a_commit.note(refresh.rows);
            self.bytes_a_commit.note(bytes);
        }
        if let Some(delay) = refresh.delay {
            self.delays.record(delay);
            self.steps.record(delay);
            self.longest = self.longest.max(delay);
        }
        if let Some(committed) = refresh.committed {
            self.gaps.note(refresh.version, committed);
        }
    }

    /// Ends the current period of length `time`, and starts a new one. Returns the measurements of
    /// the ended one.
    pub fn take(&mut self, time: Duration) -> Self {
        let last = self.gaps.last;
        let mut taken = std::mem::take(self);
        self.gaps.last = last;
        taken.time = time;
        taken
    }

    /// Adds the measurements of another period.
    pub fn add(&mut self, other: &Self) {
        self.time += other.time;
        self.commits += other.commits;
        self.single += other.single;
        self.refreshes += other.refreshes;
        self.outrun += other.outrun;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.rows_a_commit.add(other.rows_a_commit);
        self.bytes_a_commit.add(other.bytes_a_commit);
        self.gaps.add(&other.gaps);
        self.delays.add(&other.delays);
        self.longest = self.longest.max(other.longest);
        self.steps.add(&other.steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns the measurements of refreshes, given as time of the last commit in ms and number of
    /// commits.
    fn measured(refreshes: &[(u32, u64)]) -> Measure {
        let (mut version, mut measure) = (1, Measure::default());
        for (at, commits) in refreshes {
            version += commits;
            measure.note(&Refresh {
                version,
                commits: *commits,
                rows: commits * 2,
                row_bytes: 8,
                delay: Some(MS),
                committed: Some(*at * MS),
            });
        }
        measure
    }

    #[test]
    fn combined_commits_count_for_rates_and_means_only() {
        let measure = measured(&[(10, 1), (20, 1), (50, 3), (50, 0), (60, 1)]);
        assert_eq!(
            (measure.commits, measure.single, measure.refreshes),
            (6, 3, 4)
        );
        assert_eq!((measure.rows, measure.bytes), (12, 96));
        assert_eq!(measure.rows_a_commit.get(), Some((2, 2)));
        assert_eq!(measure.bytes_a_commit.get(), Some((16, 16)));
        assert_eq!(measure.gaps.single.len(), 2);
        assert_eq!(measure.gaps.range.get(), Some((10_000_000, 10_000_000)));
        assert_eq!(measure.gaps.mean_ns(), Some(10_000_000.0));
        assert_eq!(measure.gaps.deviation_ns(), Some(0.0));
        assert_eq!((measure.delays.len(), measure.longest), (4, MS));
    }

    #[test]
    fn sum_of_periods_equals_whole_period() {
        let refreshes = [(10, 1), (20, 1), (50, 3), (55, 1), (75, 1), (76, 1)];
        let whole = measured(&refreshes);
        let mut parts = Measure::default();
        let mut all = Measure::default();
        let mut version = 1;
        for (at, commits) in refreshes {
            version += commits;
            parts.note(&Refresh {
                version,
                commits,
                rows: commits * 2,
                row_bytes: 8,
                delay: Some(MS),
                committed: Some(at * MS),
            });
            all.add(&parts.take(MS));
        }
        assert_eq!(all.time, 6 * MS);
        assert_eq!(all.gaps.mean_ns(), whole.gaps.mean_ns());
        assert_eq!(all.gaps.range, whole.gaps.range);
        let deviations = [&all, &whole].map(|one| one.gaps.deviation_ns().unwrap());
        assert!(
            (deviations[0] - deviations[1]).abs() < 1.0,
            "{deviations:?}"
        );
        assert!(deviations[1] > 1e6);
        assert_eq!((all.commits, all.rows), (whole.commits, whole.rows));
        assert_eq!(all.steps, whole.steps);
    }

    #[test]
    fn restarted_table_has_no_gap_to_its_predecessor() {
        let mut measure = Measure::default();
        for (at, version) in [(1, 7), (2, 8), (3, 2), (5, 3)] {
            measure.note(&Refresh {
                version,
                commits: 1,
                rows: 1,
                row_bytes: 8,
                delay: None,
                committed: Some(at * MS),
            });
        }
        assert_eq!(measure.gaps.range.get(), Some((1_000_000, 2_000_000)));
        assert_eq!(measure.gaps.single.len(), 2);
    }
}
