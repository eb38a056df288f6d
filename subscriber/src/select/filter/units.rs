//! Values with units: bytes (`100MiB`), durations (`5s`), and times (`-5m`, a date).

use std::time::SystemTime;

use common::{Kind, Timestamp, Value};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Bytes of a unit.
const BYTES: [(&str, f64); 9] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
    ("TB", 1e12),
    ("TiB", 1_099_511_627_776.0),
];
/// Endings of names of fields that hold durations, and their unit in ns.
const DURATIONS: [(&str, f64); 4] = [("_ns", 1.0), ("_us", 1e3), ("_ms", 1e6), ("_s", 1e9)];

/// Parses text that is not a plain value of `kind` as a value with a unit. Returns `None` if the
/// text has no unit.
///
/// # Errors
/// The reason why the unit does not fit the field.
pub fn parse(field: &str, kind: Kind, text: &str) -> Result<Option<Value<'static>>, String> {
    if kind == Kind::Timestamp {
        return Ok(time(text).map(Value::Timestamp));
    }
    let is_float = matches!(kind, Kind::F32 | Kind::F64);
    let number = match (bytes(text), duration_ns(text)) {
        (None, None) => return Ok(None),
        (Some(number), _) => number,
        (None, Some(nanos)) => {
            let unit = DURATIONS.iter().find(|(ending, _)| field.ends_with(ending));
            let (_, unit) = unit.ok_or(
                "a duration needs a field whose name ends with its unit: _ns, _us, _ms or _s",
            )?;
            nanos / unit
        }
    };
    if !is_float && number.fract() != 0.0 {
        return Err(format!("it is {number}, and the field holds whole numbers"));
    }
    let plain = number.to_string();
    Value::parse(kind, &plain)
        .map(|value| Some(value.into_owned()))
        .map_err(|_| format!("it is {plain}, which the field cannot hold"))
}

/// Parses a number of bytes with a unit.
fn bytes(text: &str) -> Option<f64> {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) =
        BYTES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    Some(number.trim_end().parse::<f64>().ok()? * factor)
}

/// Parses a duration, which may be negative, to ns.
fn duration_ns(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    cli::duration(text).ok().map(|duration| sign * duration.as_nanos() as f64)
}

/// Parses a time relative to now (`-5m`, `+1h`, `now`), or a date or time of day in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let now = SystemTime::now();
    if text == "now" {
        return Some(now.into());
    }
    if let Some(ago) = text.strip_prefix('-') {
        return now.checked_sub(cli::duration(ago).ok()?).map(Timestamp::from);
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return now.checked_add(cli::duration(ahead).ok()?).map(Timestamp::from);
    }
    let time: DateTime = text.parse().ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_bytes_and_durations_are_converted_to_the_unit_of_the_field() {
        for (field, kind, text, value) in [
            ("size", Kind::U64, "100MiB", Value::U64(104_857_600)),
            ("size", Kind::U64, "1.5 kb", Value::U64(1500)),
            ("size", Kind::F64, "0.5B", Value::F64(0.5)),
            ("age_ns", Kind::U64, "5s", Value::U64(5_000_000_000)),
            ("age_ms", Kind::I64, "-1m 30s", Value::I64(-90_000)),
            ("age_s", Kind::F64, "5ms", Value::F64(0.005)),
            (
                "at",
                Kind::Timestamp,
                "1970-01-02",
                Value::Timestamp(Timestamp::from_nanos(86_400_000_000_000)),
            ),
            (
                "at",
                Kind::Timestamp,
                "1970-01-01T00:00:01",
                Value::Timestamp(Timestamp::from_nanos(1_000_000_000)),
            ),
        ] {
            assert_eq!(parse(field, kind, text), Ok(Some(value)), "{text}");
        }
        for (field, kind, text) in [
            ("size", Kind::U64, "5q"),
            ("size", Kind::U64, "MiB"),
            ("at", Kind::Timestamp, "tomorrow"),
        ] {
            assert_eq!(parse(field, kind, text), Ok(None), "{text}");
        }
        for (field, kind, text, reason) in [
            ("age", Kind::U64, "5s", "name ends with its unit"),
            ("age_s", Kind::U64, "5ms", "whole numbers"),
            ("size", Kind::U8, "1KiB", "cannot hold"),
        ] {
            let error = parse(field, kind, text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_relative_to_now() {
        let now = Timestamp::from(SystemTime::now()).as_nanos();
        let nanos = |text| time(text).unwrap().as_nanos() - now;
        let minute = 60_000_000_000;
        assert!((0..minute).contains(&nanos("now")));
        assert!((-5 * minute..-4 * minute).contains(&nanos("-5m")));
        assert!((60 * minute..61 * minute).contains(&nanos("+1h")));
    }
}
