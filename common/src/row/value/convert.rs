//! Converts values to and from bytes, and from text and JSON. In bytes, numbers are little-endian,
//! and other values are newtypes of [`kinds`](crate::row::kinds).

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bytemuck::{Pod, bytes_of, pod_read_unaligned};

use super::Value;
use super::error::{refused, too_long, unfit, unfit_text};
use crate::{Bool, IpNet, Ipv4, Ipv6, Kind, Result, Timestamp};

// Programs also read a row as a Rust struct, in the machine's byte order.
const _: () = assert!(cfg!(target_endian = "little"), "rows are little-endian");

impl<'a> Value<'a> {
    /// Decodes the start of `bytes` as a value of `kind`. Any bytes are accepted: a nonzero boolean
    /// is true, invalid UTF-8 is replaced, and an impossible network becomes the nearest possible
    /// one.
    /// Panics if `bytes` is shorter than [`Kind::size`].
    #[must_use]
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Value<'a> {
        let bytes = &bytes[..kind.size()];
        match kind {
            Kind::Bool => Value::Bool(bytes[0] != 0),
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Value::U64(word(bytes)),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Value::I64(signed_word(bytes)),
            Kind::F32 => Value::F32(pod_read_unaligned(bytes)),
            Kind::F64 => Value::F64(pod_read_unaligned(bytes)),
            Kind::Text(_) => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                Value::Text(String::from_utf8_lossy(text))
            }
            Kind::Ipv4 => Value::Ipv4(pod_read_unaligned::<Ipv4>(bytes).into()),
            Kind::Ipv6 => Value::Ipv6(pod_read_unaligned::<Ipv6>(bytes).into()),
            Kind::IpNet => Value::IpNet(pod_read_unaligned::<IpNet>(bytes).into()),
            Kind::Mac => Value::Mac(pod_read_unaligned(bytes)),
            Kind::Timestamp => Value::Timestamp(Timestamp::from_nanos(signed_word(bytes))),
        }
    }

    /// Encodes the value as a field of `kind` at the start of `out`. Integers are accepted by every
    /// numeric kind (a timestamp takes nanoseconds) and floats by both kinds of floats, if they
    /// fit. Other values are accepted only by their own kind. Panics if `out` is shorter than
    /// [`Kind::size`].
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::Error::InvalidValue) if the value is out of range, of another
    /// kind, or a text with a zero byte; [`Error::TextTooLong`](crate::Error::TextTooLong). The
    /// error names the kind instead of a field. `out` is unchanged.
    pub fn encode(&self, kind: Kind, out: &mut [u8]) -> Result<()> {
        let out = &mut out[..kind.size()];
        let refusal = || match self {
            Value::Text(text) => unfit_text(kind, text),
            others => unfit(kind, &others.to_string()),
        };
        if let Some(range) = whole_numbers(kind) {
            let number = self.as_integer(kind).filter(|number| range.contains(number));
            let bytes = number.ok_or_else(refusal)?.to_le_bytes();
            // The low bytes of a number in two's complement represent it, because it fits.
            out.copy_from_slice(&bytes[..out.len()]);
            return Ok(());
        }
        match (kind, self) {
            (Kind::Bool, Value::Bool(value)) => out[0] = u8::from(*value),
            (Kind::F32, number) => put(out, number.as_f32().ok_or_else(refusal)?),
            (Kind::F64, number) => put(out, number.as_f64().ok_or_else(refusal)?),
            (Kind::Text(_), Value::Text(text)) => {
                check_text(kind, text)?;
                let (used, padding) = out.split_at_mut(text.len());
                used.copy_from_slice(text.as_bytes());
                padding.fill(0);
            }
            (Kind::Ipv4, Value::Ipv4(value)) => put(out, Ipv4::from(*value)),
            (Kind::Ipv6, Value::Ipv6(value)) => put(out, Ipv6::from(*value)),
            (Kind::IpNet, Value::IpNet(value)) => put(out, IpNet::from(*value)),
            (Kind::Mac, Value::Mac(value)) => put(out, *value),
            _ => return Err(refusal()),
        }
        Ok(())
    }

    /// Parses a value of `kind` from text, as in a cell of CSV: integers in decimal; floats also as
    /// `NaN`, `Infinity` and `-Infinity`; `true`, `false`, `1` or `0`; times in RFC 3339 or as
    /// nanoseconds. Nothing is trimmed, and only a text may be empty.
    ///
    /// # Errors
    /// [`InvalidValue`](crate::Error::InvalidValue) or [`TextTooLong`](crate::Error::TextTooLong),
    /// which name the kind instead of a field.
    pub fn parse(kind: Kind, text: &'a str) -> Result<Value<'a>> {
        let refusal = || unfit_text(kind, text);
        Ok(match kind {
            Kind::Bool => Value::Bool(text.parse::<Bool>()?.into()),
            Kind::F32 => Value::F32(float(text, f32::is_finite).ok_or_else(refusal)?),
            Kind::F64 => Value::F64(float(text, f64::is_finite).ok_or_else(refusal)?),
            Kind::Text(_) => {
                check_text(kind, text)?;
                Value::Text(Cow::Borrowed(text))
            }
            Kind::Ipv4 => Value::Ipv4(text.parse::<Ipv4>()?.into()),
            Kind::Ipv6 => Value::Ipv6(text.parse::<Ipv6>()?.into()),
            Kind::IpNet => Value::IpNet(text.parse::<IpNet>()?.into()),
            Kind::Mac => Value::Mac(text.parse()?),
            Kind::Timestamp => Value::Timestamp(text.parse()?),
            _ => {
                let number = text.parse().ok();
                number.and_then(|number| integer(kind, number)).ok_or_else(refusal)?
            }
        })
    }

    /// Converts a JSON value to a value of `kind`. An integer kind takes an integer; a float takes
    /// any number or one of the strings `NaN`, `Infinity` and `-Infinity`; a boolean takes a
    /// boolean; texts and addresses take strings; a time takes a string, or an integer of
    /// nanoseconds. Null is rejected.
    ///
    /// # Errors
    /// [`InvalidValue`](crate::Error::InvalidValue) or [`TextTooLong`](crate::Error::TextTooLong),
    /// which name the kind instead of a field.
    pub fn from_json(kind: Kind, json: &'a serde_json::Value) -> Result<Value<'a>> {
        use serde_json::Value as Json;
        let float = matches!(kind, Kind::F32 | Kind::F64);
        let value = match json {
            Json::Null => {
                let reason = "null is not supported: give it a value";
                return Err(refused(&kind.to_string(), "null", reason));
            }
            Json::Bool(value) if kind == Kind::Bool => Some(Value::Bool(*value)),
            // Parse the text of the number: an f32 converted through an f64 would be rounded twice.
            Json::Number(number) if float => {
                Value::parse(kind, &number.to_string()).ok().map(Value::into_owned)
            }
            Json::Number(number) => number.as_i128().and_then(|number| integer(kind, number)),
            Json::String(text) if float => {
                Value::parse(kind, text).ok().filter(|_| is_float_name(text))
            }
            Json::String(text) if kind == Kind::Timestamp => return Value::parse(kind, text),
            Json::String(text) if kind != Kind::Bool && whole_numbers(kind).is_none() => {
                return Value::parse(kind, text);
            }
            _ => None,
        };
        value.ok_or_else(|| unfit(kind, &json.to_string()))
    }

    /// Returns the value as an integer for `kind`. A time counts as an integer only if `kind` is
    /// [`Kind::Timestamp`].
    fn as_integer(&self, kind: Kind) -> Option<i128> {
        match self {
            Value::U64(number) => Some((*number).into()),
            Value::I64(number) => Some((*number).into()),
            Value::Timestamp(time) if kind == Kind::Timestamp => Some(time.as_nanos().into()),
            _ => None,
        }
    }

    /// Returns the nearest `f32`, or `None` if a finite number would become infinite.
    fn as_f32(&self) -> Option<f32> {
        if let Value::F32(number) = self {
            return Some(*number);
        }
        let wide = self.as_f64()?;
        // `as` rounds to the nearest, as intended.
        let narrow = wide as f32;
        (narrow.is_infinite() == wide.is_infinite()).then_some(narrow)
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F64(number) => Some(*number),
            Value::F32(number) => Some((*number).into()),
            // `as` rounds to the nearest, as intended.
            Value::U64(number) => Some(*number as f64),
            Value::I64(number) => Some(*number as f64),
            _ => None,
        }
    }
}

