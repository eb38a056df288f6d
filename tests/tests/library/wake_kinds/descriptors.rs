//! Every wake kind has a descriptor, and a helper thread ends with its subscriber.

use std::os::fd::AsFd;

use common::{Cause, UntypedSubscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tests::process::Process;
use tests::{LIMIT, NEVER, role, until};

use super::{Place, asleep, commit, for_each_kind};

fn is_readable(subscriber: &UntypedSubscriber, timeout: PollTimeout) -> bool {
    let mut descriptors = [PollFd::new(subscriber.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut descriptors, timeout) {
            // A signal whose handler makes the descriptor readable.
            Err(nix::errno::Errno::EINTR) => {}
            readable => return readable.unwrap() == 1,
        }
    }
}

#[test]
fn descriptor_is_readable_only_after_changes() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-readable");
        let mut publisher = place.publish();
        let mut subscriber = UntypedSubscriber::builder(place.name())
            .wake(kind.wake.parse::<common::WakeKind>().unwrap())
            .wake_at(place.directory.path())
            .recheck(NEVER)
            .open()
            .unwrap();
        subscriber.as_fd();
        // A new descriptor is readable once, until the first refreshes.
        let rest = |subscriber: &mut UntypedSubscriber| {
            until("the descriptor is not readable", || {
                let nothing = subscriber.refresh().unwrap().cause() == Cause::Nothing;
                nothing && !is_readable(subscriber, PollTimeout::ZERO)
            });
        };
        rest(&mut subscriber);
        for value in 0..300 {
            commit(&mut publisher, value);
            let limit = PollTimeout::try_from(LIMIT).unwrap();
            assert!(is_readable(&subscriber, limit), "{kind:?} after commit {value}");
            assert_eq!(subscriber.refresh().unwrap().len(), 1);
            rest(&mut subscriber);
        }
        publisher.close().unwrap();
    });
}

#[test]
fn descriptor_reports_each_commit_and_close() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-poll");
        let mut publisher = place.publish();
        let mut polled = place.start("poll", kind, &[]);
        assert_eq!(polled.line(), "1");
        for value in 0..300 {
            let version = commit(&mut publisher, value);
            assert_eq!(polled.line(), version.to_string());
        }
        // Another publisher, then a close.
        drop(publisher);
        let mut publisher = place.publish();
        let version = publisher.version().to_string();
        while polled.line() != version {}
        let version = commit(&mut publisher, 7).to_string();
        while polled.line() != version {}
        publisher.close().unwrap();
        assert_eq!(polled.line().parse(), version.parse().map(|version: u64| version + 1));
        polled.close_input();
        assert_eq!(polled.line(), "threads 1");
        polled.ends_with(0);
        assert_eq!(place.made(), [""; 0]);
        assert_eq!(place.table.orphans(), [""; 0]);
    });
}

#[test]
fn descriptor_reports_publisher_death_for_each_kind() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-poll-death");
        let mut serving = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(serving.line(), "open");
        let mut polled = place.start("poll", kind, &[]);
        assert_eq!(polled.line(), "1");
        until("the subscriber is parked", || asleep(&place.table) == 1);
        serving.kill();
        // A change of state without a commit.
        assert_eq!(polled.line(), "1");
        polled.kill();
    });
}
