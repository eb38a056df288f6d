use std::sync::Arc;

use common::{RowBuf, Schema, UntypedPublisher};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::top::test_table::Left;

const FIELDS: &str = "id:u32,name:text(24),price:f64,size_bytes:u64,note:text(40)";

/// A publisher and a subscriber in this process, and the subscriber's view.
struct Fixture {
    publisher: UntypedPublisher,
    copy: UntypedSubscriber,
    app: App,
    now: Instant,
    _left: Left,
}

impl Fixture {
    fn new(test: &str, rows: &[[&str; 5]]) -> Self {
        Self::with(test, FIELDS, rows, Wanted::default())
    }

    fn with(test: &str, fields: &str, rows: &[[&str; 5]], wanted: Wanted) -> Self {
        let name = format!("app-{test}-{}", std::process::id());
        let schema = Schema::parse(fields, None).unwrap();
        let publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let copy = UntypedSubscriber::open(&name).unwrap();
        let app = App::new("prices", wanted, Colours::new(true), None);
        let now = Instant::now();
        let mut fixture = Self {
            publisher,
            copy,
            app,
            now,
            _left: Left(name),
        };
        fixture.commit(rows, &[]);
        fixture.copy.refresh().unwrap();
        fixture.app.attach(&fixture.copy, now).unwrap();
        fixture
    }

    fn commit(&mut self, rows: &[[&str; 5]], deleted: &[u32]) {
        let schema = Arc::clone(self.publisher.schema());
        let mut tx = self.publisher.begin();
        for cells in rows {
            let mut row = RowBuf::new(Arc::clone(&schema));
            for (index, cell) in cells.iter().take(schema.fields().len()).enumerate() {
                row.set_text(index, cell).unwrap();
            }
            tx.upsert(row.bytes()).unwrap();
        }
        for id in deleted {
            tx.delete(&id.to_le_bytes()).unwrap();
        }
        tx.commit().unwrap();
    }

    fn change(&mut self, rows: &[[&str; 5]], deleted: &[u32]) {
        self.commit(rows, deleted);
        assert!(self.app.refresh(&mut self.copy).unwrap());
        self.now = Instant::now();
    }

    fn press(&mut self, keys: &str) -> Asks {
        let mut asks = Asks::Nothing;
        for key in keys.chars() {
            let key = match key {
                '\n' => Key::Enter,
                '\u{1b}' => Key::Escape,
                '\u{7f}' => Key::Backspace,
                '→' => Key::Right,
                '←' => Key::Left,
                '↓' => Key::Down,
                '↘' => Key::End,
                '\u{3}' => Key::Control('c'),
                letter => Key::Letter(letter),
            };
            asks = self.app.press(key, Some(&self.copy), self.now);
            while self.app.due().is_some() {
                self.app.work(&self.copy, WHILE);
            }
        }
        asks
    }

