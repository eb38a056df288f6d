//! The actions of a role that is run instruction by instruction, and the tables that a reader may
//! see during them.
//!
//! | scenario | between the marks |
//! |---|---|
//! | rewrite | three transactions that create, update and delete in a full table, so that slots are reused at once; maintenance before each |
//! | growth | a transaction that makes the region grow by two blocks; maintenance before it |
//! | larger | a transaction with more rows than the region has room for, so that the table moves to a larger region first; maintenance before it, a transaction after it |
//! | creation | a table that does not exist is opened: region, registry, lock |
//! | takeover | a table is opened whose publisher died in the middle of a commit |
//! | successor | as takeover, with a larger capacity, so that another region takes the name; a transaction there |
//! | equal successor | as takeover, with an equal capacity and more slots of the registry |
//! | removed | the name of a live publisher's region is removed; maintenance makes a successor; a transaction there |
//! | reshape | a live publisher changes the schema, in a successor of equal capacity; a transaction; both again with a larger one |
//! | closing | a table is closed |
//! | index | transactions that write tombstones to the key index, reuse some of them, and fill it, so that a new generation is written |
//! | beats | some commits of one row, after an additional mark, before which the publisher has checked its subscribers |

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use common::{Publisher, Result, Row, Schema, UntypedPublisher};

use crate::script::{Item, ItemKey};

/// Number of slots of the registry.
pub const SLOTS: usize = 8;

/// Capacity of the table in most scenarios.
const CAPACITY: usize = 24;

/// Number of keys in the history of [`Scenario::Index`]. The smallest index has 960 entries, of
/// which an eighth stay free.
const KEYS: u32 = 960 - 960 / 8 - 2;

/// Number of rows at the end of the history of [`Scenario::Index`].
const LIVE_KEYS: u32 = 12;

/// Number of deleted keys whose entries the smallest index keeps.
const QUEUED: u32 = 960 / 8;

/// Rows by key.
pub type Rows = BTreeMap<ItemKey, Item>;

/// The changes of one transaction. Its rows are prepared in advance, so that their construction is
/// not stepped.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    deletes: Vec<ItemKey>,
    upserts: Vec<Item>,
}

impl Writes {
    fn new(
        deletes: impl IntoIterator<Item = u32>,
        upserts: impl IntoIterator<Item = u32>,
        value: u64,
    ) -> Self {
        let key = |number| (0, number);
        let upserts = upserts.into_iter().map(key);
        Self {
            deletes: deletes.into_iter().map(key).collect(),
            upserts: upserts.map(|key| Item::new(key, value)).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.upserts.is_empty()
    }

    /// Commits the changes.
    ///
    /// # Errors
    /// The errors of the publisher.
    pub fn commit(&self, publisher: &mut Publisher<Item>) -> Result<u64> {
        let mut tx = publisher.begin();
        for key in &self.deletes {
            tx.delete(key)?;
        }
        for item in &self.upserts {
            tx.upsert(item)?;
        }
        tx.commit()
    }

    /// Commits the changes with an untyped publisher of [`Item`]s.
    ///
    /// # Errors
    /// The errors of the publisher.
    fn commit_untyped(&self, publisher: &mut UntypedPublisher) -> Result<u64> {
        let mut tx = publisher.begin();
        for key in &self.deletes {
            // A key's canonical bytes are those of its fields.
            tx.delete(bytemuck::bytes_of(&[key.0, key.1]))?;
        }
        for item in &self.upserts {
            tx.upsert(bytemuck::bytes_of(item))?;
        }
        tx.commit()
    }

    /// Adds the rows of the changes to `rows`, without its deletions.
    pub fn add(&self, rows: &mut Rows) {
        rows.extend(self.upserts.iter().map(|item| (item.key(), *item)));
    }

    /// Applies the changes to `rows`.
    pub fn apply(&self, rows: &mut Rows) {
        for key in &self.deletes {
            rows.remove(key);
        }
        self.add(rows);
    }
}

/// One of the scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Transactions in a full table.
    Rewrite,
    /// A transaction that needs more blocks.
    Growth,
    /// A transaction that needs a larger region.
    Larger,
    /// Opening a table that does not exist.
    Creation,
    /// Opening a table that a dead publisher left.
    Takeover,
    /// Opening such a table with a larger capacity.
    Successor,
    /// Opening such a table with more slots of the registry.
    EqualSuccessor,
    /// Maintenance after the region lost its name.
    Removed,
    /// Changing the schema, with the same capacity and with a larger one.
    Reshape,
    /// Closing the table.
    Closing,
    /// Transactions that change the key index in each way.
    Index,
    /// Commits of one row.
    Beats,
}

