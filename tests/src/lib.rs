//! What the tests with real processes stand on.
//!
//! - [`table`]: a name for one test, and the removal of everything that bears it;
//! - [`process`]: a child with its output, killed and told about if the test fails;
//! - [`programs`]: the binaries of this workspace, built for this run;
//! - [`ledger`]: rows that show by themselves whether a transaction was seen half;
//! - [`script`]: random transactions that two processes can make alike, and the model they lead to;
//! - [`mirror`]: a copy that knows only the changes it was told.
//! - [`serving`]: a `publisher serve` that is fed line by line;
//! - [`published`]: a table with all that is hard to print;
//! - [`stepper`]: a role that is run instruction by instruction;
//! - [`play`]: what such a role does, and the tables that it may be seen with;
//! - [`picture`]: the bytes that a table shares, at one instant, and their copy under another name.
//!
//! A test waits for a condition and never for a time: [`LIMIT`] bounds how long until it gives up.

pub mod ledger;
pub mod mirror;
pub mod picture;
pub mod play;
pub mod process;
pub mod programs;
pub mod published;
pub mod script;
pub mod serving;
pub mod stepper;
pub mod table;

use std::io::Write;
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A re-check that never comes within a test: whoever is woken was woken by news.
pub const NEVER: Duration = Duration::from_secs(3600);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within [`LIMIT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says that a test cannot be made here, and why. Past the capturing of output, so that it is seen of a test that passes, too.
pub fn skip(reason: &str) {
    // Nobody reads it: then nobody counts it.
    let _unread = writeln!(std::io::stderr(), "skipped: {reason}");
}
