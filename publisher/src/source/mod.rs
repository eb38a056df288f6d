//! The sources of rows.
//!
//! A source knows its schema, names what to wait for (a descriptor, a time, or both), and publishes
//! the available input when it is polled, without blocking. `serve` waits on behalf of all sources.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use cli::CliError;
use cli::service::Readiness;
use common::{Error, Schema, UntypedPublisher};

pub mod change;
mod command;
mod csv;
pub mod csv_rows;
pub(crate) mod file;
pub mod format;
mod header;
mod infer;
pub mod json_lines;
mod netlink;
pub(crate) mod processes;
mod snapshot;
mod staging;
mod stdin;
mod stdin_versions;
mod versions;
mod worker;

pub(crate) use command::CommandOutput;
pub(crate) use file::File;
pub(crate) use netlink::{Follow, Neighbors, Routes};
pub(crate) use processes::Processes;
pub use snapshot::Snapshot;
pub(crate) use stdin::{Stdin, Stream};
pub(crate) use stdin_versions::StdinVersions;
pub(crate) use versions::{Guard, Versioned, Versions};

/// A source of rows for a table.
pub trait Source {
    /// Returns the schema of the rows that are published next.
    fn schema(&self) -> &Schema;

    /// Returns descriptors, one of which becomes readable when input is available.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Returns the time at which to poll the source even if no descriptor is readable.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Publishes the available input. Never blocks. Bad rows are reported and left out.
    ///
    /// # Errors
    /// Returns an error if the source cannot continue.
    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError>;

    /// Returns true if the source always publishes the whole table, with [`Snapshot::publish`].
    /// Rows and schema of an earlier publisher then stay in place until the first snapshot is
    /// published.
    fn is_snapshot(&self) -> bool {
        true
    }

    /// Returns whether the initial rows have been published, and the number of reload requests.
    fn readiness(&self) -> Readiness;

    /// Returns a short summary of the input that was read.
    fn summary(&self) -> Option<String> {
        None
    }

    /// Returns the error to exit with if the table does not hold all of the input.
    fn shortfall(&self) -> Option<CliError> {
        None
    }
}

/// The state of a source's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to read.
    Waiting,
    /// The existing input has been read, and changes to it are followed.
    Following,
    /// The input has ended: the rows will not change any more.
    Ended,
}

/// Errors that end a source.
#[derive(Debug)]
pub enum SourceError {
    /// The input is bad. The table is intact.
    Input(CliError),
    /// The table is damaged or belongs to another publisher now.
    Table(Error),
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}
