//! From a commit of ten rows to all of them in the hands of a process that spins.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Subscriber;

use super::read::publish;
use super::wake::rounds::{Receiver, SENT, receive};
use super::wake::{ROWS, commit, receiver::receiver};
use super::{Case, bar, now, unique};
use crate::machine::pin;
use crate::measure::Figure;
use crate::other::HERE;
use crate::peers::plain::Plain;
use crate::row::Row;

/// Time for the receiver to finish a round.
const PAUSE: Duration = Duration::from_micros(50);
/// Number of rows that change in a round.
const CHANGES: u64 = 10;

/// The receiver spins.
pub const SPINNING: Case = Case {
    name: "spin",
    about: "from a commit of ten rows to all of them in a process that spins on the other core",
    run,
    bars: &[bar("commit to applied", "bare exchange of the same lines", 3.0)],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, ROWS);
    let start = |role, name: &str| Receiver::start(role, name, &path, &plain, PAUSE);
    let name = unique("spin");

    let mut publisher = publish(&name, ROWS);
    let receiver = start("spin-tablecast", &name);
    let (subject, sender) = ("commit to applied", "commit, by the sender");
    let tablecast = receiver.measure(subject, sender, || commit(&mut publisher, CHANGES));
    publisher.close().expect("a live table");

    let receiver = start("spin-lines", &name);
    let mut round = 0;
    let (subject, sender) = ("bare exchange of the same lines", "bare stores, by the sender");
    let lines = receiver.measure(subject, sender, || {
        round += 1;
        let sent = now();
        for key in 0..CHANGES {
            plain.write(key as usize, &Row::new(key, sent));
        }
        plain.signal(SENT).store(round, Ordering::Release);
    });
    tablecast.into_iter().chain(lines).collect()
}

/// Looks all the time.
pub fn tablecast(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
    receive(&plain, || {
        while subscriber.refresh().expect("a live table").is_empty() {
            spin_loop();
        }
        subscriber.get(&0).expect("the row").a
    });
}

/// Looks at a word all the time.
pub fn lines(arguments: &[String]) {
    let (_, plain) = receiver(arguments);
    let mut round = 0;
    receive(&plain, || {
        round += 1;
        while plain.signal(SENT).load(Ordering::Acquire) < round {
            spin_loop();
        }
        let rows: [_; CHANGES as usize] = std::array::from_fn(|key| plain.read(key));
        black_box(rows)[0][1]
    });
}
