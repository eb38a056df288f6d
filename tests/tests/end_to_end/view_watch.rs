//! `watch` prints the changes of a view, not those of the table.

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Publisher, Schema, UntypedPublisher, UntypedSubscriber};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::piped::piped;
use tests::process::Process;
use tests::programs::subscriber;
use tests::script::{Item, Script};
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, until};

/// Starts a publisher of four rows.
fn serving(table: &Table) -> Serving {
    let mut serving = Serving::start(table.name(), "id:u64,name:text(8),price:f64", &[]);
    serving.publish([
        r#"{"op":"begin"}"#,
        r#"{"id":1,"name":"one","price":9.5}"#,
        r#"{"id":2,"name":"two","price":3}"#,
        r#"{"id":10,"name":"ten","price":"NaN"}"#,
        r#"{"id":9,"name":"nine","price":3}"#,
        r#"{"op":"commit"}"#,
    ]);
    serving
}

#[test]
fn watch_prints_changes_of_the_view() {
    let table = Table::new("view-watch");
    let mut serving = serving(&table);
    let mut watch = Process::start(subscriber().args([
        "watch",
        table.name(),
        "--where",
        "price >= 4",
        "--fields",
        "price",
        "--format",
        "jsonl",
        "--count",
        "4",
    ]));
    let mut line = || -> Value { serde_json::from_str(&watch.line()).unwrap() };
    let told = |op: &str, id: u64, row: Option<f64>, old: Option<f64>, line: Value| {
        assert_eq!((&line["op"], &line["key"]), (&json!(op), &json!({"id": id})), "{line}");
        let price = |price: Option<f64>| price.map(|price| json!({"price": price}));
        assert_eq!(line.get("row").cloned(), price(row), "{line}");
        assert_eq!(line.get("old").cloned(), price(old), "{line}");
    };
    told("create", 1, Some(9.5), None, line());
    serving.publish([r#"{"id":2,"name":"two","price":4.5}"#]);
    told("create", 2, Some(4.5), None, line());
    // Changes of hidden fields or of rows that do not match are not printed.
    serving.publish([r#"{"id":2,"name":"TWO","price":4.5}"#]);
    serving.publish([r#"{"id":9,"name":"nine","price":3.5}"#]);
    serving.publish([r#"{"id":1,"name":"one","price":7}"#]);
    told("update", 1, Some(7.0), Some(9.5), line());
    serving.publish([r#"{"id":2,"name":"two","price":1}"#]);
    told("delete", 2, None, Some(4.5), line());
    serving.publish([r#"{"op":"delete","key":{"id":1}}"#]);
    told("delete", 1, None, Some(7.0), line());
    watch.ends_with(0);
}

#[test]
fn watch_sorts_changes_of_one_refresh() {
    let table = Table::new("view-sorted");
    let mut serving = serving(&table);
    let mut watch = Process::start(subscriber().args([
        "watch",
        table.name(),
        "--sort",
        "price:desc",
        "--fields",
        "id",
        "--format",
        "csv",
        "--count",
        "3",
    ]));
    watch.stdout_until(|text| text.lines().count() == 5);
    // Stopped, so that one refresh finds all changes.
    watch.signal(Signal::SIGSTOP);
    serving.publish([
        r#"{"op":"begin"}"#,
        r#"{"id":5,"name":"","price":2}"#,
        r#"{"id":6,"name":"","price":8}"#,
        r#"{"op":"delete","key":{"id":1}}"#,
        r#"{"op":"commit"}"#,
    ]);
    watch.signal(Signal::SIGCONT);
    let told: Vec<String> = watch.finished().lines().map(str::to_owned).collect();
    let cells: Vec<&str> = told.iter().map(|line| line.split_once(',').unwrap().1).collect();
    let expected = [
        "op,id",
        "create,1",
        "create,2",
        "create,9",
        "create,10",
        "delete,1",
        "create,6",
        "create,5",
    ];
    assert_eq!(cells, expected);
}

/// Returns a publisher that takes the table over with other fields.
fn reopen(table: &Table, publisher: UntypedPublisher, fields: &str) -> UntypedPublisher {
    drop(publisher);
    let schema = Schema::parse(fields, None).unwrap();
    UntypedPublisher::builder(table.name(), schema).open().unwrap()
}

#[test]
fn watch_resolves_fields_again_after_schema_change() {
    let table = Table::new("view-schema");
    let schema = Schema::parse("id:u64,name:text(4),n:u8", None).unwrap();
    let mut a = UntypedPublisher::builder(table.name(), schema).open().unwrap();
    let upsert = |a: &mut UntypedPublisher, cells: &[&str]| {
        let mut row = common::RowBuf::new(a.schema().clone());
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        let mut tx = a.begin();
        tx.upsert(row.bytes()).unwrap();
        tx.commit().unwrap();
    };
    upsert(&mut a, &["1", "one", "5"]);
    let watch = |options: &[&str]| {
        let mut command = subscriber();
        command.args(["watch", table.name(), "--format", "csv"]).args(options);
        let mut watch = Process::start(&mut command);
        watch.stdout_until(|text| text.contains("create,one"));
        watch
    };
    let mut steady = watch(&["--fields", "name", "--where", "name != x", "--count", "1"]);
    let mut shown = watch(&["--fields", "name,n"]);
    let mut asked = watch(&["--fields", "name", "--where", "n > 4"]);
    let mut sorted = watch(&["--fields", "name", "--sort", "n"]);
    let mut a = reopen(&table, a, "id:u64,more:u8,name:text(16)");
    for gone in [&mut shown, &mut asked, &mut sorted] {
        gone.ends_with(4);
        let stderr = gone.stderr();
        assert!(
            stderr.contains("another schema now") && stderr.contains("no field \"n\""),
            "{stderr}"
        );
    }
    upsert(&mut a, &["1", "0", "one and more"]);
    steady.ends_with(0);
    let text = steady.stdout();
    let ops: Vec<&str> = text.lines().map(|line| line.split_once(',').unwrap().1).collect();
    assert_eq!(ops, ["op,name", "create,one", "update,one and more"]);

    // With another kind a row may no longer match, although it did not change.
    upsert(&mut a, &["1", "0", "10.0.0.0/8"]);
    let mut kind = Process::start(subscriber().args([
        "watch",
        table.name(),
        "--format",
        "csv",
        "--where",
        "name = 10.0.0.0/8",
    ]));
    kind.stdout_until(|text| text.contains("10.0.0.0/8"));
    let a = reopen(&table, a, "id:u64,name:ipnet");
    kind.ends_with(4);
    assert!(kind.stderr().contains("another kind"), "{}", kind.stderr());
    a.close().unwrap();
}

#[test]
fn watch_of_view_feeds_another_publisher() {
    let (from, to) = (Table::new("view-chain-a"), Table::new("view-chain-b"));
    let seed = rand::random();
    println!("seed {seed}");
    let mut script = Script::new(seed, 60);
    let mut a = Publisher::<Item>::builder(from.name()).fixed_capacity(60).open().unwrap();
    let part = ["--where", "value > 1", "--where", "value != 3"];
    let (mut watch, mut serve) = piped(&from, &to, &part, &["--strict", "--capacity", "60"]);
    let mut copy = UntypedSubscriber::builder(to.name()).open_within(LIMIT).unwrap();
    for _ in 0..20 {
        for _ in 0..20 {
            script.next_plan().carry_out(&mut a);
        }
        let matching = script.rows().values().filter(|item| item.value > 1 && item.value != 3);
        let expected: BTreeSet<Vec<u8>> =
            matching.map(|item| bytemuck::bytes_of(item).to_vec()).collect();
        until("the copy has the matching rows", || {
            copy.wait(Some(Duration::from_millis(100))).unwrap();
            assert!(serve.is_running(), "{}", serve.stderr());
            let rows: BTreeSet<Vec<u8>> = copy.iter().map(|row| row.bytes().to_vec()).collect();
            rows == expected
        });
    }
    a.close().unwrap();
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
    serve.ends_with(0);
    assert_eq!(serve.stderr().matches("line ").count(), 0, "{}", serve.stderr());
}
