//! `subscriber top` and `publisher demo`, in pseudo-terminals.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use rustix::io::ioctl_fionread;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::published::Published;
use tests::screen::Screen;
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

const FIELDS: &str = "id:u64,name:text(16),price:f64,size_bytes:u64";

fn row(id: u64, name: &str, price: u64) -> String {
    format!(r#"{{"id":{id},"name":"{name}","price":{price},"size_bytes":{}}}"#, id * 1024)
}

/// Publishes rows 1 to `count` with falling prices.
fn serve(table: &Table, count: u64) -> Serving {
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let rows = (1..=count).map(|id| row(id, &format!("name-{id}"), count - id));
    let [begin, commit] = ["begin", "commit"].map(|op| format!(r#"{{"op":"{op}"}}"#));
    serving.publish(std::iter::once(begin).chain(rows).chain([commit]));
    serving
}

fn top(table: &Table, columns: u16, lines: u16) -> Screen {
    let screen = Screen::start(subscriber().args(["top", table.name()]), columns, lines);
    until("the terminal is in full-screen mode", || screen.is_taken());
    screen
}

/// Returns the names in the visible rows.
fn names(text: &str) -> Vec<&str> {
    let words = text.split_whitespace();
    words.filter(|word| word.starts_with("name-")).collect()
}

#[test]
fn top_shows_rows_and_highlights_changes() {
    let table = Table::new("top-rows");
    let mut serving = serve(&table, 100);
    let mut screen = top(&table, 80, 24);
    let text = screen.shows("1–19 of 100");
    assert_eq!(names(&text)[..2], ["name-1", "name-2"], "{text}");
    assert!(screen.line("name-3").ends_with("3.0 KiB"), "{text}");
    let pid = serving.process.id();
    assert!(screen.line("alive").contains(&format!("pid {pid}  epoch 1")), "{text}");
    assert!(screen.line("delay p99").contains("delay p50"));

    serving.publish([
        row(2, "changed", 5),
        row(101, "new", 0),
        r#"{"op":"delete","key":{"id":100}}"#.to_owned(),
    ]);
    screen.shows("changed");
    screen.until("the delay was measured", |text| {
        !text.contains('–') || text.contains("µs") || text.contains("ms")
    });
    // Moves to the end, where new and deleted rows are shown.
    screen.press("\x1b[F");
    screen.shows("82–100 of 100");
    screen.until("only existing rows are shown", |text| {
        text.contains(" new") && !text.contains("name-100")
    });
    screen.press("\x1b[5~\x1b[H\x1b[B");
    screen.shows("2–20 of 100");
    screen.press("q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn top_keys_sort_and_filter() {
    let table = Table::new("top-keys");
    let serving = serve(&table, 50);
    let mut screen = top(&table, 80, 24);
    screen.shows("name-1");
    screen.press("ssr");
    screen.until("it is sorted by price", |text| {
        text.contains("price▲") && names(text).first() == Some(&"name-50")
    });
    screen.press("/price > 40");
    screen.until("only some rows are shown", |text| names(text).len() == 9);
    screen.press("x");
    let text = screen.shows("is not a valid f64");
    assert_eq!(names(&text).len(), 9, "{text}");
    screen.press("\x7f\r");
    screen.until("the error is gone", |text| !text.contains("is not a valid f64"));
    screen.press("\x1b");
    screen.shows("of 50");
    screen.press("/NAME-4\x15name-4\r");
    screen.shows("1–11 of 11");
    screen.press("?");
    screen.shows("PgUp");
    screen.press("?q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn top_accepts_options_of_watch() {
    let table = Table::new("top-options");
    let serving = serve(&table, 50);
    let mut command = subscriber();
    command.args(["top", table.name(), "--where", "price < 10", "--where", "id > 45"]);
    command.args(["--sort", "name:desc", "--fields", "name,id", "--wake", "futex"]);
    let mut screen = Screen::start(&mut command, 60, 12);
    let text = screen.shows("1–5 of 5");
    assert_eq!(names(&text), ["name-50", "name-49", "name-48", "name-47", "name-46"]);
    assert!(!text.contains("price "), "{text}");
    screen.press("\x03");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn top_follows_terminal_size() {
    let table = Table::new("top-size");
    let published = Published::new("top-size-table");
    let serving = serve(&table, 200);
    let mut screen = top(&table, 80, 24);
    screen.shows("1–19 of 200");
    screen.resize(40, 10);
    screen.shows("1–5 of 200");
    screen.resize(20, 5);
    screen.until("the help fits", |text| text.contains("1–2 of 200"));
    screen.resize(200, 50);
    let text = screen.shows("1–45 of 200");
    assert_eq!(names(&text).len(), 45);
    screen.press("q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
    // Values that are hard to draw, in a tiny terminal, with each overlay.
    for (columns, lines) in [(1, 1), (20, 5), (40, 10)] {
        let mut screen =
            Screen::start(subscriber().args(["top", published.table.name()]), columns, lines);
        until("the terminal is in full-screen mode", || screen.is_taken());
        screen.press("s\x1b[C\x1b[C>?x/a\rff\x1b[6~");
        screen.press("\x03");
        screen.ends_with(0);
    }
}

#[test]
fn hidden_columns_return_when_terminal_grows() {
    let table = Table::new("top-grows");
    let serving = serve(&table, 3);
    let mut screen = top(&table, 24, 10);
    screen.shows("id▲");
    screen.press("\x1b[C\x1b[C");
    screen.until("columns are scrolled", |text| !text.contains("name-3"));
    screen.resize(120, 10);
    screen.until("all columns are shown", |text| {
        ["name-3", "price", "size"].iter().all(|part| text.contains(part))
    });
    screen.press("q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn top_help_scrolls_in_small_terminal() {
    let table = Table::new("top-help");
    let serving = serve(&table, 3);
    let mut screen = top(&table, 40, 12);
    screen.shows("name-3");
    screen.press("?");
    let mut all = screen.shows("1/");
    screen.press(" ");
    all += &screen.shows("2/");
    while !all.contains("any key: back") {
        screen.press(" ");
        all += &screen.until("the next page", |text| !all.contains(text));
    }
    for word in ["PgDn", "filter", "cell", "contains", "reverse", "suspend", "quit", "coloured"] {
        assert!(all.contains(word), "{word} is not in\n{all}");
    }
    screen.press(" ");
    screen.until("the help is gone", |text| !text.contains("any key"));
    screen.press("q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn dumb_terminal_is_refused() {
    let table = Table::new("top-dumb");
    let serving = serve(&table, 3);
    let mut top = subscriber();
    top.args(["top", table.name()]).env("TERM", "dumb");
    let mut screen = Screen::start(&mut top, 80, 24);
    let text = screen.ends_with(2);
    assert!(text.contains("TERM=dumb"), "{text}");
    assert!(text.contains(&format!("subscriber watch {}", table.name())), "{text}");
    serving.stop(Signal::SIGTERM);
    // The demo prints lines, as it does without a terminal.
    let demo_table = Table::new("top-dumb-demo");
    let mut demo = publisher();
    demo.args(["demo", "--name", demo_table.name(), "--seconds", "1"]).env("TERM", "dumb");
    let mut screen = Screen::start(&mut demo, 80, 24);
    let text = screen.ends_with(0);
    assert!(text.contains("rows at the end"), "{text}");
}

#[test]
fn top_survives_the_publisher() {
    let table = Table::new("top-death");
    let mut serving = serve(&table, 10);
    let mut screen = top(&table, 80, 24);
    screen.shows("epoch 1");
    serving.process.kill();
    let text = screen.shows("gone");
    assert_eq!(names(&text).len(), 10, "the rows stay");
    // The next publisher has other fields.
    let mut other = Serving::start(table.name(), "id:u64,price:f64,unit:text(8)", &[]);
    screen.shows("alive");
    screen
        .until("the new columns are shown", |text| text.contains("unit") && !text.contains("name"));
    assert!(screen.line("alive").contains("epoch 2"));
    other.publish([r#"{"id":3,"price":1,"unit":"euro"}"#]);
    screen.shows("euro");
    other.stop(Signal::SIGTERM);
    screen.shows("closed");
    screen.press("q");
    screen.ends_with(0);
}

#[test]
fn top_waits_for_table() {
    let table = Table::new("top-waits");
    let mut screen = top(&table, 80, 24);
    screen.shows("waiting for a publisher of table");
    let mut other = top(&table, 80, 24);
    other.shows("waiting");
    other.press("q");
    other.ends_with(0);
    let serving = serve(&table, 3);
    screen.shows("name-3");
    screen.process.signal(Signal::SIGTERM);
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn signal_restores_the_terminal() {
    let table = Table::new("top-signals");
    let serving = serve(&table, 3);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut screen = top(&table, 80, 24);
        screen.shows("name-3");
        screen.process.signal(signal);
        screen.ends_with(0);
    }
    serving.stop(Signal::SIGTERM);
}

#[test]
fn closed_terminal_ends_top_with_success() {
    let table = Table::new("top-closed");
    let terminal = openpty(None, None).unwrap();
    // Otherwise the program inherits the descriptor, and the terminal is never closed.
    let close_on_exec = FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC);
    fcntl(&terminal.master, close_on_exec).unwrap();
    let end = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut command = subscriber();
    command.args(["top", table.name()]).stdin(end());
    let mut process = Process::start_in(&mut command, end(), end());
    let mut master = File::from(terminal.master);
    let mut text = String::new();
    while !text.contains("waiting") {
        let mut bytes = [0; 4096];
        let length = master.read(&mut bytes).unwrap();
        text += &String::from_utf8_lossy(&bytes[..length]);
    }
    drop(master);
    process.ends_with(0);
}

#[test]
fn signal_ends_top_in_a_terminal_that_nobody_reads() {
    let table = Table::new("top-unread");
    let serving = serve(&table, 300);
    let size = Winsize { ws_row: 300, ws_col: 300, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let end = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut command = subscriber();
    command.args(["top", table.name()]).stdin(end());
    let mut process = Process::start_in(&mut command, end(), end());
    let unread = || ioctl_fionread(&terminal.master).unwrap();
    until("the terminal is full", || unread() >= 4000);
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
    serving.stop(Signal::SIGTERM);
}

#[test]
fn top_restores_terminal_before_printing_errors() {
    let table = Table::new("top-wrong");
    let serving = serve(&table, 3);
    let arguments = ["top", table.name(), "--where", "cost > 5"];
    let mut screen = Screen::start(subscriber().args(arguments), 80, 24);
    let text = screen.ends_with(2);
    assert!(text.contains("there is no field \"cost\""), "{text}");
    let (stdout, stderr) = Process::run(subscriber().args(["top", table.name()]), 2);
    assert_eq!(stdout, "");
    assert!(stderr.contains(&format!("subscriber watch {}", table.name())), "{stderr}");
    serving.stop(Signal::SIGTERM);
}

#[test]
fn demo_draws_the_table_on_a_terminal() {
    let table = Table::new("top-demo");
    let mut demo = publisher();
    demo.args(["demo", "--name", table.name(), "--seconds", "3"]);
    let mut screen = Screen::start(&mut demo, 120, 24);
    screen.shows("published by process");
    screen.until("rows are shown", |text| text.contains("MiB"));
    until("a subscriber is registered", || table.remember() == 1);
    let text = screen.ends_with(0);
    assert!(text.contains("from commit to applied") && text.contains("rows at the end"), "{text}");
    assert_eq!(table.orphans(), Vec::<String>::new());
    let mut demo = publisher();
    demo.args(["demo", "--name", table.name(), "--seconds", "1"]).stdin(Stdio::null());
    let (stdout, _) = Process::run(&mut demo, 0);
    assert!(stdout.contains("rows at the end") && !stdout.contains('\x1b'), "{stdout}");
}
