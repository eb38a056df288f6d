//! Waiting for a version, interruptions, wait sets and tokio, with each wake kind.

use std::time::Duration;

use common::{AsyncSubscriber, Cause, UntypedSubscriber, WaitSet};
use tests::kinds::Kind;
use tests::{LIMIT, NEVER};

use super::{Place, commit, for_each_kind};

fn subscriber(place: &Place, kind: Kind) -> UntypedSubscriber {
    let wake = kind.wake.parse::<common::WakeKind>().unwrap();
    let mut builder = UntypedSubscriber::builder(place.name()).wake(wake);
    if kind.in_directory {
        builder = builder.wake_at(place.directory.path());
    }
    builder.recheck(NEVER).open().unwrap()
}

#[test]
fn wait_for_version_works_with_each_kind() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-version");
        let mut publisher = place.publish();
        let mut follower = subscriber(&place, kind);
        let first = follower.version();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                for round in 1..=50 {
                    let wanted = first + round * 3;
                    let changes = follower.wait_for(wanted, Some(LIMIT)).unwrap();
                    assert!(changes.version() >= wanted, "{kind:?}: {}", changes.version());
                }
            });
            for value in 0..150 {
                commit(&mut publisher, value);
                if value % 7 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
            waiting.join().unwrap();
        });
    });
}

#[test]
fn interrupt_ends_wait_with_each_kind() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-interrupt");
        let publisher = place.publish();
        let mut follower = subscriber(&place, kind);
        // Parked, also in a call that the interrupter cannot end.
        let nothing = follower.wait(Some(Duration::from_millis(2))).unwrap();
        assert_eq!(nothing.cause(), Cause::Nothing);
        let interrupter = follower.interrupter().unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            for _ in 0..50 {
                let cause = follower.wait(None).unwrap().cause();
                told.send(cause).unwrap();
            }
        });
        for round in 0..50 {
            interrupter.interrupt();
            let cause = heard.recv_timeout(LIMIT);
            assert_eq!(cause, Ok(Cause::Interrupted), "{kind:?} in round {round}");
        }
        waiting.join().unwrap();
        publisher.close().unwrap();
    });
}

#[test]
fn wait_set_works_with_each_kind() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-set");
        let mut publisher = place.publish();
        let mut follower = subscriber(&place, kind);
        let mut set = WaitSet::new().unwrap();
        let member = set.add(&follower).unwrap();
        for value in 0..200 {
            let version = commit(&mut publisher, value);
            while follower.version() < version {
                let told = set.wait(Some(LIMIT)).unwrap();
                assert_eq!(told, [member], "{kind:?} after commit {value}");
                follower.refresh().unwrap();
            }
        }
        publisher.close().unwrap();
    });
}

#[test]
fn async_subscriber_works_with_each_kind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for_each_kind(|kind| {
        let place = Place::new("kinds-task");
        let mut publisher = place.publish();
        let follower = subscriber(&place, kind);
        let (told, heard) = std::sync::mpsc::channel();
        let publishing = std::thread::spawn(move || {
            for value in 1..=200 {
                commit(&mut publisher, value);
                heard.recv_timeout(LIMIT).expect("the change is reported");
            }
            publisher.close().unwrap();
        });
        runtime.block_on(async {
            let mut follower = AsyncSubscriber::new(follower).unwrap();
            for round in 1..=200 {
                let changed = tokio::time::timeout(LIMIT, follower.changed()).await;
                let changed = changed.unwrap_or_else(|_| panic!("{kind:?} in round {round}"));
                assert_eq!(changed.unwrap().len(), 1);
                told.send(()).unwrap();
            }
        });
        publishing.join().unwrap();
    });
}
