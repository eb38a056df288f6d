//! `publisher serve --from fifo:PATH`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::table::Table;
use tests::until;

#[test]
fn scripts_write_lines_to_a_named_pipe_that_the_publisher_creates_and_removes() {
    let table = Table::new("fifo");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let source = format!("fifo:{}", path.display());
    let serve = || {
        let mut command = publisher();
        command.args(["serve", table.name(), "--from", &source, "--fields", "id:u64"]);
        command
    };
    let write = |line: &str| {
        let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
        writeln!(pipe, "{line}").unwrap();
    };
    let rows = || Process::run(subscriber().args(["get", table.name(), "--count"]), 0).0;

    let mut serving = Process::start(&mut serve());
    until("the table is published", || common::inspect(table.name(), None).is_ok());
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_fifo() && found.permissions().mode() & 0o777 == 0o600);
    // Each line comes from another writer, and the input does not end with one of them.
    for (line, count) in [(r#"{"id":1}"#, "1\n"), ("not a row", "1\n"), (r#"{"id":2}"#, "2\n")] {
        write(line);
        until(line, || rows() == count);
    }
    let mut other = publisher();
    other.args(["serve", "fifo-other", "--from", &source, "--fields", "id:u64"]);
    assert!(Process::run(&mut other, 5).1.contains("another publisher reads it"));
    assert!(path.exists());

    // A publisher takes the pipe that a killed publisher left.
    serving.signal(Signal::SIGKILL);
    serving.end();
    let mut serving = Process::start(&mut serve());
    until("another publisher", || {
        common::inspect(table.name(), None).is_ok_and(|info| info.publisher_pid == serving.id())
    });
    write(r#"{"id":3}"#);
    until("the third row", || rows() == "3\n");
    serving.signal(Signal::SIGTERM);
    serving.ends_with(0);
    assert!(!path.exists());

    fs::write(&path, "a file").unwrap();
    assert!(Process::run(&mut serve(), 5).1.contains("is not a pipe of this user"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    let (_, stderr) = Process::run(serve().arg("--exit-at-eof"), 2);
    assert!(stderr.contains("a named pipe does not"), "{stderr}");
}
