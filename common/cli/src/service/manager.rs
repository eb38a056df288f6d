//! The service manager's socket. A message is one datagram of `NAME=VALUE` lines.
//!
//! The address is resolved for each datagram, so that a restarted manager is reached. Sending never
//! blocks on a manager that does not read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";

/// Environment variables that a manager sets for a service.
pub const VARIABLES: [&str; 3] = [SOCKET, WATCHDOG_TIME, WATCHDOG_PROCESS];

/// Socket of a service manager.
pub struct Manager {
    /// Address as in the environment.
    name: OsString,
    socket: UnixDatagram,
    address: SocketAddr,
    /// True if a failure to send was logged already.
    is_deaf: bool,
}

impl Manager {
    /// Opens the socket named by the environment. Logs a warning if that fails.
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var_os(SOCKET).filter(|name| !name.is_empty())?;
        let manager = Self::at(&name);
        manager.map_err(|error| warn(&name, &error)).ok()
    }

    /// Opens the socket at a path or, after an `@`, an abstract name.
    ///
    /// # Errors
    /// Fails if the name is neither, or if the system refuses it.
    pub fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::other("the address is neither an absolute path nor begins with @")),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { name: name.to_owned(), socket, address, is_deaf: false })
    }

    /// Sends a message. Returns false if it could not be sent at once.
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
    tracing::warn!("cannot notify the service manager: {SOCKET}={}: {error}", name.display());
}

/// Returns the watchdog's timeout, if it watches this process.
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
    fn watchdog_applies_to_named_process_or_any() {
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
    fn invalid_address_is_refused() {
        let long = format!("/{}", "x".repeat(200));
        for name in ["", "relative", "vsock:2:1", &long] {
            assert!(Manager::at(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
