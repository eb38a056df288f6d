mod file;

use super::*;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::parse("id:u8,name:text(16)", None).unwrap())
}

/// Returns the meaning of each record in a short form.
fn said(text: &[u8], dialect: Dialect) -> Vec<String> {
    said_of(schema(), text, dialect)
}

fn said_of(schema: Arc<Schema>, mut text: &[u8], dialect: Dialect) -> Vec<String> {
    let mut lines = CsvRows::new(schema, dialect);
    let mut all = Vec::new();
    while let Some(said) = lines.next(&mut text, true) {
        all.push(said);
    }
    all.iter().map(short).collect()
}

fn short(said: &Result<Line, CliError>) -> String {
    match said {
        Err(error) => format!("header: {error}"),
        Ok((line, Err(reason))) => format!("{line} bad: {reason}"),
        Ok((line, Ok(Instruction::Change(operation)))) => {
            let name = match operation {
                Operation::Insert(_) => "insert",
                Operation::Update(_) => "update",
                Operation::Upsert(_) => "upsert",
                Operation::Delete(_) => "delete",
                Operation::Clear => "clear",
            };
            let row = match operation {
                Operation::Delete(key) => format!("{key:?}"),
                other => serde_json::to_string(other.row().unwrap()).unwrap(),
            };
            format!("{line} {name} {row}")
        }
        Ok((line, Ok(other))) => format!("{line} {other:?}"),
    }
}

