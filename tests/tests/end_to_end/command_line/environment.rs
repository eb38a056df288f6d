//! Options set by environment variables.

use std::process::Command;

use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::table::Table;

use super::{PROGRAMS, manual, run, serve};

fn with<const N: usize>(mut command: Command, variables: [(&str, &str); N]) -> Command {
    command.envs(variables);
    command
}

#[test]
fn flags_override_environment_variables() {
    let table = Table::new("variables");
    let _serving = serve(&table);
    let get = ["get", table.name()];
    let by_variable = with(
        subscriber(),
        [("TABLECAST_FORMAT", "csv"), ("TABLECAST_FIELDS", "name"), ("TABLECAST_SORT", "price")],
    );
    assert_eq!(run(by_variable, &get, 0).0, "name\ntwo\none\n");
    let typed = with(subscriber(), [("TABLECAST_FORMAT", "json"), ("TABLECAST_LIMIT", "1")]);
    let (text, _) = run(typed, &[&get[..], &["--format", "csv", "-n", "2"]].concat(), 0);
    assert_eq!(text.lines().count(), 3, "{text}");
    let condition = with(subscriber(), [("TABLECAST_WHERE", "price > 2")]);
    let (text, _) = run(condition, &[&get[..], &["--format", "csv"]].concat(), 0);
    assert_eq!(text.lines().count(), 2, "{text}");
    let empty = with(subscriber(), [("TABLECAST_FORMAT", ""), ("TABLECAST_WHERE", "")]);
    assert!(run(empty, &get, 0).0.starts_with("id"));
}

#[test]
fn required_arguments_can_come_from_variables() {
    let table = Table::new("from-variable");
    let mut command = with(
        publisher(),
        [
            ("TABLECAST_FROM", "-"),
            ("TABLECAST_SERVE_FIELDS", "id:u64"),
            ("TABLECAST_EXIT_AT_EOF", "1"),
            // A variable of the subscriber.
            ("TABLECAST_FORMAT", "json"),
            ("TABLECAST_FIELDS", "price"),
        ],
    );
    let (_, errors) = Process::run(command.args(["serve", table.name()]), 0);
    assert!(errors.contains("closed and removed"), "{errors}");
}

#[test]
fn variables_of_switches_accept_yes_and_no() {
    let table = Table::new("switches");
    let _serving = serve(&table);
    let watch = ["watch", table.name(), "--timeout", "50ms", "--format", "csv"];
    for yes in ["1", "true", "yes", "on"] {
        let command = with(subscriber(), [("TABLECAST_ONCE", yes)]);
        assert_eq!(run(command, &watch, 0).0.lines().count(), 3, "{yes}");
    }
    for no in ["0", "false", "no", "off", ""] {
        let command = with(subscriber(), [("TABLECAST_ONCE", no), ("TABLECAST_COUNT", "1")]);
        let (_, errors) = run(command, &watch, 1);
        assert!(errors.contains("0 of 1"), "{no:?}: {errors}");
    }
    let command = with(subscriber(), [("TABLECAST_ONCE", "maybe")]);
    let (_, errors) = run(command, &watch, 2);
    assert!(errors.contains("TABLECAST_ONCE=maybe"), "{errors}");
}

#[test]
fn log_level_can_come_from_variable() {
    let table = Table::new("logged");
    let mut serve = with(publisher(), [("TABLECAST_VERBOSE", "1")]);
    serve.args(["serve", table.name(), "--from", "-", "--fields", "id:u64"]);
    let mut serve = Process::start(&mut serve);
    let mut watch = Process::start(subscriber().args(["watch", table.name(), "--wake", "mq"]));
    let mut id = 0;
    tests::until("the publisher logs how the watch is woken", || {
        id += 1;
        serve.write_line(&format!("{{\"id\":{id}}}"));
        serve.stderr().contains("INFO the subscriber at slot 0 is woken")
    });
    for process in [&mut watch, &mut serve] {
        process.signal(nix::sys::signal::Signal::SIGTERM);
        process.ends_with(0);
    }
    let (_, errors) = run(with(subscriber(), [("TABLECAST_VERBOSE", "very")]), &["ls"], 2);
    assert!(errors.contains("TABLECAST_VERBOSE=very"), "{errors}");
}

