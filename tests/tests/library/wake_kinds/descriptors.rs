//! Every kind has a descriptor, whatever it sleeps in, and its thread, if it needs one, goes with it.

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
            // A signal whose handler is about to say so.
            Err(nix::errno::Errno::EINTR) => {}
            readable => return readable.unwrap() == 1,
        }
    }
}

#[test]
fn the_descriptor_is_readable_at_news_and_not_before() {
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
        // Its first refreshes find what makes it readable once when it is asked for.
        let rest = |subscriber: &mut UntypedSubscriber| {
            until("it is at rest", || {
                let nothing = subscriber.refresh().unwrap().cause() == Cause::Nothing;
                nothing && !is_readable(subscriber, PollTimeout::ZERO)
            });
        };
        rest(&mut subscriber);
        for value in 0..300 {
            commit(&mut publisher, value);
            let limit = PollTimeout::try_from(LIMIT).unwrap();
            assert!(
                is_readable(&subscriber, limit),
                "{kind:?} after commit {value}"
            );
            assert_eq!(subscriber.refresh().unwrap().len(), 1);
            rest(&mut subscriber);
        }
        publisher.close().unwrap();
    });
}

#[test]
fn the_descriptor_tells_of_each_commit_and_of_the_end() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-poll");
        let mut publisher = place.publish();
        let mut polled = place.start("poll", kind, &[]);
        assert_eq!(polled.line(), "1");
        for value in 0..300 {
            let version = commit(&mut publisher, value);
            assert_eq!(polled.line(), version.to_string());
        }
        // Another publisher, and the end.
        drop(publisher);
        let mut publisher = place.publish();
        let version = publisher.version().to_string();
        while polled.line() != version {}
        let version = commit(&mut publisher, 7).to_string();
        while polled.line() != version {}
        publisher.close().unwrap();
        assert_eq!(
            polled.line().parse(),
            version.parse().map(|version: u64| version + 1)
        );
        polled.close_input();
        assert_eq!(polled.line(), "threads 1");
        polled.ends_with(0);
        assert_eq!(place.made(), [""; 0]);
        assert_eq!(place.table.leftovers(), [""; 0]);
    });
}

#[test]
fn the_descriptor_tells_of_a_death_whatever_it_sleeps_in() {
    for_each_kind(|kind| {
        let place = Place::new("kinds-poll-death");
        let mut serving = Process::start(&mut role!("script", place.name(), 1, 8, 10));
        assert_eq!(serving.line(), "open");
        let mut polled = place.start("poll", kind, &[]);
        assert_eq!(polled.line(), "1");
        until("it sleeps", || asleep(&place.table) == 1);
        serving.kill();
        // News without a commit.
        assert_eq!(polled.line(), "1");
        polled.kill();
    });
}
