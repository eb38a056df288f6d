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

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 4 << 30;

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
    /// The file cannot be read, or its content is not a valid table.
    Bad(CliError),
    /// The file does not exist.
    Gone,
}

/// The state of the last read that the thread needs.
#[derive(Clone, Default)]
pub struct Former {
    /// Hash of the bytes.
    pub fingerprint: Option<u64>,
    /// Schema of the table.
    pub schema: Option<Arc<Schema>>,
}

/// Reads one file, one version at a time.
pub struct Reader {
    path: Arc<Path>,
    settings: Arc<Settings>,
    /// Becomes readable when a version has been read.
    done: Arc<EventFd>,
    thread: Option<JoinHandle<Reading>>,
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
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.0.write(1);
    }
}

fn read(path: &Path, settings: &Settings, former: &Former) -> Reading {
    // Taken before the read: a file that is renamed into place afterwards is another version, still
    // unread.
    let identity = Identity::of_path(path).ok();
    let unread = |outcome| Reading {
        identity,
        is_young: false,
        fingerprint: None,
        outcome,
    };
    let (bytes, identity, is_young) = match content(path) {
        Ok(content) => content,
        Err(error) => {
            return unread(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Outcome::Gone,
                _ => Outcome::Bad(CliError::new(5, format!("cannot read it: {error}"))),
            });
        }
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let fingerprint = Some(hasher.finish());
    let outcome = if former.fingerprint == fingerprint {
        Outcome::Same
    } else {
        let former = former.schema.as_deref();
        let table = match settings.format {
            Format::Csv(dialect) => csv_rows::read(&bytes, dialect, settings, former),
            Format::Jsonl => json_lines::read(&bytes, settings, former),
        };
        table.map_or_else(Outcome::Bad, Outcome::Table)
    };
    Reading {
        identity: Some(identity),
        is_young,
        fingerprint,
        outcome,
    }
}

/// Returns the bytes of a file, its identity before they were read, and true if it was young.
fn content(path: &Path) -> io::Result<(Vec<u8>, Identity, bool)> {
    // Does not block, even if the file is a pipe without a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other(
            "it is a pipe: use `--from - < FILE` with --format and --fields",
        ));
    }
    if !kind.is_file() {
        return Err(io::Error::other(
            "it is not a regular file: name a file of CSV or lines of JSON",
        ));
    }
    let identity = Identity::of(&metadata);
    let is_young = identity.is_younger_than(QUIET);
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE} bytes: publish less of it"
        )));
    }
    Ok((bytes, identity, is_young))
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
        assert_eq!(content(&file).unwrap().0, b"text");
        let error = |path: &Path| content(path).unwrap_err();
        assert!(error(&pipe).to_string().contains("--from -"));
        let folder = folder.path();
        assert!(error(folder).to_string().contains("not a regular file"));
        let missing = error(&folder.join("missing"));
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            error(&file.join("below")).kind(),
            io::ErrorKind::NotADirectory
        );
    }
}
