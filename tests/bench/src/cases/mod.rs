//! The cases. A case is one process, with the processes that it starts, and returns figures. A bar
//! compares two of them.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::measure::Figure;

pub mod attach;
mod awake;
mod busy;
mod catch_up;
mod commit;
mod commit_keys;
mod crowd;
mod follow;
mod idle;
mod kinds;
mod lookups;
mod memory;
mod open;
mod parked;
mod read;
mod snapshot;
mod spin;
mod wake;

pub use awake::with_awake;
pub use parked::with_parked;
pub use read::GET_MANY;

/// Something to measure.
pub struct Case {
    /// Name on the command line.
    pub name: &'static str,
    /// Description for the report.
    pub about: &'static str,
    /// Measures it once.
    pub run: fn() -> Vec<Figure>,
    /// Bars that it must meet.
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
    /// Compares the 99th percentile and not the median.
    pub of_p99: bool,
}

/// A bar on medians.
const fn bar(of: &'static str, against: &'static str, at_most: f64) -> Bar {
    Bar { of, against, at_most, of_p99: false }
}

/// A bar on 99th percentiles.
const fn bar_p99(of: &'static str, against: &'static str, at_most: f64) -> Bar {
    Bar { of, against, at_most, of_p99: true }
}

/// All of them, in the report's order.
pub const CASES: &[Case] = &[
    read::HOT,
    read::RANDOM,
    commit::ALONE,
    commit_keys::KEYS,
    lookups::LOOKUPS,
    awake::AWAKE,
    parked::PARKED,
    wake::ASLEEP,
    spin::SPINNING,
    catch_up::FEW,
    attach::ATTACH,
    open::OPEN,
    snapshot::SNAPSHOT,
    follow::FLAT_OUT,
    memory::REGION,
    memory::PROCESSES,
    memory::READERS,
    idle::IDLE,
    kinds::KIND,
];

/// Plays the other process of a case.
///
/// # Panics
/// If the role is unknown.
pub fn play(role: &str, arguments: &[String]) {
    match role {
        "read-host" => read::host(arguments),
        "catch-up-publisher" => catch_up::publisher(arguments),
        "lookups-publisher" => lookups::publisher(arguments),
        "open-host" => open::host(arguments),
        "attach-host" => attach::host(arguments),
        "snapshot-publisher" => snapshot::publisher(arguments),
        "awake-crowd" => crowd::awake(arguments),
        "parked-crowd" => crowd::parked(arguments),
        "queue-crowd" => crowd::queues(arguments),
        "wake-tablecast" => wake::receiver::tablecast(arguments),
        "wake-queue" => wake::receiver::queue(arguments),
        "wake-futex" => wake::receiver::futex(arguments),
        "wake-blackboard" => wake::receiver::blackboard(arguments),
        "spin-tablecast" => spin::tablecast(arguments),
        "spin-lines" => spin::lines(arguments),
        "follower" => follow::follower(arguments),
        "memory-host" => memory::host(arguments),
        "memory-reader" => memory::reader(arguments),
        "kinds-subscriber" => kinds::subscriber(arguments),
        "idle-publisher" => idle::publisher(arguments),
        "idle-subscriber" => idle::subscriber(arguments),
        "growth-host" => crate::growth::host(arguments),
        other => panic!("no role {other:?}"),
    }
}

/// A name that nobody else uses.
pub fn unique(what: &str) -> String {
    format!("bench-{what}-{}", std::process::id())
}

/// The time, of the clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has it");
    Duration::from(time).as_nanos() as u64
}
