//! Counts of commits, and a histogram of latencies.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use common::UntypedSubscriber;
use hdrhistogram::Histogram;

/// Counts the commits between refreshes by version, including commits that one refresh combines.
#[derive(Debug, Default)]
pub struct Commits {
    /// Version of the copy that was counted last.
    version: u64,
}

impl Commits {
    /// Starts to count at the copy's current version.
    pub fn of(table: &UntypedSubscriber) -> Self {
        Self { version: table.version() }
    }

    /// Returns the number of commits since the last call. For a table that was created again, and
    /// so starts at version 1, this counts all of its commits.
    pub fn since(&mut self, table: &UntypedSubscriber) -> u64 {
        self.advance(table.version())
    }

    fn advance(&mut self, version: u64) -> u64 {
        let before = std::mem::replace(&mut self.version, version);
        version.checked_sub(before).unwrap_or(version)
    }
}

/// Number of significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// Histogram of latencies in ns. It grows with the longest latency.
#[derive(Clone, Debug)]
pub struct Delays(Histogram<u64>);

impl Default for Delays {
    fn default() -> Self {
        Self(Histogram::new(DIGITS).expect("a supported number of digits"))
    }
}

impl Delays {
    pub fn add(&mut self, delay: Duration) {
        self.0 += ns(delay);
    }
}

impl Deref for Delays {
    type Target = Histogram<u64>;

    fn deref(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl DerefMut for Delays {
    fn deref_mut(&mut self) -> &mut Histogram<u64> {
        &mut self.0
    }
}

/// Returns the upper ends of the buckets of reported histograms, in ns: 1, 2 and 5 of each power of
/// ten, from a microsecond to ten seconds.
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
    fn commits_are_counted_by_their_numbers() {
        let mut commits = Commits { version: 5 };
        assert_eq!([5, 6, 9, 3, 4].map(|to| commits.advance(to)), [0, 1, 3, 3, 1]);
    }

    #[test]
    fn quantiles_match_recorded_delays() {
        let mut delays = Delays::default();
        assert!(delays.is_empty() && delays.value_at_quantile(0.5) == 0);
        for microseconds in 1..=100 {
            delays.add(Duration::from_micros(microseconds));
        }
        let near = |quantile: f64, microseconds: u64| {
            let delay = delays.value_at_quantile(quantile) as f64 / 1e3;
            assert!((delay / microseconds as f64 - 1.0).abs() < 2e-3, "{delay}");
        };
        near(0.5, 50);
        near(0.99, 99);
        near(1.0, 100);

        let mut all = Delays::default();
        *all += &*delays;
        all.add(Duration::MAX);
        assert_eq!(all.len(), 101);
        assert!(all.value_at_quantile(1.0) > 3_500_000_000_000);
        all.clear();
        assert!(all.is_empty());
    }
}
