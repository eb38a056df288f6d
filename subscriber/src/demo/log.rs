//! The demo for those who are no terminal: a line a second, and a summary.

use std::io::{self, Write};
use std::time::Duration;

use common::UntypedSubscriber;

use super::View;
use super::activity::{Activity, Delays};
use crate::format::cells;
use crate::output::Output;

pub struct Log {
    out: Output,
    drawn: bool,
}

impl Log {
    pub fn new(out: Output) -> Self {
        Self { out, drawn: false }
    }
}

impl View for Log {
    fn interval(&self) -> (Duration, Duration) {
        (Duration::from_secs(1), Duration::from_secs(1))
    }

    fn draw(&mut self, table: &UntypedSubscriber, activity: &Activity) -> io::Result<()> {
        if !std::mem::replace(&mut self.drawn, true) {
            // Nothing has been measured yet.
            return Ok(());
        }
        writeln!(
            self.out,
            "version {}  rows {}  changes/s {:.0}  delay {}",
            table.version(),
            table.len(),
            activity.rate(),
            activity.delays().as_ref().map_or("-".to_owned(), text),
        )
    }
}

/// `35 µs (median 31 µs, p99 88 µs)`.
pub fn text(delays: &Delays) -> String {
    let time =
        |time: Duration| cells::nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    format!(
        "{} (median {}, p99 {})",
        time(delays.last),
        time(delays.median),
        time(delays.p99)
    )
}

/// What there was to see, when it is over.
pub fn summary(table: &UntypedSubscriber, activity: &Activity) -> String {
    let delays = activity.delays().as_ref().map(text);
    format!(
        "table {}: {} changes in {:.1} s, up to version {}, {} rows at the end\n\
         delay from commit to applied: {}\n",
        table.name(),
        activity.changes(),
        activity.time().as_secs_f64(),
        table.version(),
        table.len(),
        delays.as_deref().unwrap_or("there was no change"),
    )
}
