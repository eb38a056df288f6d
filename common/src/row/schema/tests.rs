//! Tests of the layout, limits and names of schemas.

use super::*;

fn reason(schema: Result<Schema>) -> String {
    match schema {
        Err(Error::InvalidSchema { reason }) => reason,
        other => panic!("expected an invalid schema, got {other:?}"),
    }
}

#[test]
fn layout_is_that_of_repr_c() {
    let schema = Schema::parse("a:u8,b:u32,c:bool,d:f64,e:mac,f:u16", None).unwrap();
    let offsets: Vec<usize> = schema.fields().iter().map(Field::offset).collect();
    assert_eq!(offsets, [0, 4, 8, 16, 24, 30]);
    assert_eq!((schema.row_size(), schema.row_words(), schema.key_size()), (32, 4, 1));
    let odd = Schema::parse("a:text(9)", None).unwrap();
    assert_eq!((odd.row_size(), odd.row_words()), (9, 2));
}

#[test]
fn fields_are_found_by_name() {
    let schema = Schema::parse(" Größe in m : f64 , id: u64", Some(" id ")).unwrap();
    assert_eq!(
        schema.field("id").map(|(index, field)| (index, field.kind())),
        Some((1, Kind::U64))
    );
    assert_eq!(schema.field("Größe in m").map(|(index, _)| index), Some(0));
    assert!(schema.field("ID").is_none());
    assert_eq!(schema.key_fields().map(Field::name).collect::<Vec<_>>(), ["id"]);
    assert_eq!(schema.to_string(), "Größe in m:f64,id:u64");
}

#[test]
fn invalid_schemas_are_rejected_with_the_reason() {
    let cases = [
        ("", None, "NAME:KIND"),
        ("id", None, "NAME:KIND"),
        ("id:u64,", None, "NAME:KIND"),
        ("id:u65", None, "u65"),
        (":u64", None, "not a valid field name"),
        ("a b:u64,a b:u8", None, "duplicate"),
        ("price:f64", None, "price"),
        ("id:u64", Some("nosuch"), "nosuch"),
        ("id:u64", Some(""), "\"\""),
        ("id:u64,a:u8", Some("id,id"), "twice"),
        ("id:u64", Some("id,id"), "2 fields of 1"),
        ("id:text(1025)", None, "1025"),
    ];
    for (fields, key, part) in cases {
        let reason = reason(Schema::parse(fields, key));
        assert!(reason.contains(part), "{fields}: {reason}");
    }
    assert!(reason(Schema::new([("a\nb", Kind::U8)], &[])).contains("a\\nb"));
    assert!(
        reason(Schema::new([("x".repeat(65), Kind::U8)], &[])).contains("not a valid field name")
    );
    assert!(reason(Schema::new([("x", Kind::Text(0))], &[])).contains("text(0)"));
    assert!(reason(Schema::new(Vec::<(String, Kind)>::new(), &[])).contains("1 to 256"));
}

#[test]
fn limits_are_inclusive() {
    let many = |count: usize| (0..count).map(|index| (format!("f{index}"), Kind::U8));
    assert!(Schema::new(many(MAX_FIELDS), &[]).is_ok());
    assert!(reason(Schema::new(many(MAX_FIELDS + 1), &[])).contains("256"));
    let wide = |count: usize| {
        (0..count).map(|index| {
            (format!("f{index}"), if index == 0 { Kind::Text(1024) } else { Kind::Text(4096) })
        })
    };
    assert_eq!(Schema::new(wide(16), &[]).unwrap().row_size(), 1024 + 15 * 4096);
    assert!(reason(Schema::new(wide(17), &[])).contains("65536"));
    // A quote takes two bytes in JSON, so 256 key fields of the maximum length exceed the limit.
    let long = |index: usize| format!("{}{index:03}", "\"".repeat(61));
    let names: Vec<String> = (0..MAX_FIELDS).map(long).collect();
    let key: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(
        reason(Schema::new(names.iter().map(|name| (name.as_str(), Kind::U8)), &key))
            .contains("shorter")
    );
}

const GOOD: &str = r#"{"fields":[{"name":"a","kind":"u32","offset":0},{"name":"b","kind":"f64","offset":8}],"key":["a"],"row_size":16}"#;

#[test]
fn encoding_round_trips_and_is_canonical() {
    let schema = Schema::from_bytes(GOOD.as_bytes()).unwrap();
    assert_eq!(schema, Schema::parse("a:u32,b:f64", None).unwrap());
    assert_eq!(schema.to_bytes(), GOOD.as_bytes());
}

