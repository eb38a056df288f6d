use common::RowRef;

use super::super::*;
use crate::source::format::OnDuplicate;

const TABS: Dialect = Dialect {
    delimiter: b'\t',
    is_delimiter_given: true,
    comment: Some(b'#'),
    has_header: false,
    has_quotes: true,
    columns: None,
    skip_lines: 0,
};

fn settings(fields: Option<&str>, key: Option<&str>) -> Settings {
    Settings {
        format: crate::source::format::Format::Csv(Dialect::default()),
        declared: fields.map(|fields| Schema::parse(fields, key).unwrap()),
        key: key.map(|key| key.split(',').map(str::to_owned).collect()),
        pins_schema: false,
        columns: None,
        on_duplicate: None,
    }
}

fn read_as(text: &str, dialect: Dialect, settings: &Settings) -> Result<Table, CliError> {
    read(text.as_bytes(), dialect, settings, None)
}

/// Returns the schema and the rows as text.
fn table(text: &str, dialect: Dialect, settings: &Settings) -> (String, Vec<String>) {
    let table = read_as(text, dialect, settings).unwrap_or_else(|fault| panic!("{fault}"));
    let schema = table.snapshot.schema();
    let print = |row| {
        let row = RowRef::new(schema, row).unwrap();
        row.values().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join("|")
    };
    (schema.to_string(), table.snapshot.rows().map(print).collect())
}

fn inferred(text: &str) -> (String, Vec<String>) {
    table(text, Dialect::default(), &settings(None, None))
}

fn fault(text: &str, settings: &Settings) -> String {
    let fault = read_as(text, Dialect::default(), settings).map(|_| ()).unwrap_err();
    format!("{}: {fault}", fault.code())
}

#[test]
fn kinds_are_inferred_from_the_whole_file() {
    let text = "id,price,ok,zip,address\n1,9.5,true,01234,10.0.0.1\n2,10,false,99999,10.0.0.2\n";
    let (schema, rows) = inferred(text);
    assert_eq!(schema, "id:u64,price:f64,ok:bool,zip:text(8),address:ipv4");
    assert_eq!(rows, ["1|9.5|true|01234|10.0.0.1", "2|10|false|99999|10.0.0.2"]);
    let (schema, rows) = inferred("id,n\n1,1\n2,\n");
    assert_eq!(
        (schema.as_str(), rows),
        ("id:u64,n:text(8)", vec!["1|1".to_owned(), "2|".to_owned()])
    );
    assert_eq!(inferred("id,n\n"), ("id:text(8),n:text(8)".to_owned(), vec![]));
}

#[test]
fn quotes_line_ends_and_byte_order_marks_are_read() {
    let expected =
        ("id:u64,name:text(8)".to_owned(), vec!["1|a\nb,\"c\"".to_owned(), "2|x".to_owned()]);
    for text in [
        "id,name\n1,\"a\nb,\"\"c\"\"\"\n2,x\n",
        "id,name\r\n1,\"a\nb,\"\"c\"\"\"\r\n2,x",
        "\n\nid,name\n\n1,\"a\nb,\"\"c\"\"\"\n\n2,\"x\"\n\n\n",
    ] {
        assert_eq!(inferred(text), expected, "{text:?}");
    }
}

#[test]
fn fields_select_and_order_columns() {
    let text = "id,full name,more\n1,one,x\n2,two,y\n";
    let chosen = settings(Some("full_name:text(3),id:u8"), Some("id"));
    let (_, rows) = table(text, Dialect::default(), &chosen);
    assert_eq!(rows, ["one|1", "two|2"]);
    let remarks = read_as(text, Dialect::default(), &chosen).unwrap().remarks;
    assert!(
        remarks.iter().any(|remark| remark.contains("left out") && remark.ends_with("more")),
        "{remarks:?}"
    );
    let missing = settings(Some("id:u8,colour:u8"), None);
    assert!(fault(text, &missing).starts_with("2: "));
    let narrow = settings(Some("id:u8,full_name:text(2)"), None);
    let reason = fault(text, &narrow);
    assert!(
        reason.starts_with("5: line 2: ")
            && reason.contains("full_name")
            && reason.ends_with("(and 1 more bad line)"),
        "{reason}"
    );
}