fn put(out: &mut [u8], value: impl Pod) {
    out.copy_from_slice(bytes_of(&value));
}

/// Returns the range of integers that `kind` holds, if any. A timestamp holds nanoseconds.
pub(super) fn whole_numbers(kind: Kind) -> Option<RangeInclusive<i128>> {
    let bits = kind.size() * 8;
    match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Some(0..=(1 << bits) - 1),
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 | Kind::Timestamp => {
            let beyond = 1 << (bits - 1);
            Some(-beyond..=beyond - 1)
        }
        _ => None,
    }
}

pub(crate) fn check_text(kind: Kind, text: &str) -> Result<()> {
    if text.len() > kind.size() {
        return Err(too_long(kind, text));
    }
    if text.contains('\0') {
        return Err(unfit_text(kind, text));
    }
    Ok(())
}

/// Reads 1 to 8 bytes as an unsigned number.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Reads 1 to 8 bytes as a signed number.
fn signed_word(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len();
    // The right shift extends the sign.
    (word(bytes) << unused).cast_signed() >> unused
}

/// Returns true if the text is the name of a float that is not finite.
fn is_float_name(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// Parses a float. Digits that parse as infinity are out of range.
fn float<F: Copy + FromStr>(text: &str, is_finite: fn(F) -> bool) -> Option<F> {
    text.parse().ok().filter(|number| is_finite(*number) || is_float_name(text))
}

/// Converts an integer to a value of `kind`, if it fits.
fn integer(kind: Kind, number: i128) -> Option<Value<'static>> {
    if !whole_numbers(kind)?.contains(&number) {
        return None;
    }
    match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => number.try_into().ok().map(Value::U64),
        Kind::Timestamp => number.try_into().ok().map(Timestamp::from_nanos).map(Value::Timestamp),
        _ => number.try_into().ok().map(Value::I64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn text_that_does_not_fit_is_rejected() {
        let cases: [(Kind, &[&str]); 9] = [
            (Kind::U8, &["", "256", "-1", "1.0", "0x10", " 1", "1e2", "true"]),
            (Kind::I8, &["", "128", "-129", "--1"]),
            (Kind::U64, &["18446744073709551616", "99999999999999999999999999999999999999999999"]),
            (Kind::I64, &["9223372036854775808", "-9223372036854775809"]),
            (Kind::Bool, &["", "yes", "TRUE", "2"]),
            (Kind::F32, &["", "3.5e38", "1,5", "0x1"]),
            (Kind::F64, &["", "1e309", "-1e400", "one"]),
            (Kind::Text(2), &["a\0"]),
            (Kind::Mac, &["", "00:00"]),
        ];
        for (kind, texts) in cases {
            for text in texts {
                let error = Value::parse(kind, text).unwrap_err();
                assert!(matches!(error, Error::InvalidValue { .. }), "{kind} {text:?}: {error}");
            }
        }
        let error = Value::parse(Kind::Text(2), "aü").unwrap_err();
        assert!(matches!(error, Error::TextTooLong { length: 3, capacity: 2, .. }), "{error}");
    }

    #[test]
    fn json_that_does_not_fit_is_rejected() {
        let cases = [
            (Kind::U8, "256"),
            (Kind::U8, "1.0"),
            (Kind::U8, "\"1\""),
            (Kind::U64, "-1"),
            (Kind::I64, "9223372036854775808"),
            (Kind::Bool, "1"),
            (Kind::Bool, "\"true\""),
            (Kind::F64, "\"1.5\""),
            (Kind::F64, "\"nan\""),
            (Kind::F64, "true"),
            (Kind::F32, "1e39"),
            (Kind::Text(4), "7"),
            (Kind::Text(4), "[]"),
            (Kind::Text(4), "\"a\\u0000\""),
            (Kind::Ipv4, "16909060"),
            (Kind::Timestamp, "1.5"),
            (Kind::Timestamp, "18446744073709551615"),
        ];
        for (kind, json) in cases {
            let json = serde_json::from_str(json).unwrap();
            let error = Value::from_json(kind, &json).unwrap_err();
            assert!(matches!(error, Error::InvalidValue { .. }), "{kind} {json}: {error}");
        }
        for kind in [Kind::U8, Kind::F64, Kind::Text(4), Kind::Bool, Kind::Timestamp] {
            let error = Value::from_json(kind, &serde_json::Value::Null).unwrap_err().to_string();
            assert!(error.contains("null is not supported"), "{error}");
        }
    }

    #[test]
    fn json_numbers_convert_to_floats_and_times() {
        let read =
            |kind, json: serde_json::Value| Value::from_json(kind, &json).unwrap().into_owned();
        assert_eq!(read(Kind::F64, 7.into()), Value::F64(7.0));
        assert_eq!(read(Kind::F32, u64::MAX.into()), Value::F32(u64::MAX as f32));
        assert_eq!(read(Kind::Timestamp, (-5).into()), Value::Timestamp(Timestamp::from_nanos(-5)));
    }

    #[test]
    fn encode_checks_range_and_kind() {
        let refusal = |kind: Kind, value: Value<'_>| {
            let mut out = vec![7; kind.size()];
            let error = value.encode(kind, &mut out).unwrap_err();
            assert!(out.iter().all(|byte| *byte == 7), "a rejected value writes nothing");
            error.to_string()
        };
        assert_eq!(
            refusal(Kind::U8, Value::U64(300)),
            r#"field "u8" cannot hold 300: u8 takes a whole number from 0 to 255"#
        );
        assert!(refusal(Kind::U64, Value::I64(-1)).contains("18446744073709551615"));
        assert!(refusal(Kind::F32, Value::F64(1e39)).contains("3.4e38"));
        assert!(
            refusal(Kind::I64, Value::Timestamp(Timestamp::from_nanos(1))).contains("i64 takes")
        );
        assert!(refusal(Kind::U8, Value::Text("7".into())).contains("\"7\""));
        assert!(refusal(Kind::Text(2), Value::U64(7)).contains("text(2) takes"));
        assert!(refusal(Kind::Text(2), Value::Text("abc".into())).contains("3 bytes"));
        assert!(refusal(Kind::Text(2), Value::Text("\0".into())).contains("zero bytes"));
        assert!(refusal(Kind::Bool, Value::U64(1)).contains("true or false"));
        let mut out = [0; 8];
        Value::I64(5).encode(Kind::U8, &mut out).unwrap();
        Value::U64(5).encode(Kind::Timestamp, &mut out).unwrap();
        assert_eq!(
            Value::decode(Kind::Timestamp, &out),
            Value::Timestamp(Timestamp::from_nanos(5))
        );
        Value::U64(5).encode(Kind::F32, &mut out).unwrap();
        assert_eq!(Value::decode(Kind::F32, &out), Value::F32(5.0));
    }
}
