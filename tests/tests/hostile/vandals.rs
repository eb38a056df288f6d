//! Another user who may read a table does all the harm that this allows. The only effect is that
//! subscribers learn of commits later, at the re-check at worst. Only root can run processes of two
//! users; other users skip these tests.

use std::fs::File;
use std::process::Command;

use common::internals::lock::{Span, try_lock, unlock};
use common::{Publisher, Subscriber};
use nix::unistd::geteuid;
use tests::clean::command;
use tests::other_user::OtherUser;
use tests::process::Process;
use tests::programs::subscriber;
use tests::script::Item;
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, role, skip, until};

/// A group without members.
const GROUP: u32 = 54_321;

/// Number of commits that are followed one by one, possibly by re-check only.
const FOLLOWED: u64 = 5;

/// Number of commits in a burst, which are not followed one by one.
const BURST: u64 = 500;

fn vandal(other_user: &OtherUser, table: &Table, harm: &str, group: u32) -> Process {
    let role = role!("vandal", table.name(), geteuid(), harm);
    let mut vandal = Process::start(&mut other_user.runs(&role, group));
    assert_eq!(vandal.line(), "begun");
    vandal
}

fn watch(table: &Table) -> Process {
    Process::start(subscriber().args(["watch", table.name(), "--format", "jsonl"]))
}

fn publish(publisher: &mut Publisher<Item>, value: u64) {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((1, 1), value)).unwrap();
    tx.commit().unwrap();
}

fn registry_id(table: &Table) -> u64 {
    common::inspect(table.name(), None).unwrap().registry_id
}

#[test]
fn vandal_delays_wake_ups_but_blocks_no_commit() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    for (harm, mode, group) in [
        ("lock", 0o644, other_user.group),
        ("scribble", 0o644, other_user.group),
        ("cut", 0o644, other_user.group),
        ("usurp", 0o644, other_user.group),
        ("all", 0o640, GROUP),
    ] {
        let table = Table::new("vandal");
        let builder = Publisher::<Item>::builder(table.name()).capacity(10);
        let mut publisher = builder.mode(mode).group(group).open().unwrap();
        publish(&mut publisher, 0);
        let mut early = watch(&table);
        early.line();
        let mut vandal = vandal(&other_user, &table, harm, group);
        let mut late = watch(&table);
        late.line();
        for value in 1..=FOLLOWED {
            publish(&mut publisher, value);
            for watch in [&mut early, &mut late] {
                let line = watch.line();
                assert!(line.contains(&format!("\"value\":{value},")), "{harm}: {line}");
            }
            publisher.maintain().unwrap();
            table.remember();
        }
        let begun = std::time::Instant::now();
        for value in 1..=BURST {
            publish(&mut publisher, FOLLOWED + value);
        }
        assert!(begun.elapsed() < LIMIT, "{harm}: {BURST} commits in {:?}", begun.elapsed());
        let mut fresh = Subscriber::<Item>::open(table.name()).unwrap();
        assert_eq!(fresh.get(&(1, 1)).unwrap().value, FOLLOWED + BURST);
        publish(&mut publisher, 0);
        until("the commit is visible", || {
            fresh.wait(Some(LIMIT)).unwrap();
            fresh.get(&(1, 1)).unwrap().value == 0
        });
        table.remember();
        vandal.finish();
        is_well_again(&table, &mut publisher);
        drop((early, late, fresh));
        table.remember();
        publisher.close().unwrap();
    }
}

/// Checks that a new subscriber is woken by each commit, without a re-check.
fn is_well_again(table: &Table, publisher: &mut Publisher<Item>) {
    publisher.maintain().unwrap();
    // The re-check interval of this role never ends.
    let mut follower = Process::start(&mut role!("follow", table.name()));
    let mut told = follower.line();
    for value in 1..=20 {
        publish(publisher, value);
        let version = publisher.version().to_string();
        while !told.starts_with(&version) {
            told = follower.line();
        }
    }
}

