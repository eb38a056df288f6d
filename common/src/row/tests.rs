//! Tests of rows of derived types, of rows of schemas known at run time, and of the two together.

use std::sync::Arc;

use bytemuck::{Zeroable, bytes_of};
use serde_json::json;

use super::*;
use crate::{Bool, Error, IpNet, Ipv4, Ipv6, Mac, Schema, Text, Timestamp, Value};

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, crate::Row)]
#[repr(C)]
struct Everything {
    #[row(key)]
    id: u64,
    time: Timestamp,
    ratio: f64,
    delta: i64,
    small: f32,
    count: u32,
    step: i32,
    #[row(key)]
    r#type: u16,
    half: i16,
    byte: u8,
    tiny: i8,
    up: Bool,
    #[row(key, name = "host name")]
    host: Text<7>,
    four: Ipv4,
    six: Ipv6,
    network: IpNet,
    mac: Mac,
    #[row(skip)]
    padding: [u8; 2],
}

fn everything() -> Everything {
    Everything {
        id: u64::MAX,
        time: Timestamp::from_nanos(-1),
        ratio: f64::NAN,
        delta: i64::MIN,
        small: 0.1,
        count: 7,
        step: -7,
        r#type: 9,
        half: -9,
        byte: 255,
        tiny: -128,
        up: Bool::TRUE,
        host: Text::new("a, \"b\"").unwrap(),
        four: "192.0.2.1".parse().unwrap(),
        six: "::ffff:1.2.3.4".parse().unwrap(),
        network: "10.0.0.0/8".parse().unwrap(),
        mac: "02:00:5e:10:00:ff".parse().unwrap(),
        padding: [0; 2],
    }
}

const LINE: &str = r#"{"id":18446744073709551615,"time":"1969-12-31T23:59:59.999999999Z","ratio":"NaN","delta":-9223372036854775808,"small":0.1,"count":7,"step":-7,"type":9,"half":-9,"byte":255,"tiny":-128,"up":true,"host name":"a, \"b\"","four":"192.0.2.1","six":"::ffff:1.2.3.4","network":"10.0.0.0/8","mac":"02:00:5e:10:00:ff"}"#;

