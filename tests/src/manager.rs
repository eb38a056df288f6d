//! A service manager: the socket to which programs report that they are ready, their status, and
//! that they are alive.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::LIMIT;

/// A service manager that receives notifications as datagrams.
pub struct Manager {
    socket: UnixDatagram,
    name: OsString,
    _folder: Option<TempDir>,
}

impl Manager {
    /// Creates a manager that listens at an abstract address.
    ///
    /// # Panics
    /// If the socket cannot be created.
    pub fn abstract_one() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tablecast-manager-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Self {
            socket: UnixDatagram::bind_addr(&address).expect("an unused name"),
            name: format!("@{name}").into(),
            _folder: None,
        }
    }

    /// Creates a manager that listens at a path.
    ///
    /// # Panics
    /// If the socket cannot be created.
    pub fn at_path() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("notify");
        Self {
            socket: UnixDatagram::bind(&path).expect("an unused path"),
            name: path.into(),
            _folder: Some(folder),
        }
    }

    /// Makes the program a service of this manager.
    pub fn serves<'c>(&self, program: &'c mut Command) -> &'c mut Command {
        program.env("NOTIFY_SOCKET", &self.name)
    }

    /// Returns the next datagram as lines.
    ///
    /// # Panics
    /// If none arrives within [`LIMIT`].
    pub fn next(&self) -> Vec<String> {
        self.next_within(LIMIT).expect("a notification of the service")
    }

    /// Returns the next datagram that arrives within `time`.
    ///
    /// # Panics
    /// If it is not text.
    pub fn next_within(&self, time: Duration) -> Option<Vec<String>> {
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Some(left.max(Duration::from_micros(1)));
            self.socket.set_read_timeout(timeout).expect("a valid timeout");
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = std::str::from_utf8(&buffer[..length]).expect("text");
                    return Some(text.lines().map(str::to_owned).collect());
                }
                Err(_) if left.is_zero() => return None,
                Err(_) => {}
            }
        }
    }

    /// Returns the next datagram that has a line with this beginning.
    ///
    /// # Panics
    /// If none arrives within [`LIMIT`].
    pub fn hears(&self, beginning: &str) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begun.elapsed());
            let heard = self.next_within(left);
            let heard = heard.unwrap_or_else(|| panic!("no line begins with {beginning}"));
            if heard.iter().any(|line| line.starts_with(beginning)) {
                return heard;
            }
        }
    }

    /// Returns all datagrams that were sent and not read yet.
    pub fn heard(&self) -> Vec<Vec<String>> {
        std::iter::from_fn(|| self.next_within(Duration::ZERO)).collect()
    }
}