#[test]
fn file_without_header_is_read() {
    let text = "# begin\n1\tone\n# middle \"\n2\ttwo\n#end";
    let (schema, rows) = table(text, TABS, &settings(None, None));
    assert_eq!(schema, "column_1:u64,column_2:text(8)");
    assert_eq!(rows, ["1|one", "2|two"]);
    let (schema, _) = table(text, TABS, &settings(Some("id:u8,name:text(4)"), None));
    assert_eq!(schema, "id:u8,name:text(4)");
    for fields in ["id:u8", "id:u8,name:text(4),more:u8"] {
        assert_eq!(read_as(text, TABS, &settings(Some(fields), None)).unwrap_err().code(), 2);
    }
}

#[test]
fn duplicate_keys_are_refused_unless_one_row_is_chosen() {
    let text = "id,n\n1,1\n\n2,\"a\nb\"\n1,3\n1,4\n";
    let reason = fault(text, &settings(None, None));
    assert!(
        reason.starts_with("5: line 6: ")
            && reason.contains("key 1 ")
            && reason.contains("line 2:"),
        "{reason}"
    );
    for (on_duplicate, kept) in [(OnDuplicate::First, "1|1"), (OnDuplicate::Last, "1|4")] {
        let settings = Settings { on_duplicate: Some(on_duplicate), ..settings(None, None) };
        let (_, rows) = table(text, Dialect::default(), &settings);
        assert_eq!(rows, [kept, "2|a\nb"]);
    }
    let (_, rows) = table(text, Dialect::default(), &settings(None, Some("id,n")));
    assert_eq!(rows.len(), 4);
}

#[test]
fn faults_name_their_line() {
    let inferred = settings(None, None);
    let long = format!("id,n\n1,x\n2,{}\n", "x".repeat(4097));
    for (text, parts) in [
        ("", ["5: it is empty", "names"]),
        ("\n\r\n", ["5: it is empty", "names"]),
        ("a,a\n", ["5: line 1: ", "called \"a\""]),
        ("\n\na,b\n1\n", ["5: line 4: ", "cells: 1, but the header has 2"]),
        ("a,b\r\n1,2\r\n1,2,3\r\n", ["5: line 3: ", "cells: 3"]),
        ("a,b\n\"1\n\n\",2\n1\n", ["5: line 5: ", "cells: 1"]),
        ("a,b\n1,2\n\n3,\"x\n4,y\n", ["5: line 4: ", "never closed"]),
        ("a,b\n\"1,2\n", ["5: line 2: ", "never closed"]),
        ("a,b\n1,x\0\n", ["5: line 2: ", "zero byte"]),
        (&long, ["5: line 3: ", "4097 bytes"]),
    ] {
        let reason = fault(text, &inferred);
        assert!(reason.starts_with(parts[0]) && reason.contains(parts[1]), "{text:?}: {reason}");
    }
    let reason = fault("a,b\n1,2\n", &settings(None, Some("c")));
    assert!(reason.starts_with("2: ") && reason.contains("\"c\""), "{reason}");
}

#[test]
fn unclosed_quote_is_found_at_every_end_of_file() {
    for (text, is_open) in [
        ("a\n\"x", true),
        ("a\n\"x\n", true),
        ("a\n\"x\"", false),
        ("a\n\"x\"\n", false),
        ("a\n\"\"\"", true),
        ("a\n\"x\"\"\n", true),
        ("a\n5\" pipe\n", false),
        ("a\nx\n\n", false),
        ("a\nx\r", false),
    ] {
        let read = read_as(text, Dialect::default(), &settings(None, None));
        assert_eq!(read.is_err(), is_open, "{text:?}: {:?}", read.err());
    }
}

#[test]
fn key_may_be_given_by_its_name_in_the_file() {
    let text = "Registry,Full Name\nx,a\nx,b\n";
    let table = read_as(text, Dialect::default(), &settings(None, Some("Full Name"))).unwrap();
    let key: Vec<&str> =
        table.snapshot.schema().key_fields().map(common::schema::Field::name).collect();
    assert_eq!(key, ["Full_Name"]);
    assert!(table.remarks[0].contains("Full_Name"), "{:?}", table.remarks);
}

