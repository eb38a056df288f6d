//! `auto` without queues: more subscribers than queues, and another IPC namespace.

use common::Publisher;
use tests::confined::{own_memory, own_queues};
use tests::kinds::KINDS;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{role, skip, until};

use super::Place;

/// The default of the kernel.
const QUEUES: u32 = 256;
const PROCESSES: usize = 10;
const SUBSCRIBERS: usize = 1000;

#[test]
fn thousand_subscribers_follow_with_256_queues() {
    if !own_memory(64 << 20) || !own_queues(QUEUES) {
        return skip("thousand_subscribers_follow_with_256_queues: no namespaces");
    }
    let table = Table::new("kinds-crowd");
    let builder = Publisher::<Item>::builder(table.name()).capacity(10).subscribers(1024);
    let mut publisher = builder.open().unwrap();
    // Each process has fewer descriptors than usual and no privileges.
    let mut crowds: Vec<Process> = (0..PROCESSES)
        .map(|_| {
            let each = SUBSCRIBERS / PROCESSES;
            let crowd = role!("kinds", "crowd", table.name(), "auto", "-", each);
            let mut limited = role!("limited", "unprivileged");
            Process::start(limited.arg(crowd.get_program()).args(crowd.get_args()))
        })
        .collect();
    for crowd in &mut crowds {
        assert_eq!(crowd.line(), "1");
    }
    for value in 0..30 {
        let version = super::commit(&mut publisher, value).to_string();
        // Each subscriber of each process has reached each commit: it was parked before or saw the
        // commit while awake.
        for crowd in &mut crowds {
            assert_eq!(crowd.line(), version);
        }
    }
    let listeners = common::inspect(table.name(), None).unwrap().subscribers.unwrap();
    let of = |kind| listeners.iter().filter(|one| one.kind == kind).count();
    println!("{} by queue, {} registered on the futex", of("mq"), of("futex"));
    assert_eq!(of("mq"), QUEUES as usize);
    assert_eq!(of("futex"), 512, "the upper half of the slots");
    // Each subscriber logs this once.
    let told: usize =
        crowds.iter().map(|crowd| crowd.stderr().matches("sleeps on the futex").count()).sum();
    assert_eq!(told, SUBSCRIBERS - QUEUES as usize);
    publisher.close().unwrap();
}

/// A publisher in another IPC namespace cannot send to a subscriber's queue, and logs that.
#[test]
fn subscriber_in_other_ipc_namespace_is_woken_by_futex() {
    let place = Place::new("kinds-container");
    let mut publisher = place.publish();
    let command = {
        let kind = KINDS[0];
        let mut command = role!("kinds", "follow", place.name());
        command.args(kind.arguments(place.directory.path()));
        command.arg("50");
        command
    };
    // The namespace belongs to this thread only.
    let inside = std::thread::spawn(|| {
        let mut command = command;
        own_queues(QUEUES).then(|| Process::start(&mut command))
    });
    let Some(mut follower) = inside.join().unwrap() else {
        return skip("subscriber_in_other_ipc_namespace_is_woken_by_futex: no IPC namespace");
    };
    follower.line();
    until("the publisher has moved the subscriber to the futex", || {
        publisher.maintain().unwrap();
        let listeners = common::inspect(place.name(), None).unwrap().subscribers;
        listeners.unwrap().iter().any(|one| one.kind == "futex")
    });
    let said = follower.stderr_until(|said| said.contains("in another container"));
    assert_eq!(said.matches("sleeps on the futex").count(), 1, "{said}");
    for value in 0..100 {
        let version = super::commit(&mut publisher, value);
        assert!(follower.line().starts_with(&format!("{version} ")));
    }
    publisher.close().unwrap();
}
