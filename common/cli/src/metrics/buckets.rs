//! Fixed histogram of times with steps of 1, 2 and 5 per power of ten, from a microsecond to ten
//! seconds.

use std::time::Duration;

/// Upper bounds of the steps, in ns. Longer times are counted in an additional open step.
const STEPS: [u64; 22] = steps();

const fn steps() -> [u64; 22] {
    let mut steps = [0; 22];
    let (mut at, mut power) = (0, 1_000);
    while at < steps.len() {
        let (digit, tenfold) = match at % 3 {
            0 => (1, 1),
            1 => (2, 1),
            _ => (5, 10),
        };
        steps[at] = digit * power;
        power *= tenfold;
        at += 1;
    }
    steps
}

/// Histogram of times. Its size is fixed, and recording is one addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    counts: [u64; STEPS.len() + 1],
    sum_ns: u64,
}

impl Buckets {
    /// Records a time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[STEPS.partition_point(|step| *step < ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Adds the times of `other`.
    pub fn add(&mut self, other: &Self) {
        for (count, others) in self.counts.iter_mut().zip(other.counts) {
            *count += others;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// Returns the sum of all times, in ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Returns each upper bound in ns with the number of times in its step. The last step is open.
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (Option<u64>, u64)> + DoubleEndedIterator + Clone + '_ {
        self.counts
            .iter()
            .enumerate()
            .map(|(at, count)| (STEPS.get(at).copied(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_from_a_microsecond_to_ten_seconds() {
        assert_eq!(STEPS[..5], [1_000, 2_000, 5_000, 10_000, 20_000]);
        assert_eq!(STEPS[STEPS.len() - 2..], [5_000_000_000, 10_000_000_000]);
        let mut buckets = Buckets::default();
        for ns in [0, 1_000, 1_001, 10_000_000_000, 10_000_000_001] {
            buckets.record(Duration::from_nanos(ns));
        }
        let found: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).collect();
        let expected = [
            (Some(1_000), 2),
            (Some(2_000), 1),
            (Some(10_000_000_000), 1),
            (None, 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(buckets.sum_ns(), 20_000_002_002);
    }
}
