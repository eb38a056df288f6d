//! The examples run and end as their comments describe.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::process::Process;
use tests::programs::example;
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, until};

const FIELDS: &str = "id:u64,text:text(512)";

fn row(id: u64, text: &str) -> String {
    format!(r#"{{"id":{id},"text":"{text}"}}"#)
}

#[test]
fn poll_example_waits_for_table_timer_and_stdin() {
    let table = Table::new("example-poll");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let mut poll = Process::start(example("poll").arg(table.name()));
    assert_eq!(poll.line(), "table: 0 rows at version 1");
    serving.publish([row(1, "one")]);
    poll.stdout_until(|text| text.contains("table: 1 rows changed, which leads to version 2"));
    poll.write_line("hello");
    poll.stdout_until(|text| text.contains("stdin: hello"));
    poll.stdout_until(|text| text.contains("timer: 1 s"));
    // No event source hides another one.
    serving.publish([row(2, "two")]);
    poll.stdout_until(|text| text.contains("leads to version 3"));
    poll.finish();
}

#[test]
fn poll_example_runs_alone() {
    let mut poll = Process::start(&mut example("poll"));
    poll.stdout_until(|text| text.contains("which leads to version 2"));
    poll.finish();
}

#[test]
fn tables_example_waits_for_two_tables() {
    let mut tables = Process::start(&mut example("tables"));
    // A change of either table prints a line.
    tables.stdout_until(|text| {
        let versions = text.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[4], words[7])
        });
        let mut seen: Vec<(&str, &str)> = versions.collect();
        seen.dedup();
        seen.windows(2).any(|pair| pair[0].0 != pair[1].0)
            && seen.windows(2).any(|pair| pair[0].1 != pair[1].1)
    });
    tables.finish();
}

