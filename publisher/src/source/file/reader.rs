//! Reads a file in a thread of its own, so that nobody waits for a long one.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use common::Schema;
use nix::sys::eventfd::{EfdFlags, EventFd};
use subscriber::shell::{Failure, start_error};

use super::content::{self, Identity, Unreadable};
use super::fault::Fault;
use super::progress::Progress;
use super::settings::{Format, Settings};
use super::{Table, csv, jsonl, text};

/// What was read.
pub struct Reading {
    /// What the file was; None if that could not be seen.
    pub identity: Option<Identity>,
    /// Whether it had just been changed when it was read, and may have changed since without a sign.
    pub is_young: bool,
    /// A number for its bytes.
    pub fingerprint: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of reading.
pub enum Outcome {
    /// A table.
    Table(Table),
    /// The bytes are those that were read before.
    Same,
    /// No table.
    Bad(Fault),
    /// There is no file.
    Gone,
}

/// Reads one file, one version at a time.
pub struct Reader {
    path: Arc<Path>,
    settings: Arc<Settings>,
    /// Readable once a version has been read.
    done: Arc<EventFd>,
    thread: Option<JoinHandle<Reading>>,
}

/// What a thread needs to know of what was read before.
#[derive(Clone, Default)]
pub struct Former {
    /// Its bytes' number.
    pub fingerprint: Option<u64>,
    /// What a row was.
    pub schema: Option<Arc<Schema>>,
}

impl Reader {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new(path: &Path, settings: Settings) -> Result<Self, Failure> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let done = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| Failure::new(1, format!("cannot wait for a reader: {errno}")))?;
        Ok(Self {
            path: path.into(),
            settings: Arc::new(settings),
            done: Arc::new(done),
            thread: None,
        })
    }

    /// Turns readable when a version has been read.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Whether a version is being read.
    pub fn is_busy(&self) -> bool {
        self.thread.is_some()
    }

    /// Begins to read. Not while a version is being read.
    ///
    /// # Errors
    /// [`Failure`] if there cannot be another thread.
    pub fn begin(&mut self, former: Former, progress: Arc<Progress>) -> Result<(), Failure> {
        debug_assert!(!self.is_busy(), "one version at a time");
        let (path, settings) = (Arc::clone(&self.path), Arc::clone(&self.settings));
        let announce = Announce(Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || {
            let _announced_however_it_ends = announce;
            let reading = read(&path, &settings, &former, &progress);
            progress.clear();
            reading
        });
        let thread = thread.map_err(|error| {
            let reason = start_error(&error);
            Failure::new(1, format!("cannot start a thread to read by: {reason}"))
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// What was read, if a version has been read whole.
    pub fn finished(&mut self) -> Option<Reading> {
        // Nothing to be read means that nobody has announced anything.
        self.done.read().ok()?;
        match self.thread.take()?.join() {
            Ok(reading) => Some(reading),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Says that a thread has ended, also if it panicked.
struct Announce(Arc<EventFd>);

impl Drop for Announce {
    fn drop(&mut self) {
        // It can only fail when it is full, and then it is readable.
        let _readable = self.0.write(1);
    }
}

fn read(path: &Path, settings: &Settings, former: &Former, progress: &Progress) -> Reading {
    // Before it is read: what is put there afterwards is another version, and not read yet.
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
