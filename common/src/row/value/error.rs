//! Creates errors about values. They name the given value and the values that the field accepts.

use super::convert::whole_numbers;
use crate::{Error, Kind, Result};

/// Maximum number of characters of a value in an error.
const SHOWN: usize = 60;

pub(crate) fn refused(field: &str, value: &str, reason: impl Into<String>) -> Error {
    Error::InvalidValue { field: field.to_owned(), value: shortened(value), reason: reason.into() }
}

/// Creates the error for a `value` that `kind` cannot hold. It names the kind in place of the
/// field, until [`in_field`] sets the field.
pub(super) fn unfit(kind: Kind, value: &str) -> Error {
    refused(&kind.to_string(), value, takes(kind))
}

/// Creates the error for a text that `kind` cannot hold, quoted and escaped.
pub(crate) fn unfit_text(kind: Kind, text: &str) -> Error {
    unfit(kind, &format!("{:?}", shortened(text)))
}

pub(super) fn too_long(kind: Kind, text: &str) -> Error {
    Error::TextTooLong { field: kind.to_string(), length: text.len(), capacity: kind.size() }
}

/// Sets the field in an error about a value.
pub(crate) fn in_field<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|mut error| {
        if let Error::InvalidValue { field, .. } | Error::TextTooLong { field, .. } = &mut error {
            name.clone_into(field);
        }
        error
    })
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Describes the values that a field of this kind accepts.
fn takes(kind: Kind) -> String {
    let what = match kind {
        Kind::Bool => "true or false (in text also 1 or 0)",
        Kind::F32 => "a number up to 3.4e38, NaN, Infinity or -Infinity",
        Kind::F64 => "a number up to 1.7e308, NaN, Infinity or -Infinity",
        Kind::Text(_) => "text without zero bytes",
        Kind::Ipv4 => "an address such as 192.0.2.1",
        Kind::Ipv6 => "an address such as 2001:db8::1",
        Kind::IpNet => "a network such as 192.0.2.0/24 or 2001:db8::/32",
        Kind::Mac => "an address such as 02:00:5e:10:00:ff",
        Kind::Timestamp => {
            "a time such as 2026-01-02T03:04:05Z, or nanoseconds since 1970, from the year 1677 to 2262"
        }
        integer => {
            let (least, greatest) = whole_numbers(integer).unwrap_or(0..=0).into_inner();
            return format!("{kind} takes a whole number from {least} to {greatest}");
        }
    };
    format!("{kind} takes {what}")
}
