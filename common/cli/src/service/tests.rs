//! Tests with a simulated manager and simulated times.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The manager's socket.
struct Listener {
    socket: UnixDatagram,
    name: OsString,
}

impl Listener {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tablecast-service-test-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = format!("@{name}").into();
        Self { socket, name }
    }

    fn service(&self, watchdog: Option<Duration>) -> Service {
        Service::of(Manager::at(&self.name).unwrap(), watchdog)
    }

    /// Returns the messages received since the last call, without the timestamps of reloads.
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 1000];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let lines: Vec<&str> = text
                .split('\n')
                .map(|line| match line.split_once('=') {
                    Some(("MONOTONIC_USEC", time)) => {
                        time.parse::<u64>().unwrap();
                        "MONOTONIC_USEC"
                    }
                    _ => line,
                })
                .collect();
            heard.push(lines.join(" "));
        }
        heard
    }
}

const NOTHING: [&str; 0] = [];

fn readiness(is_ready: bool, reloads: u32) -> Readiness {
    Readiness { is_ready, reloads }
}

#[test]
fn ready_is_sent_once_and_after_each_reload() {
    let listener = Listener::new();
    let mut service = listener.service(None);
    let now = Instant::now();
    let mut turn = |is_ready, reloads| {
        service.turn(now, readiness(is_ready, reloads), || "well".to_owned());
        listener.heard()
    };
    assert_eq!(turn(false, 0), NOTHING);
    // A reload before the service is ready needs no message.
    assert_eq!(turn(false, 1), NOTHING);
    assert_eq!(turn(true, 1), ["READY=1 STATUS=well"]);
    assert_eq!(turn(true, 1), NOTHING);
    assert_eq!(turn(false, 2), ["RELOADING=1 MONOTONIC_USEC"]);
    assert_eq!(turn(false, 2), NOTHING);
    assert_eq!(turn(false, 3), ["RELOADING=1 MONOTONIC_USEC"]);
    assert_eq!(turn(true, 3), ["READY=1 STATUS=well"]);
    // A reload that finished between two turns.
    assert_eq!(turn(true, 4), ["RELOADING=1 MONOTONIC_USEC", "READY=1 STATUS=well"]);
    service.end("over\nand out");
    assert_eq!(listener.heard(), ["STOPPING=1 STATUS=over and out"]);
}

#[test]
fn status_is_sent_on_change_at_limited_rate() {
    let listener = Listener::new();
    let mut service = listener.service(None);
    let begun = Instant::now();
    let mut turn = |after: Duration, status: &str| {
        service.turn(begun + after, Readiness::READY, || status.to_owned());
        listener.heard()
    };
    assert_eq!(turn(Duration::ZERO, "1 row"), ["READY=1 STATUS=1 row"]);
    assert_eq!(turn(STATUS_INTERVAL / 2, "2 rows"), NOTHING);
    assert_eq!(turn(STATUS_INTERVAL, "3 rows"), ["STATUS=3 rows"]);
    assert_eq!(turn(STATUS_INTERVAL * 2, "3 rows"), NOTHING);
    assert_eq!(turn(STATUS_INTERVAL * 3, "4 rows"), ["STATUS=4 rows"]);
    assert_eq!(service.due(), None);
}

#[test]
fn keep_alives_are_sent_by_turns_at_half_the_timeout() {
    let listener = Listener::new();
    let mut service = listener.service(Some(Duration::from_secs(2)));
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let turn = |service: &mut Service, at: Instant| {
        service.turn(at, readiness(false, 0), String::new);
        listener.heard()
    };
    assert_eq!(turn(&mut service, begun), ["WATCHDOG=1"]);
    assert_eq!(service.due(), Some(begun + second));
    assert_eq!(turn(&mut service, begun + second / 2), NOTHING);
    assert_eq!(turn(&mut service, begun + second), ["WATCHDOG=1"]);
    // Missed keep-alives are not sent later.
    assert_eq!(turn(&mut service, begun + second * 9), ["WATCHDOG=1"]);
    assert_eq!(service.due(), Some(begun + second * 10));
}

#[test]
fn failed_messages_are_retried() {
    let listener = Listener::new();
    let mut service = listener.service(Some(Duration::from_secs(20)));
    let begun = Instant::now();
    let Listener { socket, name } = listener;
    drop(socket);
    service.turn(begun, Readiness::READY, || "well".to_owned());
    assert_eq!(service.due(), Some(begun + RETRY));
    let address = SocketAddr::from_abstract_name(&name.as_encoded_bytes()[1..]).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = Listener { socket, name };
    service.turn(begun + RETRY / 2, Readiness::READY, || "well".to_owned());
    assert_eq!(listener.heard(), NOTHING);
    service.turn(begun + RETRY, Readiness::READY, || "well".to_owned());
    assert_eq!(listener.heard(), ["READY=1 STATUS=well WATCHDOG=1"]);
    assert_eq!(service.due(), Some(begun + RETRY + Duration::from_secs(10)));
}

#[test]
fn full_manager_socket_does_not_block() {
    let listener = Listener::new();
    let mut service = listener.service(Some(Duration::from_millis(2)));
    let mut now = Instant::now();
    // More messages than any socket queue holds.
    for _ in 0..20_000 {
        now += Duration::from_millis(2);
        service.turn(now, Readiness::READY, String::new);
    }
    assert!(service.retry.is_some(), "its queue never was full");
    assert!(!listener.heard().is_empty());
    now += RETRY;
    service.turn(now, Readiness::READY, String::new);
    assert_eq!(listener.heard(), ["WATCHDOG=1"]);
}

#[test]
fn manager_variables_are_hidden_from_children() {
    let mut command = Command::new("env");
    command.envs(VARIABLES.map(|name| (name, "1")));
    let output = hide_from(&mut command).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in VARIABLES {
        assert!(!text.contains(name), "{text}");
    }
}

#[test]
fn watchdog_applies_to_named_process_or_any() {
    let second = Some(Duration::from_secs(1));
    for (time, process, expected) in [
        (Some("1000000"), None, second),
        (Some("1000000"), Some("7"), second),
        (Some("1000000"), Some("8"), None),
        (Some("1000000"), Some(""), None),
        (Some("0"), None, None),
        (Some("-1"), None, None),
        (Some("soon"), Some("7"), None),
        (None, Some("7"), None),
    ] {
        assert_eq!(watchdog(time, process, 7), expected, "{time:?} {process:?}");
    }
}

#[test]
fn invalid_address_is_refused() {
    let long = format!("/{}", "x".repeat(200));
    for name in ["", "relative", "vsock:2:1", &long] {
        assert!(Manager::at(OsStr::new(name)).is_err(), "{name}");
    }
}
