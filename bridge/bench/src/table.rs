//! The published table, and the copy that an importer keeps of it.

use std::time::{Duration, Instant};

use common::{Publisher, Reader, Row as _, Subscriber};

use crate::Result;

/// Length of a row in bytes.
pub const ROW_BYTES: usize = size_of::<Row>();
/// Time limit of each wait.
const LIMIT: Duration = Duration::from_secs(120);
/// Maximum time of one wait for a commit.
const TURN: Duration = Duration::from_millis(100);

/// A row of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
#[repr(C)]
pub struct Row {
    #[row(key)]
    key: u64,
    /// The number of the commit.
    pub stamp: u64,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
}

impl Row {
    /// Returns the row of a key as of a commit.
    pub fn new(key: u64, stamp: u64) -> Self {
        let value = key ^ stamp;
        Self { key, stamp, a: value, b: value, c: value, d: value, e: value, f: value }
    }
}

/// Returns the name of a table of this process.
pub fn name(name: &str) -> String {
    format!("bridge-bench.{}.{name}", std::process::id())
}

/// A published table with the keys 0 to `rows` - 1. Each commit changes the row with key 0, which has
/// the number of the last commit.
pub struct Origin {
    publisher: Option<Publisher<Row>>,
    rows: u64,
    stamp: u64,
    random: u64,
}

impl Origin {
    /// Publishes a table.
    ///
    /// # Errors
    /// The errors of opening a table and of a commit.
    pub fn publish(name: &str, rows: u64) -> Result<Self> {
        let mut publisher =
            Publisher::builder(name).capacity(usize::try_from(rows)?).mode(0o600).open()?;
        let mut tx = publisher.begin();
        for key in 0..rows {
            tx.insert(&Row::new(key, 0))?;
        }
        tx.commit()?;
        Ok(Self { publisher: Some(publisher), rows, stamp: 0, random: 1 })
    }

    /// Commits `count` rows: the first one and random ones. Returns the number of the commit.
    ///
    /// # Errors
    /// The errors of a commit.
    pub fn commit(&mut self, count: usize) -> Result<u64> {
        self.commit_at(count, || ())
    }

    /// Like [`commit`](Self::commit), and calls `before` right before the commit.
    ///
    /// # Errors
    /// The errors of a commit.
    pub fn commit_at(&mut self, count: usize, before: impl FnOnce()) -> Result<u64> {
        self.stamp += 1;
        let Some(publisher) = &mut self.publisher else {
            return Err("the table is closed".into());
        };
        let mut tx = publisher.begin();
        tx.upsert(&Row::new(0, self.stamp))?;
        while tx.len() < count {
            // Xorshift: the same numbers in each run.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            tx.upsert(&Row::new(self.random % self.rows, self.stamp))?;
        }
        before();
        tx.commit()?;
        Ok(self.stamp)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(publisher) = self.publisher.take()
            && let Err(error) = publisher.close()
        {
            eprintln!("a table was not removed: {error}");
        }
    }
}

/// Opens a reader of a table, as soon as the table exists.
///
/// # Errors
/// The errors of opening a table, after a time limit.
pub fn open(name: &str) -> Result<Reader<Row>> {
    when_published(|| Reader::open(name))
}

/// Opens a table with a local copy, when it is published.
///
/// # Errors
/// The errors of opening a table, after a time limit.
pub fn subscribe(name: &str) -> Result<Subscriber<Row>> {
    when_published(|| Subscriber::open(name))
}

fn when_published<T>(open: impl Fn() -> common::Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match open() {
            Ok(reader) => return Ok(reader),
            Err(error) if began.elapsed() > LIMIT => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Returns the number of the last commit that a table has.
///
/// # Errors
/// The errors of a lookup.
pub fn stamp(reader: &Reader<Row>) -> Result<Option<u64>> {
    Ok(reader.get(&0)?.map(|row| row.stamp))
}

/// Waits until a table has the commit with a number.
///
/// # Errors
/// The errors of a lookup, or the time limit.
pub fn wait_for(reader: &mut Reader<Row>, wanted: u64) -> Result<()> {
    let began = Instant::now();
    while stamp(reader)?.is_none_or(|stamp| stamp < wanted) {
        if began.elapsed() > LIMIT {
            return Err(format!("commit {wanted} did not arrive within {LIMIT:?}").into());
        }
        reader.wait(Some(TURN))?;
    }
    Ok(())
}

/// Returns an error unless two tables have the same rows.
///
/// # Errors
/// The tables differ, or cannot be read.
pub fn compare(one: &Reader<Row>, other: &Reader<Row>) -> Result<()> {
    let rows = |reader: &Reader<Row>| -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        reader.snapshot(&mut rows)?;
        rows.sort_by_key(|row| row.key());
        Ok(rows)
    };
    if rows(one)? != rows(other)? {
        return Err("the imported table differs from its origin".into());
    }
    Ok(())
}
