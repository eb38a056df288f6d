//! `publisher serve NAME --from command`: the table of each run, failed runs, and the end of the
//! command's processes.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tests::followed::Followed;
use tests::process::Process;
use tests::programs::publisher;
use tests::table::Table;
use tests::until;

const ONE: &str = "  ID NAME  Mounted on\n   1 one   /\n   2 two   /a b\n";

/// Prints the file `table`, or does what the file `instead` says.
const SCRIPT: &str = "if [ -e instead ]; then . ./instead; else cat table; fi";

/// Starts a command in a folder that has the file `table`, and waits for its first rows.
fn start(content: &str, options: &[&str], rows: &[&str]) -> Followed {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table");
    fs::write(&file, content).unwrap();
    let table = Table::new("command");
    let mut command = publisher();
    command
        .args(["serve", table.name(), "--from", "command", "--every", "20ms"])
        .args(options)
        .args(["--", "sh", "-c", SCRIPT])
        .current_dir(folder.path());
    let process = Process::start(&mut command);
    let mut followed = Followed::of(process, table, folder, file);
    followed.becomes(rows);
    followed
}

/// Makes the next runs do something else.
fn instead(followed: &Followed, script: &str) {
    let new = followed.folder().join("new");
    fs::write(&new, script).unwrap();
    fs::rename(new, followed.folder().join("instead")).unwrap();
}

/// Returns the process ids that the script wrote to the file `pids`.
fn pids(followed: &Followed, count: usize) -> Vec<PathBuf> {
    let mut pids = Vec::new();
    until("the processes run", || {
        let text = fs::read_to_string(followed.folder().join("pids")).unwrap_or_default();
        pids = text.lines().map(|pid| Path::new("/proc").join(pid)).collect();
        pids.len() >= count && text.ends_with('\n')
    });
    pids
}

#[test]
fn output_of_each_run_is_the_table() {
    let mut followed = start(ONE, &[], &["1|one|/", "2|two|/a b"]);
    let schema = followed.subscriber.schema().to_string();
    assert_eq!(schema, "ID:u64,NAME:text(8),Mounted_on:text(8)");
    let version = followed.version();
    followed.replace("ID NAME Mounted on\n2 two /a b\n3 three /\n4 four /\n");
    followed.becomes(&["2|two|/a b", "3|three|/", "4|four|/"]);
    assert_eq!(followed.version(), version + 1, "the differences are one commit");
    followed.stop();
    let fields = ["--format", "jsonl", "--fields", "id:u64"];
    start("{\"id\":1,\"n\":2}\n", &fields, &["1"]).stop();
    start("id,n\n1,2\n", &["--format", "csv"], &["1|2"]).stop();
}

#[test]
fn failed_run_keeps_the_rows_and_is_reported_once_per_streak() {
    let rows = ["1|one|/", "2|two|/a b"];
    let mut followed = start(ONE, &["--timeout", "500ms"], &rows);
    let version = followed.version();
    for (script, reason) in [
        (
            "echo run >> runs; echo ID; echo why >&2; exit 7",
            "exit status: 7, its stderr ends with: why",
        ),
        ("echo run >> runs; printf 'ID NAME\\n1 \\377\\n'", "not UTF-8"),
        ("echo run >> runs; kill -9 $$", "signal: 9"),
        ("echo run >> runs; sleep 1000", "did not end within 500ms"),
    ] {
        let _first = fs::remove_file(followed.folder().join("runs"));
        instead(&followed, script);
        followed.says(reason, 1);
        until("the command has failed again", || {
            let runs = fs::read_to_string(followed.folder().join("runs")).unwrap_or_default();
            runs.lines().count() >= 3
        });
        followed.says(reason, 1);
        assert_eq!(followed.version(), version);
        fs::remove_file(followed.folder().join("instead")).unwrap();
        let again = followed.process.stderr().matches("read again, rows: 2").count() + 1;
        followed.says("read again, rows: 2", again);
    }
    followed.stop();
}

