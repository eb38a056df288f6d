//! Output of `get`, `ls` and `info`, parsed by libraries.

use common::{Schema, UntypedPublisher};
use serde_json::{Value, json};
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::{FIELDS, Published, assert_is_row, cell, lines, rows};
use tests::table::Table;

#[test]
fn get_prints_json_lines() {
    let published = Published::new("get-jsonl");
    assert_eq!(lines(&published.get("jsonl", &[])), rows());
    let some = published.get("jsonl", &["\"a, \"\"b\"\"\",7", "plain,2"]);
    assert_eq!(lines(&some), [rows()[1].clone(), rows()[4].clone()]);
}

#[test]
fn get_prints_one_json_array() {
    let published = Published::new("get-json");
    let array: Value = serde_json::from_str(&published.get("json", &[])).unwrap();
    assert_eq!(array, Value::Array(rows()));
    // Fields have the order of the schema.
    let text = published.get("jsonl", &["plain,2"]);
    let places: Vec<usize> = Schema::parse(FIELDS, None)
        .unwrap()
        .fields()
        .iter()
        .map(|field| text.find(&format!("{:?}:", field.name())).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn get_prints_csv() {
    let published = Published::new("get-csv");
    let text = published.get("csv", &[]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let expected = Schema::parse(FIELDS, None).unwrap();
    assert!(names.iter().eq(expected.fields().iter().map(common::Field::name)));
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows().len());
    for (record, row) in records.iter().zip(rows()) {
        assert_is_row(&names, record, &row);
    }
}

#[test]
fn get_prints_table_with_one_line_per_row() {
    let published = Published::new("get-table");
    let text = published.get("table", &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + rows().len(), "{text}");
    assert!(!text.contains('\x1b'), "no colour in a pipe");
    for field in Schema::parse(FIELDS, None).unwrap().fields() {
        assert!(lines[0].split_whitespace().any(|name| name == field.name()), "{text}");
    }
    for (line, row) in lines[1..].iter().zip(rows()) {
        for name in ["id", "v4", "mac", "net", "signed"] {
            assert!(
                line.split_whitespace().any(|word| word == cell(&row[name])),
                "{name} of {line}"
            );
        }
    }
    // Cells of one column are aligned.
    let at = lines[0].find(" v4").unwrap() + 1;
    let plain = lines.iter().find(|line| line.starts_with("plain")).unwrap();
    assert!(plain[at..].starts_with("192.0.2.7") || plain[..=at].ends_with('7'), "{text}");
}

#[test]
fn each_format_prints_empty_table() {
    let table = Table::new("empty");
    let schema = Schema::parse("id:u64,name:text(4)", None).unwrap();
    let _publisher = UntypedPublisher::builder(table.name(), schema).open().unwrap();
    for (format, expected) in [("jsonl", ""), ("csv", "id,name\n"), ("table", "id  name\n")] {
        let (stdout, _) =
            Process::run(subscriber().args(["get", table.name(), "--format", format]), 0);
        assert_eq!(stdout, expected, "{format}");
    }
    let (stdout, _) = Process::run(subscriber().args(["get", table.name(), "--format", "json"]), 0);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), json!([]));
}

#[test]
fn ls_and_info_can_be_parsed() {
    let published = Published::new("info");
    let name = published.table.name();
    let (stdout, _) =
        Process::run(subscriber().args(["ls", "--format", "jsonl", "--sample", "10ms"]), 0);
    let all = lines(&stdout);
    let own = all.iter().find(|line| line["name"] == name).unwrap();
    assert_eq!((&own["rows"], &own["version"]), (&json!(rows().len()), &json!(2)));
    assert_eq!(own["pid"], json!(std::process::id()));
    let (stdout, _) =
        Process::run(subscriber().args(["ls", "--format", "csv", "--sample", "10ms"]), 0);
    let mut reader = csv::Reader::from_reader(stdout.as_bytes());
    assert!(reader.records().map(Result::unwrap).any(|record| &record[0] == name));
    let (stdout, _) = Process::run(subscriber().args(["ls", "--sample", "10ms"]), 0);
    assert!(stdout.lines().any(|line| line.starts_with(name)));
    let (stdout, _) = Process::run(subscriber().args(["info", name, "--format", "json"]), 0);
    let info: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(info["schema"]["key"], json!(["text", "id"]));
    assert_eq!(info["schema"]["fields"].as_array().unwrap().len(), 13);
    assert_eq!((&info["rows"], &info["capacity_rows"]), (&json!(rows().len()), &json!(100)));
    let (stdout, _) = Process::run(subscriber().args(["info", name]), 0);
    assert!(stdout.contains(name) && stdout.contains("timestamp"), "{stdout}");
}
