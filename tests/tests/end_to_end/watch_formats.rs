//! Output of `watch`, parsed by libraries.

use std::collections::BTreeMap;

use common::RowBuf;
use serde_json::{Value, json};
use tests::published::{Published, assert_is_row, lines, rows};

/// Applies the JSON lines of a watch to an empty table.
fn replay(lines: &[Value]) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for line in lines {
        let key = line["key"].to_string();
        let (old, row) = (line.get("old").cloned(), line.get("row").cloned());
        let (had, has) = match line["op"].as_str().unwrap() {
            "create" => (false, true),
            "update" => (true, true),
            "delete" => (true, false),
            op => panic!("no op {op}"),
        };
        assert_eq!((old.is_some(), row.is_some()), (had, has), "{line}");
        for whole in [&old, &row].into_iter().flatten() {
            assert_eq!((&whole["text"], &whole["id"]), (&line["key"]["text"], &line["key"]["id"]));
        }
        let before = match row {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
        assert_eq!(before, old, "{line}");
        assert!(line["version"].is_u64());
    }
    rows
}

fn change(published: &mut Published) -> Vec<Value> {
    let mut changed = rows();
    changed[4]["small"] = json!(17);
    let mut new = changed[4].clone();
    new["id"] = json!(99);
    changed.push(new);
    let (first, last) = (changed[4].clone(), changed[6].clone());
    published.commit(&[first, last]);
    let schema = published.publisher.schema().clone();
    let gone = RowBuf::from_json(&schema, changed.remove(0).as_object().unwrap()).unwrap();
    let mut tx = published.publisher.begin();
    tx.delete(&gone.key_bytes()).unwrap();
    tx.commit().unwrap();
    changed
}

#[test]
fn watch_prints_json_lines() {
    let mut published = Published::new("watch-jsonl");
    let mut watch = published.watch("jsonl", &["--count", "3"]);
    watch.stdout_until(|text| text.lines().count() == rows().len());
    let changed = change(&mut published);
    watch.ends_with(0);
    let told = lines(&watch.stdout());
    assert_eq!(told.len(), rows().len() + 3);
    let versions: Vec<u64> = told.iter().map(|line| line["version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted());
    assert_eq!(versions[0], 2);
    let mut found: Vec<Value> = replay(&told).into_values().collect();
    found.sort_by_key(|row| (row["text"].to_string(), row["id"].as_u64()));
    let mut expected = changed;
    expected.sort_by_key(|row| (row["text"].to_string(), row["id"].as_u64()));
    assert_eq!(found, expected);
}

#[test]
fn watch_prints_one_json_array_when_it_ends() {
    let mut published = Published::new("watch-json");
    let once = published.watch("json", &["--once"]).finished();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&once).unwrap().len(), rows().len());
    let mut watch = published.watch("json", &["--count", "3"]);
    watch.stdout_until(|text| text.contains("ünï→"));
    change(&mut published);
    let told: Vec<Value> = serde_json::from_str(&watch.finished()).unwrap();
    assert_eq!(told.len(), rows().len() + 3);
    replay(&told);
}

#[test]
fn watch_prints_csv() {
    let mut published = Published::new("watch-csv");
    let mut watch = published.watch("csv", &["--count", "3"]);
    watch.stdout_until(|text| text.contains("ünï→"));
    change(&mut published);
    let text = watch.finished();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    assert_eq!(names.iter().take(3).collect::<Vec<_>>(), ["version", "op", "text"]);
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let ops: Vec<&str> = records.iter().map(|record| &record[1]).collect();
    assert_eq!(ops[..rows().len()], ["create"; 6]);
    let mut changes = ops[rows().len()..].to_vec();
    changes.sort_unstable();
    assert_eq!(changes, ["create", "delete", "update"]);
    for (record, mut row) in records.iter().zip(rows()) {
        row["version"] = json!(2);
        row["op"] = json!("create");
        assert_is_row(&names, record, &row);
    }
}

#[test]
fn watch_prints_table_and_one_line_per_change() {
    let mut published = Published::new("watch-table");
    let mut watch = published.watch("table", &["--count", "3"]);
    watch.stdout_until(|text| text.contains("ünï→"));
    change(&mut published);
    let text = watch.finished();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + rows().len() + 3, "{text}");
    let changes = lines[1 + rows().len()..].join("\n");
    for part in ["plain,2", "plain,99", "small -5 → 17"] {
        assert!(changes.contains(part), "{part} in {changes}");
    }
}
