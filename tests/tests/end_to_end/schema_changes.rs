//! A publisher gives its table another schema. Each form of `watch`, `top` and a pipe into `serve`
//! follow it, with and without changes of rows in the same step.

use std::collections::BTreeMap;
use std::process::Stdio;

use common::{RowBuf, Schema, UntypedPublisher, UntypedSubscriber};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::followed::Followed;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::screen::Screen;
use tests::table::Table;
use tests::{LIMIT, until};

const BEFORE: &str = "id:u64,a:u64,b:text(8)";

/// Another schema for the rows of [`BEFORE`].
struct Shape {
    name: &'static str,
    fields: &'static str,
    key: &'static str,
    /// Converts a row of [`BEFORE`], given by field.
    convert: fn(&mut Row),
}

/// The cells of a row by field.
type Row = BTreeMap<String, String>;

const SHAPES: [Shape; 10] = [
    Shape {
        name: "dropped",
        fields: "id:u64,a:u64",
        key: "id",
        convert: |row| drop(row.remove("b")),
    },
    Shape {
        name: "added",
        fields: "id:u64,a:u64,b:text(8),c:u64",
        key: "id",
        convert: |row| drop(row.insert("c".to_owned(), "0".to_owned())),
    },
    Shape { name: "reordered", fields: "b:text(8),a:u64,id:u64", key: "id", convert: |_| {} },
    Shape {
        name: "renamed",
        fields: "id:u64,a:u64,z:text(8)",
        key: "id",
        convert: |row| {
            let cell = row.remove("b").unwrap();
            row.insert("z".to_owned(), cell);
        },
    },
    Shape {
        name: "kind changed, cells emptied",
        fields: "id:u64,a:text(8),b:text(8)",
        key: "id",
        convert: |row| drop(row.insert("a".to_owned(), String::new())),
    },
    Shape { name: "kind changed", fields: "id:u64,a:i32,b:text(8)", key: "id", convert: |_| {} },
    Shape { name: "text widened", fields: "id:u64,a:u64,b:text(32)", key: "id", convert: |_| {} },
    Shape { name: "text narrowed", fields: "id:u64,a:u64,b:text(4)", key: "id", convert: |_| {} },
    Shape { name: "key changed", fields: "id:u64,a:u64,b:text(8)", key: "b,id", convert: |_| {} },
    Shape {
        name: "kind of the key changed",
        fields: "id:text(8),a:u64,b:text(8)",
        key: "id",
        convert: |_| {},
    },
];

/// The row changes that accompany the change of schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Nothing,
    Some,
    EmptyTable,
}

fn row(cells: [&str; 3]) -> Row {
    let names = ["id", "a", "b"].map(str::to_owned);
    names.into_iter().zip(cells.map(str::to_owned)).collect()
}

impl Edit {
    fn before(self) -> Vec<Row> {
        match self {
            Edit::EmptyTable => Vec::new(),
            _ => vec![row(["1", "5", "x"]), row(["2", "6", "y"]), row(["3", "0", ""])],
        }
    }

    fn after(self) -> Vec<Row> {
        match self {
            Edit::Some => vec![row(["1", "7", "new"]), row(["3", "0", ""]), row(["4", "8", "w"])],
            same => same.before(),
        }
    }
}

fn bytes(schema: &Schema, row: &Row) -> Vec<u8> {
    let mut buffer = RowBuf::new(schema.clone().into());
    for (index, field) in schema.fields().iter().enumerate() {
        buffer.set_text(index, &row[field.name()]).unwrap();
    }
    buffer.bytes().to_vec()
}

/// A table of [`BEFORE`] that gets another schema from its own publisher.
struct Source {
    table: Table,
    publisher: UntypedPublisher,
    rows: Vec<Row>,
}

impl Source {
    fn open(rows: Vec<Row>) -> Self {
        let table = Table::new("schema");
        let schema = Schema::parse(BEFORE, Some("id")).unwrap();
        let mut publisher =
            UntypedPublisher::builder(table.name(), schema.clone()).capacity(100).open().unwrap();
        let mut tx = publisher.begin();
        for row in &rows {
            tx.insert(&bytes(&schema, row)).unwrap();
        }
        tx.commit().unwrap();
        Self { table, publisher, rows }
    }

