//! Commits that delete and insert rows, and so change the key index, next to commits that update as
//! many rows and do not touch it.

use common::Publisher;

use super::read::publish_with_capacity;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, prepared};
use crate::other::HERE;
use crate::peers::lmdb::Lmdb;
use crate::row::{Random, Row};

const ROWS: usize = 100_000;
const MANY: usize = 1_000;
const FEW: usize = 10;
/// Rows that a timed batch changes. Half of them are inserted, which is enough for a new generation
/// of the key index in each batch.
const BATCH: usize = 500_000;
/// Rows that a timed batch changes in LMDB, whose commits take longer.
const LMDB_BATCH: usize = 50_000;

const MANY_KEYS: &str = "a row of 500 deleted and 500 inserted";
const MANY_UPDATES: &str = "a row of 1,000 updated";
const FEW_KEYS: &str = "a row of 5 deleted and 5 inserted";
const FEW_UPDATES: &str = "a row of 10 updated";

/// Keys come and go.
pub const KEYS: Case = Case {
    name: "commit-keys",
    about: "commits of 1,000 and of ten rows of 100,000, of which half are deleted and half inserted, or all are updated; in the steady state, new generations of the key index included; the time is that of a commit divided by its rows. An update does not touch the index",
    run,
    bars: &[bar(MANY_KEYS, MANY_UPDATES, 1.3)],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let name = unique("commit-keys");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let mut publisher = publish_with_capacity(&name, ROWS, ROWS + MANY);
    let mut keys = Keys::new();
    let mut figures = Vec::new();
    for (changes, of_keys, of_updates) in
        [(MANY, MANY_KEYS, MANY_UPDATES), (FEW, FEW_KEYS, FEW_UPDATES)]
    {
        figures.push(prepared(
            of_keys,
            BATCH,
            || keys.replaced(BATCH / 2),
            |replaced| {
                for replaced in replaced.chunks(changes / 2) {
                    replace(&mut publisher, replaced);
                }
            },
        ));
        figures.push(prepared(
            of_updates,
            BATCH,
            || keys.live(BATCH),
            |live| {
                for live in live.chunks(changes) {
                    update(&mut publisher, live);
                }
            },
        ));
    }
    publisher.close().expect("a live table");
    figures.extend(lmdb(&Lmdb::open(folder.path())));
    figures
}

fn replace(publisher: &mut Publisher<Row>, replaced: &[[u64; 2]]) {
    let mut tx = publisher.begin();
    for [old, new] in replaced {
        tx.delete(old).expect("the key");
        tx.insert(&Row::new(*new, 1)).expect("room");
    }
    tx.commit().expect("room");
}

fn update(publisher: &mut Publisher<Row>, keys: &[u64]) {
    let mut tx = publisher.begin();
    for key in keys {
        tx.update(&Row::new(*key, *key)).expect("the key");
    }
    tx.commit().expect("room");
}

fn lmdb(lmdb: &Lmdb) -> [Figure; 2] {
    let mut keys = Keys::new();
    lmdb.put(keys.live.iter().map(|key| Row::new(*key, 1)));
    let replaced = prepared(
        "LMDB, a row of 500 deleted and 500 inserted",
        LMDB_BATCH,
        || keys.replaced(LMDB_BATCH / 2),
        |replaced| {
            for replaced in replaced.chunks(MANY / 2) {
                let mut tx = lmdb.env.write_txn().expect("a writer");
                for [old, new] in replaced {
                    assert!(lmdb.rows.delete(&mut tx, old).expect("a table"));
                    let row = Row::new(*new, 1);
                    lmdb.rows.put(&mut tx, new, bytemuck::bytes_of(&row)).expect("room");
                }
                tx.commit().expect("a commit");
            }
        },
    );
    let updated = prepared(
        "LMDB, a row of 1,000 updated",
        LMDB_BATCH,
        || keys.live(LMDB_BATCH),
        |live| {
            for live in live.chunks(MANY) {
                lmdb.put(live.iter().map(|key| Row::new(*key, *key)));
            }
        },
    );
    [replaced, updated]
}

/// The keys of the table, which are visited in a random order that repeats, so that no key occurs
/// twice in a commit.
struct Keys {
    live: Vec<u64>,
    order: Vec<usize>,
    at: usize,
    next: u64,
}

impl Keys {
    fn new() -> Self {
        let (mut random, mut order) = (Random::new(7), Vec::from_iter(0..ROWS));
        for last in (1..ROWS).rev() {
            order.swap(last, random.below(last + 1));
        }
        Self { live: (0..ROWS as u64).collect(), order, at: 0, next: ROWS as u64 }
    }

    fn step(&mut self) -> &mut u64 {
        self.at = (self.at + 1) % ROWS;
        &mut self.live[self.order[self.at]]
    }

    /// Returns the next keys.
    fn live(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| *self.step()).collect()
    }

    /// Returns the next keys and the new keys that replace them.
    fn replaced(&mut self, count: usize) -> Vec<[u64; 2]> {
        (0..count)
            .map(|_| {
                let new = self.next;
                self.next += 1;
                [std::mem::replace(self.step(), new), new]
            })
            .collect()
    }
}
