//! Many subscribers in one process, or their substitutes: awake, parked, or asleep in bare queues.
//!
//! Each sleeper has its own thread. After it received, it increments a counter that the sender
//! reads.

use std::hint::spin_loop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use common::{PublisherState, Subscriber};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::machine::{pin, raise_open_files};
use crate::other::{THERE, serve};
use crate::peers::plain::Plain;
use crate::peers::queue::BareQueue;
use crate::row::Row;

/// Index of the word that counts the receivers.
pub const RECEIVED: usize = 1;
/// Duration of the work of a sleeper, if it works: about the time that a subscriber takes to copy a
/// row.
const WORK: Duration = Duration::from_micros(2);
/// Stack size of a sleeper's thread. There may be a thousand.
const STACK: usize = 256 << 10;

/// Subscribers of table `name`, each registered by going to sleep once, and awake since.
pub fn awake(arguments: &[String]) {
    pin(THERE);
    raise_open_files();
    let [name, count] = arguments else { panic!("name, count") };
    let count: usize = count.parse().expect("a number");
    let registered = |_| {
        let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
        let slept = subscriber.wait(Some(Duration::ZERO));
        slept.expect("a live table");
        subscriber.refresh().expect("a live table");
        subscriber
    };
    let subscribers: Vec<_> = (0..count).map(registered).collect();
    serve(|_| subscribers.len().to_string());
}

/// The counter of the crowd, and its size.
fn crowd(arguments: &[String]) -> (&str, Arc<Plain>, usize) {
    pin(THERE);
    raise_open_files();
    let [name, path, count, ..] = arguments else { panic!("name, path, count") };
    let plain = Arc::new(Plain::open(Path::new(path), 0));
    (name, plain, count.parse().expect("a number"))
}

fn spawn(sleeper: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(sleeper).expect("a thread")
}

fn received(plain: &Plain) {
    plain.signal(RECEIVED).fetch_add(1, Ordering::Release);
}

/// Subscribers that sleep till rows change, until the table is closed.
pub fn parked(arguments: &[String]) {
    let (name, plain, count) = crowd(arguments);
    let sleepers: Vec<_> = (0..count)
        .map(|_| {
            let (name, plain) = (name.to_owned(), Arc::clone(&plain));
            spawn(move || {
                let mut subscriber = Subscriber::<Row>::open(&name).expect("it is published");
                while !matches!(subscriber.publisher_state(), PublisherState::Closed { .. }) {
                    if !subscriber.wait(None).expect("a whole table").is_empty() {
                        received(&plain);
                    }
                }
            })
        })
        .collect();
    serve(|_| String::new());
    for sleeper in sleepers {
        sleeper.join().expect("it ended well");
    }
}

/// Sleepers in bare queues: in the queue itself, or, to `work` as a subscriber does, in an epoll
/// instance over it and not at once asleep again.
pub fn queues(arguments: &[String]) {
    let (name, plain, count) = crowd(arguments);
    let works = arguments[3] == "work";
    for at in 0..count {
        let (queue, plain) = (BareQueue::open(&format!("{name}-{at}")), Arc::clone(&plain));
        // They end with the process.
        let _sleeper = spawn(move || {
            let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll instance");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
            epoll.add(queue.descriptor(), event).expect("a queue");
            loop {
                if works {
                    let mut events = [EpollEvent::empty()];
                    let waited = epoll.wait(&mut events, EpollTimeout::NONE);
                    waited.expect("a descriptor");
                }
                queue.receive();
                received(&plain);
                let begun = Instant::now();
                while works && begun.elapsed() < WORK {
                    spin_loop();
                }
            }
        });
    }
    serve(|_| String::new());
}
