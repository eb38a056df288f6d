//! Stdout of this program: it never panics, and it never blocks after the end was requested.
//!
//! A write to a full pipe blocks, and a signal handler that only sets a flag does not interrupt it.
//! So each write polls for space and for the end, and writes at most what the pipe accepts without
//! blocking.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use anstream::{AutoStream, ColorChoice};
use cli::Shutdown;

/// PIPE_BUF on Linux: a writable pipe accepts this many bytes at once.
pub const PIPE_BYTES: usize = 4096;
/// Maximum number of bytes written after the end was requested, which allows the last line to be
/// completed.
const FAREWELL_BYTES: usize = 64 * 1024;
/// Size of the buffer for rows.
const BUFFER_BYTES: usize = 64 * 1024;

/// Stdout. If the reader went away or the end was requested, writes fail with
/// [`io::ErrorKind::BrokenPipe`], which ends the program with success.
pub struct Output {
    file: File,
    stop: Shutdown,
    most_bytes: usize,
    farewell_bytes: usize,
}

impl Output {
    /// Duplicates this process's stdout. `stop` ends writes that would block.
    pub fn stdout(stop: &Shutdown) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let is_file = file.metadata()?.is_file();
        Ok(Self {
            file,
            stop: stop.clone(),
            most_bytes: if is_file { usize::MAX } else { PIPE_BYTES },
            farewell_bytes: FAREWELL_BYTES,
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

    /// Returns true if output should be coloured, by the user's settings or because stdout is a
    /// terminal.
    pub fn is_coloured(&self) -> bool {
        AutoStream::choice(&self.file) != ColorChoice::Never
    }

    /// Wraps stdout in a buffer.
    pub fn buffered(self) -> BufWriter<Self> {
        BufWriter::with_capacity(BUFFER_BYTES, self)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.most_bytes)];
        loop {
            let room = [(self.file.as_fd(), PollFlags::POLLOUT)];
            let (stopped, events) = self.stop.poll(&room, None);
            if stopped {
                self.farewell_bytes = self.farewell_bytes.saturating_sub(bytes.len());
                if events[0].is_empty() || self.farewell_bytes == 0 {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            if !events[0].is_empty() {
                match self.file.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return written,
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sleeps for `time`. Returns true early if `stop` is requested.
///
/// # Errors
/// Returns [`io::ErrorKind::BrokenPipe`] as soon as the reader of stdout is gone.
pub fn sleep(stop: &Shutdown, time: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        let left = time.saturating_sub(begun.elapsed());
        if wait(stop, &[], Some(left))? {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
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
