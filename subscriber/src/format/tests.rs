//! Tests that parse the output with independent parsers.

use std::sync::Arc;

use common::{RowBuf, Schema};
use serde_json::json;

use super::*;

const FIELDS: &str = "id:i64,name:text(24),price:f64,up:bool,big:u64";
const NAMES: [&str; 4] = ["plain", "with, comma", "\"quoted\"\nline", ""];

fn rows() -> Vec<RowBuf> {
    let schema = Arc::new(Schema::parse(FIELDS, Some("name,id")).unwrap());
    let prices = ["1.5", "NaN", "-Infinity", "0.1"];
    NAMES
        .iter()
        .zip(prices)
        .map(|(name, price)| {
            let mut row = RowBuf::new(Arc::clone(&schema));
            let cells = ["-9007199254740993", name, price, "true", "18446744073709551615"];
            for (index, cell) in cells.iter().enumerate() {
                row.set_text(index, cell).unwrap();
            }
            row
        })
        .collect()
}

fn printed(format: Format, print: impl Fn(&mut dyn Printer) -> io::Result<()>) -> String {
    let mut bytes = Vec::new();
    let mut printer = format.printer_to(&mut bytes, Palette::default(), Width::of_test(None), true);
    print(printer.as_mut()).unwrap();
    printer.flush().unwrap();
    drop(printer);
    String::from_utf8(bytes).unwrap()
}

fn printed_rows(format: Format, rows: &[RowBuf]) -> String {
    let schema = Arc::clone(self::rows()[0].schema());
    let all = Projection::all(&schema);
    let rows: Vec<Shown<'_>> = rows.iter().map(|row| all.show(row.as_ref())).collect();
    printed(format, |printer| printer.rows(&all, &rows))
}

fn printed_watch(format: Format, rows: &[RowBuf]) -> String {
    let projection = Projection::all(rows[0].schema());
    let all: Vec<Shown<'_>> = rows.iter().map(|row| projection.show(row.as_ref())).collect();
    printed(format, |printer| {
        printer.first(6, &projection, &all[..1])?;
        let (old, new) = (all[0], all[1]);
        printer.change(7, &Change::Updated { old, new })?;
        printer.change(7, &Change::Deleted(all[2]))?;
        printer.finish()
    })
}

/// Returns the expected JSON of a row.
fn expected(row: &RowBuf) -> serde_json::Value {
    let price = match row.as_ref().field("price").unwrap().to_string().as_str() {
        "1.5" => json!(1.5),
        "0.1" => json!(0.1),
        name => json!(name),
    };
    let name = row.as_ref().field("name").unwrap().to_string();
    json!({"id": -9007199254740993_i64, "name": name, "price": price, "up": true, "big": u64::MAX})
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn cells_of_tsv_are_escaped_and_raw_ones_are_not() {
    let schema = Arc::new(Schema::parse("id:u8,name:text(16)", None).unwrap());
    let mut row = RowBuf::new(Arc::clone(&schema));
    row.set_text(1, "a\tb\\\n\"c\"").unwrap();
    let all = Projection::all(&schema);
    let text = |format| printed(format, |printer| printer.rows(&all, &[all.show(row.as_ref())]));
    assert_eq!(text(Format::Tsv), "id\tname\n0\ta\\tb\\\\\\n\"c\"\n");
    assert_eq!(text(Format::Raw), "0\ta\tb\\\n\"c\"\n");
}

#[test]
fn rows_are_json() {
    let rows = rows();
    let expected: Vec<_> = rows.iter().map(expected).collect();
    assert_eq!(lines(&printed_rows(Format::Jsonl, &rows)), expected);
    let array: Vec<serde_json::Value> =
        serde_json::from_str(&printed_rows(Format::Json, &rows)).unwrap();
    assert_eq!(array, expected);
    assert_eq!(printed_rows(Format::Json, &[]), "[]\n");
    assert_eq!(printed_rows(Format::Jsonl, &[]), "");
}

#[test]
fn changes_are_json() {
    let rows = rows();
    let reported = lines(&printed_watch(Format::Jsonl, &rows));
    let key = |row: usize| json!({"name": NAMES[row], "id": -9007199254740993_i64});
    let [first, second, third] = [0, 1, 2].map(|row| expected(&rows[row]));
    assert_eq!(
        reported,
        [
            json!({"version": 6, "op": "create", "key": key(0), "row": first}),
            json!({"version": 7, "op": "update", "key": key(1), "row": second, "old": first}),
            json!({"version": 7, "op": "delete", "key": key(2), "old": third}),
        ]
    );
    let array: Vec<serde_json::Value> =
        serde_json::from_str(&printed_watch(Format::Json, &rows)).unwrap();
    assert_eq!(array, reported);
}

#[test]
fn rows_are_csv() {
    let rows = rows();
    let text = printed_rows(Format::Csv, &rows);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["id", "name", "price", "up", "big"]);
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len());
    for (record, row) in records.iter().zip(&rows) {
        let cells: Vec<String> =
            row.as_ref().values().map(|(_, value)| value.to_string()).collect();
        assert_eq!(record, cells);
    }
    assert_eq!(printed_rows(Format::Csv, &[]), "id,name,price,up,big\n");
}

