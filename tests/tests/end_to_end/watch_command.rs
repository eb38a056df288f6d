//! `watch NAME -- COMMAND…`: the input of the command, one run at a time, and failures of the
//! command.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::lines;
use tests::serving::Serving;
use tests::table::Table;
use tests::terminal::{start_at, terminal};
use tests::until;

const FIELDS: &str = "id:u64,name:text(8)";
/// Prints the reason of the run and the input.
const TELL: &str =
    r#"echo "$TABLECAST_EVENT $TABLECAST_VERSION $TABLECAST_CHANGES $TABLECAST_PUBLISHER"; cat"#;

fn row(id: u64, name: &str) -> String {
    format!(r#"{{"id":{id},"name":"{name}"}}"#)
}

/// Returns more rows than a pipe holds.
fn many() -> Vec<String> {
    let begin = r#"{"op":"begin"}"#.to_owned();
    let commit = r#"{"op":"commit"}"#.to_owned();
    let rows = (1_000..21_000).map(|id| row(id, "many"));
    [begin].into_iter().chain(rows).chain([commit]).collect()
}

fn watch(table: &Table, options: &[&str], shell: &str) -> Process {
    let mut command = subscriber();
    command.args(["watch", table.name()]).args(options).args(["--", "sh", "-c", shell]);
    Process::start(&mut command)
}

fn change(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn is_there(pid: &str) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A file that a command waits for, so that the test decides when it continues. The wait is
/// bounded.
struct Gate {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        Self { path, _folder: folder }
    }

    /// Returns the shell command that waits.
    fn wait(&self) -> String {
        let path = self.path.display();
        format!(
            "n=0; until rm '{path}' 2>/dev/null || [ $n = 2000 ]; do sleep 0.01; n=$((n + 1)); done"
        )
    }

    /// Lets one command continue.
    fn open(&self) {
        std::fs::write(&self.path, "").unwrap();
    }
}

#[test]
fn command_receives_the_lines_of_watch() {
    let table = Table::new("command");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one")]);
    let mut told = watch(&table, &[], TELL);
    let mut printed =
        Process::start(subscriber().args(["watch", table.name(), "--format", "jsonl"]));
    let mut expect = |told: &mut Process, event: &str, version: u64| {
        assert_eq!(told.line(), format!("{event} {version} 1 alive"));
        assert_eq!(told.line(), printed.line());
    };
    expect(&mut told, "table", serving.version());
    for line in [
        row(2, "two"),
        r#"{"op":"update","row":{"id":1,"name":"uno"}}"#.to_owned(),
        r#"{"op":"delete","key":{"id":2}}"#.to_owned(),
    ] {
        serving.publish([line]);
        expect(&mut told, "changes", serving.version());
    }
    told.signal(Signal::SIGINT);
    told.ends_with(0);
    assert_eq!(told.stderr(), "");
}

#[test]
fn command_runs_for_empty_table_unless_postponed() {
    let table = Table::new("command-empty");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let mut told = watch(&table, &[], TELL);
    assert_eq!(told.line(), "table 1 0 alive");
    let mut postponed = watch(&table, &["--postpone", "--count", "1"], TELL);
    until("both subscribers are registered", || table.remember() == 2);
    serving.publish([row(1, "one")]);
    assert_eq!(told.line(), "changes 2 1 alive");
    postponed.ends_with(0);
    let all = postponed.stdout();
    assert!(all.starts_with("changes 2 1 alive\n"), "{all}");
    // `--once`: only the table at the start.
    let mut once = watch(&table, &["--once"], TELL);
    once.ends_with(0);
    assert!(once.stdout().starts_with("table 2 1 alive\n"));
}

#[test]
fn command_receives_state_of_dead_publisher() {
    let table = Table::new("command-dead");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one")]);
    serving.process.kill();
    let mut told = watch(&table, &["--once"], TELL);
    assert_eq!(told.line(), "table 2 1 gone");
    told.ends_with(0);
}

#[test]
fn command_runs_one_at_a_time_and_changes_are_combined() {
    let (table, gate) = (Table::new("command-slow"), Gate::new());
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one")]);
    let shell = format!("echo begin; {TELL}; {}; echo end", gate.wait());
    let mut told = watch(&table, &[], &shell);
    assert_eq!(told.line(), "begin");
    assert_eq!(told.line(), format!("table {} 1 alive", serving.version()));
    told.line();
    for name in ["a", "b", "c"] {
        serving.publish([row(1, name), row(3, name)]);
    }
    serving.publish([r#"{"op":"delete","key":{"id":3}}"#.to_owned()]);
    serving.publish([row(2, "two")]);
    let version = serving.version();
    gate.open();
    assert_eq!([told.line(), told.line()], ["end", "begin"]);
    assert_eq!(told.line(), format!("changes {version} 2 alive"));
    let mut changes = [change(&told.line()), change(&told.line())];
    changes.sort_by_key(|change| change["key"]["id"].as_u64());
    assert_eq!(changes[0]["op"], "update");
    assert_eq!(changes[0]["old"], json!({"id": 1, "name": "one"}));
    assert_eq!(changes[0]["row"], json!({"id": 1, "name": "c"}));
    assert_eq!(changes[1]["op"], "create");
    assert_eq!(changes[1]["row"], json!({"id": 2, "name": "two"}));
    gate.open();
    assert_eq!(told.line(), "end");
}

#[test]
fn command_runs_for_selected_rows_only() {
    let table = Table::new("command-view");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one"), row(2, "two")]);
    let options = ["1", "2", "--where", "name starts t", "--fields", "name"];
    let options = [options.as_slice(), &["--count", "3"]].concat();
    let mut told = watch(&table, &options, TELL);
    assert!(told.line().starts_with("table "));
    assert_eq!(change(&told.line())["row"], json!({"name": "two"}));
    // None of these rows is watched, so no command runs.
    serving.publish([row(3, "three")]);
    serving.publish([row(1, "uno")]);
    serving.publish([row(1, "tre")]);
    let version = serving.version();
    assert_eq!(told.line(), format!("changes {version} 1 alive"));
    let created =
        json!({"version": version, "op": "create", "key": {"id": 1}, "row": {"name": "tre"}});
    assert_eq!(change(&told.line()), created);
    // Of three changes in one commit, --count allows two more.
    serving.publish([
        r#"{"op":"begin"}"#.to_owned(),
        r#"{"op":"delete","key":{"id":1}}"#.to_owned(),
        r#"{"op":"delete","key":{"id":2}}"#.to_owned(),
        r#"{"op":"delete","key":{"id":3}}"#.to_owned(),
        r#"{"op":"commit"}"#.to_owned(),
    ]);
    told.ends_with(0);
    let all = told.stdout();
    let last: Vec<&str> = all.lines().skip(4).collect();
    assert_eq!(last[0], format!("changes {} 2 alive", serving.version()));
    let last = lines(&last[1..].join("\n"));
    assert!(last.iter().all(|change| change["op"] == "delete"), "{all}");
    assert_eq!(last.len(), 2);
}

#[test]
fn failed_command_is_reported_and_watch_continues() {
    let table = Table::new("command-fails");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let mut told = watch(&table, &[], "test $TABLECAST_VERSION -gt 2 || exit 7; kill -9 $$");
    told.stderr_until(|text| text.contains(r#""sh" failed at version 1: exit status: 7"#));
    serving.publish([row(1, "one")]);
    told.stderr_until(|text| text.contains("at version 2: exit status: 7"));
    serving.publish([row(2, "two")]);
    told.stderr_until(|text| text.contains("at version 3: signal: 9"));
    told.signal(Signal::SIGTERM);
    told.ends_with(0);
    assert_eq!(told.stderr().lines().count(), 3);
}

#[test]
fn watch_returns_exit_code_of_last_failed_command() {
    let table = Table::new("command-code");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    for (shell, code) in [("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 0", 0)]
    {
        let mut told = watch(&table, &["--once"], shell);
        told.ends_with(code);
        assert!(!told.stderr().contains("error"), "{}", told.stderr());
    }
    let shell = "test $TABLECAST_EVENT = changes || exit 4";
    for (options, code) in [(["--count", "1"].as_slice(), 4), (&["--count", "1", "--postpone"], 0)]
    {
        let mut told = watch(&table, options, shell);
        until("the subscriber is registered", || table.remember() == 1);
        serving.publish([row(serving.version(), "news")]);
        told.ends_with(code);
    }
    // A signal is a success, even after a failed command.
    let mut told = watch(&table, &[], "exit 3");
    told.stderr_until(|text| text.contains("exit status: 3"));
    told.signal(Signal::SIGINT);
    told.ends_with(0);
}

#[test]
fn unstartable_command_ends_watch() {
    let table = Table::new("command-absent");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let absent = "/nowhere/no such command".to_owned();
    let lost = file("lost", "#!/nowhere/interpreter\n", 0o755);
    let folder_name = folder.path().to_str().unwrap().to_owned();
    for (command, code, reason) in [
        (absent, 127, "No such file"),
        ("no-such-command-in-path".to_owned(), 127, "No such file"),
        (file("plain", "#!/bin/sh\n", 0o644), 126, "Permission denied"),
        (folder_name, 126, "Permission denied"),
        (lost.clone(), 126, "the interpreter that its first line names"),
    ] {
        for options in [["--once"].as_slice(), &["--count", "1"], &[]] {
            let mut command_line = subscriber();
            command_line.args(["watch", table.name()]).args(options);
            let mut told = Process::start(command_line.arg("--").arg(&command));
            told.ends_with(code);
            let stderr = told.stderr();
            let error = format!("error: cannot run {command:?}: ");
            assert!(stderr.contains(&error) && stderr.contains(reason), "{stderr}");
        }
    }
    // The same if the command is deleted later.
    let script = file("script", "#!/bin/sh\necho $TABLECAST_EVENT\n", 0o755);
    let mut told = Process::start(subscriber().args(["watch", table.name(), "--", &script]));
    assert_eq!(told.line(), "table");
    std::fs::remove_file(&script).unwrap();
    until("the subscriber is registered", || table.remember() == 1);
    serving.publish([row(1, "one")]);
    told.ends_with(127);
}

#[test]
fn command_need_not_read_its_stdin() {
    let table = Table::new("command-deaf");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish(many());
    // A command that ends at once, and one that closes its stdin and continues.
    for shell in ["echo $TABLECAST_EVENT", "exec <&-; echo $TABLECAST_EVENT"] {
        let mut told = watch(&table, &["--count", "1"], shell);
        assert_eq!(told.line(), "table");
        until("the subscriber is registered", || table.remember() == 1);
        serving.publish([row(serving.version(), "news")]);
        assert_eq!(told.line(), "changes");
        told.ends_with(0);
        assert_eq!(told.stderr(), "");
    }
    // A command that reads all of its input.
    let mut told = watch(&table, &["--once"], "wc -l");
    assert_eq!(told.line().trim(), "20002");
    told.ends_with(0);
}

#[test]
fn end_of_watch_ends_its_command() {
    let table = Table::new("command-endless");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish(many());
    let deaf = "echo $$; exec sleep 1000";
    let lazy = "head -c 10000 >/dev/null; echo $$; exec sleep 1000";
    let done = "cat >/dev/null; echo $$; exec sleep 1000";
    let stubborn = r#"trap "" TERM; echo $$; while :; do sleep 0.1; done"#;
    for (shell, signal) in [
        (deaf, Signal::SIGINT),
        (deaf, Signal::SIGTERM),
        (lazy, Signal::SIGINT),
        (done, Signal::SIGINT),
        (stubborn, Signal::SIGHUP),
    ] {
        let mut told = watch(&table, &[], shell);
        let pid = told.line();
        assert!(is_there(&pid));
        told.signal(signal);
        told.ends_with(0);
        assert!(!is_there(&pid), "{shell:?} still runs after {signal}");
        assert_eq!(told.stderr(), "");
    }
    // The timeout of the watch also ends the command.
    for shell in [deaf, lazy, done] {
        let mut told = watch(&table, &["--count", "1", "--timeout", "300ms"], shell);
        let pid = told.line();
        told.ends_with(1);
        assert!(!is_there(&pid), "{shell:?} still runs");
        assert!(told.stderr().contains("only 0 of 1 changes"));
    }
}

/// A shell's command that reads its changes, starts another process, prints the ids of both and
/// waits.
const WITH_CHILDREN: &str = "cat >/dev/null; sleep 1000 & echo $$ $!; wait";

/// Waits until a process is gone or a zombie.
fn until_gone(pid: &str) {
    until("the process has ended", || state_of(pid).is_none_or(|state| state == 'Z'));
}

fn signal(pid: &str, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
}

fn state_of(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Regression: the started process was ended, and its children were not.
#[test]
fn end_of_watch_ends_all_processes_of_its_command() {
    let table = Table::new("command-children");
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([row(1, "one")]);
    let orphan = "cat >/dev/null; echo $$ $(sleep 1000 >/dev/null & echo $!); sleep 1000";
    let stubborn = r#"cat >/dev/null; trap "" TERM; sleep 1000 & echo $$ $!; wait; wait"#;
    let outlived = r#"cat >/dev/null; sh -c 'trap "" TERM; sleep 1000 & wait; wait' & echo $$ $!; exec sleep 1000"#;
    let stopped = "cat >/dev/null; sleep 1000 & kill -STOP $!; echo $$ $!; kill -STOP $$";
    for (shell, signal) in [
        (WITH_CHILDREN, Signal::SIGTERM),
        (WITH_CHILDREN, Signal::SIGINT),
        (orphan, Signal::SIGTERM),
        (stubborn, Signal::SIGHUP),
        (outlived, Signal::SIGTERM),
        (stopped, Signal::SIGTERM),
    ] {
        let mut told = watch(&table, &[], shell);
        let pids = told.line();
        told.signal(signal);
        told.ends_with(0);
        for pid in pids.split(' ') {
            until_gone(pid);
        }
    }
    // Also at the timeout of the watch, and while changes are written.
    serving.publish(many());
    for shell in [WITH_CHILDREN, "sleep 1000 & echo $$ $!; wait"] {
        let mut told = watch(&table, &["--count", "100000", "--timeout", "300ms"], shell);
        let pids = told.line();
        told.ends_with(1);
        pids.split(' ').for_each(until_gone);
    }
}

/// A command that ends by itself may leave processes running, as in a shell.
#[test]
fn process_that_outlives_its_command_keeps_running() {
    let table = Table::new("command-left");
    let _serving = Serving::start(table.name(), FIELDS, &[]);
    let shell = "cat >/dev/null; sleep 1000 >/dev/null 2>&1 & echo $!";
    let mut told = watch(&table, &["--once"], shell);
    let pid = told.line();
    told.ends_with(0);
    assert!(state_of(&pid).is_some_and(|state| state != 'Z'));
    signal(&pid, Signal::SIGKILL);
}

/// In the foreground of a terminal, the command stays in the foreground process group and may read
/// from the terminal. The end of the watch still ends all processes of the command.
#[test]
fn command_in_terminal_gets_keys_and_ends_with_watch() {
    let table = Table::new("command-terminal");
    let _serving = Serving::start(table.name(), FIELDS, &[]);
    let watch = |shell: &str| {
        let mut command = subscriber();
        command.args(["watch", table.name(), "--", "sh", "-c", shell]);
        let (master, path) = terminal();
        let process = start_at(&path, &[], &command);
        (File::from(OwnedFd::from(master)), process)
    };
    let (mut keys, mut told) =
        watch("cat >/dev/null; sh -c 'echo $PPID $$; exec sleep 1000'; true");
    let pids = told.line();
    // The terminal sends signals of keys to the foreground group.
    let group = |pid: &str| {
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        nix::unistd::getpgid(Some(pid)).unwrap().to_string()
    };
    for pid in pids.split(' ') {
        assert_eq!(group(pid), told.id().to_string());
    }
    keys.write_all(b"\x03").unwrap();
    told.ends_with(0);
    pids.split(' ').for_each(until_gone);

    let (_keys, mut told) = watch(WITH_CHILDREN);
    let pids = told.line();
    told.signal(Signal::SIGTERM);
    told.ends_with(0);
    pids.split(' ').for_each(until_gone);

    let (mut keys, mut told) = watch("cat >/dev/null; read word </dev/tty; echo got $word");
    keys.write_all(b"letters\n").unwrap();
    assert_eq!(told.line(), "got letters");
    told.signal(Signal::SIGTERM);
    told.ends_with(0);
}

#[test]
fn invalid_options_of_watch_command_are_refused() {
    for arguments in [
        ["watch", "t", "--format", "csv", "--", "true"].as_slice(),
        &["watch", "t", "--postpone"],
        &["watch", "t", "--postpone", "--once", "--", "true"],
    ] {
        Process::run(subscriber().args(arguments), 2);
    }
}
