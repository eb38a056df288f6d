//! Readers of a publisher that is stepped or killed. They look up keys by the key index.

use std::time::Duration;

use common::{Error, Publisher, Reader};
use tests::scenario::{Rows, Scenario};
use tests::script::{Item, ItemKey};

use super::expected::Expected;

/// A key that no row ever has.
const NEVER_USED: ItemKey = (9, 9);
/// Maximum number of keys of earlier transactions that are looked up.
const MOST_OLD_KEYS: usize = 50;

/// The keys that are looked up in each state: those of all rows during a scenario, some of earlier
/// rows, and [`NEVER_USED`].
pub struct Keys(Vec<ItemKey>);

impl Keys {
    /// Returns the keys for a scenario.
    pub fn of(scenario: Scenario, expected: &Expected) -> Self {
        let mut old = Rows::new();
        scenario.history().iter().for_each(|writes| writes.add(&mut old));
        let step = old.len().div_ceil(MOST_OLD_KEYS).max(1);
        let during = expected.tables().iter().flat_map(|rows| rows.keys());
        let mut keys: Vec<ItemKey> = old.keys().step_by(step).chain(during).copied().collect();
        keys.push(NEVER_USED);
        keys.sort_unstable();
        keys.dedup();
        Self(keys)
    }

    /// Returns the keys.
    pub fn iter(&self) -> impl Iterator<Item = &ItemKey> {
        self.0.iter()
    }

    /// Asserts that each lookup finds exactly these rows of `version`, which is the last commit.
    pub fn check(&self, reader: &Reader<Item>, version: u64, rows: &Rows) {
        for key in &self.0 {
            assert_eq!(reader.get(key).unwrap().as_ref(), rows.get(key), "{key:?} at {version}");
        }
        let mut found = vec![None; self.0.len()];
        let read_at = reader.get_many(&self.0, |index, row| found[index] = Some(row)).unwrap();
        assert_eq!(read_at, version);
        for (key, found) in self.0.iter().zip(&found) {
            let found = found.as_ref().expect("each key is visited");
            assert_eq!(found.as_ref(), rows.get(key), "{key:?} of many at {version}");
        }
        assert_eq!(reader.len().unwrap(), rows.len());
        assert_eq!(reader.version().unwrap(), version);
    }

    /// Asserts that each lookup finds the rows of the last commit. Returns its version.
    pub fn check_expected(&self, reader: &Reader<Item>, expected: &Expected) -> u64 {
        let version = reader.version().unwrap();
        self.check(reader, version, expected.rows(version));
        version
    }

    /// Waits until the reader has moved to the table of a publisher in this process, and asserts
    /// that it has exactly `rows`.
    pub fn follow(&self, reader: &mut Reader<Item>, publisher: &Publisher<Item>, rows: &Rows) {
        tests::until("a reader follows the successor", || {
            reader.untyped_mut().refresh().unwrap();
            reader.version().unwrap() == publisher.version()
        });
        self.check(reader, publisher.version(), rows);
        for key in rows.keys() {
            assert_eq!(reader.get(key).unwrap().as_ref(), rows.get(key), "{key:?} of a successor");
        }
    }
}

/// Opens a reader if the table exists.
pub fn reader_of(name: &str) -> Option<Reader<Item>> {
    // A short re-check interval, because a table that loses its name is not marked.
    match Reader::<Item>::builder(name).recheck(Duration::from_millis(1)).open() {
        Ok(reader) => Some(reader),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