#[test]
fn derived_row_is_read_by_field_name() {
    let schema = Arc::new(Schema::of::<Everything>().unwrap());
    assert_eq!(schema.row_size(), size_of::<Everything>());
    assert_eq!(schema.fields().len(), 17, "padding is not a field");
    let row = everything();
    let view = RowRef::new(&schema, bytes_of(&row)).unwrap();
    assert_eq!(view.field("host name"), Some(Value::Text("a, \"b\"".into())));
    assert_eq!(view.value(0), Value::U64(u64::MAX));
    assert_eq!(view.field("padding"), None);
    assert_eq!(serde_json::to_string(&view).unwrap(), LINE);
    assert_eq!(
        serde_json::to_string(&view.key()).unwrap(),
        r#"{"id":18446744073709551615,"type":9,"host name":"a, \"b\""}"#
    );
    assert_eq!(view.key().to_string(), r#"18446744073709551615,9,"a, ""b""""#);
}

#[test]
fn row_round_trips_through_json() {
    let schema = Arc::new(Schema::of::<Everything>().unwrap());
    let object = serde_json::from_str(LINE).unwrap();
    let row = RowBuf::from_json(&schema, &object).unwrap();
    // NaN has many bit patterns; parsing gives Rust's `NAN`.
    assert_eq!(row.bytes(), bytes_of(&everything()));
    assert_eq!(serde_json::to_string(&row).unwrap(), LINE);
    assert_eq!(schema.key_from_json(&object).unwrap(), row.key_bytes());
    assert_eq!(row.as_ref().to_buf(), row);
    let typed: &Everything = bytemuck::from_bytes(row.bytes());
    assert_eq!(typed.key(), everything().key());
}

#[test]
fn typed_key_has_the_same_bytes_as_the_schemas_key() {
    let schema = Schema::of::<Everything>().unwrap();
    let row = everything();
    let mut key = Vec::new();
    schema.write_key(bytes_of(&row), &mut key);
    assert_eq!(key.len(), 17);
    row.key().with_bytes(|bytes| assert_eq!(bytes, key));
    assert_eq!(schema.parse_key(&schema.format_key(&key)).unwrap(), key);
    assert_eq!(KeyRef::new(&schema, &key).unwrap().to_string(), schema.format_key(&key));
    7_u32.with_bytes(|bytes| assert_eq!(bytes, 7_u32.to_le_bytes()));
    // This key is longer than `SHORT_KEY`.
    let long = (1_u8, Text::<100>::truncated("x"), 2_u8);
    long.with_bytes(|bytes| {
        assert_eq!((bytes.len(), bytes[0], bytes[1], bytes[101]), (102, 1, b'x', 2))
    });
}

#[test]
fn set_by_index_names_the_field_in_errors() {
    let schema = Arc::new(Schema::parse("id:u8,name:text(4)", None).unwrap());
    let mut row = RowBuf::new(Arc::clone(&schema));
    row.set(0, Value::U64(7)).unwrap();
    row.set_text(1, "abcd").unwrap();
    assert_eq!(row.bytes(), b"\x07abcd");
    assert_eq!(row.words(), [u64::from_le_bytes(*b"\x07abcd\0\0\0")]);
    let error = row.set_text(0, "300").unwrap_err();
    assert!(matches!(&error, Error::InvalidValue { field, .. } if field == "id"), "{error}");
    let error = row.set_json(1, &json!("abcde")).unwrap_err();
    assert!(matches!(&error, Error::TextTooLong { field, .. } if field == "name"), "{error}");
    assert_eq!(row.bytes(), b"\x07abcd", "an error changes nothing");
    row.set_json(1, &json!("x")).unwrap();
    assert_eq!(row.bytes(), b"\x07x\0\0\0");
    assert_eq!(row.key_bytes(), [7]);
}

#[test]
fn from_json_requires_exactly_the_fields() {
    let schema = Arc::new(Schema::parse("id:u8,name:text(4)", None).unwrap());
    let refusal = |object: serde_json::Value| {
        RowBuf::from_json(&schema, object.as_object().unwrap()).unwrap_err().to_string()
    };
    assert!(refusal(json!({"id": 1})).starts_with(r#"field "name" cannot hold nothing"#));
    assert!(
        refusal(json!({"id": 1, "name": "x", "colour": 7}))
            .starts_with(r#"field "colour" cannot hold 7"#)
    );
    assert!(refusal(json!({"id": 1, "name": null})).contains("null is not supported"));
}

#[test]
fn wrong_length_is_rejected() {
    let schema = Arc::new(Schema::parse("id:u8,name:text(4)", None).unwrap());
    assert!(matches!(
        RowRef::new(&schema, &[0; 4]),
        Err(Error::WrongLength { what: "row", length: 4, expected: 5, .. })
    ));
    assert!(matches!(
        RowBuf::from_bytes(Arc::clone(&schema), &[0; 6]),
        Err(Error::WrongLength { .. })
    ));
    assert!(matches!(KeyRef::new(&schema, &[0; 2]), Err(Error::WrongLength { what: "key", .. })));
}

#[derive(Clone, Copy, Pod, Zeroable, crate::Row)]
#[repr(C, packed)]
struct Packed {
    #[row(key)]
    flag: u8,
    value: u64,
}

#[test]
fn packed_struct_can_be_a_row() {
    let schema = Arc::new(Schema::of::<Packed>().unwrap());
    let row = Packed { flag: 3, value: 4 };
    assert_eq!((schema.row_size(), schema.row_words(), row.key()), (9, 2, 3));
    assert_eq!(RowRef::new(&schema, bytes_of(&row)).unwrap().field("value"), Some(Value::U64(4)));
}
