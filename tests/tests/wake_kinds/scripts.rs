//! What programs that are not ours see: a shell that reads a pipe, a loop that waits for signals.

use tests::clean::command;
use tests::kinds::Kind;
use tests::process::Process;
use tests::programs::subscriber;
use tests::until;

use super::{Place, asleep, commit};

/// A watch that owns a pipe, and a shell that reads it.
#[test]
fn a_script_reads_a_line_for_each_wake_up_beside_the_watch_that_owns_the_pipe() {
    let place = Place::new("kinds-script");
    let mut publisher = place.publish();
    let pipe = place.directory.path().join("news");
    let mut watch = subscriber();
    watch.args(["watch", place.name(), "--format", "jsonl", "--wake", "fifo"]);
    let mut watch = Process::start(watch.arg("--wake-at").arg(&pipe));
    until("there is a pipe", || pipe.exists());
    let read = "while read version; do echo \"version $version\"; done < \"$0\"; echo end";
    let mut script = Process::start(command("sh").args(["-c", read]).arg(&pipe));
    for value in 0..200 {
        until("the watch sleeps", || asleep(&place.table) == 1);
        let version = commit(&mut publisher, value);
        assert_eq!(script.line(), format!("version {version}"));
        assert!(watch.line().contains(&format!("\"value\":{value}")));
    }
    // Nobody reads: nobody waits, and the watch goes on.
    script.kill();
    for value in 0..2000 {
        commit(&mut publisher, value);
        assert!(watch.line().contains(&format!("\"value\":{value}")));
    }
    // Gone with its owner, also if that is killed: readers come to the end.
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
fn what_stands_at_the_path_of_a_pipe_stays_unless_it_is_a_dead_ones_pipe() {
    let place = Place::new("kinds-taken");
    let publisher = place.publish();
    let pipe = place.directory.path().join("news");
    let start = || {
        let mut watch = subscriber();
        watch.args(["watch", place.name(), "--format", "jsonl", "--wake", "fifo"]);
        Process::start(watch.arg("--wake-at").arg(&pipe))
    };
    std::fs::write(&pipe, "precious").unwrap();
    let mut watch = start();
    let said = watch.stderr_until(|said| said.contains("woken by re-check only"));
    assert!(said.contains("news"), "{said}");
    watch.kill();
    assert_eq!(std::fs::read(&pipe).unwrap(), b"precious");
    std::fs::remove_file(&pipe).unwrap();

    let mut first = start();
    until("there is a pipe", || pipe.exists());
    let mut second = start();
    second.stderr_until(|said| said.contains("woken by re-check only"));
    first.kill();
    // Not swept yet: its slot is taken, and its pipe is nobody's.
    second.kill();
    let mut third = start();
    until("the third sleeps", || asleep(&place.table) == 1);
    let said = third.stderr();
    assert!(!said.contains("woken by re-check only"), "{said}");
    third.signal(nix::sys::signal::Signal::SIGTERM);
    third.ends_with(0);
    assert!(!pipe.exists());
    publisher.close().unwrap();
}

#[test]
fn a_program_that_waits_for_signals_itself_is_sent_them() {
    let place = Place::new("kinds-loop");
    let mut publisher = place.publish();
    let kind = Kind {
        wake: "signal:USR1",
        in_directory: false,
    };
    let mut program = place.start("loop", kind, &[]);
    assert_eq!(program.line(), "1");
    for value in 0..1000 {
        let version = commit(&mut publisher, value);
        assert_eq!(program.line(), version.to_string());
    }
    // Its last `refresh` and its last signal are behind it when it finds the end of its stdin.
    program.close_input();
    for value in 1000..1020 {
        let version = commit(&mut publisher, value);
        assert_eq!(program.line(), version.to_string());
    }
    publisher.close().unwrap();
    program.kill();
}