    fn draw(&mut self, columns: u16, lines: u16) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
        self.app.draw(Some(&self.copy), &mut buffer, self.now);
        buffer
    }

    fn text(&mut self, columns: u16, lines: u16) -> Vec<String> {
        let buffer = self.draw(columns, lines);
        let line = |y| -> String {
            let symbols = (0..columns).map(|x| buffer[(x, y)].symbol());
            symbols.collect::<String>().trim_end().to_owned()
        };
        (0..lines).map(line).collect()
    }

    /// Returns the names in the rows of a picture.
    fn names(&mut self) -> Vec<String> {
        let lines = self.text(100, 24);
        let rows = lines[4..23].iter().filter(|line| !line.is_empty());
        rows.map(|line| {
            line[1..]
                .split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
    }
}

const WHILE: Duration = Duration::from_millis(5);

fn rows() -> Vec<[&'static str; 5]> {
    vec![
        ["1", "one", "3.5", "1536", ""],
        ["2", "two", "NaN", "0", "second"],
        ["3", "three", "-1", "1048576", "x"],
        ["4", "four", "10", "7", "日本"],
    ]
}

#[test]
fn picture_shows_header_rows_and_footer() {
    let mut fixture = Fixture::new("picture", &rows());
    let pid = std::process::id();
    let lines = fixture.text(80, 12);
    assert!(
        lines[0].starts_with(&format!(" prices  alive  pid {pid}  epoch 1 ")),
        "{lines:#?}"
    );
    assert!(lines[0].ends_with("version 2  rows 4"), "{lines:#?}");
    assert!(
        lines[1].starts_with(" changes/s          0  commits/s          0"),
        "{lines:#?}"
    );
    assert!(
        lines[2].starts_with(" delay p99          –  delay p50          –"),
        "{lines:#?}"
    );
    let table = [
        " id▲  name   price     size  note",
        "   1  one      3.5  1.5 KiB",
        "   2  two      NaN      0 B  second",
        "   3  three     -1  1.0 MiB  x",
        "   4  four      10      7 B  日 本",
    ];
    assert_eq!(lines[3..8], table);
    assert!(lines[11].ends_with("? help  1–4 of 4"), "{lines:#?}");
}

#[test]
fn sort_keys_choose_and_reverse_order() {
    let mut fixture = Fixture::new("order", &rows());
    assert_eq!(fixture.names(), ["one", "two", "three", "four"]);
    fixture.press("s");
    assert_eq!(fixture.names(), ["four", "one", "three", "two"], "by name");
    fixture.press(">");
    assert_eq!(
        fixture.names(),
        ["four", "one", "three", "two"],
        "the highest price first"
    );
    fixture.press("r");
    assert_eq!(
        fixture.names(),
        ["three", "one", "four", "two"],
        "NaN is last"
    );
    assert!(fixture.text(100, 24)[3].contains("price▲"));
    fixture.press("<<r");
    assert_eq!(
        fixture.names(),
        ["four", "three", "two", "one"],
        "by key, reversed"
    );
    fixture.press("r");
    assert_eq!(fixture.app.model.as_ref().unwrap().sort(), None);
    fixture.press("<");
    assert!(
        fixture.text(100, 24)[3].contains("note▲"),
        "wraps around to the last column"
    );
}

#[test]
fn prompt_filters_and_footer_shows_errors() {
    let mut fixture = Fixture::new("filter", &rows());
    let footer = |fixture: &mut Fixture| fixture.text(100, 24)[23].clone();
    fixture.press("/O");
    assert_eq!(
        fixture.names(),
        Vec::<String>::new(),
        "a capital letter is one"
    );
    fixture.press("\u{7f}o");
    assert_eq!(
        fixture.names(),
        ["one", "two", "four",],
        "{}",
        footer(&mut fixture)
    );
    fixture.press("\u{7f}price > 3");
    assert_eq!(fixture.names(), ["one", "four"]);
    fixture.press("x");
    assert_eq!(fixture.names(), ["one", "four"], "the last one stays");
    let line = footer(&mut fixture);
    assert!(
        line.starts_with(" /price > 3x▏") && line.contains("field \"price\" is f64"),
        "{line}"
    );
    fixture.press("\u{7f}.6\n");
    assert_eq!(fixture.names(), ["four"]);
    assert!(footer(&mut fixture).starts_with(" /price > 3.6"));
    fixture.press("\u{1b}");
    assert_eq!(fixture.names().len(), 4);
    // The beginning of a condition must not act as a text filter.
    fixture.press("/price ");
    assert_eq!(fixture.names().len(), 4);
    assert!(footer(&mut fixture).contains("an operator is missing"));
    fixture.press("\u{1b}");
    assert!(!footer(&mut fixture).contains("missing"));
}

#[test]
fn created_updated_and_deleted_rows_have_distinct_marks() {
    let mut fixture = Fixture::new("marks", &rows());
    fixture.draw(80, 12);
    fixture.change(
        &[["1", "one", "4.5", "1536", ""], ["5", "five", "0", "0", ""]],
        &[3],
    );
    let buffer = fixture.draw(80, 12);
    let colour = |x, y| (buffer[(x, y)].symbol(), buffer[(x, y)].bg);
    let lines = fixture.text(80, 12);
    assert_eq!(
        lines[4..9]
            .iter()
            .map(|line| &line[..1])
            .collect::<String>(),
        "  - +"
    );
    assert_eq!(colour(16, 4), (".", Color::Yellow), "{lines:#?}");
    assert_eq!(colour(8, 4), ("e", Color::Reset));
    assert_eq!((colour(7, 6).1, colour(7, 8).1), (Color::Red, Color::Green));
    assert!(fixture.app.fades());
    fixture.now += Duration::from_secs(1);
    let buffer = fixture.draw(80, 12);
    assert_eq!(
        (buffer[(16, 4)].bg, buffer[(16, 4)].fg),
        (Color::Reset, Color::Yellow)
    );
    fixture.now += Duration::from_secs(2);
    let lines = fixture.text(80, 12);
    assert_eq!(lines[6], "   4  four      10      7 B  日 本");
    assert!(!fixture.app.fades());
}

#[test]
fn without_colours_changes_use_modifiers() {
    let mut fixture = Fixture::new("plain", &rows());
    fixture.app.colours = Colours::new(false);
    fixture.draw(80, 12);
    fixture.change(
        &[["1", "one", "4.5", "1536", ""], ["5", "five", "0", "0", ""]],
        &[3],
    );
    let buffer = fixture.draw(80, 12);
    let modifier = |x, y| buffer[(x, y)].modifier;
    assert!(modifier(16, 4).contains(Modifier::UNDERLINED));
    assert!(modifier(7, 8).contains(Modifier::BOLD));
    assert!(modifier(7, 6).contains(Modifier::CROSSED_OUT));
    assert!(
        buffer
            .content()
            .iter()
            .all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset))
    );
}

