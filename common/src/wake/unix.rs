//! Unix datagram sockets: one a subscriber, an empty datagram a call. A full buffer means that a wake-up is on its way.
//!
//! Nothing of the system is used up but descriptors. An abstract socket has a derived name, is seen in one network
//! namespace, and goes with its owner; a socket in a directory is seen wherever that directory is, under the same path, so that
//! it calls across containers that share nothing else.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use super::errno;
use crate::error::Result;
use crate::region::fork::Creator;
use crate::region::object::{failure_io, own_user};

/// How many datagrams are taken out at once: more than a socket holds by default (`net.unix.max_dgram_qlen`), and no hostile
/// sender keeps its receiver busy.
const DRAINED: usize = 16;

/// A subscriber's own socket. Dropping it removes it.
pub struct Socket {
    socket: UnixDatagram,
    path: Option<PathBuf>,
    process: Creator,
}

impl Socket {
    /// An abstract one.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn named(name: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(name);
        let socket = address.and_then(|address| UnixDatagram::bind_addr(&address));
        Self::of(socket, &format!("socket @{name}"), None)
    }

    /// One in a directory.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn at(path: &Path) -> Result<Self> {
        let object = format!("socket {}", path.display());
        Self::of(UnixDatagram::bind(path), &object, Some(path.to_owned()))
    }

    fn of(
        socket: std::io::Result<UnixDatagram>,
        object: &str,
        path: Option<PathBuf>,
    ) -> Result<Self> {
        let failed = |error| failure_io(object, "make", error);
        let socket = Self {
            socket: socket.map_err(failed)?,
            path,
            process: Creator::this_process(),
        };
        socket.socket.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    /// Takes out what is there.
    pub fn drain(&self) {
        for _ in 0..DRAINED {
            if self.socket.recv(&mut [0; 1]).is_err() {
                return;
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && self.process.is_this_process()
            && let Err(error) = remove(path)
        {
            tracing::warn!("it stays behind: {error}");
        }
    }
}

/// Removes a socket of this user; whether there was one.
///
/// # Errors
/// What the system refuses.
pub fn remove(path: &Path) -> Result<bool> {
    let is_ours =
        |status: fs::Metadata| status.file_type().is_socket() && status.uid() == own_user();
    if !fs::symlink_metadata(path).is_ok_and(is_ours) {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure_io(&path.display().to_string(), "remove", error)),
    }
}

/// The publisher's end of a subscriber's socket.
pub struct Sender(UnixDatagram);

impl Sender {
    /// To an abstract one.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn to_name(name: &str) -> nix::Result<Self> {
        let address = SocketAddr::from_abstract_name(name).map_err(|error| errno(&error))?;
        Self::to(|socket| socket.connect_addr(&address))
    }

    /// To one in a directory.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn to_path(path: &Path) -> nix::Result<Self> {
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

    /// As [`queue::Sender::send`](super::queue::Sender::send).
    #[inline]
    pub fn send(&self) {
        let _hint = self.0.send(&[]);
    }
}
