//! Reading one row: hot, and at random among many.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::{Publisher, Reader, Subscriber};
use seqlock::SeqLock;

use super::{Bar, Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, batches, prepared};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::blackboard::Blackboard;
use crate::peers::blob::{self, Blob};
use crate::peers::lmdb::Lmdb;
use crate::row::{Random, Row};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const READS: usize = 10_000;
/// Size of a batch of slower reads.
const SOME_READS: usize = 2_500;
/// Rows of a transaction while a table is filled: staging takes memory, too.
const FILL: usize = 1 << 20;

/// One row, again and again.
pub const HOT: Case = Case {
    name: "read-hot",
    about: "one row, again and again, of 1,000",
    run: hot,
    bars: HOT_BARS,
};

const HOT_BARS: &[Bar] = &[
    bar("latest", "iceoryx2 held handle", 1.0),
    bar("Entry::read", "iceoryx2 held handle", 1.3),
    bar("Reader::get", "iceoryx2 held handle", 2.0),
];

/// Rows at random.
pub const RANDOM: Case = Case {
    name: "read-random",
    about: "rows of 1,000,000 by keys at random",
    run: random,
    bars: &[
        bar("get", "a random load of 64 bytes", 2.5),
        bar("get", "LMDB get", 1.0 / 15.0),
        bar("Reader::get", "LMDB get", 0.33),
        bar(GET_MANY, "LMDB get", 0.1),
        bar(GET_MANY, "Reader::get", 0.4),
    ],
};

/// Name of the figure of [`Reader::get_many`].
pub const GET_MANY: &str = "Reader::get_many of 1,000 keys, per key";
/// Number of keys of a call of `get_many`.
const KEYS: usize = 1_000;

fn rows(count: usize) -> impl Iterator<Item = Row> + Clone {
    (0..count as u64).map(|key| Row::new(key, 1))
}

/// Publishes `count` rows in every way, till its stdin ends.
pub fn host(arguments: &[String]) {
    pin(THERE);
    let [name, folder, count] = arguments else { panic!("name, folder, count") };
    let (folder, count) = (PathBuf::from(folder), count.parse().expect("a number"));
    let mut publisher = publish(name, count);
    Lmdb::open(&folder.join("lmdb")).put(rows(count));
    let boards: Vec<Blackboard> = if count <= FEW {
        Blob::of(rows(count)).write(&mut blob::open(&folder.join("blob")));
        vec![Blackboard::create(name, rows(count))]
    } else {
        Vec::new()
    };
    serve(|_| {
        publisher.maintain().expect("a live table");
        String::new()
    });
    drop(boards);
    publisher.close().expect("a live table");
}

/// Returns a publisher of a table with room for `count` rows, which it holds.
pub fn publish(name: &str, count: usize) -> Publisher<Row> {
    publish_with_capacity(name, count, count)
}

/// Returns a publisher of a table of `count` rows.
pub fn publish_with_capacity(name: &str, count: usize, capacity: usize) -> Publisher<Row> {
    let builder = Publisher::<Row>::builder(name);
    let mut publisher = builder.capacity(capacity).subscribers(1024).open().expect("a new table");
    for first in (0..count).step_by(FILL) {
        let mut tx = publisher.begin();
        for key in first..count.min(first + FILL) {
            tx.insert(&Row::new(key as u64, 1)).expect("room");
        }
        tx.commit().expect("room");
    }
    publisher
}

fn start(count: usize) -> (String, tempfile::TempDir, Other) {
    let name = unique("read");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().display().to_string();
    let host = Other::start("read-host", &[name.clone(), path, count.to_string()]);
    pin(HERE);
    (name, folder, host)
}

