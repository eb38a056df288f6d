//! Decides when a file is read again.
//!
//! 1. A version that its writer has finished (closed, or renamed into place) is read at once.
//! 2. Any other change is read when the file has not changed for [`QUIET`], or, if it keeps
//!    changing, after `patience`.
//! 3. The disappearance of the file is handled in the same way, because editors remove a file for
//!    an instant.
//! 4. A file can change within one tick of the kernel's clock and keep its metadata, so a version
//!    that was young when it was read is read once more.
//!
//! [`ReadSchedule`] uses no clock and no file: its input is times and identities, and its output is
//! the action that is due.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time without changes after which a changed file is read. A version younger than this is read
/// once more: it is many ticks of the kernel's clock, and longer than a writer pauses between
/// writes.
pub const QUIET: Duration = Duration::from_millis(300);

/// Metadata that changes with the file, except within one tick of the kernel's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }

    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns true if the file was changed less than `time` ago, or less than `time` in the
    /// future, because the clock of a file server may be ahead. A time further in the future was
    /// set by a user and does not count.
    pub fn is_younger_than(&self, time: Duration) -> bool {
        let now = common::Timestamp::now().as_nanos();
        [self.changed, self.modified].into_iter().any(|(seconds, nanos)| {
            let at = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
            u128::from(at.abs_diff(now)) < time.as_nanos()
        })
    }
}

/// The action that is due: read the file, or report that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Read,
    Gone,
}

#[derive(Debug)]
pub struct ReadSchedule {
    /// Maximum time for which a file that keeps changing is not read.
    patience: Duration,
    /// The version that was read last, or `None` if the file is known to be gone.
    seen: Option<Identity>,
    change: Option<Change>,
    /// Time at which the file is read even without a change.
    again: Option<Instant>,
}

/// A version that has not been read yet.
#[derive(Debug)]
struct Change {
    identity: Option<Identity>,
    first: Instant,
    last: Instant,
    is_finished: bool,
}

impl ReadSchedule {
    pub fn new(patience: Duration) -> Self {
        Self { patience, seen: None, change: None, again: None }
    }

    /// Records the current identity of the file, `None` if it does not exist. `is_finished` means
    /// that its writer has just closed it or renamed it into place.
    pub fn record(&mut self, now: Instant, identity: Option<Identity>, is_finished: bool) {
        if identity == self.seen {
            self.change = None;
            return;
        }
        let change =
            self.change.get_or_insert(Change { identity, first: now, last: now, is_finished });
        if change.identity != identity {
            change.identity = identity;
            change.last = now;
            change.is_finished = false;
        }
        change.is_finished |= is_finished;
    }

    /// Requests a read at `at`, whether the file changes or not.
    pub fn force(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |other| other.min(at)));
    }

    /// Records that the version `identity` has been read. `is_young` means that it may have changed
    /// since without changing its metadata.
    pub fn record_read(&mut self, now: Instant, identity: Option<Identity>, is_young: bool) {
        self.seen = identity;
        if is_young {
            self.force(now + QUIET);
        }
    }

    /// Records that the file was missing when it was to be read. Returns true if it may be missing
    /// for an instant only: then the disappearance counts as a change that was seen now, and the
    /// file is read again if it returns.
    pub fn record_missing(&mut self, now: Instant) -> bool {
        let may_be_back = self.seen.is_some();
        if may_be_back {
            self.record(now, None, false);
            self.force(now + QUIET);
        }
        may_be_back
    }

    /// Returns the time of the next action.
    pub fn due(&self) -> Option<Instant> {
        let change = self.change.as_ref().map(|change| {
            match change.is_finished && change.identity.is_some() {
                true => change.first,
                false => (change.last + QUIET).min(change.first + self.patience),
            }
        });
        [change, self.again].into_iter().flatten().min()
    }

    /// Returns the action that is due, and marks it as done.
    pub fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.due()? > now {
            return None;
        }
        self.again = None;
        if let Some(change) = self.change.take() {
            self.seen = change.identity;
            if change.identity.is_none() {
                return Some(Due::Gone);
            }
        }
        Some(Due::Read)
    }
}

#[cfg(test)]
mod tests;
