//! Colours: on terminals, unless flags or variables say otherwise.

use std::process::Command;

use tests::programs::subscriber;
use tests::table::Table;
use tests::terminal;

use super::{PROGRAMS, run, serve};

/// The beginning of every colour sequence.
const ESCAPE: char = '\x1b';

/// Returns true if a table has colours, on a terminal and in a pipe.
fn coloured(table: &Table, variables: &[(&str, &str)], flags: &[&str]) -> [bool; 2] {
    let command = || {
        let mut command = subscriber();
        command.args(["get", table.name()]).args(flags).envs(variables.iter().copied());
        command
    };
    let shown = terminal::shown(&mut command(), 80, 0);
    let (piped, _) = run(command(), &[], 0);
    [shown, piped].map(|text| text.contains(ESCAPE))
}

/// Variables and flags, and whether output has colours on a terminal and in a pipe.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str], [bool; 2]);

#[test]
fn color_of_tables_follows_flags_and_variables() {
    let table = Table::new("colours");
    let _serving = serve(&table);
    let cases: [Case; 14] = [
        (&[], &[], [true, false]),
        (&[], &["--color", "auto"], [true, false]),
        (&[], &["--color", "always"], [true, true]),
        (&[], &["--color=never"], [false, false]),
        (&[("NO_COLOR", "1")], &[], [false, false]),
        (&[("NO_COLOR", "")], &[], [true, false]),
        (&[("NO_COLOR", "1")], &["--color=always"], [true, true]),
        (&[("CLICOLOR", "0")], &[], [false, false]),
        (&[("CLICOLOR_FORCE", "1")], &[], [true, true]),
        (&[("CLICOLOR_FORCE", "1")], &["--color=never"], [false, false]),
        (&[("TERM", "dumb")], &[], [false, false]),
        (&[("TABLECAST_COLOR", "always")], &[], [true, true]),
        (&[("TABLECAST_COLOR", "always")], &["--color", "never"], [false, false]),
        (&[("TABLECAST_COLOR", "never")], &["--color", "auto"], [true, false]),
    ];
    for (variables, flags, expected) in cases {
        let seen = coloured(&table, variables, flags);
        assert_eq!(seen, expected, "{variables:?} {flags:?}: in a terminal, in a pipe");
    }
}

#[test]
fn help_is_coloured_on_a_terminal() {
    for (name, program) in PROGRAMS {
        let mut command: Command = program();
        let shown = terminal::shown(command.args(["--help"]), 80, 0);
        assert!(shown.contains(ESCAPE), "{name}: {shown}");
    }
}

#[test]
fn color_of_logs_follows_flags() {
    for (flag, expected) in [("always", true), ("never", false), ("auto", false)] {
        let table = Table::new("coloured-log");
        std::fs::write(format!("/dev/shm/tablecast.table.{}", table.name()), "garbage").unwrap();
        let (_, logged) =
            run(tests::programs::publisher(), &["rm", table.name(), "--color", flag], 0);
        assert!(logged.contains("WARN"), "{logged}");
        assert_eq!(logged.contains(ESCAPE), expected, "{flag}: {logged}");
    }
}
