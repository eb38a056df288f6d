use common::RowRef;

use super::super::*;
use crate::source::format::{Format, OnDuplicate};

fn settings(fields: Option<&str>, key: Option<&str>) -> Settings {
    Settings {
        format: Format::Jsonl,
        declared: fields.map(|fields| Schema::parse(fields, key).unwrap()),
        key: key.map(|key| key.split(',').map(str::to_owned).collect()),
        pins_schema: false,
        columns: None,
        on_duplicate: None,
    }
}

/// Returns the fields and the rows in their order, or the error.
fn table(text: &str, settings: &Settings) -> Result<(String, Vec<String>), String> {
    let table = read(text.as_bytes(), settings, None);
    let table = table.map_err(|fault| format!("{}: {fault}", fault.code()))?;
    let schema = table.snapshot.schema();
    let print = |row| {
        let row = RowRef::new(schema, row).unwrap();
        serde_json::to_string(&row).unwrap()
    };
    Ok((schema.to_string(), table.snapshot.rows().map(print).collect()))
}

fn inferred(text: &str) -> (String, Vec<String>) {
    table(text, &settings(None, None)).unwrap()
}

#[test]
fn fields_are_inferred_in_the_order_of_their_first_appearance() {
    let (schema, rows) = inferred(
        r#"{"z":1,"name":"one","price":1.5}
           {"up":true,"z":2,"name":"two","price":"NaN"}

           {"z":3,"name":null,"price":2,"address":"10.0.0.1"}"#,
    );
    assert_eq!(schema, "z:u64,name:text(8),price:f64,up:text(8),address:text(8)");
    assert_eq!(rows[1], r#"{"z":2,"name":"two","price":"NaN","up":"true","address":""}"#);
    assert_eq!(rows[2], r#"{"z":3,"name":"","price":2.0,"up":"","address":"10.0.0.1"}"#);
    let (schema, _) =
        inferred(r#"{"op":"insert","row":{"z":"::1","a":-1,"t":"2026-01-02T03:04:05Z"}}"#);
    assert_eq!(schema, "z:ipv6,a:i64,t:timestamp");
}

/// Regression: rows whose field `op` has the name of an operation were left out of the inference.
#[test]
fn field_named_op_is_inferred_from_rows_that_are_not_operations() {
    for ops in [["update", "delete"], ["begin", "insert"], ["clear", "read"]] {
        let row = |id: usize| format!(r#"{{"id":{id},"op":"{}","key":"k","row":{id}}}"#, ops[id]);
        let (schema, rows) = inferred(&format!("{}\n{}\n", row(0), row(1)));
        assert_eq!(schema, "id:u64,op:text(8),key:text(8),row:u64");
        assert_eq!(rows, [row(0), row(1)]);
    }
    let (schema, rows) = inferred(
        r#"{"id":1,"op":"update"}
           {"op":"insert","row":{"id":2,"op":"x"}}
           {"op":"delete","key":{"id":1}}"#,
    );
    assert_eq!(schema, "id:u64,op:text(8)");
    assert_eq!(rows, [r#"{"id":2,"op":"x"}"#]);
}

#[test]
fn lines_are_applied_in_order() {
    let text = r#"{"id":1,"n":"a"}
{"op":"insert","row":{"id":2,"n":"b"}}
{"version":7,"op":"create","key":{"id":2},"row":{"id":2,"n":"c"}}
{"id":3,"n":"d"}
{"op":"delete","key":{"id":1}}
{"op":"begin"}
{"op":"clear"}
{"id":4,"n":"e"}
{"id":5,"n":"f"}
{"op":"update","row":{"id":4,"n":"g"}}
{"op":"commit"}
{"op":"begin"}
{"op":"clear"}
"#;
    let rows = [r#"{"id":4,"n":"g"}"#, r#"{"id":5,"n":"f"}"#];
    for settings in [settings(None, None), settings(Some("id:u8,n:text(8)"), None)] {
        assert_eq!(table(text, &settings).unwrap().1, rows);
    }
}

#[test]
fn incomplete_end_is_left_out() {
    let text = "{\"id\":1}\n{\"id\":2}\n";
    for cut in 0..text.len() {
        let rows = table(&text[..cut], &settings(Some("id:u8"), None)).unwrap().1;
        let whole = text[..cut].matches('}').count();
        assert_eq!(rows.len(), whole, "{:?}", &text[..cut]);
    }
    // In the middle of a multi-byte character.
    let half = b"{\"id\":1}\n{\"id\":2,\"n\":\"\xc3";
    let table = read(half, &settings(Some("id:u8"), None), None);
    let table = table.unwrap();
    assert_eq!((table.snapshot.len(), table.remarks.len()), (1, 1));
}

#[test]
fn fault_names_the_bad_line() {
    let declared = settings(Some("id:u8,n:text(8)"), None);
    for (text, parts) in [
        ("{\"id\":1,\"n\":\"\"}\n{\n", ["5: line 2: ", "not JSON"]),
        ("{\"id\":1,\"n\":\"\"}\n{\n{\n", ["5: line 2: ", "(and 1 more bad line)"]),
        ("{\"id\":1}\n", ["5: line 1: ", "n"]),
        ("{\"id\":1,\"n\":null}", ["5: line 1: ", "null"]),
        ("{\"op\":\"delete\",\"key\":{\"id\":7}}\n", ["5: line 1: ", "no key 7"]),
        ("{\"op\":\"update\",\"row\":{\"id\":7,\"n\":\"\"}}\n", ["5: line 1: ", "no key 7"]),
        ("{\"op\":\"commit\"}\n", ["5: line 1: ", "without `begin`"]),
        ("{\"op\":\"begin\"}\n{\"op\":\"begin\"}\n", ["5: line 2: ", "line 1"]),
        (
            "{\"op\":\"begin\"}\n{\"op\":\"delete\",\"key\":{\"id\":7}}\n{\"op\":\"commit\"}\n",
            ["5: line 3: ", "transaction of line 1"],
        ),
        (
            "{\"op\":\"insert\",\"row\":{\"id\":7,\"n\":\"\"}}\n{\"op\":\"insert\",\"row\":{\"id\":7,\"n\":\"\"}}\n",
            ["5: line 2: ", "key 7 exists"],
        ),
    ] {
        let reason = table(text, &declared).unwrap_err();
        assert!(reason.starts_with(parts[0]) && reason.contains(parts[1]), "{text:?}: {reason}");
    }
    let undeclared = settings(None, None);
    for (text, part) in [
        ("", "--fields"),
        ("{\"op\":\"clear\"}\n", "--fields"),
        ("{\"id\":1,\"n\":[1]}\n", "line 1: "),
        ("{}\n", "--fields"),
    ] {
        let reason = table(text, &undeclared).unwrap_err();
        assert!(reason.starts_with("5: ") && reason.contains(part), "{text:?}: {reason}");
    }
    let key = settings(None, Some("other"));
    assert!(table("{\"id\":1}\n", &key).unwrap_err().starts_with("2: "));
}

/// Guards against text that is not a table but is read as an empty table, which removes all rows.
/// Covers error pages, JSON that is not an object, other formats, and bytes that are not text, each
/// as the only line and after a good one.
#[test]
fn only_the_beginning_of_an_object_counts_as_incomplete() {
    let declared = settings(Some("id:u8"), None);
    for end in [
        &b"404: Not Found"[..],
        b"404",
        b"<html><body>503</body></html>",
        b"null",
        b"tru",
        b"\"text",
        b"[{\"id\":1}]",
        b"[{\"id\":1}",
        b"id,n",
        b"{id:1}",
        b"{'id':1}",
        b"{\"id\":1}}",
        b"{\"id\":1}{\"id\"",
        b"{\"id\":1} x",
        b"{\"id\":01",
        b"{\"id\":\"\xff",
        b"\xff",
        b"\0\0\0",
        b"\x1f\x8b\x08",
    ] {
        for before in ["", "{\"id\":7}\n"] {
            let text = [before.as_bytes(), end].concat();
            let fault = read(&text, &declared, None).unwrap_err();
            let line = format!("line {}: ", 1 + before.lines().count());
            assert_eq!(
                (fault.code(), fault.to_string().starts_with(&line)),
                (5, true),
                "{}",
                text.escape_ascii()
            );
        }
    }
    let object = "\u{feff}{\"id\":1,\"a\":[-1.5e+3,true,null,{}],\"ä\":\"\\u00e4\\ud83d\\ude00\\n\u{1f600}\"}";
    for cut in '\u{feff}'.len_utf8() + 1..object.len() {
        let text = [b"{\"id\":7}\n", &object.as_bytes()[..cut]].concat();
        let table = read(&text, &declared, None).unwrap();
        assert_eq!((table.snapshot.len(), table.remarks.len()), (1, 1), "{cut}");
    }
}

/// Guards against a number that is rounded before its digits are checked. Covers integers beyond 64
/// bits of either sign, in keys, in rows of operations and in keys of deletes, and fractions with
/// more digits than an `f64` keeps.
#[test]
fn numbers_keep_their_digits() {
    let ids = "{\"id\":18446744073709551616,\"s\":1}\n{\"id\":18446744073709551617,\"s\":2}\n";
    let (schema, rows) = inferred(ids);
    assert_eq!(schema, "id:text(24),s:u64");
    assert_eq!(
        rows,
        [r#"{"id":"18446744073709551616","s":1}"#, r#"{"id":"18446744073709551617","s":2}"#,]
    );
    let delete = format!("{ids}{}\n", r#"{"op":"delete","key":{"id":18446744073709551617}}"#);
    assert_eq!(inferred(&delete).1, [r#"{"id":"18446744073709551616","s":1}"#]);
    for (number, kind, printed) in [
        ("18446744073709551615", "u64", "18446744073709551615"),
        ("18446744073709551616", "text(24)", "\"18446744073709551616\""),
        ("-9223372036854775808", "i64", "-9223372036854775808"),
        ("-9223372036854775809", "text(24)", "\"-9223372036854775809\""),
        ("12345678901234567890123", "text(24)", "\"12345678901234567890123\""),
        ("0.1234567890123456789", "text(24)", "\"0.1234567890123456789\""),
        ("1e400", "text(8)", "\"1e+400\""),
        ("1.50", "f64", "1.5"),
        ("1e5", "f64", "100000.0"),
        ("2E-7", "f64", "2e-7"),
        ("-0", "f64", "-0.0"),
        ("-0.0", "f64", "-0.0"),
    ] {
        for text in [
            format!("{{\"id\":1,\"n\":{number}}}"),
            format!("{{\"op\":\"insert\",\"row\":{{\"id\":1,\"n\":{number}}}}}"),
        ] {
            let (schema, rows) = inferred(&text);
            assert_eq!(schema, format!("id:u64,n:{kind}"), "{text}");
            assert_eq!(rows, [format!("{{\"id\":1,\"n\":{printed}}}")]);
        }
    }
    for (fields, number) in
        [("id:u64,n:u64", "18446744073709551616"), ("id:u64,n:i64", "-9223372036854775809")]
    {
        let line = format!("{{\"id\":1,\"n\":{number}}}");
        let reason = table(&line, &settings(Some(fields), None)).unwrap_err();
        assert!(reason.contains(number), "{reason}");
    }
}

/// Guards against a byte-order mark that is read as text. Covers inferred and declared fields, marks
/// before an operation and before a later line of concatenated files, and the mark of UTF-16.
#[test]
fn byte_order_marks_are_skipped() {
    let rows = [r#"{"id":1}"#, r#"{"id":2}"#];
    for text in [
        "\u{feff}{\"id\":1}\n{\"id\":2}\n",
        "\u{feff}{\"op\":\"insert\",\"row\":{\"id\":1}}\n{\"id\":2}\n",
        "{\"id\":1}\n\u{feff}{\"id\":2}",
        "\u{feff}\r\n{\"id\":1}\r\n\u{feff}\n{\"id\":2}",
    ] {
        assert_eq!(inferred(text).1, rows, "{text:?}");
        assert_eq!(table(text, &settings(Some("id:u8"), None)).unwrap().1, rows);
    }
    let fault = read(b"\xff\xfe{\0", &settings(None, None), None);
    assert!(fault.unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn fields_select_members() {
    let text = "{\"id\":1,\"n\":5,\"geo\":{\"lat\":1.5},\"dc:title\":\"x\"}\n{\"n\":6,\"id\":2}\n";
    let rows = table(text, &settings(Some("id:u64,n:u64"), None)).unwrap().1;
    assert_eq!(rows, [r#"{"id":1,"n":5}"#, r#"{"id":2,"n":6}"#]);
}

/// Lines end at LF, and CR is a blank. Lines that end in CR alone are an error, not an empty table.
#[test]
fn line_ends_are_read_or_refused() {
    let rows = [r#"{"id":1}"#, r#"{"id":2}"#];
    for text in ["{\"id\":1}\r\n{\"id\":2}\r\n", "{\"id\":1}\r\n\r\n{\"id\":2}\n\r"] {
        assert_eq!(inferred(text).1, rows, "{text:?}");
    }
    for (text, line) in
        [("{\"id\":1}\r{\"id\":2}\r", 1), ("{\"id\":1}\n{\"id\":2}\r{\"id\":3}\n", 2)]
    {
        let reason = table(text, &settings(Some("id:u8"), None)).unwrap_err();
        assert!(reason.starts_with(&format!("5: line {line}: ")), "{text:?}: {reason}");
    }
}

#[test]
fn elements_of_an_array_are_rows() {
    let array = |fields| Settings { format: Format::Json, ..settings(fields, None) };
    let text =
        "\u{feff}[{\"op\":\"delete\",\"n\":12345678901234567890},\n {\"op\":\"x\",\"n\":2}]\n";
    let rows = [r#"{"op":"delete","n":12345678901234567890}"#, r#"{"op":"x","n":2}"#];
    let rows = rows.map(str::to_owned).to_vec();
    assert_eq!(table(text, &array(None)).unwrap(), ("op:text(8),n:u64".to_owned(), rows));
    let numbers = [r#"{"n":12345678901234567890}"#, r#"{"n":2}"#];
    assert_eq!(table(text, &array(Some("n:u64"))).unwrap().1, numbers);
    assert_eq!(table("[]", &array(Some("n:u64"))).unwrap().1.len(), 0);
    for (text, reason) in [
        ("[]", "5: it has no row"),
        ("", "5: it is not a JSON array: EOF"),
        (r#"{"n":1}"#, "5: it is not a JSON array: invalid type: map"),
        ("[{\"n\":1},\n{\"n\":2}", "5: it is not a JSON array: EOF while parsing a list at line 2"),
        (
            r#"[{"n":1},7,8]"#,
            "5: row 2: it is not a JSON object: write {\"FIELD\":VALUE,…} (and 1 more bad row)",
        ),
        (r#"[{"n":1},{"n":2},{"n":1}]"#, "5: row 3: the key 1 is also in row 1: "),
        (r#"[{"n":1,"x":1},{"n":2,"x":[]}]"#, "5: row 2: "),
    ] {
        let error = table(text, &array(None)).unwrap_err();
        assert!(error.starts_with(reason), "{text}: {error}");
    }
    let last = Settings { on_duplicate: Some(OnDuplicate::Last), ..array(None) };
    let rows = table(r#"[{"n":1,"x":1},{"n":1,"x":2}]"#, &last).unwrap().1;
    assert_eq!(rows, [r#"{"n":1,"x":2}"#]);
    let deep = "[".repeat(100_000);
    assert!(table(&deep, &array(None)).is_err());
}
