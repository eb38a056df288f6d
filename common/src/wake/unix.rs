//! Unix datagram sockets: one per subscriber, an empty datagram per wake-up. A full buffer means
//! that a wake-up is pending.
//!
//! A socket uses no system resource but descriptors. An abstract socket has a derived name, is
//! visible in one network namespace, and disappears with its owner. A socket in a directory is
//! visible wherever that directory has the same path, so that it works across containers that share
//! nothing else.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use super::place::{Place, is_own, remove_file};
use super::{Halves, WakeReceiver, WakeSender, errno};
use crate::error::Result;
use crate::region::fork::Creator;
use crate::region::object::failure;

/// Maximum number of datagrams per drain: more than a socket holds by default
/// (`net.unix.max_dgram_qlen`), and few enough that no hostile sender keeps the receiver busy.
const DRAINED: usize = 16;

/// An abstract socket.
pub(super) const ABSTRACT: Halves = Halves {
    create: |target, _publisher| Ok(Box::new(Socket::named(&target.name)?)),
    open: |target| Ok(Box::new(Sender::to_name(&target.name)?)),
    remove: |_target, _held| Ok(false),
};

/// A socket in a directory.
pub(super) const AT_PATH: Halves = Halves {
    create: |target, _publisher| Ok(Box::new(Socket::at(target.path())?)),
    open: |target| Ok(Box::new(Sender::to_path(target.path())?)),
    remove: |target, _held| remove(target.path()),
};

pub(super) const PLACE: Place = Place {
    noun: "socket",
    path: |directory, file| Ok(directory.unwrap_or(Path::new("")).join(file)),
    names_file: false,
    check: |path| match SocketAddr::from_pathname(path) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err("its path would be too long for a socket; name a directory with a shorter path")
        }
    },
};

/// A subscriber's own socket. Dropping it removes it.
struct Socket {
    socket: UnixDatagram,
    path: Option<PathBuf>,
    process: Creator,
}

impl Socket {
    fn named(name: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(name);
        let socket = address.and_then(|address| UnixDatagram::bind_addr(&address));
        Self::of(socket, &format!("socket @{name}"), None)
    }

    fn at(path: &Path) -> Result<Self> {
        let object = format!("socket {}", path.display());
        Self::of(UnixDatagram::bind(path), &object, Some(path.to_owned()))
    }

    fn of(
        socket: std::io::Result<UnixDatagram>,
        object: &str,
        path: Option<PathBuf>,
    ) -> Result<Self> {
        let failed = |error| failure(object, "make", error);
        let socket =
            Self { socket: socket.map_err(failed)?, path, process: Creator::this_process() };
        socket.socket.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }
}

impl WakeReceiver for Socket {
    fn drain(&self) {
        for _ in 0..DRAINED {
            if self.socket.recv(&mut [0; 1]).is_err() {
                return;
            }
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && self.process.is_this_process()
            && let Err(error) = remove(path)
        {
            tracing::warn!("socket was not removed: {error}");
        }
    }
}

/// Removes a socket of this user. Returns true if it was removed.
fn remove(path: &Path) -> Result<bool> {
    match is_own(path, |kind| kind.is_socket()) {
        true => remove_file(path),
        false => Ok(false),
    }
}

/// The publisher's end of a subscriber's socket.
struct Sender(UnixDatagram);

impl Sender {
    fn to_name(name: &str) -> nix::Result<Self> {
        let address = SocketAddr::from_abstract_name(name).map_err(|error| errno(&error))?;
        Self::to(|socket| socket.connect_addr(&address))
    }

    fn to_path(path: &Path) -> nix::Result<Self> {
        Self::to(|socket| socket.connect(path))
    }

    fn to(connect: impl FnOnce(&UnixDatagram) -> std::io::Result<()>) -> nix::Result<Self> {
        let connected = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            connect(&socket)?;
            Ok(Self(socket))
        };
        connected().map_err(|error| errno(&error))
    }
}

impl WakeSender for Sender {
    fn wake(&self, _version: u64) {
        let _hint = self.0.send(&[]);
    }
}
