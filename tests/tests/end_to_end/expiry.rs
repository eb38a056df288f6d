//! `publisher serve --expire` and `--ttl`.

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

#[test]
fn rows_expire_at_the_time_in_a_field_or_after_their_last_write() {
    let table = Table::new("serve-expire");
    let name = table.name();
    let rows = || Process::run(subscriber().args(["get", name, "--count"]), 0).0;
    let mut serving = Serving::start(name, "id:u64,at:timestamp", &["--expire", "at"]);
    serving.publish([
        r#"{"id":1,"at":"2020-01-01T00:00:00Z"}"#,
        r#"{"id":2,"at":"2200-01-01T00:00:00Z"}"#,
        r#"{"id":3,"at":0}"#,
    ]);
    until("the first row has expired", || rows() == "2\n");
    serving.stop(Signal::SIGTERM);

    let mut serving = Serving::start(name, "id:u64", &["--ttl", "50ms"]);
    serving.publish([r#"{"id":1}"#]);
    until("the row has expired", || rows() == "0\n");
    serving.stop(Signal::SIGTERM);
    for (options, part) in
        [(["--expire", "id"], "\"id\" is u64"), (["--ttl", "0s"], "cannot be zero")]
    {
        let mut command = publisher();
        command.args(["serve", name, "--from", "-", "--fields", "id:u64"]).args(options);
        let (_, stderr) = Process::run(&mut command, if part.contains("zero") { 2 } else { 4 });
        assert!(stderr.contains(part), "{stderr}");
    }
    let mut command = publisher();
    command.args(["serve", name, "--from", "processes", "--ttl", "1s"]);
    assert!(Process::run(&mut command, 2).1.contains("for `--from -`"));
    assert!(common::inspect(name, None).is_err(), "a refused publisher leaves no table");
}
