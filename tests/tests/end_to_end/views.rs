//! Views of a table in `get` and `watch`: keys, `--where`, `--fields`, `--sort`, `--limit`.

use common::{Schema, UntypedPublisher};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::{Published, lines};
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

const FIELDS: &str = "id:u64,name:text(8),price:f64";
const ROWS: [&str; 4] = [
    r#"{"id":1,"name":"one","price":9.5}"#,
    r#"{"id":2,"name":"two","price":3}"#,
    r#"{"id":10,"name":"ten","price":"NaN"}"#,
    r#"{"id":9,"name":"nine","price":3}"#,
];

fn serving(table: &Table) -> Serving {
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([r#"{"op":"begin"}"#].into_iter().chain(ROWS).chain([r#"{"op":"commit"}"#]));
    serving
}

fn get(table: &Table, arguments: &[&str], code: i32) -> (String, String) {
    Process::run(subscriber().args(["get", table.name()]).args(arguments), code)
}

fn csv(table: &Table, arguments: &[&str]) -> String {
    let (stdout, stderr) = get(table, &[&["--format", "csv"], arguments].concat(), 0);
    assert_eq!(stderr, "");
    stdout
}

#[test]
fn get_applies_fields_filter_sort_and_limit() {
    let table = Table::new("view-get");
    let _serving = serving(&table);
    assert_eq!(csv(&table, &["--fields", "price,id", "-n", "2"]), "price,id\n9.5,1\n3,2\n");
    let by_price = csv(&table, &["--fields", "id", "--sort", "price:desc,id:desc"]);
    assert_eq!(by_price, "id\n1\n9\n2\n10\n", "NaN is last");
    let cheap =
        csv(&table, &["--fields", "name", "--where", "price<=3", "--where", "name contains n"]);
    assert_eq!(cheap, "name\nnine\n");
    let joined = "id > 9 or name in (one, 'two') and not price > 5";
    assert_eq!(csv(&table, &["--fields", "id", "--where", joined]), "id\n2\n10\n");
    let none = csv(&table, &["--where", "price < 0"]);
    assert_eq!(none, "id,name,price\n");
    let keys = csv(&table, &["9", "2", "1", "--fields", "id"]);
    assert_eq!(keys, "id\n9\n2\n1\n", "keys in the given order");
    let sorted = csv(&table, &["9", "2", "1", "--fields", "id", "--sort", "name", "--limit", "2"]);
    assert_eq!(sorted, "id\n9\n1\n");
    let (text, _) = get(&table, &["--fields", "name,id", "--where", "id = 10"], 0);
    assert_eq!(text, "name  id\nten   10\n");
    let (json_text, _) = get(&table, &["--fields", "price", "--format", "json", "10"], 0);
    assert_eq!(serde_json::from_str::<Value>(&json_text).unwrap(), json!([{"price": "NaN"}]));
}

#[test]
fn get_of_a_table_that_changes_all_the_time_prints_one_version() {
    const ROWS: u64 = 500;
    let table = Table::new("view-busy");
    let schema = Schema::parse("id:u64,round:u64", None).unwrap();
    let mut publisher = UntypedPublisher::builder(table.name(), schema).open().unwrap();
    let mut commit = |round: u64| {
        let mut tx = publisher.begin();
        for id in 0..ROWS {
            tx.upsert(bytemuck::bytes_of(&[id, round])).unwrap();
        }
        tx.commit().unwrap();
    };
    commit(0);
    let name = table.name();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            for condition in ["id >= 0", "id < 100"] {
                let arguments = ["--format", "csv", "--fields", "round", "--where", condition];
                let (rows, _) = Process::run(subscriber().args(["get", name]).args(arguments), 0);
                let rows: Vec<&str> = rows.lines().skip(1).collect();
                assert!([100, ROWS as usize].contains(&rows.len()));
                assert!(rows.iter().all(|round| *round == rows[0]), "{rows:?}");
            }
        });
        (1..).take_while(|_| !reading.is_finished()).for_each(commit);
    });
}

