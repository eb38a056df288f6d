//! `subscriber top` in pseudo-terminals.

use tests::programs::subscriber;
use tests::screen::Screen;
use tests::serving::Serving;
use tests::table::Table;

const FIELDS: &str = "id:u64,name:text(16),price:f64,size_bytes:u64";

/// A table of rows 1 to `count`, whose names and prices tell their numbers.
fn serve(table: &Table, count: u64) -> Serving {
    let mut serving = Serving::start(table.name(), FIELDS, &[]);
    let row = |id: u64| {
        let price = (count - id) as f64 / 4.0;
        format!(r#"{{"id":{id},"name":"name {id}","price":{price},"size_bytes":{}}}"#, id * 1024)
    };
    let lines = (1..=count).map(row);
    serving.publish(
        std::iter::once(r#"{"op":"begin"}"#.to_owned())
            .chain(lines)
            .chain([r#"{"op":"commit"}"#.to_owned()]),
    );
    serving
}

#[test]
fn dump() {
    let table = Table::new("top-dump");
    let mut serving = serve(&table, 100);
    for (columns, lines) in [(80, 24), (40, 10), (200, 50), (20, 5)] {
        let mut screen = Screen::start(subscriber().args(["top", table.name()]), columns, lines);
        screen.shows("name 1");
        serving.publish([r#"{"op":"update","row":{"id":2,"name":"changed","price":1.5,"size_bytes":7}}"#, r#"{"op":"delete","key":{"id":4}}"#, r#"{"id":4,"name":"new","price":1,"size_bytes":7}"#, r#"{"op":"delete","key":{"id":3}}"#]);
        std::thread::sleep(std::time::Duration::from_millis(700));
        println!("{columns}x{lines}\n{}", screen.text());
        screen.press("s");
        std::thread::sleep(std::time::Duration::from_millis(200));
        println!("{}", screen.text());
        screen.press("?");
        std::thread::sleep(std::time::Duration::from_millis(200));
        println!("{}", screen.text());
        screen.press("?/price >");
        std::thread::sleep(std::time::Duration::from_millis(200));
        println!("{}", screen.text());
        screen.press(" 5\rq");
        screen.ends_with(0);
        serving.publish([r#"{"id":3,"name":"new","price":1,"size_bytes":7}"#]);
    }
}
