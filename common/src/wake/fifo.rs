//! Named pipes, which any script can read: a line a call, the number of the commit. A full one means that nobody reads.
//!
//! The subscriber that made the pipe sleeps on it and leaves the lines to the scripts that read it. Each line is an edge for the
//! subscriber's epoll, also if a script has read the line before the subscriber runs: it waits for "writable" as well as for
//! "readable", and so needs no byte. It takes lines out only when more than [`UNREAD`] bytes show that nobody reads. It has the
//! pipe open for both directions, so that a publisher always finds a reader and readers always find a writer. Readers come to the
//! end of the pipe when its subscriber is gone. Several scripts that read one pipe share its lines; give each its own.

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

use super::errno;
use crate::error::Result;
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::{failure, failure_io, own_user};

/// So many bytes lie there only if nobody reads: half of the smallest pipe there is.
const UNREAD: u64 = 2048;
/// How often a page is taken out of it then: no writer keeps its subscriber busy.
const READS: usize = 32;

/// A subscriber's own pipe. Dropping it removes it.
pub struct Fifo {
    pipe: File,
    path: PathBuf,
    process: Creator,
}

impl Fifo {
    /// Makes it, also in the place of one whose owner is gone.
    ///
    /// # Errors
    /// What the system refuses, also because there is something else.
    pub fn create(path: &Path) -> Result<Self> {
        let object = path.display().to_string();
        let make = || mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR);
        let made = match make() {
            Err(Errno::EEXIST) if remove(path, false)? => make(),
            made => made,
        };
        made.map_err(|errno| failure(&object, "make", errno))?;
        let pipe = open(path).map_err(|error| failure_io(&object, "open", error))?;
        // Says that its owner lives.
        if let Err(errno) = lock::try_lock(&pipe, Span::WHOLE) {
            tracing::debug!("{object} is not locked: {errno}");
        }
        Ok(Self {
            pipe,
            path: path.to_owned(),
            process: Creator::this_process(),
        })
    }

    /// Takes the lines out if nobody else does.
    pub fn drain(&self) {
        if ioctl_fionread(&self.pipe).is_ok_and(|unread| unread > UNREAD) {
            let mut reads = 0..READS;
            while reads.next().is_some() && (&self.pipe).read(&mut [0; 4096]).is_ok() {}
        }
    }
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let is_it = |named: fs::Metadata| {
            let own = self.pipe.metadata();
            own.is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
        };
        if self.process.is_this_process()
            && fs::symlink_metadata(&self.path).is_ok_and(is_it)
            && let Err(error) = remove(&self.path, true)
        {
            tracing::warn!("it stays behind: {error}");
        }
    }
}

/// Where pipes are that nobody gave a path: a directory that nobody else may write to.
///
/// # Errors
/// What the system refuses.
pub fn directory() -> Result<PathBuf> {
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
            Err(failure_io(&object, "make", error))
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

/// Opens a pipe for both directions, which never waits for anybody, and never fails for want of a reader.
fn open(path: &Path) -> std::io::Result<File> {
    let pipe = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK | O_NOFOLLOW)
        .open(path)?;
    match pipe.metadata()? {
        status if status.file_type().is_fifo() && status.uid() == own_user() => Ok(pipe),
        _ => Err(ErrorKind::PermissionDenied.into()),
    }
}

/// Removes a pipe of this user, also one that somebody holds where that is said; whether there was one.
///
/// # Errors
/// What the system refuses.
pub fn remove(path: &Path, held: bool) -> Result<bool> {
    let failed = |error| failure_io(&path.display().to_string(), "remove", error);
    let is_ours = |status: fs::Metadata| status.file_type().is_fifo() && status.uid() == own_user();
    if !fs::symlink_metadata(path).is_ok_and(is_ours) {
        return Ok(false);
    }
    if !held {
        let pipe = open(path).map_err(failed)?;
        if lock::try_lock(&pipe, Span::WHOLE) != Ok(true) {
            return Ok(false);
        }
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// The publisher's end of a subscriber's pipe.
pub struct Sender(File);

impl Sender {
    /// Opens it.
    ///
    /// # Errors
    /// EPERM if it is no pipe of this user, and what the system refuses.
    pub fn open(path: &Path) -> nix::Result<Self> {
        // For both directions: a pipe without a reader would answer by SIGPIPE.
        match open(path) {
            Ok(pipe) => Ok(Self(pipe)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Errno::EPERM),
            Err(error) => Err(errno(&error)),
        }
    }

    /// As [`queue::Sender::send`](super::queue::Sender::send).
    #[inline]
    pub fn send(&self, version: u64) {
        // Less than PIPE_BUF: all of the line or nothing.
        let _hint = (&self.0).write(format!("{version}\n").as_bytes());
    }
}
