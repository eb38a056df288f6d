//! `subscriber hz`: known commits give known figures, in each format and for each way to end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::lines;
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

const FIELDS: &str = "id:u64,n:u64";
/// Longer than a test takes, so that only the summary is printed.
const ONE_INTERVAL: [&str; 2] = ["--every", "1h"];

fn row(id: u64, n: u64) -> String {
    format!(r#"{{"id":{id},"n":{n}}}"#)
}

fn transaction(rows: std::ops::Range<u64>, n: u64) -> Vec<String> {
    let begin = std::iter::once(r#"{"op":"begin"}"#.to_owned());
    let end = std::iter::once(r#"{"op":"commit"}"#.to_owned());
    begin.chain(rows.map(|id| row(id, n))).chain(end).collect()
}

fn hz(table: &Table, options: &[&str]) -> Process {
    let mut command = subscriber();
    command.args(["hz", table.name()]).args(options);
    Process::start(&mut command)
}

/// Waits until a subscriber is parked at the last commit.
fn until_seen(serving: &Serving, table: &Table) {
    let version = serving.version();
    until("the last commit was seen", || {
        let listeners = common::inspect(table.name(), None).unwrap().subscribers;
        let mut listeners = listeners.unwrap().into_iter();
        listeners.any(|one| one.parked && one.seen == version)
    });
}

/// Makes commits of 1, 10 and 4 rows, each of which is seen separately.
fn three_commits(serving: &mut Serving, table: &Table) {
    until_seen(serving, table);
    for (rows, n) in [(0..1, 1), (0..10, 2), (0..4, 3)] {
        serving.publish(transaction(rows, n));
        until_seen(serving, table);
    }
}

fn ended(process: Process, signal: Signal) -> String {
    process.signal(signal);
    process.finished()
}

fn assert_three_commits(summary: &Value) {
    for (member, expected) in [
        ("commits", 3),
        ("commits_seen_singly", 3),
        ("refreshes", 3),
        ("outrun", 0),
        ("changed_rows", 15),
        ("rows_per_commit_min", 1),
        ("rows_per_commit_max", 10),
        ("bytes_per_commit_min", 16),
        ("bytes_per_commit_max", 160),
        ("delays", 3),
        ("rows", 10),
        ("version", 4),
    ] {
        assert_eq!(summary[member], expected, "{member} of {summary:#}");
    }
    assert_eq!(summary["rows_per_commit_mean"], 5.0);
    assert_eq!(summary["bytes_per_commit_mean"], 80.0);
    assert_eq!(summary["what"], "summary");
    let number = |member: &str| summary[member].as_u64().unwrap();
    let in_order = |members: &[&str]| {
        let numbers: Vec<u64> = members.iter().map(|member| number(member)).collect();
        assert!(numbers.is_sorted(), "{members:?} {numbers:?}");
    };
    in_order(&[
        "delay_p50_ns",
        "delay_p90_ns",
        "delay_p99_ns",
        "delay_p99_9_ns",
        "delay_max_ns",
        "elapsed_ns",
    ]);
    in_order(&["gap_min_ns", "gap_p50_ns", "gap_p99_ns", "gap_max_ns", "elapsed_ns"]);
    assert!(number("gap_min_ns") > 0, "the commits were made one after the other");
    let steps = summary["delay_histogram"].as_array().unwrap();
    let counted: u64 = steps.iter().map(|step| step["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3);
    let rate = summary["commits_per_second"].as_f64().unwrap();
    let expected = 3e9 / number("elapsed_ns") as f64;
    assert!((rate - expected).abs() < 0.001, "{rate} {expected}");
}

#[test]
fn hz_summary_of_known_commits_is_exact() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let table = Table::new("hz-known");
        let mut serving = Serving::start(table.name(), FIELDS, &[]);
        let formats = ["jsonl", "json", "text"];
        for format in formats {
            let measured = hz(&table, &[&["--format", format], &ONE_INTERVAL[..]].concat());
            three_commits(&mut serving, &table);
            let printed = ended(measured, signal);
            match format {
                "jsonl" => {
                    let lines = lines(&printed);
                    assert_eq!(lines.len(), 1);
                    assert_three_commits(&lines[0]);
                }
                "json" => {
                    let document: Value = serde_json::from_str(&printed).unwrap();
                    assert_eq!(document["table"], table.name());
                    assert_eq!(document["intervals"], Value::Array(vec![]));
                    assert_three_commits(&document["summary"]);
                }
                _ => {
                    for part in [
                        "(3, 3 of them seen one by one)",
                        "a commit  mean 5 rows, 80 B; min 1 rows, 16 B; max 10 rows, 160 B",
                        "delay from commit to applied, 3 seen",
                        "|####",
                    ] {
                        assert!(printed.contains(part), "{part}\n{printed}");
                    }
                }
            }
            serving.stop(Signal::SIGINT);
            serving = Serving::start(table.name(), FIELDS, &[]);
        }
        serving.stop(Signal::SIGINT);
    }
}

#[test]
fn hz_counts_commits_that_were_seen_together() {
    let table = Table::new("hz-together");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let measured = hz(&table, &[&["--format", "jsonl"], &ONE_INTERVAL[..]].concat());
    until_seen(&serving, &table);
    measured.stop();
    for n in 1..=5 {
        serving.publish([row(1, n)]);
    }
    measured.signal(Signal::SIGCONT);
    until_seen(&serving, &table);
    let summary = &lines(&ended(measured, Signal::SIGINT))[0];
    for (member, expected) in [
        ("commits", 5),
        ("commits_seen_singly", 0),
        ("refreshes", 1),
        ("changed_rows", 1),
        ("delays", 1),
    ] {
        assert_eq!(summary[member], expected, "{member} of {summary:#}");
    }
    assert!(summary.get("rows_per_commit_min").is_none());
    assert!(summary.get("gap_min_ns").is_none());
    serving.stop(Signal::SIGINT);
}

#[test]
fn hz_count_ends_after_intervals_and_window_spans_several() {
    let table = Table::new("hz-intervals");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let options = ["--every", "20ms", "--count", "10", "--window", "10", "--format", "jsonl"];
    let measured = hz(&table, &options);
    serving.publish([row(1, 1)]);
    let printed = lines(&measured.finished());
    assert_eq!(printed.len(), 11);
    let (summary, intervals) = printed.split_last().unwrap();
    for (at, interval) in intervals.iter().enumerate() {
        assert_eq!(interval["intervals"], at as u64 + 1);
        assert_eq!(interval["what"], "interval");
    }
    let numbers = |member: &str| -> Vec<u64> {
        let numbers = intervals.iter().map(|interval| interval[member].as_u64());
        numbers.collect::<Option<_>>().unwrap()
    };
    // The window contains all intervals, so the last line is close to the summary.
    assert!(numbers("commits").is_sorted());
    assert_eq!(intervals[9]["commits"], summary["commits"]);
    let elapsed = numbers("elapsed_ns");
    assert!(elapsed.windows(2).all(|two| two[0] < two[1]), "{elapsed:?}");

    let printed = hz(&table, &["--duration", "50ms", "--every", "20ms", "--format", "json"]);
    let document: Value = serde_json::from_str(&printed.finished()).unwrap();
    let intervals = document["intervals"].as_array().unwrap();
    assert!(intervals.iter().all(|interval| interval["commits"] == 0));
    assert_eq!(document["summary"]["intervals"], intervals.len() as u64);
    serving.stop(Signal::SIGINT);
}

#[test]
fn closed_pipe_ends_with_success() {
    let table = Table::new("hz-pipe");
    let serving = Serving::start(table.name(), FIELDS, &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = subscriber();
    command.args(["hz", table.name(), "--every", "10ms"]).stdin(Stdio::null());
    let mut measured = Process::start_into(&mut command, writer);
    drop(command);
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    measured.ends_with(0);
    assert_eq!(measured.stderr(), "");
    serving.stop(Signal::SIGINT);
}

#[test]
fn hz_waits_for_table_and_survives_publisher() {
    let table = Table::new("hz-waits");
    let mut timeout = hz(&table, &["--timeout", "50ms"]);
    timeout.ends_with(1);
    for (format, nothing) in [
        ("text", String::new()),
        ("json", format!("{{\"table\":{:?},\"intervals\":[]}}\n", table.name())),
    ] {
        let mut waiting = hz(&table, &["--format", format]);
        waiting.stderr_until(|text| text.contains("waiting for a publisher"));
        assert_eq!(ended(waiting, Signal::SIGINT), nothing);
    }
    let mut measured = hz(&table, &[&["--format", "jsonl"], &ONE_INTERVAL[..]].concat());
    measured.stderr_until(|text| text.contains("waiting for a publisher"));
    let mut first = Serving::start(table.name(), FIELDS, &[]);
    until_seen(&first, &table);
    first.publish([row(1, 1)]);
    until_seen(&first, &table);
    first.process.kill();
    measured.stderr_until(|text| text.contains("is gone"));
    let mut second = Serving::start(table.name(), FIELDS, &[]);
    measured.stderr_until(|text| text.contains("is published by process"));
    until_seen(&second, &table);
    second.publish([row(1, 2)]);
    until_seen(&second, &table);
    let summary = &lines(&ended(measured, Signal::SIGINT))[0];
    // The takeover is also a commit.
    assert_eq!(summary["commits"], 3, "{summary:#}");
    assert_eq!(summary["changed_rows"], 2);
    assert_eq!(summary["publisher"], "alive");
    second.stop(Signal::SIGINT);
}
