//! SIGHUP to a program that follows a file: read it again. But when the terminal hangs up, that is an end.
//!
//! 1. The signal is blocked in every thread and read from a descriptor. (What ends the program by Ctrl-C would otherwise
//!    take it for an end.)
//! 2. What the kernel sends is the hang-up of the terminal.
//! 3. What a process sends may be a shell's that passes on the hang-up of its own: it is, if this process lost its
//!    terminal about that time. Otherwise it asks for the file to be read.
//! 4. Started to ignore hang-ups (`nohup`), the terminal's are ignored, and only those of processes count.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::libc::SI_KERNEL;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use procfs::process::Process;
use subscriber::shell::{self, Failure};

/// How far apart a shell's signal and the loss of the terminal may be.
const TOGETHER: Duration = Duration::from_secs(2);

/// What a hang-up asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read the file again.
    Read,
    /// The end.
    End,
}

/// SIGHUP, as it comes.
pub struct Hangups {
    signals: SignalFd,
    judge: Judge,
}

impl Hangups {
    /// Takes it over. Once a process, before it has threads, and before others take it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn take() -> Result<Self, Failure> {
        let are_ignored = shell::ignores_hangup();
        let mut hangup = SigSet::empty();
        hangup.add(Signal::SIGHUP);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = hangup
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&hangup, flags))
            .map_err(|errno| Failure::new(1, format!("cannot wait for SIGHUP: {errno}")))?;
        let judge = Judge::new(are_ignored, has_terminal());
        Ok(Self { signals, judge })
    }

    /// Turns readable when it comes.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// What has come. To be asked at least every second, so that the loss of the terminal is noticed.
    pub fn heard(&mut self) -> Option<Request> {
        let now = Instant::now();
        self.judge.look(now, has_terminal());
        let mut request = self.judge.late();
        while let Ok(Some(signal)) = self.signals.read_signal() {
            request = request.max(self.judge.judge(now, signal.ssi_code == SI_KERNEL));
        }
        request
    }
}

impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The end outweighs all.
impl Ord for Request {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self == Self::End).cmp(&(*other == Self::End))
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.tty_nr != 0)
}

/// Tells the terminal's hang-ups from others.
#[derive(Debug)]
struct Judge {
    are_ignored: bool,
    has_terminal: bool,
    lost: Option<Instant>,
    /// When a process sent one last.
    sent: Option<Instant>,
}

impl Judge {
    fn new(are_ignored: bool, has_terminal: bool) -> Self {
        Self {
            are_ignored,
            has_terminal,
            lost: None,
            sent: None,
        }
    }

    /// Whether there is a terminal now.
    fn look(&mut self, now: Instant, has_terminal: bool) {
        if self.has_terminal && !has_terminal {
            self.lost = Some(now);
        }
        self.has_terminal = has_terminal;
    }

    /// What a signal means that has just come.
    fn judge(&mut self, now: Instant, is_kernels: bool) -> Option<Request> {
        if is_kernels {
            return (!self.are_ignored).then_some(Request::End);
        }
        self.sent = Some(now);
        Some(self.late().unwrap_or(Request::Read))
    }

    /// Whether a signal that came before turns out to have been the terminal's.
    fn late(&self) -> Option<Request> {
        let (lost, sent) = (self.lost?, self.sent?);
        let apart = lost.max(sent) - lost.min(sent);
        (apart < TOGETHER && !self.are_ignored).then_some(Request::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminals_hangup_is_the_end() {
        let now = Instant::now();
        let later = now + TOGETHER * 2;
        let mut judge = Judge::new(false, true);
        assert_eq!(judge.judge(now, true), Some(Request::End));
        assert_eq!(judge.judge(now, false), Some(Request::Read));
        // Given away by a shell that went on: its terminal hangs up, and much later somebody asks for a look.
        judge.look(later, false);
        assert_eq!(judge.late(), None);
        assert_eq!(judge.judge(later + TOGETHER, false), Some(Request::Read));
        // A shell passes the hang-up on, before or after the terminal is seen to be gone.
        judge.look(later, true);
        judge.look(later, false);
        assert_eq!(judge.judge(later, false), Some(Request::End));
        let mut judge = Judge::new(false, true);
        assert_eq!(judge.judge(now, false), Some(Request::Read));
        judge.look(now, false);
        assert_eq!(judge.late(), Some(Request::End));
    }

    #[test]
    fn without_a_terminal_or_with_nohup_it_is_a_look() {
        let now = Instant::now();
        let mut service = Judge::new(false, false);
        service.look(now, false);
        assert_eq!(service.judge(now, false), Some(Request::Read));
        let mut nohup = Judge::new(true, true);
        nohup.look(now, false);
        assert_eq!(nohup.judge(now, true), None);
        assert_eq!(nohup.judge(now, false), Some(Request::Read));
        assert_eq!(nohup.late(), None);
    }
}
