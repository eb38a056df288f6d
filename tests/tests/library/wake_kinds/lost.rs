//! Commits and echoes with each wake kind: both sides park each time, so a lost wake-up would end
//! the test.

use std::time::Instant;

use common::Subscriber;
use tests::kinds::Kind;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, NEVER};

use super::Place;

fn ping_pong(kind: Kind, mode: u32, rounds: u64) {
    let (place, pong) = (Place::new("kinds-ping"), Table::new("kinds-pong"));
    let mut pings =
        common::Publisher::<Item>::builder(place.name()).capacity(1).mode(mode).open().unwrap();
    let rounds_told = rounds.to_string();
    let mut echo = place.start("echo", kind, &[pong.name(), &rounds_told]);
    assert_eq!(echo.line(), "open");
    let mut pongs = Subscriber::<Item>::builder(pong.name()).recheck(NEVER).open().unwrap();
    let begun = Instant::now();
    for round in 1..=rounds {
        super::commit(&mut pings, round);
        let told = pongs.wait(Some(LIMIT)).unwrap().len();
        let found = pongs.get(&(0, 0)).map(|item| item.value);
        assert_eq!((told, found), (1, Some(round)), "a wake-up was lost");
    }
    let elapsed = begun.elapsed();
    println!("{kind:?}, mode {mode:o}: {rounds} there and back in {elapsed:?}");
    assert_eq!(echo.line(), "done");
    let said = echo.stderr();
    assert_eq!(said, "", "no warning about the wake kind");
    echo.kill();
    pings.close().unwrap();
    drop(pongs);
    // As if the process had been killed: the next publisher removes its objects.
    let left = common::Publisher::<Item>::builder(pong.name()).open();
    left.unwrap().close().unwrap();
    assert_eq!(place.made(), [""; 0]);
}

macro_rules! no_wake_up_is_lost {
    ($($test:ident: $wake:literal $(in $directory:literal)?,)+) => {
        $(#[test]
        fn $test() {
            let in_directory = false $(|| $directory)?;
            let kind = Kind { wake: $wake, in_directory };
            ping_pong(kind, 0o600, 100_000);
        })+
    };
}

no_wake_up_is_lost! {
    no_wake_up_is_lost_in_100_000_commits_by_queue: "mq",
    no_wake_up_is_lost_in_100_000_commits_by_futex: "futex",
    no_wake_up_is_lost_in_100_000_commits_by_socket: "unix",
    no_wake_up_is_lost_in_100_000_commits_by_socket_in_a_directory: "unix" in true,
    no_wake_up_is_lost_in_100_000_commits_by_signal: "signal",
    no_wake_up_is_lost_in_100_000_commits_by_pipe: "fifo" in true,
    no_wake_up_is_lost_in_100_000_commits_by_spinning: "spin",
    no_wake_up_is_lost_in_100_000_commits_by_spinning_and_then_by_queue: "spin:20us",
    no_wake_up_is_lost_in_100_000_commits_by_spinning_and_then_by_futex: "spin:20us+futex",
}

/// A shared registry is read by system calls.
#[test]
fn no_wake_up_of_any_kind_is_lost_with_shared_registry() {
    for wake in ["auto", "futex", "unix", "spin:20us+futex"] {
        let kind = Kind { wake, in_directory: false };
        ping_pong(kind, 0o644, 10_000);
    }
}

/// The publisher trusts a process or path in a registry only if it belongs to its own user.
#[test]
fn wake_kind_not_trusted_from_shared_registry_falls_back_to_recheck() {
    for (wake, in_directory) in [("signal", false), ("fifo", true), ("unix", true)] {
        let place = Place::new("kinds-refused");
        let mut publisher = common::Publisher::<Item>::builder(place.name())
            .capacity(1)
            .mode(0o644)
            .open()
            .unwrap();
        let kind = Kind { wake, in_directory };
        let [wake, at] = kind.arguments(place.directory.path());
        let mut watch = tests::programs::subscriber();
        watch.args(["watch", place.name(), "--format", "jsonl", "--wake", &wake]);
        if in_directory {
            watch.args(["--wake-at", &at]);
        }
        let mut watch = Process::start(&mut watch);
        watch.stderr_until(|said| said.contains("use mq, futex, or unix without"));
        for value in 0..3 {
            super::commit(&mut publisher, value);
            assert!(watch.line().contains(&format!("\"value\":{value}")));
        }
        publisher.close().unwrap();
        assert_eq!(place.made(), [""; 0]);
    }
}