#[test]
fn get_of_key_that_does_not_match_fails() {
    let table = Table::new("view-key");
    let _serving = serving(&table);
    let (stdout, stderr) = get(&table, &["1", "2", "--where", "price > 5", "--format", "csv"], 1);
    assert_eq!(stdout, "id,name,price\n1,one,9.5\n");
    assert!(stderr.contains("--where does not hold") && stderr.contains("key 2"), "{stderr}");
    let (_, stderr) = get(&table, &["7", "8", "--where", "price > 5"], 1);
    assert!(stderr.contains("no keys 7 8"), "{stderr}");
}

#[test]
fn first_fields_of_a_key_select_all_rows_whose_keys_begin_with_them() {
    let table = Table::new("view-part");
    let fields = "host:text(8),port:u16,up:bool";
    let mut serving = Serving::start(table.name(), fields, &["--key", "host,port"]);
    serving.publish([
        r#"{"op":"begin"}"#,
        r#"{"host":"b","port":9,"up":true}"#,
        r#"{"host":"a","port":10,"up":true}"#,
        r#"{"host":"a","port":9,"up":false}"#,
        r#"{"host":"ab","port":9,"up":true}"#,
        r#"{"op":"commit"}"#,
    ]);
    let keys = &["--fields", "host,port"];
    let rows = |arguments: &[&str]| csv(&table, &[keys, arguments].concat());
    assert_eq!(rows(&["a"]), "host,port\na,9\na,10\n");
    assert_eq!(rows(&["b", "a", "a,9"]), "host,port\na,9\na,10\nb,9\n");
    assert_eq!(rows(&["a", "--where", "up = true"]), "host,port\na,10\n");
    assert_eq!(rows(&["b,9", "a,9"]), "host,port\nb,9\na,9\n");
    let (_, stderr) = get(&table, &["a", "x"], 1);
    assert!(stderr.contains("no key x"), "{stderr}");
    let (_, stderr) = get(&table, &["a,9", "b", "--where", "up = false"], 1);
    assert!(stderr.contains("does not hold") && stderr.contains("for key b"), "{stderr}");
    let watch = ["watch", table.name(), "a", "--once", "--format", "csv"];
    let (stdout, _) = Process::run(subscriber().args(watch), 0);
    let rows = "version,op,host,port,up\n2,create,a,9,false\n2,create,a,10,true\n";
    assert_eq!(stdout, rows);
}

#[test]
fn get_prints_bare_values_counts_and_totals() {
    let table = Table::new("view-totals");
    let _serving = serving(&table);
    let printed = |arguments: &[&str]| get(&table, arguments, 0).0;
    assert_eq!(printed(&["2", "--field", "price", "--raw"]), "3\n");
    assert_eq!(
        printed(&["-f", "name,id", "-o", "tsv", "-n", "1", "--offset", "2"]),
        "name\tid\nnine\t9\n"
    );
    assert_eq!(printed(&["-f", "id", "-o", "csv", "--no-header", "--offset", "9"]), "");
    assert_eq!(printed(&["-f", "name", "--no-header", "-n", "1"]), "one\n");
    assert_eq!(printed(&["--count"]), "4\n");
    assert_eq!(printed(&["--count", "--where", "price = 3"]), "2\n");
    let totals = printed(&["-o", "csv", "--aggregate", "count,max(id),sum(id),min(name)"]);
    assert_eq!(totals, "count,max(id),sum(id),min(name)\n4,10,22,nine\n");
    let groups = ["--aggregate", "count,max(id)", "--by", "name", "--where", "id < 3"];
    let view = ["--sort", "max(id):desc", "-f", "name", "-o", "csv"];
    assert_eq!(printed(&[&groups[..], &view].concat()), "name\ntwo\none\n");
}