#[test]
fn no_process_of_the_command_is_left() {
    // After the timeout, also of processes that ignore SIGTERM.
    let mut followed = start(ONE, &["--timeout", "300ms"], &["1|one|/", "2|two|/a b"]);
    let stubborn = "trap '' TERM; sleep 1000 & echo $! >> pids; echo $$ >> pids; wait; sleep 1000";
    instead(&followed, stubborn);
    let timed_out = pids(&followed, 2);
    followed.says("did not end within 300ms", 1);
    until("no process is left", || timed_out[..2].iter().all(|pid| !pid.exists()));
    followed.stop();
    // After the end of the command, although a process of it holds its stdout.
    let mut followed = start(ONE, &[], &["1|one|/", "2|two|/a b"]);
    instead(&followed, "sleep 1000 & echo $! >> pids; echo ID NAME P; echo 3 three /");
    followed.becomes(&["3|three|/"]);
    let background = pids(&followed, 1);
    until("no process is left", || !background[0].exists());
    // At the end of the publisher.
    fs::remove_file(followed.folder().join("pids")).unwrap();
    instead(&followed, "sleep 1000 & echo $! >> pids; echo $$ >> pids; wait");
    let running = pids(&followed, 2);
    followed.stop();
    let running = &running[running.len() - 2..];
    until("no process is left", || running.iter().all(|pid| !pid.exists()));
}

#[test]
fn runs_do_not_overlap() {
    let mut followed = start(ONE, &[], &["1|one|/", "2|two|/a b"]);
    let exclusive =
        "mkdir run || echo overlap >> overlaps; sleep 0.1; rmdir run; echo run >> runs; cat table";
    instead(&followed, exclusive);
    until("the command has run", || {
        let runs = fs::read_to_string(followed.folder().join("runs")).unwrap_or_default();
        runs.lines().count() >= 5
    });
    assert!(!followed.folder().join("overlaps").exists());
    followed.process.signal(Signal::SIGTERM);
    followed.process.ends_with(0);
}

#[test]
fn first_run_and_strict_runs_must_succeed() {
    let table = Table::new("command-fails");
    let run = |options: &[&str], command: &[&str], code: i32| {
        let mut serve = publisher();
        serve.args(["serve", table.name(), "--from", "command", "--exit-at-eof"]).args(options);
        Process::run(serve.arg("--").args(command), code).1
    };
    for (command, reason) in [
        (&["false"][..], "false: it failed with exit status: 1"),
        (&["no-such-command"], "cannot run \"no-such-command\""),
        (&["head", "-c", "70000000", "/dev/zero"], "more than 67108864 bytes"),
        (&["true"], "it is empty"),
    ] {
        let said = run(&[], command, 5);
        assert!(said.contains(reason), "{said}");
    }
    let said = run(&["--format", "csv"], &["printf", "id,n\\n1,2\\n"], 0);
    assert!(said.contains("rows: 1, versions of the output taken: 1, refused: 0"), "{said}");
    let mut strict = start(ONE, &["--strict"], &["1|one|/", "2|two|/a b"]);
    instead(&strict, "exit 9");
    strict.process.ends_with(5);
    let said = strict.process.stderr();
    assert!(said.contains("error: sh: it failed with exit status: 9"), "{said}");
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn command_and_its_options_need_the_source() {
    let table = Table::new("command-arguments");
    for (arguments, part) in [
        (&["--from", "command"][..], "add -- COMMAND"),
        (&["--from", "processes", "--", "df"], "a command after -- is for `--from command`"),
        (&["--from", "-", "--fields", "id:u8", "--timeout", "1s"], "--timeout is for"),
        (
            &["--from", "-", "--fields", "id:u8", "--format", "columns"],
            "--format columns on stdin needs --snapshot",
        ),
        (&["--from", "command", "--quote", "none", "--", "df"], "--quote is for CSV"),
        (&["--from", "processes", "--max-loss", "5"], "--max-loss is for files, commands"),
        (&["--from", "-", "--fields", "id:u8", "--max-loss", "5"], "--max-loss is for files"),
        (&["--from", "a.csv", "--max-loss", "101"], "from 0 to 100, or none"),
        (&["--from", "-", "--fields", "id:u8", "--pin-schema"], "--pin-schema"),
        (&["--from", "comand", "--", "df"], "did you mean command?"),
    ] {
        let mut serve = publisher();
        let (_, said) = Process::run(serve.args(["serve", table.name()]).args(arguments), 2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn command_does_not_inherit_variables_of_serve() {
    let table = Table::new("command-variables");
    let mut serve = publisher();
    serve
        .args(["serve", table.name(), "--from", "command", "--exit-at-eof", "--keep"])
        .env("TABLECAST_SERVE_FORMAT", "csv")
        .env("TABLECAST_COLOR", "never")
        .args(["--", "sh", "-c", "echo name; env | grep -o '^TABLECAST_[A-Z_]*'"]);
    Process::run(&mut serve, 0);
    let mut rows = tests::programs::subscriber();
    let (rows, _) = Process::run(rows.args(["get", table.name(), "--format", "csv"]), 0);
    assert_eq!(rows, "name\nTABLECAST_COLOR\n");
}
