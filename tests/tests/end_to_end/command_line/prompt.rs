//! The prompt for rows that are typed in a terminal.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use nix::pty::openpty;
use tests::process::Process;
use tests::programs::publisher;
use tests::table::Table;

const FIELDS: &str =
    "id:u64,name:text(8),net:ipnet,at:timestamp,ok:bool,x:f32,mac:mac,v4:ipv4,v6:ipv6";

/// Starts a program whose stdin is a terminal. Also returns the other end of the terminal.
fn at_a_terminal(table: &Table, options: &[&str]) -> (Process, File) {
    let terminal = openpty(None, None).unwrap();
    let mut command = publisher();
    command.args(["serve", table.name(), "--from", "-", "--fields", FIELDS, "--strict"]);
    command.args(options).stdin(Stdio::from(terminal.slave));
    (Process::start_with(&mut command), File::from(terminal.master))
}

/// Returns the text between `before` and `after`.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before}: {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after}: {text}")).0
}

/// Types the suggested lines and expects a row.
fn follows_the_prompt(options: &[&str], lines: impl Fn(&str) -> Vec<String>) {
    let table = Table::new("typed");
    let (mut serve, mut keyboard) = at_a_terminal(&table, options);
    let prompt = serve.stderr_until(|text| text.contains("Ctrl-D"));
    for line in lines(&prompt) {
        writeln!(keyboard, "{line}").unwrap();
    }
    tests::until("the row is published", || {
        assert!(serve.is_running(), "{}", serve.stderr());
        common::inspect(table.name(), None).is_ok_and(|info| info.rows == 1)
    });
    // Ctrl-D.
    keyboard.write_all(&[4]).unwrap();
    if options.contains(&"--exit-at-eof") {
        serve.ends_with(0);
    } else {
        serve.signal(nix::sys::signal::Signal::SIGINT);
        serve.ends_with(0);
    }
}

#[test]
fn suggested_lines_are_valid_rows() {
    follows_the_prompt(&[], |prompt| {
        assert!(prompt.contains("Ctrl-C the table"), "{prompt}");
        vec![between(prompt, "JSON such as ", "; Ctrl-D").to_owned()]
    });
    follows_the_prompt(&["--format", "csv", "--exit-at-eof"], |prompt| {
        assert!(prompt.contains("Ctrl-D ends it"), "{prompt}");
        vec![
            between(prompt, "the names ", " first").to_owned(),
            between(prompt, "lines such as ", "; Ctrl-D").to_owned(),
        ]
    });
    // With a delimiter that also occurs in cells.
    follows_the_prompt(&["--format", "csv", "--no-header", "--delimiter", ":"], |prompt| {
        vec![between(prompt, "lines such as ", "; Ctrl-D").to_owned()]
    });
}

#[test]
fn stdin_without_terminal_prints_no_prompt() {
    let table = Table::new("not-typed");
    let mut serve = Process::start(publisher().args([
        "serve",
        table.name(),
        "--from",
        "-",
        "--fields",
        FIELDS,
        "--exit-at-eof",
    ]));
    serve.close_input();
    serve.ends_with(0);
    assert!(!serve.stderr().contains("Ctrl-D"), "{}", serve.stderr());
}
