//! Tables of tests: names, rows that show half a commit, and comparison.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use common::{Error, Publisher, Reader, Row, Snapshot, UntypedReader};

use crate::until;

/// The name of a table that no other test uses. Dropping it removes the table.
///
/// Declare it before processes and publishers, so that it is dropped after them.
pub struct Table {
    name: String,
    /// Objects in shared memory that were seen.
    objects: Mutex<BTreeSet<String>>,
}

impl Table {
    /// Creates a name that begins with `test`.
    pub fn new(test: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bridge-{test}-{}-{number}", std::process::id());
        Self { name, objects: Mutex::default() }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records the objects of the table in shared memory.
    pub fn remember(&self) {
        let mut objects = self.objects.lock().expect("no panic");
        for kind in ["lock", "table", "next"] {
            objects.insert(format!("tablecast.{kind}.{}", self.name));
        }
        if let Ok(info) = common::inspect(&self.name, None) {
            objects.insert(format!("tablecast.subs.{:016x}", info.registry_id));
            objects.insert(format!(
                "tablecast.index.{:016x}.{}",
                info.region_id, info.index_generation
            ));
        }
    }

    /// Returns the recorded objects that exist.
    pub fn orphans(&self) -> Vec<String> {
        self.remember();
        let objects = self.objects.lock().expect("no panic");
        let exists = |name: &&String| Path::new("/dev/shm").join(name).exists();
        objects.iter().filter(exists).cloned().collect()
    }

    /// Expects that the table was removed with all of its objects.
    pub fn is_removed(&self) {
        assert_eq!(self.orphans(), Vec::<String>::new(), "left in /dev/shm");
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.remember();
        // Usually the table does not exist any more.
        let _removed = common::remove(&self.name);
        for name in self.orphans() {
            let _removed = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

/// A row of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
pub struct Item {
    /// The key.
    #[row(key)]
    pub id: u64,
    /// Number of the commit that wrote the row.
    pub counter: u64,
    /// Equal to the counter.
    #[row(skip)]
    pub padding: [u64; 6],
}

/// Maximum number of rows of [`rows_of`].
pub const SIZE: u64 = 64;

/// Returns the rows of commit `counter`: all rows carry the counter, and their number depends on it.
pub fn rows_of(counter: u64) -> Vec<Item> {
    let count = SIZE / 2 + counter % (SIZE / 2);
    // Different keys, so that rows are inserted and deleted.
    let first = counter % 7;
    (first..first + count).map(|id| Item { id, counter, padding: [counter; 6] }).collect()
}

/// Commits the rows of `counter`.
pub fn commit(publisher: &mut Publisher<Item>, counter: u64) -> common::Result<u64> {
    let mut tx = publisher.begin();
    tx.replace_with(&rows_of(counter))?;
    tx.commit()
}

/// Publishes a table with the rows of counter 1.
pub fn publish(table: &Table) -> Publisher<Item> {
    let mut publisher = Publisher::<Item>::builder(table.name()).open().expect("a new table");
    commit(&mut publisher, 1).expect("room for the rows");
    publisher
}

/// Returns the counter of a table, after a check that its rows are those of one commit. `None` if it
/// cannot be read now.
pub fn counter_of(name: &str) -> Option<u64> {
    let mut rows = Vec::new();
    Reader::<Item>::open(name).ok()?.snapshot(&mut rows).ok()?;
    check(rows)
}

/// Returns the counter of rows. `None` if there are no rows.
///
/// # Panics
/// If they are not the rows of one commit.
pub fn check(mut rows: Vec<Item>) -> Option<u64> {
    let counter = rows.first()?.counter;
    rows.sort_unstable_by_key(|row| row.id);
    assert_eq!(rows, rows_of(counter), "a part of a commit");
    Some(counter)
}

/// The schema and the rows of a table, in the order of their bytes.
pub type Content = (Vec<u8>, Vec<Vec<u8>>);

/// Returns the content of a table.
///
/// # Errors
/// The errors of reading it.
pub fn content(name: &str) -> Result<Content, Error> {
    let reader = UntypedReader::open(name)?;
    let mut snapshot = Snapshot::default();
    reader.snapshot(&mut snapshot)?;
    let mut rows: Vec<Vec<u8>> = snapshot.iter().map(|row| row.bytes().to_vec()).collect();
    rows.sort_unstable();
    Ok((reader.schema()?.to_bytes(), rows))
}

/// Waits until both tables have the same schema and rows. Nothing may change the origin.
///
/// # Panics
/// If they do not within the limit.
pub fn equal(origin: &Table, copy: &Table) {
    let expected = content(origin.name()).expect("a table");
    assert!(!expected.1.is_empty(), "there is nothing to compare");
    until(&format!("{} equals {}", copy.name(), origin.name()), || {
        content(copy.name()).is_ok_and(|content| content == expected)
    });
    origin.remember();
    copy.remember();
}

/// Returns the name of a bridge's table of links, from its stderr.
pub fn links_of(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("links: subscriber watch ")?;
    Some(rest.split_once('\n')?.0.to_owned())
}

/// A row of a table of links: a text for each field.
#[derive(Debug)]
pub struct Link(serde_json::Value);

impl Link {
    /// Returns the row of a table of links for a local table.
    pub fn of(links: &str, table: &str) -> Option<Self> {
        let mut snapshot = Snapshot::default();
        UntypedReader::open(links).ok()?.snapshot(&mut snapshot).ok()?;
        let mut rows = snapshot.iter().filter_map(|row| serde_json::to_value(row).ok());
        rows.find(|row| row["table"] == table).map(Self)
    }

    /// Returns a field.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().expect("a text")
    }

    /// Returns a field.
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().expect("a number")
    }
}

/// Reads a table again and again, and checks each version, until it is dropped.
pub struct Checker {
    is_ending: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<(u64, u64)>>,
}

impl Checker {
    /// Starts to read a table of [`rows_of`].
    pub fn start(table: &Table) -> Self {
        let is_ending = Arc::<std::sync::atomic::AtomicBool>::default();
        let (flag, name) = (Arc::clone(&is_ending), table.name().to_owned());
        let thread = std::thread::spawn(move || {
            let (mut newest, mut versions) = (0, 0);
            loop {
                // One more read follows, which sees what the test has seen before it set the flag.
                let is_last = flag.load(Ordering::Acquire);
                if let Some(counter) = counter_of(&name) {
                    assert!(counter >= newest, "{counter} after {newest}");
                    versions += u64::from(counter > newest);
                    newest = counter;
                }
                if is_last {
                    return (newest, versions);
                }
                std::thread::yield_now();
            }
        });
        Self { is_ending, thread: Some(thread) }
    }

    /// Returns the last counter, and the number of different ones.
    ///
    /// # Panics
    /// If a version was wrong.
    pub fn finish(mut self) -> (u64, u64) {
        self.is_ending.store(true, Ordering::Release);
        self.thread.take().expect("it runs").join().expect("each version is right")
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _checked = thread.join();
        }
    }
}
