//! Notifications to a service manager (systemd's `sd_notify` protocol): readiness, status, watchdog
//! and stopping.
//!
//! 1. Nothing here runs in the background. The program's main loop calls [`turn`](Service::turn) on
//!    each iteration and sleeps no longer than until [`due`](Service::due). A loop that hangs
//!    therefore sends no keep-alives, which is what the watchdog detects.
//! 2. READY=1 is sent when the service is ready. Each reload is enclosed in RELOADING=1 and
//!    READY=1.
//! 3. STATUS= is sent with READY=1, and after a change at a limited rate. WATCHDOG=1 is sent at
//!    half the watchdog's timeout.
//! 4. A message is one datagram of `NAME=VALUE` lines. The address is resolved for each datagram,
//!    so that a restarted manager is reached.
//! 5. A message that could not be sent is retried after a pause. A missing manager never stops the
//!    service, and a manager that does not read never blocks it.
//!
//! The `sd-notify` crate is not used because it does not support abstract addresses and blocks when
//! the manager's socket is full.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use common::clock::monotonic_ns;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";
/// Environment variables that a manager sets for a service.
const VARIABLES: [&str; 3] = [SOCKET, WATCHDOG_TIME, WATCHDOG_PROCESS];

/// Minimum time between two STATUS messages.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before a failed message is retried.
const RETRY: Duration = Duration::from_secs(1);
/// Minimum time between two keep-alives, whatever the manager requests.
const MIN_KEEP_ALIVE: Duration = Duration::from_millis(1);

/// Readiness of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// True if the service is ready.
    pub is_ready: bool,
    /// Number of reloads requested so far.
    pub reloads: u32,
}

impl Readiness {
    /// Ready, without a reload.
    pub const READY: Self = Self { is_ready: true, reloads: 0 };
}

/// Connection to the service manager. By default there is no manager, and all methods do nothing.
#[derive(Default)]
pub struct Service {
    manager: Option<Manager>,
    /// Interval of keep-alives, if the manager requests them.
    keep_alive: Option<Duration>,
    next_keep_alive: Option<Instant>,
    /// Readiness that the manager knows.
    sent: Readiness,
    /// True if READY=1 has been sent before.
    was_ready: bool,
    status: String,
    next_status: Option<Instant>,
    /// Time of the next attempt, after a failed message.
    retry: Option<Instant>,
}

impl Service {
    /// Creates the connection described by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    /// Logs a warning if that fails.
    pub fn of_environment() -> Self {
        let Some(name) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let Ok(manager) = Manager::at(&name).inspect_err(|error| warn(&name, error)) else {
            return Self::default();
        };
        let [time, process] =
            [WATCHDOG_TIME, WATCHDOG_PROCESS].map(|name| std::env::var(name).ok());
        let watchdog = watchdog(time.as_deref(), process.as_deref(), std::process::id());
        Self::of(manager, watchdog)
    }

    fn of(manager: Manager, watchdog: Option<Duration>) -> Self {
        let keep_alive = watchdog.map(|time| (time / 2).max(MIN_KEEP_ALIVE));
        Self { manager: Some(manager), keep_alive, ..Self::default() }
    }

    /// Sends a status before the service is ready.
    pub fn begin(&mut self, status: &str) {
        self.send(&status_line(status));
    }

    /// Sends all messages that are due at `now`. `status` is called only if its text may be sent.
    pub fn turn(&mut self, now: Instant, state: Readiness, status: impl FnOnce() -> String) {
        if self.manager.is_none() || self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        let is_sent = self.send_reload(state) && self.send_due(now, state, status);
        let pause = self.keep_alive.map_or(RETRY, |interval| interval.min(RETRY));
        self.retry = (!is_sent).then(|| now + pause);
    }

    /// Sends RELOADING=1 if a reload was requested. Returns false if that must be retried.
    fn send_reload(&mut self, state: Readiness) -> bool {
        if self.was_ready && self.sent.reloads != state.reloads {
            let now_us = monotonic_ns() / 1000;
            if !self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}")) {
                return false;
            }
            self.sent.is_ready = false;
        }
        self.sent.reloads = state.reloads;
        true
    }

    /// Sends the due messages other than RELOADING=1. Returns false if they must be retried.
    fn send_due(
        &mut self,
        now: Instant,
        state: Readiness,
        status: impl FnOnce() -> String,
    ) -> bool {
        let becomes_ready = state.is_ready && !self.sent.is_ready;
        let mut lines = Vec::from_iter(becomes_ready.then(|| "READY=1".to_owned()));
        if becomes_ready || state.is_ready && self.next_status.is_none_or(|next| now >= next) {
            self.next_status = Some(now + STATUS_INTERVAL);
            let status = status();
            if becomes_ready || status != self.status {
                lines.push(status_line(&status));
            }
            self.status = status;
        }
        let is_due = self.next_keep_alive.is_none_or(|next| now >= next);
        let keep_alive = self.keep_alive.filter(|_| is_due);
        lines.extend(keep_alive.map(|_| "WATCHDOG=1".to_owned()));
        if !lines.is_empty() && !self.send(&lines.join("\n")) {
            // Forget the status, so that it is sent again.
            self.status.clear();
            self.next_status = None;
            return false;
        }
        self.sent.is_ready |= becomes_ready;
        self.was_ready |= becomes_ready;
        if let Some(interval) = keep_alive {
            self.next_keep_alive = Some(now + interval);
        }
        true
    }

    /// Returns the time by which [`turn`](Self::turn) must be called again.
    pub fn due(&self) -> Option<Instant> {
        self.retry.or(self.next_keep_alive)
    }

    /// Sends STOPPING=1 with a final status.
    pub fn end(&mut self, status: &str) {
        self.send(&format!("STOPPING=1\n{}", status_line(status)));
    }

    fn send(&mut self, message: &str) -> bool {
        self.manager.as_mut().is_none_or(|manager| manager.send(message))
    }
}

/// Returns the status as one line.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace('\n', " "))
}

/// Removes the manager's variables from a child's environment: the child must not send notifications
/// for this service.
pub fn hide_from(command: &mut Command) -> &mut Command {
    VARIABLES.iter().fold(command, |command, variable| command.env_remove(variable))
}

/// Socket of a service manager.
struct Manager {
    /// Address as in the environment.
    name: OsString,
    socket: UnixDatagram,
    address: SocketAddr,
    /// True if a failure to send was logged already.
    has_warned: bool,
}

impl Manager {
    /// Opens the socket at a path or, after an `@`, an abstract name.
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::other("the address is neither an absolute path nor begins with @")),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { name: name.to_owned(), socket, address, has_warned: false })
    }

    /// Sends a message. Returns false if it could not be sent at once.
    fn send(&mut self, message: &str) -> bool {
        let sent = self.socket.send_to_addr(message.as_bytes(), &self.address);
        let had_warned = std::mem::replace(&mut self.has_warned, sent.is_err());
        match sent {
            Err(ref error) if !had_warned => warn(&self.name, error),
            _ => {}
        }
        sent.is_ok()
    }
}

fn warn(name: &OsStr, error: &io::Error) {
    tracing::warn!("cannot notify the service manager: {SOCKET}={}: {error}", name.display());
}

/// Returns the watchdog's timeout if the watchdog is for the process `own`.
fn watchdog(time: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let time = time?.parse().ok().filter(|time| *time > 0)?;
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    is_ours.then(|| Duration::from_micros(time))
}

#[cfg(test)]
mod tests;