#[test]
fn frozen_picture_is_stable_and_scrollable() {
    let ids: Vec<String> = (0..100).map(|id| format!("{id:03}")).collect();
    let rows: Vec<[&str; 5]> = ids
        .iter()
        .map(|id| [id.as_str(), id, "0", "0", ""])
        .collect();
    let mut fixture = Fixture::new("frozen", &rows);
    assert_eq!(fixture.names().len(), 19);
    fixture.press("f");
    fixture.change(&[["0", "changed", "0", "0", ""]], &[1, 2, 99]);
    assert_eq!(fixture.names()[..3], ["000", "001", "002"]);
    let lines = fixture.text(100, 24);
    assert!(
        lines[23].contains("frozen at version 2") && lines[23].ends_with("of 100"),
        "{lines:#?}"
    );
    assert!(lines[0].ends_with("version 3  rows 97"), "the rest goes on");
    fixture.press("↘");
    assert_eq!(fixture.names().last().unwrap(), "099");
    fixture.press(" ");
    assert_eq!(fixture.names().last().unwrap(), "098");
    assert!(fixture.text(100, 24)[23].ends_with("79–97 of 97"));
}

#[test]
fn arrow_keys_scroll_columns() {
    let mut fixture = Fixture::new("columns", &rows());
    let names = |fixture: &mut Fixture| fixture.text(24, 6)[1].clone();
    assert_eq!(names(&mut fixture), " id▲  name   price     ›");
    fixture.press("→");
    assert_eq!(names(&mut fixture), "‹id▲  price     size   ›");
    for _ in 0..10 {
        fixture.press("→");
        fixture.draw(24, 6);
    }
    assert_eq!(names(&mut fixture), "‹id▲     size  note");
    fixture.press("←←←←");
    assert_eq!(names(&mut fixture), " id▲  name   price     ›");
    // Sorting scrolls to the sort column.
    fixture.press("<");
    assert!(names(&mut fixture).contains("note▲"));
}

#[test]
fn narrow_sorted_column_keeps_its_mark() {
    let fields = "id:u32,a_very_long_field_name:u8,c:f64,d:u64,e:text(8)";
    let rows = [["1", "5", "1", "2", "x"]];
    for (order, mark) in [("", "▲"), (":desc", "▼")] {
        let wanted = Wanted {
            sort: Some(format!("a_very_long_field_name{order}")),
            ..Wanted::default()
        };
        let mut fixture = Fixture::with("mark", fields, &rows, wanted);
        for columns in 14..60 {
            let names = fixture.text(columns, 6)[1].clone();
            assert!(names.contains(mark), "{names:?} in {columns} columns");
        }
    }
}

#[test]
fn scrolled_out_columns_return_when_all_fit() {
    let mut fixture = Fixture::new("room", &rows());
    fixture.text(24, 6);
    for _ in 0..3 {
        fixture.press("→");
        fixture.draw(24, 6);
    }
    assert!(!fixture.text(24, 6)[1].contains("price"));
    let names = fixture.text(60, 6)[1].clone();
    assert!(names.starts_with(" id▲  name"), "{names}");
}

