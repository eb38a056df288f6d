//! What a role does that is run instruction by instruction, and the tables that it may be seen with meanwhile.
//!
//! | play | between the marks |
//! |---|---|
//! | rewrite | three transactions that create, update and delete in a full table, so that slots are reused at once; upkeep before each |
//! | growth | one that makes the region grow by two blocks; upkeep before it |
//! | creation | a table is opened that is not there: region, registry, lock |
//! | takeover | a table is opened that a dead publisher left in the middle of a commit |
//! | successor | the same with a larger capacity, so that another region takes the name; a transaction there |
//! | equal successor | the same with an equal capacity and more slots of the registry |
//! | removed | the name of a live publisher's region is removed; maintenance makes a successor; a transaction there |
//! | reshape | a live publisher takes other rows, in a successor of equal capacity; a transaction; both again with a larger one |
//! | closing | a table is closed |
//! | beats | some commits of one row, after a mark more: at that it has looked after its subscribers |

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use common::{Publisher, Result, Row, Schema, UntypedPublisher};

use crate::script::{Item, ItemKey};

/// Slots of the registry.
pub const SLOTS: usize = 8;

/// Rows that fit into the table of most plays.
const CAPACITY: usize = 24;

/// Rows by key.
pub type Rows = BTreeMap<ItemKey, Item>;

/// What one transaction does. Its rows are made beforehand, so that none of that is stepped.
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

    /// Commits them.
    ///
    /// # Errors
    /// What the publisher refuses.
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

    /// Commits them by an untyped publisher of [`Item`]s.
    ///
    /// # Errors
    /// What the publisher refuses.
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

    /// What they make of `rows`.
    pub fn apply(&self, rows: &mut Rows) {
        for key in &self.deletes {
            rows.remove(key);
        }
        rows.extend(self.upserts.iter().map(|item| (item.key(), *item)));
    }
}

/// One of the plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Transactions in a full table.
    Rewrite,
    /// A transaction that needs more blocks.
    Growth,
    /// Opening what is not there.
    Creation,
    /// Opening what a dead publisher left.
    Takeover,
    /// Opening it with a larger capacity.
    Successor,
    /// Opening it with more slots of the registry.
    EqualSuccessor,
    /// Maintenance after the region lost its name.
    Removed,
    /// Taking other rows, with the same capacity and with a larger one.
    Reshape,
    /// Closing.
    Closing,
    /// Commits of one row.
    Beats,
}

const NAMES: [(Play, &str); 10] = [
    (Play::Rewrite, "rewrite"),
    (Play::Growth, "growth"),
    (Play::Creation, "creation"),
    (Play::Takeover, "takeover"),
    (Play::Successor, "successor"),
    (Play::EqualSuccessor, "equal-successor"),
    (Play::Removed, "removed"),
    (Play::Reshape, "reshape"),
    (Play::Closing, "closing"),
    (Play::Beats, "beats"),
];

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(play, _)| play == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Play {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let play = NAMES.iter().find(|(_, known)| *known == name);
        play.map(|(play, _)| *play)
            .ok_or_else(|| format!("no play {name}"))
    }
}

impl Play {
    /// How many commits [`Play::Beats`] makes.
    pub const BEATS: u64 = 10;

    /// Opens the table as this play does.
    ///
    /// # Errors
    /// As the publisher's builder.
    pub fn open(self, name: &str) -> Result<Publisher<Item>> {
        let capacity = match self {
            Self::Growth => 1000,
            Self::Successor => 48,
            _ => CAPACITY,
        };
        let slots = match self {
            Self::EqualSuccessor => 2 * SLOTS,
            _ => SLOTS,
        };
        Publisher::builder(name)
            .capacity(capacity)
            .subscribers(slots)
            .open()
    }

    /// The transactions before the first mark.
    pub fn history(self) -> Vec<Writes> {
        match self {
            // Afterwards some rows are in their first copies, and others in their second ones.
            Self::Rewrite | Self::Closing | Self::Removed | Self::Reshape => vec![
                Writes::new([], 0..24, 1),
                Writes::new([], 0..6, 2),
                Writes::new([], [0, 20, 21], 3),
            ],
            Self::Growth => vec![Writes::new([], 0..60, 1)],
            Self::Beats => vec![Writes::new([], [0], 0)],
            Self::Creation | Self::Takeover | Self::Successor | Self::EqualSuccessor => Vec::new(),
        }
    }

    /// The transactions between the marks.
    pub fn transactions(self) -> Vec<Writes> {
        match self {
            Self::Rewrite => vec![
                Writes::new(8..11, (0..6).chain(24..27), 4),
                Writes::new(24..26, (3..9).chain(8..10), 5),
                Writes::new([3, 8], (0..6).chain([24, 25]).filter(|n| *n != 3), 6),
            ],
            Self::Growth => vec![Writes::new(1..3, (3..5).chain(60..132), 2)],
            Self::Beats => (1..=Self::BEATS)
                .map(|beat| Writes::new([], [0], beat))
                .collect(),
            // A succession is a commit that changes no row.
            Self::Removed => vec![
                Writes::default(),
                Writes::new(8..10, (0..6).chain(20..22).chain(24..26), 4),
            ],
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

    /// Opens the table and makes its history.
    fn begin(self, name: &str) -> Result<Publisher<Item>> {
        let mut publisher = self.open(name)?;
        for writes in self.history() {
            writes.commit(&mut publisher)?;
        }
        Ok(publisher)
    }

    /// The role: does it, with `mark` before and after.
    ///
    /// # Errors
    /// What a publisher refuses.
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
                // The first of the transactions.
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
            Self::Rewrite | Self::Growth => {
                let mut publisher = self.begin(name)?;
                mark();
                for writes in transactions {
                    // Upkeep comes once a second, and stepping is slow: asked for, it comes in every run, at one place.
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

    /// The rows after the history, and after each transaction between the marks.
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
