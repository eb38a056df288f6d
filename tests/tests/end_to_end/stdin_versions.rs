//! `publisher serve NAME --from - --snapshot`: whole tables on stdin.

use common::UntypedSubscriber;
use tests::process::Process;
use tests::programs::publisher;
use tests::table::Table;
use tests::{LIMIT, until};

fn serve(table: &Table, options: &[&str]) -> Process {
    let mut command = publisher();
    command.args(["serve", table.name(), "--from", "-", "--snapshot"]).args(options);
    Process::start(&mut command)
}

/// Waits until the table has these keys, in their order.
fn keys_become(subscriber: &mut UntypedSubscriber, expected: &[&str]) {
    until("the table has the rows", || {
        subscriber.refresh().unwrap();
        let mut keys: Vec<String> = subscriber.iter().map(|row| row.key().to_string()).collect();
        keys.sort_unstable();
        keys == expected
    });
}

#[test]
fn each_version_on_stdin_replaces_the_table() {
    let table = Table::new("versions");
    let mut process = serve(&table, &["--format", "columns"]);
    process.write_line("PID CMD\n1 init -x\n2 sh\n");
    let builder = UntypedSubscriber::builder(table.name());
    let mut subscriber = builder.open_within(LIMIT).unwrap();
    assert_eq!(subscriber.schema().to_string(), "PID:u64,CMD:text(8)");
    keys_become(&mut subscriber, &["1", "2"]);
    let version = subscriber.version();
    process.write_line("PID CMD\n2 sh");
    process.write_line("3 ls\n4 ps\n");
    keys_become(&mut subscriber, &["2", "3", "4"]);
    assert_eq!(subscriber.version(), version + 1, "the differences are one commit");
    // A bad version keeps the rows, and is reported once per streak.
    process.write_line("PID CMD\n2 a\n2 b\n\nPID CMD\n3 a\n3 b\n\nPID CMD\n5 ps\n");
    keys_become(&mut subscriber, &["5"]);
    assert_eq!(subscriber.version(), version + 2);
    process.stderr_until(|text| text.contains("stdin: read again, rows: 1"));
    assert_eq!(process.stderr().matches("the table stays as it is").count(), 1);
    // The last version needs no separator.
    process.write_line("PID CMD\n6 ps");
    process.close_input();
    keys_become(&mut subscriber, &["6"]);
    process.stderr_until(|text| text.contains("the input has ended"));
    assert!(common::inspect(table.name(), None).unwrap().input_ended);
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.ends_with(0);
}

#[test]
fn versions_may_be_separated_by_form_feeds_and_have_declared_fields() {
    let table = Table::new("versions-fed");
    let options = ["--separator", "formfeed", "--fields", "id:u64", "--format", "csv"];
    let mut process = serve(&table, &options);
    process.write_line("id,n\n1,\n\n2,\n\u{c}");
    let mut subscriber = UntypedSubscriber::builder(table.name()).open_within(LIMIT).unwrap();
    keys_become(&mut subscriber, &["1", "2"]);
    process.write_line("id\n3\n\u{c}id\n4");
    keys_become(&mut subscriber, &["3"]);
    process.close_input();
    keys_become(&mut subscriber, &["4"]);
}

#[test]
fn end_of_versions_ends_the_publisher_if_requested() {
    let table = Table::new("versions-end");
    for (input, code, part) in [
        ("{\"id\":1}\n\n{\"id\":2}", 0, "rows: 1, versions of the input taken: 2, refused: 0"),
        ("{\"id\":1}\n\nnonsense\n\n{\"id\":2}", 5, "stdin: versions refused: 1"),
        ("nonsense\n\n{\"id\":2}", 5, "error: stdin: line 1: "),
        ("\n\n", 5, "stdin: it ends before the first version"),
    ] {
        let mut process = serve(&table, &["--exit-at-eof"]);
        process.write_line(input);
        process.close_input();
        process.ends_with(code);
        assert!(process.stderr().contains(part), "{input:?}: {}", process.stderr());
    }
    let mut strict = serve(&table, &["--strict"]);
    strict.write_line("{\"id\":1}\n\nnonsense\n");
    strict.ends_with(5);
    assert_eq!(table.orphans(), Vec::<String>::new());
    for (arguments, part) in [
        (&["--from", "processes", "--snapshot"][..], "--snapshot is for `--from -`"),
        (&["--from", "-", "--separator", "blank"], "--snapshot"),
        (&["--from", "-", "--snapshot", "--ttl", "1s"], "without --snapshot"),
    ] {
        let mut serve = publisher();
        let (_, said) = Process::run(serve.args(["serve", table.name()]).args(arguments), 2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
