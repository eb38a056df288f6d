//! The value of one field, and its three forms: bytes in a row, text, and JSON.
//!
//! ```text
//! bytes of a row --decode--> Value --Display--> text   --parse-----> Value
//!                <--encode--       --serde----> JSON   --from_json-> Value
//! ```
//!
//! A valid value that is converted to text or JSON and back has the same bytes. The only exception
//! is NaN, which has many bit patterns and becomes Rust's `NAN`. Encoding and parsing check ranges.
//! Decoding accepts any bytes, which may come from a hostile publisher, and never panics.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::{Mac, Timestamp};

mod convert;
mod error;

pub(crate) use convert::check_text;
pub(crate) use error::{in_field, refused, unfit_text};

/// A field's value. All unsigned kinds are [`Value::U64`] and all signed kinds are [`Value::I64`].
///
/// `Display` writes the plain text of a table cell. Serialization writes a JSON value and never
/// null: integers as numbers, booleans as booleans, floats as numbers or as the strings `NaN`,
/// `Infinity` and `-Infinity`, and all other values as the displayed string.
///
/// ```
/// use common::{Kind, Value};
///
/// let value = Value::parse(Kind::U16, "300")?;
/// assert_eq!(value, Value::U64(300));
/// let mut bytes = [0; 2];
/// value.encode(Kind::U16, &mut bytes)?;
/// assert_eq!(Value::decode(Kind::U16, &bytes), value);
/// assert!(Value::parse(Kind::U8, "300").is_err());
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// The value of a `bool`.
    Bool(bool),
    /// The value of a `u8` to `u64`.
    U64(u64),
    /// The value of an `i8` to `i64`.
    I64(i64),
    /// The value of an `f32`.
    F32(f32),
    /// The value of an `f64`.
    F64(f64),
    /// The value of a `text(N)`.
    Text(Cow<'a, str>),
    /// The value of an `ipv4`.
    Ipv4(Ipv4Addr),
    /// The value of an `ipv6`.
    Ipv6(Ipv6Addr),
    /// The value of an `ipnet`.
    IpNet(ipnet::IpNet),
    /// The value of a `mac`.
    Mac(Mac),
    /// The value of a `timestamp`.
    Timestamp(Timestamp),
}

impl Value<'_> {
    /// Returns the value with an owned text, so that it borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Bool(value) => Value::Bool(value),
            Value::U64(value) => Value::U64(value),
            Value::I64(value) => Value::I64(value),
            Value::F32(value) => Value::F32(value),
            Value::F64(value) => Value::F64(value),
            Value::Text(value) => Value::Text(Cow::Owned(value.into_owned())),
            Value::Ipv4(value) => Value::Ipv4(value),
            Value::Ipv6(value) => Value::Ipv6(value),
            Value::IpNet(value) => Value::IpNet(value),
            Value::Mac(value) => Value::Mac(value),
            Value::Timestamp(value) => Value::Timestamp(value),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::U64(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F32(value) => f.pad(&float_text(*value, f64::from(*value))),
            Value::F64(value) => f.pad(&float_text(*value, *value)),
            Value::Text(value) => value.fmt(f),
            Value::Ipv4(value) => value.fmt(f),
            Value::Ipv6(value) => value.fmt(f),
            Value::IpNet(value) => f.pad(&value.to_string()),
            Value::Mac(value) => value.fmt(f),
            Value::Timestamp(value) => value.fmt(f),
        }
    }
}

/// Formats a float with the fewest digits that parse back to it, and with an exponent if it is very
/// large or small. `wide` is the same number as `value`, as an `f64`.
fn float_text(value: impl fmt::Display + fmt::LowerExp, wide: f64) -> String {
    /// An `f64` of this size or more does not represent every integer, so its last digits are not
    /// exact.
    const LARGE: f64 = 1e16;
    const SMALL: f64 = 1e-5;
    match wide {
        _ if wide.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ if wide == 0.0 || (SMALL..LARGE).contains(&wide.abs()) => value.to_string(),
        _ => format!("{value:e}"),
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            // A JSON number cannot represent the other floats.
            Value::F32(value) if value.is_finite() => serializer.serialize_f32(*value),
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            others => serializer.collect_str(others),
        }
    }
}

#[cfg(test)]
mod tests;
