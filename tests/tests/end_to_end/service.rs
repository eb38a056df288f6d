//! Both programs as services: notifications to the service manager, and behaviour without one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{PublisherState, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::clean::command;
use tests::followed::serve;
use tests::manager::Manager;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, skip, until};

const FIELDS: &str = "id:u64";
const CSV: &str = "id,name\n1,one\n2,two\n";

/// Number of watchdog messages that must arrive within [`LIMIT`]. A program that sends one every 50
/// ms needs 4 s for them; a loop that turns once a second needs longer than the limit.
const BEATS: usize = 80;

fn begins(lines: &[String], beginning: &str) -> bool {
    lines.iter().any(|line| line.starts_with(beginning))
}

fn from_stdin(table: &Table) -> Command {
    let mut serve = publisher();
    serve.args(["serve", table.name(), "--from", "-", "--fields", FIELDS]);
    serve
}

fn hears_it_live(manager: &Manager) {
    let begun = Instant::now();
    for _ in 0..BEATS {
        manager.hears("WATCHDOG=1");
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

/// Returns the number of rows that a new subscriber gets.
fn rows(table: &Table) -> usize {
    UntypedSubscriber::open(table.name()).unwrap().len()
}

/// Creates a file in a temporary directory.
fn file(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    std::fs::write(&file, content).unwrap();
    (folder, file)
}

#[test]
fn file_source_is_ready_with_its_rows() {
    let (_folder, file) = file(CSV);
    let table = Table::new("service-file");
    // The table of a dead publisher already exists.
    let mut before = Serving::start(table.name(), FIELDS, &[]);
    before.publish([r#"{"id":7}"#]);
    before.process.kill();
    let manager = Manager::at_path();
    let mut process = Process::start(manager.serves(&mut serve(&table, &file, &[])));
    let first = manager.next();
    assert_eq!(first, ["STATUS=reading the initial rows"]);
    let ready = manager.next();
    assert_eq!(rows(&table), 2, "{ready:?}");
    assert_eq!(ready[0], "READY=1");
    let version = common::inspect(table.name(), None).unwrap().version;
    let status = format!("STATUS=publishing {}: 2 rows at version {version}", table.name());
    assert_eq!(ready[1..], [status]);
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
    let last = manager.heard();
    let stopping = ["STOPPING=1".to_owned(), format!("STATUS=closing {}", table.name())];
    assert_eq!(last, [stopping], "one message");
    assert!(process.stderr().contains("publishing"));
}

#[test]
fn invalid_file_is_never_ready() {
    let (_folder, file) = file("id,name\n1,one\n1,two\n");
    let table = Table::new("service-bad");
    let manager = Manager::abstract_one();
    let mut process = Process::start(manager.serves(&mut serve(&table, &file, &[])));
    process.ends_with(5);
    let heard = manager.heard();
    assert!(!heard.iter().any(|lines| begins(lines, "READY")), "{heard:?}");
}

#[test]
fn file_without_rows_is_ready() {
    let (_folder, file) = file("id,name\n");
    let table = Table::new("service-empty");
    let manager = Manager::abstract_one();
    let _process = Process::start(manager.serves(&mut serve(&table, &file, &[])));
    assert!(begins(&manager.hears("READY=1"), "STATUS=publishing"));
    assert_eq!(rows(&table), 0);
}

#[test]
fn stdin_source_is_ready_with_table_and_reports_status() {
    let table = Table::new("service-stdin");
    let manager = Manager::abstract_one();
    let mut process = Process::start(manager.serves(&mut from_stdin(&table)));
    let ready = manager.hears("READY=1");
    assert!(begins(&ready, "STATUS=publishing"), "{ready:?}");
    assert_eq!(rows(&table), 0);
    for id in 0..3 {
        process.write_line(&format!("{{\"id\":{id}}}"));
    }
    let status = format!("STATUS=publishing {}: 3 rows", table.name());
    let heard = manager.hears(&status);
    assert!(!begins(&heard, "READY"), "{heard:?}");
    process.signal(Signal::SIGINT);
    process.ends_with(0);
    manager.hears("STOPPING=1");
}

/// Regression: a table that could no longer change looked alive. A test of the metrics checks the
/// same.
#[test]
fn end_of_stdin_is_reported_to_manager() {
    let table = Table::new("service-end");
    let manager = Manager::abstract_one();
    let mut process = Process::start(manager.serves(&mut from_stdin(&table)));
    process.write_line("{\"id\":1}");
    process.close_input();
    process.stderr_until(|text| {
        text.contains("the input has ended") && text.contains("--exit-at-eof")
    });
    let name = table.name();
    manager.hears(&format!("STATUS=publishing {name}: 1 rows at version 2; the input has ended"));
    assert_eq!(rows(&table), 1);
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
    let stderr = process.stderr();
    assert_eq!(stderr.matches("the input has ended").count(), 1, "{stderr}");
}

#[test]
fn processes_and_kernel_tables_are_ready_with_their_first_rows() {
    // Routes of an interface that is up, which may be only the loopback.
    let routes = std::fs::read_to_string("/proc/net/fib_trie");
    let has_routes = routes.is_ok_and(|routes| routes.contains("LOCAL"));
    for (source, has_rows) in [("processes", true), ("routes", has_routes), ("neighbors", false)] {
        let table = Table::new("service-kernel");
        let manager = Manager::abstract_one();
        let mut serve = publisher();
        serve.args(["serve", table.name(), "--from", source]);
        let process = Process::start(manager.serves(&mut serve));
        manager.hears("READY=1");
        if has_rows {
            assert!(rows(&table) > 0, "{source}: {}", process.stderr());
        }
        process.signal(Signal::SIGTERM);
        manager.hears("STOPPING=1");
    }
}

#[test]
fn watchdog_messages_come_from_idle_loop_and_stop_with_it() {
    let table = Table::new("service-watchdog");
    let manager = Manager::abstract_one();
    let mut serve = from_stdin(&table);
    manager.serves(&mut serve).env("WATCHDOG_USEC", "100000");
    let process = Process::start(&mut serve);
    manager.hears("READY=1");
    hears_it_live(&manager);
    process.stop();
    let _before_it_stood = manager.heard();
    // The process is stopped, so no message can arrive.
    let heard = manager.next_within(Duration::from_millis(500));
    assert_eq!(heard, None);
    process.signal(Signal::SIGCONT);
    hears_it_live(&manager);
}

#[test]
fn watchdog_of_another_process_is_ignored() {
    let table = Table::new("service-other");
    let manager = Manager::abstract_one();
    let mut serve = from_stdin(&table);
    manager
        .serves(&mut serve)
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", std::process::id().to_string());
    let mut process = Process::start(&mut serve);
    manager.hears("READY=1");
    process.write_line(r#"{"id":1}"#);
    // Thousands of messages would have arrived by now.
    manager.hears(&format!("STATUS=publishing {}: 1 row", table.name()));
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
    let heard = manager.heard();
    assert!(!heard.iter().any(|lines| begins(lines, "WATCHDOG")), "{heard:?}");
}

#[test]
fn reload_is_reported_with_its_start_time() {
    let (_folder, file) = file(CSV);
    let table = Table::new("service-reload");
    let manager = Manager::abstract_one();
    let process =
        Process::start(manager.serves(&mut serve(&table, &file, &["--max-loss", "none"])));
    manager.hears("READY=1");
    let reload = |content: Option<&str>| {
        if let Some(content) = content {
            let other = file.with_extension("new");
            std::fs::write(&other, content).unwrap();
            std::fs::rename(&other, &file).unwrap();
        }
        let asked_us = common::clock::monotonic_ns() / 1000;
        process.signal(Signal::SIGHUP);
        let reloading = manager.hears("RELOADING=1");
        let time = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let time: u64 = time.unwrap().parse().unwrap();
        assert!(time >= asked_us, "{time} is before {asked_us}");
        assert!(!begins(&reloading, "READY"), "{reloading:?}");
        manager.hears("READY=1");
        rows(&table)
    };
    assert_eq!(reload(None), 2, "nothing has changed");
    assert_eq!(reload(Some("id,name\n1,one\n2,two\n3,three\n")), 3);
    // An invalid file is reported, and the service stays ready.
    assert_eq!(reload(Some("id,name\n1,one\n1,one\n")), 3);
    assert_eq!(reload(Some("id,name\n")), 0);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(reload(None), 0);
}

#[test]
fn missing_manager_is_only_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nobody").display().to_string();
    let no_socket = folder.path().join("file");
    std::fs::write(&no_socket, "").unwrap();
    let no_socket = no_socket.display().to_string();
    for address in [&missing, &no_socket, "@tablecast-nobody-listens", "nowhere"] {
        let table = Table::new("service-alone");
        let mut serve = from_stdin(&table);
        serve.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "20000");
        let mut process = Process::start(&mut serve);
        process.write_line(r#"{"id":1}"#);
        until("the table is published", || {
            common::inspect(table.name(), None).is_ok_and(|info| info.rows == 1)
        });
        process.signal(Signal::SIGTERM);
        process.ends_with(0);
        let stderr = process.stderr();
        let warning = format!("cannot notify the service manager: NOTIFY_SOCKET={address}: ");
        assert_eq!(stderr.matches(&warning).count(), 1, "{stderr}");
    }
    // Not started as a service.
    for set in [None, Some("")] {
        let table = Table::new("service-none");
        let mut serve = from_stdin(&table);
        if let Some(value) = set {
            serve.env("NOTIFY_SOCKET", value);
        }
        let mut process = Process::start(serve.env("WATCHDOG_USEC", "20000"));
        process.stderr_until(|stderr| stderr.contains("publishing"));
        process.signal(Signal::SIGTERM);
        process.ends_with(0);
        assert!(!process.stderr().contains("WARN"), "{}", process.stderr());
    }
}

#[test]
fn watch_is_ready_with_first_copy() {
    let table = Table::new("service-watch");
    let manager = Manager::at_path();
    let mut watch = subscriber();
    watch.args(["watch", table.name(), "--format", "jsonl"]);
    manager.serves(&mut watch).env("WATCHDOG_USEC", "100000");
    let mut watch = Process::start(&mut watch);
    let waiting = format!("STATUS=waiting for table {}", table.name());
    assert_eq!(manager.next(), [waiting]);
    watch.stderr_until(|stderr| stderr.contains("waiting for a publisher"));
    assert_eq!(manager.heard(), Vec::<Vec<String>>::new());
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let ready = manager.next();
    assert_eq!(ready[0], "READY=1");
    let following = format!("STATUS=following {}: 0 rows at version", table.name());
    assert!(ready[1].starts_with(&following), "{ready:?}");
    // The watchdog messages arrive although the table does not change.
    hears_it_live(&manager);
    serving.publish([r#"{"id":1}"#]);
    manager.hears(&format!("STATUS=following {}: 1 rows", table.name()));
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
    manager.hears("STOPPING=1");
}

#[test]
fn command_of_watch_does_not_inherit_notify_socket() {
    let table = Table::new("service-command");
    let _serving = Serving::start(table.name(), FIELDS, &[]);
    let manager = Manager::abstract_one();
    let mut watch = subscriber();
    watch.args(["watch", table.name(), "--once", "--", "env"]);
    manager.serves(&mut watch).env("WATCHDOG_USEC", "5000000").env("WATCHDOG_PID", "1");
    let (stdout, _) = Process::run(&mut watch, 0);
    assert!(stdout.contains("TABLECAST_TABLE="), "{stdout}");
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(!stdout.contains(variable), "{stdout}");
    }
    manager.hears("READY=1");
}

#[test]
fn demo_does_not_notify_manager() {
    let table = Table::new("service-demo");
    let manager = Manager::abstract_one();
    let mut demo = publisher();
    demo.args(["demo", "--seconds", "1", "--name", table.name()]);
    Process::run(manager.serves(&mut demo), 0);
    assert_eq!(manager.heard(), Vec::<Vec<String>>::new());
}

#[test]
fn restarted_service_takes_over_its_table() {
    let (_folder, file) = file(CSV);
    let table = Table::new("service-restart");
    let manager = Manager::abstract_one();
    let mut copy = None;
    for epoch in 1..=3 {
        let mut process = Process::start(manager.serves(&mut serve(&table, &file, &["--keep"])));
        manager.hears("READY=1");
        let copy = copy.get_or_insert_with(|| UntypedSubscriber::open(table.name()).unwrap());
        until("the subscriber sees the epoch", || {
            copy.refresh().unwrap();
            copy.publisher_state().epoch() == epoch
        });
        assert_eq!(copy.len(), 2);
        match epoch {
            // As the watchdog kills it.
            1 => {
                process.signal(Signal::SIGABRT);
                process.end();
            }
            _ => {
                process.signal(Signal::SIGTERM);
                process.ends_with(0);
                copy.refresh().unwrap();
                assert_eq!(copy.publisher_state(), PublisherState::Closed { epoch });
            }
        }
    }
}

/// Returns the unit file of docs/systemd.md with the path of this build's program.
fn unit() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/systemd.md");
    let page = std::fs::read_to_string(page).unwrap();
    let unit = page.split("```ini\n").nth(1);
    let unit = unit.and_then(|rest| rest.split("```").next()).unwrap();
    let program = publisher().get_program().to_str().unwrap().to_owned();
    assert!(unit.contains("/usr/local/bin/publisher"));
    unit.replace("/usr/local/bin/publisher", &program)
}

/// Returns the result and output of `systemd-analyze`, or None if it is not installed.
fn analyze(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    let output =
        command("systemd-analyze").args(arguments).arg(unit).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn documented_unit_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.service");
    std::fs::write(&path, unit()).unwrap();
    let Some((is_valid, said)) = analyze(&["verify", "--man=no"], &path) else {
        return skip("documented_unit_is_valid: no systemd-analyze");
    };
    assert!(is_valid, "{said}");
    let ours = said.lines().filter(|line| line.contains("prices.service"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
}
