//! A listening socket that is not served yet.

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
use crate::CliError;

/// Listening socket. Clients that connect wait until it is [served](Self::serve).
pub struct Bound(Listener);

enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, Socket),
}

/// Path of a Unix socket, and its identity, which shows whether the file is still this socket.
struct Socket {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Bound {
    /// Listens at an address.
    ///
    /// # Errors
    /// Fails if the address is in use or the system refuses it.
    pub fn bind(address: &Address) -> Result<Self, CliError> {
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
            CliError::new(
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

    /// Serves `page` to clients in a dedicated thread.
    ///
    /// # Errors
    /// Fails if the system refuses to create the thread.
    pub fn serve(
        self,
        page: impl Fn() -> Result<String, fmt::Error> + Send + 'static,
    ) -> Result<Server, CliError> {
        Server::start(self, Box::new(page))
    }

    /// Accepts a connection without blocking. The connection is non-blocking, too.
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

/// Listens at a path. A stale socket of a dead process is replaced.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Connecting to a file of another type is refused, too, so check that it is a socket.
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
