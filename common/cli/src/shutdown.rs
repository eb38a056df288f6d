//! The request to end: Ctrl-C, SIGTERM or SIGHUP.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};

use crate::error::{CliError, start_error};

/// A shutdown request: a descriptor that becomes readable with the first signal, and stays readable.
#[derive(Clone)]
pub struct Shutdown(Arc<EventFd>);

impl Shutdown {
    /// Installs handlers for SIGINT, SIGTERM and, unless it is ignored (`nohup`), SIGHUP. Must be
    /// called once per process, before it starts threads.
    pub fn install() -> Result<Self, CliError> {
        let refused = |error: &dyn fmt::Display| {
            CliError::new(1, format!("cannot wait for signals: {error}"))
        };
        if ignores_hangup() {
            // The `ctrlc` handler would replace the ignored disposition. A blocked signal is never
            // delivered.
            let mut hangup = SigSet::empty();
            hangup.add(Signal::SIGHUP);
            hangup.thread_block().map_err(|errno| refused(&errno))?;
        }
        let stop = Self::by_request()?;
        let handler = stop.clone();
        ctrlc::set_handler(move || handler.request()).map_err(|error| match error {
            // `ctrlc` starts a thread.
            ctrlc::Error::System(error) => refused(&start_error(&error)),
            error => refused(&error),
        })?;
        Ok(stop)
    }

    /// Creates a request that no signal makes, for a part of the program that ends separately.
    pub fn by_request() -> Result<Self, CliError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| CliError::new(1, format!("cannot wait for signals: {errno}")))?;
        Ok(Self(Arc::new(event)))
    }

    /// Requests the shutdown, as a signal does.
    pub fn request(&self) {
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.0.write(1);
    }

    /// Returns true if the shutdown was requested.
    pub fn requested(&self) -> bool {
        self.wait_with(&[], Some(Duration::ZERO))
    }

    /// Sleeps until one of `others` is readable, the shutdown is requested, or `time` has passed.
    /// Returns true if the shutdown was requested.
    pub fn wait_with(&self, others: &[BorrowedFd<'_>], time: Option<Duration>) -> bool {
        let others: Vec<_> = others.iter().map(|fd| (*fd, PollFlags::POLLIN)).collect();
        self.poll(&others, time).0
    }

    /// Sleeps until one of `others` has one of its events, the shutdown is requested, or `time` has
    /// passed. Returns true if the shutdown was requested, and the events of each of the others.
    pub fn poll(
        &self,
        others: &[(BorrowedFd<'_>, PollFlags)],
        time: Option<Duration>,
    ) -> (bool, Vec<PollFlags>) {
        let mut descriptors = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(others.iter().map(|(fd, events)| PollFd::new(*fd, *events)));
        let timeout = time.map_or(PollTimeout::NONE, |time| {
            let milliseconds = time.as_nanos().div_ceil(1_000_000);
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) => {
                let mut events =
                    descriptors.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
                let stop = events.next().is_some_and(|events| !events.is_empty());
                (stop, events.collect())
            }
            // The events are unknown. After an interruption the caller polls again.
            Err(errno) => (errno != Errno::EINTR, vec![PollFlags::empty(); others.len()]),
        }
    }
}

/// Returns true if this process ignores SIGHUP, as under `nohup`.
pub fn ignores_hangup() -> bool {
    let status = std::fs::read("/proc/self/status").unwrap_or_default();
    // The file contains the program's name, which need not be UTF-8.
    let status = String::from_utf8_lossy(&status);
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (Signal::SIGHUP as u32 - 1) & 1 == 1)
}