#[test]
fn typed_examples_share_a_row_type() {
    let table = Table::new("example-typed");
    let start = |name: &str| Process::start(example(name).arg(table.name()));
    // The subscriber waits for the publisher.
    let mut subscriber = start("typed_subscriber");
    let mut publisher = start("typed_publisher");
    assert!(publisher.line().ends_with("version 1, 0 rows from a publisher before"));
    subscriber.stdout_until(|text| text.contains("cellar: ") && text.contains("roof: "));
    subscriber.stdout_until(|text| text.contains("°C (+") || text.contains("°C (-"));
    publisher.kill();
    subscriber.stdout_until(|text| text.contains("the publisher died"));
    let mut publisher = start("typed_publisher");
    assert!(publisher.line().ends_with(", 4 rows from a publisher before"));
    let told = format!("published by process {} now\n", publisher.id());
    subscriber.stdout_until(|text| {
        let since = text.split_once(&told);
        since.is_some_and(|(_, since)| since.contains("roof: "))
    });
    publisher.signal(Signal::SIGINT);
    publisher.ends_with(0);
    subscriber.stdout_until(|text| text.contains("the table was closed"));
    subscriber.signal(Signal::SIGINT);
    subscriber.ends_with(0);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn feature_flags_example_reads_with_and_without_publisher() {
    let table = Table::new("example-flags");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let flags = || example("feature_flags");
    let mut service = Process::start(flags().args(["serve", table.name()]));
    assert_eq!(service.line(), "user 0: ", "the defaults");
    write(r#"{"dark-mode": 100, "new-search": 0}"#);
    let file = file.to_str().unwrap();
    let mut publisher = Process::start(flags().args(["publish", file, table.name()]));
    service.stdout_until(|text| text.ends_with(": dark-mode\n"));
    // Flags that a partly written file lacks stay on.
    write(r#"{"dark-mode": 100, "#);
    publisher.stderr_until(|text| text.contains("the flags stay as they are"));
    write(r#"{"dark-mode": 100, "new-search": 101}"#);
    publisher.stderr_until(|text| text.contains("\"new-search\" is on for 101 %"));
    write(r#"{"dark-mode": 100, "new-search": 100, "another": 7}"#);
    service.stdout_until(|text| text.contains("new-search: 0 % -> 100 %"));
    service.stdout_until(|text| text.contains("another is new, for 7 %"));
    service.stdout_until(|text| text.ends_with(": dark-mode, new-search\n"));
    write(r#"{"new-search": 100}"#);
    service.stdout_until(|text| text.contains("dark-mode is gone"));
    service.stdout_until(|text| text.ends_with(": new-search\n"));
    publisher.kill();
    let so_far = service.stdout().len();
    service.stdout_until(|text| {
        let since = text[so_far..].lines().skip(1);
        since.filter(|line| line.ends_with(": new-search")).count() > 3
    });
    service.signal(Signal::SIGINT);
    service.ends_with(0);
}

/// Checks the output of a consumer of the market feed: pairs of lines.
fn assert_market(told: &str) {
    let lines: Vec<&str> = told.lines().collect();
    for pair in lines.chunks_exact(2) {
        assert!(pair[0].contains(" quotes in ") && pair[0].contains(", delay p50 "), "{told}");
        let (instruments, widest) = pair[1].split_once(" instruments, ").unwrap();
        assert!((1..=1_000).contains(&instruments.trim().parse().unwrap()), "{told}");
        // Instruments are listed before they are quoted.
        assert!(widest.starts_with("0 unknown, ") && widest.contains(", widest "), "{told}");
    }
}

/// The two tables of the market feed. Declared before its processes, and removed after them.
struct Market([String; 2]);

impl Drop for Market {
    fn drop(&mut self) {
        for table in &self.0 {
            let _gone_already = common::remove(table);
        }
    }
}

#[test]
fn market_feed_example_feeds_and_consumes() {
    let prefix = Table::new("example-market");
    let tables = Market(["symbols", "quotes"].map(|table| format!("{}.{table}", prefix.name())));
    let command = |half| {
        let mut command = example("market_feed");
        command.args([half, prefix.name()]);
        command
    };
    // Both are built before one of them waits for the other.
    let [mut consume, mut feed] = ["consume", "feed"].map(command);
    let mut consumer = Process::start(&mut consume);
    let mut feed = Process::start(&mut feed);
    let told = consumer.stdout_until(|text| text.matches('\n').count() >= 6);
    assert_market(&told);
    for process in [&mut consumer, &mut feed] {
        process.signal(Signal::SIGINT);
        process.ends_with(0);
    }
    let mut both = Process::start(&mut command("both"));
    assert_market(&both.stdout_until(|text| text.matches('\n').count() >= 2));
    both.signal(Signal::SIGINT);
    both.ends_with(0);
    for table in &tables.0 {
        let left = common::inspect(table, None);
        assert!(matches!(left, Err(common::Error::NotFound { .. })), "{table}");
    }
}

/// A client of the server.
struct Client {
    events: BufReader<ureq::BodyReader<'static>>,
    /// The table according to the events.
    rows: BTreeMap<u64, String>,
    version: u64,
    snapshots: u32,
}

impl Client {
    fn connect(url: &str) -> Self {
        let agent =
            ureq::Agent::config_builder().timeout_recv_response(Some(LIMIT)).build().new_agent();
        let response = agent.get(url).call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            events: BufReader::new(response.into_body().into_reader()),
            rows: BTreeMap::new(),
            version: 0,
            snapshots: 0,
        }
    }

    /// Reads one event and applies it.
    fn read(&mut self) {
        let mut event = BTreeMap::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.events.read_line(&mut line).unwrap(),
                0,
                "the server closed the connection"
            );
            match line.trim_end().split_once(": ") {
                Some((name, value)) => event.insert(name.to_owned(), value.to_owned()),
                None if event.contains_key("data") => break,
                // A comment that keeps the connection alive.
                None => None,
            };
        }
        let data: Vec<Value> = serde_json::from_str(&event["data"]).unwrap();
        let version = event["id"].parse().unwrap();
        assert!(version > self.version, "{version} after {}", self.version);
        self.version = version;
        if event["event"] == "snapshot" {
            self.snapshots += 1;
            self.rows.clear();
            data.iter().for_each(|row| self.put(row));
            return;
        }
        assert_eq!(event["event"], "changes");
        for change in &data {
            match change["op"].as_str().unwrap() {
                "delete" => {
                    let id = change["key"]["id"].as_u64().unwrap();
                    self.rows.remove(&id).expect("the row existed");
                }
                op => {
                    let id = change["row"]["id"].as_u64().unwrap();
                    assert_eq!(op == "update", self.rows.contains_key(&id), "{change}");
                    self.put(&change["row"]);
                }
            }
        }
    }

    fn put(&mut self, row: &Value) {
        let text = row["text"].as_str().unwrap().to_owned();
        self.rows.insert(row["id"].as_u64().unwrap(), text);
    }

    fn read_to(&mut self, version: u64) {
        while self.version < version {
            self.read();
        }
        assert_eq!(self.version, version);
    }
}

/// Starts the server of a table on a free port.
fn server(table: &Table) -> (Process, String) {
    let mut command = example("tokio_sse");
    let mut server = Process::start(command.args([table.name(), "127.0.0.1:0"]));
    let url = server.line();
    (server, url)
}

#[test]
fn sse_example_serves_many_clients() {
    let table = Table::new("example-sse");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one"), row(2, "two")]);
    let (mut server, url) = server(&table);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&url)).collect();
    let before = serving.version();
    clients.iter_mut().for_each(|client| client.read_to(before));
    until("one subscriber serves them all", || table.remember() == 1);
    serving.publish([row(3, "three")]);
    serving.publish([row(2, "zwei")]);
    serving.publish([r#"{"op":"delete","key":{"id":1}}"#]);
    // One client joins, and some leave.
    clients.drain(..5);
    clients.push(Client::connect(&url));
    serving.publish([row(4, "four")]);
    let expected = [(2, "zwei"), (3, "three"), (4, "four")];
    let expected = expected.map(|(id, text)| (id, text.to_owned()));
    for client in &mut clients {
        client.read_to(serving.version());
        assert_eq!(client.rows, expected.clone().into());
        assert_eq!(client.snapshots, 1);
    }
    server.signal(Signal::SIGINT);
    server.ends_with(0);
    // The server released its slot.
    assert_eq!(table.remember(), 0);
}

#[test]
fn sse_example_resends_table_to_slow_client() {
    const ROWS: u64 = 4_000;
    let table = Table::new("example-slow");
    // A table that grows would have one more version.
    let mut serving = Serving::start(table.name(), FIELDS, &["--capacity", "4000"]);
    let (mut server, url) = server(&table);
    let (mut slow, mut quick) = (Client::connect(&url), Client::connect(&url));
    // About 2 MB each: more than the sockets hold, and more batches than the server keeps.
    for round in 0..30 {
        let text = format!("{round}-").repeat(120);
        let mut lines = vec![r#"{"op":"begin"}"#.to_owned()];
        lines.extend((0..ROWS).map(|id| row(id, &text)));
        lines.push(r#"{"op":"commit"}"#.to_owned());
        serving.publish(lines);
        quick.read_to(serving.version());
    }
    assert_eq!((quick.snapshots, quick.rows.len() as u64), (1, ROWS));
    slow.read_to(serving.version());
    assert!(slow.snapshots > 1, "the slow client was not sent a new snapshot");
    assert_eq!(slow.rows, quick.rows);
    server.signal(Signal::SIGINT);
    server.ends_with(0);
}