const NAMES: [(Scenario, &str); 12] = [
    (Scenario::Rewrite, "rewrite"),
    (Scenario::Growth, "growth"),
    (Scenario::Larger, "larger"),
    (Scenario::Creation, "creation"),
    (Scenario::Takeover, "takeover"),
    (Scenario::Successor, "successor"),
    (Scenario::EqualSuccessor, "equal-successor"),
    (Scenario::Removed, "removed"),
    (Scenario::Reshape, "reshape"),
    (Scenario::Closing, "closing"),
    (Scenario::Index, "index"),
    (Scenario::Beats, "beats"),
];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(scenario, _)| scenario == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let scenario = NAMES.iter().find(|(_, known)| *known == name);
        scenario.map(|(scenario, _)| *scenario).ok_or_else(|| format!("no scenario {name}"))
    }
}

impl Scenario {
    /// Number of commits in [`Scenario::Beats`].
    pub const BEATS: u64 = 10;

    /// Opens the table with the options of this scenario.
    ///
    /// # Errors
    /// The errors of the publisher's builder.
    pub fn open(self, name: &str) -> Result<Publisher<Item>> {
        let capacity = match self {
            Self::Growth => 1000,
            Self::Successor => 48,
            Self::Index => KEYS as usize,
            _ => CAPACITY,
        };
        let slots = match self {
            Self::EqualSuccessor => 2 * SLOTS,
            _ => SLOTS,
        };
        Publisher::builder(name).capacity(capacity).subscribers(slots).open()
    }

    /// Returns the transactions before the first mark.
    pub fn history(self) -> Vec<Writes> {
        match self {
            // These leave some rows in their first copies and others in their second ones.
            Self::Rewrite | Self::Larger | Self::Closing | Self::Removed | Self::Reshape => vec![
                Writes::new([], 0..24, 1),
                Writes::new([], 0..6, 2),
                Writes::new([], [0, 20, 21], 3),
            ],
            Self::Growth => vec![Writes::new([], 0..60, 1)],
            // Free entries are left for exactly two keys, and exactly the number of deleted keys is
            // queued at which no tombstones are written yet. Those of the keys that are deleted
            // first become tombstones.
            Self::Index => vec![
                Writes::new([], 0..KEYS, 1),
                Writes::new(LIVE_KEYS..KEYS - QUEUED, [], 2),
                Writes::new(KEYS - QUEUED..KEYS, [0], 3),
            ],
            Self::Beats => vec![Writes::new([], [0], 0)],
            Self::Creation | Self::Takeover | Self::Successor | Self::EqualSuccessor => Vec::new(),
        }
    }

    /// Returns the transactions between the marks.
    pub fn transactions(self) -> Vec<Writes> {
        match self {
            Self::Rewrite => vec![
                Writes::new(8..11, (0..6).chain(24..27), 4),
                Writes::new(24..26, (3..9).chain(8..10), 5),
                Writes::new([3, 8], (0..6).chain([24, 25]).filter(|n| *n != 3), 6),
            ],
            Self::Growth => vec![Writes::new(1..3, (3..5).chain(60..132), 2)],
            // The growth is a commit that changes no row.
            Self::Larger => vec![
                Writes::default(),
                Writes::new(8..10, (0..6).chain(20..32), 4),
                Writes::new([20], (0..2).chain([8]), 5),
            ],
            // The keys of the second transaction were deleted, so there is a tombstone where each
            // of them is inserted. The third transaction has one new key more than
            // there is room for.
            Self::Index => vec![
                Writes::new([LIVE_KEYS - 1], [0], 4),
                Writes::new([1], [KEYS / 2, KEYS - 1], 5),
                Writes::new([2], [1, LIVE_KEYS - 1, KEYS - 2], 6),
            ],
            Self::Beats => (1..=Self::BEATS).map(|beat| Writes::new([], [0], beat)).collect(),
            // A succession is a commit that changes no row.
            Self::Removed => {
                vec![Writes::default(), Writes::new(8..10, (0..6).chain(20..22).chain(24..26), 4)]
            }
            Self::Reshape => vec![
                Writes::new(0..2, 5..9, 4),
                Writes::new(8..10, (2..6).chain([0]), 5),
                Writes::new([20], 21..26, 6),
                Writes::new([2], (3..6).chain(21..27), 7),
            ],
            Self::Successor | Self::EqualSuccessor => vec![Writes::new([], [3, 7, 20], 9)],
            Self::Creation | Self::Takeover | Self::Closing => Vec::new(),
        }
    }