#[test]
fn get_waits_for_a_version() {
    let table = Table::new("view-version");
    let mut serving = serving(&table);
    let version = common::inspect(table.name(), None).unwrap().version;
    let (next, missing) = ((version + 1).to_string(), (version + 2).to_string());
    let mut waiting = Process::start(subscriber().args([
        "get",
        table.name(),
        "--count",
        "--at-least-version",
        &next,
    ]));
    serving.publish([r#"{"id":11,"name":"late","price":1}"#]);
    waiting.ends_with(0);
    assert_eq!(waiting.stdout(), "5\n");
    let arguments = ["--at-least-version", &missing, "--timeout", "50ms"];
    let (_, stderr) = get(&table, &arguments, 1);
    assert!(stderr.contains(&format!("has version {next}, not {missing}")), "{stderr}");
}

#[test]
fn errors_mark_the_wrong_part_of_arguments() {
    let table = Table::new("view-wrong");
    let _serving = serving(&table);
    for (arguments, part, marks) in [
        (
            ["--where", "price > cheap"],
            "\"price\" is f64, and \"cheap\" is not a valid f64",
            "          ^^^^^",
        ),
        (["--where", "prise > 1"], "id, name, price", "  ^^^^^"),
        (["--where", "price"], "operator is missing", "       ^"),
        (["--where", "name = one or two"], "operator is missing", "                   ^"),
        (["--where", "name = one two"], "quote a value of several words", "             ^^^"),
        (["--fields", "id,nam"], "no field \"nam\"", "     ^^^"),
        (["--sort", "id:up"], "is not an order", "  ^^^^^"),
        (["--format=csv", "x"], "the key is id:u64", "  ^"),
    ] {
        let (stdout, stderr) = get(&table, &arguments, 2);
        assert_eq!(stdout, "");
        assert!(stderr.starts_with("error: ") && stderr.contains(part), "{stderr}");
        assert_eq!(stderr.lines().nth(2), Some(marks), "{stderr}");
        let mut watch = Process::start(subscriber().args(["watch", table.name()]).args(arguments));
        watch.ends_with(2);
    }
    // Errors that need no table are reported before a table is opened.
    let nowhere = Table::new("view-nowhere");
    let mut watch = Process::start(subscriber().args(["watch", nowhere.name(), "--where", "x"]));
    watch.ends_with(2);
}

#[test]
fn composite_keys_use_csv_syntax() {
    let published = Published::new("view-keys");
    let some = published.get("jsonl", &["--fields", "id", "\"\",0", "\"a, \"\"b\"\"\",7"]);
    assert_eq!(lines(&some), [json!({"id": 0}), json!({"id": 7})]);
    let name = published.table.name();
    let wrong = ["get", name, "plain,-2"];
    let (_, stderr) = Process::run(subscriber().args(wrong), 2);
    assert!(
        stderr.contains("text:text(32),id:u64") && stderr.ends_with("\n        ^^\n"),
        "{stderr}"
    );

    let table = Table::new("view-key-kinds");
    let fields = "net:ipnet,n:i8";
    let mut serving = Serving::start(table.name(), fields, &["--key", "n,net"]);
    serving.publish([r#"{"net":"10.0.0.0/8","n":-5}"#]);
    assert_eq!(csv(&table, &["--", "-5,10.0.0.0/8"]), "net,n\n10.0.0.0/8,-5\n");
}

#[test]
fn interrupted_get_prints_nothing_and_fails() {
    let table = Table::new("view-interrupted");
    let mut waiting = Process::start(subscriber().args(["get", table.name(), "--timeout", "1h"]));
    waiting.stderr_until(|text| text.contains("waiting"));
    waiting.signal(Signal::SIGINT);
    waiting.ends_with(1);
    assert!(waiting.stderr().contains("interrupted"), "{}", waiting.stderr());

    let _serving = Serving::start(table.name(), FIELDS, &[]);
    let mut counting = Process::start(subscriber().args(["-vv", "ls", "--sample", "1h"]));
    // Signal handlers are installed before tables are read.
    until("the command is sampling", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", counting.id()));
        let caught = status.unwrap_or_default();
        let caught = caught.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
        caught.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 2 != 0)
    });
    counting.signal(Signal::SIGINT);
    counting.ends_with(1);
    assert_eq!(counting.stdout(), "");
}
