//! The command line of both programs: arguments, errors, help and completion.

use std::process::Command;

use tests::clean::command;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;

mod colours;
mod commit;
mod completion;
mod environment;
mod manual;
mod prompt;
mod texts;
mod typing_errors;

const FIELDS: &str = "id:u64,price:f64,name:text(8)";

/// A program, and the function that creates its command.
type Program = (&'static str, fn() -> Command);

const PROGRAMS: [Program; 2] = [("publisher", publisher), ("subscriber", subscriber)];

/// Runs a program and expects this exit code. Returns stdout and stderr.
fn run(mut command: Command, arguments: &[&str], code: i32) -> (String, String) {
    Process::run(command.args(arguments), code)
}

/// Starts a publisher of two rows with ids 1 and 2.
fn serve(table: &Table) -> Serving {
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    serving.publish([
        r#"{"op":"begin"}"#,
        r#"{"id":1,"price":2.5,"name":"one"}"#,
        r#"{"id":2,"price":1.5,"name":"two"}"#,
        r#"{"op":"commit"}"#,
    ]);
    serving
}

#[test]
fn versions_name_commit_and_layout() {
    let commit =
        command("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8(output.stdout).unwrap().trim().to_owned());
    let layout = format!("layout {}", common::LAYOUT_VERSION);
    for (name, program) in PROGRAMS {
        let number = env!("CARGO_PKG_VERSION");
        let expected = match &commit {
            Some(commit) => format!("{name} {number} ({}, {layout})", &commit[..9]),
            None => format!("{name} {number} ({layout})"),
        };
        let (short, _) = run(program(), &["-V"], 0);
        assert_eq!(short, format!("{expected}\n"));
    }
}

#[test]
fn help_fits_a_small_terminal() {
    for (name, program) in PROGRAMS {
        let subcommands = manual::subcommands(program());
        assert!(subcommands.len() > 3, "{name}: {subcommands:?}");
        for subcommand in subcommands {
            let mut command = program();
            command.env("COLUMNS", "80");
            let (help, _) = run(command, &[&subcommand, "-h"], 0);
            let long = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "{name} {subcommand} -h");
        }
    }
}

#[test]
fn serve_names_the_capacity_only_if_it_is_limited() {
    for (options, limit) in [(&[][..], None), (&["--capacity", "7"], Some("at most 7 rows"))] {
        let table = Table::new("named-capacity");
        let mut serving = Serving::start(table.name(), FIELDS, options);
        let stderr = serving.process.stderr_until(|text| text.contains("watch it with"));
        assert_eq!(stderr.contains("at most"), limit.is_some(), "{stderr}");
        assert!(limit.is_none_or(|limit| stderr.contains(limit)), "{stderr}");
    }
}
