//! Reads a file in a separate thread, so that the publishing loop does not wait for it.

use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use cli::{CliError, start_error};
use common::Schema;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::follow::{Identity, QUIET};
use crate::source::format::{Format, Settings, Table};
use crate::source::{csv_rows, json_lines};

const MAX_FILE: u64 = 4 << 30;

pub struct Reading {
    /// `None` if it could not be determined.
    pub identity: Option<Identity>,
    /// True if the file had just been changed when it was read, and may have changed since without
    /// changing its metadata.
    pub is_young: bool,
    pub fingerprint: Option<u64>,
    pub outcome: Outcome,
}

pub enum Outcome {
    Table(Table),
    /// The bytes are the same as in the last read.
    Same,
    /// The file cannot be read, or its content is not a valid table.
    Bad(CliError),
    Gone,
}

/// Results of the previous read, which the next one compares with.
#[derive(Clone, Default)]
pub struct Former {
    pub fingerprint: Option<u64>,
    pub schema: Option<Arc<Schema>>,
}

pub struct Reader {
    path: Arc<Path>,
    settings: Arc<Settings>,
    done: Arc<EventFd>,
    thread: Option<JoinHandle<Reading>>,
}

impl Reader {
    pub fn new(path: &Path, settings: Settings) -> Result<Self, CliError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let done = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| CliError::new(1, format!("cannot wait for a reader: {errno}")))?;
        let (path, settings, done) = (path.into(), Arc::new(settings), Arc::new(done));
        Ok(Self { path, settings, done, thread: None })
    }

    /// Returns a descriptor that becomes readable when a version has been read.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    pub fn is_busy(&self) -> bool {
        self.thread.is_some()
    }

    /// Starts to read a version. Must not be called while the reader is busy.
    pub fn begin(&mut self, former: Former) -> Result<(), CliError> {
        debug_assert!(!self.is_busy(), "one version at a time");
        let (path, settings) = (Arc::clone(&self.path), Arc::clone(&self.settings));
        let announce = Announce(Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || {
            let _announce_on_drop = announce;
            read(&path, &settings, &former)
        });
        let refused = |error| {
            let reason = start_error(&error);
            CliError::new(1, format!("cannot start a reader thread: {reason}"))
        };
        self.thread = Some(thread.map_err(refused)?);
        Ok(())
    }

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
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.0.write(1);
    }
}

fn read(path: &Path, settings: &Settings, former: &Former) -> Reading {
    let mut reading = Reading {
        // Taken before the read, so that a file that is renamed into place afterwards counts as a
        // new version.
        identity: Identity::of_path(path).ok(),
        is_young: false,
        fingerprint: None,
        outcome: Outcome::Gone,
    };
    let bytes = match content(path, &mut reading) {
        Ok(bytes) => bytes,
        Err(error) => {
            let kind = error.kind();
            if kind != io::ErrorKind::NotFound && kind != io::ErrorKind::NotADirectory {
                let error = CliError::new(5, format!("cannot read it: {error}"));
                reading.outcome = Outcome::Bad(error);
            }
            return reading;
        }
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    reading.fingerprint = Some(hasher.finish());
    if former.fingerprint == reading.fingerprint {
        reading.outcome = Outcome::Same;
        return reading;
    }
    let former = former.schema.as_deref();
    let table = match settings.format {
        Format::Csv(dialect) => csv_rows::read(&bytes, dialect, settings, former),
        Format::Jsonl => json_lines::read(&bytes, settings, former),
    };
    reading.outcome = table.map_or_else(Outcome::Bad, Outcome::Table);
    reading
}

/// Returns the bytes of a file, and records its identity and age before they were read.
fn content(path: &Path, reading: &mut Reading) -> io::Result<Vec<u8>> {
    // Does not block, even if the file is a pipe without a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_socket() {
        let reason = "it is a pipe: use `--from - < FILE` with --format and --fields";
        return Err(io::Error::other(reason));
    }
    if !kind.is_file() {
        let reason = "it is not a regular file: name a file of CSV or lines of JSON";
        return Err(io::Error::other(reason));
    }
    let identity = Identity::of(&metadata);
    reading.identity = Some(identity);
    reading.is_young = identity.is_younger_than(QUIET);
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("it has more than {MAX_FILE} bytes: publish less of it");
        return Err(io::Error::other(reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let content = |path: &Path| {
            let mut reading = Reading {
                identity: None,
                is_young: false,
                fingerprint: None,
                outcome: Outcome::Gone,
            };
            let content = content(path, &mut reading);
            assert_eq!(reading.identity.is_some(), content.is_ok());
            content
        };
        assert_eq!(content(&file).unwrap(), b"text");
        let error = |path: &Path| content(path).unwrap_err();
        assert!(error(&pipe).to_string().contains("--from -"));
        let folder = folder.path();
        assert!(error(folder).to_string().contains("not a regular file"));
        let missing = error(&folder.join("missing"));
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(error(&file.join("below")).kind(), io::ErrorKind::NotADirectory);
    }
}
