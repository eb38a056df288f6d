//! A subscriber goes to sleep while a publisher commits.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::{Memory, check, in_a_process};
use crate::protocol::layout::{header, registry as at};
use crate::protocol::park::{
    acknowledge, acknowledged, claim, claimed, has_sleepers, is_ready, may_be_parked, park,
    park_on_commit, parked_at, say_ready, sign,
};
use crate::protocol::sync::{AtomicU64, Ordering};

/// A registry's words, for one subscriber.
struct Seats {
    parks: [AtomicU64; 1],
    parked_max: AtomicU64,
    claimed: AtomicU64,
    nonce: AtomicU64,
}

impl Seats {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            parks: [AtomicU64::new(0)],
            parked_max: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            nonce: AtomicU64::new(0),
        })
    }
}

/// Commits `version` and says whether it sends to the subscriber, and to whom.
fn commit_and_wake(memory: &Memory, seats: &Seats, version: u64, everyone: bool) -> Option<u64> {
    memory.table().commit(version, 0, std::iter::empty());
    if !everyone && !may_be_parked(&seats.parked_max, version) {
        return None;
    }
    let claimed = claimed(&seats.claimed, seats.parks.len());
    parked_at(&seats.parks[..claimed], version, everyone)
        .next()
        .map(|_| seats.nonce.load(Ordering::Relaxed))
}

/// A subscriber parks at what it has seen, which may be any commit up to 4, while `publish` makes these and says whether it
/// has sent: it must not be left asleep before the last.
fn parks_while(
    name: &str,
    least: usize,
    publish: impl Fn(&Arc<Memory>, &Seats) -> bool + Copy + Send + Sync + 'static,
) {
    check(name, least, move |outcomes| {
        let (memory, seats) = (Memory::at_version_two(1), Seats::new());
        let publishers = {
            let (memory, seats) = (Arc::clone(&memory), Arc::clone(&seats));
            thread::spawn(move || publish(&memory, &seats))
        };
        let seen = memory.committed();
        claim(&seats.claimed, 0);
        let sleeps = park(
            &seats.parks[0],
            &seats.parked_max,
            &memory.words()[header::COMMIT],
            seen,
        );
        let woken = publishers.join().unwrap();
        assert!(!sleeps || seen == 4 || woken, "asleep at {seen} for ever");
        outcomes.saw((seen, sleeps, woken));
    });
}

#[test]
fn whoever_sleeps_is_woken() {
    parks_while("park", 3, |memory, seats| {
        [3, 4]
            .map(|version| commit_and_wake(memory, seats, version, false).is_some())
            .contains(&true)
    });
}

#[test]
fn the_record_of_a_sleeper_is_its_own() {
    check("record", 2, |outcomes| {
        let (memory, seats) = (Memory::at_version_two(1), Seats::new());
        let publisher = {
            let (memory, seats) = (Arc::clone(&memory), Arc::clone(&seats));
            thread::spawn(move || commit_and_wake(&memory, &seats, 3, true))
        };
        seats.nonce.store(7, Ordering::Relaxed);
        claim(&seats.claimed, 0);
        park(
            &seats.parks[0],
            &seats.parked_max,
            &memory.words()[header::COMMIT],
            2,
        );
        let sent_to = publisher.join().unwrap();
        assert_ne!(
            sent_to,
            Some(0),
            "sent to nobody, and the sleeper forgotten"
        );
        outcomes.saw(sent_to);
    });
}

/// A slot's record, and whether what its owner is called by exists.
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
        // As the owner before, number 6 of kind 1, has left it.
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
                sign(&[(at::KIND, 2)], 7, store).unwrap();
                record.queue.store(7, Ordering::Relaxed);
                say_ready(store).unwrap();
            })
        };
        let nonce = record.load(at::NONCE).unwrap();
        let is_ready = is_ready(|word| record.load(word)).unwrap();
        let kind = record.load(at::KIND).unwrap();
        let queue = record.queue.load(Ordering::Relaxed);
        subscriber.join().unwrap();
        if nonce == 7 && is_ready {
            assert_eq!(
                (kind, queue),
                (2, 7),
                "its own record, and its queue is there"
            );
        }
        outcomes.saw((nonce, is_ready));
    });
}

#[test]
fn acknowledgement_is_for_its_subscriber() {
    check("acknowledgement", 2, |outcomes| {
        // As the publisher answered number 6.
        let words = Arc::new([6, 0].map(AtomicU64::new));
        let publisher = {
            let words = Arc::clone(&words);
            thread::spawn(move || acknowledge(&*words, 7, 13))
        };
        let answer = acknowledged(crate::protocol::word::read_only(&*words), 7);
        publisher.join().unwrap();
        assert!(matches!(answer, None | Some(13)), "{answer:?}");
        outcomes.saw(answer);
    });
}

#[test]
fn a_wake_up_lost_to_a_death_is_made_good_by_the_successor() {
    parks_while("park and takeover", 2, |memory, seats| {
        // Dead between its commit and its wake-ups.
        in_a_process(memory, |memory| {
            memory.table().commit(3, 0, std::iter::empty())
        });
        commit_and_wake(memory, seats, 4, true).is_some()
    });
}

#[test]
fn whoever_parks_after_a_takeover_is_woken_by_the_next_commit() {
    parks_while("park after a takeover", 3, |memory, seats| {
        let news = commit_and_wake(memory, seats, 3, true).is_some();
        // No longer for everyone: `parked_max` and the park words must do.
        news || commit_and_wake(memory, seats, 4, false).is_some()
    });
}

/// Two flags, which others set before, and what the kernel keeps under its lock: whether the subscriber is asleep.
struct Bed {
    sleepers: [AtomicU64; 2],
    asleep: Mutex<bool>,
}

impl Bed {
    /// FUTEX_WAIT: asleep, unless `commit` is no longer what was seen.
    fn sleep(&self, memory: &Memory, seen: u64) -> bool {
        let mut asleep = self.asleep.lock().unwrap();
        *asleep = memory.committed() == seen;
        *asleep
    }

    /// A commit, and FUTEX_WAKE if anybody may sleep. Whether that was called.
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
fn whoever_sleeps_on_the_commit_is_woken() {
    check("sleep on the commit", 3, |outcomes| {
        let memory = Memory::at_version_two(1);
        let bed = Arc::new(Bed {
            // As left by one who slept at commit 2 before.
            sleepers: [1, 0].map(AtomicU64::new),
            asleep: Mutex::new(false),
        });
        let publisher = {
            let (memory, bed) = (Arc::clone(&memory), Arc::clone(&bed));
            thread::spawn(move || [3, 4].map(|version| bed.commit_and_wake(&memory, version)))
        };
        let seen = memory.committed();
        park_on_commit(&bed.sleepers, seen);
        let slept = bed.sleep(&memory, seen);
        let woke = publisher.join().unwrap();
        let sleeps = *bed.asleep.lock().unwrap();
        assert!(!sleeps || seen == 4, "asleep at {seen} for ever");
        outcomes.saw((seen, slept, woke));
    });
}
