//! From a commit to its rows in the hands of another process: asleep, and spinning.
//!
//! Each round the sender writes the time into what it sends; the receiver subtracts it from its own, of the same clock, once it
//! holds the row. The sender waits until it does, and then until the receiver is surely asleep again.

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Publisher, Subscriber};
use iceoryx2::prelude::*;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};

use super::read::publish;
use super::{Case, bar, bar_p99, unique};
use crate::measure::{Figure, pin};
use crate::other::{HERE, Other, THERE};
use crate::peers::blackboard::{Blackboard, Kind};
use crate::peers::plain::Plain;
use crate::row::Row;

const ROUNDS: usize = 2_000;
/// How long a receiver has to fall asleep again.
const PAUSE: Duration = Duration::from_micros(300);
const ROWS: usize = 1_000;
/// The same, of one that spins.
const SHORT_PAUSE: Duration = Duration::from_micros(50);
/// How long the sender sleeps between two looks at whether a round is over.
const POLL: Duration = Duration::from_micros(20);
/// The words of the plain mapping.
const SENT: usize = 0;
/// See [`SENT`].
const RECEIVED: usize = 1;
/// How many rows change in a round while the receiver spins.
const CHANGES: u64 = 10;

/// The receiver sleeps.
pub const PARKED: Case = Case {
    name: "wake",
    about: "from a commit to the row in a process that slept, and what sending costs; ns",
    run: parked,
    bars: &[
        bar("commit to applied", "bare queue and a shared row", 1.15),
        bar_p99("commit to applied", "bare queue and a shared row", 1.15),
        bar("commit to applied", "iceoryx2 event and blackboard", 1.0),
        bar("commit, by the sender", "bare send, by the sender", 1.1),
    ],
};

/// The receiver spins.
pub const SPINNING: Case = Case {
    name: "spin",
    about: "from a commit of ten rows to all of them in a process that spins; ns",
    run: spinning,
    bars: &[bar(
        "commit to applied",
        "bare exchange of the same lines",
        3.0,
    )],
};

fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has it");
    Duration::from(time).as_nanos() as u64
}

/// Says that it is ready, receives in every round, and says how long each took.
fn receive(plain: &Plain, mut receive: impl FnMut() -> u64) {
    println!("ready");
    let taken: Vec<u64> = (1..=ROUNDS)
        .map(|round| {
            let sent = receive();
            let taken = now() - sent;
            plain
                .signal(RECEIVED)
                .store(round as u64, Ordering::Release);
            taken
        })
        .collect();
    println!("{}", serde_json::to_string(&taken).expect("numbers"));
}

/// What is sent to, and where it says that it has received.
struct Receiver<'p> {
    process: Other,
    plain: &'p Plain,
    pause: Duration,
}

impl<'p> Receiver<'p> {
    fn start(role: &str, name: &str, path: &Path, plain: &'p Plain, pause: Duration) -> Self {
        plain.signal(RECEIVED).store(0, Ordering::Relaxed);
        plain.signal(SENT).store(0, Ordering::Relaxed);
        let arguments = [name.to_owned(), path.display().to_string()];
        let process = Other::start(role, &arguments);
        Self {
            process,
            plain,
            pause,
        }
    }

    /// How long receiving took in each round, and what sending cost.
    fn measure(mut self, subject: &str, sender: &str, mut send: impl FnMut()) -> [Figure; 2] {
        let mut cost = Vec::with_capacity(ROUNDS);
        for round in 1..=ROUNDS {
            std::thread::sleep(self.pause);
            let start = Instant::now();
            send();
            cost.push(start.elapsed().as_nanos() as f64);
            while self.plain.signal(RECEIVED).load(Ordering::Acquire) < round as u64 {
                std::thread::sleep(POLL);
            }
        }
        let taken: Vec<f64> = serde_json::from_str(&self.process.answer()).expect("numbers");
        [Figure::of(subject, taken), Figure::of(sender, cost)]
    }
}

fn parked() -> Vec<Figure> {
    pin(HERE);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, ROWS);
    let start = |role, name: &str| Receiver::start(role, name, &path, &plain, PAUSE);
    let mut figures = Vec::new();

    let name = unique("wake");
    let mut publisher = publish(&name, ROWS);
    let receiver = start("wake-tablecast", &name);
    publisher.maintain().expect("a live table");
    figures.extend(
        receiver.measure("commit to applied", "commit, by the sender", || {
            commit(&mut publisher, 1);
        }),
    );
    publisher.close().expect("a live table");

    let queue = format!("/{}", unique("wake"));
    let receiver = start("wake-queue", &queue);
    let to = open_queue(&queue, MQ_OFlag::O_WRONLY);
    let (subject, sender) = ("bare queue and a shared row", "bare send, by the sender");
    figures.extend(receiver.measure(subject, sender, || {
        plain.write(0, &Row::new(0, now()));
        mq_send(&to, &[1], 0).expect("room");
    }));
    mq_unlink(CString::new(queue).expect("no zero").as_c_str()).expect("its own");

    let board = Blackboard::create(&name, (0..ROWS as u64).map(|key| Row::new(key, 1)));
    let writer = board.writer();
    let entry = writer.entry::<Row>(&0).expect("the key");
    let node = NodeBuilder::new().create::<Kind>().expect("a node");
    let event_name = name.as_str().try_into().expect("a name");
    let event = node
        .service_builder(&event_name)
        .event()
        .open_or_create()
        .expect("an event");
    let notifier = event.notifier_builder().create().expect("a notifier");
    let receiver = start("wake-blackboard", &name);
    let (subject, sender) = ("iceoryx2 event and blackboard", "iceoryx2, by the sender");
    figures.extend(receiver.measure(subject, sender, || {
        entry.update_with_copy(Row::new(0, now()));
        notifier.notify().expect("a listener");
    }));
    figures
}