#[test]
fn records_become_rows_by_column_names() {
    let expected = [
        r#"2 upsert {"id":1,"name":"one"}"#,
        r#"4 upsert {"id":2,"name":"a\r\n,\"b"}"#,
        r#"8 upsert {"id":3,"name":""}"#,
    ];
    let text = b"name,more,id\none,x,1\r\n\n\"a\r\n,\"\"b\",y,2\r\n\nname,more,id\n,,3";
    // The blank line before the header of a second table, and that header, are not rows.
    let mut lines = said(text, Dialect::default());
    assert_eq!(lines.remove(0), expected[0]);
    assert_eq!(lines.remove(0), expected[1]);
    assert_eq!(lines, [r#"8 upsert {"id":3,"name":""}"#]);
    let marked = b"\xef\xbb\xbfid,name\n1,one";
    assert_eq!(said(marked, Dialect::default()), [r#"2 upsert {"id":1,"name":"one"}"#]);
}

#[test]
fn output_of_watch_is_read_back() {
    let text = b"version,op,id,name\n2,create,1,one\n3,update,1,two\nversion,op,name,id\n4,delete,whatever is long,1";
    assert_eq!(
        said(text, Dialect::default()),
        [r#"2 upsert {"id":1,"name":"one"}"#, r#"3 update {"id":1,"name":"two"}"#, "5 delete [1]",]
    );
    let text = b"op,id,name\ncreate,1,one\nclear,,\n";
    let lines = said(text, Dialect::default());
    assert_eq!(lines[0], r#"2 insert {"id":1,"name":"one"}"#);
    assert!(lines[1].starts_with("3 bad: \"clear\" is not an operation"), "{lines:?}");
}

#[test]
fn dialects_are_applied() {
    let dialect =
        Dialect { delimiter: b'\t', comment: Some(b'#'), has_header: false, ..Dialect::default() };
    assert_eq!(
        said(b"# 1\t2\n1\tone\n1\n", dialect),
        [
            r#"2 upsert {"id":1,"name":"one"}"#,
            "3 bad: cells: 1, but a row has 2: put a cell that contains the delimiter in quotes",
        ]
    );
}

#[test]
fn bad_records_are_refused_separately() {
    let text = b"id,name\n300,x\n1\n1,\xff\n2,two\n3,\"open\n";
    let lines = said(text, Dialect::default());
    for (line, start) in
        lines.iter().zip(["2 bad: ", "3 bad: ", "4 bad: cell 2", "5 upsert", "6 bad: "])
    {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines.len(), 5);
    assert!(said(b"id,id\n", Dialect::default())[0].starts_with("header: line 1: "));
    assert!(said(b"id\n", Dialect::default())[0].contains("name"));
}

#[test]
fn record_size_is_limited() {
    let mut lines = CsvRows::new(schema(), Dialect::default());
    let mut take = |text: &[u8]| {
        let mut text = text;
        let mut said = Vec::new();
        while let Some(one) = lines.next(&mut text, false) {
            said.push(short(&one));
        }
        said
    };
    assert!(take(b"id,name\n").is_empty());
    let long = vec![b'x'; MAX_LINE];
    assert!(take(&[b"1,\"", &long[..MAX_LINE - 3]].concat()).is_empty());
    let refused = take(&[b"1,\"", long.as_slice()].concat());
    assert!(refused.len() == 1 && refused[0].starts_with("2 bad: "), "{refused:?}");
    assert_eq!(take(b"xx\n1,one\n"), [r#"3 upsert {"id":1,"name":"one"}"#]);
}

/// Guards against a row that is read as a header. Covers the last record, and a record that repeats
/// the header and fits no row (the header of a concatenated file), with a byte-order mark before it.
#[test]
fn record_that_repeats_the_header_is_a_row_if_it_fits() {
    let texts = || Arc::new(Schema::parse("key:text(8),value:text(8)", None).unwrap());
    let said_of = |text: &[u8]| said_of(texts(), text, Dialect::default());
    let rows = [r#"2 upsert {"key":"a","value":"b"}"#, r#"3 upsert {"key":"key","value":"value"}"#];
    for text in ["key,value\na,b\nkey,value\n", "key,value\na,b\nkey,value"] {
        assert_eq!(said_of(text.as_bytes()), rows);
    }
    let concatenated = "id,name\n1,one\n\u{feff}id,name\n2,two\n";
    assert_eq!(
        said(concatenated.as_bytes(), Dialect::default()),
        [r#"2 upsert {"id":1,"name":"one"}"#, r#"4 upsert {"id":2,"name":"two"}"#,]
    );
}

/// Guards against fields whose names collide with names that the program uses itself. Covers a
/// field called `op`, one called `version`, both, in any order, and records of such fields without
/// an operation.
#[test]
fn fields_may_be_named_op_and_version() {
    for (fields, text, expected) in [
        (
            "id:u8,op:text(8),version:u8",
            "version,op,id,op,version\n2,create,1,x,3\n",
            r#"2 upsert {"id":1,"op":"x","version":3}"#,
        ),
        ("id:u8,op:text(8)", "version,op,op,id\n2,update,x,1\n", r#"2 update {"id":1,"op":"x"}"#),
        ("version:u8,n:u8", "version,op,version,n\n2,delete,1,7\n", "2 delete [1]"),
        (
            "id:u8,op:text(8),version:u8",
            "version,op,id\n3,x,1\n",
            r#"2 upsert {"id":1,"op":"x","version":3}"#,
        ),
        ("id:u8,op:text(8)", "op,id\ndelete,1\n", r#"2 upsert {"id":1,"op":"delete"}"#),
    ] {
        let schema = Arc::new(Schema::parse(fields, None).unwrap());
        let said = said_of(schema, text.as_bytes(), Dialect::default());
        assert_eq!(said, [expected], "{fields}");
    }
    let schema = Arc::new(Schema::parse("id:u8,op:text(8)", None).unwrap());
    let twice = said_of(schema, b"id,op,op\n", Dialect::default());
    assert!(twice[0].contains("columns 2 and 3"), "{twice:?}");
}

#[test]
fn error_for_a_header_with_another_separator_names_the_option() {
    for (text, part) in [
        ("id;name\n", "--delimiter ';'"),
        ("id|name\n", "--delimiter '|'"),
        ("id\tname\n", "--delimiter tab"),
    ] {
        let said = said(text.as_bytes(), Dialect::default());
        assert!(said[0].starts_with("header: line 1: ") && said[0].contains(part), "{said:?}");
    }
}
