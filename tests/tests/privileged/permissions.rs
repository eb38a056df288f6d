//! Tables of one user, read by another. Only root can run processes of two users; other users skip
//! these tests.

use std::path::Path;

use common::{Error, Publisher, Subscriber};
use tests::other_user::OtherUser;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{programs, role, until};

/// A group without members.
const GROUP: u32 = 54_321;

fn publish(publisher: &mut Publisher<Item>, value: u64) {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((1, 1), value)).unwrap();
    tx.commit().unwrap();
}

/// Checks that the other user is woken by each commit, and that its objects are removed after its
/// death.
fn is_followed(other_user: &OtherUser, table: &Table, publisher: &mut Publisher<Item>, group: u32) {
    let mut follower = Process::start(&mut other_user.runs(&role!("follow", table.name()), group));
    let mut rows = follower.line();
    assert!(rows.contains("Alive"), "{rows}");
    for value in 1..=200 {
        publish(publisher, value);
        let version = publisher.version().to_string();
        while !rows.starts_with(&version) {
            rows = follower.line();
        }
    }
    until("the subscriber has a queue", || table.remember() == 1);
    follower.kill();
    // Root removes the objects of another user.
    publisher.maintain().unwrap();
    assert!(!table.has_queue(), "{:?}", table.orphans());
}

fn is_refused(other_user: &OtherUser, table: &Table, group: u32) {
    let mut reader = Process::start(&mut other_user.runs(&role!("read", table.name()), group));
    let line = reader.line();
    assert!(line.starts_with("refused: no permission to open"), "{line}");
    assert!(line.contains(table.name()) && line.contains("group"), "{line}");
    reader.ends_with(0);
}

#[test]
fn table_of_mode_644_is_followed_by_other_user() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let table = Table::new("everybody");
    let mut publisher =
        Publisher::<Item>::builder(table.name()).mode(0o644).capacity(3).open().unwrap();
    is_followed(&other_user, &table, &mut publisher, other_user.group);
    publisher.close().unwrap();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn table_of_mode_640_is_followed_by_group_members_only() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let table = Table::new("group");
    let builder = Publisher::<Item>::builder(table.name()).mode(0o640).group(GROUP).capacity(3);
    let mut publisher = builder.open().unwrap();
    is_followed(&other_user, &table, &mut publisher, GROUP);
    is_refused(&other_user, &table, other_user.group);
    publisher.close().unwrap();
}

#[test]
fn table_of_mode_600_names_who_may_open_it() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let table = Table::new("owner");
    let publisher = Publisher::<Item>::builder(table.name()).capacity(3).open().unwrap();
    is_refused(&other_user, &table, other_user.group);
    let mut get = programs::subscriber();
    get.args(["get", table.name()]);
    let (stdout, stderr) = Process::run(&mut other_user.runs(&get, other_user.group), 1);
    assert_eq!(stdout, "");
    assert!(stderr.contains("no permission") && stderr.contains(table.name()), "{stderr}");
    publisher.close().unwrap();
}

#[test]
fn table_of_other_user_needs_explicit_owner() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let table = Table::new("strange");
    let mut serve = programs::publisher();
    serve.args([
        "serve",
        table.name(),
        "--from",
        "-",
        "--fields",
        "group:u32,number:u32,value:u64,label:text(24)",
    ]);
    serve.args(["--key", "group,number", "--mode", "644"]);
    let mut publisher = Process::start(&mut other_user.runs(&serve, other_user.group));
    publisher.write_line(r#"{"group":1,"number":2,"value":3,"label":"x"}"#);
    until("the table exists", || {
        Path::new(&format!("/dev/shm/tablecast.table.{}", table.name())).exists()
    });
    match Subscriber::<Item>::open(table.name()).map(drop) {
        Err(Error::WrongOwner { found, expected, .. }) => {
            assert_eq!((found, expected), (other_user.user, 0));
        }
        other => panic!("{other:?}"),
    }
    let mut own = Subscriber::<Item>::builder(table.name()).owner(other_user.user).open().unwrap();
    while own.get(&(1, 2)).is_none() {
        own.wait(Some(tests::LIMIT)).unwrap();
    }
    assert_eq!(own.get(&(1, 2)).unwrap().value, 3);
    // Root may not publish under a name that another user holds.
    assert!(Publisher::<Item>::builder(table.name()).open().is_err());
    publisher.signal(nix::sys::signal::Signal::SIGTERM);
    publisher.ends_with(0);
}

#[test]
fn root_removes_dead_table_of_other_user_by_owner() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    let (table, own) = (Table::new("foreign-dead"), Table::new("foreign-own"));
    let mut serve = programs::publisher();
    let fields = ["--from", "-", "--fields", "id:u64"];
    serve.args(["serve", table.name()]).args(fields);
    let mut publisher = Process::start(&mut other_user.runs(&serve, other_user.group));
    publisher.stderr_until(|text| text.contains("publishing"));
    let _own = tests::serving::Serving::start(own.name(), "id:u64", &[]);
    let owner = other_user.user.to_string();
    let remove = |arguments: &[&str], code| {
        let mut rm = programs::publisher();
        let (_, stderr) = Process::run(rm.args(["rm", table.name()]).args(arguments), code);
        stderr
    };
    let of_owner = ["--owner", &owner];
    assert!(remove(&of_owner, 3).contains("is published by process"));
    publisher.kill();

    // Without an owner, the error names the option that helps.
    assert!(remove(&[], 1).contains(&format!("as root with --owner {owner}")));
    // `ls --owner` lists the tables of that user, and reports no problem with tables of others.
    let mut ls = programs::subscriber();
    let ls = ls.args(["ls", "--sample", "1ms", "--format", "jsonl"]);
    let (listed, _) = Process::run(ls.args(of_owner), 0);
    assert!(listed.contains(table.name()), "{listed}");
    assert!(!listed.contains(own.name()), "{listed}");
    // Another user cannot remove the table, and the error does not suggest to repeat the command.
    let mut rm = programs::publisher();
    rm.args(["rm", own.name(), "--owner", "0"]);
    let (_, stderr) = Process::run(&mut other_user.runs(&rm, other_user.group), 1);
    assert!(stderr.contains("as root with --owner"), "{stderr}");

    table.remember();
    assert!(remove(&of_owner, 0).contains("removed /tablecast.table."));
    assert_eq!(table.orphans(), Vec::<String>::new());
}
