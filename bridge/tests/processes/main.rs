//! Tests of the bridge with real processes.
//!
//! A test publishes and reads tables through the library, and starts the program `bridge` for each
//! side of a link. Processes that must be killed, and a router of zenoh, are this program again
//! ([`role`]). The two sides of a link meet at a [`proxy`] that cuts, stalls or slows it. A test waits
//! for a condition and never for a time.

mod faults;
mod guarantees;
mod hostile;
mod names;
mod namespaces;
mod origins;
mod pair;
mod process;
mod proxy;
mod role;
mod soak;
mod table;

use std::io::Write;
use std::time::{Duration, Instant};

/// Maximum time that a test waits for a condition. Long enough for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within [`LIMIT`].
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reports that a test cannot run here. If `TABLECAST_SKIPPED` names a file, the reason is also
/// appended to it, so that skipped tests can be counted.
fn skip(reason: &str) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os("TABLECAST_SKIPPED") {
        let file = std::fs::File::options().append(true).create(true).open(path);
        let noted = file.and_then(|mut file| writeln!(file, "{reason}"));
        noted.expect("the file of skipped tests");
    }
}

/// Returns `full` if `TABLECAST_FULL` is set, otherwise `short`.
fn full_or<T>(full: T, short: T) -> T {
    if std::env::var_os("TABLECAST_FULL").is_some() { full } else { short }
}
