//! What was seen of a table over some time.

use std::time::Duration;

use crate::delays::Delays;
use crate::metrics::Buckets;

/// What one refresh brought.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// The version that it led to.
    pub version: u64,
    /// How many commits came with it.
    pub commits: u64,
    /// How many rows differ from before.
    pub rows: u64,
    /// The size of a row.
    pub row_bytes: u64,
    /// How long after the last of the commits it was over, if that is known.
    pub delay: Option<Duration>,
    /// When that commit was made, if that is known.
    pub committed: Option<Duration>,
}

/// What was seen over some time.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    /// How long.
    pub time: Duration,
    /// Commits, by their numbers.
    pub commits: u64,
    /// Those that came alone with a refresh.
    pub single: u64,
    /// Refreshes that brought commits.
    pub refreshes: u64,
    /// Refreshes that failed because the table changed too fast.
    pub outrun: u64,
    /// Rows that differed after them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of those that came alone.
    pub rows_a_commit: Range,
    /// Bytes of those.
    pub bytes_a_commit: Range,
    /// Times between commits.
    pub gaps: Gaps,
    /// Delays from commit to applied.
    pub delays: Delays,
    /// The longest of them, to the nanosecond.
    pub longest: Duration,
    /// The same in steps.
    pub steps: Buckets,
}

/// The least and the most of some numbers.
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

    /// Both; None if there were no numbers.
    pub fn get(self) -> Option<(u64, u64)> {
        self.0
    }
}

/// Times from one commit to the next.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// The last commit whose time is known.
    last: Option<(u64, Duration)>,
    /// All times together, and of how many commits, also of those that came together.
    total: Duration,
    commits: u64,
    /// Those between two commits that both are known.
    pub single: Delays,
    /// The least and the most of these, in ns.
    pub range: Range,
    /// Their mean in ns, and the sum of the squares of what they are off it (Welford's method).
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
            // Chan, Golub and LeVeque's way of joining two of them.
            let apart = other.mean - self.mean;
            self.squares += other.squares + apart * apart * count * others / (count + others);
            self.mean += apart * others / (count + others);
        }
        self.total += other.total;
        self.commits += other.commits;
        self.single.add(&other.single);
        self.range.add(other.range);
    }

    /// The mean in ns, also over commits that came together.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.commits > 0).then(|| self.total.as_nanos() as f64 / self.commits as f64)
    }

    /// The standard deviation in ns of those that were seen one by one.
    pub fn deviation_ns(&self) -> Option<f64> {
        (!self.single.is_empty()).then(|| (self.squares / self.single.len() as f64).sqrt())
    }
}

impl Measure {
    /// Takes in a refresh.
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

    /// What was taken in over `time`; what follows is counted anew.
    pub fn take(&mut self, time: Duration) -> Self {
        let last = self.gaps.last;
        let mut taken = std::mem::take(self);
        self.gaps.last = last;
        taken.time = time;
        taken
    }

    /// Takes in what was seen at another time.
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

    /// Refreshes whose last commits were made at so many ms, with so many commits each.
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
    fn what_came_together_counts_for_rates_and_means_only() {
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
    fn two_measures_are_as_good_as_one() {
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
    fn a_table_that_begins_anew_has_no_gap_to_the_one_before() {
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
