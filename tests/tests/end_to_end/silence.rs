//! A stopped publisher differs from an idle one, and subscribers are woken by its death and its
//! successor.

use common::publisher::SILENT_AFTER;
use common::{Cause, PublisherState, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::clean::command;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::lines;
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, NEVER, skip, until};

const FIELDS: &str = "id:u64";

/// Returns the output of `ls` and `info`.
fn said(table: &Table) -> (String, String) {
    let ls = ["ls", "--sample", "0s", "--format", "jsonl"];
    let (ls, _) = Process::run(subscriber().args(ls), 0);
    let (info, _) = Process::run(subscriber().args(["info", table.name(), "--format", "jsonl"]), 0);
    let listed = lines(&ls).into_iter().find(|line| line["name"] == table.name());
    let [listed, info] = [listed.unwrap(), lines(&info).remove(0)];
    let pid = common::inspect(table.name(), None).unwrap().publisher_pid;
    assert_eq!((&listed["pid"], &info["publisher_pid"]), (&pid.into(), &pid.into()));
    [listed, info].map(|line| line["publisher"].as_str().unwrap().to_owned()).into()
}

#[test]
fn stopped_publisher_is_silent_and_idle_one_is_not() {
    let table = Table::new("silent");
    let serving = Serving::start(table.name(), FIELDS, &[]);
    let watch = ["watch", table.name(), "--format", "jsonl"];
    let mut watch = Process::start(subscriber().args(watch));
    let mut copy = UntypedSubscriber::open(table.name()).unwrap();
    // Idle for longer than the limit of silence.
    let mut oldest = std::time::Duration::ZERO;
    let begun = std::time::Instant::now();
    while begun.elapsed() < SILENT_AFTER + SILENT_AFTER / 4 {
        oldest = oldest.max(copy.heartbeat_age().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("the oldest heartbeat of an idle publisher: {oldest:?}");
    until("the publisher is not silent", || copy.heartbeat_age().unwrap() < SILENT_AFTER);
    assert_eq!(said(&table), ("alive".to_owned(), "alive".to_owned()));

    serving.process.stop();
    until("the publisher is silent", || copy.heartbeat_age().unwrap() > SILENT_AFTER);
    assert_eq!(said(&table), ("silent".to_owned(), "silent".to_owned()));
    watch.stderr_until(|told| told.contains("is silent"));
    copy.refresh().unwrap();
    assert!(copy.publisher_state().is_alive(), "the publisher is alive");

    serving.process.signal(Signal::SIGCONT);
    until("the publisher is not silent", || copy.heartbeat_age().unwrap() < SILENT_AFTER);
    assert_eq!(said(&table), ("alive".to_owned(), "alive".to_owned()));
    let told = watch.stderr_until(|told| told.contains("is heard again"));
    assert_eq!(told.matches("is silent").count(), 1, "{told}");
    serving.stop(Signal::SIGTERM);
}

#[test]
fn publisher_death_and_successor_wake_parked_subscribers() {
    let table = Table::new("news");
    let mut first = Serving::start(table.name(), FIELDS, &[]);
    let watch = ["watch", table.name(), "--format", "jsonl"];
    let mut watch = Process::start(subscriber().args(watch));
    // A re-check never wakes this subscriber.
    let mut copy = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut news = |wanted: fn(&PublisherState) -> bool| loop {
        let changes = copy.wait(Some(LIMIT)).unwrap();
        assert_ne!(changes.cause(), Cause::Nothing, "no wake-up within the limit");
        if changes.cause() == Cause::Publisher && wanted(&copy.publisher_state()) {
            break copy.publisher_state().epoch();
        }
    };
    let is_gone = |state: &PublisherState| matches!(state, PublisherState::Gone { .. });
    for epoch in 1..=3 {
        let before = first.process.id();
        // The watch is parked; the copy stays parked after its first wake-up.
        until("a subscriber is registered", || table.remember() > usize::from(epoch > 1));
        first.process.kill();
        assert_eq!(news(is_gone), epoch);
        first = Serving::start(table.name(), FIELDS, &[]);
        assert_eq!(news(PublisherState::is_alive), epoch + 1);
        let successor = first.process.id();
        let told = watch.stderr_until(|told| told.contains(&format!("by process {successor} now")));
        assert!(told.contains("is gone; its rows stay"), "{told}");
        assert_ne!(before, successor);
    }
    first.stop(Signal::SIGTERM);
    assert_eq!(news(|state| matches!(state, PublisherState::Closed { .. })), 4);
    watch.stderr_until(|told| told.contains("is closed"));
}

/// Regression: times of two clocks were subtracted, so a live publisher looked silent and ages were
/// wrong by the offset.
#[test]
fn ages_and_delays_are_omitted_in_other_time_namespace() {
    let elsewhere = |words: &[&str]| {
        let mut wrapped = command("unshare");
        wrapped.args(["--time", "--monotonic", "100000", "--fork", "--kill-child"]);
        wrapped.args(words);
        wrapped
    };
    if !elsewhere(&["true"]).status().is_ok_and(|status| status.success()) {
        return skip("ages_and_delays_are_omitted_in_other_time_namespace: no time namespace");
    }
    let table = Table::new("time-namespace");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([r#"{"id":1}"#]);
    let path = subscriber().get_program().to_str().unwrap().to_owned();
    for words in [
        ["info", table.name(), "--format", "jsonl"].as_slice(),
        &["ls", "--sample", "0s", "--format", "jsonl"],
    ] {
        let (found, _) = Process::run(&mut elsewhere(&[&[path.as_str()], words].concat()), 0);
        let found = lines(&found);
        let line = found.iter().find(|line| line["name"] == table.name());
        let line = line.unwrap();
        assert_eq!(line["publisher"], "alive", "{line}");
        for member in ["heartbeat_ago_ms", "committed_ago_ms"] {
            assert!(line.get(member).is_none(), "{line}");
        }
    }
    let words = [path.as_str(), "doctor", table.name()];
    let doctor = elsewhere(&words).output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("in another time namespace"), "{doctor}");
    let hz = [path.as_str(), "hz", table.name(), "--duration", "5s", "--format", "jsonl"];
    let mut hz = Process::start(&mut elsewhere(&hz));
    until("the subscriber is registered", || table.remember() == 1);
    serving.publish([r#"{"id":2}"#]);
    let line = hz.line();
    assert!(!line.contains("delay_p50_ns"), "{line}");
    serving.stop(Signal::SIGTERM);
}
