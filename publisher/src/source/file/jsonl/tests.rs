use common::RowRef;

use super::*;
use crate::source::file::settings::{Format, OnDuplicate};

fn settings(fields: Option<&str>, key: Option<&str>) -> Settings {
    Settings {
        format: Format::Jsonl,
        declared: fields.map(|fields| Schema::parse(fields, key).unwrap()),
        key: key.map(|key| key.split(',').map(str::to_owned).collect()),
        on_duplicate: OnDuplicate::Refuse,
    }
}

/// The fields, and the rows in their order; or what is wrong.
fn table(text: &str, settings: &Settings) -> Result<(String, Vec<String>), String> {
    let table = read(text.as_bytes(), settings, None, &Progress::silent());
    let table = table.map_err(|fault| format!("{}: {fault}", fault.code))?;
    let schema = table.snapshot.schema();
    let print = |row| {
        let row = RowRef::new(schema, row).unwrap();
        serde_json::to_string(&row).unwrap()
    };
    Ok((
        schema.to_string(),
        table.snapshot.rows().map(print).collect(),
    ))
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
    assert_eq!(
        schema,
        "z:u64,name:text(8),price:f64,up:text(8),address:text(8)"
    );
    assert_eq!(
        rows[1],
        r#"{"z":2,"name":"two","price":"NaN","up":"true","address":""}"#
    );
    assert_eq!(
        rows[2],
        r#"{"z":3,"name":"","price":2.0,"up":"","address":"10.0.0.1"}"#
    );
    let (schema, _) =
        inferred(r#"{"op":"insert","row":{"z":"::1","a":-1,"t":"2026-01-02T03:04:05Z"}}"#);
    assert_eq!(schema, "z:ipv6,a:i64,t:timestamp");
}

#[test]
fn lines_are_a_history() {
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
    for settings in [
        settings(None, None),
        settings(Some("id:u8,n:text(8)"), None),
    ] {
        assert_eq!(table(text, &settings).unwrap().1, rows);
    }
}

#[test]
fn the_end_may_be_on_its_way() {
    let text = "{\"id\":1}\n{\"id\":2}\n";
    for cut in 0..text.len() {
        let rows = table(&text[..cut], &settings(Some("id:u8"), None))
            .unwrap()
            .1;
        let whole = text[..cut].matches('}').count();
        assert_eq!(rows.len(), whole, "{:?}", &text[..cut]);
    }
    // In the middle of a letter.
    let half = b"{\"id\":1}\n{\"id\":2,\"n\":\"\xc3";
    let table = read(
        half,
        &settings(Some("id:u8"), None),
        None,
        &Progress::silent(),
    );
    let table = table.unwrap();
    assert_eq!((table.snapshot.len(), table.remarks.len()), (1, 1));
}

#[test]
fn a_bad_line_is_named() {
    let declared = settings(Some("id:u8,n:text(8)"), None);
    for (text, parts) in [
        ("{\"id\":1,\"n\":\"\"}\n{\n", ["5: line 2: ", "no JSON"]),
        (
            "{\"id\":1,\"n\":\"\"}\n{\n{\n",
            ["5: line 2: ", "(and 1 more bad line)"],
        ),
        ("{\"id\":1}\n", ["5: line 1: ", "n"]),
        ("{\"id\":1,\"n\":null}", ["5: line 1: ", "null"]),
        (
            "{\"op\":\"delete\",\"key\":{\"id\":7}}\n",
            ["5: line 1: ", "no key 7"],
        ),
        (
            "{\"op\":\"update\",\"row\":{\"id\":7,\"n\":\"\"}}\n",
            ["5: line 1: ", "no key 7"],
        ),
        ("{\"op\":\"commit\"}\n", ["5: line 1: ", "without `begin`"]),
        (
            "{\"op\":\"begin\"}\n{\"op\":\"begin\"}\n",
            ["5: line 2: ", "line 1"],
        ),
        (
            "{\"op\":\"begin\"}\n{\"op\":\"delete\",\"key\":{\"id\":7}}\n{\"op\":\"commit\"}\n",
            ["5: line 3: ", "transaction of line 1"],
        ),
        (
            "{\"op\":\"insert\",\"row\":{\"id\":7,\"n\":\"\"}}\n{\"op\":\"insert\",\"row\":{\"id\":7,\"n\":\"\"}}\n",
            ["5: line 2: ", "key 7 is there"],
        ),
    ] {
        let reason = table(text, &declared).unwrap_err();
        assert!(
            reason.starts_with(parts[0]) && reason.contains(parts[1]),
            "{text:?}: {reason}"
        );
    }
    let undeclared = settings(None, None);
    for (text, part) in [
        ("", "--fields"),
        ("{\"op\":\"clear\"}\n", "--fields"),
        ("{\"id\":1,\"n\":[1]}\n", "line 1: "),
        ("{}\n", "--fields"),
    ] {
        let reason = table(text, &undeclared).unwrap_err();
        assert!(
            reason.starts_with("5: ") && reason.contains(part),
            "{text:?}: {reason}"
        );
    }
    let key = settings(None, Some("other"));
    assert!(table("{\"id\":1}\n", &key).unwrap_err().starts_with("2: "));
}
