//! The demo for those who are no terminal: a line a second, and a summary for all.

use std::io::{self, Write};
use std::time::Duration;

use common::UntypedSubscriber;

use crate::format::cells;
use crate::top::{Followed, Pulse};

/// Writes a line.
pub fn write(out: &mut impl Write, table: &UntypedSubscriber, pulse: &Pulse) -> io::Result<()> {
    let [_, changes] = pulse.rates();
    writeln!(
        out,
        "version {}  rows {}  changes/s {changes:.0}  delay {}",
        table.version(),
        table.len(),
        pulse.quantiles().map_or("-".to_owned(), text),
    )
}

/// `median 31 µs, p99 88 µs`.
fn text(quantiles: [Duration; 2]) -> String {
    let time =
        |time: Duration| cells::nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let [median, most] = quantiles.map(time);
    format!("median {median}, p99 {most}")
}

/// What there was to see, when it is over.
pub fn summary(Followed { table, pulse }: &Followed) -> String {
    let (changes, time) = pulse.total();
    let delays = pulse.total_quantiles().map(text);
    format!(
        "table {}: {changes} changes in {:.1} s, up to version {}, {} rows at the end\n\
         delay from commit to applied: {}\n",
        table.name(),
        time.as_secs_f64(),
        table.version(),
        table.len(),
        delays.as_deref().unwrap_or("there was no change"),
    )
}
