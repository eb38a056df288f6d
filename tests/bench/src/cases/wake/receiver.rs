//! The processes that sleep, a way each.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Subscriber;
use iceoryx2::prelude::*;
use rustix::thread::futex;

use super::ROWS;
use super::rounds::{SENT, receive};
use crate::machine::pin;
use crate::other::THERE;
use crate::peers::blackboard::{Blackboard, Kind};
use crate::peers::plain::Plain;
use crate::peers::queue::BareQueue;
use crate::row::Row;

/// Name and plain mapping of a receiver, on its core.
pub fn receiver(arguments: &[String]) -> (&str, Plain) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    (name, Plain::open(Path::new(path), ROWS))
}

/// Sleeps till rows change.
pub fn tablecast(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let mut subscriber = Subscriber::<Row>::open(name).expect("it is published");
    let once = subscriber.wait(Some(Duration::from_millis(1)));
    once.expect("a live table");
    receive(&plain, || {
        while subscriber.wait(None).expect("a live table").is_empty() {}
        subscriber.get(&0).expect("the row").a
    });
}

/// Sleeps in a bare queue.
pub fn queue(arguments: &[String]) {
    let (name, plain) = receiver(arguments);
    let queue = BareQueue::open(name);
    receive(&plain, || {
        queue.receive();
        plain.read(0)[1]
    });
}

/// Sleeps at a word.
pub fn futex(arguments: &[String]) {
    let (_, plain) = receiver(arguments);
    let word = plain.half_signal(SENT);
    let mut seen = 0;
    receive(&plain, || {
        while word.load(Ordering::Acquire) == seen {
            // It has changed already, or somebody woke it: looked at again in either case.
            let _woken = futex::wait(word, futex::Flags::empty(), seen, None);
        }
        seen += 1;
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
    let event = node.service_builder(&name).event();
    let event = event.open_or_create().expect("an event");
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
