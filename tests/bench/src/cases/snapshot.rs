//! All rows of a table, copied at one version straight from shared memory: while nothing happens,
//! and under a publisher that commits all the while.

use std::hint::black_box;

use common::{Error, Subscriber};

use super::busy::{BusyPublisher, commit_until_stopped};
use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit, batches};
use crate::other::{HERE, THERE};
use crate::peers::lmdb::Lmdb;
use crate::row::{Random, Row};

const ROWS: usize = 100_000;
const CHANGES: usize = 10;

/// All rows.
pub const SNAPSHOT: Case = Case {
    name: "snapshot",
    about: "100,000 rows are copied at one version into memory that was used before, straight from shared memory: while nothing happens, while the publisher commits ten random rows at a time on the other core, as fast as it can, and afterwards, when the current copies alternate between first and second",
    run,
    bars: &[
        bar("snapshot", "memcpy of the same bytes", 2.0),
        bar("snapshot under commits", "snapshot", 1.5),
        bar("snapshots that were outrun", "snapshots under commits", 0.0),
    ],
};

fn run() -> Vec<Figure> {
    let name = unique("snapshot");
    let mut publisher = BusyPublisher::start("snapshot-publisher", &name);
    pin(HERE);
    let subscriber = Subscriber::<Row>::open(&name).expect("it is published");
    let mut rows = Vec::new();
    let quiet = batches("snapshot", 1, || {
        subscriber.snapshot(&mut rows).expect("nobody writes");
        black_box(&rows);
    });
    assert_eq!(rows.len(), ROWS);

    publisher.begin();
    let (mut taken, mut outrun) = (0.0, 0.0);
    let busy = batches("snapshot under commits", 1, || {
        taken += 1.0;
        while let Err(error) = subscriber.snapshot(&mut rows) {
            assert!(matches!(error, Error::Outrun { .. }), "{error}");
            outrun += 1.0;
        }
        black_box(&rows);
    });
    publisher.stop();
    let updated = batches("snapshot of updated rows", 1, || {
        subscriber.snapshot(&mut rows).expect("nobody writes");
        black_box(&rows);
    });
    let count = |subject, value| Figure::one(subject, Unit::Count, value);
    let [memcpy, lmdb] = beside(rows);
    vec![
        quiet,
        busy,
        updated,
        count("snapshots under commits", taken),
        count("snapshots that were outrun", outrun),
        memcpy,
        lmdb,
    ]
}

/// Measures the same rows by memcpy and from LMDB.
fn beside(from: Vec<Row>) -> [Figure; 2] {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let mut to = from.clone();
    let memcpy = batches("memcpy of the same bytes", 1, || {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    });
    let lmdb = Lmdb::open(folder.path());
    lmdb.put(from);
    let lmdb = batches("LMDB copying them out", 1, || {
        lmdb.copy_out(&mut to);
        black_box(&to);
    });
    [memcpy, lmdb]
}

/// Commits at full speed until it is stopped.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let mut publisher = publish(name, ROWS);
    let mut random = Random::new(7);
    commit_until_stopped(path, |commit| {
        let mut tx = publisher.begin();
        for _ in 0..CHANGES {
            let key = random.below(ROWS) as u64;
            tx.upsert(&Row::new(key, commit + 1)).expect("room");
        }
        tx.commit().expect("room");
    });
    publisher.close().expect("a live table");
}
