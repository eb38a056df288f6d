//! A publisher that commits as fast as it can, and a subscriber on the other core that follows.
//!
//! Each row holds the time of its commit. When a refresh ends, the copy that it replaces was as old
//! as its own last commit: that is how stale the subscriber has been.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Change, Error, Publisher, Subscriber};
use serde::{Deserialize, Serialize};

use super::read::publish;
use super::{Case, bar, now, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::plain::Plain;
use crate::row::{Random, Row};

const ROWS: usize = 100_000;
const CHANGES: usize = 10;
const COMMITS: usize = 1_000;
/// Duration of the commits, alone and followed.
const TIME: Duration = Duration::from_secs(1);
/// The word that tells the follower to stop.
const STOP: usize = 0;

/// As fast as it can.
pub const FLAT_OUT: Case = Case {
    name: "flat-out",
    about: "a publisher commits ten rows at random of 100,000 as fast as it can, alone and while a subscriber follows on the other core; how stale the subscriber is at most, when each refresh ends",
    run,
    bars: &[
        bar("commit, followed", "commit, alone", 2.0),
        bar("refreshes that were outrun", "refreshes", 0.0),
    ],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, 0);
    let name = unique("flat-out");
    let mut publisher = publish(&name, ROWS);
    let mut random = Random::new(7);
    let alone = flat_out("commit, alone", &mut publisher, &mut random);

    let mut follower = Other::start("follower", &[name, path.display().to_string()]);
    follower.tell("follow");
    let followed = flat_out("commit, followed", &mut publisher, &mut random);
    plain.signal(STOP).store(1, Ordering::Release);
    let followed_by: Followed = serde_json::from_str(&follower.answer()).expect("numbers");
    drop(follower);
    publisher.close().expect("a live table");
    let mut figures = vec![alone, followed];
    figures.extend(followed_by.figures());
    figures
}

fn flat_out(subject: &str, publisher: &mut Publisher<Row>, random: &mut Random) -> Figure {
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < TIME {
        let keys = random.numbers(COMMITS * CHANGES, ROWS);
        let start = Instant::now();
        for keys in keys.chunks(CHANGES) {
            let committed = now();
            let mut tx = publisher.begin();
            for key in keys {
                tx.upsert(&Row::new(*key as u64, committed)).expect("room");
            }
            tx.commit().expect("room");
        }
        samples.push(start.elapsed().as_nanos() as f64 / COMMITS as f64);
    }
    Figure::of(subject, samples)
}

/// Observations of the follower.
#[derive(Default, Serialize, Deserialize)]
struct Followed {
    /// How old the copy was that a refresh replaced, in ns.
    stale: Vec<f64>,
    /// Number of commits between refreshes.
    behind: Vec<f64>,
    /// Number of refreshes that were outrun.
    outrun: usize,
}

impl Followed {
    fn figures(self) -> Vec<Figure> {
        let greatest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
        let (stale, behind) = (greatest(&self.stale), greatest(&self.behind));
        let refreshes = (self.stale.len() + self.outrun) as f64;
        vec![
            Figure::of("staleness", self.stale),
            Figure::one("greatest staleness", Unit::Nanoseconds, stale),
            Figure::of("commits behind", self.behind).counted_in(Unit::Count),
            Figure::one("most commits behind", Unit::Count, behind),
            Figure::one("refreshes", Unit::Count, refreshes),
            Figure::one("refreshes that were outrun", Unit::Count, self.outrun as f64),
        ]
    }
}

/// Refreshes all the time.
pub fn follower(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let plain = Plain::open(Path::new(path), 0);
    let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
    serve(|_| {
        let followed = follow(&mut subscriber, || plain.signal(STOP).load(Ordering::Acquire) == 0);
        serde_json::to_string(&followed).expect("numbers")
    });
}

fn follow(subscriber: &mut Subscriber<Row>, goes_on: impl Fn() -> bool) -> Followed {
    let mut followed = Followed::default();
    let (mut version_before, mut newest_before) = (subscriber.version(), now());
    // Once more when the publisher has stopped: a follower that was outrun all the time has been as
    // stale as that.
    let mut more = true;
    while std::mem::replace(&mut more, goes_on()) {
        let changes = match subscriber.refresh() {
            Ok(changes) => changes,
            Err(Error::Outrun { .. }) => {
                followed.outrun += 1;
                continue;
            }
            Err(error) => panic!("a live table: {error}"),
        };
        let ended = now();
        let committed = changes.iter().filter_map(|change| match change {
            Change::Created(row) | Change::Updated { new: row, .. } => Some(row.a),
            Change::Deleted(_) => None,
        });
        let Some(newest) = committed.max() else {
            continue;
        };
        let version = changes.version();
        followed.stale.push(ended.saturating_sub(newest_before) as f64);
        followed.behind.push((version - version_before) as f64);
        (version_before, newest_before) = (version, newest);
    }
    followed
}
