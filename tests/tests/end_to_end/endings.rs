//! How programs end: by a signal, by a closed pipe, by a time limit. They leave no objects.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use tests::clean::command;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

const FIELDS: &str = "id:u64,name:text(8)";
const NOTHING: Vec<String> = Vec::new();

fn row(id: u64) -> String {
    format!(r#"{{"id":{id},"name":"n{id}"}}"#)
}

#[test]
fn signals_end_both_programs_and_leave_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let table = Table::new("signals");
        let mut serving = Serving::start(table.name(), FIELDS, &[]);
        let mut watches: Vec<Process> = (0..3)
            .map(|_| {
                Process::start(subscriber().args(["watch", table.name(), "--format", "jsonl"]))
            })
            .collect();
        serving.publish([row(1)]);
        for watch in &mut watches {
            assert!(watch.line().contains("create"));
        }
        until("the subscribers have queues", || table.remember() == 3);
        // One subscriber that is parked, and one that ends after its publisher.
        watches[0].signal(signal);
        watches[0].ends_with(0);
        assert_eq!(watches[0].stderr(), "");
        serving.publish([row(2)]);
        serving.stop(signal);
        watches[1].signal(signal);
        watches[1].ends_with(0);
        watches[2].signal(Signal::SIGKILL);
        drop(watches);
        assert_eq!(table.orphans(), NOTHING, "after {signal}");
    }
}

#[test]
fn signal_ends_waiting_watch_and_get() {
    let table = Table::new("waiting");
    // A watch then has nothing left to do; a get has failed.
    for (arguments, code) in
        [(["watch", table.name()].as_slice(), 0), (&["get", table.name(), "--timeout", "1h"], 1)]
    {
        let mut waiting = Process::start(subscriber().args(arguments));
        waiting.stderr_until(|text| text.contains("waiting for a publisher"));
        waiting.signal(Signal::SIGINT);
        waiting.ends_with(code);
        assert_eq!(waiting.stdout(), "");
    }
}

