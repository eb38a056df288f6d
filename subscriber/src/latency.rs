//! Histogram of latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Number of significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// Histogram of latencies with quantiles to three digits. It grows with the longest latency.
#[derive(Clone, Debug)]
pub struct Delays(Histogram<u64>);

impl Default for Delays {
    fn default() -> Self {
        Self(Histogram::new(DIGITS).expect("a supported number of digits"))
    }
}

impl Delays {
    /// Records a delay.
    pub fn record(&mut self, delay: Duration) {
        self.0 += u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Adds the delays of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// Removes all delays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns true if no delay was recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the delay that the fraction `quantile` of all delays do not exceed; 0.5 gives the
    /// median. Returns zero if no delay was recorded.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// Returns the histogram, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_recorded_delays() {
        let mut delays = Delays::default();
        assert!(delays.is_empty() && delays.quantile(0.5) == Duration::ZERO);
        for microseconds in 1..=100 {
            delays.record(Duration::from_micros(microseconds));
        }
        let near = |quantile: f64, microseconds: u64| {
            let delay = delays.quantile(quantile).as_nanos() as f64 / 1e3;
            assert!((delay / microseconds as f64 - 1.0).abs() < 2e-3, "{delay}");
        };
        near(0.5, 50);
        near(0.99, 99);
        near(1.0, 100);

        let mut all = Delays::default();
        all.add(&delays);
        all.record(Duration::MAX);
        assert_eq!(all.histogram().len(), 101);
        assert!(all.quantile(1.0) > Duration::from_secs(3500));
        all.clear();
        assert!(all.is_empty());
    }
}