#[test]
fn error_names_the_variables_that_are_set() {
    let command = with(subscriber(), [("TABLECAST_COUNT", "some"), ("TABLECAST_FORMAT", "csv")]);
    let (_, errors) = run(command, &["watch", "nowhere"], 2);
    assert!(errors.contains("TABLECAST_COUNT=some\n"), "{errors}");
    let (_, errors) = run(subscriber(), &["watch", "nowhere", "--format", "json"], 2);
    assert!(!errors.contains("the environment sets"), "{errors}");
}

#[test]
fn command_does_not_inherit_variables_of_watch() {
    let table = Table::new("not-given");
    let _serving = serve(&table);
    let mut command = with(
        subscriber(),
        [
            ("TABLECAST_WHERE", "price > 2"),
            ("TABLECAST_ONCE", "1"),
            ("TABLECAST_LIMIT", "1"),
            ("TABLECAST_COLOR", "never"),
        ],
    );
    command.args(["watch", table.name(), "--", "sh", "-c", "env | grep ^TABLECAST_ | sort"]);
    let (text, _) = Process::run(&mut command, 0);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(
        names,
        [
            "TABLECAST_CHANGES",
            // Variables for all programs in this terminal, and for another subcommand.
            "TABLECAST_COLOR",
            "TABLECAST_EVENT",
            "TABLECAST_LIMIT",
            "TABLECAST_PUBLISHER",
            "TABLECAST_TABLE",
            "TABLECAST_VERSION",
        ],
        "{text}"
    );
    assert!(text.contains("TABLECAST_CHANGES=1\n"), "the watch printed: {text}");
}

/// Variables that `watch` sets for its command, and that a shell sets for the program.
const RESERVED: [&str; 6] = [
    "TABLECAST_TABLE",
    "TABLECAST_VERSION",
    "TABLECAST_EVENT",
    "TABLECAST_CHANGES",
    "TABLECAST_PUBLISHER",
    "TABLECAST_COMPLETE",
];

#[test]
fn each_flag_has_its_own_variable() {
    for (name, program) in PROGRAMS {
        let mut flags = 0;
        for subcommand in manual::subcommands(program()) {
            let (help, _) = run(program(), &[&subcommand, "--help"], 0);
            // The help of each flag begins with its own line.
            let parts = help.split("\n  ").map(str::trim_start);
            let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            let of_flag = |part: &&str| {
                part.starts_with("--") || part.starts_with('-') && part.contains(", --")
            };
            let starts = parts.iter().enumerate().filter(|(_, part)| of_flag(part));
            let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
            for (at, start) in starts.iter().enumerate() {
                let end = starts.get(at + 1).copied().unwrap_or(parts.len());
                let part = parts[*start..end].join(" ");
                if part.contains("--help") {
                    continue;
                }
                let variable = part.split_once("[env: ").and_then(|(_, rest)| rest.split_once(']'));
                let (variable, _) =
                    variable.unwrap_or_else(|| panic!("{name} {subcommand}: {part}"));
                assert!(variable.starts_with("TABLECAST_"), "{variable}");
                assert!(!RESERVED.contains(&variable), "{name} {subcommand}: {variable}");
                flags += 1;
            }
        }
        assert!(flags > 20, "{name}: {flags}");
    }
}

#[test]
fn help_names_the_variables() {
    let (help, _) = run(subscriber(), &["watch", "--help"], 0);
    for variable in ["TABLECAST_WAKE_AT", "TABLECAST_ONCE", "TABLECAST_VERBOSE"] {
        assert!(help.contains(&format!("[env: {variable}]")), "{help}");
    }
    let command = with(publisher(), [("TABLECAST_KEY", "secret")]);
    let (help, _) = run(command, &["serve", "--help"], 0);
    assert!(help.contains("TABLECAST_KEY]") && !help.contains("secret"), "{help}");
}
