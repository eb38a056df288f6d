//! Named pipes, which any script can read: one line per wake-up, the number of the commit. A full
//! pipe means that nobody reads it.
//!
//! The subscriber that created the pipe sleeps on it and leaves the lines to the scripts that read
//! it. Each line is an edge for the subscriber's epoll, even if a script reads the line before the
//! subscriber runs: the subscriber waits for "writable" as well as for "readable", and so needs no
//! byte. It takes lines out only if more than [`UNREAD`] bytes show that nobody else reads. It
//! opens the pipe for both directions, so that a publisher always finds a reader and readers always
//! find a writer. Readers get end-of-file when the subscriber is gone. Several scripts that read
//! one pipe share its lines; give each script its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::io::ioctl_fionread;

use super::place::{Place, is_own, remove_file};
use super::{Halves, WakeReceiver, WakeSender, errno};
use crate::error::Result;
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::{failure, own_user};

/// More unread bytes than this mean that nobody reads: half of the smallest pipe's capacity.
const UNREAD: u64 = 2048;
/// Maximum number of pages read from the pipe per drain, so that no writer keeps its subscriber
/// busy.
const READS: usize = 32;

pub(super) const HALVES: Halves = Halves {
    create: |target, _publisher| Ok(Box::new(Fifo::create(&target.path)?)),
    open: |target| open_sender(&target.path),
    remove: |target, held| remove(&target.path, held),
};

pub(super) const PLACE: Place = Place {
    noun: "named pipe",
    path: |place, file| match place {
        None => Ok(directory()?.join(file)),
        Some(directory) if directory.is_dir() => Ok(directory.join(file)),
        Some(path) => Ok(path.to_owned()),
    },
    names_file: true,
    check: |path| match fs::symlink_metadata(path) {
        Ok(status) if !status.file_type().is_fifo() => {
            Err("another file has this name; remove it, or name another place")
        }
        _ => Ok(()),
    },
};

/// A subscriber's own pipe. Dropping it removes it.
pub struct Fifo {
    pipe: File,
    path: PathBuf,
    process: Creator,
}

impl Fifo {
    /// Creates the pipe. Replaces a pipe whose owner is gone, and no other file.
    pub fn create(path: &Path) -> Result<Self> {
        let object = path.display().to_string();
        let make = || mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR);
        let made = match make() {
            Err(Errno::EEXIST) if remove(path, false)? => make(),
            made => made,
        };
        made.map_err(|errno| failure(&object, "make", errno))?;
        let pipe = open(path).map_err(|error| failure(&object, "open", error))?;
        // The lock shows that the owner is alive.
        if let Err(errno) = lock::try_lock(&pipe, Span::WHOLE) {
            tracing::debug!("{object} is not locked: {errno}");
        }
        Ok(Self { pipe, path: path.to_owned(), process: Creator::this_process() })
    }
}

impl WakeReceiver for Fifo {
    fn drain(&self) {
        if ioctl_fionread(&self.pipe).is_ok_and(|unread| unread > UNREAD) {
            let _empty = (0..READS).try_for_each(|_| (&self.pipe).read(&mut [0; 4096]).map(drop));
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pipe.as_fd())
    }

    fn keeps_wake_ups(&self) -> bool {
        true
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let is_same = |named: fs::Metadata| {
            let own = self.pipe.metadata();
            own.is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
        };
        if self.process.is_this_process()
            && fs::symlink_metadata(&self.path).is_ok_and(is_same)
            && let Err(error) = remove(&self.path, true)
        {
            tracing::warn!("named pipe was not removed: {error}");
        }
    }
}

/// Returns the directory for pipes if the user named no path. No other user may write to it.
fn directory() -> Result<PathBuf> {
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && runtime.is_absolute()
        && is_private(&runtime)
    {
        return Ok(runtime);
    }
    let own = std::env::temp_dir().join(format!("tablecast-{}", own_user()));
    let object = own.display().to_string();
    match fs::DirBuilder::new().mode(0o700).create(&own) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(failure(&object, "make", error))
        }
        _ if is_private(&own) => Ok(own),
        _ => Err(failure(&object, "make a named pipe in", Errno::EACCES)),
    }
}

fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|status| {
        status.is_dir() && status.uid() == own_user() && status.mode() & 0o022 == 0
    })
}

/// Opens a pipe for both directions, which never blocks and never fails for lack of a reader.
fn open(path: &Path) -> std::io::Result<File> {
    let pipe =
        File::options().read(true).write(true).custom_flags(O_NONBLOCK | O_NOFOLLOW).open(path)?;
    match pipe.metadata()? {
        status if status.file_type().is_fifo() && status.uid() == own_user() => Ok(pipe),
        _ => Err(ErrorKind::PermissionDenied.into()),
    }
}

/// Removes a pipe of this user. Unless `held` is true, leaves a pipe whose lock is held. Returns
/// true if the pipe was removed.
pub fn remove(path: &Path, held: bool) -> Result<bool> {
    if !is_own(path, |kind| kind.is_fifo()) {
        return Ok(false);
    }
    if !held {
        let failed = |error| failure(&path.display().to_string(), "remove", error);
        let pipe = open(path).map_err(failed)?;
        if lock::try_lock(&pipe, Span::WHOLE) != Ok(true) {
            return Ok(false);
        }
    }
    remove_file(path)
}

/// Opens the publisher's end. Returns EPERM if `path` is not a pipe of this user.
pub fn open_sender(path: &Path) -> nix::Result<WakeSender> {
    // Opened for both directions, because a write to a pipe without a reader raises SIGPIPE.
    let pipe = open(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Errno::EPERM,
        _ => errno(&error),
    })?;
    // Less than PIPE_BUF, so the line is written whole or not at all.
    Ok(Box::new(move |version| {
        let _hint = (&pipe).write(format!("{version}\n").as_bytes());
    }))
}
