//! Where metrics are asked for: `127.0.0.1:9464`, `[::1]:0`, `localhost:9464`, `unix:PATH`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen at. Port 0 is any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Of the network.
    Tcp(SocketAddr),
    /// Of the file system.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write it as ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:0 (any free port), or as unix:PATH"
                .to_owned()
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(wrong()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        // No other name is looked up: that could take long, and mean another address tomorrow.
        let local = text
            .strip_prefix("localhost:")
            .and_then(|port| port.parse().ok())
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        local
            .or_else(|| text.parse().ok())
            .map(Self::Tcp)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_a_path() {
        for (text, shown) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("unix:/run/x y", "unix:/run/x y"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "9464",
            ":9464",
            "127.0.0.1",
            "host:9464",
            "localhost:x",
            "unix:",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("127.0.0.1:9464"), "{text}: {error}");
        }
    }
}
