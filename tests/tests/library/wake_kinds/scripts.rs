//! Programs that do not use the library: a shell that reads a FIFO, and a loop that waits for
//! signals.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use tests::clean::command;
use tests::kinds::Kind;
use tests::process::Process;
use tests::programs::subscriber;
use tests::until;

use super::{Place, asleep, commit};

/// A watch owns the FIFO, and a shell reads it.
#[test]
fn script_reads_one_line_per_wake_up_from_fifo_of_watch() {
    let place = Place::new("kinds-script");
    let mut publisher = place.publish();
    let pipe = place.directory.path().join("news");
    let mut watch = subscriber();
    watch.args(["watch", place.name(), "--format", "jsonl", "--wake", "fifo"]);
    let mut watch = Process::start(watch.arg("--wake-at").arg(&pipe));
    until("the FIFO exists", || pipe.exists());
    let read = "while read version; do echo \"version $version\"; done < \"$0\"; echo end";
    let mut script = Process::start(command("sh").args(["-c", read]).arg(&pipe));
    for value in 0..200 {
        until("the watch is parked", || asleep(&place.table) == 1);
        let version = commit(&mut publisher, value);
        assert_eq!(script.line(), format!("version {version}"));
        assert!(watch.line().contains(&format!("\"value\":{value}")));
    }
    // Without a reader, no process blocks and the watch continues.
    script.kill();
    for value in 0..2000 {
        commit(&mut publisher, value);
        assert!(watch.line().contains(&format!("\"value\":{value}")));
    }
    // The FIFO is removed after its owner ended or was killed, and readers see end of file.
    let mut script = Process::start(command("sh").args(["-c", read]).arg(&pipe));
    let version = commit(&mut publisher, 1);
    script.stdout_until(|said| said.contains(&format!("version {version}")));
    watch.kill();
    publisher.maintain().unwrap();
    assert!(!pipe.exists());
    script.stdout_until(|said| said.ends_with("end\n"));
    script.ends_with(0);
    publisher.close().unwrap();
}

#[test]
fn watch_fails_with_hint_if_fifo_cannot_be_created() {
    let place = Place::new("kinds-nowhere");
    let publisher = place.publish();
    let taken = place.directory.path().join("taken");
    std::fs::write(&taken, "precious").unwrap();
    let missing = place.directory.path().join("none/news");
    for table in [place.name(), "not-published-yet"] {
        for (pipe, hint) in
            [(&missing, "create that directory first"), (&taken, "another file has this name")]
        {
            let mut watch = subscriber();
            watch.args(["watch", table, "--wake", "fifo"]);
            let (stdout, stderr) = Process::run(watch.arg("--wake-at").arg(pipe), 2);
            assert_eq!(stdout, "");
            let is_named = stderr.contains(&pipe.display().to_string());
            assert!(is_named && stderr.contains(hint), "{stderr}");
        }
    }
    assert_eq!(std::fs::read(&taken).unwrap(), b"precious");
    publisher.close().unwrap();
}

#[test]
fn watch_takes_over_fifo_of_ended_watch() {
    let place = Place::new("kinds-taken");
    let mut publisher = place.publish();
    let pipe = place.directory.path().join("news");
    let start = || {
        let mut watch = subscriber();
        watch.args(["watch", place.name(), "--format", "jsonl", "--wake", "fifo"]);
        Process::start(watch.arg("--wake-at").arg(&pipe))
    };
    let mut first = start();
    until("the FIFO exists", || pipe.exists());
    let mut second = start();
    second.stderr_until(|said| said.contains("woken by re-check only"));
    // No process has freed its slot, and its FIFO has no owner.
    first.kill();
    until("the second watch is woken through the FIFO", || {
        commit(&mut publisher, 1);
        let mut options = std::fs::File::options();
        let news = options.read(true).custom_flags(nix::libc::O_NONBLOCK);
        let read = news.open(&pipe).and_then(|mut news| news.read(&mut [0; 64]));
        read.is_ok_and(|length| length > 0)
    });
    second.signal(nix::sys::signal::Signal::SIGTERM);
    second.ends_with(0);
    assert!(!pipe.exists());
    publisher.close().unwrap();
}

#[test]
fn signal_loop_receives_wake_signals() {
    let place = Place::new("kinds-loop");
    let mut publisher = place.publish();
    let kind = Kind { wake: "signal:USR1", in_directory: false };
    let mut program = place.start("loop", kind, &[]);
    assert_eq!(program.line(), "1");
    for value in 0..1000 {
        let version = commit(&mut publisher, value);
        assert_eq!(program.line(), version.to_string());
    }
    // When the program finds the end of its stdin, its last `refresh` and its last signal are done.
    program.close_input();
    for value in 1000..1020 {
        let version = commit(&mut publisher, value);
        assert_eq!(program.line(), version.to_string());
    }
    publisher.close().unwrap();
    program.kill();
}
