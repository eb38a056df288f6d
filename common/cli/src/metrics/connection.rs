//! One HTTP connection: reads a request, writes the response and drains the rest, without blocking
//! and within a deadline.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};

use super::request::{self, MAX_HEAD};

/// Maximum duration of a connection. It equals Prometheus's default scrape timeout.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of surplus bytes read and discarded. Closing with unread bytes resets the
/// connection, and the response could be lost.
const MAX_DRAINED: usize = 256 * 1024;

/// Connection of a client.
pub struct Connection {
    stream: File,
    state: State,
    /// Time at which the connection is closed in any state.
    pub deadline: Instant,
}

enum State {
    Reading(Vec<u8>),
    Writing { answer: Vec<u8>, written: usize },
    Draining { left: usize },
}

/// True if there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Again,
    Later,
    Done,
}

impl Connection {
    /// Creates a connection on a non-blocking stream.
    pub fn new(stream: File) -> Self {
        Self {
            stream,
            state: State::Reading(Vec::new()),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Returns the events to wait for.
    pub fn awaited(&self) -> PollFlags {
        match self.state {
            State::Writing { .. } => PollFlags::POLLOUT,
            State::Reading(_) | State::Draining { .. } => PollFlags::POLLIN,
        }
    }

    /// Continues as far as possible without blocking. Returns false when the connection is
    /// finished.
    pub fn go_on(&mut self, page: &dyn Fn() -> Result<String, fmt::Error>) -> bool {
        loop {
            let step = match &self.state {
                State::Reading(_) => self.read(page),
                State::Writing { .. } => self.write(),
                State::Draining { .. } => self.drain(),
            };
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Later) => return true,
                Ok(Step::Done) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!("a reader of metrics went away: {error}");
                    return false;
                }
            }
        }
    }

    fn read(&mut self, page: &dyn Fn() -> Result<String, fmt::Error>) -> io::Result<Step> {
        let State::Reading(received) = &mut self.state else {
            return Ok(Step::Again);
        };
        let mut buffer = [0; 1024];
        let room = MAX_HEAD.saturating_sub(received.len()).min(buffer.len());
        let count = self.stream.read(&mut buffer[..room])?;
        if count == 0 {
            return Ok(Step::Done);
        }
        received.extend_from_slice(&buffer[..count]);
        if let Some(answer) = request::answer(received, page) {
            self.state = State::Writing { answer, written: 0 };
        }
        Ok(Step::Again)
    }

    fn write(&mut self) -> io::Result<Step> {
        let State::Writing { answer, written } = &mut self.state else {
            return Ok(Step::Again);
        };
        *written += self.stream.write(&answer[*written..])?;
        if *written == answer.len() {
            shutdown(self.stream.as_raw_fd(), Shutdown::Write)?;
            self.state = State::Draining { left: MAX_DRAINED };
        }
        Ok(Step::Again)
    }

    /// Discards input until the client closes its end.
    fn drain(&mut self) -> io::Result<Step> {
        let State::Draining { left } = &mut self.state else {
            return Ok(Step::Again);
        };
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        *left = left.saturating_sub(count);
        Ok(match count == 0 || *left == 0 {
            true => Step::Done,
            // A client that sends continuously must not delay others.
            false => Step::Later,
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
