//! Lookups of rows that always exist, while the publisher deletes and inserts other rows as fast as
//! it can. A lookup that does not find its row is a false miss.

use common::{Reader, inspect};

use super::busy::{BusyPublisher, commit_until_stopped};
use super::read::publish_with_capacity;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit};
use crate::other::{HERE, THERE};
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

/// No false misses.
pub const LOOKUPS: Case = Case {
    name: "lookups",
    about: "100,000,000 lookups of 1,000 rows that always exist, a tenth of them by `get` and the others by `get_many`, while the publisher deletes and inserts 1,000 other rows on the other core, as fast as it can",
    run,
    bars: &[bar("false misses", "lookups", 0.0)],
};

fn run() -> Vec<Figure> {
    let name = unique("lookups");
    let mut publisher = BusyPublisher::start("lookups-publisher", &name);
    pin(HERE);
    let reader = Reader::<Row>::open(&name).expect("it is published");
    let generation = || inspect(&name, None).expect("a live table").index_generation;
    publisher.begin();

    let (first_generation, first_commit) = (generation(), publisher.commits());
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
    let generations = generation() - first_generation;
    let commits = publisher.commits() - first_commit;
    publisher.stop();
    [
        ("lookups", lookups),
        ("false misses", misses),
        ("rows deleted, and the same number inserted", commits * CHANGES as u64),
        ("new generations of the key index", generations),
    ]
    .map(|(subject, count)| Figure::one(subject, Unit::Count, count as f64))
    .to_vec()
}

/// Replaces rows at full speed until it is stopped.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let all = KEPT + OTHERS;
    let mut publisher = publish_with_capacity(name, all, all + CHANGES);
    let mut others: Vec<u64> = (KEPT as u64..all as u64).collect();
    let (mut random, mut next) = (Random::new(7), all as u64);
    commit_until_stopped(path, |_| {
        let mut tx = publisher.begin();
        for _ in 0..CHANGES {
            let old = &mut others[random.below(OTHERS)];
            tx.delete(old).expect("the key");
            tx.insert(&Row::new(next, 1)).expect("room");
            *old = next;
            next += 1;
        }
        tx.commit().expect("room");
    });
    publisher.close().expect("a live table");
}
