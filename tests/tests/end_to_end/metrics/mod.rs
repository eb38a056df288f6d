//! `--metrics`: the content of a real scrape, requests that are refused, and slow clients.

pub mod scrape;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use scrape::{Scrape, url};
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, until};

const FIELDS: &str = "id:u64,n:u64";
const ANY_PORT: [&str; 2] = ["--metrics", "127.0.0.1:0"];

fn row(id: u64, n: u64) -> String {
    format!(r#"{{"id":{id},"n":{n}}}"#)
}

fn delete(id: u64) -> String {
    format!(r#"{{"op":"delete","key":{{"id":{id}}}}}"#)
}

/// Starts a publisher with metrics. Also returns their URL.
fn serving(table: &Table) -> (Serving, String) {
    let mut serving = Serving::start(table.name(), FIELDS, &ANY_PORT);
    let url = url(&mut serving.process);
    (serving, url)
}

/// Starts a `watch` or `hz` with metrics. Also returns their URL.
fn following(what: &str, table: &Table) -> (Process, String) {
    let mut command = subscriber();
    command.args([what, table.name(), "--format", "jsonl"]).args(ANY_PORT);
    let mut process = Process::start(&mut command);
    let url = url(&mut process);
    (process, url)
}

/// Waits until the metrics have these values.
fn until_has(url: &str, table: &Table, values: &[(&str, f64)]) -> Scrape {
    let mut last = Scrape::of(url, table.name());
    until("the metrics have these values", || {
        last = Scrape::of(url, table.name());
        let right = last.has(values);
        if !right {
            // Printed if this test fails.
            println!("wanted {values:?}, found {:?}", last.values);
        }
        right
    });
    last
}

#[test]
fn end_of_stdin_is_a_metric() {
    let table = Table::new("metrics-end");
    let (mut serving, url) = serving(&table);
    serving.publish([row(1, 1)]);
    until_has(&url, &table, &[("tablecast_input_ended", 0.0), ("tablecast_rows", 1.0)]);
    serving.process.close_input();
    until_has(&url, &table, &[("tablecast_input_ended", 1.0), ("tablecast_rows", 1.0)]);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn publisher_metrics_count_commits_and_sweeps() {
    let table = Table::new("metrics-publisher");
    let (mut serving, url) = serving(&table);
    let first = Scrape::of(&url, table.name());
    assert!(first.has(&[
        ("tablecast_commits_total", 0.0),
        ("tablecast_version", 1.0),
        ("tablecast_epoch", 1.0),
        ("tablecast_capacity_rows", 1_024.0),
        ("tablecast_commit_seconds_count", 0.0),
    ]));
    let program = first.values.keys().find(|name| name.starts_with("tablecast_build_info"));
    assert!(program.is_some_and(|name| name.contains("program=publisher")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.unwrap().as_secs_f64() - first.get("process_start_time_seconds");
    assert!((0.0..LIMIT.as_secs_f64()).contains(&age), "{age}");
    for (family, kind, unit) in [
        ("tablecast_commits", "counter", ""),
        ("tablecast_commit_seconds", "histogram", "seconds"),
        ("tablecast_region_bytes", "gauge", "bytes"),
        ("tablecast_capacity_rows", "gauge", "rows"),
        ("tablecast_subscribers", "gauge", ""),
    ] {
        let found = first.families.get(family);
        assert_eq!(found, Some(&(kind.to_owned(), unit.to_owned())), "{family}");
    }

    // Three commits, each of which is waited for.
    serving.publish([row(1, 1)]);
    serving.publish([row(1, 2)]);
    serving.publish([delete(1)]);
    let later = until_has(
        &url,
        &table,
        &[
            ("tablecast_commits_total", 3.0),
            ("tablecast_commit_seconds_count", 3.0),
            ("tablecast_commit_seconds_bucket{le=inf}", 3.0),
            ("tablecast_changes_total{op=create}", 1.0),
            ("tablecast_changes_total{op=update}", 1.0),
            ("tablecast_changes_total{op=delete}", 1.0),
            ("tablecast_version", 4.0),
            ("tablecast_rows", 0.0),
        ],
    );
    assert!(later.get("tablecast_region_bytes") > 0.0);
    assert!(later.get("tablecast_commit_seconds_sum") > 0.0);
    // Counters never decrease, and buckets are cumulative.
    for name in &later.counters {
        assert!(later.get(name) >= first.get(name), "{name}");
    }
    let buckets: Vec<f64> = later
        .values
        .iter()
        .filter(|(name, _)| name.starts_with("tablecast_commit_seconds_bucket"))
        .map(|(_, count)| *count)
        .collect();
    assert!(buckets.len() > 20 && buckets.iter().all(|count| *count <= 3.0));
    until("the publisher sweeps", || {
        Scrape::of(&url, table.name()).get("tablecast_sweeps_total")
            > later.get("tablecast_sweeps_total")
    });
    serving.stop(Signal::SIGINT);
    assert!(
        TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/metrics")).is_err()
    );
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn publisher_metrics_count_parked_and_lagging_subscribers() {
    let table = Table::new("metrics-subscribers");
    let (mut serving, url) = serving(&table);
    let watch = Process::start(subscriber().args(["watch", table.name()]));
    until_has(
        &url,
        &table,
        &[
            ("tablecast_subscribers{state=parked}", 1.0),
            ("tablecast_subscribers{state=awake}", 0.0),
            ("tablecast_subscribers_behind", 0.0),
        ],
    );
    watch.stop();
    serving.publish([row(1, 1)]);
    until_has(
        &url,
        &table,
        &[("tablecast_wakes_total", 1.0), ("tablecast_subscribers_behind", 1.0)],
    );
    watch.signal(Signal::SIGCONT);
    until_has(&url, &table, &[("tablecast_subscribers_behind", 0.0)]);
    drop(watch);
    until_has(
        &url,
        &table,
        &[("tablecast_subscribers{state=parked}", 0.0), ("tablecast_subscribers{state=gone}", 0.0)],
    );
    serving.stop(Signal::SIGTERM);
}

#[test]
fn watch_metrics_count_changes() {
    tells_what_it_saw("watch");
}

#[test]
fn hz_metrics_count_changes() {
    tells_what_it_saw("hz");
}

fn tells_what_it_saw(what: &str) {
    let table = Table::new("metrics-following");
    let (mut watch, url) = following(what, &table);
    // Also before the table exists.
    let first = Scrape::of(&url, table.name());
    assert!(first.has(&[("tablecast_commits_total", 0.0)]));
    assert!(!first.values.contains_key("tablecast_version"));
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    until_has(&url, &table, &[("tablecast_publisher_state{state=alive}", 1.0)]);
    for (version, line) in [(2, row(1, 1)), (3, row(1, 2)), (4, delete(1))] {
        serving.publish([line]);
        until_has(&url, &table, &[("tablecast_version", f64::from(version))]);
    }
    let last = until_has(
        &url,
        &table,
        &[
            ("tablecast_commits_total", 3.0),
            ("tablecast_refreshes_total", 3.0),
            ("tablecast_outrun_total", 0.0),
            ("tablecast_changes_total{op=create}", 1.0),
            ("tablecast_changes_total{op=update}", 1.0),
            ("tablecast_changes_total{op=delete}", 1.0),
            ("tablecast_delay_seconds_count", 3.0),
            ("tablecast_rows", 0.0),
        ],
    );
    assert!(last.get("tablecast_delay_seconds_sum") > 0.0);
    serving.process.kill();
    until_has(
        &url,
        &table,
        &[
            ("tablecast_publisher_state{state=gone}", 1.0),
            ("tablecast_publisher_state{state=alive}", 0.0),
        ],
    );
    watch.signal(Signal::SIGINT);
    watch.ends_with(0);
}

#[test]
fn slow_clients_do_not_delay_a_scrape() {
    let table = Table::new("metrics-slow");
    let (mut serving, url) = serving(&table);
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    // More clients than the server handles at a time: some send nothing, some never finish, some
    // send a request and do not read.
    let mut slow: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (at, stream) in slow.iter_mut().enumerate() {
        let request = ["", "GET /metr", "GET /metrics HTTP/1.1\r\n\r\n"][at % 3];
        // The server may have closed the oldest connections.
        let _closed = stream.write_all(request.as_bytes());
    }
    Scrape::of(&url, table.name());
    // The scrape was answered while slow clients were still connected, and not because the server
    // had timed them out.
    let waiting = slow.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let seen = stream.peek(&mut [0]);
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert_ne!(waiting.count(), 0);
    for n in 1..=3 {
        serving.publish([row(n, n)]);
        until_has(&url, &table, &[("tablecast_commits_total", n as f64)]);
    }
    drop(slow);
    serving.stop(Signal::SIGINT);
}

#[test]
fn endless_request_is_refused() {
    let table = Table::new("metrics-long");
    let (serving, url) = serving(&table);
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
    head.resize(100 * 1024, b'x');
    stream.write_all(&head).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    serving.stop(Signal::SIGINT);
}

#[test]
fn other_paths_and_methods_are_refused() {
    let table = Table::new("metrics-requests");
    let (serving, url) = serving(&table);
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(LIMIT))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let front = url.trim_end_matches("metrics").to_owned();
    assert_eq!(agent.get(format!("{front}other")).call().unwrap().status(), 404);
    let plain = agent.get(&url).header("accept", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    let mut plain = plain.call().unwrap();
    let kind = plain.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4;"), "{kind}");
    let text = plain.body_mut().read_to_string().unwrap();
    assert!(text.contains("\n# TYPE tablecast_commits_total counter\n"), "{text}");
    assert!(text.contains("\n# TYPE tablecast_rows gauge\n"), "{text}");
    let refused = agent.post(&url).send("x").unwrap();
    assert_eq!(refused.status(), 405);
    assert_eq!(refused.headers()["allow"], "GET, HEAD");
    let mut head = agent.head(&url).call().unwrap();
    assert_eq!(head.status(), 200);
    assert_ne!(head.headers()["content-length"], "0");
    assert_eq!(head.body_mut().read_to_string().unwrap(), "");
    serving.stop(Signal::SIGINT);
}

#[test]
fn address_in_use_is_an_error_before_table_is_created() {
    let table = Table::new("metrics-in-use");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let name = table.name();
    let serve = ["serve", name, "--from", "-", "--fields", FIELDS];
    let mut commands = [publisher(), subscriber(), subscriber()];
    commands[0].args(serve);
    commands[1].args(["watch", name]);
    commands[2].args(["hz", name]);
    for command in &mut commands {
        let (_, stderr) = Process::run(command.args(["--metrics", &address]), 1);
        assert!(stderr.contains(&address), "{stderr}");
        assert!(stderr.contains("another program listens there"), "{stderr}");
        assert!(!stderr.contains("publishing"), "{stderr}");
        assert_eq!(table.orphans(), Vec::<String>::new());
    }
    let (_, stderr) = Process::run(publisher().args(serve).args(["--metrics", "9464"]), 2);
    assert!(stderr.contains("127.0.0.1:9464"), "{stderr}");
}

#[test]
fn stale_unix_socket_is_replaced_and_removed() {
    let table = Table::new("metrics-unix");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let address = format!("unix:{}", path.display());
    let start = || Serving::start(table.name(), FIELDS, &["--metrics", &address]);
    let text = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let mut first = start();
    assert!(Scrape::read(&text(), table.name()).has(&[("tablecast_epoch", 1.0)]));
    // An address with a listener is in use, and a file that is not a socket is never removed.
    let (_, stderr) =
        Process::run(subscriber().args(["watch", table.name(), "--metrics", &address]), 1);
    assert!(stderr.contains("another program"), "{stderr}");
    first.process.kill();
    assert!(path.exists());
    let second = start();
    assert!(Scrape::read(&text(), table.name()).has(&[("tablecast_epoch", 2.0)]));
    second.stop(Signal::SIGINT);
    assert!(!path.exists());
    std::fs::write(&path, "a file").unwrap();
    Process::run(subscriber().args(["watch", table.name(), "--metrics", &address]), 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}
