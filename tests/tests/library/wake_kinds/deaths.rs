//! Death of either side, in every state; takeover; close; and what is left.

use common::Publisher;
use tests::kinds::Kind;
use tests::process::Process;
use tests::script::Item;
use tests::{role, until};

use super::{Place, asleep, commit, for_each_kind};

/// What follows a number of the version and of the rows.
fn state(line: &str) -> &str {
    line.splitn(3, ' ').nth(2).unwrap_or_default()
}

#[test]
fn takeover_and_close_wake_whoever_sleeps() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-takeover");
        let mut publisher = place.publish();
        let mut follower = place.start("follow", kind, &[]);
        assert!(state(&follower.line()).starts_with("Alive { epoch: 1"));
        for epoch in 2..=5 {
            until("it sleeps", || {
                asleep(&place.table) == 1 || kind.wake == "spin"
            });
            // As good as dead, but in this process, whose descriptor tells nothing: the next one has to.
            drop(publisher);
            publisher = place.publish();
            let told = follower.line();
            let expected = format!("Alive {{ epoch: {epoch}");
            assert!(state(&told).starts_with(&expected), "{told}");
        }
        place.table.remember();
        publisher.close().unwrap();
        assert_eq!(state(&follower.line()), "Closed { epoch: 5 }");
        until("it has nothing left", || place.made().is_empty());
        assert_eq!(place.table.leftovers(), [""; 0]);
        follower.finish();
    });
}

#[test]
fn a_larger_table_and_another_registry_are_followed() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-successor");
        drop(place.publish());
        let mut follower = place.start("follow", kind, &[]);
        assert!(state(&follower.line()).starts_with("Gone"));
        until("it sleeps", || {
            asleep(&place.table) == 1 || kind.wake == "spin"
        });
        // A successor region with another registry.
        let larger = Publisher::<Item>::builder(place.name())
            .capacity(1000)
            .subscribers(2000);
        let mut publisher = larger.open().unwrap();
        assert!(state(&follower.line()).starts_with("Alive { epoch: 2"));
        for value in 0..100 {
            let version = commit(&mut publisher, value);
            assert!(follower.line().starts_with(&format!("{version} ")));
        }
        publisher.close().unwrap();
        assert!(state(&follower.line()).starts_with("Closed"));
        follower.finish();
        assert_eq!(place.made(), [""; 0]);
    });
}

#[test]
fn a_registry_that_is_lost_has_a_successor_that_all_come_to() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-registry");
        let mut publisher = place.publish();
        let mut follower = place.start("follow", kind, &[]);
        follower.line();
        for value in 0..3 {
            until("it sleeps", || {
                asleep(&place.table) == 1 || kind.wake == "spin"
            });
            let registry = common::inspect(place.name(), None).unwrap().registry_id;
            std::fs::remove_file(format!("/dev/shm/tablecast.subs.{registry:016x}")).unwrap();
            publisher.maintain().unwrap();
            // That there is another one is a commit, which wakes it at the one before.
            if kind.wake != "spin" {
                until("it sleeps at the other one", || asleep(&place.table) == 1);
            }
            let version = commit(&mut publisher, value);
            assert!(follower.line().starts_with(&format!("{version} ")));
        }
        publisher.close().unwrap();
        assert!(state(&follower.line()).starts_with("Closed"));
        follower.finish();
        assert_eq!(place.made(), [""; 0]);
    });
}

#[test]
fn a_publisher_that_is_killed_is_told_by_all() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-killed");
        let mut publisher = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(publisher.line(), "open");
        // Who sleeps on no descriptor learns of it by the re-check.
        let recheck = if kind.sleeps_on_descriptors() {
            "3600000"
        } else {
            "100"
        };
        let mut follower = place.start("follow", kind, &[recheck]);
        assert!(state(&follower.line()).starts_with("Alive"));
        until("it sleeps", || {
            asleep(&place.table) == 1 || kind.wake == "spin"
        });
        publisher.kill();
        assert_eq!(state(&follower.line()), "Gone { epoch: 1 }");
        let mut publisher = place.publish();
        assert!(state(&follower.line()).starts_with("Alive { epoch: 2"));
        commit(&mut publisher, 1);
        assert!(state(&follower.line()).starts_with("Alive"));
        follower.finish();
        publisher.close().unwrap();
        assert_eq!(place.made(), [""; 0]);
    });
}

#[test]
fn a_subscriber_that_is_killed_leaves_nothing_in_whatever_state_it_was() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-dead");
        let mut publisher = place.publish();
        let mut value = 0;
        for state in ["asleep", "awake", "refreshing", "polling"] {
            let mut subscriber = match state {
                "awake" => place.start("awake", kind, &[]),
                "polling" => place.start("poll", kind, &[]),
                _ => place.start("follow", kind, &[]),
            };
            subscriber.line();
            if ["asleep", "polling"].contains(&state) && kind.wake != "spin" {
                until("it sleeps", || asleep(&place.table) == 1);
            }
            // Commits that it follows until it is killed among them.
            let commits = if state == "refreshing" { 500 } else { 1 };
            for _ in 0..commits {
                value += 1;
                commit(&mut publisher, value);
            }
            place.table.remember();
            subscriber.kill();
            commit(&mut publisher, value + 1);
            publisher.maintain().unwrap();
            let listeners = common::inspect(place.name(), None).unwrap().subscribers;
            assert_eq!(listeners.unwrap(), [], "{state}");
            assert_eq!(place.made(), [""; 0], "{state}");
            assert!(!place.table.has_queue(), "{state}");
        }
        publisher.close().unwrap();
    });
}

#[test]
fn when_both_are_killed_one_sweep_removes_what_they_left() {
    for kind in tests::kinds::KINDS {
        let Kind { in_directory, .. } = *kind;
        let place = Place::new("kinds-both-dead");
        let mut publisher = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(publisher.line(), "open");
        let mut follower = place.start("follow", *kind, &[]);
        follower.line();
        until("it has its place", || {
            let listeners = common::inspect(place.name(), None).unwrap().subscribers;
            listeners.is_ok_and(|all| all.len() == 1) && place.made().is_empty() != in_directory
        });
        place.table.remember();
        publisher.kill();
        follower.kill();
        assert_eq!(place.made().is_empty(), !in_directory, "{kind:?}");
        // The next publisher, or `rm`.
        common::remove(place.name()).unwrap();
        assert_eq!(place.made(), [""; 0], "{kind:?}");
        assert_eq!(place.table.leftovers(), [""; 0], "{kind:?}");
    }
}