#[test]
fn fingerprint_is_fnv() {
    // Fixed, because regions store it across versions of this crate.
    let schema = Schema::parse("pid:u32", None).unwrap();
    assert_eq!(schema.fingerprint(), 0xd58d_5778_c349_985d);
    assert_ne!(schema.fingerprint(), Schema::parse("pid:u64", None).unwrap().fingerprint());
}

#[test]
fn invalid_encodings_are_rejected() {
    let lies = [
        ("\"offset\":8", "\"offset\":3"), // over the other field
        ("\"offset\":8", "\"offset\":9"), // beyond the row
        ("\"offset\":8", "\"offset\":18446744073709551615"), // the end overflows
        ("\"offset\":8", "\"offset\":-1"),
        ("\"name\":\"b\"", "\"name\":\"a\""),
        ("\"name\":\"b\"", "\"name\":\"\""),
        ("\"name\":\"b\"", "\"name\":\"a\\u0000\""),
        ("[\"a\"]", "[]"),
        ("[\"a\"]", "[\"a\",\"a\"]"),
        ("[\"a\"]", "[\"b\"]"), // a float
        ("[\"a\"]", "[\"c\"]"),
        ("u32", "u33"),
        ("u32", "text(0)"),
        ("\"row_size\":16", "\"row_size\":18446744073709551615"),
        ("\"row_size\":16", "\"row_size\":65537"),
        ("\"row_size\":16", "\"row_size\":0"),
        ("\"row_size\":16", "\"row_size\":16,\"more\":1"),
    ];
    for (truth, lie) in lies {
        let bytes = GOOD.replace(truth, lie);
        assert_ne!(bytes, GOOD);
        let error = Schema::from_bytes(bytes.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::InvalidSchema { .. }), "{bytes}: {error}");
    }
    assert!(Schema::from_bytes(&vec![b' '; MAX_SCHEMA_SIZE + 1]).is_err());
    assert!(Schema::from_bytes("[".repeat(MAX_SCHEMA_SIZE).as_bytes()).is_err());
}

#[test]
fn any_changed_byte_is_rejected_or_gives_a_valid_schema() {
    for place in 0..GOOD.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[place] = byte;
            let Ok(schema) = Schema::from_bytes(&bytes) else {
                continue;
            };
            assert!(schema.fields().iter().all(|field| field.range().end <= schema.row_size()));
        }
        assert!(Schema::from_bytes(&GOOD.as_bytes()[..place]).is_err());
    }
}

#[test]
fn difference_names_the_first_differing_field() {
    let here = Schema::parse("id:u64,bid:f64,ask:f64", None).unwrap();
    let cases = [
        (
            "id:u64,bid:f32,ask:f64",
            None,
            r#"field "bid" is f32 in the table and f64 in this program"#,
        ),
        ("id:u64,ask:f64", None, r#"field "bid" is missing in the table"#),
        (
            "id:u64,bid:f64,ask:f64,size:u8",
            None,
            r#"field "size" is in the table and not in this program"#,
        ),
        (
            "id:u64,ask:f64,bid:f64",
            None,
            r#"field "bid" is at byte 16 in the table and at byte 8 in this program"#,
        ),
    ];
    for (fields, key, sentence) in cases {
        let there = Schema::parse(fields, key).unwrap();
        assert_eq!(here.difference(&there).as_deref(), Some(sentence));
    }
    let one = Schema::parse("a:u8,b:u8", Some("a,b")).unwrap();
    let two = Schema::parse("a:u8,b:u8", Some("b,a")).unwrap();
    assert_eq!(
        one.difference(&two).as_deref(),
        Some(r#"the key is "b,a" in the table and "a,b" in this program"#)
    );
}

#[test]
fn difference_names_row_size_and_order() {
    let json = r#"{"fields":[{"name":"a","kind":"u8","offset":0},{"name":"b","kind":"u8","offset":1}],"key":["a"],"row_size":2}"#;
    let here = Schema::from_bytes(json.as_bytes()).unwrap();
    let wider = Schema::from_bytes(json.replace("size\":2", "size\":4").as_bytes()).unwrap();
    assert_eq!(
        here.difference(&wider).as_deref(),
        Some("a row has 4 bytes in the table and 2 in this program")
    );
    let swapped =
        json.replace("\"a\",", "\"x\",").replace("\"b\",", "\"a\",").replace("\"x\",", "\"b\",");
    let swapped = swapped
        .replace("offset\":0", "offset\":9")
        .replace("offset\":1", "offset\":0")
        .replace("offset\":9", "offset\":1");
    let swapped = Schema::from_bytes(swapped.as_bytes()).unwrap();
    assert_eq!(
        here.difference(&swapped).as_deref(),
        Some(r#"the order of fields is "b:u8,a:u8" in the table and "a:u8,b:u8" in this program"#)
    );
}
