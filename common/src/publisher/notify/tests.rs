//! Tests with registries that another process overwrites, as a process of another user can if the
//! mode is 0644.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::protocol::layout::registry as at;
use crate::region::lock::{Span, try_lock};
use crate::region::object::{DIRECTORY, queue_name, registry_name};
use crate::region::random_id;
use crate::wake::budget::{
    Budget, OPENS_AT_ONCE, OPENS_PER_SECOND, WAKE_UPS_AT_ONCE, WAKE_UPS_PER_SECOND,
};
use crate::wake::kind_word;
use crate::{Schema, Sleep, UntypedPublisher, UntypedSubscriber};

const SLOTS: usize = 64;

fn publisher(mode: u32) -> UntypedPublisher {
    let process = std::process::id();
    let name = format!("test-notify-{process}-{:016x}", random_id().unwrap());
    UntypedPublisher::builder(&name, Schema::parse("id:u64", None).unwrap())
        .mode(mode)
        .subscribers(SLOTS)
        .open()
        .unwrap()
}

fn commit(publisher: &mut UntypedPublisher) {
    let mut tx = publisher.begin();
    tx.upsert(&7_u64.to_le_bytes()).unwrap();
    tx.commit().unwrap();
}

fn registry_id(publisher: &UntypedPublisher) -> u64 {
    crate::inspect(publisher.name(), None).unwrap().registry_id
}

/// Opens a registry the way a process of another user does.
fn registry(id: u64) -> File {
    let path = format!("{DIRECTORY}{}", registry_name(id));
    File::options().read(true).write(true).open(path).unwrap()
}

fn put(registry: &File, word: usize, value: u64) {
    let place = word as u64 * 8;
    registry.write_all_at(&value.to_le_bytes(), place).unwrap();
}

/// Returns the maximum number of times that a rate-limited action can have happened since `begun`,
/// given its burst size and its rate per second.
fn limit(begun: Instant, at_once: u64, per_second: u64) -> u64 {
    at_once + ((begun.elapsed().as_secs_f64() + 0.01) * per_second as f64) as u64
}

/// Uses up all calls of the budget. Only calls that it gains later remain.
fn use_up(budget: &mut Budget) {
    budget.fill();
    let taken = (0..WAKE_UPS_AT_ONCE).take_while(|_| budget.take_wake_up());
    assert!(taken.count() > 0);
}

/// A process of another user that takes every slot, each with a lock, a socket and a record, and
/// marks all of them as parked at every commit.
struct OtherUser {
    registry: File,
    sockets: Vec<UnixDatagram>,
    nonces: [u64; 2],
    id: u64,
}

impl OtherUser {
    fn new(publisher: &UntypedPublisher) -> Self {
        let id = registry_id(publisher);
        let registry = registry(id);
        let nonces = [1, 2];
        let mut sockets = Vec::new();
        for slot in 0..SLOTS {
            assert!(try_lock(&registry, Span::byte(slot)).unwrap());
            put(&registry, at::record(SLOTS, slot) + at::KIND, kind_word(Sleep::Unix));
            put(&registry, at::record(SLOTS, slot) + at::READY, 1);
            for nonce in nonces {
                let name = queue_name(id, slot, nonce);
                let address = SocketAddr::from_abstract_name(name.trim_start_matches('/'));
                let socket = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
                socket.set_nonblocking(true).unwrap();
                sockets.push(socket);
            }
        }
        Self { registry, sockets, nonces, id }
    }

    fn park(&self, version: u64, which: usize) {
        for slot in 0..SLOTS {
            let nonce = self.nonces[which];
            put(&self.registry, at::record(SLOTS, slot) + at::NONCE, nonce);
            put(&self.registry, at::PARKS + slot, version);
        }
    }

    /// Receives all pending calls and returns their number.
    fn drain(&self) -> u64 {
        let mut calls = 0;
        for socket in &self.sockets {
            while socket.recv(&mut [0; 1]).is_ok() {
                calls += 1;
            }
        }
        calls
    }
}

#[test]
fn calls_to_a_user_that_parks_every_slot_stay_within_the_budget() {
    let mut publisher = publisher(0o644);
    let other = OtherUser::new(&publisher);
    for round in 0..200 {
        other.park(publisher.version(), 0);
        let before = publisher.statistics().wakes;
        let begun = Instant::now();
        if round > 0 {
            use_up(&mut publisher.notifier.budget);
        }
        commit(&mut publisher);
        let calls = publisher.statistics().wakes - before;
        let gained = begun.elapsed().as_secs_f64() * WAKE_UPS_PER_SECOND as f64;
        match round {
            0 => assert_eq!(calls, SLOTS as u64, "all are called at first"),
            _ => assert!(calls <= 1 + gained as u64, "{calls} calls in round {round}"),
        }
        other.drain();
    }
    assert_eq!(registry_id(&publisher), other.id);
    publisher.close().unwrap();
}

