//! Commits, changes and delays of the last seconds, in intervals of a quarter of a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::UntypedSubscriber;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::style::Style;
use crate::cells::{grouped, nanoseconds, width};
use crate::latency::{Commits, Durations, ns};

const INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of intervals in the graphs.
const INTERVALS: usize = 120;
/// Number of intervals over which rates are averaged.
const RATE_INTERVALS: usize = 8;
/// Number of intervals after which the older half of the delays is discarded.
const DELAY_INTERVALS: usize = 20;
/// Minimum width for all numbers next to the graphs.
const LEAST_COLUMNS_FOR_NUMBERS: u16 = 66;
/// Number of heights of a bar.
const BARS: u64 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    commits: u64,
    /// Number of changed rows, as reported by refreshes.
    changes: u64,
    /// Longest delay in ns from commit to refresh, if there was a commit.
    delay: Option<u64>,
}

pub struct Rates {
    /// Start of the current interval.
    begun: Instant,
    current: Interval,
    intervals: VecDeque<Interval>,
    /// Delays of the last seconds: the older and the newer half.
    delays: [Durations; 2],
    /// Number of intervals that the newer half covers.
    delay_age: usize,
    commits: Commits,
}

impl Rates {
    pub fn new(commits: Commits, now: Instant) -> Self {
        Self {
            begun: now,
            current: Interval::default(),
            intervals: VecDeque::new(),
            delays: [Durations::default(), Durations::default()],
            delay_age: 0,
            commits,
        }
    }

    pub fn note(&mut self, table: &UntypedSubscriber) {
        let commits = self.commits.advance(table.version());
        self.count(commits, table.changes().len() as u64, table.delay());
    }

    fn count(&mut self, commits: u64, changes: u64, delay: Option<Duration>) {
        self.current.commits += commits;
        self.current.changes += changes;
        if let Some(delay) = delay.filter(|_| commits > 0) {
            self.current.delay = self.current.delay.max(Some(ns(delay)));
            self.delays[1].add(delay);
        }
    }

    /// Ends the intervals that are over at `now`. Returns true if there were any.
    pub fn tick(&mut self, now: Instant) -> bool {
        let before = self.begun;
        while now.saturating_duration_since(self.begun) >= INTERVAL {
            self.begun += INTERVAL;
            self.intervals.push_back(std::mem::take(&mut self.current));
            if self.intervals.len() > INTERVALS {
                self.intervals.pop_front();
            }
            self.delay_age += 1;
            if self.delay_age == DELAY_INTERVALS {
                self.delay_age = 0;
                self.delays.swap(0, 1);
                self.delays[1].0.clear();
            }
            // A suspended program has missed more intervals than are kept.
            if now.saturating_duration_since(self.begun) > INTERVAL * INTERVALS as u32 {
                self.begun = now - INTERVAL * INTERVALS as u32;
            }
        }
        self.begun != before
    }

    fn per_second(&self) -> [f64; 2] {
        let last = || self.intervals.iter().rev().take(RATE_INTERVALS);
        let seconds = (last().count() as f64 * INTERVAL.as_secs_f64()).max(INTERVAL.as_secs_f64());
        let commits: u64 = last().map(|interval| interval.commits).sum();
        let changes: u64 = last().map(|interval| interval.changes).sum();
        [commits, changes].map(|sum| sum as f64 / seconds)
    }

    /// Returns the median and 99th percentile of recent delays, in ns.
    fn quantiles(&self) -> Option<[u64; 2]> {
        let mut delays = self.delays[0].0.clone();
        delays += &self.delays[1].0;
        (!delays.is_empty()).then(|| [0.5, 0.99].map(|part| delays.value_at_quantile(part)))
    }

    pub fn draw(&self, buffer: &mut Buffer, [changes_area, delays_area]: [Rect; 2], style: &Style) {
        let [commits, changes] = self.per_second().map(|rate| grouped(rate.round() as u64));
        let texts = [("changes/s", changes), ("commits/s", commits)];
        self.draw_graph(buffer, changes_area, &texts, style, |interval| Some(interval.changes));
        let [median, p99] = match self.quantiles() {
            Some(quantiles) => quantiles.map(nanoseconds),
            None => ["–", "–"].map(str::to_owned),
        };
        let texts = [("delay p99", p99), ("delay p50", median)];
        self.draw_graph(buffer, delays_area, &texts, style, |interval| interval.delay);
    }

    fn draw_graph(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        texts: &[(&str, String); 2],
        style: &Style,
        value: impl Fn(&Interval) -> Option<u64>,
    ) {
        let shown = if area.width < LEAST_COLUMNS_FOR_NUMBERS { &texts[..1] } else { texts };
        let texts = shown.iter().map(|(name, value)| format!(" {name} {value:>10} "));
        let text: String = texts.collect();
        buffer.set_stringn(area.x, area.y, &text, usize::from(area.width), style.head);
        let start = (width(&text) as u16 + 1).min(area.width);
        let graph = Rect {
            x: area.x + start,
            width: (area.width - start).saturating_sub(1).min(INTERVALS as u16),
            ..area
        };
        let values = || self.intervals.iter().rev().map(&value);
        let most = values().flatten().max().unwrap_or(0).max(1);
        // A value above zero has a visible bar.
        let bar = |value: u64| (u128::from(value) * u128::from(BARS)).div_ceil(most.into()) as u64;
        let bars: Vec<Option<u64>> = values().map(|value| value.map(bar)).collect();
        Sparkline::default()
            .data(bars)
            .max(BARS)
            .direction(RenderDirection::RightToLeft)
            .style(style.accent)
            .render(graph, buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_last_two_seconds() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut rates = Rates::new(Commits::default(), begun);
        assert_eq!((rates.per_second(), rates.quantiles()), ([0.0; 2], None));
        for ms in (0..10_000).step_by(10) {
            rates.tick(at(ms));
            rates.count(1, 3, Some(Duration::from_micros(30)));
        }
        assert!(rates.tick(at(10_000)) && !rates.tick(at(10_001)));
        assert_eq!(rates.per_second(), [100.0, 300.0]);
        assert!(rates.quantiles().is_some());
        rates.tick(at(11_000));
        assert_eq!(rates.per_second(), [50.0, 150.0]);
        rates.tick(at(25_000));
        assert_eq!((rates.per_second(), rates.quantiles()), ([0.0; 2], None));
        rates.tick(at(600_000));
        assert_eq!(rates.intervals.len(), INTERVALS);
    }
}