#[test]
fn schema_change_by_same_publisher_changes_columns() {
    let mut fixture = Fixture::new("reshaped", &rows());
    fixture.draw(80, 12);
    let schema = Schema::parse("size_bytes:u64,id:u32,name:text(24)", Some("id")).unwrap();
    // No row differs in the fields that both schemas have.
    let all: Vec<Vec<u8>> = rows()
        .iter()
        .map(|[id, name, _, size, _]| {
            let mut row = RowBuf::new(schema.clone().into());
            for (index, cell) in [*size, *id, *name].into_iter().enumerate() {
                row.set_text(index, cell).unwrap();
            }
            row.bytes().to_vec()
        })
        .collect();
    fixture.publisher.reshape(schema, 10, all).unwrap();
    assert!(fixture.app.refresh(&mut fixture.copy).unwrap());
    let lines = fixture.text(80, 12);
    assert_eq!(lines[3], "    size  id▲  name", "{lines:#?}");
    fixture.change(&[["7", "5", "five", "", ""]], &[]);
    let lines = fixture.text(80, 12);
    assert!(
        lines.iter().any(|line| line.ends_with("7 B    5  five")),
        "{lines:#?}"
    );
}

#[test]
fn schema_change_by_successor_changes_columns() {
    let mut fixture = Fixture::new("schema", &rows());
    fixture.draw(80, 12);
    fixture.press("ss/price > 0\n");
    assert_eq!(fixture.names(), ["four", "one"]);
    let (name, schema) = (
        fixture.copy.name().to_owned(),
        Schema::parse("id:u32,price:f64,unit:text(8)", None).unwrap(),
    );
    // The first publisher ends without closing the table, so that the rows stay.
    let idle = Left(format!("{name}-idle"));
    let one_field = Schema::parse("id:u32", None).unwrap();
    let idle_publisher = UntypedPublisher::builder(&idle.0, one_field)
        .open()
        .unwrap();
    drop(std::mem::replace(&mut fixture.publisher, idle_publisher));
    let other = UntypedPublisher::builder(&name, schema).open().unwrap();
    std::mem::replace(&mut fixture.publisher, other)
        .close()
        .unwrap();
    let mut tries = 0;
    while fixture.copy.schema().fields().len() != 3 && tries < 2000 {
        fixture.app.refresh(&mut fixture.copy).unwrap();
        tries += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    fixture.press("");
    while fixture.app.due().is_some() {
        fixture.app.work(&fixture.copy, WHILE);
    }
    let lines = fixture.text(80, 12);
    assert_eq!(
        lines[3..6],
        [" id  price▼  unit", "  4      10", "  1     3.5"],
        "{lines:#?}"
    );
    assert!(lines[0].contains("epoch 2"), "{lines:#?}");
}

#[test]
fn draws_at_any_size() {
    let nasty = "\u{1b}[2J日\u{202e}";
    let mut fixture = Fixture::new(
        "sizes",
        &[
            ["1", nasty, "1", "1", "☁\u{fe0f}日本語日本語日本語"],
            ["2", "\t", "1e300", "0", ""],
        ],
    );
    for setup in ["", "→", "/日", "\n?", " f", "s/name contains (", "\u{1b}"] {
        fixture.press(setup);
        for columns in 0..60 {
            for lines in 0..16 {
                let buffer = fixture.draw(columns, lines);
                for cell in buffer.content() {
                    assert!(!cell.symbol().contains(char::is_control));
                }
            }
        }
    }
    assert_eq!(fixture.press("q"), Asks::Quit);
    assert_eq!(fixture.press("/q"), Asks::Nothing);
    assert_eq!(fixture.press("\u{3}"), Asks::Quit);
}

#[test]
fn without_table_names_the_awaited_table() {
    let mut app = App::new("no\nne", Wanted::default(), Colours::new(false), None);
    for (columns, lines) in [(0, 0), (20, 5), (80, 24)] {
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
        app.draw(None, &mut buffer, Instant::now());
        let text: String = buffer
            .content()
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        assert_eq!(
            text.contains("waiting for a publisher of table \"no\\nne\""),
            columns == 80
        );
    }
    assert_eq!(
        app.press(Key::Letter('/'), None, Instant::now()),
        Asks::Nothing
    );
    assert_eq!(
        app.press(Key::Letter('q'), None, Instant::now()),
        Asks::Quit
    );
}
