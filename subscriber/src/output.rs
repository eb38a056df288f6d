//! Stdout as this program writes it: without panics, and never stuck in a write when the end is asked for.
//!
//! A write to a pipe that nobody empties blocks, and a signal handler that only notes the signal does not end it. So
//! each write waits for room and for the end at once, and writes no more than has room for sure.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::shell::{Failure, Stop, colour};

/// POSIX's PIPE_BUF on Linux: a pipe that is writable at all takes so much at once.
pub const PIPE_BYTES: usize = 4096;
/// What may still be written after the end was asked for, so that what was begun gets its last line.
const FAREWELL_BYTES: usize = 64 * 1024;
/// Rows are gathered to so much before they are written, unless flushed.
const BUFFER_BYTES: usize = 64 * 1024;

/// Stdout. A reader that went away, and an end that was asked for, are both [`io::ErrorKind::BrokenPipe`], which ends
/// the program with success.
pub struct Output {
    file: File,
    stop: Stop,
    most_bytes: usize,
    farewell_bytes: usize,
}

impl Output {
    /// A copy of this process's stdout. `stop` ends writes that would block.
    pub fn stdout(stop: &Stop) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let is_file = file.metadata()?.is_file();
        Ok(Self {
            file,
            stop: stop.clone(),
            most_bytes: if is_file { usize::MAX } else { PIPE_BYTES },
            farewell_bytes: FAREWELL_BYTES,
        })
    }

    /// Whether people read it.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// The terminal that it is, if it is one.
    pub fn terminal(&self) -> Option<File> {
        self.is_terminal().then(|| self.file.try_clone().ok())?
    }

    /// Whether to use colour: for people who did not say no, and for those who said always.
    pub fn is_coloured(&self) -> bool {
        colour::is_wanted(&self.file)
    }

    /// Writes through a buffer.
    pub fn buffered(self) -> BufWriter<Self> {
        BufWriter::with_capacity(BUFFER_BYTES, self)
    }

    /// Writes one text.
    pub fn text(mut self, text: &str) -> Result<(), Failure> {
        self.write_all(text.as_bytes())?;
        Ok(())
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
/// [`io::ErrorKind::BrokenPipe`] as soon as nobody reads stdout any more.
pub fn sleep(stop: &Stop, time: Duration) -> io::Result<bool> {
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

/// Sleeps until one of `others` is readable, the end is asked for, or `time` is over. Whether the end was asked for.
///
/// # Errors
/// [`io::ErrorKind::BrokenPipe`] as soon as nobody reads stdout any more.
pub fn wait(stop: &Stop, others: &[BorrowedFd<'_>], time: Option<Duration>) -> io::Result<bool> {
    let stdout = io::stdout();
    // Only errors and hang-ups, which are always told: a terminal is readable whenever somebody types.
    let mut awaited = vec![(stdout.as_fd(), PollFlags::empty())];
    awaited.extend(others.iter().map(|fd| (*fd, PollFlags::POLLIN)));
    let (stopped, events) = stop.poll(&awaited, time);
    if !stopped && !events[0].is_empty() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(stopped)
}
