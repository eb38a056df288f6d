//! Publishers of files and signals: SIGHUP, terminal hang-up, Ctrl-C and SIGKILL.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::Signal;
use tests::clean::command;
use tests::followed::{Followed, serve};
use tests::process::Process;
use tests::programs::subscriber;
use tests::serving::Serving;
use tests::table::Table;
use tests::terminal::{start_at, terminal};
use tests::until;

const ONE: &str = "id,name\n1,one\n";

#[test]
fn sighup_rereads_file_and_does_not_end() {
    let mut followed = Followed::start("table.csv", ONE, &[], &["1|one"]);
    followed.replace("id\n1\n1\n");
    followed.says("line 3: the key 1 ", 1);
    // The file has not changed, so a second report shows that it was read again.
    followed.process.signal(Signal::SIGHUP);
    followed.says("line 3: the key 1 ", 2);
    followed.replace("id,name\n2,two\n");
    followed.becomes(&["2|two"]);
    followed.process.signal(Signal::SIGHUP);
    followed.replace("id,name\n3,three\n");
    followed.becomes(&["3|three"]);
    followed.process.signal(Signal::SIGINT);
    followed.process.ends_with(0);
    assert_eq!(followed.table.orphans(), Vec::<String>::new());
}

fn file_of(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("table.csv");
    fs::write(&file, ONE).unwrap();
    file
}

#[test]
fn terminal_hangup_ends_the_publisher() {
    // As session leader, and as the child of a shell that is the session leader.
    for command in [[].as_slice(), &["sh", "-c", "\"$@\"; true", "sh"]] {
        let folder = tempfile::tempdir().unwrap();
        let file = file_of(folder.path());
        let table = Table::new("hangup");
        let (master, path) = terminal();
        let process = start_at(&path, command, &serve(&table, &file, &[]));
        let mut followed = Followed::of(process, table, folder, file);
        followed.becomes(&["1|one"]);
        drop(master);
        followed.process.end();
        until("the publisher has ended", || followed.table.orphans().is_empty());
        let stderr = followed.process.stderr();
        assert!(stderr.contains("is closed and removed"), "{stderr}");
    }
}

#[test]
fn nohup_publisher_survives_hangup_and_rereads_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(folder.path());
    let table = Table::new("nohup");
    let (master, path) = terminal();
    let process = start_at(&path, &["nohup"], &serve(&table, &file, &[]));
    let mut followed = Followed::of(process, table, folder, file);
    followed.becomes(&["1|one"]);
    drop(master);
    followed.replace("id\n1\n1\n");
    followed.says("line 3: the key 1 ", 1);
    followed.process.signal(Signal::SIGHUP);
    followed.says("line 3: the key 1 ", 2);
    followed.stop();
}

/// Regression: one name that is not UTF-8 in a file of /proc made the whole file count as
/// empty. A program called by such a name then did not know that it must ignore SIGHUP.
#[test]
fn nohup_works_for_program_with_name_other_than_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join(OsStr::from_bytes(b"watch\xff"));
    std::os::unix::fs::symlink(subscriber().get_program(), &name).unwrap();
    let table = Table::new("nohup-name");
    let mut serving = Serving::start(table.name(), "id:u64", &[]);
    let mut nohup = command("nohup");
    nohup.arg(&name).args(["watch", table.name(), "--format", "jsonl"]);
    let mut watch = Process::start(&mut nohup);
    until("the subscriber is registered", || table.remember() == 1);
    watch.signal(Signal::SIGHUP);
    for id in 1..3 {
        serving.publish([format!(r#"{{"id":{id}}}"#)]);
        assert!(watch.line().contains("create"));
    }
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}

/// Returns a table whose rows all have this `mark`, large enough to take a while to read.
fn large(rows: u32, mark: u32) -> String {
    let mut text = "id,mark\n".to_owned();
    (0..rows).for_each(|id| text.push_str(&format!("{id},{mark}\n")));
    text
}

#[test]
fn ctrl_c_ends_first_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    let table = Table::new("first");
    fs::write(&file, large(3_000_000, 0)).unwrap();
    let mut process = Process::start(&mut serve(&table, &file, &[]));
    // The program has installed its signal handlers before it starts threads.
    let threads = format!("/proc/{}/task", process.id());
    until("the file is being read", || fs::read_dir(&threads).is_ok_and(|tasks| tasks.count() > 2));
    process.signal(Signal::SIGINT);
    process.ends_with(0);
    let stderr = process.stderr();
    assert!(stderr.contains("nothing is published") || stderr.contains("is closed"), "{stderr}");
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\r'), "{stderr}");
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn sigterm_ends_publisher_during_long_read() {
    let mut followed = Followed::start("table.csv", &large(1, 0), &[], &["0|0"]);
    followed.replace(&large(3_000_000, 1));
    let threads = format!("/proc/{}/task", followed.process.id());
    until("the file is being read", || {
        let tasks = fs::read_dir(&threads).unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.into_iter().any(|name| name.trim() == "reader")
    });
    // After it continues, most of the file is still unread, even on a slow machine.
    followed.process.signal(Signal::SIGSTOP);
    followed.process.signal(Signal::SIGTERM);
    followed.process.signal(Signal::SIGCONT);
    followed.process.ends_with(0);
    let stderr = followed.process.stderr();
    assert!(stderr.contains("rows: 1, versions of the file taken: 1,"), "{stderr}");
    assert_eq!(followed.table.orphans(), Vec::<String>::new());
}

#[test]
fn publisher_killed_during_reread_loses_nothing() {
    const ROWS: u32 = 20_000;
    let mut followed = Followed::begin("table.csv", &large(ROWS, 0), &[]);
    for mark in 1..12 {
        until("the table is published", || {
            followed.subscriber.refresh().unwrap();
            one_mark(&followed, ROWS) == Some(mark - 1)
        });
        followed.replace(&large(ROWS, mark));
        // At a different moment each time: before, during and after the read.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(mark) * 8));
        followed.process.kill();
        followed.subscriber.refresh().unwrap();
        let seen = one_mark(&followed, ROWS);
        assert!(seen == Some(mark - 1) || seen == Some(mark), "{seen:?} of {mark}");
        followed.process = Process::start(&mut serve(&followed.table, followed.file(), &[]));
    }
    let pid = followed.process.id();
    until("the table is published", || {
        followed.subscriber.refresh().unwrap();
        let info = common::inspect(followed.table.name(), None).unwrap();
        one_mark(&followed, ROWS) == Some(11) && info.publisher_pid == pid
    });
    followed.stop();
}

/// Returns the mark that all rows have, if there are `rows` rows or none.
fn one_mark(followed: &Followed, rows: u32) -> Option<u32> {
    let marks: Vec<u64> = followed
        .subscriber
        .iter()
        .map(|row| match row.value(1) {
            common::Value::U64(mark) => mark,
            other => panic!("{other}"),
        })
        .collect();
    let first = u32::try_from(*marks.first()?).ok()?;
    let are_one = marks.iter().all(|mark| *mark == u64::from(first));
    assert!(are_one && marks.len() == rows as usize, "a partly visible commit");
    Some(first)
}
