//! `publisher serve NAME --from FILE`, in its own directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{RowRef, UntypedSubscriber};
use tempfile::TempDir;

use crate::process::Process;
use crate::programs::publisher;
use crate::table::Table;
use crate::{LIMIT, until};

/// A file that a publisher follows, and a subscriber of the table.
pub struct Followed {
    /// The publisher.
    pub process: Process,
    /// The subscriber. It has the table's rows after [`Followed::becomes`].
    pub subscriber: UntypedSubscriber,
    /// The table. Declared after its users, so that it is dropped after them.
    pub table: Table,
    folder: TempDir,
    file: PathBuf,
}

impl Followed {
    /// Creates a file with that name and content, starts a publisher with `options`, and waits for
    /// the first rows, written as for [`Followed::becomes`].
    ///
    /// # Panics
    /// If the table does not get these rows.
    pub fn start(name: &str, content: &str, options: &[&str], rows: &[&str]) -> Self {
        let mut followed = Self::begin(name, content, options);
        followed.becomes(rows);
        followed
    }

    /// Does what [`Followed::start`] does, without waiting for rows: for tables with too many to
    /// list.
    ///
    /// # Panics
    /// If the publisher does not publish.
    pub fn begin(name: &str, content: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory for the test");
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("a file in the directory");
        let table = Table::new("file");
        let process = Process::start(&mut serve(&table, &file, options));
        Self::of(process, table, folder, file)
    }

    /// Wraps a publisher that is already running.
    ///
    /// # Panics
    /// If the publisher does not publish.
    pub fn of(process: Process, table: Table, folder: TempDir, file: PathBuf) -> Self {
        let builder = UntypedSubscriber::builder(table.name());
        let subscriber = builder.open_within(LIMIT);
        let subscriber = subscriber.unwrap_or_else(|error| panic!("{error}; {}", process.stderr()));
        Self { process, subscriber, table, folder, file }
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the directory of the file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes to the file in place, as `>` does.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, content: &str) {
        std::fs::write(&self.file, content).expect("a writable file");
    }

    /// Replaces the file by another one with rename, as editors do.
    ///
    /// # Panics
    /// If the file cannot be replaced.
    pub fn replace(&self, content: &str) {
        let next = self.folder.path().join(".next");
        std::fs::write(&next, content).expect("a writable file");
        std::fs::rename(next, &self.file).expect("a temporary file name");
    }

    /// Waits until the table has these rows. A row is its cells joined by `|`; the order does not
    /// matter.
    ///
    /// # Panics
    /// If the table never has these rows.
    pub fn becomes(&mut self, rows: &[&str]) {
        let mut expected: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
        expected.sort_unstable();
        let mut last = self.rows();
        let begun = std::time::Instant::now();
        while last != expected {
            assert!(
                begun.elapsed() < LIMIT && self.process.is_running(),
                "{last:?} instead of {expected:?}: {}",
                self.process.stderr()
            );
            let waited = self.subscriber.wait(Some(std::time::Duration::from_millis(10)));
            waited.expect("the file is readable");
            last = self.rows();
        }
    }

    /// Returns the rows that the subscriber has.
    pub fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.subscriber.iter().map(printed).collect();
        rows.sort_unstable();
        rows
    }

    /// Returns the table's version.
    ///
    /// # Panics
    /// If the table no longer exists.
    pub fn version(&self) -> u64 {
        let info = common::inspect(self.table.name(), None);
        info.expect("the table is published").version
    }

    /// Waits until the publisher's stderr contains `text` `times` times.
    ///
    /// # Panics
    /// If it never does.
    pub fn says(&mut self, text: &str, times: usize) {
        let stderr = self.process.stderr_until(|all| all.matches(text).count() >= times);
        assert_eq!(stderr.matches(text).count(), times, "{stderr}");
    }

    /// Stops the publisher with SIGTERM, which ends it with exit code 0 and leaves no objects.
    /// Returns its stderr.
    ///
    /// # Panics
    /// If the publisher fails or leaves objects.
    pub fn stop(mut self) -> String {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.process.ends_with(0);
        until("no object is left", || self.table.orphans().is_empty());
        self.process.stderr()
    }
}

/// Returns the command that serves a file.
pub fn serve(table: &Table, file: &Path, options: &[&str]) -> Command {
    let mut command = publisher();
    command.args(["serve", table.name(), "--from"]).arg(file).args(options);
    command
}

fn printed(row: RowRef<'_>) -> String {
    let values = row.values().map(|(_, value)| value.to_string());
    values.collect::<Vec<_>>().join("|")
}
