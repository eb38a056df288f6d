//! Commits, changes and delays of the last seconds, in intervals of a quarter of a second (beats).
//!
//! Rates cover the last two seconds, and delay quantiles about the last ten. At the beginning both
//! cover the time since the start.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::UntypedSubscriber;

use crate::latency::Delays;

/// Length of a beat.
const BEAT: Duration = Duration::from_millis(250);
/// Maximum number of beats kept.
pub const BEATS: usize = 120;
/// Number of beats in a rate.
const RATE_BEATS: usize = 8;
/// Number of beats in a piece, the unit in which delays expire.
const PIECE_BEATS: usize = 8;
/// Number of pieces in a delay quantile.
const PIECES: usize = 5;

/// Statistics of one beat.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beat {
    /// Number of commits.
    pub commits: u64,
    /// Number of changed rows, as reported by refreshes.
    pub changes: u64,
    /// 99th percentile of the delays from commit to refresh, if there was a commit.
    pub delay: Option<Duration>,
}

/// Statistics of the last beats and of the whole session.
pub struct Pulse {
    changes: u64,
    /// Delays of all finished beats.
    all_delays: Delays,
    /// Start of the current beat.
    began: Instant,
    beat: Beat,
    /// Delays of the current beat.
    delays: Delays,
    beats: VecDeque<Beat>,
    /// Delays of the last pieces. The last piece is the current one.
    pieces: VecDeque<Delays>,
    beats_of_piece: usize,
    quantiles: Option<[Duration; 2]>,
    version: u64,
}

impl Pulse {
    /// Creates empty statistics for a local copy at `version`.
    pub fn new(version: u64, now: Instant) -> Self {
        Self {
            changes: 0,
            all_delays: Delays::default(),
            began: now,
            beat: Beat::default(),
            delays: Delays::default(),
            beats: VecDeque::new(),
            pieces: VecDeque::from([Delays::default()]),
            beats_of_piece: 0,
            quantiles: None,
            version,
        }
    }

    /// Counts the changes of the last refresh.
    pub fn note(&mut self, table: &UntypedSubscriber, now: Instant) {
        let changes = table.changes().len() as u64;
        self.count(table.version(), changes, table.delay(), now);
    }

    fn count(&mut self, version: u64, changes: u64, delay: Option<Duration>, now: Instant) {
        self.tick(now);
        self.beat.commits += version.saturating_sub(self.version);
        self.version = version;
        self.beat.changes += changes;
        self.changes += changes;
        if let Some(delay) = delay {
            self.delays.record(delay);
        }
    }

    /// Finishes the beats that have elapsed. Returns true if there was one.
    pub fn tick(&mut self, now: Instant) -> bool {
        let over = now.saturating_duration_since(self.began).as_nanos() / BEAT.as_nanos();
        if over == 0 {
            return false;
        }
        self.end_beat();
        // Older beats than those kept need no counting.
        let over = u32::try_from(over).unwrap_or(u32::MAX);
        for _ in 1..over.min((BEATS + PIECES * PIECE_BEATS) as u32) {
            self.end_beat();
        }
        self.began += BEAT * over;
        let mut last = Delays::default();
        self.pieces.iter().for_each(|piece| last.add(piece));
        self.quantiles = quantiles(&last);
        true
    }

    fn end_beat(&mut self) {
        let mut beat = std::mem::take(&mut self.beat);
        if !self.delays.is_empty() {
            beat.delay = Some(self.delays.quantile(0.99));
            if let Some(piece) = self.pieces.back_mut() {
                piece.add(&self.delays);
            }
            self.all_delays.add(&self.delays);
            self.delays.clear();
        }
        if self.beats.len() == BEATS {
            self.beats.pop_front();
        }
        self.beats.push_back(beat);
        self.beats_of_piece += 1;
        if self.beats_of_piece == PIECE_BEATS {
            self.beats_of_piece = 0;
            let mut piece = match self.pieces.len() {
                PIECES => self.pieces.pop_front().unwrap_or_default(),
                _ => Delays::default(),
            };
            piece.clear();
            self.pieces.push_back(piece);
        }
    }

    /// Returns the end of the current beat; `None` while all statistics are zero.
    pub fn next(&self) -> Option<Instant> {
        let is_still = self.beat == Beat::default()
            && self.delays.is_empty()
            && self.quantiles.is_none()
            && self.beats.iter().all(|beat| *beat == Beat::default());
        (!is_still).then(|| self.began + BEAT)
    }

    /// Returns commits and changes per second.
    pub fn rates(&self) -> [f64; 2] {
        let last = self.beats.iter().rev().take(RATE_BEATS);
        let seconds = BEAT.as_secs_f64() * last.len().max(1) as f64;
        let sums = last.fold([0, 0], |[commits, changes], beat| {
            [commits + beat.commits, changes + beat.changes]
        });
        sums.map(|sum| sum as f64 / seconds)
    }

    /// Returns the median and 99th percentile of recent delays.
    pub fn quantiles(&self) -> Option<[Duration; 2]> {
        self.quantiles
    }

    /// Returns the last beats, latest last.
    pub fn beats(&self) -> &VecDeque<Beat> {
        &self.beats
    }
}

fn quantiles(delays: &Delays) -> Option<[Duration; 2]> {
    (!delays.is_empty()).then(|| [0.5, 0.99].map(|part| delays.quantile(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_quantiles_cover_the_last_seconds() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut pulse = Pulse::new(100, begun);
        assert_eq!(pulse.next(), None);
        for ms in (0..10_000).step_by(10) {
            let delay = if ms % 1000 == 0 { 900 } else { 30 };
            let version = 101 + ms / 10;
            pulse.count(version, 3, Some(Duration::from_micros(delay)), at(ms));
        }
        assert!(pulse.tick(at(10_000)) && !pulse.tick(at(10_001)));
        assert_eq!(pulse.rates(), [100.0, 300.0]);
        let [median, most] = pulse.quantiles().unwrap();
        assert!((29..=31).contains(&median.as_micros()), "{median:?}");
        assert!((29..=31).contains(&most.as_micros()), "{most:?}");
        assert_eq!(pulse.beats().len(), 40);
        assert_eq!(pulse.beats()[0].commits, 25);
        assert_eq!(pulse.next(), Some(at(10_250)));
        pulse.tick(at(11_000));
        assert_eq!(pulse.rates(), [50.0, 150.0], "half of the last two seconds");
        pulse.tick(at(25_000));
        assert_eq!((pulse.rates(), pulse.quantiles()), ([0.0; 2], None));
        pulse.tick(at(600_000));
        assert_eq!((pulse.beats().len(), pulse.next()), (BEATS, None));
        assert!(pulse.began > at(599_000));
    }
}
