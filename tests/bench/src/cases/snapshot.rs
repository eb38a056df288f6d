//! All rows of a table, copied at one version straight from shared memory: while nothing happens,
//! and under a publisher that commits all the while.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use common::{Error, Subscriber};

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit, batches};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::lmdb::Lmdb;
use crate::peers::plain::Plain;
use crate::row::{Random, Row};

const ROWS: usize = 100_000;
const CHANGES: usize = 10;
/// The word that tells the publisher to stop, and the one in which it counts its commits.
const STOP: usize = 0;
/// See [`STOP`].
const COMMITS: usize = 1;
/// Interval at which the case checks if the publisher commits.
const POLL: Duration = Duration::from_micros(100);

/// All rows.
pub const SNAPSHOT: Case = Case {
    name: "snapshot",
    about: "100,000 rows are copied at one version into memory that was used before, straight from shared memory: while nothing happens, and while the publisher commits ten rows at a time on the other core, as fast as it can",
    run,
    bars: &[
        bar("snapshot", "memcpy of the same bytes", 2.0),
        bar("snapshot under commits", "snapshot", 1.5),
        bar("snapshots that were outrun", "snapshots under commits", 0.0),
    ],
};

fn run() -> Vec<Figure> {
    let name = unique("snapshot");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, 0);
    let arguments = [name.clone(), path.display().to_string()];
    let mut publisher = Other::start("snapshot-publisher", &arguments);
    pin(HERE);
    let subscriber = Subscriber::<Row>::open(&name).expect("it is published");
    let mut rows = Vec::new();
    let quiet = batches("snapshot", 1, || {
        subscriber.snapshot(&mut rows).expect("nobody writes");
        black_box(&rows);
    });
    assert_eq!(rows.len(), ROWS);

    publisher.tell("commit");
    while plain.signal(COMMITS).load(Ordering::Acquire) == 0 {
        sleep(POLL);
    }
    let (mut taken, mut outrun) = (0.0, 0.0);
    let busy = batches("snapshot under commits", 1, || {
        taken += 1.0;
        while let Err(error) = subscriber.snapshot(&mut rows) {
            assert!(matches!(error, Error::Outrun { .. }), "{error}");
            outrun += 1.0;
        }
        black_box(&rows);
    });
    plain.signal(STOP).store(1, Ordering::Release);
    publisher.answer();
    let count = |subject, value| Figure::one(subject, Unit::Count, value);
    let [memcpy, lmdb] = beside(&folder.path().join("lmdb"), rows);
    vec![
        quiet,
        busy,
        count("snapshots under commits", taken),
        count("snapshots that were outrun", outrun),
        memcpy,
        lmdb,
    ]
}

/// Measures the same rows by memcpy and from LMDB.
fn beside(path: &Path, from: Vec<Row>) -> [Figure; 2] {
    let mut to = from.clone();
    let memcpy = batches("memcpy of the same bytes", 1, || {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    });
    let lmdb = Lmdb::open(path);
    lmdb.put(from);
    let lmdb = batches("LMDB copying them out", 1, || {
        lmdb.copy_out(&mut to);
        black_box(&to);
    });
    [memcpy, lmdb]
}

/// Commits at full speed, from one request until the next.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let mut publisher = publish(name, ROWS);
    let plain = Plain::open(Path::new(path), 0);
    let (mut random, mut version) = (Random::new(7), 1);
    serve(|_| {
        while plain.signal(STOP).load(Ordering::Acquire) == 0 {
            version += 1;
            let mut tx = publisher.begin();
            for _ in 0..CHANGES {
                let key = random.below(ROWS) as u64;
                tx.upsert(&Row::new(key, version)).expect("room");
            }
            tx.commit().expect("room");
            plain.signal(COMMITS).store(version, Ordering::Release);
        }
        String::new()
    });
    publisher.close().expect("a live table");
}
