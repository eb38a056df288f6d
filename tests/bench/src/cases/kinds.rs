//! Every way to be woken, side by side: what it costs the sender, how long it takes, what it costs
//! to sleep, and how that grows.
//!
//! Each subscriber is a separate process; all of them share a core, and the sender has the other
//! one. Each round the sender writes the time into the row that it commits; a subscriber subtracts
//! it from its own once it holds the row. The next round comes when all have it, and have had time
//! to fall asleep.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Publisher, Subscriber, WakeKind};

use super::read::publish;
use super::{Case, now, unique};
use crate::machine::pin;
use crate::measure::Figure;
use crate::other::{HERE, Other, THERE};
use crate::peers::plain::Plain;
use crate::row::Row;

/// The kinds, and the greatest number of subscribers: those that spin need a core each.
const KINDS: &[(&str, usize)] = &[
    ("mq", MANY),
    ("futex", MANY),
    ("unix", MANY),
    ("signal:RTMIN+1", MANY),
    ("fifo", MANY),
    ("spin", 1),
    ("spin:50us+futex", 1),
];
const MANY: usize = 100;
const SIZES: [usize; 3] = [1, 10, MANY];
const ROUNDS: usize = 1_000;
/// Time for a subscriber to fall asleep again.
const PAUSE: Duration = Duration::from_micros(300);
/// Interval at which the sender checks if a round is over.
const POLL: Duration = Duration::from_micros(20);
/// Duration of the idle time.
const IDLE: Duration = Duration::from_secs(2);
/// Index of the word that counts the receivers.
const RECEIVED: usize = 1;

/// Side by side.
pub const KIND: Case = Case {
    name: "kinds",
    about: "every way to be woken, with 1, 10 and 100 subscribers that share a core: the commit of one row by its sender, from that to the row in a process that slept, and the processor's time of one that sleeps, each second",
    run,
    bars: &[],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let sizes = |most: usize| SIZES.into_iter().filter(move |size| *size <= most);
    let all = KINDS.iter().flat_map(|(kind, most)| sizes(*most).map(|size| (*kind, size)));
    all.flat_map(|(kind, size)| side(kind, size)).collect()
}

/// Measures one kind with a number of subscribers.
fn side(kind: &str, size: usize) -> Vec<Figure> {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, 0);
    let name = unique("kinds");
    let mut publisher = publish(&name, 1);
    let arguments = [name, path.display().to_string(), kind.to_owned()];
    let mut crowd: Vec<Other> =
        (0..size).map(|_| Other::start("kinds-subscriber", &arguments)).collect();
    publisher.maintain().expect("a live table");

    let before: f64 = crowd.iter().map(|one| ran_ns(one.id())).sum();
    sleep(IDLE);
    let after: f64 = crowd.iter().map(|one| ran_ns(one.id())).sum();
    let idle = (after - before) / IDLE.as_secs_f64() / size as f64;

    let mut cost = Vec::with_capacity(ROUNDS);
    for round in 1..=ROUNDS {
        sleep(PAUSE);
        let begun = Instant::now();
        commit(&mut publisher, now());
        cost.push(begun.elapsed().as_nanos() as f64);
        while plain.signal(RECEIVED).load(Ordering::Acquire) < (round * size) as u64 {
            sleep(POLL);
        }
    }
    let told = crowd.iter_mut().map(Other::answer);
    let taken: Vec<f64> =
        told.flat_map(|taken| serde_json::from_str::<Vec<f64>>(&taken).expect("numbers")).collect();
    publisher.close().expect("a live table");
    let slowest = thousandth(taken.clone());
    let subject = |what: &str| format!("{kind}, {size}: {what}");
    vec![
        Figure::of(subject("the sender's commit"), cost),
        Figure::of(subject("to be woken"), taken),
        Figure::of(subject("to be woken, p99.9"), vec![slowest]),
        Figure::of(subject("a second of sleep"), vec![idle]),
    ]
}

/// Returns the 99.9th percentile.
fn thousandth(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() as f64 * 0.999).ceil() as usize - 1]
}

fn commit(publisher: &mut Publisher<Row>, sent: u64) {
    let mut tx = publisher.begin();
    tx.upsert(&Row::new(0, sent)).expect("room");
    tx.commit().expect("room");
}

/// Returns the processor time of a process.
fn ran_ns(process: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a live process");
    let ran = tasks.map(|task| {
        let path = task.expect("a task").path().join("schedstat");
        let stat = std::fs::read_to_string(path).expect("a live task");
        let ran = stat.split(' ').next().and_then(|ran| ran.parse().ok());
        ran.unwrap_or(0.0)
    });
    ran.sum()
}

/// Follows table `name` with the given wake kind, counts its wake-ups in the file, and reports how
/// long each took.
pub fn subscriber(arguments: &[String]) {
    pin(THERE);
    let [name, path, kind] = arguments else { panic!("name, path, kind") };
    let plain = Plain::open(Path::new(path), 0);
    let kind: WakeKind = kind.parse().expect("a kind");
    let mut table = Subscriber::<Row>::builder(name).wake(kind).open().expect("it is published");
    // Takes its place, so that the publisher opens its end before the first round.
    let asleep = table.wait(Some(Duration::from_millis(1)));
    asleep.expect("a live table");
    println!("ready");
    let mut taken = Vec::with_capacity(ROUNDS);
    while taken.len() < ROUNDS {
        if table.wait(None).expect("a live table").is_empty() {
            continue;
        }
        let sent = table.get(&0).expect("the row").a;
        taken.push(now() - sent);
        plain.signal(RECEIVED).fetch_add(1, Ordering::Release);
    }
    println!("{}", serde_json::to_string(&taken).expect("numbers"));
}
