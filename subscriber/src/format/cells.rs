//! Values as people read them in a cell.

use std::borrow::Cow;
use std::fmt::Write;

use common::{Kind, Value};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The value as text without control characters: what another process wrote must not steer this terminal.
pub fn cell<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Text(text) => visible(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// The text with control characters spelt out.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut spelt = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if letter.is_control() {
            spelt.extend(letter.escape_default());
        } else {
            spelt.push(letter);
        }
    }
    Cow::Owned(spelt)
}

/// How many columns of a terminal the text takes.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// As much of the text as fits `columns`.
pub fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        taken += letter.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// Whether cells of this kind line up at the right.
pub fn is_number(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Bool
            | Kind::Text(_)
            | Kind::Ipv4
            | Kind::Ipv6
            | Kind::IpNet
            | Kind::Mac
            | Kind::Timestamp
    )
}

/// Bytes as `1.5 MiB`.
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

/// Nanoseconds in three digits or so: `850 ns`, `35 µs`, `1.2 ms`, `3.4 s`, `2 h 5 min`.
pub fn nanoseconds(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let mut text = String::new();
    let written = match ns {
        0..1_000 => write!(text, "{ns} ns"),
        1_000..10_000 => write!(text, "{:.1} µs", ns as f64 / 1e3),
        10_000..1_000_000 => write!(text, "{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => write!(text, "{:.1} ms", ns as f64 / 1e6),
        _ if seconds < 60 => write!(text, "{:.1} s", ns as f64 / 1e9),
        _ if seconds < 3600 => write!(text, "{} min {} s", seconds / 60, seconds % 60),
        _ => write!(text, "{} h {} min", seconds / 3600, seconds / 60 % 60),
    };
    // A String takes everything.
    debug_assert!(written.is_ok());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelt_out() {
        assert_eq!(visible("plain é 日"), "plain é 日");
        assert_eq!(visible("\u{1b}[2J\n\u{9b}"), "\\u{1b}[2J\\n\\u{9b}");
        assert_eq!(cell(&Value::Text("a\tb".into())), "a\\tb");
        assert_eq!(cell(&Value::U64(7)), "7");
    }

    #[test]
    fn wide_letters_are_not_cut_in_two() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本", 3), "日");
        assert_eq!(cut("日本", 4), "日本");
        assert_eq!(cut("abc", 0), "");
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
}
