//! The address of the metrics, and the socket that listens there.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};

/// Address to listen at: `127.0.0.1:9464`, `[::1]:0`, `localhost:9464` or `unix:PATH`. Port 0
/// selects any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP address.
    Tcp(SocketAddr),
    /// Unix domain socket.
    Unix(PathBuf),
}

impl ValueParserFactory for Address {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        OsStringValueParser::new().try_map(Self::try_from).into()
    }
}

impl TryFrom<OsString> for Address {
    type Error = &'static str;

    fn try_from(value: OsString) -> Result<Self, &'static str> {
        let expected = "write it as ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:0 (any free port), or as unix:PATH";
        if let Some(path) = value.as_bytes().strip_prefix(b"unix:") {
            let address = Self::Unix(OsStr::from_bytes(path).into());
            return if path.is_empty() { Err(expected) } else { Ok(address) };
        }
        let text = value.to_str().ok_or(expected)?;
        // Only `localhost` is resolved: other lookups could take long and change over time.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok(),
            None => text.parse().ok(),
        };
        address.map(Self::Tcp).ok_or(expected)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/metrics"),
            Self::Unix(path) => write!(f, "unix:{} (GET /metrics)", path.display()),
        }
    }
}

/// Listening socket. Clients can connect, but wait until the server accepts them.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Address {
    /// Makes the path of a Unix domain socket absolute.
    ///
    /// # Errors
    /// Returns an error if the working directory cannot be read.
    pub fn absolute(self) -> io::Result<Self> {
        match self {
            Self::Unix(path) => std::path::absolute(path).map(Self::Unix),
            address => Ok(address),
        }
    }

    /// Listens at the address. Also returns the socket's own address, which has the actual port.
    pub fn listen(&self) -> io::Result<(Listener, Self)> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = Self::Tcp(listener.local_addr()?);
                Ok((Listener::Tcp(listener), address))
            }
            Self::Unix(path) => {
                let listener = bind_path(path)?;
                listener.set_nonblocking(true)?;
                Ok((Listener::Unix(listener), self.clone()))
            }
        }
    }
}

/// Listens at a path. Replaces the socket of a dead process.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Connecting to another type of file is refused, too, so check that this is a socket.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_a_path() {
        for (text, shown) in [
            ("127.0.0.1:9464", "http://127.0.0.1:9464/metrics"),
            ("[::1]:0", "http://[::1]:0/metrics"),
            ("localhost:80", "http://127.0.0.1:80/metrics"),
            ("unix:/run/x y", "unix:/run/x y (GET /metrics)"),
        ] {
            let address = Address::try_from(OsString::from(text));
            assert_eq!(address.unwrap().to_string(), shown);
        }
        for text in ["", "9464", ":9464", "127.0.0.1", "host:9464", "localhost:x", "unix:"] {
            let error = Address::try_from(OsString::from(text)).unwrap_err();
            assert!(error.contains("127.0.0.1:9464"), "{text}: {error}");
        }
    }

    #[test]
    fn path_need_not_be_utf8() {
        let path = OsStr::from_bytes(b"/run/caf\xe9");
        let address = OsStr::from_bytes(b"unix:/run/caf\xe9").to_owned();
        assert_eq!(Address::try_from(address), Ok(Address::Unix(path.into())));
        assert!(Address::try_from(path.to_owned()).is_err());
    }
}
