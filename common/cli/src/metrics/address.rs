//! Addresses for metrics: `127.0.0.1:9464`, `[::1]:0`, `localhost:9464`, `unix:PATH`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};

/// Address to listen at. Port 0 selects any free port.
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
    type Error = String;

    /// Parses an address. A path need not be UTF-8.
    fn try_from(value: OsString) -> Result<Self, String> {
        let wrong = || {
            "write it as ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:0 (any free port), or as unix:PATH"
                .to_owned()
        };
        if let Some(path) = value.as_bytes().strip_prefix(b"unix:") {
            return match path {
                b"" => Err(wrong()),
                path => Ok(Self::Unix(OsStr::from_bytes(path).into())),
            };
        }
        let text = value.to_str().ok_or_else(wrong)?;
        // Only `localhost` is resolved: other lookups could take long and change over time.
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
            let address = Address::try_from(OsString::from(text));
            assert_eq!(address.unwrap().to_string(), shown);
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
