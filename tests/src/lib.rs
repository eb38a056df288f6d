//! Support code for the tests that run real processes.
//!
//! Each folder of `tests/tests/` is one tier and one binary:
//!
//! | tier | tests |
//! |---|---|
//! | `library` | the public API between processes: errors, successor regions, wake kinds |
//! | `end_to_end` | both programs as a user runs them |
//! | `crash` | processes that are killed or stopped, takeover, sweeps |
//! | `hostile` | damaged, truncated or attacked shared memory |
//! | `privileged` | other users, limits of the system, network namespaces |
//! | `model` | random programs, compared with a reference table |
//!
//! The tests of a tier are threads of one process. A test therefore never changes the state of its
//! process (directory, environment, umask, limits, signal handlers): a child does that, started by
//! [`clean`] or as a role. Namespaces and CPU affinity belong to a thread.
//!
//! The modules:
//!
//! - [`clean`]: commands whose environment does not depend on the process that runs the tests;
//! - [`table`]: a table name for one test, and the removal of every object with that name;
//! - [`process`]: a child with its output; it is killed, and its output printed, if the test fails;
//! - [`programs`]: the binaries of this workspace, built for this run;
//! - [`checked_rows`]: rows from which a reader can detect a partly visible transaction;
//! - [`versioned_rows`]: rows that follow from the version that wrote them;
//! - [`script`]: random transactions that two processes can both generate, and the resulting model;
//! - [`manager`]: a service manager, to which programs report that they are ready and alive;
//! - [`mirror`]: a copy that is maintained only from reported changes;
//! - [`model`]: steps, reference table and publisher of the model-based test;
//! - [`serving`]: a `publisher serve` that is fed line by line;
//! - [`published`]: a table with values that are hard to print;
//! - [`stepper`]: a role that is run instruction by instruction;
//! - [`scenario`]: the actions of such a role, and the tables that a reader may see during them;
//! - [`object_state`]: the shared bytes of a table at one instant;
//! - [`replica`]: a copy of those bytes under another name, as left by a publisher that died there;
//! - [`confined`]: a private /dev/shm and message queues for a test, and processes with lower
//!   limits;
//! - [`followed`]: a `publisher serve` of a file in its own directory;
//! - [`forked`]: a process that leaves its handles to a child of `fork`;
//! - [`growth`]: a publisher that fills a table, and followers that check each version;
//! - [`kinds`]: processes that are woken by each wake kind;
//! - [`piped`]: a table that follows another one, through both programs and a pipe;
//! - [`soak`]: a publisher and readers that are stopped, continued and killed at random, for any
//!   length of time;
//! - [`screen`]: a terminal that shows the output of a full-screen program;
//! - [`terminal`]: a terminal of any width that a child writes to;
//! - [`other_user`]: programs that run as another user;
//! - [`vandal`]: a process of another user that does all the harm that permissions allow;
//! - [`role_io`]: the protocol between a role and the test that runs it;
//! - [`netns`]: a private network namespace for a test.
//!
//! A test waits for a condition and never for a time. [`LIMIT`] bounds the wait.

pub mod checked_rows;
pub mod clean;
pub mod confined;
pub mod followed;
pub mod forked;
pub mod growth;
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
pub mod versioned_rows;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Maximum time that a test waits for a condition. Long enough for a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A re-check interval that never ends within a test, so that only a commit can wake a subscriber.
pub const NEVER: Duration = Duration::from_secs(3600);

/// Environment variable that names the file in which skipped tests are recorded.
pub const SKIPPED: &str = "TABLECAST_SKIPPED";

/// Environment variable that selects the full size of the longest tests.
pub const FULL: &str = "TABLECAST_FULL";

/// Returns `full` if `TABLECAST_FULL` is set, otherwise `short`: the size of one of the longest
/// tests.
pub fn full_or<T>(full: T, short: T) -> T {
    if std::env::var_os(FULL).is_some() { full } else { short }
}

/// Reports that a test, or a part of it, cannot run here. If `TABLECAST_SKIPPED` names a file, the
/// reason is also appended to it, so that skipped tests can be counted.
///
/// # Panics
/// If that file cannot be written.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        let file = std::fs::File::options().append(true).create(true).open(path);
        let noted = file.and_then(|mut file| writeln!(file, "{reason}"));
        noted.expect("the file of skipped tests");
    }
}

/// Sets a flag when it is dropped, so that a scoped thread that runs until then ends even if the
/// test panics.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within [`LIMIT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
