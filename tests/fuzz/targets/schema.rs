//! Schemas as written on a command line and as stored in a region, and rows with arbitrary bytes.
#![no_main]

use std::sync::Arc;

use common::{Conversion, RowBuf, RowRef, Schema};
use fuzz::show;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Option<&str>, &str, &[u8])| {
    let (fields, key, text, bytes) = input;
    let parsed = Schema::parse(fields, key).ok();
    let read = Schema::from_bytes(bytes).ok();
    if let (Some(one), Some(other)) = (&parsed, &read) {
        let _told = one.difference(other);
        let _converted = Conversion::between(one, other).map(|conversion| conversion.lost().len());
    }
    for schema in [parsed, read].into_iter().flatten() {
        check(&schema);
        let schema = Arc::new(schema);
        print(&schema, bytes);
        write(&schema, text);
    }
});

fn check(schema: &Schema) {
    let again = Schema::from_bytes(&schema.to_bytes()).expect("what it wrote");
    assert_eq!(again, *schema);
    assert!(schema.fields().iter().all(|field| field.range().end <= schema.row_size()));
}

/// Treats any bytes as a row, which must be printed so that its values can be read back.
fn print(schema: &Arc<Schema>, bytes: &[u8]) {
    let mut row = bytes.to_vec();
    row.resize(schema.row_size(), 0);
    let row = RowRef::new(schema, &row).expect("a row of that size");
    show(row);
    let key = row.key().to_bytes();
    let printed = schema.format_key(&key);
    let Ok(canonical) = schema.parse_key(&printed) else {
        // Bytes that no publisher writes, such as a text that is not UTF-8, need not be readable.
        return;
    };
    assert_eq!(schema.format_key(&canonical), printed);
}

/// Parses any text as a value of a field, which succeeds or returns an error with a reason.
fn write(schema: &Arc<Schema>, text: &str) {
    let mut row = RowBuf::new(Arc::clone(schema));
    for field in 0..schema.fields().len() {
        if row.set_text(field, text).is_ok() {
            let value = row.as_ref().value(field).to_string();
            let mut again = row.clone();
            again.set_text(field, &value).expect("what it printed");
            assert_eq!(again, row, "{text:?} is printed as {value:?}");
        }
    }
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
        let _refused = RowBuf::from_json(schema, &object);
        let _refused = schema.key_from_json(&object);
    }
    let _refused = schema.parse_key(text);
}
