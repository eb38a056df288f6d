//! The kinds of values that a field can hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::{Error, Result};

/// The kind of value that a field holds. Its text form, as in
/// [`Schema::parse`](crate::Schema::parse), is the lower-case name: `u64`, `text(32)`, `ipnet`,
/// `timestamp`.
///
/// ```
/// use common::Kind;
///
/// let kind: Kind = "text(32)".parse()?;
/// assert_eq!((kind, kind.size(), kind.align()), (Kind::Text(32), 32, 1));
/// assert_eq!(Kind::IpNet.to_string(), "ipnet");
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Kind {
    /// A boolean, 1 byte.
    Bool,
    /// An unsigned integer, 1 byte.
    U8,
    /// An unsigned integer, 2 bytes.
    U16,
    /// An unsigned integer, 4 bytes.
    U32,
    /// An unsigned integer, 8 bytes.
    U64,
    /// A signed integer, 1 byte.
    I8,
    /// A signed integer, 2 bytes.
    I16,
    /// A signed integer, 4 bytes.
    I32,
    /// A signed integer, 8 bytes.
    I64,
    /// A float, 4 bytes. Not allowed in a key.
    F32,
    /// A float, 8 bytes. Not allowed in a key.
    F64,
    /// UTF-8 text of at most this number of bytes (1 to [`Kind::MAX_TEXT`]), padded with zeros.
    Text(u16),
    /// An IPv4 address, 4 bytes.
    Ipv4,
    /// An IPv6 address, 16 bytes.
    Ipv6,
    /// An IPv4 or IPv6 network, 18 bytes.
    IpNet,
    /// A MAC address, 6 bytes.
    Mac,
    /// Nanoseconds since the start of 1970 in UTC, 8 bytes.
    Timestamp,
}

/// The kinds without a parameter, with their names.
pub(crate) const NAMES: [(&str, Kind); 16] = [
    ("bool", Kind::Bool),
    ("u8", Kind::U8),
    ("u16", Kind::U16),
    ("u32", Kind::U32),
    ("u64", Kind::U64),
    ("i8", Kind::I8),
    ("i16", Kind::I16),
    ("i32", Kind::I32),
    ("i64", Kind::I64),
    ("f32", Kind::F32),
    ("f64", Kind::F64),
    ("ipv4", Kind::Ipv4),
    ("ipv6", Kind::Ipv6),
    ("ipnet", Kind::IpNet),
    ("mac", Kind::Mac),
    ("timestamp", Kind::Timestamp),
];

impl Kind {
    /// Maximum width of a text, in bytes.
    pub const MAX_TEXT: u16 = 4096;

    /// Returns the size of a field of this kind, in bytes.
    #[must_use]
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            Kind::Bool | Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 | Kind::Ipv4 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::Timestamp => 8,
            Kind::Text(capacity) => capacity as usize,
            Kind::Ipv6 => 16,
            Kind::IpNet => 18,
            Kind::Mac => 6,
        }
    }

    /// Returns the alignment of the field's offset, in bytes: its size for numbers and timestamps,
    /// 1 for all others.
    #[must_use]
    pub const fn align(self) -> usize {
        match self {
            Kind::Bool | Kind::Text(_) | Kind::Ipv4 | Kind::Ipv6 | Kind::IpNet | Kind::Mac => 1,
            _ => self.size(),
        }
    }

    /// Checks that a text's width is in range.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Kind::Text(capacity) if capacity == 0 || capacity > Kind::MAX_TEXT => invalid(format!(
                "{self} is not a valid kind: a text holds 1 to {} bytes",
                Kind::MAX_TEXT
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text(capacity) => f.pad(&format!("text({capacity})")),
            kind => {
                let named = NAMES.iter().find(|(_, named)| named == kind);
                f.pad(named.map_or("", |(name, _)| name))
            }
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        if let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*kind);
        }
        let digits = text.strip_prefix("text(").and_then(|rest| rest.strip_suffix(')'));
        let kind = digits.and_then(|digits| digits.parse().ok()).map(Kind::Text);
        // Each kind has one spelling, so that equal schemas have equal bytes.
        match kind.filter(|kind| kind.to_string() == text) {
            Some(kind) if kind.check().is_ok() => Ok(kind),
            _ => invalid(format!(
                "{text:?} is not a kind: use bool, u8 to u64, i8 to i64, f32, f64, text(1) to text({}), ipv4, ipv6, \
                 ipnet, mac or timestamp",
                Kind::MAX_TEXT
            )),
        }
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.to_string()
    }
}

impl TryFrom<String> for Kind {
    type Error = Error;

    fn try_from(text: String) -> Result<Kind> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_through_text() {
        let texts = [1, 32, 4096].map(Kind::Text);
        for kind in NAMES.iter().map(|(_, kind)| *kind).chain(texts) {
            assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.size() % kind.align(), 0);
        }
    }

    #[test]
    fn other_spellings_are_rejected() {
        for text in [
            "",
            "U64",
            "text",
            "text()",
            "text(0)",
            "text(01)",
            "text(+1)",
            "text(4097)",
            "text(99999)",
            "float",
        ] {
            let error = text.parse::<Kind>().unwrap_err();
            assert!(matches!(error, Error::InvalidSchema { .. }), "{text}: {error}");
        }
    }
}
