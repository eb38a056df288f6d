//! Crashes of both sides in every state, takeover, close, and remaining objects.

use common::Publisher;
use tests::kinds::Kind;
use tests::process::Process;
use tests::script::Item;
use tests::{role, until};

use super::{Place, asleep, commit, for_each_kind};

/// Returns the publisher state that follows version and number of rows in a line.
fn state(line: &str) -> &str {
    line.splitn(3, ' ').nth(2).unwrap_or_default()
}

#[test]
fn takeover_and_close_wake_parked_subscriber() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-takeover");
        let mut publisher = place.publish();
        let mut follower = place.start("follow", kind, &[]);
        assert!(state(&follower.line()).starts_with("Alive { epoch: 1"));
        for epoch in 2..=5 {
            until("the subscriber is parked", || asleep(&place.table) == 1 || kind.wake == "spin");
            // The publisher counts as dead, but its process lives, so no pidfd reports it; the
            // successor must wake the subscriber.
            drop(publisher);
            publisher = place.publish();
            let told = follower.line();
            let expected = format!("Alive {{ epoch: {epoch}");
            assert!(state(&told).starts_with(&expected), "{told}");
        }
        place.table.remember();
        publisher.close().unwrap();
        assert_eq!(state(&follower.line()), "Closed { epoch: 5 }");
        until("the subscriber has removed its objects", || place.made().is_empty());
        assert_eq!(place.table.orphans(), [""; 0]);
        follower.finish();
    });
}

#[test]
fn subscriber_follows_larger_region_with_new_registry() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-successor");
        drop(place.publish());
        let mut follower = place.start("follow", kind, &[]);
        assert!(state(&follower.line()).starts_with("Gone"));
        until("the subscriber is parked", || asleep(&place.table) == 1 || kind.wake == "spin");
        // A successor region with another registry.
        let larger = Publisher::<Item>::builder(place.name()).capacity(1000).subscribers(2000);
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
fn subscribers_move_to_replacement_of_lost_registry() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-registry");
        let mut publisher = place.publish();
        let mut follower = place.start("follow", kind, &[]);
        follower.line();
        for value in 0..3 {
            until("the subscriber is parked", || asleep(&place.table) == 1 || kind.wake == "spin");
            let registry = common::inspect(place.name(), None).unwrap().registry_id;
            std::fs::remove_file(format!("/dev/shm/tablecast.subs.{registry:016x}")).unwrap();
            publisher.maintain().unwrap();
            // A new registry is announced by a commit, which wakes the subscriber at the old one.
            if kind.wake != "spin" {
                until("the subscriber is parked at the new registry", || asleep(&place.table) == 1);
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
fn each_kind_reports_killed_publisher() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-killed");
        let mut publisher = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(publisher.line(), "open");
        // Without a descriptor, the subscriber learns of the death by re-check.
        let recheck = if kind.sleeps_on_descriptors() { "3600000" } else { "100" };
        let mut follower = place.start("follow", kind, &[recheck]);
        assert!(state(&follower.line()).starts_with("Alive"));
        until("the subscriber is parked", || asleep(&place.table) == 1 || kind.wake == "spin");
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
fn killed_subscriber_leaves_nothing_in_any_state() {
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
                until("the subscriber is parked", || asleep(&place.table) == 1);
            }
            // Commits that the subscriber follows until it is killed.
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
fn remove_frees_everything_after_both_sides_are_killed() {
    for kind in tests::kinds::KINDS {
        let Kind { in_directory, .. } = *kind;
        let place = Place::new("kinds-both-dead");
        let mut publisher = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(publisher.line(), "open");
        let mut follower = place.start("follow", *kind, &[]);
        follower.line();
        until("the subscriber is registered", || {
            let listeners = common::inspect(place.name(), None).unwrap().subscribers;
            listeners.is_ok_and(|all| all.len() == 1) && place.made().is_empty() != in_directory
        });
        place.table.remember();
        publisher.kill();
        follower.kill();
        assert_eq!(place.made().is_empty(), !in_directory, "{kind:?}");
        // The next publisher or `rm` removes the objects.
        common::remove(place.name()).unwrap();
        assert_eq!(place.made(), [""; 0], "{kind:?}");
        assert_eq!(place.table.orphans(), [""; 0], "{kind:?}");
    }
}
