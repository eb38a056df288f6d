//! A handler looks at an interval while that is replaced.

use std::sync::Arc;

use loom::thread;

use super::check;
use crate::protocol::interval::Interval;

/// The values of the interval, in order. The second start with the first end would contain addresses that neither interval does.
const INTERVALS: [[u64; 2]; 3] = [[60, 70], [0, 0], [10, 20]];

#[test]
fn interval_never_pairs_a_start_with_the_end_of_another() {
    check("interval", 4, |outcomes| {
        let interval = Arc::new(Interval::empty());
        let [first, later @ ..] = INTERVALS;
        interval.replace(first[0], first[1]);
        let looking = Arc::clone(&interval);
        let handler = thread::spawn(move || looking.bounds());
        for [start, end] in later {
            interval.replace(start, end);
        }
        let seen = handler.join().unwrap();
        assert!(
            seen.is_none_or(|bounds| INTERVALS.contains(&bounds)),
            "{seen:?}"
        );
        assert!(interval.contains(15) && !interval.contains(65));
        outcomes.saw(seen);
    });
}
