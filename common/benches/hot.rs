//! Benchmarks of the most frequent calls, for work on the code: `cargo bench -p common`.
//!
//! Publisher and subscriber share a thread, so no cache line moves between cores. `tests/bench`
//! measures separate processes and compares them with peers.

use bytemuck::{Pod, Zeroable};
use common::{Publisher, Reader, Row, Subscriber, Text};
use divan::{Bencher, black_box};

/// Numbers of rows: one fits into a near cache, the other does not.
const ROWS: [u64; 2] = [1_000, 100_000];
/// Rows of a commit.
const CHANGES: u64 = 10;
/// Distance of consecutive keys. It has no divisor in common with the numbers of rows, so all keys
/// occur.
const STRIDE: u64 = 61_803;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Row)]
struct Wide {
    #[row(key)]
    key: u64,
    version: u64,
    rest: Text<48>,
}

fn main() {
    divan::main();
}

/// Keys all over a table, without end.
#[derive(Clone, Copy)]
struct Keys {
    rows: u64,
    last: u64,
}

impl Iterator for Keys {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.last = (self.last + STRIDE) % self.rows;
        Some(self.last)
    }
}

/// A table that this process publishes, and that is removed with this value.
struct Table {
    name: String,
    keys: Keys,
    version: u64,
    publisher: Option<Publisher<Wide>>,
}

impl Table {
    fn new(what: &str, rows: u64) -> Self {
        let name = format!("bench-{what}-{rows}-{}", std::process::id());
        let builder = Publisher::builder(&name).capacity(rows as usize);
        let mut table = Self {
            publisher: Some(builder.open().expect("a new table")),
            keys: Keys { rows, last: 0 },
            version: 0,
            name,
        };
        table.commit(rows);
        table
    }

    /// Commits `changes` rows.
    fn commit(&mut self, changes: u64) {
        self.version += 1;
        let publisher = self.publisher.as_mut().expect("it is open");
        let mut tx = publisher.begin();
        for key in self.keys.by_ref().take(changes as usize) {
            let rest = Zeroable::zeroed();
            let row = Wide { key, version: self.version, rest };
            tx.upsert(&row).expect("room");
        }
        tx.commit().expect("room");
    }

    /// Opens a reader, and touches the pages of index and rows.
    fn read(&self) -> Reader<Wide> {
        let reader = Reader::open(&self.name).expect("it is published");
        for key in self.keys.take(10_000) {
            reader.get(&key).expect("nobody writes");
        }
        reader
    }

    fn subscribe(&self) -> Subscriber<Wide> {
        Subscriber::open(&self.name).expect("it is published")
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.close().expect("its own table");
        }
    }
}

#[divan::bench(args = ROWS)]
fn get(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("get", rows);
    let (subscriber, mut keys) = (table.subscribe(), table.keys);
    bencher.bench_local(|| {
        let key = keys.next().expect("keys have no end");
        black_box(subscriber.get(&key).copied())
    });
}

#[divan::bench(args = ROWS)]
fn latest(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("latest", rows);
    let (subscriber, mut keys) = (table.subscribe(), table.keys);
    // The first calls open the index and touch its pages.
    for key in keys.take(10_000) {
        subscriber.latest(&key).expect("nobody writes");
    }
    bencher.bench_local(|| {
        let key = keys.next().expect("keys have no end");
        black_box(subscriber.latest(&key).expect("nobody writes"))
    });
}

#[divan::bench(args = ROWS)]
fn reader_get(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("reader-get", rows);
    let (reader, mut keys) = (table.read(), table.keys);
    bencher.bench_local(|| {
        let key = keys.next().expect("keys have no end");
        black_box(reader.get(&key).expect("nobody writes"))
    });
}

#[divan::bench(args = ROWS)]
fn entry_read(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("entry-read", rows);
    let reader = table.read();
    let mut entry = reader.entry(&7).expect("nobody writes").expect("the key exists");
    bencher.bench_local(|| black_box(entry.read().expect("nobody writes")));
}

