//! A signal handler reads an interval while another thread replaces it.

use std::sync::Arc;

use loom::thread;

use super::check;
use crate::protocol::interval::Interval;

/// Values of the interval, in order. The second start with the first end would be an interval that
/// contains addresses of neither.
const INTERVALS: [[u64; 2]; 3] = [[60, 70], [0, 0], [10, 20]];

#[test]
fn interval_never_pairs_a_start_with_the_end_of_another() {
    check("interval", 4, |outcomes| {
        let interval = Arc::new(Interval::empty());
        let [first, later @ ..] = INTERVALS;
        interval.replace(first[0], first[1]);
        let read = Arc::clone(&interval);
        let handler = thread::spawn(move || read.bounds());
        for [start, end] in later {
            interval.replace(start, end);
        }
        let seen = handler.join().unwrap();
        assert!(seen.is_none_or(|bounds| INTERVALS.contains(&bounds)), "{seen:?}");
        assert!(interval.contains(15) && !interval.contains(65));
        outcomes.saw(seen);
    });
}
