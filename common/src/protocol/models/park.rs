//! A subscriber parks while a publisher commits.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::{Memory, check, in_a_process};
use crate::protocol::layout::{header, registry as at};
use crate::protocol::park::{
    acknowledge, acknowledged, claim, claimed, has_sleepers, is_ready, mark_ready, may_be_parked,
    park, park_on_commit, parked_at, write_record,
};
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::protocol::words::read_only;

/// The words of a registry with one slot.
struct RegistryWords {
    parks: [AtomicU64; 1],
    parked_max: AtomicU64,
    claimed: AtomicU64,
    nonce: AtomicU64,
}

impl RegistryWords {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            parks: [AtomicU64::new(0)],
            parked_max: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            nonce: AtomicU64::new(0),
        })
    }

    fn park(&self, memory: &Memory, seen: u64) -> bool {
        let commit = &memory.words()[header::COMMIT];
        let store = |value| -> Result<(), ()> {
            self.parks[0].store(value, Ordering::Relaxed);
            Ok(())
        };
        park(Some(&self.parked_max), commit, seen, store).unwrap()
    }
}

/// Commits `version`. Returns the nonce of the subscriber that it wakes, if it wakes one.
fn commit_and_wake(
    memory: &Memory,
    registry: &RegistryWords,
    version: u64,
    everyone: bool,
) -> Option<u64> {
    memory.table().commit(version, 0, std::iter::empty());
    if !everyone && !may_be_parked(&registry.parked_max, version) {
        return None;
    }
    let claimed = claimed(&registry.claimed, registry.parks.len());
    parked_at(&registry.parks[..claimed], version, everyone)
        .next()
        .map(|_| registry.nonce.load(Ordering::Relaxed))
}

/// A subscriber parks at the commit that it has seen while `publish` commits up to 4 and returns
/// true if it sent a wake-up. The subscriber must not stay asleep before the last commit.
fn parks_while(
    name: &str,
    least: usize,
    publish: impl Fn(&Arc<Memory>, &RegistryWords) -> bool + Copy + Send + Sync + 'static,
) {
    check(name, least, move |outcomes| {
        let (memory, registry) = (Memory::at_version_two(1), RegistryWords::new());
        let publishers = {
            let (memory, registry) = (Arc::clone(&memory), Arc::clone(&registry));
            thread::spawn(move || publish(&memory, &registry))
        };
        let seen = memory.committed();
        claim(&registry.claimed, 0);
        let sleeps = registry.park(&memory, seen);
        let woken = publishers.join().unwrap();
        assert!(!sleeps || seen == 4 || woken, "asleep at {seen} forever");
        outcomes.saw((seen, sleeps, woken));
    });
}

#[test]
fn parked_subscriber_is_woken() {
    parks_while("park", 3, |memory, registry| {
        [3, 4]
            .map(|version| commit_and_wake(memory, registry, version, false).is_some())
            .contains(&true)
    });
}

#[test]
fn record_of_a_parked_subscriber_is_its_own() {
    check("record", 2, |outcomes| {
        let (memory, registry) = (Memory::at_version_two(1), RegistryWords::new());
        let publisher = {
            let (memory, registry) = (Arc::clone(&memory), Arc::clone(&registry));
            thread::spawn(move || commit_and_wake(&memory, &registry, 3, true))
        };
        registry.nonce.store(7, Ordering::Relaxed);
        claim(&registry.claimed, 0);
        registry.park(&memory, 2);
        let sent_to = publisher.join().unwrap();
        assert_ne!(sent_to, Some(0), "sent to no subscriber, and the parked one is not woken");
        outcomes.saw(sent_to);
    });
}

/// The record of a slot, and the nonce of the queue that exists.
struct Record {
    nonce: AtomicU64,
    kind: AtomicU64,
    ready: AtomicU64,
    queue: AtomicU64,
}

impl Record {
    fn word(&self, word: usize) -> &AtomicU64 {
        match word {
            at::NONCE => &self.nonce,
            at::KIND => &self.kind,
            at::READY => &self.ready,
            _ => unreachable!("the model has no other words"),
        }
    }

    fn store(&self, word: usize, value: u64) -> Result<(), ()> {
        self.word(word).store(value, Ordering::Relaxed);
        Ok(())
    }

    fn load(&self, word: usize) -> Result<u64, ()> {
        Ok(self.word(word).load(Ordering::Relaxed))
    }
}