/// Guards against line numbers of faults that depend on how lines end. Covers each line end, mixed
/// ones, and errors in the number of cells, in a value, in a key and in quotes.
#[test]
fn line_numbers_of_faults_do_not_depend_on_line_ends() {
    let declared = settings(Some("id:u8,n:u8"), None);
    for (text, line) in [
        ("id,n|1,2|2,y,z|", 3),
        ("id,n|1,2|2,y|", 3),
        ("id,n|1,2|1,3|", 3),
        ("id,n|1,2|2,\"3\"4|", 3),
        ("id,n|1,2|2,\"3|", 3),
    ] {
        for (index, end) in ["\n", "\r", "\r\n"].into_iter().enumerate() {
            let same = text.replace('|', end);
            let mut ends = ["\n", "\r\n", "\r"].into_iter().cycle().skip(index);
            let mixed: Vec<String> = text
                .split_inclusive('|')
                .map(|part| part.replace('|', ends.next().unwrap()))
                .collect();
            for text in [same, mixed.concat()] {
                let reason = fault(&text, &declared);
                let place = format!("5: line {line}: ");
                assert!(reason.starts_with(&place), "{text:?}: {reason}");
            }
        }
    }
}

/// Guards against a file with another separator that becomes a table of one column. Covers each
/// separator, with and without a header, one record, decimal commas; and files that do have one
/// column: with quoted separators, with different numbers of them, and with the delimiter given.
#[test]
fn file_with_another_delimiter_is_refused() {
    let inferred = settings(None, None);
    for (text, part) in [
        ("id;name\n1;a\n2;b\n", "--delimiter ';'"),
        ("id|name\r\n1|a\r\n", "--delimiter '|'"),
        ("id\tname\n1\ta\n", "--delimiter tab"),
        ("id;name\n", "--delimiter ';'"),
        ("id;price\n1;1,5\n2;2,75\n", "--delimiter ';'"),
        ("\"id\";\"name\"\n\"1\";\"a\"\n", "--delimiter ';'"),
    ] {
        let reason = fault(text, &inferred);
        assert!(reason.starts_with("5: ") && reason.contains(part), "{text:?}: {reason}");
    }
    let reason = fault("id;name\n1;a\n", &settings(Some("id:u64"), None));
    assert!(reason.contains("--delimiter ';'"), "{reason}");
    let tabs = Dialect { is_delimiter_given: false, comment: None, ..TABS };
    let refused = read_as("1,a\n2,b\n", tabs, &inferred).unwrap_err();
    assert!(refused.to_string().contains("--delimiter ','"), "{refused}");
    for text in [
        "city\n\"Paris, France\"\n\"Rome, Italy\"\n",
        "\"a;b\"\n\"c;d\"\n",
        "note\na;b\n",
        "a;b\nc\n",
        "a;b\nc;d;e\n",
    ] {
        let (_, rows) = table(text, Dialect::default(), &inferred);
        assert_eq!(rows.len(), text.lines().count() - 1, "{text:?}");
    }
    let given = Dialect { is_delimiter_given: true, ..Dialect::default() };
    assert_eq!(table("a;b\nc;d\n", given, &inferred).1, ["c;d"]);
}

/// Guards against a readable file that is refused. Covers names that differ beyond 64 bytes, and
/// columns with equal names that are not selected.
#[test]
fn duplicate_names_are_refused_only_where_they_are_used() {
    let long = "x".repeat(64);
    let text = format!("id,{long} [pay],{long} [hours]\n1,a,b\n");
    assert_eq!(inferred(&text).1, ["1|a|b"]);
    let id = settings(Some("id:u64"), None);
    assert_eq!(table(&text, Dialect::default(), &id).1, ["1"]);
    assert_eq!(table("id,n,n\n1,a,b\n", Dialect::default(), &id).1, ["1"]);
    let twice = fault("id,n,n\n1,a,b\n", &settings(Some("n:text(8)"), None));
    assert!(twice.contains("2 and 3"), "{twice}");
}

/// In a file only the first record is a header. A record that repeats it is a row.
#[test]
fn record_that_repeats_the_header_is_a_row() {
    assert_eq!(inferred("k,v\na,b\nk,v\n").1, ["a|b", "k|v"]);
}

