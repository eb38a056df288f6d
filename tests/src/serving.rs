//! `publisher serve NAME --from -`, fed line by line.

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::programs::publisher;
use crate::until;

/// A publisher that publishes lines from the test.
pub struct Serving {
    /// The process.
    pub process: Process,
    name: String,
}

impl Serving {
    /// Starts the publisher and waits until its table exists.
    ///
    /// # Panics
    /// If it does not exist in time.
    pub fn start(name: &str, fields: &str, options: &[&str]) -> Self {
        let mut command = publisher();
        command.args(["serve", name, "--from", "-", "--fields", fields]).args(options);
        let mut process = Process::start(&mut command);
        let pid = process.id();
        until("the table is published", || {
            assert!(process.is_running(), "{}", process.stderr());
            common::inspect(name, None)
                .is_ok_and(|info| info.publisher_pid == pid && info.publisher.is_alive())
        });
        let name = name.to_owned();
        Self { process, name }
    }

    /// Writes lines at once and waits until the table is at a later version. The publisher commits
    /// them together if they fit into the pipe's atomic writes of 4,096 bytes.
    ///
    /// # Panics
    /// If the version does not change.
    pub fn publish<L: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = L>) {
        let before = self.version();
        let lines: Vec<String> = lines.into_iter().map(|line| line.as_ref().to_owned()).collect();
        self.process.write_line(&lines.join("\n"));
        until("the lines are published", || self.version() > before);
    }

    /// Returns the table's version.
    ///
    /// # Panics
    /// If the table no longer exists.
    pub fn version(&self) -> u64 {
        common::inspect(&self.name, None).expect("the table is published").version
    }

    /// Stops the publisher with a signal, and expects exit code 0.
    ///
    /// # Panics
    /// If it fails.
    pub fn stop(mut self, signal: Signal) {
        self.process.signal(signal);
        self.process.ends_with(0);
    }
}
