//! From opening a table of 100,000 rows to the first row of it.

use std::hint::black_box;
use std::path::PathBuf;

use common::Subscriber;

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, batches};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::lmdb::Lmdb;
use crate::row::Row;

const ROWS: usize = 100_000;

/// Opening a table.
pub const ATTACH: Case = Case {
    name: "attach",
    about: "from opening a table of 100,000 rows to its first row, local copy and index and all",
    run,
    bars: &[bar("open and get", "LMDB copying them out", 1.0)],
};

/// Publishes.
pub fn host(arguments: &[String]) {
    pin(THERE);
    let [name, folder] = arguments else { panic!("name, folder") };
    let publisher = publish(name, ROWS);
    let lmdb = Lmdb::open(&PathBuf::from(folder));
    lmdb.put((0..ROWS as u64).map(|key| Row::new(key, 1)));
    serve(|_| String::new());
    publisher.close().expect("a live table");
}

fn run() -> Vec<Figure> {
    let name = unique("attach");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().display().to_string();
    let _host = Other::start("attach-host", &[name.clone(), path]);
    pin(HERE);
    let lmdb = Lmdb::open(folder.path());
    let mut from: Vec<Row> = (0..ROWS as u64).map(|key| Row::new(key, 1)).collect();
    vec![
        batches("open and get", 1, || {
            let subscriber = Subscriber::<Row>::open(&name).expect("it is published");
            black_box(subscriber.get(&(ROWS as u64 / 2)));
            subscriber
        }),
        batches("LMDB copying them out", 1, || {
            let mut rows = Vec::new();
            lmdb.copy_out(&mut rows);
            rows
        }),
        batches("memcpy of the same bytes", 1, || {
            let copy = black_box(&from).clone();
            from = black_box(copy);
        }),
    ]
}
