//! Values as text for people.

use std::borrow::Cow;

use common::{Field, Kind, Value};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Formats a value. Control characters are escaped, because another process wrote the value and
/// must not control this terminal.
pub fn cell<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Text(text) => visible(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Escapes characters that control a terminal: control characters and those that change the writing
/// direction.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_control = |letter: char| {
        let changes_direction = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        letter.is_control() || changes_direction
    };
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_control(letter) {
            true => escaped.extend(letter.escape_default()),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// Returns the longest prefix that fits into `columns`.
pub fn cut(text: &str, columns: usize) -> &str {
    let (mut taken, mut cut) = (0, text);
    for (at, letter) in text.char_indices() {
        taken += letter.width().unwrap_or(0);
        if taken > columns {
            cut = &text[..at];
            break;
        }
    }
    // Some sequences of characters are wider than the sum of their characters' widths.
    while width(cut) > columns {
        let last = cut.char_indices().next_back().map_or(0, |(at, _)| at);
        cut = &cut[..last];
    }
    cut
}

/// Returns the text if it fits `columns`, otherwise a prefix with an ellipsis, as an owned text.
pub fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", cut(text, columns.saturating_sub(1))))
}

/// Returns true if cells of this kind are right-aligned.
pub fn is_number(kind: Kind) -> bool {
    use Kind::*;
    !matches!(kind, Bool | Text(_) | Ipv4 | Ipv6 | IpNet | Mac | Timestamp)
}

/// Formats a size: `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut scaled, mut unit) = (bytes as f64 / 1024.0, 0);
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        (scaled, unit) = (scaled / 1024.0, unit + 1);
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// Formats a time with about three digits: `850 ns`, `35 µs`, `1.2 ms`, `3.4 s`, `2 h 5 min`.
pub fn nanoseconds(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ if seconds < 60 => format!("{:.1} s", ns as f64 / 1e9),
        _ if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Formats a number with thousands separators: `1,234,567`.
pub fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

/// Formats milliseconds like [`nanoseconds`].
pub fn milliseconds(milliseconds: f64) -> String {
    nanoseconds((milliseconds * 1e6) as u64)
}

/// Returns the field's name, without its unit if the values are shown with one.
pub fn name_without_unit(field: &Field) -> &str {
    match field.kind() {
        Kind::U64 => {
            let name = field.name();
            let short = name.strip_suffix("_bytes").or_else(|| name.strip_suffix("_ns"));
            short.filter(|short| !short.is_empty()).unwrap_or(name)
        }
        _ => field.name(),
    }
}

/// Formats a value like [`cell`], but sizes and times with units, and timestamps to the second.
pub fn cell_with_unit<'v>(field: &Field, value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::U64(size) if field.kind() == Kind::U64 && field.name().ends_with("_bytes") => {
            bytes(*size).into()
        }
        Value::U64(time) if field.kind() == Kind::U64 && field.name().ends_with("_ns") => {
            nanoseconds(*time).into()
        }
        Value::Timestamp(_) => {
            let text = value.to_string();
            text.get(..19).unwrap_or(&text).replace('T', " ").into()
        }
        value => cell(value),
    }
}

#[cfg(test)]
mod tests {
    use common::Schema;

    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("plain é 日"), "plain é 日");
        assert_eq!(visible("\u{1b}[2J\n\u{9b}"), "\\u{1b}[2J\\n\\u{9b}");
        assert_eq!(visible("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(cell(&Value::Text("a\tb".into())), "a\\tb");
        assert_eq!(cell(&Value::U64(7)), "7");
    }

    #[test]
    fn wide_letters_are_not_cut_in_two() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本", 3), "日");
        assert_eq!(cut("日本", 4), "日本");
        assert_eq!(cut("abc", 0), "");
        // Two columns as an emoji, one column as the plain character.
        assert_eq!(cut("☁\u{fe0f}x", 1), "☁");
        assert_eq!(shorten("日本", 4), "日本");
        assert_eq!(shorten("日本語", 5), "日本…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert_eq!(width("…"), 1);
    }

    #[test]
    fn sizes_and_times_stay_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(nanoseconds(999), "999 ns");
        assert_eq!(nanoseconds(35_400), "35 µs");
        assert_eq!(nanoseconds(1_250_000), "1.2 ms");
        assert_eq!(nanoseconds(7_500_000_000_000), "2 h 5 min");
    }

    #[test]
    fn units_move_from_name_to_cell() {
        let schema =
            "id:u32,size_bytes:u64,time_ns:u64,_ns:u64,short_ns:u32,at:timestamp,t:text(8)";
        let schema = Schema::parse(schema, None).unwrap();
        let names: Vec<&str> = schema.fields().iter().map(name_without_unit).collect();
        assert_eq!(names, ["id", "size", "time", "_ns", "short_ns", "at", "t"]);
        let shown = |name: &str, value: &str| {
            let (_, field) = schema.field(name).unwrap();
            let value = Value::parse(field.kind(), value).unwrap();
            cell_with_unit(field, &value).into_owned()
        };
        assert_eq!(shown("size_bytes", "1536"), "1.5 KiB");
        assert_eq!(shown("time_ns", "35400"), "35 µs");
        assert_eq!(shown("short_ns", "35400"), "35400");
        assert_eq!(shown("at", "2026-01-01T00:00:00.25Z"), "2026-01-01 00:00:00");
        assert_eq!(shown("t", "a\tb"), "a\\tb");
    }
}
