//! Handles SIGHUP in a program that follows a file: it means "read the file again", unless the
//! terminal hung up, which ends the program.
//!
//! 1. The signal is blocked in every thread and read from a signalfd. (Otherwise the handler for
//!    Ctrl-C would stop the program.)
//! 2. A signal from the kernel is the hang-up of the terminal.
//! 3. A signal from a process may come from a shell that passes on its terminal's hang-up. It does
//!    if this process lost its terminal at about the same time. Otherwise it requests a reload.
//! 4. If the program was started with SIGHUP ignored (`nohup`), hang-ups of the terminal are
//!    ignored, and only signals from processes count.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cli::{CliError, Shutdown};
use nix::libc::SI_KERNEL;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use procfs::process::Process;

/// Maximum time between a shell's signal and the loss of the terminal that caused it.
const TOGETHER: Duration = Duration::from_secs(2);

/// The meaning of a SIGHUP: read the file again, or end the program, which takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Read,
    End,
}

/// The origin of the requests to read a file.
pub enum Requests {
    /// SIGHUP.
    Signals(Hangups),
    /// Another thread of this process.
    Passed(Arc<PassedRequests>),
}

/// Requests that one thread makes and another one takes.
pub struct PassedRequests {
    /// A semaphore: the number of requests that were not taken yet.
    waiting: EventFd,
    taken: AtomicU32,
}

impl PassedRequests {
    pub fn new() -> Result<Self, CliError> {
        let flags = EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waiting = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| CliError::new(1, format!("cannot pass SIGHUP on: {errno}")))?;
        Ok(Self { waiting, taken: AtomicU32::new(0) })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }

    pub fn make(&self) {
        // The write fails only if the counter is full.
        let _readable = self.waiting.write(1);
    }

    /// Takes a request. Returns false if there is none.
    pub fn take(&self) -> bool {
        let is_taken = self.waiting.read().is_ok();
        self.taken.fetch_add(u32::from(is_taken), Ordering::Relaxed);
        is_taken
    }

    /// Returns the number of requests that were taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Requests {
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Signals(hangups) => hangups.descriptor(),
            Self::Passed(requests) => requests.descriptor(),
        }
    }

    /// Returns true if the file is to be read again. Call it as often as [`Hangups::take`].
    pub fn take(&mut self, stop: &Shutdown) -> bool {
        match self {
            Self::Signals(hangups) => hangups.take(stop),
            Self::Passed(requests) => requests.take(),
        }
    }
}

pub struct Hangups {
    signals: SignalFd,
    classifier: Classifier,
}

impl Hangups {
    /// Blocks SIGHUP and opens a signalfd for it. Call it once per process, before other threads
    /// start and before another handler is installed.
    pub fn open() -> Result<Self, CliError> {
        let are_ignored = cli::ignores_hangup();
        let mut hangup = SigSet::empty();
        hangup.add(Signal::SIGHUP);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = hangup
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&hangup, flags))
            .map_err(|errno| CliError::new(1, format!("cannot wait for SIGHUP: {errno}")))?;
        let classifier = Classifier::new(are_ignored, has_terminal());
        Ok(Self { signals, classifier })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Returns true if a file is to be read again. Requests `stop` if the terminal hung up. Call it
    /// at least once a second, so that the loss of the terminal is noticed in time.
    pub fn take(&mut self, stop: &Shutdown) -> bool {
        let now = Instant::now();
        self.classifier.observe(now, has_terminal());
        let mut request = self.classifier.late_hangup();
        while let Ok(Some(signal)) = self.signals.read_signal() {
            request = request.max(self.classifier.classify(now, signal.ssi_code == SI_KERNEL));
        }
        if request == Some(Request::End) {
            stop.request();
        }
        request == Some(Request::Read)
    }
}

fn has_terminal() -> bool {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.tty_nr != 0)
}

/// Distinguishes hang-ups of the terminal from requests by processes.
#[derive(Debug, Default)]
struct Classifier {
    are_ignored: bool,
    has_terminal: bool,
    lost: Option<Instant>,
    /// Time of the last signal from a process.
    sent: Option<Instant>,
}

impl Classifier {
    fn new(are_ignored: bool, has_terminal: bool) -> Self {
        Self { are_ignored, has_terminal, ..Self::default() }
    }

    /// Records whether the process has a controlling terminal now.
    fn observe(&mut self, now: Instant, has_terminal: bool) {
        if self.has_terminal && !has_terminal {
            self.lost = Some(now);
        }
        self.has_terminal = has_terminal;
    }

    fn classify(&mut self, now: Instant, is_from_kernel: bool) -> Option<Request> {
        if is_from_kernel {
            return (!self.are_ignored).then_some(Request::End);
        }
        self.sent = Some(now);
        Some(self.late_hangup().unwrap_or(Request::Read))
    }

    /// Returns [`Request::End`] if an earlier signal turns out to have been caused by the terminal.
    fn late_hangup(&self) -> Option<Request> {
        let (lost, sent) = (self.lost?, self.sent?);
        let apart = lost.max(sent) - lost.min(sent);
        (apart < TOGETHER && !self.are_ignored).then_some(Request::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangup_of_the_terminal_ends_the_program() {
        let now = Instant::now();
        let later = now + TOGETHER * 2;
        let mut classifier = Classifier::new(false, true);
        assert_eq!(classifier.classify(now, true), Some(Request::End));
        assert_eq!(classifier.classify(now, false), Some(Request::Read));
        // The shell disowned this process, and its terminal hangs up later. Much later a process
        // requests a reload.
        classifier.observe(later, false);
        assert_eq!(classifier.late_hangup(), None);
        assert_eq!(classifier.classify(later + TOGETHER, false), Some(Request::Read));
        // A shell passes the hang-up on, before or after the loss of the terminal is
        // noticed.
        classifier.observe(later, true);
        classifier.observe(later, false);
        assert_eq!(classifier.classify(later, false), Some(Request::End));
        let mut classifier = Classifier::new(false, true);
        assert_eq!(classifier.classify(now, false), Some(Request::Read));
        classifier.observe(now, false);
        assert_eq!(classifier.late_hangup(), Some(Request::End));
    }

    #[test]
    fn without_a_terminal_or_with_nohup_sighup_is_a_reload() {
        let now = Instant::now();
        let mut service = Classifier::new(false, false);
        service.observe(now, false);
        assert_eq!(service.classify(now, false), Some(Request::Read));
        let mut nohup = Classifier::new(true, true);
        nohup.observe(now, false);
        assert_eq!(nohup.classify(now, true), None);
        assert_eq!(nohup.classify(now, false), Some(Request::Read));
        assert_eq!(nohup.late_hangup(), None);
    }
}