#[test]
fn senders_opened_for_changing_nonces_stay_within_the_budget() {
    let mut publisher = publisher(0o644);
    let other = OtherUser::new(&publisher);
    let begun = Instant::now();
    let mut calls = 0;
    for round in 0..500 {
        other.park(publisher.version(), round % 2);
        commit(&mut publisher);
        // Each sender is opened for one call.
        calls += other.drain();
    }
    assert!(calls >= SLOTS as u64, "each is called at first");
    let most = limit(begun, OPENS_AT_ONCE, OPENS_PER_SECOND);
    assert!(calls <= most, "{calls} ends opened in 500 commits");
    publisher.close().unwrap();
}

#[test]
fn truncated_registries_are_replaced_once_a_second() {
    let mut publisher = publisher(0o644);
    let begun = Instant::now();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let id = registry_id(&publisher);
        ids.insert(id);
        registry(id).set_len(8).unwrap();
        commit(&mut publisher);
    }
    let most = limit(begun, 3, 1);
    assert!(ids.len() as u64 <= most, "{} registries", ids.len());
    publisher.maintain().unwrap();
    publisher.close().unwrap();
}

#[test]
fn registry_with_a_damaged_header_is_replaced_by_maintenance() {
    let words = [at::MAGIC, at::LAYOUT, at::SLOTS, at::REGISTRY_ID];
    for (mode, word) in words.into_iter().flat_map(|word| [(0o600, word), (0o644, word)]) {
        for value in [0, 8, u64::MAX] {
            let mut publisher = publisher(mode);
            let before = registry_id(&publisher);
            put(&registry(before), word, value);
            publisher.maintain().unwrap();
            assert_ne!(registry_id(&publisher), before, "word {word} is {value}");
            publisher.close().unwrap();
        }
    }
    for length in [0, 8, 4096, 1 << 20] {
        let mut publisher = publisher(0o644);
        let before = registry_id(&publisher);
        registry(before).set_len(length).unwrap();
        publisher.maintain().unwrap();
        assert_ne!(registry_id(&publisher), before, "{length} bytes");
        publisher.close().unwrap();
    }
}

fn subscriber(publisher: &UntypedPublisher, recheck: Duration) -> UntypedSubscriber {
    let builder = UntypedSubscriber::builder(publisher.name()).wake(Sleep::Unix);
    let subscriber = builder.recheck(recheck).open().unwrap();
    // A refresh parks only after a call to `as_fd`.
    subscriber.as_fd();
    subscriber
}

/// Refreshes until the subscriber is parked, then commits. Returns true if the subscriber was
/// called.
fn is_called(publisher: &mut UntypedPublisher, subscriber: &mut UntypedSubscriber) -> bool {
    while !subscriber.refresh().unwrap().is_empty() {}
    let before = publisher.statistics().wakes;
    commit(publisher);
    publisher.statistics().wakes > before
}

#[test]
fn subscriber_is_called_after_the_header_of_its_registry_was_overwritten() {
    for mode in [0o600, 0o644] {
        for word in at::PARKED_MAX..at::PARKS {
            let mut publisher = publisher(mode);
            let mut subscriber = subscriber(&publisher, Duration::from_secs(3600));
            assert!(is_called(&mut publisher, &mut subscriber));
            put(&registry(registry_id(&publisher)), word, 0);
            publisher.maintain().unwrap();
            assert!(is_called(&mut publisher, &mut subscriber), "{mode:o}: {word}");
            publisher.close().unwrap();
        }
    }
}

#[test]
fn subscriber_is_called_after_its_record_was_overwritten() {
    for mode in [0o600, 0o644] {
        for word in [at::NONCE, at::KIND, at::READY] {
            let overwrite = |publisher: &UntypedPublisher| {
                let registry = registry(registry_id(publisher));
                let record = at::record(SLOTS, 0);
                // A different nonce makes the publisher read the record again.
                put(&registry, record + at::NONCE, 5);
                put(&registry, record + word, 99);
            };
            // Without a re-check, the subscriber does not notice.
            let mut publisher = self::publisher(mode);
            let mut subscriber = self::subscriber(&publisher, Duration::from_secs(3600));
            assert!(is_called(&mut publisher, &mut subscriber));
            overwrite(&publisher);
            assert!(!is_called(&mut publisher, &mut subscriber));
            drop(subscriber);
            publisher.close().unwrap();

            let mut publisher = self::publisher(mode);
            let mut subscriber = self::subscriber(&publisher, Duration::from_millis(1));
            assert!(is_called(&mut publisher, &mut subscriber));
            overwrite(&publisher);
            let begun = Instant::now();
            while !is_called(&mut publisher, &mut subscriber) {
                assert!(begun.elapsed() < Duration::from_secs(60), "{mode:o}: {word}");
                publisher.maintain().unwrap();
            }
            publisher.close().unwrap();
        }
    }
}
