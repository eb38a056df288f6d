//! An address that is taken, and not served yet.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::address::Address;
use super::server::Server;
use crate::shell::Failure;

/// An address that is taken. Who connects waits until it is [served](Self::serve).
pub struct Bound(Listener);

enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, Socket),
}

/// A socket's name in the file system, as long as it is that.
struct Socket {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Bound {
    /// Takes an address.
    ///
    /// # Errors
    /// That it is another's, and what the system refuses.
    pub fn bind(address: &Address) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    ": another program listens there; choose another --metrics ADDR, or port 0 for any free one"
                }
                io::ErrorKind::AddrNotAvailable => ": no interface of this machine has it",
                io::ErrorKind::PermissionDenied => {
                    ": choose a port above 1023, or a folder of your own"
                }
                _ => "",
            };
            Failure::new(
                1,
                format!("cannot listen for metrics at {address}: {error}{advice}"),
            )
        };
        Self::try_bind(address).map_err(refused)
    }

    fn try_bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Ok(Self(Listener::Tcp(listener, address)))
            }
            Address::Unix(path) => {
                let listener = bind_path(path)?;
                listener.set_nonblocking(true)?;
                let socket = Socket {
                    path: path.clone(),
                    identity: identity(path),
                };
                Ok(Self(Listener::Unix(listener, socket)))
            }
        }
    }

    /// Answers who connects, by a thread of its own, with what `page` says at that moment.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn serve(
        self,
        page: impl Fn() -> Result<String, fmt::Error> + Send + 'static,
    ) -> Result<Server, Failure> {
        Server::start(self, Box::new(page))
    }

    /// The next who connected, without blocking; reads and writes do not block either.
    pub(super) fn accept(&self) -> io::Result<File> {
        let stream: OwnedFd = match &self.0 {
            Listener::Tcp(listener, _) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Listener::Unix(listener, _) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        Ok(stream.into())
    }
}

/// A socket that a process left which is gone is in nobody's way.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A connection to any other kind of file is refused, too.
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            let is_refused = UnixStream::connect(path)
                .is_err_and(|refused| refused.kind() == io::ErrorKind::ConnectionRefused);
            if !is_socket || !is_refused {
                return Err(error);
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        other => other,
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let status = fs::symlink_metadata(path).ok()?;
    Some((status.dev(), status.ino()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Listener::Tcp(listener, _) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Listener::Tcp(_, address) => write!(f, "http://{address}/metrics"),
            Listener::Unix(_, socket) => {
                write!(f, "unix:{} (GET /metrics)", socket.path.display())
            }
        }
    }
}
