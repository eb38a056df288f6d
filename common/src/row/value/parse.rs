//! Parses values from text and from JSON.

use std::borrow::Cow;

use super::Value;
use super::bytes::{check_text, whole_numbers};
use super::error::{refused, unfit, unfit_text};
use crate::{Bool, IpNet, Ipv4, Ipv6, Kind, Result, Timestamp};

impl<'a> Value<'a> {
    /// Parses a value of `kind` from text, as in a cell of CSV: integers in decimal; floats also as
    /// `NaN`, `Infinity` and `-Infinity`; `true`, `false`, `1` or `0`; times in RFC 3339 or as
    /// nanoseconds. Nothing is trimmed, and only a text may be empty.
    ///
    /// # Errors
    /// [`InvalidValue`](crate::Error::InvalidValue) or [`TextTooLong`](crate::Error::TextTooLong),
    /// which name the kind instead of a field.
    pub fn parse(kind: Kind, text: &'a str) -> Result<Value<'a>> {
        let refusal = || unfit_text(kind, text);
        let fits = |is_finite: bool| is_finite || is_float_name(text);
        Ok(match kind {
            Kind::Bool => Value::Bool(text.parse::<Bool>()?.into()),
            Kind::F32 => {
                let number = text.parse().ok().filter(|number: &f32| fits(number.is_finite()));
                Value::F32(number.ok_or_else(refusal)?)
            }
            Kind::F64 => {
                let number = text.parse().ok().filter(|number: &f64| fits(number.is_finite()));
                Value::F64(number.ok_or_else(refusal)?)
            }
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
                number.and_then(|number| whole_number(kind, number)).ok_or_else(refusal)?
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
            Json::Number(number) => {
                let number = number.as_u64().map(i128::from).or(number.as_i64().map(i128::from));
                number.and_then(|number| whole_number(kind, number))
            }
            Json::String(text) if float => {
                Value::parse(kind, text).ok().filter(|_| is_float_name(text))
            }
            Json::String(text) if kind != Kind::Bool && !is_whole(kind) => {
                return Value::parse(kind, text);
            }
            _ => None,
        };
        value.ok_or_else(|| unfit(kind, &json.to_string()))
    }
}

/// Returns true if the text is the name of a float that is not finite. Digits that parse as
/// infinity are out of range and not such a name.
fn is_float_name(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// Converts an integer to a value of `kind`, if it fits.
fn whole_number(kind: Kind, number: i128) -> Option<Value<'static>> {
    if !whole_numbers(kind)?.contains(&number) {
        return None;
    }
    match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => number.try_into().ok().map(Value::U64),
        Kind::Timestamp => number.try_into().ok().map(Timestamp::from_nanos).map(Value::Timestamp),
        _ => number.try_into().ok().map(Value::I64),
    }
}

/// Returns true if `kind` accepts only JSON integers.
fn is_whole(kind: Kind) -> bool {
    kind != Kind::Timestamp && whole_numbers(kind).is_some()
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
}
