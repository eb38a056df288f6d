//! Signals, for programs with a signal loop. The publisher sends them by pidfd, so that a reused
//! pid is never hit, and only to processes of the same user.
//!
//! If the program neither handles nor blocks the signal when its subscriber first sleeps, the
//! library installs a handler that writes to a socket, on which the subscriber sleeps. So it does
//! not matter which thread receives the signal. If the program does handle or block the signal, it
//! is left alone: it calls `refresh` after each signal until one returns no news, `wait` polls every
//! 50 ms, and the descriptor reports only the re-check and the publisher's death. The handler stays
//! installed when the subscriber is dropped, so that a late signal does not kill the process.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc::{SIGRTMAX, SIGRTMIN, SIGUSR1, SIGUSR2};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal,
};
use rustix_libc_wrappers::process::SignalExt as _;
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use super::{Halves, WakeReceiver, WakeSender};
use crate::error::Result;
use crate::identity::Identity;
use crate::region::object::{failure, own_user};

pub(super) const HALVES: Halves = Halves {
    create: |target, _publisher| Ok(Box::new(Receiver::install(target.signal)?)),
    open: |target| open_sender(target.process, target.signal),
    remove: |_target, _held| Ok(false),
};

/// Signals that have a handler of this library, which is never removed.
static HANDLED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Returns true if a subscriber may ask for `signal`: only signals whose meaning each program
/// chooses itself.
pub(super) fn is_allowed(signal: i32) -> bool {
    [SIGUSR1, SIGUSR2].contains(&signal) || (SIGRTMIN()..=SIGRTMAX()).contains(&signal)
}

/// Returns the name of a signal in the text form of [`Sleep`](super::Sleep).
pub(super) fn name(number: i32) -> String {
    match number {
        SIGUSR1 => "USR1".to_owned(),
        SIGUSR2 => "USR2".to_owned(),
        number if number == SIGRTMIN() => "RTMIN".to_owned(),
        number if number > SIGRTMIN() => format!("RTMIN+{}", number - SIGRTMIN()),
        number => number.to_string(),
    }
}

/// Returns the number of an allowed signal by its name, as returned by [`name`], or with `SIG` in
/// front, or by its number.
pub(super) fn number(name: &str) -> Option<i32> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    let number = match short {
        "USR1" => SIGUSR1,
        "USR2" => SIGUSR2,
        "RTMIN" => SIGRTMIN(),
        "RTMAX" => SIGRTMAX(),
        other => match (other.strip_prefix("RTMIN+"), other.strip_prefix("RTMAX-")) {
            (Some(above), _) => SIGRTMIN().checked_add(above.parse::<u8>().ok()?.into())?,
            (_, Some(below)) => SIGRTMAX().checked_sub(below.parse::<u8>().ok()?.into())?,
            _ => other.parse().ok()?,
        },
    };
    is_allowed(number).then_some(number)
}

/// Sends `signal` to this process, if a subscriber may ask for it.
pub fn raise(signal: i32) {
    let signal = Some(signal).filter(|signal| is_allowed(*signal)).and_then(Signal::from_raw);
    let _sent = signal.map(|signal| kill_process(getpid(), signal));
}

/// A subscriber's end: a socket that the handler writes to.
struct Receiver {
    socket: Option<(UnixStream, SigId)>,
}

impl Receiver {
    /// Installs a handler that writes to a socket, unless the program handles or blocks `signal`.
    fn install(signal: i32) -> Result<Self> {
        let mut handled = HANDLED.lock().unwrap_or_else(PoisonError::into_inner);
        if !handled.contains(&signal) && is_used_by_program(signal) {
            return Ok(Self { socket: None });
        }
        let made = UnixStream::pair().and_then(|(reader, writer)| {
            reader.set_nonblocking(true)?;
            Ok((reader, pipe::register(signal, writer)?))
        });
        let failed = |error| failure("the handler of a signal", "make", error);
        let socket = Some(made.map_err(failed)?);
        if !handled.contains(&signal) {
            handled.push(signal);
        }
        Ok(Self { socket })
    }
}

impl WakeReceiver for Receiver {
    fn drain(&self) {
        if let Some((reader, _)) = &self.socket {
            // Each signal writes one byte, and each sleep gets one signal. A byte that is left over
            // only causes one more wake-up.
            let _nothing_to_take = (&*reader).read(&mut [0; 64]);
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
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

/// Returns true if the program handles the signal, or blocks it in this thread.
fn is_used_by_program(signal: i32) -> bool {
    let status = fs::read("/proc/thread-self/status").unwrap_or_default();
    // The file contains the thread's name, which need not be UTF-8.
    let status = String::from_utf8_lossy(&status);
    let has = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
            .is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
    };
    has("SigBlk:") || has("SigCgt:")
}

/// Opens the publisher's end: the process, if it still is the given one and belongs to this user
/// and pid namespace.
pub fn open_sender(process: Identity, signal: i32) -> nix::Result<WakeSender> {
    let signal = Some(signal).filter(|signal| is_allowed(*signal));
    let signal = signal.and_then(Signal::from_raw).ok_or(Errno::EINVAL)?;
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(Errno::ESRCH)?;
    let opened = pidfd_open(pid, PidfdFlags::empty());
    let opened = opened.map_err(|error| Errno::from_raw(error.raw_os_error()))?;
    // Check the process after opening it: the descriptor refers to the process that had the pid at
    // that time.
    if !process.is_reachable() {
        return Err(Errno::ESRCH);
    }
    let owner = fs::metadata(format!("/proc/{}", process.pid)).map(|status| status.uid());
    if owner.ok() != Some(own_user()) {
        return Err(Errno::EPERM);
    }
    Ok(Box::new(move |_version| {
        let _hint = pidfd_send_signal(&opened, signal);
    }))
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigSet, Signal};

    use super::*;

    /// Regression: a name that is not UTF-8 in a file of /proc made the whole file count as empty.
    #[test]
    fn blocked_signal_is_seen_in_a_thread_whose_name_is_not_utf8() {
        let in_thread = || {
            fs::write("/proc/thread-self/comm", b"up\xff").unwrap();
            SigSet::from(Signal::SIGUSR2).thread_block().unwrap();
            is_used_by_program(Signal::SIGUSR2 as i32)
        };
        assert!(std::thread::spawn(in_thread).join().unwrap());
    }
}