#[test]
fn changes_are_csv() {
    let text = printed_watch(Format::Csv, &rows());
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    assert_eq!(
        reader.headers().unwrap(),
        vec!["version", "op", "id", "name", "price", "up", "big"]
    );
    let reported: Vec<_> = reader
        .records()
        .map(Result::unwrap)
        .map(|record| [0, 1, 3].map(|cell| record[cell].to_owned()))
        .collect();
    let expected =
        [["6", "create", NAMES[0]], ["7", "update", NAMES[1]], ["7", "delete", NAMES[2]]];
    assert_eq!(reported, expected);
}

#[test]
fn schema_change_prints_new_csv_header() {
    let schema = Arc::new(Schema::parse("id:u8", None).unwrap());
    let (rows, other) = (rows(), RowBuf::new(Arc::clone(&schema)));
    let [before, now] = [rows[0].schema(), &schema].map(Projection::all);
    let (row, other) = (before.show(rows[0].as_ref()), now.show(other.as_ref()));
    let text = printed(Format::Csv, |printer| {
        printer.change(1, &Change::Deleted(row))?;
        printer.change(2, &Change::Created(other))?;
        printer.change(3, &Change::Deleted(other))
    });
    let names: Vec<&str> = text.lines().filter(|line| line.starts_with('v')).collect();
    assert_eq!(names, ["version,op,id,name,price,up,big", "version,op,id"]);
    assert!(text.ends_with("version,op,id\n2,create,0\n3,delete,0\n"), "{text}");
}

#[test]
fn table_shows_old_and_new_values() {
    let text = printed_watch(Format::Table, &rows());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("id  name   price  up"), "{text}");
    assert!(lines[2].contains("name plain → with, comma, price 1.5 → NaN"), "{text}");
    // Control characters are escaped, in the key, too.
    assert!(lines[3].contains("\"\"\"quoted\"\"\\nline\""), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour by default");
}

#[test]
fn prints_only_selected_fields() {
    let rows = rows();
    let some = Projection::parse("up,id", rows[0].schema()).unwrap();
    let [old, new] = [&rows[0], &rows[1]].map(|row| some.show(row.as_ref()));
    let text = |format| {
        printed(format, |printer| {
            printer.first(6, &some, &[old])?;
            printer.change(7, &Change::Updated { old, new })?;
            printer.finish()
        })
    };
    let reported = lines(&text(Format::Jsonl));
    let row = json!({"up": true, "id": -9007199254740993_i64});
    assert_eq!((&reported[1]["row"], &reported[1]["old"]), (&row, &row));
    assert_eq!(reported[1]["key"]["name"], json!(NAMES[1]), "the key is whole");
    let csv = text(Format::Csv);
    assert_eq!(csv.lines().next(), Some("version,op,up,id"));
    assert!(csv.ends_with("7,update,true,-9007199254740993\n"), "{csv}");
    assert_eq!(
        text(Format::Table).lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["up", "id"]
    );
}

#[test]
fn lines_fit_the_terminal() {
    let rows = rows();
    let all = Projection::all(rows[0].schema());
    let shown: Vec<Shown<'_>> = rows.iter().map(|row| all.show(row.as_ref())).collect();
    for columns in [20, 40, 66, 80, 120] {
        let mut bytes = Vec::new();
        let mut printer = Format::Table.printer_to(
            &mut bytes,
            Palette::default(),
            Width::of_test(Some(columns)),
            true,
        );
        printer.first(6, &all, &shown).unwrap();
        for pair in shown.windows(2) {
            let change = Change::Updated { old: pair[0], new: pair[1] };
            printer.change(123, &change).unwrap();
        }
        printer.finish().unwrap();
        drop(printer);
        let text = String::from_utf8(bytes).unwrap();
        for line in text.lines() {
            assert!(crate::cells::width(line) <= columns, "{line:?} in {columns}");
        }
        assert_eq!(text.lines().count(), 1 + rows.len() + 3);
        assert_eq!(text.contains('…'), columns < 99, "{columns}: {text}");
    }
}
