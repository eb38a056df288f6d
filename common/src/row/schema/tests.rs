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
