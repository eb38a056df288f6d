//! A publisher on the other core that commits as fast as it can while something is measured.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use crate::other::{Other, serve};
use crate::peers::plain::Plain;

/// The word that tells the publisher to stop, and the one in which it counts its commits.
const STOP: usize = 0;
/// See [`STOP`].
const COMMITS: usize = 1;
/// Interval at which the first commit is awaited.
const POLL: Duration = Duration::from_micros(100);

/// The process of such a publisher.
pub struct BusyPublisher {
    process: Other,
    signals: Plain,
    _folder: tempfile::TempDir,
}

impl BusyPublisher {
    /// Starts the process `role`, which publishes table `name` and does not commit yet.
    pub fn start(role: &str, name: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let path = folder.path().join("signals");
        let signals = Plain::open(&path, 0);
        let arguments = [name.to_owned(), path.display().to_string()];
        Self { process: Other::start(role, &arguments), signals, _folder: folder }
    }

    /// Lets it commit, and waits for its first commit.
    pub fn begin(&mut self) {
        self.process.tell("commit");
        while self.commits() == 0 {
            sleep(POLL);
        }
    }

    /// Returns the number of its commits.
    pub fn commits(&self) -> u64 {
        self.signals.signal(COMMITS).load(Ordering::Acquire)
    }

    /// Stops the commits, and waits for the last one.
    pub fn stop(mut self) {
        self.signals.signal(STOP).store(1, Ordering::Release);
        self.process.answer();
    }
}

/// In the process: calls `commit` with the number of the commit, from the request on until the
/// publisher is stopped. `path` is the second argument of the role.
pub fn commit_until_stopped(path: &str, mut commit: impl FnMut(u64)) {
    let signals = Plain::open(Path::new(path), 0);
    let mut commits = 0;
    serve(|_| {
        while signals.signal(STOP).load(Ordering::Acquire) == 0 {
            commits += 1;
            commit(commits);
            signals.signal(COMMITS).store(commits, Ordering::Release);
        }
        String::new()
    });
}
