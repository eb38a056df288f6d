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
use super::{Halves, TargetForm, WakeReceiver, WakeTarget, errno};
use crate::error::Result;
use crate::region::fork::Creator;
use crate::region::object::failure;

/// Maximum number of datagrams per drain: more than a socket holds by default
/// (`net.unix.max_dgram_qlen`), and few enough that no hostile sender keeps the receiver busy.
const DRAINED: usize = 16;

pub(super) const HALVES: Halves = Halves {
    create: |target, _publisher| Ok(Box::new(Socket::create(target)?)),
    open: |target| {
        let connected = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&address(target)?)?;
            Ok(socket)
        };
        let socket = connected().map_err(|error| errno(&error))?;
        Ok(Box::new(move |_version| {
            let _hint = socket.send(&[]);
        }))
    },
    remove: |target, _held| remove(&target.path),
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

fn address(target: &WakeTarget) -> std::io::Result<SocketAddr> {
    match target.mechanism.target {
        TargetForm::Path(_) => SocketAddr::from_pathname(&target.path),
        _ => SocketAddr::from_abstract_name(&target.name),
    }
}

/// A subscriber's own socket. Dropping it removes it.
struct Socket {
    socket: UnixDatagram,
    /// Empty for an abstract socket.
    path: PathBuf,
    process: Creator,
}

impl Socket {
    fn create(target: &WakeTarget) -> Result<Self> {
        let failed = |error| failure(&format!("socket {}", target.object()), "make", error);
        let socket = address(target).and_then(|address| UnixDatagram::bind_addr(&address));
        let socket = socket.map_err(failed)?;
        let (path, process) = (target.path.clone(), Creator::this_process());
        let socket = Self { socket, path, process };
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
        if self.process.is_this_process()
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!("socket was not removed: {error}");
        }
    }
}

/// Removes a socket of this user, if there is one. Returns true if it was removed.
fn remove(path: &Path) -> Result<bool> {
    Ok(is_own(path, |kind| kind.is_socket()) && remove_file(path)?)
}