/// Reads a thousand keys as of one version.
#[divan::bench(args = ROWS)]
fn reader_get_1000(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("reader-get-many", rows);
    let (reader, keys) = (table.read(), table.keys);
    let keys: Vec<u64> = keys.take(100 * CHANGES as usize).collect();
    bencher.bench_local(|| {
        let mut sum = 0;
        reader
            .get_many(&keys, |_, row| sum += row.map_or(0, |row| row.version))
            .expect("nobody writes");
        black_box(sum)
    });
}

/// Deletes ten rows and inserts ten others, so that the key index changes.
#[divan::bench(args = ROWS)]
fn replace_ten_keys_and_commit(bencher: Bencher<'_, '_>, rows: u64) {
    let name = format!("bench-replace-{rows}-{}", std::process::id());
    let builder = Publisher::<Wide>::builder(&name).capacity(2 * rows as usize);
    let mut publisher = builder.open().expect("a new table");
    let row = |key| Wide { key, version: 0, rest: Zeroable::zeroed() };
    let mut tx = publisher.begin();
    (0..rows).for_each(|key| tx.insert(&row(key)).expect("room"));
    tx.commit().expect("room");
    let mut first = 0;
    bencher.bench_local(|| {
        let mut tx = publisher.begin();
        for key in first..first + CHANGES {
            tx.delete(&key).expect("the key exists");
            tx.insert(&row(key + rows)).expect("room");
        }
        first += CHANGES;
        tx.commit().expect("room")
    });
    publisher.close().expect("its own table");
}

fn insert(publisher: &mut Publisher<Wide>, keys: std::ops::Range<u64>) {
    let mut tx = publisher.begin();
    for key in keys {
        tx.insert(&Wide { key, version: 0, rest: Zeroable::zeroed() }).expect("room");
    }
    tx.commit().expect("room");
}

/// Inserts a million rows, ten in each commit. The table grows from its default capacity on, or has
/// room for all of them.
#[divan::bench(args = [1024, 1_000_000], sample_size = 1, sample_count = 10)]
fn insert_a_million(bencher: Bencher<'_, '_>, capacity: usize) {
    let name = format!("bench-insert-{capacity}-{}", std::process::id());
    let open = || Publisher::<Wide>::builder(&name).capacity(capacity).open().expect("a new table");
    bencher.with_inputs(open).bench_local_values(|mut publisher| {
        for first in (0..1_000_000).step_by(CHANGES as usize) {
            insert(&mut publisher, first..first + CHANGES);
        }
        publisher.close().expect("its own table");
    });
}

/// Commits one row that does not fit into a table of 250,000 rows, which then has room for a
/// million.
#[divan::bench(sample_size = 1, sample_count = 10)]
fn grow_from_250_000_rows(bencher: Bencher<'_, '_>) {
    let mut sample = 0;
    let full = || {
        sample += 1;
        Table::new(&format!("grow-{sample}"), 250_000)
    };
    bencher.with_inputs(full).bench_local_refs(|table| {
        let publisher = table.publisher.as_mut().expect("it is open");
        insert(publisher, 250_000..250_001);
        assert_eq!(publisher.capacity(), 1_000_000);
    });
}

#[divan::bench(args = ROWS)]
fn upsert_ten_and_commit(bencher: Bencher<'_, '_>, rows: u64) {
    let mut table = Table::new("commit", rows);
    bencher.bench_local(|| table.commit(CHANGES));
}

// One iteration per sample: a larger sample would make all its commits before the first refresh.
#[divan::bench(args = ROWS, sample_size = 1, sample_count = 1000)]
fn refresh_by_ten(bencher: Bencher<'_, '_>, rows: u64) {
    let mut table = Table::new("refresh", rows);
    let mut subscriber = table.subscribe();
    bencher.with_inputs(|| table.commit(CHANGES)).bench_local_values(|()| {
        let changes = subscriber.refresh().expect("nobody writes").len();
        assert_eq!(changes as u64, CHANGES);
    });
}

#[divan::bench]
fn refresh_by_nothing(bencher: Bencher<'_, '_>) {
    let table = Table::new("nothing", ROWS[0]);
    let mut subscriber = table.subscribe();
    bencher.bench_local(|| subscriber.refresh().expect("nobody writes").len());
}

#[divan::bench(args = ROWS)]
fn attach(bencher: Bencher<'_, '_>, rows: u64) {
    let table = Table::new("attach", rows);
    bencher.bench_local(|| table.subscribe());
}