#[test]
fn record_is_read_as_its_owner_signed_it() {
    check("signed record", 4, |outcomes| {
        // The state that the previous owner, with nonce 6 and kind 1, left.
        let record = Arc::new(Record {
            nonce: AtomicU64::new(6),
            kind: AtomicU64::new(1),
            ready: AtomicU64::new(1),
            queue: AtomicU64::new(0),
        });
        let subscriber = {
            let record = Arc::clone(&record);
            thread::spawn(move || {
                for word in [at::NONCE, at::KIND, at::READY] {
                    record.store(word, 0).unwrap();
                }
                let store = |word, value| record.store(word, value);
                write_record(&[(at::KIND, 2)], 7, store).unwrap();
                record.queue.store(7, Ordering::Relaxed);
                mark_ready(store).unwrap();
            })
        };
        let nonce = record.load(at::NONCE).unwrap();
        let is_ready = is_ready(|word| record.load(word)).unwrap();
        let kind = record.load(at::KIND).unwrap();
        let queue = record.queue.load(Ordering::Relaxed);
        subscriber.join().unwrap();
        if nonce == 7 && is_ready {
            assert_eq!((kind, queue), (2, 7), "its own record, and its queue exists");
        }
        outcomes.saw((nonce, is_ready));
    });
}

#[test]
fn acknowledgement_is_for_its_subscriber() {
    check("acknowledgement", 2, |outcomes| {
        // The publisher has answered subscriber 6.
        let words = Arc::new([6, 0].map(AtomicU64::new));
        let publisher = {
            let words = Arc::clone(&words);
            thread::spawn(move || acknowledge(&*words, 7, 13))
        };
        let answer = acknowledged(read_only(&*words), 7);
        publisher.join().unwrap();
        assert!(matches!(answer, None | Some(13)), "{answer:?}");
        outcomes.saw(answer);
    });
}

#[test]
fn successor_wakes_a_subscriber_that_the_dead_publisher_did_not_wake() {
    parks_while("park and takeover", 2, |memory, registry| {
        // The publisher dies between its commit and its wake-ups.
        in_a_process(memory, |memory| memory.table().commit(3, 0, std::iter::empty()));
        commit_and_wake(memory, registry, 4, true).is_some()
    });
}

#[test]
fn subscriber_that_parks_after_a_takeover_is_woken_by_the_next_commit() {
    parks_while("park after a takeover", 3, |memory, registry| {
        let news = commit_and_wake(memory, registry, 3, true).is_some();
        // Not for everyone: `parked_max` and the park words must suffice.
        news || commit_and_wake(memory, registry, 4, false).is_some()
    });
}

/// The two flags, and the state that the kernel keeps under its lock: whether the subscriber is
/// asleep.
struct CommitFutex {
    sleepers: [AtomicU64; 2],
    asleep: Mutex<bool>,
}

impl CommitFutex {
    /// FUTEX_WAIT: falls asleep unless `commit` differs from `seen`. Returns true if asleep.
    fn sleep(&self, memory: &Memory, seen: u64) -> bool {
        let mut asleep = self.asleep.lock().unwrap();
        *asleep = memory.committed() == seen;
        *asleep
    }

    /// Commits, and calls FUTEX_WAKE if a subscriber may be asleep. Returns true if it was called.
    fn commit_and_wake(&self, memory: &Memory, version: u64) -> bool {
        memory.table().commit(version, 0, std::iter::empty());
        let wakes = has_sleepers(&self.sleepers, version, false);
        if wakes {
            *self.asleep.lock().unwrap() = false;
        }
        wakes
    }
}

#[test]
fn subscriber_that_sleeps_on_commit_is_woken() {
    check("sleep on the commit", 3, |outcomes| {
        let memory = Memory::at_version_two(1);
        let futex = Arc::new(CommitFutex {
            // A subscriber that slept at commit 2 left its flag.
            sleepers: [1, 0].map(AtomicU64::new),
            asleep: Mutex::new(false),
        });
        let publisher = {
            let (memory, futex) = (Arc::clone(&memory), Arc::clone(&futex));
            thread::spawn(move || [3, 4].map(|version| futex.commit_and_wake(&memory, version)))
        };
        let seen = memory.committed();
        let store = |flag: usize, value| -> Result<(), ()> {
            futex.sleepers[flag].store(value, Ordering::Relaxed);
            Ok(())
        };
        park_on_commit(seen, store).unwrap();
        let slept = futex.sleep(&memory, seen);
        let woke = publisher.join().unwrap();
        let sleeps = *futex.asleep.lock().unwrap();
        assert!(!sleeps || seen == 4, "asleep at {seen} forever");
        outcomes.saw((seen, slept, woke));
    });
}
