//! A table with values that are hard to print, and its rows as a reader must print them.

use common::{RowBuf, Schema, UntypedPublisher};
use serde_json::{Value, json};

use crate::process::Process;
use crate::programs::subscriber;
use crate::table::Table;

/// One field of every kind.
pub const FIELDS: &str = "text:text(32),id:u64,signed:i64,small:i32,float:f32,double:f64,time:timestamp,\
     net:ipnet,v6:ipv6,v4:ipv4,mac:mac,flag:bool,byte:i8";

/// Returns rows with values that are hard to write, in key order.
pub fn rows() -> Vec<Value> {
    let row = |text: &str, id: u64, double: Value, flag: bool| {
        json!({
            "text": text, "id": id, "signed": i64::MIN, "small": -5, "float": 0.25, "double": double,
            "time": "2026-11-21T09:36:22.123456789Z", "net": "10.1.0.0/16", "v6": "fe80::1", "v4": "192.0.2.7",
            "mac": "02:00:00:00:00:01", "flag": flag, "byte": -128,
        })
    };
    vec![
        row("", 0, json!(0.1), false),
        row("a, \"b\"", 7, json!("NaN"), true),
        row("a, \"b\"", u64::MAX, json!("-Infinity"), false),
        row("line\nbreak", 1, json!(1e300), true),
        row("plain", 2, json!(-0.5), true),
        row("ünï→", 3, json!("Infinity"), false),
    ]
}

/// A table of [`rows`].
pub struct Published {
    /// Name of the table.
    pub table: Table,
    /// Publisher of the table.
    pub publisher: UntypedPublisher,
}

impl Published {
    /// Publishes the table.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(test: &str) -> Self {
        let table = Table::new(test);
        let schema = Schema::parse(FIELDS, Some("text,id")).unwrap();
        let publisher =
            UntypedPublisher::builder(table.name(), schema).capacity(100).open().unwrap();
        let mut published = Self { table, publisher };
        published.commit(&rows());
        published
    }

    /// Upserts rows in one transaction.
    ///
    /// # Panics
    /// If they are not rows of this table.
    pub fn commit(&mut self, rows: &[Value]) {
        let schema = self.publisher.schema().clone();
        let mut tx = self.publisher.begin();
        for row in rows {
            let row = RowBuf::from_json(&schema, row.as_object().unwrap()).unwrap();
            tx.upsert(row.bytes()).unwrap();
        }
        tx.commit().unwrap();
    }

    /// Returns the output of `subscriber get`.
    ///
    /// # Panics
    /// If the command fails.
    pub fn get(&self, format: &str, keys: &[&str]) -> String {
        let mut command = subscriber();
        command.args(["get", self.table.name(), "--format", format]).args(keys);
        let (stdout, stderr) = Process::run(&mut command, 0);
        assert_eq!(stderr, "");
        stdout
    }

    /// Starts a `subscriber watch`.
    pub fn watch(&self, format: &str, options: &[&str]) -> Process {
        let mut command = subscriber();
        command.args(["watch", self.table.name(), "--format", format]).args(options);
        Process::start(&mut command)
    }
}

/// Returns the CSV cell that must be printed for a JSON value.
pub fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Parses lines of JSON.
///
/// # Panics
/// If the text is not lines of JSON.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that a CSV record is this row.
///
/// # Panics
/// If it is not.
pub fn assert_is_row(names: &csv::StringRecord, cells: &csv::StringRecord, row: &Value) {
    assert_eq!(names.len(), cells.len());
    for (name, found) in names.iter().zip(cells) {
        let expected = &row[name];
        match (expected, found.parse::<f64>()) {
            // 1e300 can be written in many ways, so floats are compared by value.
            (Value::Number(number), Ok(found)) if number.is_f64() => {
                assert_eq!(number.as_f64(), Some(found), "{name}");
            }
            _ => assert_eq!(found, cell(expected), "{name}"),
        }
    }
}
