//! Writes to stdout without panics, and without blocking after a shutdown was requested.
//!
//! A write to a full pipe blocks, and a signal handler that only sets a flag does not interrupt it.
//! Therefore each write first polls for space and for the shutdown, and then writes at most what
//! the pipe accepts without blocking. A terminal that polls as writable may have room for only one
//! byte, so it is opened again as non-blocking (stdout itself is shared with other processes, which
//! expect it to block).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use cli::Shutdown;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;

/// PIPE_BUF on Linux: a pipe that polls as writable accepts this many bytes without blocking.
pub const PIPE_BYTES: usize = 4096;
/// Maximum number of bytes written after a shutdown was requested, so that the last line can be
/// completed.
const SHUTDOWN_BYTES: usize = 64 * 1024;
/// Size of the buffer for rows.
pub const BUFFER_BYTES: usize = 64 * 1024;
/// Pause before another write to a terminal that polls as writable but accepts nothing.
const RETRY: Duration = Duration::from_millis(10);

/// Stdout. Writes fail with [`io::ErrorKind::BrokenPipe`] if the reader is gone, or if they would
/// block after a shutdown was requested. This error ends the program with success.
pub struct Output {
    file: File,
    stop: Shutdown,
    /// Maximum number of bytes of one write.
    max_bytes: usize,
    /// Bytes that may still be written after a shutdown was requested.
    shutdown_bytes: usize,
}

impl Output {
    /// Duplicates this process's stdout. `stop` ends writes that would block.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn stdout(stop: &Shutdown) -> io::Result<Self> {
        let file = stdout_without_blocking()?;
        let is_file = file.metadata()?.is_file();
        Ok(Self {
            file,
            stop: stop.clone(),
            max_bytes: if is_file { usize::MAX } else { PIPE_BYTES },
            shutdown_bytes: SHUTDOWN_BYTES,
        })
    }

    /// Returns true if stdout is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Returns the terminal, if stdout is one.
    pub fn terminal(&self) -> Option<File> {
        self.is_terminal().then(|| self.file.try_clone().ok())?
    }

    /// Returns true if output should be coloured: by the user's settings, or because stdout is a
    /// terminal.
    pub fn is_coloured(&self) -> bool {
        AutoStream::choice(&self.file) != ColorChoice::Never
    }

    /// Collects writes.
    pub fn buffered(self) -> BufWriter<Self> {
        BufWriter::with_capacity(BUFFER_BYTES, self)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.max_bytes)];
        loop {
            let room = [(self.file.as_fd(), PollFlags::POLLOUT)];
            let (stopped, events) = self.stop.poll(&room, None);
            if stopped {
                self.shutdown_bytes = self.shutdown_bytes.saturating_sub(bytes.len());
                if events[0].is_empty() || self.shutdown_bytes == 0 {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            if !events[0].is_empty() {
                match self.file.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if self.stop.poll(&[], Some(RETRY)).0 {
                            return Err(io::ErrorKind::BrokenPipe.into());
                        }
                    }
                    written => return written,
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Duplicates stdout. The duplicate is non-blocking if it is a terminal that this user may open.
pub fn stdout_without_blocking() -> io::Result<File> {
    let stdout = io::stdout();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let path = format!("/proc/self/fd/{}", stdout.as_raw_fd());
    match stdout.is_terminal().then(|| options.open(path)) {
        Some(Ok(terminal)) => Ok(terminal),
        _ => Ok(stdout.as_fd().try_clone_to_owned()?.into()),
    }
}

/// Sleeps until one of `others` is readable, `stop` is requested or `time` has passed. Returns true
/// if `stop` is requested.
///
/// # Errors
/// Returns [`io::ErrorKind::BrokenPipe`] as soon as the reader of stdout is gone.
pub fn wait(
    stop: &Shutdown,
    others: &[BorrowedFd<'_>],
    time: Option<Duration>,
) -> io::Result<bool> {
    let stdout = io::stdout();
    // No events for stdout, so that only errors and hang-ups are reported: a terminal would be
    // readable on each key press.
    let mut awaited = vec![(stdout.as_fd(), PollFlags::empty())];
    awaited.extend(others.iter().map(|fd| (*fd, PollFlags::POLLIN)));
    let (stopped, events) = stop.poll(&awaited, time);
    if !stopped && !events[0].is_empty() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(stopped)
}
