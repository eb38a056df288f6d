//! A stopped subscriber blocks no publisher, and finds the last commit when it continues.

use nix::sys::signal::Signal;
use tests::until;

use super::{Place, asleep, commit, for_each_kind};

#[test]
fn wake_ups_of_stopped_subscriber_coalesce() {
    for_each_kind(|kind| {
        for role in ["follow", "poll"] {
            let place = Place::new("kinds-stopped");
            let mut publisher = place.publish();
            let mut follower = place.start(role, kind, &[]);
            follower.line();
            until("the subscriber is parked", || asleep(&place.table) == 1 || kind.wake == "spin");
            let mut last = 0;
            for round in 0..20 {
                follower.stop();
                for value in 0..200 {
                    last = commit(&mut publisher, round * 1000 + value);
                }
                follower.signal(Signal::SIGCONT);
                // One or a few steps; the last one leads to the last commit without another commit.
                while follower.line().split(' ').next() != Some(&last.to_string()) {}
            }
            follower.kill();
            publisher.close().unwrap();
            assert!(last > 4000);
        }
    });
}

#[test]
fn bursts_of_commits_are_followed_to_the_last() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-burst");
        let mut publisher = place.publish();
        let mut followers = ["follow", "poll", "follow"].map(|role| place.start(role, kind, &[]));
        for follower in &mut followers {
            follower.line();
        }
        for burst in 0..20 {
            let mut last = 0;
            for value in 0..1 + burst * 7 {
                last = commit(&mut publisher, burst * 1000 + value);
            }
            for follower in &mut followers {
                while follower.line().split(' ').next() != Some(&last.to_string()) {}
            }
        }
        publisher.close().unwrap();
    });
}
