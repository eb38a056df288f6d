//! The header above the rows: name, publisher state, size, rates of change and delays.

use std::collections::VecDeque;
use std::time::Duration;

use common::PublisherState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::colours::Colours;
use super::draw::{Piece, pieces};
use super::rates::{BEATS, Beat, Pulse};
use crate::format::cells::{nanoseconds, width};

/// Minimum width for all numbers. Narrower terminals show half of them, to leave room for the
/// graph.
const LEAST_COLUMNS_FOR_ALL: u16 = 66;
/// Number of bar heights in a graph.
const HEIGHTS: u64 = 8;

/// State of the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// State reported by the subscriber.
    pub state: PublisherState,
    /// True if it is alive but its heartbeat is overdue.
    pub is_silent: bool,
    /// True if its source of rows has ended.
    pub input_ended: bool,
}

impl Publisher {
    fn pieces(self, colours: &Colours) -> Vec<Piece> {
        let plain = colours.dim;
        let epoch = |epoch: u64| (format!("epoch {epoch}"), plain);
        match self.state {
            PublisherState::Alive { pid, epoch: number } => {
                let state = match (self.is_silent, self.input_ended) {
                    (true, _) => ("silent".to_owned(), colours.bad),
                    (false, true) => ("input ended".to_owned(), colours.bad),
                    (false, false) => ("alive".to_owned(), colours.good),
                };
                vec![state, (format!("pid {pid}"), plain), epoch(number)]
            }
            PublisherState::Gone { epoch: number } => {
                vec![("gone".to_owned(), colours.bad), epoch(number)]
            }
            PublisherState::Closed { epoch: number } => {
                vec![("closed".to_owned(), colours.bad), epoch(number)]
            }
        }
    }
}

/// Draws the title line.
pub fn title(
    buffer: &mut Buffer,
    area: Rect,
    name: &str,
    of: Option<(Publisher, u64, usize)>,
    colours: &Colours,
) {
    let mut left = vec![(format!(" {name}"), colours.head)];
    let mut right = Vec::new();
    match of {
        Some((publisher, version, rows)) => {
            left.extend(publisher.pieces(colours));
            right.push((format!("rows {} ", grouped(rows as u64)), colours.head));
            right.push((format!("version {}", grouped(version)), colours.head));
        }
        None => left.push(("waiting".to_owned(), colours.bad)),
    }
    pieces(buffer, area, &left, &right);
}

/// Draws the rates of changes and commits.
pub fn changes(buffer: &mut Buffer, area: Rect, pulse: &Pulse, colours: &Colours) {
    let [commits, changes] = pulse.rates().map(|rate| grouped(rate.round() as u64));
    let texts = [("changes/s", changes), ("commits/s", commits)];
    let graph = heights(pulse.beats(), |beat| Some(beat.changes));
    line(buffer, area, &texts, graph, colours);
}

/// Draws the delays from commit to refresh.
pub fn delays(buffer: &mut Buffer, area: Rect, pulse: &Pulse, colours: &Colours) {
    let [median, most] = match pulse.quantiles() {
        Some(quantiles) => quantiles.map(time),
        None => ["–", "–"].map(str::to_owned),
    };
    let texts = [("delay p99", most), ("delay p50", median)];
    let ns = |delay: Duration| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    let graph = heights(pulse.beats(), |beat| beat.delay.map(ns));
    line(buffer, area, &texts, graph, colours);
}

fn line(
    buffer: &mut Buffer,
    area: Rect,
    texts: &[(&str, String); 2],
    graph: Vec<Option<u64>>,
    colours: &Colours,
) {
    let shown = if area.width < LEAST_COLUMNS_FOR_ALL {
        1
    } else {
        2
    };
    let text = texts[..shown]
        .iter()
        .map(|(name, value)| format!(" {name} {value:>10} "));
    let text: String = text.collect();
    buffer.set_stringn(area.x, area.y, &text, usize::from(area.width), colours.head);
    let begin = area.x + (width(&text) as u16 + 1).min(area.width);
    let columns = (area.right() - begin).saturating_sub(1).min(BEATS as u16);
    let area = Rect {
        x: begin,
        width: columns,
        ..area
    };
    // The latest beat is at the right.
    let graph = Sparkline::default()
        .data(graph)
        .max(HEIGHTS)
        .direction(RenderDirection::RightToLeft)
        .style(colours.graph);
    graph.render(area, buffer);
}

/// Returns the beats as bar heights, latest first. A value above zero has a height of at least one.
fn heights(beats: &VecDeque<Beat>, of: impl Fn(&Beat) -> Option<u64>) -> Vec<Option<u64>> {
    let most = beats.iter().filter_map(&of).max().unwrap_or(0).max(1);
    let height =
        |value: u64| (u128::from(value) * u128::from(HEIGHTS)).div_ceil(u128::from(most)) as u64;
    beats
        .iter()
        .rev()
        .map(|beat| of(beat).map(height))
        .collect()
}

fn time(time: Duration) -> String {
    nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Formats a number with thousands separators: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn nonzero_values_have_visible_bars() {
        let beat = |changes, delay: Option<u64>| Beat {
            changes,
            delay: delay.map(Duration::from_nanos),
            commits: 0,
        };
        let beats = VecDeque::from([beat(0, None), beat(1, Some(5)), beat(1000, Some(u64::MAX))]);
        let changes = heights(&beats, |beat| Some(beat.changes));
        assert_eq!(changes, [Some(8), Some(1), Some(0)]);
        let delays = heights(&beats, |beat| {
            beat.delay.map(|delay| delay.as_nanos() as u64)
        });
        assert_eq!(delays, [Some(8), Some(1), None]);
    }
}
