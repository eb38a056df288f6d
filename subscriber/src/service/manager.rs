//! The service manager's socket: a line of `NAME=VALUE` each, together in one datagram.
//!
//! The address is looked up for each datagram, so that a manager that was started anew is heard by; and nothing waits for
//! one that does not read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";

/// What a manager puts into the environment of a service.
pub const VARIABLES: [&str; 3] = [SOCKET, WATCHDOG_TIME, WATCHDOG_PROCESS];

/// Where a service manager listens.
pub struct Manager {
    /// As it stands in the environment.
    name: OsString,
    socket: UnixDatagram,
    address: SocketAddr,
    /// Whether it was said that it does not listen.
    is_deaf: bool,
}

impl Manager {
    /// The one that the environment names. That it cannot be reached is told.
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var_os(SOCKET).filter(|name| !name.is_empty())?;
        let manager = Self::at(&name);
        manager.map_err(|error| warn(&name, &error)).ok()
    }

    /// At a path, or, behind an `@`, an abstract name.
    ///
    /// # Errors
    /// What is no such address, and what the system refuses.
    pub fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::other("it is neither a path nor begins with @")),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            name: name.to_owned(),
            socket,
            address,
            is_deaf: false,
        })
    }

    /// Says it, if the manager has room for it at this moment; whether it had.
    pub fn say(&mut self, message: &str) -> bool {
        match self.socket.send_to_addr(message.as_bytes(), &self.address) {
            Ok(_) => {
                self.is_deaf = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_deaf, true) {
                    warn(&self.name, &error);
                }
                false
            }
        }
    }
}

fn warn(name: &OsStr, error: &io::Error) {
    tracing::warn!(
        "the service manager cannot be told of this program at {SOCKET}={}: {error}",
        name.display()
    );
}

/// How long the manager waits for a sign of life, if it waits for one of this process.
pub fn watchdog_of_environment() -> Option<Duration> {
    let [time, process] = [WATCHDOG_TIME, WATCHDOG_PROCESS].map(|name| std::env::var(name).ok());
    watchdog(time.as_deref(), process.as_deref(), std::process::id())
}

fn watchdog(time: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let time = time?.parse().ok().filter(|time| *time > 0)?;
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    is_ours.then(|| Duration::from_micros(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_of_one_process_or_of_any() {
        let second = Some(Duration::from_secs(1));
        for (time, process, expected) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some(""), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some("soon"), Some("7"), None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(time, process, 7), expected, "{time:?} {process:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("/{}", "x".repeat(200));
        for name in ["", "relative", "vsock:2:1", &long] {
            assert!(Manager::at(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
