//! Counts of commits, and histograms of durations.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Counts the commits between refreshes by their version numbers, so that each of several commits
/// in one refresh counts. Holds the version that was counted last.
#[derive(Debug, Default)]
pub struct Commits(pub u64);

impl Commits {
    /// Returns the number of commits since the last call. A lower version belongs to a table that
    /// was created again and started at version 1, so all of its commits count.
    pub fn advance(&mut self, version: u64) -> u64 {
        let before = std::mem::replace(&mut self.0, version);
        version.checked_sub(before).unwrap_or(version)
    }
}

/// Number of significant decimal digits of a duration.
const DIGITS: u8 = 3;

/// Histogram of durations in ns. It grows with the longest duration.
#[derive(Clone, Debug)]
pub struct Durations(pub Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new(DIGITS).expect("a supported number of digits"))
    }
}

impl Durations {
    pub fn add(&mut self, time: Duration) {
        self.0 += ns(time);
    }
}

/// Returns the upper ends of the buckets of reported histograms, in ns: 1, 2 and 5 times each power
/// of ten, from a microsecond to ten seconds.
pub fn bucket_ends() -> impl Iterator<Item = u64> {
    let powers = (3..10).map(|power| 10_u64.pow(power));
    powers.flat_map(|power| [power, 2 * power, 5 * power]).chain([10_000_000_000])
}

pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_by_version() {
        let mut commits = Commits(5);
        assert_eq!([5, 6, 9, 3, 4].map(|to| commits.advance(to)), [0, 1, 3, 3, 1]);
    }

    #[test]
    fn quantiles_match_recorded_delays() {
        let mut delays = Durations::default();
        assert!(delays.0.is_empty() && delays.0.value_at_quantile(0.5) == 0);
        for microseconds in 1..=100 {
            delays.add(Duration::from_micros(microseconds));
        }
        let near = |quantile: f64, microseconds: u64| {
            let delay = delays.0.value_at_quantile(quantile) as f64 / 1e3;
            assert!((delay / microseconds as f64 - 1.0).abs() < 2e-3, "{delay}");
        };
        near(0.5, 50);
        near(0.99, 99);
        near(1.0, 100);

        let mut all = Durations::default();
        all.0 += &delays.0;
        all.add(Duration::MAX);
        assert_eq!(all.0.len(), 101);
        assert!(all.0.value_at_quantile(1.0) > 3_500_000_000_000);
        all.0.clear();
        assert!(all.0.is_empty());
    }
}
