//! Each commit wakes a parked subscriber that has not seen it, and no wake-up is lost.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use common::{Cause, Publisher, Sleep, Subscriber, UntypedSubscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, NEVER, role, until};

fn publish(publisher: &mut Publisher<Item>, value: u64) -> u64 {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((0, 0), value)).unwrap();
    tx.commit().unwrap()
}

/// Commits and waits for the echo, repeatedly. Both sides park each time, and only a wake-up wakes
/// them.
fn ping_pong(test: &str, rounds: u64, mode: u32, followers: usize) {
    let (ping, pong) = (Table::new(test), Table::new(&format!("{test}-echo")));
    let mut pings = Publisher::<Item>::builder(ping.name()).mode(mode).capacity(1).open().unwrap();
    let mut echo = Process::start(&mut role!("echo", ping.name(), pong.name(), rounds));
    assert_eq!(echo.line(), "open");
    // These followers also park and are woken, each at its own queue.
    let _followers: Vec<Process> =
        (0..followers).map(|_| Process::start(&mut role!("follow", ping.name()))).collect();
    let mut pongs = Subscriber::<Item>::builder(pong.name()).recheck(NEVER).open().unwrap();
    let begun = Instant::now();
    for round in 1..=rounds {
        publish(&mut pings, round);
        let asleep = Instant::now();
        let told = pongs.wait(Some(LIMIT)).unwrap().len();
        assert!(asleep.elapsed() < LIMIT, "a wake-up was lost");
        let found = pongs.get(&(0, 0)).map(|item| item.value);
        assert_eq!((told, found), (1, Some(round)), "a wake-up was lost");
    }
    let elapsed = begun.elapsed();
    println!(
        "{test}: {rounds} commits there and back, each awaited asleep, in {elapsed:?}: {:?} each way",
        elapsed / (2 * rounds as u32)
    );
    assert_eq!(echo.line(), "done");
    echo.finish();
    pings.close().unwrap();
}

#[test]
fn no_wake_up_is_lost_in_100_000_commits() {
    ping_pong("wake", 100_000, 0o600, 0);
}

#[test]
fn no_wake_up_is_lost_with_shared_registry() {
    // A shared registry is read by system calls.
    ping_pong("wake-shared", 10_000, 0o644, 0);
}

#[test]
fn each_commit_wakes_all_subscribers() {
    let table = Table::new("wake-all");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut followers: Vec<Process> =
        (0..5).map(|_| Process::start(&mut role!("follow", table.name()))).collect();
    for follower in &mut followers {
        assert!(follower.line().starts_with("1 0 Alive"));
    }
    for value in 0..300 {
        let version = publish(&mut publisher, value);
        for follower in &mut followers {
            assert!(follower.line().starts_with(&format!("{version} 1 Alive")));
        }
    }
    publisher.close().unwrap();
    for follower in &mut followers {
        assert!(follower.line().ends_with("1 Closed { epoch: 1 }"));
    }
}

#[test]
fn subscriber_without_queue_follows() {
    let table = Table::new("wake-none");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut follower = Process::start(&mut role!("follow", table.name(), "noqueue"));
    assert!(follower.line().starts_with("1 0 Alive"));
    let version = publish(&mut publisher, 7);
    assert!(follower.line().starts_with(&format!("{version} 1 Alive")));
    let warning = follower.stderr();
    assert_eq!(table.remember(), 0, "{warning}");
}

fn is_readable(descriptor: impl AsFd, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).unwrap() == 1
}

/// Returns true if the descriptor becomes readable within [`LIMIT`].
fn becomes_readable(descriptor: impl AsFd) -> bool {
    is_readable(descriptor, PollTimeout::try_from(LIMIT).unwrap())
}

fn nothing_new(subscriber: &mut UntypedSubscriber) {
    // A refresh may find its own wake-up, which is no change; it must come to rest.
    until("a refresh finds no change", || subscriber.refresh().unwrap().cause() == Cause::Nothing);
}

#[test]
fn descriptor_is_readable_after_each_commit() {
    let table = Table::new("poll");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    subscriber.as_fd();
    nothing_new(&mut subscriber);
    for value in 0..1_000 {
        assert!(!is_readable(&subscriber, PollTimeout::ZERO), "before commit {value}");
        publish(&mut publisher, value);
        assert!(becomes_readable(&subscriber), "after commit {value}");
        assert_eq!(subscriber.refresh().unwrap().len(), 1);
        // Level-triggered: readable until a refresh. Afterwards a refresh without changes parks
        // again.
        assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Nothing);
    }
    publisher.close().unwrap();
    assert!(becomes_readable(&subscriber), "after close");
    assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Publisher);
    assert!(!subscriber.publisher_state().is_alive());
}

#[test]
fn descriptor_triggers_edge_for_each_commit() {
    let table = Table::new("epoll");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(&subscriber, edge).unwrap();
    nothing_new(&mut subscriber);
    let mut events = [EpollEvent::empty()];
    let limit = EpollTimeout::try_from(LIMIT).unwrap();
    for value in 0..1_000 {
        // Two commits at once, or one between the edge and the refresh, make no difference.
        for extra in 0..=value % 3 {
            publish(&mut publisher, value * 10 + extra);
        }
        assert_eq!(epoll.wait(&mut events, limit).unwrap(), 1, "an edge for {value}");
        if value % 5 == 0 {
            publish(&mut publisher, value * 10 + 9);
        }
        assert_eq!(subscriber.refresh().unwrap().len(), 1);
        nothing_new(&mut subscriber);
        // Remaining edges of the second commit.
        while epoll.wait(&mut events, EpollTimeout::ZERO).unwrap() == 1 {
            nothing_new(&mut subscriber);
        }
    }
    publisher.close().unwrap();
    assert_eq!(epoll.wait(&mut events, limit).unwrap(), 1, "an edge for the close");
}

