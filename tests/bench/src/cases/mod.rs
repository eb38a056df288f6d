//! What is measured. A case is one process (and the others that it starts) and comes to figures; bars compare two of these.

use crate::measure::Figure;

mod attach;
mod catch_up;
mod commit;
mod kinds;
mod read;
mod wake;

/// Something to measure.
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, for the report.
    pub about: &'static str,
    /// Measures it once.
    pub run: fn() -> Vec<Figure>,
    /// What is asked of it.
    pub bars: &'static [Bar],
}

/// A ratio of two figures of one run that must not be exceeded.
pub struct Bar {
    /// The figure that is to be small.
    pub of: &'static str,
    /// The other one.
    pub against: &'static str,
    /// The greatest ratio.
    pub at_most: f64,
    /// Of the 99th percentile, not the median.
    pub of_p99: bool,
}

/// A bar on medians.
const fn bar(of: &'static str, against: &'static str, at_most: f64) -> Bar {
    Bar {
        of,
        against,
        at_most,
        of_p99: false,
    }
}

/// A bar on 99th percentiles.
const fn bar_p99(of: &'static str, against: &'static str, at_most: f64) -> Bar {
    Bar {
        of,
        against,
        at_most,
        of_p99: true,
    }
}

/// All of them, in the report's order.
pub const CASES: &[Case] = &[
    read::HOT,
    read::RANDOM,
    commit::ALONE,
    catch_up::FEW,
    attach::ATTACH,
    wake::PARKED,
    wake::SPINNING,
    kinds::KIND,
];

/// Plays the other process of a case.
///
/// # Panics
/// If there is no such role.
pub fn play(role: &str, arguments: &[String]) {
    match role {
        "read-host" => read::host(arguments),
        "catch-up-publisher" => catch_up::publisher(arguments),
        "attach-host" => attach::host(arguments),
        "wake-tablecast" => wake::tablecast(arguments),
        "wake-queue" => wake::queue(arguments),
        "wake-blackboard" => wake::blackboard(arguments),
        "kinds-subscriber" => kinds::subscriber(arguments),
        "spin-tablecast" => wake::spinning_tablecast(arguments),
        "spin-lines" => wake::spinning_lines(arguments),
        other => panic!("no role {other:?}"),
    }
}

/// A name that nobody else uses.
fn unique(what: &str) -> String {
    format!("bench-{what}-{}", std::process::id())
}
