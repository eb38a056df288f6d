//! Opening a table to read it in place: the time does not depend on its rows.

use std::hint::black_box;
use std::path::PathBuf;

use common::Reader;

use super::read::publish;
use super::{Case, bar, unique};
use crate::machine::pin;
use crate::measure::{Figure, batches};
use crate::other::{HERE, Other, THERE, serve};
use crate::peers::blackboard::Blackboard;
use crate::peers::lmdb::Lmdb;
use crate::row::Row;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const MOST: usize = 10_000_000;

/// Opening without a copy.
pub const OPEN: Case = Case {
    name: "open",
    about: "opening a table to read it in place, and the same with its first row; each time in a process that has opened it before",
    run,
    bars: &[
        bar("Reader::open, 10,000,000 rows", "Reader::open, 1,000 rows", 1.5),
        bar("Reader::open and get, 1,000,000 rows", "LMDB open and get, 1,000,000 rows", 1.5),
    ],
};

/// Publishes tables of each size.
pub fn host(arguments: &[String]) {
    pin(THERE);
    let [name, folder] = arguments else { panic!("name, folder") };
    let publishers = [FEW, MANY, MOST].map(|rows| publish(&table(name, rows), rows));
    let lmdb = Lmdb::open(&PathBuf::from(folder));
    lmdb.put((0..MANY as u64).map(|key| Row::new(key, 1)));
    let board = Blackboard::create(name, (0..FEW as u64).map(|key| Row::new(key, 1)));
    serve(|_| String::new());
    drop(board);
    for publisher in publishers {
        publisher.close().expect("a live table");
    }
}

fn table(name: &str, rows: usize) -> String {
    format!("{name}-{rows}")
}

fn run() -> Vec<Figure> {
    let name = unique("open");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().display().to_string();
    let _host = Other::start("open-host", &[name.clone(), path]);
    pin(HERE);
    let open = |rows| Reader::<Row>::open(&table(&name, rows)).expect("it is published");
    vec![
        batches("Reader::open and get, 1,000,000 rows", 1, || {
            let reader = open(MANY);
            black_box(reader.get(&(MANY as u64 / 2)).expect("a live table").expect("the key"));
            reader
        }),
        batches("LMDB open and get, 1,000,000 rows", 1, || {
            let lmdb = Lmdb::open_to_read(folder.path());
            let tx = lmdb.env.read_txn().expect("a reader");
            black_box(lmdb.rows.get(&tx, &(MANY as u64 / 2)).expect("a table").expect("the key"));
            drop(tx);
            lmdb
        }),
        batches("iceoryx2 open and get, 1,000 rows", 1, || {
            let board = Blackboard::open(&name);
            let reader = board.reader();
            let entry = reader.entry::<Row>(&(FEW as u64 / 2)).expect("the key");
            black_box(*entry.get());
            drop(entry);
            (reader, board)
        }),
        batches("Reader::open, 1,000 rows", 1, || open(FEW)),
        batches("Reader::open, 1,000,000 rows", 1, || open(MANY)),
        batches("Reader::open, 10,000,000 rows", 1, || open(MOST)),
    ]
}
