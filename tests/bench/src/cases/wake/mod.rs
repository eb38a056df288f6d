//! From a commit to its row in the hands of a process that slept.

use std::time::Duration;

use common::Publisher;
use iceoryx2::prelude::*;

use super::read::publish;
use super::{Case, bar, bar_p99, now, unique};
use crate::machine::pin;
use crate::measure::Figure;
use crate::other::HERE;
use crate::peers::blackboard::{Blackboard, Kind};
use crate::peers::plain::Plain;
use crate::peers::queue::{self, BareQueue};
use crate::row::Row;
use rounds::{Receiver, SENT};

pub mod receiver;
pub mod rounds;

/// Time for a receiver to fall asleep again.
const PAUSE: Duration = Duration::from_micros(300);
/// Rows of the table.
pub const ROWS: usize = 1_000;

/// The receiver sleeps.
pub const ASLEEP: Case = Case {
    name: "wake",
    about: "from a commit to the row in a process that slept on the other core, and what sending costs",
    run,
    bars: &[
        bar("commit to applied", "bare queue and a shared row", 1.15),
        bar_p99("commit to applied", "bare queue and a shared row", 1.15),
        bar("commit to applied", "iceoryx2 event and blackboard", 1.0),
        bar("commit, by the sender", "bare send, by the sender", 1.1),
    ],
};

fn run() -> Vec<Figure> {
    pin(HERE);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, ROWS);
    let start = |role: &str, name: &str| Receiver::start(role, name, &path, &plain, PAUSE);
    let name = unique("wake");
    [tablecast, bare_queue, bare_futex, blackboard]
        .into_iter()
        .flat_map(|way| way(&name, &plain, &start))
        .collect()
}

/// Starts a receiver in a role, with a name to meet at.
type Start<'s, 'p> = &'s dyn Fn(&str, &str) -> Receiver<'p>;

fn tablecast(name: &str, _: &Plain, start: Start<'_, '_>) -> [Figure; 2] {
    let mut publisher = publish(name, ROWS);
    let receiver = start("wake-tablecast", name);
    publisher.maintain().expect("a live table");
    let (subject, sender) = ("commit to applied", "commit, by the sender");
    let figures = receiver.measure(subject, sender, || commit(&mut publisher, 1));
    publisher.close().expect("a live table");
    figures
}

/// Commits `n` rows that contain the time.
pub fn commit(publisher: &mut Publisher<Row>, changes: u64) {
    let mut tx = publisher.begin();
    let sent = now();
    for key in 0..changes {
        tx.upsert(&Row::new(key, sent)).expect("room");
    }
    tx.commit().expect("room");
}

fn bare_queue(name: &str, plain: &Plain, start: Start<'_, '_>) -> [Figure; 2] {
    let receiver = start("wake-queue", name);
    let to = BareQueue::open(name);
    let (subject, sender) = ("bare queue and a shared row", "bare send, by the sender");
    let figures = receiver.measure(subject, sender, || {
        plain.write(0, &Row::new(0, now()));
        to.send();
    });
    queue::remove(name);
    figures
}

fn bare_futex(name: &str, plain: &Plain, start: Start<'_, '_>) -> [Figure; 2] {
    use rustix::thread::futex;
    let receiver = start("wake-futex", name);
    let (subject, sender) = ("bare futex and a shared row", "bare futex, by the sender");
    receiver.measure(subject, sender, || {
        plain.write(0, &Row::new(0, now()));
        let word = plain.half_signal(SENT);
        word.fetch_add(1, std::sync::atomic::Ordering::Release);
        futex::wake(word, futex::Flags::empty(), 1).expect("a word");
    })
}

fn blackboard(name: &str, _: &Plain, start: Start<'_, '_>) -> [Figure; 2] {
    let board = Blackboard::create(name, (0..ROWS as u64).map(|key| Row::new(key, 1)));
    let writer = board.writer();
    let entry = writer.entry::<Row>(&0).expect("the key");
    let node = NodeBuilder::new().create::<Kind>().expect("a node");
    let event_name = name.try_into().expect("a name");
    let event = node.service_builder(&event_name).event();
    let event = event.open_or_create().expect("an event");
    let notifier = event.notifier_builder().create().expect("a notifier");
    let receiver = start("wake-blackboard", name);
    let (subject, sender) = ("iceoryx2 event and blackboard", "iceoryx2, by the sender");
    receiver.measure(subject, sender, || {
        entry.update_with_copy(Row::new(0, now()));
        notifier.notify().expect("a listener");
    })
}