#[test]
fn columns_are_separated_by_runs_of_blanks() {
    let columns = Dialect { columns: Some(usize::MAX), comment: Some(b'#'), ..Dialect::default() };
    let table = |text: &str, dialect| table(text, dialect, &settings(None, None));
    let df = "Filesystem 1024-blocks  Used Mounted on\n/dev/sda1      100    50 /\n\n \ntmpfs\t7 \"8 /run/a  b \r\n";
    let (schema, rows) = table(df, columns);
    assert_eq!(schema, "Filesystem:text(16),1024-blocks:u64,Used:text(8),Mounted_on:text(16)");
    assert_eq!(rows, ["/dev/sda1|100|50|/", "tmpfs|7|\"8|/run/a  b"]);
    let ps = "  PID TTY    CMD\n  # x\n    1 ?    init -x\n   22 pts/0  sh";
    let (schema, rows) = table(ps, columns);
    assert_eq!(schema, "PID:u64,TTY:text(8),CMD:text(8)");
    assert_eq!(rows, ["1|?|init -x", "22|pts/0|sh"]);
    let ss = "State Address:Port Address:Port\nup 1:2 3:4\n";
    assert_eq!(table(ss, columns).0, "State:text(8),Address_Port:text(8),Address_Port_3:text(8)");
    assert_eq!(table("word\none two\n", columns).1, ["one two"]);
    let bare = Dialect { has_header: false, ..columns };
    assert_eq!(table("a 1 2\nb 3\n", bare).1, ["a|1 2", "b|3"]);
    let chosen = settings(Some("Mounted on:text(16),Used:text(8)"), None);
    assert_eq!(self::table(df, columns, &chosen).1, ["/|50", "/run/a  b|\"8"]);
}

#[test]
fn user_or_file_may_name_columns_and_delimiter() {
    let with = |names: &str, text: &str, dialect| {
        let names = names.split(',').map(str::to_owned).collect();
        table(text, dialect, &Settings { columns: Some(names), ..settings(None, None) })
    };
    let csv = Dialect::default();
    let renamed = ("a:u64,b:text(8)".to_owned(), vec!["1|x".to_owned()]);
    assert_eq!(with("a,b", "id,name\n1,x\n", csv), renamed);
    let bare = Dialect { has_header: false, ..csv };
    assert_eq!(with("a,b", "1,x\n", bare), renamed);
    let wide = Settings { columns: Some(vec!["a".to_owned()]), ..settings(None, None) };
    let reason = "2: --columns has 1 names, but the first record has 2 cells";
    assert_eq!(fault("id,name\n1,x\n", &wide), reason);
    // Names select the columns of a file without a header.
    let names = Some(["a", "b"].map(str::to_owned).to_vec());
    let chosen = Settings { columns: names, ..settings(Some("b:text(8)"), None) };
    assert_eq!(table("1,x\n", bare, &chosen).1, ["x"]);
    // In columns the names also determine their number, and the last cell may be missing.
    let columns = Dialect { columns: Some(usize::MAX), skip_lines: 1, has_header: false, ..csv };
    let (schema, rows) = with("disk,size,place", "skipped\nsda 7\nsdb 8 /a b\n", columns);
    assert_eq!(schema, "disk:text(8),size:u64,place:text(8)");
    assert_eq!(rows, ["sda|7|", "sdb|8|/a b"]);
    let names = Some(["disk", "size", "place"].map(str::to_owned).to_vec());
    let three = Settings { columns: names, ..settings(None, None) };
    let bad = read_as("skipped\nsda 7\nsdb\n", columns, &three).map(|_| ()).unwrap_err();
    assert_eq!(bad.to_string(), "line 3: words: 1, but --columns names 3 columns");

    let expected = ("id:u64,n:u64".to_owned(), vec!["1|2".to_owned()]);
    let inferred = settings(None, None);
    for text in ["sep=;\nid;n\n1;2\n", "\u{feff}sep=;\r\nid;n\r\n1;2", "\nsep=\t\n\nid\tn\n1\t2"] {
        assert_eq!(table(text, csv, &inferred), expected, "{text:?}");
    }
    let given = Dialect { is_delimiter_given: true, ..csv };
    assert_eq!(table("sep=;\nid,n\n1,2\n", given, &inferred), expected);
    assert_eq!(table("sep=x,n\n1,2\n", csv, &inferred).1, ["1|2"]);
    let skipping = Dialect { skip_lines: 3, ..csv };
    for end in ["\n", "\r", "\r\n"] {
        let text = ["x,\"y", "", "#z", "id,n", "1,2"].join(end);
        assert_eq!(table(&text, skipping, &inferred), expected, "{end:?}");
        let bad = read_as(&format!("{text}{end}3"), skipping, &inferred).map(|_| ()).unwrap_err();
        assert!(bad.to_string().starts_with("line 6: cells: 1"), "{bad}");
    }
}
