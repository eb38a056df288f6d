//! One connection: a request is read, an answer written, and the rest drained, without ever blocking and within a time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};

use super::request::{self, MAX_HEAD};

/// How long one connection may take, from its first byte to its last. Prometheus waits as long for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is still read, and thrown away, of who sends more than was asked for: closed at once, the answer could be lost.
const MAX_DRAINED: usize = 256 * 1024;

/// Somebody who asks for metrics.
pub struct Connection {
    stream: File,
    state: State,
    /// When it is closed, wherever it stands.
    pub deadline: Instant,
}

enum State {
    Reading(Vec<u8>),
    Writing { answer: Vec<u8>, written: usize },
    Draining { left: usize },
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Again,
    Later,
    Done,
}

impl Connection {
    /// Of a stream that does not block.
    pub fn new(stream: File) -> Self {
        Self {
            stream,
            state: State::Reading(Vec::new()),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// What to wait for.
    pub fn awaited(&self) -> PollFlags {
        match self.state {
            State::Writing { .. } => PollFlags::POLLOUT,
            State::Reading(_) | State::Draining { .. } => PollFlags::POLLIN,
        }
    }

    /// Does what can be done now; false when it is over.
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

    /// Until the other end is closed, too.
    fn drain(&mut self) -> io::Result<Step> {
        let State::Draining { left } = &mut self.state else {
            return Ok(Step::Again);
        };
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        *left = left.saturating_sub(count);
        Ok(match count == 0 || *left == 0 {
            true => Step::Done,
            // One who sends all the time must not keep the others waiting.
            false => Step::Later,
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