#[test]
fn watch_waits_for_publisher_and_survives_it() {
    let table = Table::new("order");
    let mut watch = Process::start(subscriber().args(["watch", table.name(), "--format", "jsonl"]));
    watch.stderr_until(|text| text.contains("waiting for a publisher"));
    let mut first = Serving::start(table.name(), FIELDS, &[]);
    first.publish([row(1)]);
    assert!(watch.line().contains(r#""op":"create","key":{"id":1}"#));
    first.process.kill();
    watch.stderr_until(|text| text.contains("gone") || text.contains("died"));
    // After a takeover the row exists and is not reported again.
    let mut second = Serving::start(table.name(), FIELDS, &[]);
    second.publish([row(2)]);
    assert!(watch.line().contains(r#""op":"create","key":{"id":2}"#));
    second.stop(Signal::SIGTERM);
    let mut third = Serving::start(table.name(), FIELDS, &[]);
    third.publish([row(2), row(3)]);
    let mut told: Vec<String> = (0..2).map(|_| watch.line()).collect();
    told.sort();
    assert!(told.iter().any(|line| line.contains(r#""op":"delete","key":{"id":1}"#)), "{told:?}");
    third.publish([r#"{"op":"clear"}"#]);
    let all =
        watch.stdout_until(|text| text.matches("delete").count() == 3 || text.lines().count() > 8);
    assert_eq!(
        all.lines().filter(|line| line.contains(r#"{"id":2}"#) && line.contains("create")).count(),
        1
    );
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}

#[test]
fn get_reads_table_of_dead_publisher() {
    let table = Table::new("dead");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1), row(2)]);
    serving.process.kill();
    let (stdout, stderr) =
        Process::run(subscriber().args(["get", table.name(), "--format", "csv"]), 0);
    assert_eq!(stdout, "id,name\n1,n1\n2,n2\n");
    assert!(stderr.contains("warning") && stderr.contains(table.name()), "{stderr}");
    // `rm` removes the table and notifies attached subscribers.
    let mut watch = Process::start(subscriber().args(["watch", table.name()]));
    watch.stdout_until(|text| text.contains("n2"));
    table.remember();
    let (_, stderr) = Process::run(publisher().args(["rm", table.name()]), 0);
    assert!(!stderr.contains("error"), "{stderr}");
    watch.stderr_until(|text| text.contains("end") || text.contains("closed"));
    drop(watch);
    assert_eq!(table.orphans(), NOTHING);
    Process::run(publisher().args(["rm", table.name()]), 1);
}

#[test]
fn keep_leaves_table_readable_after_serve() {
    let table = Table::new("kept");
    let mut serving = Serving::start(table.name(), FIELDS, &["--keep"]);
    serving.publish([row(1)]);
    serving.stop(Signal::SIGINT);
    let (stdout, _) = Process::run(subscriber().args(["get", table.name(), "--format", "csv"]), 0);
    assert_eq!(stdout, "id,name\n1,n1\n");
    let next = Serving::start(table.name(), FIELDS, &[]);
    let (stdout, stderr) =
        Process::run(subscriber().args(["get", table.name(), "--format", "csv"]), 0);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("id,name\n1,n1\n", ""));
    next.stop(Signal::SIGINT);
    assert_eq!(table.orphans(), NOTHING);
}

/// Reads one line, closes the pipe, and then calls `news`.
fn is_quiet_after_one_line(arguments: &[&str], news: impl FnOnce()) {
    for _ in 0..2 {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = subscriber();
        command.args(arguments).stdin(Stdio::null());
        let mut process = Process::start_into(&mut command, writer);
        // The command keeps its copy of the write end.
        drop(command);
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        if arguments[0] == "get" {
            process.ends_with(0);
            assert_eq!(process.stderr(), "");
        } else {
            news();
            process.ends_with(0);
            assert_eq!(process.stderr(), "");
            return;
        }
    }
}

#[test]
fn closed_pipe_ends_programs_quietly() {
    let table = Table::new("pipe");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    // More rows than a pipe holds.
    let lines = (0..20_000).map(row);
    let mut all = vec![r#"{"op":"begin"}"#.to_owned()];
    all.extend(lines);
    all.push(r#"{"op":"commit"}"#.to_owned());
    serving.publish(all);
    for format in ["jsonl", "csv", "table", "json"] {
        is_quiet_after_one_line(&["get", table.name(), "--format", format], || ());
    }
    for format in ["jsonl", "csv", "table"] {
        is_quiet_after_one_line(&["watch", table.name(), "--format", format], || ());
    }
    for (id, format) in (100_000..).zip(["jsonl", "csv", "table"]) {
        // Little enough to fit the pipe: the program notices the end at the next change.
        is_quiet_after_one_line(&["watch", table.name(), "--format", format, "7"], || {
            serving.publish([row(id), r#"{"op":"update","row":{"id":7,"name":"x"}}"#.to_owned()]);
        });
    }
}

#[test]
fn demo_runs_without_terminal_and_leaves_nothing() {
    let table = Table::new("demo");
    let mut demo = Process::start_with(
        publisher().args(["demo", "--seconds", "2", "--name", table.name()]).stdin(Stdio::null()),
    );
    until("the table exists", || common::inspect(table.name(), None).is_ok());
    until("a subscriber is registered", || table.remember() == 1);
    demo.ends_with(0);
    let text = demo.stdout();
    assert!(text.lines().count() >= 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    assert_eq!(demo.stderr(), "");
    assert_eq!(table.orphans(), NOTHING);
}

#[test]
fn signals_end_the_demo() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let table = Table::new("demo-signal");
        let mut demo = Process::start(publisher().args(["demo", "--name", table.name()]));
        until("a subscriber is registered", || table.remember() == 1);
        demo.signal(signal);
        demo.ends_with(0);
        assert_eq!(table.orphans(), NOTHING);
    }
}

#[test]
fn processes_source_follows_process_list() {
    let table = Table::new("processes");
    let mut serve = Process::start(publisher().args([
        "serve",
        table.name(),
        "--from",
        "processes",
        "--every",
        "20ms",
    ]));
    let own = std::process::id();
    let get = ["get", table.name(), "--timeout", "30s", "--format", "jsonl"];
    until("this process is among them", || {
        let (stdout, _) = Process::run(subscriber().args(get), 0);
        let mut rows =
            stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.any(|row| row["pid"] == own)
    });
    // A process that ends is deleted.
    let mut child = Process::start(&mut command("cat"));
    let pid = child.id().to_string();
    let mut watch =
        Process::start(subscriber().args(["watch", table.name(), "--format", "jsonl", &pid]));
    watch.stdout_until(|text| text.contains("create"));
    child.finish();
    watch.stdout_until(|text| text.contains("delete"));
    serve.signal(Signal::SIGINT);
    serve.ends_with(0);
}

#[test]
fn programs_end_with_the_reader_of_their_output() {
    let table = Table::new("reader");
    let serving = Serving::start(table.name(), FIELDS, &[]);
    let absent = Table::new("reader-absent");
    for arguments in [
        ["watch", table.name()].as_slice(),
        &["watch", table.name(), "--format", "jsonl", "--wake", "futex"],
        &["watch", table.name(), "--wake", "spin"],
        &["watch", table.name(), "--count", "1", "--timeout", "1h"],
        &["watch", table.name(), "--", "true"],
        &["watch", absent.name()],
        &["get", absent.name(), "--timeout", "1h"],
        &["hz", table.name(), "--every", "1h"],
        &["hz", absent.name()],
        &["ls", "--sample", "1h"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = subscriber();
        command.args(arguments).stdin(Stdio::null());
        let mut process = Process::start_into(&mut command, writer);
        drop(command);
        drop(reader);
        process.ends_with(0);
    }
    serving.stop(Signal::SIGTERM);
}