fn hot() -> Vec<Figure> {
    let (name, folder, _host) = start(FEW);
    let key = FEW as u64 / 2;
    let subscriber = Subscriber::<Row>::open(&name).expect("it is published");
    let reader = Reader::<Row>::open(&name).expect("it is published");
    let mut entry = reader.entry(&key).expect("a live table").expect("the key");
    let board = Blackboard::open(&name);
    let port = board.reader();
    let handle = port.entry::<Row>(&key).expect("the key");
    let mut blob = blob::open(&folder.path().join("blob"));
    let lmdb = Lmdb::open(&folder.path().join("lmdb"));
    let tx = lmdb.env.read_txn().expect("a reader");
    let lock = SeqLock::new(Row::new(key, 1));
    let swap = ArcSwap::new(Arc::new(Row::new(key, 1)));
    vec![
        batches("latest", READS, || {
            for _ in 0..READS {
                match subscriber.latest(black_box(&key)) {
                    Ok(Some(row)) => black_box(&row),
                    other => panic!("the key is there: {other:?}"),
                };
            }
        }),
        batches("get", READS, || {
            for _ in 0..READS {
                black_box(*subscriber.get(black_box(&key)).expect("the key"));
            }
        }),
        batches("Reader::get", READS, || {
            for _ in 0..READS {
                black_box(reader.get(black_box(&key)).expect("a live table").expect("the key"));
            }
        }),
        batches("Entry::read", READS, || {
            for _ in 0..READS {
                black_box(entry.read().expect("a live table").expect("the key"));
            }
        }),
        batches("iceoryx2 held handle", READS, || {
            for _ in 0..READS {
                black_box(*handle.get());
            }
        }),
        batches("iceoryx2 by key", READS / 10, || {
            for _ in 0..READS / 10 {
                let handle = port.entry::<Row>(black_box(&key)).expect("the key");
                black_box(*handle.get());
            }
        }),
        batches("mmap-sync unchecked", READS, || {
            for _ in 0..READS {
                // SAFETY: its writer has ended well and writes no more.
                let blob = unsafe { blob.read::<Blob>(false) }.expect("it is there");
                black_box(blob.rows[key as usize]);
            }
        }),
        batches("LMDB get", READS, || {
            for _ in 0..READS {
                black_box(lmdb.rows.get(&tx, black_box(&key)).expect("the key"));
            }
        }),
        batches("seqlock, in one process", READS, || {
            for _ in 0..READS {
                black_box(lock.read());
            }
        }),
        batches("arc-swap, in one process", READS, || {
            for _ in 0..READS {
                black_box(**swap.load());
            }
        }),
    ]
}

fn random() -> Vec<Figure> {
    let (name, folder, _host) = start(MANY);
    let subscriber = Subscriber::<Row>::open(&name).expect("it is published");
    let reader = Reader::<Row>::open(&name).expect("it is published");
    let lmdb = Lmdb::open(&folder.path().join("lmdb"));
    let tx = lmdb.env.read_txn().expect("a reader");
    let memory: Vec<Row> = rows(MANY).collect();
    let mut random = Random::new(7);
    // Touch the pages of all mappings.
    lmdb.copy_out(&mut Vec::new());
    let all: Vec<u64> = (0..MANY as u64).collect();
    for keys in all.chunks(KEYS) {
        reader.get_many(keys, |_, row| assert!(row.is_some())).expect("a live table");
    }
    vec![
        at_random("get", &mut random, |key| {
            black_box(*subscriber.get(&key).expect("the key"));
        }),
        at_random("latest", &mut random, |key| {
            match subscriber.latest(&key) {
                Ok(Some(row)) => black_box(&row),
                other => panic!("the key is there: {other:?}"),
            };
        }),
        at_random("Reader::get", &mut random, |key| {
            black_box(reader.get(&key).expect("a live table").expect("the key"));
        }),
        many_at_random(&reader, &mut random),
        at_random("LMDB get", &mut random, |key| {
            let bytes = lmdb.rows.get(&tx, &key).expect("the key").expect("a row");
            black_box(*bytemuck::from_bytes::<[u8; 64]>(bytes));
        }),
        at_random("a random load of 64 bytes", &mut random, |key| {
            black_box(memory[key as usize]);
        }),
    ]
}

/// Reads by other keys in every batch, so that no cache comes to know them.
fn at_random(subject: &str, random: &mut Random, mut read: impl FnMut(u64)) -> Figure {
    let keys = || random.numbers(SOME_READS, MANY);
    prepared(subject, SOME_READS, keys, |keys| {
        for key in keys {
            read(key as u64);
        }
    })
}

/// Reads by many keys at a time.
fn many_at_random(reader: &Reader<Row>, random: &mut Random) -> Figure {
    let keys = || random.numbers(KEYS, MANY).into_iter().map(|key| key as u64).collect();
    prepared(GET_MANY, KEYS, keys, |keys: Vec<u64>| {
        let visit = |_, row: Option<Row>| {
            black_box(row.expect("the key"));
        };
        reader.get_many(&keys, visit).expect("a live table")
    })
}