fn commit(publisher: &mut Publisher<Row>, changes: u64) {
    let mut tx = publisher.begin();
    let sent = now();
    for key in 0..changes {
        tx.upsert(&Row::new(key, sent)).expect("room");
    }
    tx.commit().expect("room");
}

/// Name and plain mapping of a receiver, on its core.
fn receiver(arguments: &[String]) -> (&str, Plain) {
    pin(THERE);
    let [name, path] = arguments else {
        panic!("name, path")
    };
    (name, Plain::open(Path::new(path), ROWS))
}

/// Sleeps till rows change.
pub fn tablecast(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
    subscriber
        .wait(Some(Duration::from_millis(1)))
        .expect("a live table");
    receive(&plain, || {
        while subscriber.wait(None).expect("a live table").is_empty() {}
        subscriber.get(&0).expect("the row").a
    });
}

fn open_queue(name: &str, access: MQ_OFlag) -> MqdT {
    let name = CString::new(name).expect("no zero");
    let attributes = MqAttr::new(0, 1, 1, 0);
    let flags = access | MQ_OFlag::O_CREAT;
    mq_open(
        name.as_c_str(),
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
        Some(&attributes),
    )
    .expect("a queue")
}

/// Sleeps in a bare queue.
pub fn queue(arguments: &[String]) {
    let (queue, plain) = receiver(arguments);
    let queue = open_queue(queue, MQ_OFlag::O_RDONLY);
    receive(&plain, || {
        mq_receive(&queue, &mut [0], &mut 0).expect("a message");
        plain.read(0)[1]
    });
}

/// Sleeps in an event, and reads a blackboard.
pub fn blackboard(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let board = Blackboard::open(name);
    let reader = board.reader();
    let entry = reader.entry::<Row>(&0).expect("the key");
    let node = NodeBuilder::new().create::<Kind>().expect("a node");
    let name = name.try_into().expect("a name");
    let event = node
        .service_builder(&name)
        .event()
        .open_or_create()
        .expect("an event");
    let listener = event.listener_builder().create().expect("a listener");
    let mut last = 1;
    receive(&plain, || {
        while entry.get().a == last {
            listener.blocking_wait(|_| ()).expect("an event");
        }
        last = entry.get().a;
        last
    });
}

fn spinning() -> Vec<Figure> {
    pin(HERE);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let plain = Plain::open(&path, ROWS);
    let start = |role, name: &str| Receiver::start(role, name, &path, &plain, SHORT_PAUSE);
    let name = unique("spin");
    let mut publisher = publish(&name, ROWS);
    let mut figures = Vec::new();
    let receiver = start("spin-tablecast", &name);
    figures.extend(
        receiver.measure("commit to applied", "commit, by the sender", || {
            commit(&mut publisher, CHANGES);
        }),
    );
    publisher.close().expect("a live table");

    let receiver = start("spin-lines", &name);
    let mut round = 0;
    let (subject, sender) = (
        "bare exchange of the same lines",
        "bare stores, by the sender",
    );
    figures.extend(receiver.measure(subject, sender, || {
        round += 1;
        let sent = now();
        for key in 0..CHANGES {
            plain.write(key as usize, &Row::new(key, sent));
        }
        plain.signal(SENT).store(round, Ordering::Release);
    }));
    figures
}

/// Looks all the time.
pub fn spinning_tablecast(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
    receive(&plain, || {
        while subscriber.refresh().expect("a live table").is_empty() {
            std::hint::spin_loop();
        }
        subscriber.get(&0).expect("the row").a
    });
}

/// Looks at a word all the time.
pub fn spinning_lines(arguments: &[String]) {
    let (_, plain) = receiver(arguments);
    let mut round = 0;
    receive(&plain, || {
        round += 1;
        while plain.signal(SENT).load(Ordering::Acquire) < round {
            std::hint::spin_loop();
        }
        let rows: [_; CHANGES as usize] = std::array::from_fn(|key| plain.read(key));
        std::hint::black_box(rows)[0][1]
    });
}
