//! A commit while a thousand subscribers are registered and awake: none of them may cost it
//! anything.

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::{MoreQueues, pin, queues_max};
use crate::measure::{Figure, Unit, prepared};
use crate::other::{HERE, Other};
use crate::row::{Random, Row};

/// Each of a thousand subscribers keeps its own copy, so the table is small.
const ROWS: usize = 1_000;
const CHANGES: usize = 10;
const COMMITS: usize = 1_000;
const MANY: usize = 1_000;

/// Many that are awake.
pub const AWAKE: Case = Case {
    name: "commit-awake",
    about: "ten rows at random of 1,000 become visible while 1,000 subscribers are registered and awake, and while there are none (where not root runs it, those beyond the limit of message queues have none; while they are awake that is all the same)",
    run,
    bars: &[bar("commit, 1,000 awake", "commit, none", 1.2)],
};

fn run() -> Vec<Figure> {
    let mut figures = with_awake(0, "commit, none");
    figures.extend(with_awake(MANY, "commit, 1,000 awake"));
    figures
}

/// Commits to `count` subscribers that are awake, as `subject`, and how many there were.
///
/// # Panics
/// If not all of them could register.
pub fn with_awake(count: usize, subject: &str) -> Vec<Figure> {
    pin(HERE);
    let _raised = MoreQueues::raise(count + 1);
    let name = unique("awake");
    let mut publisher = publish(&name, ROWS);
    let crowd = Other::start("awake-crowd", &[name.clone(), count.to_string()]);
    publisher.maintain().expect("a live table");
    let info = common::inspect(&name, None).expect("a live table");
    let listeners = info.subscribers.expect("its own registry");
    assert!(listeners.len() == count && listeners.iter().all(|listener| !listener.parked));
    let (mut random, mut version) = (Random::new(7), 1);
    let prepare = || random.numbers(COMMITS * CHANGES, ROWS);
    let commit = prepared(subject, COMMITS, prepare, |keys| {
        for keys in keys.chunks(CHANGES) {
            version += 1;
            let mut tx = publisher.begin();
            for key in keys {
                tx.upsert(&Row::new(*key as u64, version)).expect("room");
            }
            tx.commit().expect("room");
        }
    });
    drop(crowd);
    publisher.close().expect("a live table");
    let with = format!("{subject}: subscribers");
    let allowed = format!("{subject}: message queues that the system allows");
    vec![
        commit,
        Figure::one(with, Unit::Count, count as f64),
        Figure::one(allowed, Unit::Count, queues_max()),
    ]
}