#[test]
fn registry_truncated_by_vandal_is_replaced() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let table = Table::new("vandal-cut");
    let builder = Publisher::<Item>::builder(table.name()).capacity(10);
    let mut publisher = builder.mode(0o644).open().unwrap();
    let before = registry_id(&table);
    table.remember();
    let mut vandal = vandal(&other_user, &table, "cut", other_user.group);
    until("the registry is replaced", || {
        publisher.maintain().unwrap();
        table.remember();
        registry_id(&table) != before
    });
    vandal.finish();
    publisher.maintain().unwrap();
    let info = common::inspect(table.name(), None).unwrap();
    assert!(info.subscribers.is_ok(), "{info:?}");
    publisher.close().unwrap();
}

#[test]
fn vandal_blocks_no_takeover() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    for (mode, group) in [("644", other_user.group), ("640", GROUP)] {
        is_taken_over(&other_user, mode, group);
    }
}

fn is_taken_over(other_user: &OtherUser, mode: &str, group: u32) {
    let table = Table::new("vandal-takeover");
    let group_id = group.to_string();
    let options = ["--mode", mode, "--group", &group_id];
    let serve = || Serving::start(table.name(), "id:u64,value:u64", &options);
    let row = |id: u64| format!(r#"{{"id":{id},"value":{id}}}"#);
    let mut publisher = serve();
    publisher.publish([row(0)]);
    let mut watch = watch(&table);
    watch.line();
    let mut vandal = vandal(other_user, &table, "all", group);
    for id in 1..=5 {
        table.remember();
        publisher.process.kill();
        let region =
            File::options().write(true).open(format!("/dev/shm/tablecast.table.{}", table.name()));
        let region = region.unwrap();
        until("the vandal has locked the region", || {
            let is_free = try_lock(&region, Span::WHOLE).unwrap();
            unlock(&region, Span::WHOLE).unwrap();
            !is_free
        });
        publisher = serve();
        publisher.publish([row(id)]);
        // All earlier rows, and the new one.
        let line = watch.line();
        assert!(line.contains(&format!(r#""op":"create","key":{{"id":{id}}}"#)), "{line}");
        assert_eq!(common::inspect(table.name(), None).unwrap().rows as u64, id + 1);
    }
    vandal.finish();
    table.remember();
    publisher.stop(nix::sys::signal::Signal::SIGTERM);
}

/// Returns a command in separate IPC and pid namespaces that shares /dev/shm.
fn contained(program: &Command) -> Command {
    let mut contained = command("unshare");
    contained.args(["--ipc", "--pid", "--fork", "--kill-child"]);
    contained.arg(program.get_program()).args(program.get_args());
    contained
}

#[test]
fn subscriber_in_other_container_follows() {
    let allowed = contained(&command("true")).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return skip("no namespaces of IPC and pids");
    }
    let table = Table::new("container");
    let mut serving = Serving::start(table.name(), "id:u64", &[]);
    let mut watch = subscriber();
    watch.args(["watch", table.name(), "--format", "jsonl"]);
    let mut watch = Process::start(&mut contained(&watch));
    for id in 0..20 {
        serving.publish([format!(r#"{{"id":{id}}}"#)]);
        let line = watch.line();
        assert!(line.contains(&format!(r#""key":{{"id":{id}}}"#)), "{line}");
    }
    // Its lock is visible across pid namespaces.
    until("the subscriber is alive and parked on the futex", || {
        let info = common::inspect(table.name(), None).unwrap();
        let subscribers = info.subscribers.unwrap();
        subscribers.len() == 1 && subscribers[0].alive && subscribers[0].kind == "futex"
    });
    serving.process.kill();
    watch.stderr_until(|stderr| stderr.contains("gone") || stderr.contains("died"));
    drop(watch);
    until("the lock of the subscriber is released", || {
        let info = common::inspect(table.name(), None).unwrap();
        info.subscribers.unwrap().iter().all(|listener| !listener.alive)
    });
}
