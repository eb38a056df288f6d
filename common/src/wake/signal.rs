//! Signals, for programs that live in a signal loop: the publisher sends one by pidfd, so that a pid that was given to
//! another process is never hit, and only to processes of its own user.
//!
//! A program that neither handles nor blocks the signal when its subscriber first sleeps gets a handler that writes to a
//! socket, on which the subscriber sleeps: so it makes no difference which of its threads the signal comes to. A
//! program that does is left alone: it calls `refresh` after each signal; `wait` looks every 50 ms then, and the descriptor
//! tells of the re-check and of the publisher's death only. The handler stays when the subscriber goes, so that a last signal
//! that is on its way does not kill.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc::{SIGRTMAX, SIGRTMIN, SIGUSR1, SIGUSR2};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix_libc_wrappers::process::SignalExt as _;
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use crate::error::Result;
use crate::identity::Identity;
use crate::region::object::{failure_io, own_user};

/// Signals that have a handler of ours: it is never taken away.
static HANDLED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Whether a subscriber may ask for it: no program means anything else by it that it did not choose itself.
pub fn is_allowed(signal: i32) -> bool {
    [SIGUSR1, SIGUSR2].contains(&signal) || (SIGRTMIN()..=SIGRTMAX()).contains(&signal)
}

/// A subscriber's end: a socket that the handler writes to.
pub struct Receiver {
    socket: Option<(UnixStream, SigId)>,
}

impl Receiver {
    /// Has `signal` written to a socket, unless the program handles or blocks it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn install(signal: i32) -> Result<Self> {
        let mut handled = HANDLED.lock().unwrap_or_else(PoisonError::into_inner);
        if !handled.contains(&signal) && is_the_programs(signal) {
            return Ok(Self { socket: None });
        }
        let made = UnixStream::pair().and_then(|(reader, writer)| {
            reader.set_nonblocking(true)?;
            Ok((reader, pipe::register(signal, writer)?))
        });
        let failed = |error| failure_io("the handler of a signal", "make", error);
        let socket = Some(made.map_err(failed)?);
        if !handled.contains(&signal) {
            handled.push(signal);
        }
        Ok(Self { socket })
    }

    /// Takes out what is there.
    pub fn drain(&self) {
        if let Some((reader, _)) = &self.socket {
            // One byte a signal, and one signal a sleep: once is enough, and what was left would only wake once more.
            let _nothing_to_take = (&*reader).read(&mut [0; 64]);
        }
    }

    /// Readable after a signal; None if the program receives it itself.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|(reader, _)| reader.as_fd())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some((_, handler)) = &self.socket {
            unregister(*handler);
        }
    }
}

/// Returns true if the program handles the signal or blocks it in this thread.
fn is_the_programs(signal: i32) -> bool {
    let status = fs::read("/proc/thread-self/status").unwrap_or_default();
    // The thread's name is among it, which need not be UTF-8.
    let status = String::from_utf8_lossy(&status);
    let has = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
            .is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
    };
    has("SigBlk:") || has("SigCgt:")
}

/// The publisher's end: a process, and a signal.
pub struct Sender {
    process: OwnedFd,
    signal: Signal,
}

impl Sender {
    /// Opens the process, if it is that one, of this user, and of this pid namespace.
    ///
    /// # Errors
    /// EINVAL for another signal, ESRCH and EPERM for another process, and what the system refuses.
    pub fn open(process: Identity, signal: i32) -> nix::Result<Self> {
        let signal = Some(signal).filter(|signal| is_allowed(*signal));
        let signal = signal.and_then(Signal::from_raw).ok_or(Errno::EINVAL)?;
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(Errno::ESRCH)?;
        let opened = pidfd_open(pid, PidfdFlags::empty());
        let opened = opened.map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        // After opening: the descriptor is of whoever had the pid then, and that is who is looked at now.
        if !process.is_reachable() {
            return Err(Errno::ESRCH);
        }
        let owner = fs::metadata(format!("/proc/{}", process.pid)).map(|status| status.uid());
        if owner.ok() != Some(own_user()) {
            return Err(Errno::EPERM);
        }
        Ok(Self {
            process: opened,
            signal,
        })
    }

    /// As [`queue::Sender::send`](super::queue::Sender::send).
    #[inline]
    pub fn send(&self) {
        let _hint = pidfd_send_signal(&self.process, self.signal);
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigSet, Signal};

    use super::*;

    /// Kind of defect: one name that is not UTF-8 in a file of /proc made the whole file count as empty.
    #[test]
    fn blocked_signal_is_seen_in_a_thread_whose_name_is_not_utf8() {
        let in_thread = || {
            fs::write("/proc/thread-self/comm", b"up\xff").unwrap();
            SigSet::from(Signal::SIGUSR2).thread_block().unwrap();
            is_the_programs(Signal::SIGUSR2 as i32)
        };
        assert!(std::thread::spawn(in_thread).join().unwrap());
    }
}
