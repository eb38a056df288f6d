//! Reads a file in a separate thread, so that the publishing loop does not wait for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use cli::{CliError, start_error};
use common::Schema;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::content::{self, Identity, Unreadable};
use super::fault::Fault;
use super::progress::Progress;
use super::settings::{Format, Settings};
use super::{Table, csv, jsonl, text};

/// A finished read.
pub struct Reading {
    /// Identity of the file, or `None` if it could not be determined.
    pub identity: Option<Identity>,
    /// True if the file had just been changed when it was read, and may have changed since without
    /// changing its metadata.
    pub is_young: bool,
    /// Hash of the bytes.
    pub fingerprint: Option<u64>,
    /// The result.
    pub outcome: Outcome,
}

/// The result of a read.
pub enum Outcome {
    /// A table.
    Table(Table),
    /// The bytes are the same as in the last read.
    Same,
    /// The content is not a valid table.
    Bad(Fault),
    /// The file does not exist.
    Gone,
}

/// Reads one file, one version at a time.
pub struct Reader {
    path: Arc<Path>,
    settings: Arc<Settings>,
    /// Becomes readable when a version has been read.
    done: Arc<EventFd>,
    thread: Option<JoinHandle<Reading>>,
}

/// The state of the last read that the thread needs.
#[derive(Clone, Default)]
pub struct Former {
    /// Hash of the bytes.
    pub fingerprint: Option<u64>,
    /// Schema of the table.
    pub schema: Option<Arc<Schema>>,
}

impl Reader {
    /// Creates a reader that is idle.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the eventfd cannot be created.
    pub fn new(path: &Path, settings: Settings) -> Result<Self, CliError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let done = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| CliError::new(1, format!("cannot wait for a reader: {errno}")))?;
        Ok(Self {
            path: path.into(),
            settings: Arc::new(settings),
            done: Arc::new(done),
            thread: None,
        })
    }

    /// Returns a descriptor that becomes readable when a version has been read.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Returns true while a version is being read.
    pub fn is_busy(&self) -> bool {
        self.thread.is_some()
    }

    /// Starts to read a version. Must not be called while the reader is busy.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the thread cannot be started.
    pub fn begin(&mut self, former: Former, progress: Arc<Progress>) -> Result<(), CliError> {
        debug_assert!(!self.is_busy(), "one version at a time");
        let (path, settings) = (Arc::clone(&self.path), Arc::clone(&self.settings));
        let announce = Announce(Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || {
            let _announce_on_drop = announce;
            let reading = read(&path, &settings, &former, &progress);
            progress.clear();
            reading
        });
        let thread = thread.map_err(|error| {
            let reason = start_error(&error);
            CliError::new(1, format!("cannot start a reader thread: {reason}"))
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Returns the finished read, if there is one.
    pub fn finished(&mut self) -> Option<Reading> {
        // An empty eventfd means that no thread has ended.
        self.done.read().ok()?;
        match self.thread.take()?.join() {
            Ok(reading) => Some(reading),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Signals the end of the thread when it is dropped, even if the thread panicked.
struct Announce(Arc<EventFd>);

impl Drop for Announce {
    fn drop(&mut self) {
        // Writing fails only if the counter is at its maximum, and then the descriptor is
        // readable.
        let _readable = self.0.write(1);
    }
}

fn read(path: &Path, settings: &Settings, former: &Former, progress: &Progress) -> Reading {
    // Taken before the read: a file that is renamed into place afterwards is another version, still
    // unread.
    let identity = Identity::of_path(path).ok();
    let content = match content::read(path) {
        Ok(content) => content,
        Err(unreadable) => {
            return Reading {
                identity,
                is_young: false,
                fingerprint: None,
                outcome: match unreadable {
                    Unreadable::Gone => Outcome::Gone,
                    Unreadable::Refused(fault) => Outcome::Bad(fault),
                },
            };
        }
    };
    let fingerprint = Some(content.fingerprint());
    let outcome = if former.fingerprint == fingerprint {
        Outcome::Same
    } else {
        match table(&content.bytes, settings, former.schema.as_deref(), progress) {
            Ok(table) => Outcome::Table(table),
            Err(fault) => Outcome::Bad(fault),
        }
    };
    Reading {
        identity: Some(content.identity),
        is_young: content.is_young,
        fingerprint,
        outcome,
    }
}

fn table(
    bytes: &[u8],
    settings: &Settings,
    former: Option<&Schema>,
    progress: &Progress,
) -> Result<Table, Fault> {
    match settings.format {
        Format::Csv(dialect) => csv::read(text::of(bytes)?, dialect, settings, former, progress),
        Format::Jsonl => jsonl::read(bytes, settings, former, progress),
    }
}