    fn reshape(&mut self, shape: &Shape, mut rows: Vec<Row>) {
        rows.iter_mut().for_each(shape.convert);
        let schema = Schema::parse(shape.fields, Some(shape.key)).unwrap();
        let all: Vec<Vec<u8>> = rows.iter().map(|row| bytes(&schema, row)).collect();
        self.publisher.reshape(schema, 100, all).unwrap();
        self.rows = rows;
    }

    /// Commits one more row, which shows that the readers still follow.
    fn insert(&mut self, shape: &Shape, cells: [&str; 3]) {
        let mut row = row(cells);
        (shape.convert)(&mut row);
        let bytes = bytes(self.publisher.schema(), &row);
        let mut tx = self.publisher.begin();
        tx.insert(&bytes).unwrap();
        tx.commit().unwrap();
        self.rows.push(row);
    }

    fn watch(&self, options: &[&str]) -> Process {
        Process::start(subscriber().args(["watch", self.table.name()]).args(options))
    }
}

/// Returns the rows that lines of changes lead to. Each line must fit the lines before it.
fn replayed(lines: &str) -> Vec<Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    for line in lines.lines() {
        let change: Value = serde_json::from_str(line).unwrap();
        let key = change["key"].to_string();
        let cells = |member: &str| -> Option<Row> {
            let cell = |(name, value): (&String, &Value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), text)
            };
            Some(change.get(member)?.as_object()?.iter().map(cell).collect())
        };
        let known = rows.remove(&key);
        let expected = change["op"] != "create";
        assert_eq!(known.is_some(), expected, "{line} after\n{lines}");
        if let (Some(known), Some(old)) = (known, cells("old")) {
            for (name, cell) in &old {
                let before = known.get(name).map_or("", String::as_str);
                assert!(is_same(before, cell), "{line} after\n{lines}");
            }
        }
        if let Some(row) = cells("row") {
            rows.insert(key, row);
        }
    }
    rows.into_values().collect()
}

/// Returns true for equal cells. An added field of an existing row is empty before and 0 after.
fn is_same(before: &str, now: &str) -> bool {
    before == now || (before.is_empty() && now == "0")
}

fn assert_rows(told: &[Row], expected: &[Row], what: &str) {
    let find = |row: &Row| told.iter().find(|told| told["id"] == row["id"]);
    assert_eq!(told.len(), expected.len(), "{what}: {told:?}, not {expected:?}");
    for row in expected {
        let told = find(row).unwrap_or_else(|| panic!("{what}: no {row:?} in {told:?}"));
        for (name, cell) in row {
            let now = told.get(name).map_or("", String::as_str);
            assert!(is_same(now, cell), "{what}: {told:?}, not {row:?}");
        }
    }
}

/// Runs `check` for each shape with each edit.
fn each_change(check: impl Fn(&Shape, Edit, Source)) {
    for shape in &SHAPES {
        for edit in [Edit::Nothing, Edit::Some, Edit::EmptyTable] {
            println!("{} {edit:?}", shape.name);
            check(shape, edit, Source::open(edit.before()));
        }
    }
}

/// Waits until the program reports the new schema.
fn hears(process: &mut Process) {
    process.stderr_until(|text| text.contains("another schema now"));
}