#[test]
fn descriptor_is_readable_after_publisher_death() {
    let table = Table::new("poll-death");
    let mut publisher = Process::start(&mut role!("script", table.name(), 1, 8, 10));
    assert_eq!(publisher.line(), "open");
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    subscriber.as_fd();
    nothing_new(&mut subscriber);
    assert!(!is_readable(&subscriber, PollTimeout::ZERO));
    publisher.kill();
    assert!(becomes_readable(&subscriber), "after the death");
    assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Publisher);
    assert!(matches!(subscriber.publisher_state(), common::PublisherState::Gone { epoch: 1 }));
}

#[test]
fn one_refresh_per_readable_event_misses_nothing() {
    // A loop that refreshes once per event misses nothing, level-triggered or edge-triggered.
    for flags in [EpollFlags::EPOLLIN, EpollFlags::EPOLLIN | EpollFlags::EPOLLET] {
        let table = Table::new("epoll-once");
        let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
        let mut subscriber =
            UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        epoll.add(&subscriber, EpollEvent::new(flags, 0)).unwrap();
        let mut events = [EpollEvent::empty()];
        let limit = EpollTimeout::try_from(LIMIT).unwrap();
        for value in 0..1_000 {
            let version = publish(&mut publisher, value);
            while subscriber.version() < version {
                let told = epoll.wait(&mut events, limit).unwrap();
                assert_eq!(told, 1, "{flags:?}: no event for version {version}");
                subscriber.refresh().unwrap();
            }
        }
        // Without commits the events stop soon.
        let mut looks = 0;
        while epoll.wait(&mut events, EpollTimeout::ZERO).unwrap() == 1 {
            assert_eq!(subscriber.refresh().unwrap().cause(), Cause::Nothing);
            looks += 1;
            assert!(looks < 10, "{flags:?}: events do not stop");
        }
        publisher.close().unwrap();
    }
}

#[test]
fn refresh_or_park_with_changes_triggers_no_edge_and_as_fd_after_it_does() {
    for kind in [Sleep::Queue, Sleep::Unix, Sleep::Futex] {
        let table = Table::new("or-park");
        let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
        let options = UntypedSubscriber::builder(table.name()).recheck(NEVER);
        let mut subscriber = options.wake(kind).open().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(&subscriber, edge).unwrap();
        let next_edge = |timeout| epoll.wait(&mut [EpollEvent::empty()], timeout).unwrap() == 1;
        for value in 0..100 {
            assert_eq!(subscriber.refresh_or_park().unwrap().cause(), Cause::Nothing);
            // A parked subscriber has no event, even if its descriptor is requested.
            assert!(!is_readable(&subscriber, PollTimeout::ZERO), "{kind}: before {value}");
            publish(&mut publisher, value);
            assert!(next_edge(EpollTimeout::try_from(LIMIT).unwrap()), "{kind}: after {value}");
            assert_eq!(subscriber.refresh_or_park().unwrap().len(), 1);
            assert!(!next_edge(EpollTimeout::ZERO), "{kind}: changes after {value}");
            if value % 2 == 0 {
                subscriber.as_fd();
                assert!(next_edge(EpollTimeout::ZERO), "{kind}: as_fd after {value}");
            }
        }
        publisher.close().unwrap();
    }
}

#[test]
fn interrupter_ends_wait_after_refresh_or_park_with_changes() {
    let table = Table::new("or-park-interrupt");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let options = UntypedSubscriber::builder(table.name()).recheck(NEVER);
    let mut subscriber = options.wake(Sleep::Futex).open().unwrap();
    let interrupter = subscriber.interrupter().unwrap();
    publish(&mut publisher, 7);
    assert_eq!(subscriber.refresh_or_park().unwrap().len(), 1);
    let pause = Duration::from_millis(20);
    let begun = Instant::now();
    let thread = std::thread::spawn(move || {
        // The wait usually sleeps by then. If not, it ends even earlier.
        std::thread::sleep(pause);
        interrupter.interrupt();
    });
    assert_eq!(subscriber.wait(Some(LIMIT)).unwrap().cause(), Cause::Interrupted);
    assert!(begun.elapsed() < LIMIT, "the interruption did not end the wait");
    thread.join().unwrap();
    publisher.close().unwrap();
}

#[test]
fn mio_reports_each_commit() {
    let table = Table::new("mio");
    let mut publisher = Publisher::<Item>::builder(table.name()).capacity(1).open().unwrap();
    let mut subscriber = UntypedSubscriber::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut poll = mio::Poll::new().unwrap();
    let descriptor = subscriber.as_raw_fd();
    let mut source = mio::unix::SourceFd(&descriptor);
    poll.registry().register(&mut source, mio::Token(7), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(4);
    for value in 0..1_000 {
        let version = publish(&mut publisher, value);
        while subscriber.version() < version {
            poll.poll(&mut events, Some(LIMIT)).unwrap();
            let token = events.iter().next().expect("news").token();
            assert_eq!(token, mio::Token(7));
            subscriber.refresh().unwrap();
        }
    }
    publisher.close().unwrap();
    while subscriber.publisher_state().is_alive() {
        poll.poll(&mut events, Some(LIMIT)).unwrap();
        assert!(!events.is_empty(), "no event for the close");
        subscriber.refresh().unwrap();
    }
}
