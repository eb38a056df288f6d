//! Every kind has a descriptor, whatever it sleeps in, and its thread, if it needs one, goes with it.

use super::{Place, commit, for_each_kind};

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
        let mut serving =
            tests::process::Process::start(&mut tests::role!("script", place.name(), 1, 8, 10));
        assert_eq!(serving.line(), "open");
        let mut polled = place.start("poll", kind, &[]);
        assert_eq!(polled.line(), "1");
        tests::until("it sleeps", || super::asleep(&place.table) == 1);
        serving.kill();
        // News without a commit.
        assert_eq!(polled.line(), "1");
        polled.kill();
    });
}
