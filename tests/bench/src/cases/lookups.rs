//! Lookups of rows that always exist, while the publisher deletes and inserts other rows as fast as
//! it can. A lookup that does not find its row is a false miss.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use common::{Reader, inspect};

use super::read::publish_with_capacity;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::plain::Plain;
use crate::row::{Random, Row};

/// Rows that always exist. They have the lowest keys.
const KEPT: usize = 1_000;
/// Other rows that exist at one time.
const OTHERS: usize = 1_000;
/// Rows that a commit deletes, and inserts.
const CHANGES: usize = 5;
/// Lookups of all kept rows by `get`, and then by `get_many`.
const BY_GET: usize = 10_000;
/// See [`BY_GET`].
const BY_GET_MANY: usize = 90_000;
/// The word that tells the publisher to stop, and the one in which it counts its commits.
const STOP: usize = 0;
/// See [`STOP`].
const COMMITS: usize = 1;
/// Interval at which the case checks if the publisher commits.
const POLL: Duration = Duration::from_micros(100);

/// No false misses.
pub const LOOKUPS: Case = Case {
    name: "lookups",
    about: "100,000,000 lookups of 1,000 rows that always exist, a tenth of them by `get` and the others by `get_many`, while the publisher deletes and inserts 1,000 other rows on the other core, as fast as it can",
    run,
    bars: &[bar("false misses", "lookups", 0.0)],
};

fn run() -> Vec<Figure> {
    let name = unique("lookups");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, 0);
    let arguments = [name.clone(), path.display().to_string()];
    let mut publisher = Other::start("lookups-publisher", &arguments);
    pin(HERE);
    let reader = Reader::<Row>::open(&name).expect("it is published");
    let generation = || inspect(&name, None).expect("a live table").index_generation;
    let commits = || plain.signal(COMMITS).load(Ordering::Acquire);
    publisher.tell("commit");
    while commits() == 0 {
        sleep(POLL);
    }

    let (first_generation, first_commit) = (generation(), commits());
    let keys: Vec<u64> = (0..KEPT as u64).collect();
    let (mut lookups, mut misses) = (0_u64, 0_u64);
    for _ in 0..BY_GET {
        for key in &keys {
            lookups += 1;
            misses += u64::from(reader.get(key).expect("a live table").is_none());
        }
    }
    for _ in 0..BY_GET_MANY {
        let visit = |_, row: Option<Row>| {
            lookups += 1;
            misses += u64::from(row.is_none());
        };
        reader.get_many(&keys, visit).expect("a live table");
    }
    let (generations, commits) = (generation() - first_generation, commits() - first_commit);
    plain.signal(STOP).store(1, Ordering::Release);
    publisher.answer();
    [
        ("lookups", lookups),
        ("false misses", misses),
        ("rows deleted, and as many inserted", commits * CHANGES as u64),
        ("new generations of the key index", generations),
    ]
    .map(|(subject, count)| Figure::one(subject, Unit::Count, count as f64))
    .to_vec()
}

/// Replaces rows at full speed, from the request on until it is told to stop.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let all = KEPT + OTHERS;
    let mut publisher = publish_with_capacity(name, all, all + CHANGES);
    let plain = Plain::open(Path::new(path), 0);
    let mut others: Vec<u64> = (KEPT as u64..all as u64).collect();
    let (mut random, mut next, mut commits) = (Random::new(7), all as u64, 0);
    serve(|_| {
        while plain.signal(STOP).load(Ordering::Acquire) == 0 {
            let mut tx = publisher.begin();
            for _ in 0..CHANGES {
                let old = &mut others[random.below(OTHERS)];
                tx.delete(old).expect("the key");
                tx.insert(&Row::new(next, 1)).expect("room");
                *old = next;
                next += 1;
            }
            tx.commit().expect("room");
            commits += 1;
            plain.signal(COMMITS).store(commits, Ordering::Release);
        }
        String::new()
    });
    publisher.close().expect("a live table");
}
