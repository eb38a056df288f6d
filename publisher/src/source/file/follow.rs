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
//! This module uses no clock and no file: its input is times and identities, and its output is what
//! to do.

use std::time::{Duration, Instant};

use super::content::Identity;

/// Time without changes after which a changed file is read.
pub const QUIET: Duration = Duration::from_millis(300);

/// Age below which a version is read again: many ticks of the kernel's clock, and longer than a
/// writer pauses between writes.
pub const YOUNG: Duration = QUIET;

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Read the file.
    Read,
    /// The file is gone.
    Gone,
}

/// The known state of a file.
#[derive(Debug)]
pub struct Follow {
    /// Maximum time for which a file that keeps changing is not read.
    patience: Duration,
    /// The version that was read last, or `None` if the file was gone.
    seen: Option<Identity>,
    change: Option<Change>,
    /// Time at which the version that was read is to be read once more.
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

impl Follow {
    /// Creates the state after `seen` has been read.
    pub fn new(patience: Duration, seen: Option<Identity>) -> Self {
        Self {
            patience,
            seen,
            change: None,
            again: None,
        }
    }

    /// Records the current identity of the file, `None` if it does not exist. `is_finished` means
    /// that its writer has just closed it or renamed it into place.
    pub fn look(&mut self, now: Instant, identity: Option<Identity>, is_finished: bool) {
        match &mut self.change {
            _ if identity == self.seen => self.change = None,
            None => {
                self.change = Some(Change {
                    identity,
                    first: now,
                    last: now,
                    is_finished,
                });
            }
            Some(change) => {
                if change.identity != identity {
                    change.identity = identity;
                    change.last = now;
                    change.is_finished = false;
                }
                change.is_finished |= is_finished;
            }
        }
    }

    /// Requests a read at `now`, whether the file changed or not.
    pub fn force(&mut self, now: Instant) {
        self.again = Some(now);
    }

    /// Records that the version `identity` has been read. `is_young` means that it may have changed
    /// since without changing its metadata.
    pub fn read(&mut self, now: Instant, identity: Option<Identity>, is_young: bool) {
        self.seen = identity;
        if is_young {
            let again = now + YOUNG;
            self.again = Some(self.again.map_or(again, |other| other.min(again)));
        }
    }

    /// Records that the file was missing when it was to be read. Returns true if it may be missing
    /// for an instant only: then the disappearance counts as a change that was seen now, and the
    /// file is read again if it returns.
    pub fn misses(&mut self, now: Instant) -> bool {
        let may_be_back = self.seen.is_some();
        if may_be_back {
            self.look(now, None, false);
            self.again = Some(now + QUIET);
        }
        may_be_back
    }

    /// Returns true if the path leads to another inode than the last read.
    pub fn is_another_file(&self, identity: Option<&Identity>) -> bool {
        match (&self.seen, identity) {
            (Some(seen), Some(identity)) => !seen.is_same_file(identity),
            (seen, identity) => seen.is_some() != identity.is_some(),
        }
    }

    /// Returns the time of the next action.
    pub fn due(&self) -> Option<Instant> {
        let change = self.change.as_ref().map(|change| {
            if change.is_finished && change.identity.is_some() {
                change.first
            } else {
                (change.last + QUIET).min(change.first + self.patience)
            }
        });
        [change, self.again].into_iter().flatten().min()
    }

    /// Returns the action that is due, and marks it as done.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
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
