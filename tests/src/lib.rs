//! What the tests with real processes stand on.
//!
//! - [`clean`]: commands whose surroundings do not depend on what runs the tests;
//! - [`table`]: a name for one test, and the removal of everything that bears it;
//! - [`process`]: a child with its output, killed and told about if the test fails;
//! - [`programs`]: the binaries of this workspace, built for this run;
//! - [`checked_rows`]: rows that show by themselves whether a transaction was seen half;
//! - [`script`]: random transactions that two processes can make alike, and the model they lead to;
//! - [`manager`]: a service manager, which programs tell that they are ready and alive;
//! - [`mirror`]: a copy that knows only the changes it was told;
//! - [`model`]: steps, reference table and publisher of the model-based test;
//! - [`serving`]: a `publisher serve` that is fed line by line;
//! - [`published`]: a table with all that is hard to print;
//! - [`stepper`]: a role that is run instruction by instruction;
//! - [`scenario`]: what such a role does, and the tables that it may be seen with;
//! - [`object_state`]: the bytes that a table shares, at one instant;
//! - [`replica`]: a copy of them under another name, as a publisher that died there would have left them;
//! - [`confined`]: a /dev/shm and message queues of a test's own, and processes that may have less;
//! - [`followed`]: a `publisher serve` of a file, in a folder of its own;
//! - [`forked`]: a process that leaves what it has to a child of `fork`;
//! - [`kinds`]: processes that are woken in each way that there is;
//! - [`piped`]: a table that follows another, by both programs and a pipe;
//! - [`soak`]: all of it at random, for as long as one likes;
//! - [`screen`]: a terminal that shows what a full-screen program draws;
//! - [`terminal`]: a terminal of any width for a child to write to;
//! - [`other_user`]: programs that another user runs;
//! - [`vandal`]: a neighbour who does all the harm that permissions allow;
//! - [`role_io`]: how a role speaks to the test that plays it;
//! - [`netns`]: a network namespace of a test's own.
//!
//! A test waits for a condition and never for a time: [`LIMIT`] bounds how long until it gives up.

pub mod checked_rows;
pub mod clean;
pub mod confined;
pub mod followed;
pub mod forked;
pub mod kinds;
pub mod manager;
pub mod mirror;
pub mod model;
pub mod netns;
pub mod object_state;
pub mod other_user;
pub mod piped;
pub mod process;
pub mod programs;
pub mod published;
pub mod replica;
pub mod role_io;
pub mod scenario;
pub mod screen;
pub mod script;
pub mod serving;
pub mod soak;
pub mod stepper;
pub mod table;
pub mod terminal;
pub mod vandal;

use std::io::Write;
use std::time::{Duration, Instant};

/// Maximum time that a test waits for a condition: long enough for a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A re-check that never comes within a test: whoever is woken was woken by news.
pub const NEVER: Duration = Duration::from_secs(3600);

/// The variable that names the file where it is noted what could not be run here.
pub const SKIPPED: &str = "TABLECAST_SKIPPED";

/// Says that a test, or a part of it, could not be run here. Where `TABLECAST_SKIPPED` names a file it is noted there, so that
/// it can be counted as what it is.
///
/// # Panics
/// If that file cannot be written.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        let noted = file.and_then(|mut file| writeln!(file, "{reason}"));
        noted.expect("the file of what was skipped");
    }
}

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