#[test]
fn json_lines_lead_to_rows_of_new_schema() {
    each_change(|shape, edit, mut source| {
        let mut lines = source.watch(&["--format", "jsonl"]);
        let mut command = source.watch(&["--", "cat"]);
        let options = ["--sort", "id:desc", "--fields", "id,a"];
        let mut chosen = source.watch(&[&["--format", "jsonl"][..], &options].concat());
        let mut part = source.watch(&["--format", "jsonl", "--where", "id > 1"]);
        let rows = source.rows.len();
        for process in [&mut lines, &mut command, &mut chosen] {
            process.stdout_until(|text| text.lines().count() == rows);
        }
        part.stdout_until(|text| text.lines().count() == rows.saturating_sub(1));
        until("all subscribers are registered", || source.table.remember() == 4);
        source.reshape(shape, edit.after());
        let mut all = vec![lines, command, chosen];
        if shape.name == "kind of the key changed" {
            // A condition can have another meaning for another kind.
            part.ends_with(4);
            let stderr = part.stderr();
            assert!(stderr.contains("\"id\", which is of another kind"), "{stderr}");
        } else {
            all.push(part);
        }
        all.iter_mut().for_each(hears);
        source.insert(shape, ["9", "9", "end"]);
        for (at, mut process) in all.into_iter().enumerate() {
            let text = process.stdout_until(|text| {
                let line = text.lines().next_back().unwrap_or_default();
                let is_last = line.contains(r#""id":9"#) || line.contains(r#""id":"9""#);
                text.ends_with('\n') && line.contains(r#""create""#) && is_last
            });
            let mut expected = source.rows.clone();
            match at {
                2 => {
                    let is_shown = |name: &String| name == "id" || name == "a";
                    let rows = expected.iter_mut();
                    rows.for_each(|row| row.retain(|name, _| is_shown(name)));
                }
                3 => expected.retain(|row| row["id"] != "1"),
                _ => {}
            }
            let what = format!("{} {edit:?} {at}", shape.name);
            assert_rows(&replayed(&text), &expected, &what);
            process.signal(Signal::SIGTERM);
            process.ends_with(0);
        }
    });
}

#[test]
fn watch_ends_if_its_options_name_a_lost_field() {
    for edit in [Edit::Nothing, Edit::Some, Edit::EmptyTable] {
        for name in ["dropped", "renamed"] {
            let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap();
            let mut source = Source::open(edit.before());
            let mut watches = [
                source.watch(&["--where", "b != q"]),
                source.watch(&["--fields", "id,b"]),
                source.watch(&["--sort", "b"]),
                source.watch(&["--where", "b != q", "--", "cat"]),
            ];
            until("all subscribers are registered", || source.table.remember() == 4);
            source.reshape(shape, edit.after());
            for watch in &mut watches {
                watch.ends_with(4);
                let stderr = watch.stderr();
                assert!(stderr.contains("no field \"b\""), "{stderr}");
            }
        }
        let shape = SHAPES.iter().find(|shape| shape.name.ends_with("emptied"));
        let mut source = Source::open(edit.before());
        let mut watch = source.watch(&["--where", "a > 5"]);
        until("the subscriber is registered", || source.table.remember() == 1);
        source.reshape(shape.unwrap(), edit.after());
        watch.ends_with(4);
        assert!(watch.stderr().contains("\"a\", which is of another kind"));
    }
}

#[test]
fn csv_lines_match_the_last_header() {
    each_change(|shape, edit, mut source| {
        let mut csv = source.watch(&["--format", "csv"]);
        let mut columns = source.watch(&[]);
        let rows = source.rows.len();
        csv.stdout_until(|text| text.lines().count() == rows + 1);
        columns.stdout_until(|text| text.lines().count() == rows + 1);
        until("both subscribers are registered", || source.table.remember() == 2);
        source.reshape(shape, edit.after());
        hears(&mut csv);
        hears(&mut columns);
        source.insert(shape, ["9", "9", "end"]);
        let last = source.rows.last().unwrap();
        let names: Vec<&str> = shape.fields.split([',', ':']).step_by(2).collect();
        let cells: Vec<&str> = names.iter().map(|name| last[*name].as_str()).collect();
        let end = format!(",create,{}\n", cells.join(","));
        let text = csv.stdout_until(|text| text.ends_with(&end));
        let mut width = 0;
        let mut header = "";
        for line in text.lines() {
            if line.starts_with("version,") {
                (width, header) = (line.split(',').count(), line);
            }
            assert_eq!(line.split(',').count(), width, "{text}");
        }
        assert_eq!(header, format!("version,op,{}", names.join(",")));
        let text = columns.stdout_until(|text| {
            let line = text.lines().next_back().unwrap_or_default();
            line.contains("  create  ") && line.contains('9')
        });
        // Only rows whose output changes are updates.
        let emptied = shape.name.ends_with("emptied");
        if edit == Edit::Nothing {
            let updates = emptied || shape.name == "renamed";
            assert_eq!(text.contains("  update  "), updates, "{text}");
        }
        assert!(!emptied || edit == Edit::EmptyTable || text.contains("  a 5 → "), "{text}");
    });
}

#[test]
fn top_shows_columns_and_rows_of_new_schema() {
    each_change(|shape, edit, mut source| {
        let mut top = Screen::start(subscriber().args(["top", source.table.name()]), 80, 24);
        top.until("the rows are shown", |text| {
            text.contains("id▲") && (edit == Edit::EmptyTable || text.contains("x"))
        });
        source.reshape(shape, edit.after());
        let names: Vec<&str> = shape.fields.split([',', ':']).step_by(2).collect();
        let has_names = |text: &str| {
            let line = text.lines().find(|line| line.contains('▲'));
            let words = line.unwrap_or_default().split_whitespace();
            words.map(|word| word.trim_end_matches('▲')).eq(names.iter().copied())
        };
        top.until("the new columns are shown", has_names);
        source.insert(shape, ["9", "9", "end"]);
        let mut expected: Vec<Vec<&str>> = Vec::new();
        for row in &source.rows {
            let cells = names.iter().map(|name| row[*name].as_str());
            expected.push(cells.filter(|cell| !cell.is_empty()).collect());
        }
        top.until("the rows are those of the table", |text| {
            let lines: Vec<Vec<&str>> = text
                .lines()
                .map(|line| line.split_whitespace().filter(|word| *word != "+").collect())
                .collect();
            expected.iter().all(|row| lines.contains(row))
        });
        top.press("q");
        top.ends_with(0);
    });
}

#[test]
fn pipe_into_serve_feeds_rows_of_new_schema() {
    each_change(|shape, edit, mut source| {
        // Only fields that keep their name and kind can feed another program.
        let is_lost = ["dropped", "renamed", "kind changed, cells emptied"];
        if is_lost.contains(&shape.name) || shape.name == "kind of the key changed" {
            return;
        }
        let to = Table::new("schema-to");
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = subscriber();
        command
            .args(["watch", source.table.name(), "--format", "jsonl"])
            .args(["--fields", "id,a,b"])
            .stdin(Stdio::null());
        let mut watch = Process::start_into(&mut command, writer);
        // The command holds an end of the pipe.
        drop(command);
        let mut serve = publisher();
        serve
            .args(["serve", to.name(), "--from", "-", "--strict", "--exit-at-eof"])
            .args(["--key", "id", "--fields", BEFORE])
            .stdin(reader);
        let mut serve = Process::start_with(&mut serve);
        let mut copy = UntypedSubscriber::builder(to.name()).open_within(LIMIT).unwrap();
        until("the subscriber is registered", || source.table.remember() == 1);
        source.reshape(shape, edit.after());
        hears(&mut watch);
        source.insert(shape, ["9", "9", "end"]);
        until("the copy has the rows", || {
            copy.refresh().unwrap();
            assert!(serve.is_running(), "{}", serve.stderr());
            let cells = |row: common::RowRef<'_>| -> Row {
                row.values().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
            };
            let mut rows: Vec<Row> = copy.iter().map(cells).collect();
            let mut expected = source.rows.clone();
            expected.iter_mut().for_each(|row| drop(row.remove("c")));
            rows.sort();
            expected.sort();
            rows == expected
        });
        watch.signal(Signal::SIGTERM);
        watch.ends_with(0);
        serve.ends_with(0);
    });
}

#[test]
fn followed_file_may_lose_a_column() {
    let content = "id,a,b\n1,5,x\n2,6,y\n";
    let mut followed = Followed::start("t.csv", content, &[], &["1|5|x", "2|6|y"]);
    let mut watch =
        Process::start(subscriber().args(["watch", followed.table.name(), "--format", "jsonl"]));
    watch.stdout_until(|text| text.lines().count() == 2);
    followed.replace("id,a\n1,5\n2,6\n");
    hears(&mut watch);
    followed.replace("id,a\n1,5\n2,7\n");
    let text = watch.stdout_until(|text| text.lines().count() == 3);
    let last = text.lines().next_back().unwrap();
    assert!(
        last.ends_with(
            r#""op":"update","key":{"id":2},"row":{"id":2,"a":7},"old":{"id":2,"a":6}}"#
        ),
        "{last}"
    );
    // A text has no other empty value than "".
    followed.replace("id,a\n1,\n2,none\n");
    let text = watch.stdout_until(|text| text.lines().count() == 5);
    assert!(text.contains(r#""row":{"id":1,"a":""},"old":{"id":1,"a":5}}"#), "{text}");
    followed.becomes(&["1|", "2|none"]);
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}