    /// Opens the table and commits its history.
    fn begin(self, name: &str) -> Result<Publisher<Item>> {
        let mut publisher = self.open(name)?;
        for writes in self.history() {
            writes.commit(&mut publisher)?;
        }
        Ok(publisher)
    }

    /// Runs the scenario in the role's process and calls `mark` before and after it.
    ///
    /// # Errors
    /// The errors of the publisher.
    pub fn perform(self, name: &str, mark: impl Fn()) -> Result<()> {
        let transactions = self.transactions();
        match self {
            Self::Creation | Self::Takeover | Self::Successor | Self::EqualSuccessor => {
                mark();
                let mut publisher = self.open(name)?;
                for writes in transactions {
                    writes.commit(&mut publisher)?;
                }
                mark();
                publisher.close()
            }
            Self::Removed => {
                let mut publisher = self.begin(name)?;
                let region = format!("/dev/shm/tablecast.table.{name}");
                mark();
                std::fs::remove_file(&region).expect("the region of this publisher");
                // The succession was the first of the transactions.
                publisher.maintain()?;
                for writes in &transactions[1..] {
                    writes.commit(&mut publisher)?;
                }
                mark();
                publisher.close()
            }
            Self::Reshape => {
                let schema = Schema::of::<Item>()?;
                let mut publisher = UntypedPublisher::builder(name, schema.clone())
                    .capacity(CAPACITY)
                    .subscribers(SLOTS)
                    .open()?;
                for writes in self.history() {
                    writes.commit_untyped(&mut publisher)?;
                }
                let tables = self.tables();
                let rows = [1, 3].map(|table| tables[table].values().collect::<Vec<_>>());
                mark();
                for (step, capacity) in [CAPACITY, 2 * CAPACITY].into_iter().enumerate() {
                    let rows = rows[step].iter().map(|item| bytemuck::bytes_of(*item));
                    publisher.reshape(schema.clone(), capacity, rows)?;
                    transactions[2 * step + 1].commit_untyped(&mut publisher)?;
                }
                mark();
                publisher.close()
            }
            Self::Closing => {
                let publisher = self.begin(name)?;
                mark();
                publisher.close()?;
                mark();
                Ok(())
            }
            Self::Rewrite | Self::Growth | Self::Larger | Self::Index => {
                let mut publisher = self.begin(name)?;
                mark();
                for writes in transactions.iter().filter(|writes| !writes.is_empty()) {
                    // Maintenance is due once a second, and stepping is slow. An explicit call
                    // makes it happen in every run at the same place.
                    publisher.maintain()?;
                    writes.commit(&mut publisher)?;
                }
                mark();
                publisher.close()
            }
            Self::Beats => {
                let mut publisher = self.begin(name)?;
                mark();
                publisher.maintain()?;
                mark();
                for writes in transactions {
                    writes.commit(&mut publisher)?;
                }
                mark();
                publisher.close()
            }
        }
    }

    /// Returns the rows after the history, and after each transaction between the marks.
    pub fn tables(self) -> Vec<Rows> {
        let mut rows = Rows::new();
        for writes in self.history() {
            writes.apply(&mut rows);
        }
        let mut tables = vec![rows.clone()];
        for writes in self.transactions() {
            writes.apply(&mut rows);
            tables.push(rows.clone());
        }
        tables
    }
}
