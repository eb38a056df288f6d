//! Taking over ten changed rows of 1,000,000, which another core has just written.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use common::Subscriber;

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::Figure;
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::plain::Plain;
use crate::row::{Random, Row};

const ROWS: usize = 1_000_000;
const CHANGES: usize = 10;
const TIMES: usize = 300;

/// A few rows of many.
pub const FEW: Case = Case {
    name: "catch-up",
    about: "ten rows of 1,000,000, just written on the other core, come into the local copy",
    run,
    bars: &[bar("refresh", "copying just these ten", 4.0)],
};

/// Commits on request, writes the same rows into a plain mapping, and answers with the keys.
pub fn publisher(arguments: &[String]) {
    pin(THERE);
    let [name, path] = arguments else { panic!("name, path") };
    let mut publisher = publish(name, ROWS);
    let plain = Plain::open(Path::new(path), ROWS);
    let mut random = Random::new(7);
    let mut version = 1;
    serve(|_| {
        version += 1;
        let keys = random.numbers(CHANGES, ROWS);
        let mut tx = publisher.begin();
        for key in &keys {
            let row = Row::new(*key as u64, version);
            tx.upsert(&row).expect("room");
            plain.write(*key, &row);
        }
        tx.commit().expect("room");
        let keys: Vec<String> = keys.iter().map(usize::to_string).collect();
        keys.join(" ")
    });
    publisher.close().expect("a live table");
}

fn run() -> Vec<Figure> {
    let name = unique("catch-up");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join("plain");
    let arguments = [name.clone(), path.display().to_string()];
    let mut other = Other::start("catch-up-publisher", &arguments);
    pin(HERE);
    let plain = Plain::open(&path, ROWS);
    let mut subscriber = Subscriber::<Row>::open(&name).expect("it is published");
    let (mut refreshes, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let keys = other.ask("commit");
        let keys: Vec<usize> = keys.split(' ').map(|key| key.parse().expect("a key")).collect();
        let start = Instant::now();
        for key in &keys {
            black_box(plain.read(*key));
        }
        copies.push(start.elapsed().as_nanos() as f64);
        let start = Instant::now();
        let changes = black_box(subscriber.refresh().expect("whole").len());
        refreshes.push(start.elapsed().as_nanos() as f64);
        assert!(changes > 0, "it was committed");
    }
    vec![Figure::of("refresh", refreshes), Figure::of("copying just these ten", copies)]
}
