//! A commit of ten rows at random among 100,000, with nobody listening.

use std::sync::atomic::{AtomicU64, Ordering};

use super::read::publish;
use super::{Case, bar, unique};
use crate::measure::{Figure, batches, pin};
use crate::other::HERE;
use crate::peers::blackboard::Blackboard;
use crate::peers::blob::{self, Blob};
use crate::peers::lmdb::Lmdb;
use crate::row::{Random, Row, WORDS};

const ROWS: usize = 100_000;
const CHANGES: usize = 10;
const COMMITS: usize = 1_000;
/// iceoryx2 finds a handle in time that grows with the keys; ten of so many are held.
const KEYS: usize = 1_000;

/// Nobody listens.
pub const ALONE: Case = Case {
    name: "commit",
    about: "ten rows at random of 100,000 become true as one, nobody is parked; ns a commit",
    run,
    bars: &[
        bar("commit", "the same words without any protocol", 3.0),
        bar("commit", "LMDB commit", 1.0 / 8.0),
    ],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let name = unique("commit");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let mut random = Random::new(7);
    let mut version = 1;
    let mut next = || {
        version += 1;
        (version, random.numbers(CHANGES, ROWS))
    };
    let mut publisher = publish(&name, ROWS);
    let lmdb = Lmdb::open(&folder.path().join("lmdb"));
    lmdb.put((0..ROWS as u64).map(|key| Row::new(key, 1)));
    let mut blob_file = blob::open(&folder.path().join("blob"));
    let mut blob = Blob::of((0..ROWS as u64).map(|key| Row::new(key, 1)));
    let board = Blackboard::create(&name, (0..KEYS as u64).map(|key| Row::new(key, 1)));
    let writer = board.writer();
    let handles = (0..CHANGES as u64).map(|key| writer.entry::<Row>(&key).expect("the key"));
    let mut handles: Vec<_> = handles.collect();
    let words: Vec<AtomicU64> = (0..ROWS * WORDS).map(|_| AtomicU64::new(1)).collect();
    let figures = vec![
        batches("commit", COMMITS, || {
            for _ in 0..COMMITS {
                let (version, keys) = next();
                let mut tx = publisher.begin();
                for key in keys {
                    tx.upsert(&Row::new(key as u64, version)).expect("room");
                }
                tx.commit().expect("room");
            }
        }),
        batches("the same words without any protocol", COMMITS, || {
            for _ in 0..COMMITS {
                let (version, keys) = next();
                for key in keys {
                    let row = Row::new(key as u64, version);
                    for (at, word) in row.words().iter().enumerate() {
                        words[key * WORDS + at].store(*word, Ordering::Relaxed);
                    }
                }
            }
        }),
        batches("LMDB commit", COMMITS / 10, || {
            for _ in 0..COMMITS / 10 {
                let (version, keys) = next();
                lmdb.put(keys.into_iter().map(|key| Row::new(key as u64, version)));
            }
        }),
        batches("mmap-sync write of the whole table", 1, || {
            let (version, keys) = next();
            for key in keys {
                blob.rows[key] = *Row::new(key as u64, version).words();
            }
            blob.write(&mut blob_file);
        }),
        batches("iceoryx2, ten held handles, not as one", COMMITS, || {
            for _ in 0..COMMITS {
                let (version, _) = next();
                for (key, handle) in handles.iter_mut().enumerate() {
                    handle.update_with_copy(Row::new(key as u64, version));
                }
            }
        }),
    ];
    publisher.close().expect("a live table");
    figures
}
