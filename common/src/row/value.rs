//! One field's value by itself, and its three forms: bytes in a row, text, and JSON.
//!
//! ```text
//! bytes of a row --decode--> Value --Display--> text   --parse-----> Value
//!                <--encode--       --serde----> JSON   --from_json-> Value
//! ```
//!
//! What each form gives, the others read back to the same bytes. Encoding and reading check ranges; decoding
//! takes whatever stands there, as the bytes may come from a hostile publisher, and never panics.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::{Mac, Timestamp};

mod bytes;
mod error;
mod parse;

pub(crate) use error::{in_field, refused, too_long, unfit_text};

/// A field's value. All unsigned kinds are [`Value::U64`] and all signed ones [`Value::I64`].
///
/// Displayed, it is plain text as in the cell of a table; serialised, it is a JSON value: integers and booleans as
/// such, floats as numbers or as the strings `NaN`, `Infinity` and `-Infinity`, all else as the string that is
/// displayed. Never null.
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
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Of a `bool`.
    Bool(bool),
    /// Of `u8` to `u64`.
    U64(u64),
    /// Of `i8` to `i64`.
    I64(i64),
    /// Of an `f32`.
    F32(f32),
    /// Of an `f64`.
    F64(f64),
    /// Of a `text(N)`.
    Text(Cow<'a, str>),
    /// Of an `ipv4`.
    Ipv4(Ipv4Addr),
    /// Of an `ipv6`.
    Ipv6(Ipv6Addr),
    /// Of an `ipnet`.
    IpNet(ipnet::IpNet),
    /// Of a `mac`.
    Mac(Mac),
    /// Of a `timestamp`.
    Timestamp(Timestamp),
}

impl Value<'_> {
    /// The same value without a borrow.
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

/// The fewest digits that read back to the same float, with an exponent where zeros would hide them. `wide` is the
/// same number as `value`.
fn float_text(value: impl fmt::Display + fmt::LowerExp, wide: f64) -> String {
    /// From here on an `f64` no longer holds every whole number, so zeros before the point are no digits.
    const LARGE: f64 = 1e16;
    const SMALL: f64 = 1e-5;
    if let Some(name) = not_finite(wide) {
        return name.to_owned();
    }
    let plain = wide == 0.0 || (SMALL..LARGE).contains(&wide.abs());
    if plain {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// What a float that is no number of JSON is called, in text and in JSON.
fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::F32(value) => match not_finite(f64::from(*value)) {
                Some(name) => serializer.serialize_str(name),
                None => serializer.serialize_f32(*value),
            },
            Value::F64(value) => match not_finite(*value) {
                Some(name) => serializer.serialize_str(name),
                None => serializer.serialize_f64(*value),
            },
            Value::Text(value) => serializer.serialize_str(value),
            others => serializer.collect_str(others),
        }
    }
}

#[cfg(test)]
mod tests;
