//! The table `bridge.links`: one row for each table that this process exports or imports.
//!
//! Threads of tables set a [`Status`], and the main thread commits the rows that changed.

use std::sync::{Arc, Mutex, PoisonError};

use common::{Error, Publisher, Row, Text, Timestamp};
use exchange::{Head, Position};

/// Name of the table. Further bridges on this host append a number.
const NAME: &str = "bridge.links";
/// Maximum number of bridges on a host that publish their links.
const MAX_NAMES: usize = 999;
/// Maximum length of an error message in bytes.
const ERROR_BYTES: usize = 240;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
pub struct Link {
    /// Name of the table on this host.
    #[row(key)]
    table: Text<64>,
    /// The other host and its table; empty for an exported table.
    #[row(key)]
    peer: Text<136>,
    state: Text<16>,
    /// State of the origin's publisher.
    publisher: Text<16>,
    /// Time of the last message from the exporter; of an exported table, of the last message to an
    /// importer.
    heard: Timestamp,
    version: u64,
    epoch: u64,
    rows: u64,
    /// Time between the last commit and its local commit, by the clocks of the two hosts.
    lag_ns: u64,
    messages: u64,
    bytes: u64,
    /// Number of updates with all rows.
    resyncs: u64,
    error: Text<ERROR_BYTES>,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// An exported table does not exist.
    #[default]
    Waiting,
    /// The table is exported.
    Exporting,
    /// No exporter has been found.
    Connecting,
    /// The local table is as new as the last head.
    Following,
    /// All rows are being received, or a large difference.
    Resyncing,
    /// The exporter, or the origin's publisher, is not there any more.
    Stale,
    /// An update was refused.
    Refused,
}

impl State {
    /// Returns the state as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Exporting => "exporting",
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Resyncing => "resyncing",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

/// The state and the counts of a link.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Name of the table on this host.
    pub table: String,
    /// The other host and its table; empty for an exported table.
    pub peer: String,
    /// The state.
    pub state: State,
    /// True if no exporter can be reached.
    pub is_lost: bool,
    /// State of the origin's publisher.
    pub publisher: &'static str,
    /// Time of the last message.
    pub heard: Timestamp,
    /// The position of the origin that the local table has.
    pub position: Position,
    /// Number of publishers that the origin has had.
    pub epoch: u64,
    /// Number of rows.
    pub rows: u64,
    /// Time between the last commit and its local commit in nanoseconds.
    pub lag_ns: u64,
    /// Number of messages.
    pub messages: u64,
    /// Length of all messages.
    pub bytes: u64,
    /// Number of updates with all rows.
    pub resyncs: u64,
    /// The last error, empty if it is over.
    pub error: String,
}

impl Status {
    /// Sets the state, with the reason for it. Returns true if either changed.
    pub fn set(&mut self, state: State, error: &str) -> bool {
        let has_changed = self.state != state || self.error != error;
        self.state = state;
        if has_changed {
            error.clone_into(&mut self.error);
        }
        has_changed
    }

    /// Notes the host that is followed.
    pub fn peer_found(&mut self, host: &str) {
        let table = self.peer.rsplit('/').next().unwrap_or_default();
        self.peer = format!("{host}/{table}");
    }

    /// Sets the reason why no exporter can be reached. Returns true if it differs from the last one.
    pub fn explain(&mut self, why: &str) -> bool {
        let has_changed = self.is_lost && self.error != why;
        if has_changed {
            why.clone_into(&mut self.error);
        }
        has_changed
    }

    /// Notes what a head says about the origin.
    pub fn head(&mut self, head: &Head) {
        self.publisher = head.publisher.as_str();
    }

    /// Counts a head. `bytes` is 0 if it was not sent, because nobody imports the table.
    pub fn sent_head(&mut self, head: &Head, bytes: usize) {
        self.head(head);
        (self.position, self.epoch, self.rows) = (head.position, head.epoch, head.rows);
        if bytes > 0 {
            self.count(bytes);
        }
    }

    /// Counts a message.
    pub fn count(&mut self, bytes: usize) {
        self.heard = Timestamp::now();
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    fn row(&self) -> Result<Link, Error> {
        Ok(Link {
            table: Text::new(&self.table)?,
            peer: Text::new(&self.peer)?,
            state: Text::new(self.state.as_str())?,
            publisher: Text::new(self.publisher)?,
            heard: self.heard,
            version: self.position.version,
            epoch: self.epoch,
            rows: self.rows,
            lag_ns: self.lag_ns,
            messages: self.messages,
            bytes: self.bytes,
            resyncs: self.resyncs,
            error: Text::truncated(&self.error),
        })
    }
}

/// The states of all links, shared with their threads.
pub type Rows = Arc<Mutex<Vec<Arc<Mutex<Status>>>>>;

/// The table, and the states of all links.
#[derive(Debug)]
pub struct Links {
    publisher: Publisher<Link>,
    rows: Rows,
}

impl Links {
    /// Publishes the table.
    ///
    /// # Errors
    /// The errors of opening a table.
    pub fn open() -> Result<Self, Error> {
        let mut number = 1;
        let publisher = loop {
            let name = if number == 1 { NAME.to_owned() } else { format!("{NAME}.{number}") };
            match Publisher::builder(&name).mode(0o644).open() {
                Err(
                    Error::PublisherActive { .. }
                    | Error::WrongOwner { .. }
                    | Error::PermissionDenied { .. },
                ) if number < MAX_NAMES => {}
                Err(Error::SchemaMismatch { .. }) => {
                    // An older release left it.
                    common::remove(&name)?;
                    continue;
                }
                opened => break opened?,
            }
            number += 1;
        };
        let mut links = Self { publisher, rows: Rows::default() };
        let mut tx = links.publisher.begin();
        tx.clear();
        tx.commit()?;
        Ok(links)
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &str {
        self.publisher.name()
    }

    /// Returns the states of all links.
    pub fn rows(&self) -> Rows {
        Arc::clone(&self.rows)
    }

    /// Returns the state of a link, which is created if it does not exist.
    pub fn add(&self, table: &str, peer: &str) -> Arc<Mutex<Status>> {
        let mut rows = lock(&self.rows);
        let known = rows.iter().find(|row| {
            let row = lock(row);
            row.table == table && row.peer == peer
        });
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let status = Status { table: table.to_owned(), peer: peer.to_owned(), ..Status::default() };
        let status = Arc::new(Mutex::new(status));
        rows.push(Arc::clone(&status));
        status
    }

    /// Commits the rows that changed, and maintains the table.
    ///
    /// # Errors
    /// The errors of a commit.
    pub fn publish(&mut self) -> Result<(), Error> {
        let rows =
            lock(&self.rows).iter().map(|row| lock(row).row()).collect::<Result<Vec<_>, _>>()?;
        let mut tx = self.publisher.begin();
        tx.replace_with(&rows)?;
        tx.commit()?;
        self.publisher.maintain()
    }

    /// Closes the table.
    ///
    /// # Errors
    /// The errors of [`Publisher::close`].
    pub fn close(self) -> Result<(), Error> {
        self.publisher.close()
    }
}

/// Locks a value that is consistent also after a panic.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the time since 1970 in nanoseconds.
pub fn unix_ns() -> u64 {
    u64::try_from(Timestamp::now().as_nanos()).unwrap_or_default()
}
