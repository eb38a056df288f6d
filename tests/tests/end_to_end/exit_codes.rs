//! Each exit code of both programs: 0 success, 1 not found and other failures, 2 arguments, 3
//! another publisher, 4 another schema or layout, 5 invalid input.

use std::os::unix::fs::FileExt;
use std::process::Command;

use common::{Publisher, UntypedPublisher};
use nix::sys::signal::Signal;
use tests::followed::serve;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::script::Item;
use tests::serving::Serving;
use tests::table::Table;

const FIELDS: &str = "id:u64,name:text(8)";

fn with<const N: usize>(mut command: Command, arguments: [&str; N]) -> Command {
    command.args(arguments);
    command
}

/// Expects this exit code, no data on stdout, and a message with these parts.
fn fails(mut command: Command, code: i32, parts: &[&str]) {
    let (stdout, stderr) = Process::run(&mut command, code);
    assert_eq!(stdout, "", "{command:?}: data goes to stdout, all else to stderr");
    for part in parts {
        assert!(stderr.contains(part), "{command:?}: stderr does not contain {part:?}: {stderr}");
    }
    let sentence = stderr.lines().find(|line| line.starts_with("error: "));
    assert!(sentence.is_some(), "{command:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn exit_code_0_for_success() {
    let table = Table::new("zero");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([r#"{"id":1,"name":"one"}"#]);
    for arguments in [
        ["get", table.name(), "1"].as_slice(),
        &["watch", table.name(), "--once"],
        &["info", table.name()],
        &["ls"],
        &["--help"],
        &["--version"],
        &[],
    ] {
        let (stdout, stderr) = Process::run(subscriber().args(arguments), 0);
        assert!(!stdout.is_empty() && stderr.is_empty(), "{arguments:?}: {stderr}");
    }
    for arguments in [["--help"].as_slice(), &["serve", "--help"], &[]] {
        let (stdout, stderr) = Process::run(publisher().args(arguments), 0);
        assert!(!stdout.is_empty() && stderr.is_empty(), "{arguments:?}: {stderr}");
    }
    serving.stop(Signal::SIGTERM);
}

#[test]
fn printed_example_works() {
    let table = Table::new("example");
    let (stdout, _) = Process::run(&mut publisher(), 0);
    let line = stdout.lines().map(str::trim).find(|line| line.starts_with("publisher serve"));
    let arguments: Vec<&str> = line.expect("an example").split(' ').skip(2).collect();
    assert!(stdout.contains(&format!("subscriber watch {}", arguments[0])), "{stdout}");
    let (by_subscriber, _) = Process::run(&mut subscriber(), 0);
    assert!(by_subscriber.contains(line.unwrap()), "{by_subscriber}");
    // A separate name, so that tests do not interfere.
    let mut serve = Process::start(publisher().args(["serve", table.name()]).args(&arguments[1..]));
    let mut watch = Process::start(subscriber().args(["watch", table.name()]));
    let text = watch.stdout_until(|text| text.lines().count() > 3);
    assert!(text.lines().next().unwrap().contains("pid"), "{text}");
    for process in [&mut watch, &mut serve] {
        process.signal(Signal::SIGINT);
        process.ends_with(0);
    }
}

#[test]
fn exit_code_1_for_missing_table() {
    let table = Table::new("one");
    let name = table.name();
    fails(with(subscriber(), ["get", name]), 1, &[name]);
    fails(with(subscriber(), ["info", name]), 1, &[name]);
    fails(with(publisher(), ["rm", name]), 1, &[name]);
    fails(with(subscriber(), ["watch", name, "--timeout", "50ms"]), 1, &[name, "50ms"]);
    fails(with(subscriber(), ["get", name, "--timeout", "50ms"]), 1, &[name, "50ms"]);

    let _serving = Serving::start(name, FIELDS, &[]);
    fails(with(subscriber(), ["get", name, "7", "--format", "jsonl"]), 1, &[name, "7"]);
    let watch = ["watch", name, "--count", "2", "--timeout", "50ms"];
    let (_, stderr) = Process::run(subscriber().args(watch), 1);
    assert!(stderr.contains('2') && stderr.contains("50ms"), "{stderr}");
}

#[test]
fn exit_code_2_for_invalid_arguments() {
    let table = Table::new("two");
    let name = table.name();
    let refused = |mut command: Command| {
        let (stdout, stderr) = Process::run(&mut command, 2);
        assert!(stdout.is_empty() && !stderr.is_empty(), "{command:?}: {stdout}");
    };
    for arguments in [
        ["watch"].as_slice(),
        &["nonsense"],
        &["get", name, "--format", "xml"],
        &["watch", name, "--format", "json"],
        &["watch", name, "--timeout", "soon"],
        &["watch", name, "--count", "0"],
        &["get", "a/b"],
    ] {
        refused(with_all(subscriber(), arguments));
    }
    for arguments in [
        ["serve", name].as_slice(),
        &["serve", name, "--from", "-"],
        &["serve", name, "--from", "nonsense"],
        &["serve", name, "--from", "-", "--fields", "id:u65"],
        &["serve", name, "--from", "-", "--fields", "id:u64,id:u64"],
        &["serve", name, "--from", "-", "--fields", "price:f64"],
        &["serve", name, "--from", "-", "--fields", FIELDS, "--key", "price"],
        &["serve", name, "--from", "-", "--fields", FIELDS, "--capacity", "0"],
        &["serve", name, "--from", "-", "--fields", FIELDS, "--mode", "666"],
        &["serve", "a b", "--from", "-", "--fields", FIELDS],
        &["rm"],
        &["rm", ".."],
    ] {
        refused(with_all(publisher(), arguments));
    }
    assert_eq!(table.orphans(), Vec::<String>::new());

    let _serving = Serving::start(name, FIELDS, &[]);
    refused(with(subscriber(), ["get", name, "not-a-number"]));
    refused(with(subscriber(), ["get", name, "1,2"]));
}

fn with_all(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

#[test]
fn exit_code_3_for_second_publisher() {
    let table = Table::new("three");
    let name = table.name();
    let mut first = Serving::start(name, FIELDS, &[]);
    let pid = first.process.id().to_string();
    let second = ["serve", name, "--from", "-", "--fields", FIELDS];
    fails(with(publisher(), second), 3, &[name, &pid]);
    fails(with(publisher(), ["serve", name, "--from", "processes"]), 3, &[name, &pid]);
    fails(with(publisher(), ["rm", name]), 3, &[name, &pid]);
    // The first publisher did not notice.
    first.publish([r#"{"id":1,"name":"one"}"#]);
}

#[test]
fn exit_code_3_for_publisher_that_lost_its_table() {
    let table = Table::new("taken");
    let name = table.name();
    let mut robbed = Serving::start(name, FIELDS, &[]);
    table.remember();
    robbed.process.signal(Signal::SIGSTOP);
    for kind in ["table", "lock"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.{kind}.{name}")).unwrap();
    }
    let thief = Serving::start(name, FIELDS, &[]);
    robbed.process.signal(Signal::SIGCONT);
    robbed.process.ends_with(3);
    let stderr = robbed.process.stderr();
    assert!(stderr.contains("error: ") && stderr.contains(name), "{stderr}");
    thief.stop(Signal::SIGTERM);
}

#[test]
fn exit_code_4_for_other_schema_or_layout() {
    let table = Table::new("four");
    let name = table.name();
    let typed = Publisher::<Item>::builder(name).capacity(1).open().unwrap();
    let mut watch = Process::start(subscriber().args(["watch", name, "--format", "csv", "1,2"]));
    watch.stdout_until(|text| text.contains("version,op"));
    drop(typed);
    let schema = common::Schema::parse("address:ipv4,n:u8", None).unwrap();
    let other = UntypedPublisher::builder(name, schema).open().unwrap();
    watch.ends_with(4);
    assert!(watch.stderr().contains("another schema"), "{}", watch.stderr());
    drop(other);

    let region =
        std::fs::File::options().write(true).open(format!("/dev/shm/tablecast.table.{name}"));
    region
        .unwrap()
        .write_all_at(&99_u64.to_le_bytes(), common::internals::header::LAYOUT as u64 * 8)
        .unwrap();
    fails(with(subscriber(), ["get", name]), 4, &[name, "99"]);
    fails(with(publisher(), ["serve", name, "--from", "-", "--fields", FIELDS]), 4, &[name, "99"]);
    Process::run(publisher().args(["rm", name]), 0);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn exit_code_5_for_invalid_input() {
    for (number, (line, part)) in [
        ("{", "JSON"),
        (r#"{"id":1}"#, "name"),
        (r#"{"id":-1,"name":"x"}"#, "id"),
        (r#"{"id":1,"name":"much too long"}"#, "name"),
        (r#"{"id":1,"name":null}"#, "name"),
        (r#"{"op":"nonsense","row":{"id":1,"name":"x"}}"#, "nonsense"),
        (r#"{"op":"delete","key":{"id":7}}"#, "7"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = Table::new("five");
        let mut strict = Serving::start(table.name(), FIELDS, &["--strict"]).process;
        strict.write_line(r#"{"id":1,"name":"good"}"#);
        strict.write_line(line);
        strict.ends_with(5);
        let stderr = strict.stderr();
        assert!(stderr.contains("line 2") || stderr.contains(":2"), "input {number}: {stderr}");
        assert!(stderr.to_lowercase().contains(&part.to_lowercase()), "input {number}: {stderr}");
        assert_eq!(table.orphans(), Vec::<String>::new());

        // Without --strict the line is reported and skipped.
        let mut lenient = Serving::start(table.name(), FIELDS, &["--exit-at-eof"]);
        lenient.process.write_line(line);
        lenient.publish([r#"{"id":2,"name":"good"}"#]);
        let (stdout, _) =
            Process::run(subscriber().args(["get", table.name(), "--format", "csv"]), 0);
        assert_eq!(stdout, "id,name\n2,good\n", "input {number}");
        lenient.process.close_input();
        lenient.process.ends_with(5);
        let stderr = lenient.process.stderr();
        assert!(stderr.contains("line 1"), "{stderr}");
    }
}

/// Regression: the exit code was 0 although the table lacked part of the input. Covers JSON lines,
/// CSV records, dropped transactions, truncated input, and rows without room, on stdin and in files
/// and both at once; and success without a refused line, and after a signal.
#[test]
fn exit_at_eof_fails_if_table_lacks_part_of_input() {
    let fields = ["--fields", "id:u64,n:u64", "--exit-at-eof", "--keep"];
    let json = |ids: &[u64]| -> String {
        let rows = ids.iter().map(|id| format!("{{\"id\":{id},\"n\":1}}\n"));
        rows.collect()
    };
    let csv = ["--format", "csv"];
    let small = ["--capacity", "2"];
    let cases: [(String, &[&str], i32, &[u64]); 10] = [
        (json(&[1, 2]), &[], 0, &[1, 2]),
        (format!("{}x\n{}", json(&[1]), json(&[2])), &[], 5, &[1, 2]),
        (format!("{}x", json(&[1])), &[], 5, &[1]),
        (format!("{}{{\"op\":\"begin\"}}\n{}", json(&[1]), json(&[2])), &[], 5, &[1]),
        (
            format!("{{\"op\":\"begin\"}}\n{}x\n{{\"op\":\"commit\"}}\n{}", json(&[1]), json(&[2])),
            &[],
            5,
            &[2],
        ),
        ("id,n\n1,1\n2,x\n3,1\n".to_owned(), &csv, 5, &[1, 3]),
        ("id,n\n1,1\n\"2\"x,1\n3,1\n".to_owned(), &csv, 5, &[1, 3]),
        ("id,n\n1,1\n2,\"1\n".to_owned(), &csv, 5, &[1]),
        (json(&[1, 2, 3]), &small, 1, &[1, 2]),
        (format!("x\n{}", json(&[1, 2, 3])), &small, 5, &[1, 2]),
    ];
    for (input, options, code, ids) in cases {
        let table = Table::new("eof");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("input");
        std::fs::write(&file, &input).unwrap();
        let mut command = with_all(publisher(), &["serve", table.name(), "--from", "-"]);
        command.args(fields).args(options).stdin(std::fs::File::open(&file).unwrap());
        let mut process = Process::start_with(&mut command);
        process.ends_with(code);
        let stderr = process.stderr();
        assert_eq!(stderr.contains("error: stdin: "), code != 0, "{stderr}");
        assert_eq!(ids_of(&table), ids, "{input}");
    }
    for (name, input) in [("a.csv", "id,n\n1,1\n2,1\n3,1\n"), ("a.jsonl", &json(&[1, 2, 3]))] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, input).unwrap();
        for (capacity, code, count) in [("3", 0, 3), ("2", 1, 2)] {
            let table = Table::new("eof");
            let options = [&fields[..], &["--capacity", capacity]].concat();
            let (_, stderr) = Process::run(&mut serve(&table, &file, &options), code);
            assert_eq!(stderr.contains("--capacity"), code != 0, "{stderr}");
            assert_eq!(ids_of(&table).len(), count);
        }
    }
    let table = Table::new("eof");
    let mut stopped = Serving::start(table.name(), FIELDS, &["--exit-at-eof"]);
    stopped.process.write_line("x");
    stopped.process.stderr_until(|text| text.contains("line 1"));
    stopped.stop(Signal::SIGTERM);
}

fn ids_of(table: &Table) -> Vec<u64> {
    let arguments = ["get", table.name(), "--fields", "id", "--sort", "id", "--format", "csv"];
    let (rows, _) = Process::run(subscriber().args(arguments), 0);
    let ids = rows.lines().skip(1);
    ids.map(|id| id.parse().unwrap()).collect()
}
