//! Publishers of files and signals: SIGHUP reads again, the terminal's hang-up and Ctrl-C end, and death loses nothing.

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
fn sighup_reads_again_and_does_not_end() {
    let mut followed = Followed::start("table.csv", ONE, &[], &["1|one"]);
    followed.replace("id\n1\n1\n");
    followed.says("line 3: the key 1 ", 1);
    // Nothing has changed, so this is told again only if it was read again.
    followed.process.signal(Signal::SIGHUP);
    followed.says("line 3: the key 1 ", 2);
    followed.replace("id,name\n2,two\n");
    followed.becomes(&["2|two"]);
    followed.process.signal(Signal::SIGHUP);
    followed.replace("id,name\n3,three\n");
    followed.becomes(&["3|three"]);
    followed.process.signal(Signal::SIGINT);
    followed.process.ends_with(0);
    assert_eq!(followed.table.leftovers(), Vec::<String>::new());
}

fn file_of(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("table.csv");
    fs::write(&file, ONE).unwrap();
    file
}

#[test]
fn the_hangup_of_the_terminal_is_the_end() {
    // As the session's leader, and as the child of a shell that is.
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
        until("it has ended", || followed.table.leftovers().is_empty());
        let stderr = followed.process.stderr();
        assert!(stderr.contains("is closed and removed"), "{stderr}");
    }
}

#[test]
fn nohup_outlives_the_terminal_and_still_reads_again() {
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

/// Kind of defect: one name that is not UTF-8 in a file of /proc made the whole file count as empty. A program that is called by
/// such a name then did not know that it is to ignore SIGHUP.
#[test]
fn nohup_works_for_a_program_whose_name_is_not_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join(OsStr::from_bytes(b"watch\xff"));
    std::os::unix::fs::symlink(subscriber().get_program(), &name).unwrap();
    let table = Table::new("nohup-name");
    let mut serving = Serving::start(table.name(), "id:u64", &[]);
    let mut nohup = command("nohup");
    nohup
        .arg(&name)
        .args(["watch", table.name(), "--format", "jsonl"]);
    let mut watch = Process::start(&mut nohup);
    until("it follows", || table.remember() == 1);
    watch.signal(Signal::SIGHUP);
    for id in 1..3 {
        serving.publish([format!(r#"{{"id":{id}}}"#)]);
        assert!(watch.line().contains("create"));
    }
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}

/// A table whose rows all bear `mark`, large enough to take a while.
fn large(rows: u32, mark: u32) -> String {
    let mut text = "id,mark\n".to_owned();
    (0..rows).for_each(|id| text.push_str(&format!("{id},{mark}\n")));
    text
}

#[test]
fn ctrl_c_ends_a_first_reading() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    let table = Table::new("first");
    fs::write(&file, large(3_000_000, 0)).unwrap();
    let mut process = Process::start(&mut serve(&table, &file, &[]));
    // It has taken its signals over once it is threads.
    let threads = format!("/proc/{}/task", process.id());
    until("it reads", || {
        fs::read_dir(&threads).is_ok_and(|tasks| tasks.count() > 2)
    });
    process.signal(Signal::SIGINT);
    process.ends_with(0);
    let stderr = process.stderr();
    assert!(
        stderr.contains("nothing is published") || stderr.contains("is closed"),
        "{stderr}"
    );
    assert!(
        !stderr.contains('\u{1b}') && !stderr.contains('\r'),
        "{stderr}"
    );
    assert_eq!(table.leftovers(), Vec::<String>::new());
}

#[test]
fn a_long_reading_does_not_hold_up_the_end() {
    let mut followed = Followed::start("table.csv", &large(1, 0), &[], &["0|0"]);
    followed.replace(&large(3_000_000, 1));
    let threads = format!("/proc/{}/task", followed.process.id());
    until("it reads", || {
        let tasks = fs::read_dir(&threads).unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.into_iter().any(|name| name.trim() == "reader")
    });
    // Whatever this machine is busy with, there is much left to be read when it goes on.
    followed.process.signal(Signal::SIGSTOP);
    followed.process.signal(Signal::SIGTERM);
    followed.process.signal(Signal::SIGCONT);
    followed.process.ends_with(0);
    let stderr = followed.process.stderr();
    assert!(
        stderr.contains("rows: 1, versions of the file taken: 1,"),
        "{stderr}"
    );
    assert_eq!(followed.table.leftovers(), Vec::<String>::new());
}

#[test]
fn killed_while_it_reads_again_it_loses_nothing() {
    const ROWS: u32 = 20_000;
    let mut followed = Followed::begin("table.csv", &large(ROWS, 0), &[]);
    for mark in 1..12 {
        until("it is published", || {
            followed.subscriber.refresh().unwrap();
            one_mark(&followed, ROWS) == Some(mark - 1)
        });
        followed.replace(&large(ROWS, mark));
        // At another moment each time: before, in and after the reading.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(mark) * 8));
        followed.process.kill();
        followed.subscriber.refresh().unwrap();
        let seen = one_mark(&followed, ROWS);
        assert!(
            seen == Some(mark - 1) || seen == Some(mark),
            "{seen:?} of {mark}"
        );
        followed.process = Process::start(&mut serve(&followed.table, followed.file(), &[]));
    }
    let pid = followed.process.id();
    until("it is published", || {
        followed.subscriber.refresh().unwrap();
        let info = common::inspect(followed.table.name(), None).unwrap();
        one_mark(&followed, ROWS) == Some(11) && info.publisher_pid == pid
    });
    followed.stop();
}

/// The mark that all rows bear, if there are none or that many.
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
    assert!(
        are_one && marks.len() == rows as usize,
        "a commit was seen half"
    );
    Some(first)
}
