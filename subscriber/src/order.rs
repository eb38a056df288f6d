//! Rows in the order of their keys. A table has no order of its own.

use common::{Kind, RowRef};

/// Sorts rows of one schema by their keys: numbers by value, text and addresses by their bytes.
pub fn sort_by_key(rows: &mut [RowRef<'_>]) {
    rows.sort_by_cached_key(|row| sort_key(*row));
}

/// Bytes that compare as the row's key does.
pub fn sort_key(row: RowRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(row.schema().key_size());
    for field in row.schema().key_fields() {
        let bytes = &row.bytes()[field.range()];
        let start = key.len();
        match field.kind() {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => key.extend(bytes.iter().rev()),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 | Kind::Timestamp => {
                key.extend(bytes.iter().rev());
                // Negative ones first.
                key[start] ^= 0x80;
            }
            _ => key.extend(bytes),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{RowBuf, Schema};

    use super::*;

    #[test]
    fn keys_sort_by_value() {
        let schema = Arc::new(Schema::parse("a:i16,b:text(4),c:u32", Some("a,b,c")).unwrap());
        let cells = [
            ["-300", "b", "7"],
            ["-1", "", "7"],
            ["-1", "a", "255"],
            ["-1", "a", "256"],
            ["-1", "ab", "0"],
            ["2", "", "0"],
            ["300", "a", "0"],
        ];
        let rows: Vec<RowBuf> = cells
            .iter()
            .map(|cells| {
                let mut row = RowBuf::new(Arc::clone(&schema));
                for (index, cell) in cells.iter().enumerate() {
                    row.set_text(index, cell).unwrap();
                }
                row
            })
            .collect();
        let mut sorted: Vec<RowRef<'_>> = rows.iter().rev().map(RowBuf::as_ref).collect();
        sort_by_key(&mut sorted);
        for (row, cells) in sorted.iter().zip(cells) {
            assert_eq!(row.value(0).to_string(), cells[0], "{row:?}");
            assert_eq!(row.value(1).to_string(), cells[1], "{row:?}");
            assert_eq!(row.value(2).to_string(), cells[2], "{row:?}");
        }
    }
}
