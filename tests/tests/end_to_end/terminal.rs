//! Tables are cut to the width of the terminal.

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::published::{FIELDS, Published, rows};
use tests::terminal::{plain, shown, start};
use tests::until;
use unicode_width::UnicodeWidthStr;

const WIDTHS: [u16; 5] = [20, 40, 80, 100, 200];

/// Asserts that no line is wider than the terminal. Returns the lines.
fn assert_fits(text: &str, columns: u16) -> Vec<String> {
    let lines: Vec<String> = plain(text).lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(line.width() <= usize::from(columns), "{line:?} in {columns} columns of\n{text}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    lines
}

#[test]
fn get_fits_terminal_and_reports_cut_cells() {
    let published = Published::new("fit-get");
    let name = published.table.name();
    for columns in WIDTHS {
        let text = shown(subscriber().args(["get", name]), columns, 0);
        let lines = assert_fits(&text, columns);
        let is_cut = columns < 200;
        assert_eq!(lines.len(), 1 + rows().len() + usize::from(is_cut), "{text}");
        assert_eq!(lines.last().unwrap().starts_with("cut"), is_cut, "{text}");
        assert!(lines[0].starts_with("text") && text.contains("\x1b["), "{text}");
    }
    // Wide enough for all columns.
    let text = shown(subscriber().args(["get", name]), 400, 0);
    let lines = assert_fits(&text, 400);
    assert_eq!(lines.len(), 1 + rows().len(), "{text}");
    assert!(!text.contains('…'));
    for field in FIELDS.split(',') {
        let (field, _) = field.split_once(':').unwrap();
        assert!(lines[0].split_whitespace().any(|word| word == field), "{text}");
    }
    // Keys are never cut, and numbers are complete or absent.
    let text = shown(subscriber().args(["get", name]), 100, 0);
    let lines = assert_fits(&text, 100);
    assert!(lines.iter().any(|line| line.contains(&u64::MAX.to_string())), "{text}");
    assert!(lines.last().unwrap().contains("not shown: "), "{text}");
}

#[test]
fn columns_variable_applies_to_terminals_only() {
    let published = Published::new("fit-columns");
    let command = || {
        let mut command = subscriber();
        command.args(["get", published.table.name()]).env("COLUMNS", "40");
        command
    };
    assert_fits(&shown(&mut command(), 200, 0), 40);
    let (stdout, stderr) = Process::run(&mut command(), 0);
    assert!(!stdout.contains('…') && stderr.is_empty(), "{stdout}");
}

#[test]
fn empty_table_prints_header_and_note() {
    let published = Published::new("fit-empty");
    let mut command = subscriber();
    command.args(["get", published.table.name(), "--fields", "id", "--where", "id = 5"]);
    let text = plain(&shown(&mut command, 80, 0));
    assert_eq!(text, "id\nno rows for which --where holds\n");
}

#[test]
fn watch_fits_terminal() {
    let mut published = Published::new("fit-watch");
    for (number, columns) in WIDTHS.into_iter().enumerate() {
        let mut command = subscriber();
        command.args(["watch", published.table.name(), "--count", "1"]);
        let (reader, mut watch) = start(&mut command, columns);
        let name = published.table.name().to_owned();
        until("the subscriber is registered", || {
            let info = common::inspect(&name, None).unwrap();
            let pid = watch.id();
            info.subscribers.unwrap().iter().any(|one| one.pid == pid && one.parked)
        });
        let mut changed = rows().remove(4);
        changed["signed"] = (number + 1).into();
        changed["net"] = format!("10.{number}.0.0/16").into();
        changed["v6"] = format!("2001:db8::{number}").into();
        published.commit(&[changed]);
        watch.ends_with(0);
        drop(watch);
        let text = reader.join().unwrap();
        let lines = assert_fits(&text, columns);
        let change = lines.iter().find(|line| line.starts_with('v')).unwrap();
        assert!(change.contains("update"), "{text}");
        let is_cut = change.ends_with('…');
        assert_eq!(is_cut, lines.last().unwrap().starts_with("changes are cut"), "{text}");
        assert_eq!(is_cut, columns <= 80, "{text}");
    }
}

#[test]
fn ls_and_info_fit_terminal() {
    let published = Published::new("fit-info");
    let name = published.table.name();
    let mut watch = published.watch("csv", &[]);
    watch.stdout_until(|text| text.contains("version"));
    for columns in WIDTHS {
        assert_fits(&shown(subscriber().args(["ls", "--sample", "1ms"]), columns, 0), columns);
        let text = shown(subscriber().args(["info", name]), columns, 0);
        assert!(assert_fits(&text, columns)[0].starts_with("table"), "{text}");
    }
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}

/// Returns the lines of a subcommand's `--help` in a terminal of this width.
fn help(program: fn() -> std::process::Command, subcommand: &str, columns: u16) -> Vec<String> {
    let text = shown(program().args([subcommand, "--help"]), columns, 0);
    assert_fits(&text, columns)
}

/// Returns true for a line that must not be broken, such as an example: it is indented by two
/// columns.
fn is_kept(line: &str) -> bool {
    let indent = line.len() - line.trim_start().len();
    [2, 4, 12].contains(&indent) && !line.trim_start().starts_with(['-', '<', '['])
}

#[test]
fn help_wraps_at_terminal_width_only() {
    type Program = fn() -> std::process::Command;
    let publishes = ["serve", "demo", "rm", "completions", "man"];
    let subscribes = ["watch", "get", "ls", "info", "top", "hz", "doctor", "completions", "man"];
    let of = |program: Program, names: &[&'static str]| -> Vec<(Program, &'static str)> {
        names.iter().map(|name| (program, *name)).collect()
    };
    for (program, subcommand) in [of(publisher, &publishes), of(subscriber, &subscribes)].concat() {
        let wide = help(program, subcommand, 400);
        for columns in [80, 100] {
            let lines = help(program, subcommand, columns);
            for kept in wide.iter().filter(|line| is_kept(line)) {
                assert!(lines.contains(kept), "{kept:?} is broken at {columns} columns");
            }
            for pair in lines.windows(2) {
                let [line, next] = [0, 1].map(|at| pair[at].as_str());
                let word = next.split_whitespace().next().unwrap_or_default();
                let is_paragraph = !word.is_empty()
                    && !line.trim().is_empty()
                    && !line.ends_with(':')
                    && ![line, next].iter().any(|line| is_kept(line))
                    && !line.trim_start().starts_with(['-', '[', '<'])
                    && !word.starts_with(['-', '[', '<'])
                    && line.starts_with(' ') == next.starts_with(' ');
                let room = usize::from(columns) - line.width();
                assert!(
                    !is_paragraph || room <= word.width() + 1,
                    "{subcommand}: {line:?} has room for {word:?} at {columns} columns"
                );
            }
        }
    }
}
