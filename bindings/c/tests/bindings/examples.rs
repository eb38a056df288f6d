//! The programs in `examples`, and the one in the README.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::serving::Serving;
use tests::skip;
use tests::table::Table;

use crate::installed::{Check, Installed, exists};
use crate::readers::{Price, commit, with_prices};

#[test]
fn poll_loop_follows_a_publisher_that_is_killed() {
    let Some(installed) = Installed::new() else { return };
    for check in Check::ALL {
        let table = Table::new("c-poll-loop");
        let Some(mut program) = installed.program("examples/poll_loop.c", check) else { continue };
        let serve = || Serving::start(table.name(), "id:u64,name:text(8),level:f64", &[]);
        let mut serving = serve();
        serving.publish([r#"{"id":7,"name":"seven","level":0.5}"#]);
        let mut program = Process::start(program.arg(table.name()));
        assert_eq!(program.line(), "created id=7 name=seven level=0.5");
        serving.publish([r#"{"id":7,"name":"12345678","level":-2}"#]);
        assert_eq!(program.line(), "updated id=7 name=12345678 level=-2");
        serving.process.signal(Signal::SIGKILL);
        assert_eq!(program.line(), "publisher gone");
        let mut successor = serve();
        assert_eq!(program.line(), "publisher alive");
        successor.publish([r#"{"op":"delete","key":{"id":7}}"#]);
        assert_eq!(program.line(), "deleted id=7 name=12345678 level=-2");
        successor.stop(Signal::SIGTERM);
        assert_eq!(program.line(), "publisher closed");
        program.close_input();
        program.ends_with(0);
    }
}

#[test]
fn lookup_service_answers_connections_at_the_same_time() {
    with_prices("examples/lookup_service.c", |mut command, publisher| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("lookups");
        let mut service = Process::start(command.arg(&socket));
        assert_eq!(service.line(), "ready");
        let mut connections: Vec<_> =
            (0..4).map(|_| BufReader::new(UnixStream::connect(&socket).unwrap())).collect();
        let mut ask = |connection: usize, key: &str| {
            let connection = &mut connections[connection];
            writeln!(connection.get_mut(), "{key}").unwrap();
            let mut answer = String::new();
            connection.read_line(&mut answer).unwrap();
            answer
        };
        for connection in 0..4 {
            let row = "instrument=7 name=number 7 lots=1 bid=7\n";
            assert_eq!(ask(connection, "7"), row);
        }
        assert_eq!(ask(1, "10"), "not found\n");
        assert!(ask(2, "x").starts_with("error: field \"instrument\" cannot hold"));
        drop(connections);
        drop(publisher);
        // Valgrind and the sanitizer report there.
        assert_eq!(service.stderr(), "");
    });
}

#[test]
fn cpp_example_follows_prices() {
    with_prices("examples/subscribe.cpp", |mut command, mut publisher| {
        let mut program = Process::start(&mut command);
        assert_eq!(program.line(), "the bid of 7 is 7");
        assert_eq!(program.line(), "the sum of bids is 45");
        commit(&mut publisher, &[Price::new(10, 10.5)]);
        // The first changes are all rows, and may include this commit.
        program.stdout_until(|text| text.contains("10: 10.5\n"));
        publisher.close().unwrap();
        program.stdout_until(|text| text.ends_with("closed\n"));
        program.ends_with(0);
    });
}

#[test]
fn readme_example_is_linked_statically_and_runs() {
    let Some(installed) = Installed::new() else { return };
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```c\n").unwrap();
    let (code, _) = rest.split_once("```").unwrap();
    assert!(code.lines().count() <= 30, "the example is long");
    let table = Table::new("c-readme");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("prices.c");
    std::fs::write(&source, code.replace("\"prices\"", &format!("{:?}", table.name()))).unwrap();
    let mut program = installed.program(source.to_str().unwrap(), Check::Static).unwrap();
    let (_, stderr) = Process::run(&mut program, 1);
    assert!(stderr.starts_with("table not found"), "{stderr}");
    let mut serving = Serving::start(table.name(), "instrument:u64,bid:f64", &[]);
    serving.publish([r#"{"instrument":7,"bid":9.5}"#]);
    let mut program = Process::start(&mut program);
    assert_eq!(program.line(), "the bid of 7 is 9.5");
    serving.stop(Signal::SIGTERM);
    program.ends_with(0);
}

#[test]
fn clang_accepts_every_source() {
    let Some(installed) = Installed::new() else { return };
    if !exists("clang") || !exists("clang++") {
        return skip("programs in C and C++ with clang: it is missing");
    }
    for folder in ["examples", "tests/bindings/programs", "benches"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let source = entry.unwrap().path();
            match source.extension().and_then(|extension| extension.to_str()) {
                Some("c") => installed.compiles("clang", &source),
                Some("cpp") => installed.compiles("clang++", &source),
                _ => {}
            }
        }
    }
}

#[test]
fn header_is_cpp_and_can_be_included_twice() {
    let Some(installed) = Installed::new() else { return };
    let source = tempfile::Builder::new().suffix(".cpp").tempfile().unwrap();
    std::fs::write(&source, "#include <tablecast.h>\n".repeat(2)).unwrap();
    installed.compiles("c++", source.path());
}

#[test]
fn benchmark_compiles() {
    let Some(installed) = Installed::new() else { return };
    installed.compiles("cc", &Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/get.c"));
}
