//! The cost of a commit that wakes sleepers: little more than one send for each.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::crowd::RECEIVED;
use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::{MoreQueues, pin};
use crate::measure::Figure;
use crate::other::{HERE, Other};
use crate::peers::plain::Plain;
use crate::peers::queue::{self, BareQueue};
use crate::row::Row;

const ROWS: usize = 1_000;
/// Approximate total number of timed sends, and maximum number of rounds.
const SENDS: usize = 10_000;
/// See [`SENDS`].
const ROUNDS: usize = 300;
/// Time for the last sleeper to fall asleep again, and for each other one.
const PAUSE: Duration = Duration::from_micros(300);
/// See [`PAUSE`].
const PAUSE_EACH: Duration = Duration::from_micros(5);
/// Interval at which the sender checks if a round is over.
const POLL: Duration = Duration::from_micros(50);

/// Some that are parked.
pub const PARKED: Case = Case {
    name: "commit-parked",
    about: "one row becomes visible to subscribers that all sleep on the other core: the sender's time for a commit, and for bare sends to as many sleepers. What a send costs depends on what the other core is just doing; so there are also bare sends to sleepers that do as subscribers do, and sleep in epoll and are busy for 2 µs each time",
    run,
    bars: &[
        bar("commit, 1 parked", "bare sends to 1", 1.1),
        bar("commit, 10 parked", "bare sends to 10", 1.1),
        bar("commit, 100 parked", "bare sends to 100", 1.1),
    ],
};

fn run() -> Vec<Figure> {
    [1, 10, 100].into_iter().flat_map(with_parked).collect()
}

/// Measures commits to `count` sleepers, and bare sends to the same number.
pub fn with_parked(count: usize) -> [Figure; 3] {
    pin(HERE);
    let _raised = MoreQueues::raise(count + 1);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let rounds = Rounds::new(count, &folder.path().join("plain"));
    [
        rounds.commits(&format!("commit, {count} parked")),
        rounds.sends("receive", &format!("bare sends to {count}")),
        rounds.sends("work", &format!("bare sends to {count} that work")),
    ]
}

/// A sender's rounds: everybody sleeps, it sends, everybody has received.
struct Rounds {
    count: usize,
    path: String,
    plain: Plain,
}

impl Rounds {
    fn new(count: usize, path: &Path) -> Self {
        Self { count, path: path.display().to_string(), plain: Plain::open(path, 0) }
    }

    fn crowd(&self, role: &str, name: &str, how: &str) -> Other {
        self.plain.signal(RECEIVED).store(0, Ordering::Relaxed);
        let count = self.count.to_string();
        let arguments = [name, &self.path, &count, how].map(str::to_owned);
        Other::start(role, &arguments)
    }

    fn measure(&self, subject: &str, asleep: impl Fn(), mut send: impl FnMut()) -> Figure {
        let rounds = (SENDS / self.count).clamp(30, ROUNDS);
        let costs = (1..=rounds).map(|round| {
            asleep();
            sleep(PAUSE + PAUSE_EACH * self.count as u32);
            let start = Instant::now();
            send();
            let cost = start.elapsed().as_nanos() as f64;
            while self.plain.signal(RECEIVED).load(Ordering::Acquire) < (round * self.count) as u64
            {
                sleep(POLL);
            }
            cost
        });
        Figure::of(subject, costs.collect())
    }

    fn commits(&self, subject: &str) -> Figure {
        let name = unique("parked");
        let mut publisher = publish(&name, ROWS);
        let crowd = self.crowd("parked-crowd", &name, "");
        let all_parked = || {
            let info = common::inspect(&name, None).expect("a live table");
            let listeners = info.subscribers.expect("its own registry");
            listeners.iter().filter(|listener| listener.parked).count() == self.count
        };
        let asleep = || {
            while !all_parked() {
                sleep(POLL);
            }
        };
        asleep();
        // It opens their queues.
        publisher.maintain().expect("a live table");
        let mut version = 1;
        let figure = self.measure(subject, asleep, || {
            version += 1;
            let mut tx = publisher.begin();
            tx.upsert(&Row::new(0, version)).expect("room");
            tx.commit().expect("room");
        });
        // They end when it does.
        publisher.close().expect("a live table");
        drop(crowd);
        figure
    }

    fn sends(&self, how: &str, subject: &str) -> Figure {
        let name = unique("parked");
        let names: Vec<String> = (0..self.count).map(|at| format!("{name}-{at}")).collect();
        let queues: Vec<BareQueue> = names.iter().map(|name| BareQueue::open(name)).collect();
        let crowd = self.crowd("queue-crowd", &name, how);
        sleep(PAUSE * 10);
        let figure = self.measure(subject, || (), || queues.iter().for_each(BareQueue::send));
        drop(crowd);
        names.iter().for_each(|name| queue::remove(name));
        figure
    }
}
