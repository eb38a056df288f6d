//! The cost of idling: a sleeping subscriber, and a publisher that only sends heartbeats.
//!
//! Both sleep between their looks, so each look is a voluntary switch of the kernel's count,
//! whatever calls it makes.

use std::os::fd::AsFd;
use std::thread::{sleep, spawn};
use std::time::Duration;

use common::publisher::MAINTENANCE_INTERVAL;
use common::{PublisherState, Subscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, Unit};
use crate::other::{HERE, Other, THERE, serve};
use crate::row::Row;

const ROWS: usize = 1_000;
/// Duration of the idle time.
const TIME: Duration = Duration::from_secs(3);
/// Shorter than usual, so that there are some in this time.
const RECHECK: Duration = Duration::from_millis(100);
/// Before the count begins: the subscriber has told its queue, and the publisher has opened it.
const SETTLED: Duration = Duration::from_millis(1_200);

/// Nothing happens.
pub const IDLE: Case = Case {
    name: "idle",
    about: "nothing is committed for 3 s: how often a parked subscriber with a re-check of 100 ms wakes (the default is 1 s), how often a publisher that calls maintain() each second, and the processor's time for each second of it",
    run,
    bars: &[
        bar("a subscriber wakes", "re-check intervals", 1.1),
        bar("a publisher wakes", "heartbeats", 1.34),
    ],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let name = unique("idle");
    let publisher = Other::start("idle-publisher", std::slice::from_ref(&name));
    let subscriber = Other::start("idle-subscriber", std::slice::from_ref(&name));
    sleep(SETTLED);
    let processes = [&subscriber, &publisher].map(|other| Usage::of(other.id()));
    sleep(TIME);
    let [subscribing, publishing] = [0, 1].map(|at| {
        let other = [&subscriber, &publisher][at];
        Usage::of(other.id()).since(&processes[at])
    });
    drop(publisher);
    drop(subscriber);
    let count = |subject, value| Figure::one(subject, Unit::Count, value);
    let time = |subject, usage: &Usage| {
        let each = usage.ran_ns / TIME.as_secs_f64();
        Figure::one(subject, Unit::Nanoseconds, each)
    };
    vec![
        count("a subscriber wakes", subscribing.waits),
        count("re-check intervals", TIME.as_secs_f64() / RECHECK.as_secs_f64()),
        time("a subscriber runs, each second", &subscribing),
        count("a publisher wakes", publishing.waits),
        count("heartbeats", TIME.as_secs_f64() / MAINTENANCE_INTERVAL.as_secs_f64()),
        time("a publisher runs, each second", &publishing),
    ]
}

/// The kernel's counters of a process.
struct Usage {
    waits: f64,
    ran_ns: f64,
}

impl Usage {
    fn of(process: u32) -> Self {
        let mut usage = Self { waits: 0.0, ran_ns: 0.0 };
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its process");
        for task in tasks {
            let task = task.expect("a task").path();
            let read = |file| std::fs::read_to_string(task.join(file)).expect("a live task");
            let status = read("status");
            let waits =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            usage.waits += number(waits);
            usage.ran_ns += number(read("schedstat").split(' ').next());
        }
        usage
    }

    fn since(&self, before: &Self) -> Self {
        Self { waits: self.waits - before.waits, ran_ns: self.ran_ns - before.ran_ns }
    }
}

fn number(text: Option<&str>) -> f64 {
    let number = text.and_then(|text| text.trim().parse().ok());
    number.expect("a number of the kernel")
}

/// Says that it is well, as often as it should, until its stdin ends.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let mut publisher = publish(&arguments[0], ROWS);
    println!("ready");
    let stdin = std::io::stdin();
    let interval = PollTimeout::try_from(MAINTENANCE_INTERVAL).expect("a second");
    let mut ended = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    while poll(&mut ended, interval).expect("its stdin") == 0 {
        publisher.maintain().expect("a live table");
    }
    publisher.close().expect("a live table");
}

/// Sleeps until the table is closed.
pub fn subscriber(arguments: &[String]) {
    pin(THERE);
    let builder = Subscriber::<Row>::builder(&arguments[0]).recheck(RECHECK);
    let mut subscriber = builder.open().expect("it is published");
    let sleeper = spawn(move || {
        while !matches!(subscriber.publisher_state(), PublisherState::Closed { .. }) {
            subscriber.wait(None).expect("a whole table");
        }
    });
    serve(|_| String::new());
    sleeper.join().expect("it ended well");
}
