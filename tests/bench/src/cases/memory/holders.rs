//! The processes whose memory is counted: one that writes the table, and any number that have read
//! all of it and hold it.

use std::path::PathBuf;

use common::{Reader, Subscriber};

use super::super::read::publish;
use crate::other::serve;
use crate::peers::blackboard::Blackboard;
use crate::peers::blob::{self, Blob};
use crate::peers::lmdb::Lmdb;
use crate::row::Row;

/// iceoryx2 looks a key up by looking at all of them: the time until a process holds an entry for
/// each grows with their square.
pub const FEW: usize = 1_000;

/// Number of keys of a call of `get_many`. It divides the number of rows.
const KEYS: usize = 1_000;

/// A way of sharing a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not at all: what such a process takes by itself.
    Nothing,
    /// This one, with a copy in each reader.
    Tablecast,
    /// This one, with readers that read in place.
    TablecastReader,
    /// LMDB.
    Lmdb,
    /// mmap-sync.
    Blob,
    /// iceoryx2.
    Blackboard,
}

impl Way {
    /// All of them, in the report's order.
    pub const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Tablecast,
        Self::TablecastReader,
        Self::Lmdb,
        Self::Blob,
        Self::Blackboard,
    ];

    /// Name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing opened",
            Self::Tablecast => "Tablecast",
            Self::TablecastReader => "Tablecast, Reader",
            Self::Lmdb => "LMDB",
            Self::Blob => "mmap-sync",
            Self::Blackboard => "iceoryx2, 1,000 rows only",
        }
    }

    fn named(name: &str) -> Self {
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.expect("a way")
    }
}

fn rows(count: usize) -> impl Iterator<Item = Row> {
    (0..count as u64).map(|key| Row::new(key, 1))
}

fn told(arguments: &[String]) -> (Way, &str, PathBuf, usize) {
    let [way, name, folder, count] = arguments else { panic!("way, name, folder, count") };
    (Way::named(way), name, PathBuf::from(folder), count.parse().expect("a number"))
}

fn hold() {
    serve(|_| String::new());
}

/// Writes the table, and holds it.
pub fn host(arguments: &[String]) {
    let (way, name, folder, count) = told(arguments);
    match way {
        Way::Nothing => hold(),
        Way::Tablecast | Way::TablecastReader => {
            let publisher = publish(name, count);
            hold();
            publisher.close().expect("a live table");
        }
        Way::Lmdb => {
            let lmdb = Lmdb::open(&folder);
            lmdb.put(rows(count));
            hold();
        }
        Way::Blob => {
            let mut file = blob::open(&folder.join("blob"));
            // Both of its files have been used, as after any two writes.
            for _ in 0..2 {
                Blob::of(rows(count)).write(&mut file);
            }
            hold();
        }
        Way::Blackboard => {
            let board = Blackboard::create(name, rows(FEW));
            hold();
            drop(board);
        }
    }
}

/// Reads all of it, and holds it.
pub fn reader(arguments: &[String]) {
    let (way, name, folder, count) = told(arguments);
    let sum = |rows: &mut dyn Iterator<Item = u64>| {
        let sum: u64 = rows.sum();
        assert!(sum > 0, "there are rows");
    };
    match way {
        Way::Nothing => hold(),
        Way::Tablecast => {
            let subscriber = Subscriber::<Row>::open(name).expect("it is published");
            sum(&mut subscriber.iter().map(|row| row.a));
            hold();
        }
        Way::TablecastReader => {
            let reader = Reader::<Row>::open(name).expect("it is published");
            for first in (0..count as u64).step_by(KEYS) {
                let keys: Vec<u64> = (first..first + KEYS as u64).collect();
                let visit = |_, row: Option<Row>| assert!(row.is_some());
                reader.get_many(&keys, visit).expect("a live table");
            }
            hold();
        }
        Way::Lmdb => {
            let lmdb = Lmdb::open(&folder);
            let tx = lmdb.env.read_txn().expect("a reader");
            let all = lmdb.rows.iter(&tx).expect("a table");
            sum(&mut all.map(|row| bytemuck::pod_read_unaligned::<Row>(row.expect("a row").1).a));
            hold();
        }
        Way::Blob => {
            let mut file = blob::open(&folder.join("blob"));
            // SAFETY: its writer writes no more.
            let blob = unsafe { file.read::<Blob>(false) }.expect("it is there");
            sum(&mut blob.rows.iter().map(|row| row[1]));
            hold();
        }
        Way::Blackboard => {
            let board = Blackboard::open(name);
            let reader = board.reader();
            let entries = (0..FEW as u64).map(|key| reader.entry::<Row>(&key).expect("the key"));
            let entries: Vec<_> = entries.collect();
            sum(&mut entries.iter().map(|entry| entry.get().a));
            hold();
        }
    }
}
