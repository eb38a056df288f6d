//! When a file is to be read again.
//!
//! 1. A version that its writer has finished (closed, or renamed into place) is read at once.
//! 2. Any other change is read when nothing has changed for [`QUIET`], or, if it changes all the time, after a while.
//! 3. So is the lack of the file: editors take it away for an instant.
//! 4. Within one tick of the kernel's clock a file can change and look the same, so a version that was young when it
//!    was read is looked at once more.
//!
//! No clock and no file here: times and looks come in, what is to be done goes out.

use std::time::{Duration, Instant};

use super::content::Identity;

/// As long as this a file that changes is left alone.
pub const QUIET: Duration = Duration::from_millis(300);

/// A version younger than this is looked at again: many ticks of the kernel's clock, and longer than a writer needs to go
/// on.
pub const YOUNG: Duration = QUIET;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Read the file.
    Read,
    /// The file is gone.
    Gone,
}

/// What is known of a file's versions.
#[derive(Debug)]
pub struct Follow {
    /// How long a file that changes all the time is left alone.
    patience: Duration,
    /// The version that was read last; None if the file was gone.
    seen: Option<Identity>,
    change: Option<Change>,
    /// When the version that was read is to be looked at once more.
    again: Option<Instant>,
}

/// A version that was not read yet.
#[derive(Debug)]
struct Change {
    identity: Option<Identity>,
    first: Instant,
    last: Instant,
    is_finished: bool,
}

impl Follow {
    /// `seen` has been read.
    pub fn new(patience: Duration, seen: Option<Identity>) -> Self {
        Self {
            patience,
            seen,
            change: None,
            again: None,
        }
    }

    /// The file is now `identity` (None: there is no file). `is_finished`: its writer has just closed it or put it there.
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

    /// The file that is there now is to be read, whether it changed or not.
    pub fn force(&mut self, now: Instant) {
        self.again = Some(now);
    }

    /// The version `identity` has been read. `is_young`: it may have changed since without a sign.
    pub fn read(&mut self, now: Instant, identity: Option<Identity>, is_young: bool) {
        self.seen = identity;
        if is_young {
            let again = now + YOUNG;
            self.again = Some(self.again.map_or(again, |other| other.min(again)));
        }
    }

    /// What was to be read was gone by then. Whether that may be for an instant: then it is as if it was seen to go now,
    /// and read again if it is back as it was.
    pub fn misses(&mut self, now: Instant) -> bool {
        let may_be_back = self.seen.is_some();
        if may_be_back {
            self.look(now, None, false);
            self.again = Some(now + QUIET);
        }
        may_be_back
    }

    /// Whether the file is another one than was read last, in place and not only in content.
    pub fn is_another_file(&self, identity: Option<&Identity>) -> bool {
        match (&self.seen, identity) {
            (Some(seen), Some(identity)) => !seen.is_same_file(identity),
            (seen, identity) => seen.is_some() != identity.is_some(),
        }
    }

    /// When there will be something to be done.
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

    /// What is to be done now. It counts as done.
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
