use super::*;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::parse("id:u8,name:text(16)", None).unwrap())
}

/// What lines lead to, in short.
fn said(text: &[u8], dialect: Dialect) -> Vec<String> {
    let mut lines = CsvLines::new(schema(), dialect);
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        all.extend(lines.take(number, &Line::Whole(line)));
    }
    all.extend(lines.end());
    all.iter().map(short).collect()
}

fn short(said: &Said) -> String {
    match said {
        Said::BadHeader(line, reason) => format!("{line} header: {reason}"),
        Said::Record(line, Err(reason)) => format!("{line} bad: {reason}"),
        Said::Record(line, Ok(Instruction::Change(operation))) => {
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
        Said::Record(line, Ok(other)) => format!("{line} {other:?}"),
    }
}

#[test]
fn records_are_rows_by_the_names_of_their_columns() {
    let expected = [
        r#"2 upsert {"id":1,"name":"one"}"#,
        r#"4 upsert {"id":2,"name":"a\r\n,\"b"}"#,
        r#"8 upsert {"id":3,"name":""}"#,
    ];
    let text = b"name,more,id\none,x,1\r\n\n\"a\r\n,\"\"b\",y,2\r\n\nname,more,id\n,,3";
    // The blank line before the header of a second table, and that header, are no rows.
    let mut lines = said(text, Dialect::default());
    assert_eq!(lines.remove(0), expected[0]);
    assert_eq!(lines.remove(0), expected[1]);
    assert_eq!(lines, [r#"8 upsert {"id":3,"name":""}"#]);
    let marked = b"\xef\xbb\xbfid,name\n1,one";
    assert_eq!(
        said(marked, Dialect::default()),
        [r#"2 upsert {"id":1,"name":"one"}"#]
    );
}

#[test]
fn what_a_watch_prints_is_read_back() {
    let text = b"version,op,id,name\n2,create,1,one\n3,update,1,two\nversion,op,name,id\n4,delete,whatever is long,1";
    assert_eq!(
        said(text, Dialect::default()),
        [
            r#"2 upsert {"id":1,"name":"one"}"#,
            r#"3 update {"id":1,"name":"two"}"#,
            "5 delete [1]",
        ]
    );
    let text = b"op,id,name\ncreate,1,one\nclear,,\n";
    let lines = said(text, Dialect::default());
    assert_eq!(lines[0], r#"2 insert {"id":1,"name":"one"}"#);
    assert!(
        lines[1].starts_with("3 bad: \"clear\" is no operation"),
        "{lines:?}"
    );
}

#[test]
fn dialects_are_understood() {
    let dialect = Dialect {
        delimiter: b'\t',
        comment: Some(b'#'),
        has_header: false,
    };
    assert_eq!(
        said(b"# 1\t2\n1\tone\n1\n", dialect),
        [
            r#"2 upsert {"id":1,"name":"one"}"#,
            "3 bad: cells: 1, but there are 2 columns: a cell with the delimiter in it stands in quotes",
        ]
    );
}

#[test]
fn what_is_bad_is_refused_by_itself() {
    let text = b"id,name\n300,x\n1\n1,\xff\n2,two\n3,\"open\n";
    let lines = said(text, Dialect::default());
    for (line, start) in
        lines
            .iter()
            .zip(["2 bad: ", "3 bad: ", "4 bad: cell 2", "5 upsert", "6 bad: "])
    {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines.len(), 5);
    assert!(said(b"id,id\n", Dialect::default())[0].starts_with("1 header: "));
    assert!(said(b"id\n", Dialect::default())[0].contains("name"));
}

#[test]
fn records_are_bounded() {
    let mut lines = CsvLines::new(schema(), Dialect::default());
    assert!(lines.take(1, &Line::Whole(b"id,name")).is_empty());
    let long = vec![b'x'; MAX_RECORD / 2];
    assert!(
        lines
            .take(2, &Line::Whole(&[b"1,\"", long.as_slice()].concat()))
            .is_empty()
    );
    assert!(lines.take(3, &Line::Whole(&long[1..])).len() == 1);
    assert!(lines.take(4, &Line::TooLong).len() == 1);
    let commas = vec![b','; MAX_CELLS];
    assert!(short(&lines.take(5, &Line::Whole(&commas))[0]).contains("cells"));
    let after = lines.take(6, &Line::Whole(b"1,one"));
    assert_eq!(short(&after[0]), r#"6 upsert {"id":1,"name":"one"}"#);
}
