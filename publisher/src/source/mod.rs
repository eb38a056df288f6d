//! Where rows come from.
//!
//! A source says what a row is, what to wait for (a descriptor, a time, or both), and when asked brings what is there
//! into the table without ever blocking. [`serve`](crate::serve) does the waiting for all of them.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use common::{Error, UntypedPublisher};
use subscriber::service::Stage;
use subscriber::shell::Failure;

pub mod csv_decoder;
pub mod csv_lines;
pub mod file;
pub mod json_lines;
pub mod line_reader;
pub mod netlink;
pub mod processes;
pub mod snapshot;
pub mod staging;
pub mod stdin;

pub use file::File;
pub use netlink::{Follow, Neighbors, Routes};
pub use processes::Processes;
pub use snapshot::{Room, Snapshot};
pub use stdin::Stdin;

/// Brings rows into a table.
pub trait Source {
    /// A descriptor that turns readable when there is something to bring.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When there will be something to bring, whatever the descriptor says.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Brings what is there. Never blocks.
    ///
    /// # Errors
    /// What makes it senseless to go on. What concerns single rows is reported, and left out.
    fn bring(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, Trouble>;

    /// Whether it always brings the whole table, by [`Snapshot::publish`]: rows that an earlier publisher left, and their
    /// schema, then stay as they are until that.
    fn is_whole(&self) -> bool;

    /// Whether all has been published that was there at first, and how often it was asked to bring everything anew.
    fn stage(&self) -> Stage;

    /// What was brought, in a few words.
    fn summary(&self) -> Option<String> {
        None
    }

    /// Returns the error to end with when the input has been read, if the table does not hold all of it.
    fn shortfall(&self) -> Option<Failure> {
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

/// Why a source cannot go on.
#[derive(Debug)]
pub enum Trouble {
    /// The input is bad. The table is as whole as ever.
    Input(Failure),
    /// The table is not ours any more, or damaged.
    Table(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}
