//! Encodes and decodes values: little-endian numbers, and the newtypes of
//! [`kinds`](crate::row::kinds).

use std::ops::RangeInclusive;

use bytemuck::{Pod, bytes_of, pod_read_unaligned};

use super::Value;
use super::error::{too_long, unfit, unfit_text};
use crate::{IpNet, Ipv4, Ipv6, Kind, Result, Timestamp};

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
            let number = self.whole_number(kind).filter(|number| range.contains(number));
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

    /// Returns the value as an integer for `kind`. A time counts as an integer only if `kind` is
    /// [`Kind::Timestamp`].
    fn whole_number(&self, kind: Kind) -> Option<i128> {
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

    /// Returns the nearest `f64`.
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

/// Checks that a text field of `kind` can hold `text`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
