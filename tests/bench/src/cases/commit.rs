//! A commit of ten rows at random among 100,000, with nobody listening.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::read::publish;
use super::{Case, bar, now, unique};
use crate::machine::pin;
use crate::measure::{Figure, prepared};
use crate::other::HERE;
use crate::peers::blackboard::Blackboard;
use crate::peers::blob::{self, Blob};
use crate::peers::lmdb::Lmdb;
use crate::peers::plain_commit::PlainCommit;
use crate::row::{Random, Row, WORDS};

const ROWS: usize = 100_000;
const CHANGES: usize = 10;
const COMMITS: usize = 1_000;
/// iceoryx2 finds a handle in time that grows with the number of keys; ten handles are held.
const KEYS: usize = 1_000;

/// Tags, rows, change tree, journal, time and number: no reads, no fences, no index.
const LIMIT: &str = "the same words without any protocol";

/// Nobody listens.
pub const ALONE: Case = Case {
    name: "commit",
    about: "ten rows at random of 100,000 become visible atomically, with no parked subscriber; the time is that of one commit",
    run,
    bars: &[bar("commit", LIMIT, 3.0), bar("commit", "LMDB commit", 1.0 / 8.0)],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let name = unique("commit");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let rows = || (0..ROWS as u64).map(|key| Row::new(key, 1));
    let mut keys = Keys::default();
    let mut publisher = publish(&name, ROWS);
    let mut figures = vec![keys.batches("commit", COMMITS, |version, keys| {
        let mut tx = publisher.begin();
        for key in keys {
            tx.upsert(&Row::new(*key as u64, version)).expect("room");
        }
        tx.commit().expect("room");
    })];
    figures.extend(limits(&mut keys, &folder.path().join("plain")));
    let lmdb = Lmdb::open(&folder.path().join("lmdb"));
    lmdb.put(rows());
    figures.push(keys.batches("LMDB commit", COMMITS / 10, |version, keys| {
        lmdb.put(keys.iter().map(|key| Row::new(*key as u64, version)));
    }));
    let mut blob_file = blob::open(&folder.path().join("blob"));
    let mut blob = Blob::of(rows());
    let whole = "mmap-sync write of the whole table";
    figures.push(keys.batches(whole, 1, |version, keys| {
        for key in keys {
            blob.rows[*key] = *Row::new(*key as u64, version).words();
        }
        blob.write(&mut blob_file);
    }));
    let board = Blackboard::create(&name, (0..KEYS as u64).map(|key| Row::new(key, 1)));
    let writer = board.writer();
    let handles = (0..CHANGES as u64).map(|key| writer.entry::<Row>(&key).expect("the key"));
    let mut handles: Vec<_> = handles.collect();
    let held = "iceoryx2, ten held handles, not atomic";
    figures.push(keys.batches(held, COMMITS, |version, _| {
        for (key, handle) in handles.iter_mut().enumerate() {
            handle.update_with_copy(Row::new(key as u64, version));
        }
    }));
    publisher.close().expect("a live table");
    figures
}

/// Writes the minimum that such a commit must write, without any protocol.
fn limits(keys: &mut Keys, path: &Path) -> [Figure; 2] {
    let plain = PlainCommit::new(path, ROWS);
    let words: Vec<AtomicU64> = (0..ROWS * WORDS).map(|_| AtomicU64::new(1)).collect();
    [
        keys.batches(LIMIT, COMMITS, |version, keys| plain.commit(version, now(), keys)),
        keys.batches("bare row words", COMMITS, |version, keys| {
            for key in keys {
                let row = Row::new(*key as u64, version);
                let to = &words[key * WORDS..][..WORDS];
                for (to, word) in to.iter().zip(row.words()) {
                    to.store(*word, Ordering::Relaxed);
                }
            }
        }),
    ]
}

/// Keys at random and versions, made before they are needed.
struct Keys {
    random: Random,
    version: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self { random: Random::new(7), version: 1 }
    }
}

impl Keys {
    /// Times batches of `count` commits, each of a version and its keys.
    fn batches(
        &mut self,
        subject: &str,
        count: usize,
        mut commit: impl FnMut(u64, &[usize]),
    ) -> Figure {
        let Self { random, version } = self;
        let prepare = || random.numbers(count * CHANGES, ROWS);
        prepared(subject, count, prepare, |keys| {
            for keys in keys.chunks(CHANGES) {
                *version += 1;
                commit(*version, keys);
            }
        })
    }
}
