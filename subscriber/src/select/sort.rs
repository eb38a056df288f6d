//! `--sort`: the order of rows, by the named fields or by key. A table itself has no order.
//!
//! A row is encoded as bytes that compare like the row: numbers and timestamps by value, floats in
//! total order with NaN last, texts and addresses by bytes, and networks by family, address and
//! prefix. Equal rows are ordered by key.

use common::{Field, Kind, RowRef, Schema, Value};

use super::diagnostic::{field, list};
use cli::CliError;

#[derive(Debug, Default)]
pub struct Order {
    /// Index of each field, and true if its order is descending.
    fields: Vec<(usize, bool)>,
}

impl Order {
    /// Parses `FIELD[:desc],…`.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, CliError> {
        let parse = |part: &str| {
            let (name, is_descending) = match part.split_once(':') {
                None => (part, false),
                Some((name, "asc")) => (name, false),
                Some((name, "desc")) => (name, true),
                Some((_, other)) => {
                    return Err(format!("{other:?} is not an order: use asc or desc"));
                }
            };
            field(name, schema).map(|(index, _)| (index, is_descending))
        };
        Ok(Self { fields: list("--sort", text, parse)? })
    }

    pub fn fields(&self) -> impl Iterator<Item = (usize, bool)> {
        self.fields.iter().copied()
    }

    /// Returns true if rows are ordered by key alone.
    pub fn is_by_key(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns bytes that compare like the row.
    pub fn key(&self, row: RowRef<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        self.write(row, usize::MAX, &mut key);
        key
    }

    /// Appends bytes that compare like the row, and are equally many for all rows of a schema. The
    /// values of the fields are truncated to `max_bytes` in total. Rows that differ only beyond
    /// that are ordered by key.
    pub fn write(&self, row: RowRef<'_>, max_bytes: usize, out: &mut Vec<u8>) {
        let start = out.len();
        for (index, is_descending) in self.fields() {
            push(out, &row.schema().fields()[index], is_descending, row);
        }
        out.truncate(start.saturating_add(max_bytes));
        for field in row.schema().key_fields() {
            push(out, field, false, row);
        }
    }
}

