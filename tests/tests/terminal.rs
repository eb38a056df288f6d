//! Tables that fit the terminal, looked at through pseudo-terminals.

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::{FIELDS, Published, rows};
use tests::terminal::{plain, shown, start};
use tests::until;
use unicode_width::UnicodeWidthStr;

const WIDTHS: [u16; 5] = [20, 40, 80, 100, 200];

/// No line is wider than the terminal, so that none is wrapped.
fn assert_fits(text: &str, columns: u16) -> Vec<String> {
    let lines: Vec<String> = plain(text).lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(
            line.width() <= usize::from(columns),
            "{line:?} in {columns} columns of\n{text}"
        );
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    lines
}

#[test]
fn get_fits_and_says_what_it_cut() {
    let published = Published::new("fit-get");
    let name = published.table.name();
    for columns in WIDTHS {
        let text = shown(subscriber().args(["get", name]), columns, 0);
        let lines = assert_fits(&text, columns);
        let is_cut = columns < 200;
        assert_eq!(
            lines.len(),
            1 + rows().len() + usize::from(is_cut),
            "{text}"
        );
        assert_eq!(lines.last().unwrap().starts_with("cut"), is_cut, "{text}");
        assert!(
            lines[0].starts_with("text") && text.contains("\x1b["),
            "{text}"
        );
    }
    // Wide enough for all of it.
    let text = shown(subscriber().args(["get", name]), 400, 0);
    let lines = assert_fits(&text, 400);
    assert_eq!(lines.len(), 1 + rows().len(), "{text}");
    assert!(!text.contains('…'));
    for field in FIELDS.split(',') {
        let (field, _) = field.split_once(':').unwrap();
        assert!(
            lines[0].split_whitespace().any(|word| word == field),
            "{text}"
        );
    }
    // Keys are whole where the rest is not, and numbers are whole or not there.
    let text = shown(subscriber().args(["get", name]), 100, 0);
    let lines = assert_fits(&text, 100);
    assert!(
        lines
            .iter()
            .any(|line| line.contains(&u64::MAX.to_string())),
        "{text}"
    );
    assert!(lines.last().unwrap().contains("not shown: "), "{text}");
}

#[test]
fn columns_is_the_width_of_a_terminal_and_of_no_pipe() {
    let published = Published::new("fit-columns");
    let command = || {
        let mut command = subscriber();
        command
            .args(["get", published.table.name()])
            .env("COLUMNS", "40");
        command
    };
    assert_fits(&shown(&mut command(), 200, 0), 40);
    let (stdout, stderr) = Process::run(&mut command(), 0);
    assert!(!stdout.contains('…') && stderr.is_empty(), "{stdout}");
}

#[test]
fn an_empty_table_is_its_names_and_a_word() {
    let published = Published::new("fit-empty");
    let mut command = subscriber();
    command.args([
        "get",
        published.table.name(),
        "--fields",
        "id",
        "--where",
        "id = 5",
    ]);
    let text = plain(&shown(&mut command, 80, 0));
    assert_eq!(text, "id\nno rows for which --where holds\n");
}

#[test]
fn a_watch_fits() {
    let mut published = Published::new("fit-watch");
    for (number, columns) in WIDTHS.into_iter().enumerate() {
        let mut command = subscriber();
        command.args(["watch", published.table.name(), "--count", "1"]);
        let (reader, mut watch) = start(&mut command, columns);
        let name = published.table.name().to_owned();
        until("it listens", || {
            let info = common::inspect(&name, None).unwrap();
            let pid = watch.id();
            info.subscribers
                .unwrap()
                .iter()
                .any(|one| one.pid == pid && one.parked)
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
        assert_eq!(
            is_cut,
            lines.last().unwrap().starts_with("changes are cut"),
            "{text}"
        );
        assert_eq!(is_cut, columns <= 80, "{text}");
    }
}

#[test]
fn ls_and_info_fit() {
    let published = Published::new("fit-info");
    let name = published.table.name();
    let mut watch = published.watch("csv", &[]);
    watch.stdout_until(|text| text.contains("version"));
    for columns in WIDTHS {
        assert_fits(
            &shown(subscriber().args(["ls", "--sample", "1ms"]), columns, 0),
            columns,
        );
        let text = shown(subscriber().args(["info", name]), columns, 0);
        assert!(
            assert_fits(&text, columns)[0].starts_with("table"),
            "{text}"
        );
    }
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
}
