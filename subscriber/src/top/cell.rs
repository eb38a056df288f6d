//! Text of cells and column names. Sizes and times are shown with units, timestamps to the second,
//! and all other values as by the other subcommands.

use std::borrow::Cow;

use common::{Field, Kind, Value};

use crate::cells::{self, cell};

/// Returns the field's name, without its unit if the values are shown with one.
pub fn name(field: &Field) -> &str {
    match field.kind() {
        Kind::U64 => {
            let name = field.name();
            let short = name.strip_suffix("_bytes").or_else(|| name.strip_suffix("_ns"));
            short.filter(|short| !short.is_empty()).unwrap_or(name)
        }
        _ => field.name(),
    }
}

/// Formats a value for display.
pub fn text<'v>(field: &Field, value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::U64(size) if field.kind() == Kind::U64 && field.name().ends_with("_bytes") => {
            cells::bytes(*size).into()
        }
        Value::U64(time) if field.kind() == Kind::U64 && field.name().ends_with("_ns") => {
            cells::nanoseconds(*time).into()
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
    fn units_move_from_name_to_cell() {
        let schema =
            "id:u32,size_bytes:u64,time_ns:u64,_ns:u64,short_ns:u32,at:timestamp,t:text(8)";
        let schema = Schema::parse(schema, None).unwrap();
        let names: Vec<&str> = schema.fields().iter().map(name).collect();
        assert_eq!(names, ["id", "size", "time", "_ns", "short_ns", "at", "t"]);
        let shown = |name: &str, value: &str| {
            let (_, field) = schema.field(name).unwrap();
            let value = Value::parse(field.kind(), value).unwrap();
            text(field, &value).into_owned()
        };
        assert_eq!(shown("size_bytes", "1536"), "1.5 KiB");
        assert_eq!(shown("time_ns", "35400"), "35 µs");
        assert_eq!(shown("short_ns", "35400"), "35400");
        assert_eq!(shown("at", "2026-01-01T00:00:00.25Z"), "2026-01-01 00:00:00");
        assert_eq!(shown("t", "a\tb"), "a\\tb");
    }
}