/// Appends a field's value. The length depends only on the field, so that later fields stay
/// aligned.
pub(super) fn push(key: &mut Vec<u8>, field: &Field, is_descending: bool, row: RowRef<'_>) {
    let bytes = &row.bytes()[field.range()];
    let start = key.len();
    match field.kind() {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => key.extend(bytes.iter().rev()),
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 | Kind::Timestamp => {
            key.extend(bytes.iter().rev());
            // Sorts negative numbers first.
            key[start] ^= 0x80;
        }
        Kind::F32 | Kind::F64 => {
            key.extend(bytes.iter().rev());
            let is_nan = match Value::decode(field.kind(), bytes) {
                Value::F32(number) => number.is_nan(),
                Value::F64(number) => number.is_nan(),
                _ => false,
            };
            if is_nan {
                // NaN is last in both directions.
                key[start..].fill(0xff);
                return;
            }
            match key[start] & 0x80 {
                0 => key[start] ^= 0x80,
                _ => invert(&mut key[start..]),
            }
        }
        Kind::Text(_) => {
            // Bytes after the terminator are not part of the text: another process may have written
            // them.
            key.extend(bytes.iter().take_while(|byte| **byte != 0));
            key.resize(start + bytes.len(), 0);
        }
        Kind::IpNet => {
            let [family, prefix, address @ ..] = bytes else {
                return;
            };
            key.push(*family);
            key.extend(address);
            key.push(*prefix);
        }
        _ => key.extend(bytes),
    }
    if is_descending {
        invert(&mut key[start..]);
    }
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::RowBuf;

    use super::*;

    fn rows(fields: &str, key: &str, cells: &[&[&str]]) -> Vec<RowBuf> {
        let schema = Arc::new(Schema::parse(fields, Some(key)).unwrap());
        let row = |cells: &&[&str]| {
            let mut row = RowBuf::new(Arc::clone(&schema));
            for (index, cell) in cells.iter().enumerate() {
                row.set_text(index, cell).unwrap();
            }
            row
        };
        cells.iter().map(row).collect()
    }

    /// Returns the first field of the sorted rows.
    fn sorted(rows: &[RowBuf], by: &str) -> Vec<String> {
        let order = Order::parse(by, rows[0].schema()).unwrap();
        let mut sorted: Vec<RowRef<'_>> = rows.iter().rev().map(RowBuf::as_ref).collect();
        sorted.sort_by_cached_key(|row| order.key(*row));
        sorted.iter().map(|row| row.value(0).to_string()).collect()
    }

    #[test]
    fn keys_sort_by_value() {
        let cells: [&[&str]; 7] = [
            &["-300", "b", "7"],
            &["-1", "", "7"],
            &["-1", "a", "255"],
            &["-1", "a", "256"],
            &["-1", "ab", "0"],
            &["2", "", "0"],
            &["300", "a", "0"],
        ];
        let rows = rows("a:i16,b:text(4),c:u32", "a,b,c", &cells);
        let mut sorted: Vec<RowRef<'_>> = rows.iter().rev().map(RowBuf::as_ref).collect();
        sorted.sort_by_cached_key(|row| Order::default().key(*row));
        for (row, cells) in sorted.iter().zip(cells) {
            let values: Vec<String> = row.values().map(|(_, value)| value.to_string()).collect();
            assert_eq!(values, cells);
        }
    }

    #[test]
    fn sorts_every_kind_by_value() {
        let cases: [(&str, &[&str]); 9] = [
            (
                "f64",
                &[
                    "-Infinity",
                    "-1.5",
                    "-0.5",
                    "-0",
                    "0",
                    "1e-300",
                    "2",
                    "1e300",
                    "Infinity",
                    "NaN",
                ],
            ),
            ("f32", &["-Infinity", "-2", "-1", "0.25", "3", "NaN"]),
            ("ipv4", &["2.0.0.0", "10.0.0.1", "10.0.0.2", "192.0.2.1"]),
            ("ipv6", &["::1", "2001:db8::1", "fe80::1"]),
            (
                "ipnet",
                &[
                    "0.0.0.0/0",
                    "9.0.0.0/24",
                    "10.0.0.0/8",
                    "10.0.0.0/9",
                    "10.0.0.0/16",
                    "192.0.2.0/24",
                    "::/0",
                ],
            ),
            (
                "timestamp",
                &["1969-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"],
            ),
            ("bool", &["false", "true"]),
            ("u64", &["9", "10", "18446744073709551615"]),
            ("mac", &["02:00:00:00:00:01", "02:00:00:00:01:00"]),
        ];
        for (kind, values) in cases {
            let values: Vec<String> = values
                .iter()
                .map(|text| {
                    let kind = kind.parse().unwrap();
                    common::Value::parse(kind, text).unwrap().to_string()
                })
                .collect();
            let mut sorted_values = values.clone();
            let ids: Vec<String> = (0..values.len()).map(|id| id.to_string()).collect();
            let cells: Vec<[&str; 2]> =
                values.iter().zip(&ids).map(|(value, id)| [value.as_str(), id]).collect();
            let cells: Vec<&[&str]> = cells.iter().map(<[&str; 2]>::as_slice).collect();
            let rows = rows(&format!("value:{kind},id:u8"), "id", &cells);
            assert_eq!(sorted(&rows, "value"), sorted_values, "{kind}");
            sorted_values.reverse();
            if sorted_values[0] == "NaN" {
                sorted_values.rotate_left(1);
            }
            assert_eq!(sorted(&rows, "value:desc"), sorted_values, "{kind} down");
        }
    }

    #[test]
    fn sorts_by_several_fields_then_key() {
        let cells: [&[&str]; 4] =
            [&["1", "a", "2"], &["2", "b", "1"], &["3", "a", "1"], &["4", "a", "1"]];
        let rows = rows("id:u8,a:text(2),b:u8", "id", &cells);
        assert_eq!(sorted(&rows, "a,b"), ["3", "4", "1", "2"]);
        assert_eq!(sorted(&rows, "b:desc, a:asc"), ["1", "3", "4", "2"]);
        assert_eq!(sorted(&rows, "a:desc,id:desc"), ["2", "4", "3", "1"]);
    }

    #[test]
    fn errors_show_the_position() {
        let schema = Schema::parse("id:u8", None).unwrap();
        for (text, part, marks) in [
            ("id:down", "\"down\" is not an order", "^^^^^^^"),
            ("id,x:desc", "no field \"x\": there are id", "   ^^^^^^"),
            ("", "no field \"\"", "^"),
        ] {
            let failure = Order::parse(text, &schema).unwrap_err();
            let message = failure.to_string();
            assert_eq!(failure.code(), 2);
            assert!(message.contains(part), "{message}");
            assert!(message.ends_with(&format!("\n  {marks}")), "{message}");
        }
    }
}
