//! Random transactions that two processes can both generate from one seed, and the model of their
//! results.
//!
//! Capacities are small, so that slots are reused, tables fill up, and keys move and swap.

use std::collections::{HashMap, HashSet};

use common::{Error, Publisher, Row, Text};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A row with a key of two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
pub struct Item {
    /// First half of the key.
    #[row(key)]
    pub group: u32,
    /// Second half of the key.
    #[row(key)]
    pub number: u32,
    /// An arbitrary value.
    pub value: u64,
    /// The value again, as text.
    pub label: Text<24>,
}

/// Key of an [`Item`].
pub type ItemKey = (u32, u32);

impl Item {
    /// Creates the item of a key with that value.
    pub fn new((group, number): ItemKey, value: u64) -> Self {
        Self { group, number, value, label: Text::truncated(&format!("value {value}")) }
    }
}

/// One call of a transaction.
#[derive(Clone, Debug)]
pub enum Step {
    /// Calls `insert`.
    Insert(Item),
    /// Calls `update`.
    Update(Item),
    /// Calls `upsert`.
    Upsert(Item),
    /// Calls `delete`.
    Delete(ItemKey),
    /// Calls `clear`.
    Clear,
    /// Calls `replace_with`.
    ReplaceWith(Vec<Item>),
}

/// The result that a call must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Ok`.
    Done,
    /// [`Error::KeyExists`].
    Exists,
    /// [`Error::KeyMissing`].
    Missing,
    /// [`Error::TableFull`].
    Full,
}

/// A transaction: its calls, the result that each must return, and its end: committed, dropped or
/// forgotten.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<(Step, Outcome)>,
    /// True if committed, false if dropped or forgotten.
    pub commits: bool,
    /// Version of the table after the transaction.
    pub version: u64,
}

impl Plan {
    /// Carries out the transaction.
    ///
    /// # Panics
    /// If a call returns a result that differs from the model's.
    pub fn carry_out(&self, publisher: &mut Publisher<Item>) {
        let mut tx = publisher.begin();
        for (step, outcome) in &self.steps {
            let result = match step {
                Step::Insert(item) => tx.insert(item),
                Step::Update(item) => tx.update(item),
                Step::Upsert(item) => tx.upsert(item),
                Step::Delete(key) => tx.delete(key),
                Step::Clear => {
                    tx.clear();
                    Ok(())
                }
                Step::ReplaceWith(items) => tx.replace_with(items),
            };
            let found = match result {
                Ok(()) => Outcome::Done,
                Err(Error::KeyExists { .. }) => Outcome::Exists,
                Err(Error::KeyMissing { .. }) => Outcome::Missing,
                Err(Error::TableFull { .. }) => Outcome::Full,
                Err(error) => panic!("{step:?}: {error}"),
            };
            assert_eq!(found, *outcome, "{step:?} of {:?}", self.steps);
        }
        if self.commits {
            tx.commit().expect("no limit is reached");
        } else if self.steps.len().is_multiple_of(2) {
            // A forgotten transaction does not roll back, so the next transaction must do it.
            std::mem::forget(tx);
        } else {
            drop(tx);
        }
        assert_eq!(publisher.version(), self.version, "after {:?}", self.steps);
    }
}

/// The source of transactions, with the model of the table after the last one.
pub struct Script {
    rng: SmallRng,
    capacity: usize,
    rows: HashMap<ItemKey, Item>,
    version: u64,
}

impl Script {
    /// Creates the script of a seed, for a new table of that capacity.
    pub fn new(seed: u64, capacity: usize) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), capacity, rows: HashMap::new(), version: 1 }
    }

    /// Returns the rows after the last transaction.
    pub fn rows(&self) -> &HashMap<ItemKey, Item> {
        &self.rows
    }

    /// Returns the version after the last transaction.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns all possible keys: about one and a half times the number of slots.
    pub fn keys(&self) -> impl Iterator<Item = ItemKey> + use<> {
        (0..self.key_count()).map(|number| (number % 3, number))
    }

    fn key_count(&self) -> u32 {
        (self.capacity + self.capacity / 2 + 1) as u32
    }

    fn any_key(&mut self) -> ItemKey {
        let number = self.rng.random_range(0..self.key_count());
        (number % 3, number)
    }

    fn present_key(&mut self, rows: &HashMap<ItemKey, Item>) -> Option<ItemKey> {
        // No iteration over the map: its order differs between processes.
        let tries = std::iter::repeat_with(|| self.any_key()).take(8);
        tries.into_iter().find(|key| rows.contains_key(key))
    }

    fn any_item(&mut self) -> Item {
        let key = self.any_key();
        self.item(key)
    }

    fn item(&mut self, key: ItemKey) -> Item {
        // There are few values, so that a row sometimes changes back to an earlier one.
        Item::new(key, self.rng.random_range(0..5))
    }

    /// Generates the next transaction and applies it to the model.
    pub fn next_plan(&mut self) -> Plan {
        let mut draft = Draft {
            rows: self.rows.clone(),
            touched: HashSet::new(),
            steps: Vec::new(),
            capacity: self.capacity,
        };
        let moves = match self.rng.random_range(0..10) {
            0..=6 => self.rng.random_range(1..4),
            _ => self.rng.random_range(1..self.capacity + 2),
        };
        for _ in 0..moves {
            self.draft_move(&mut draft);
        }
        let commits = self.rng.random_range(0..8) != 0;
        let effective = |key: &ItemKey| self.rows.contains_key(key) || draft.rows.contains_key(key);
        if commits && draft.touched.iter().any(effective) {
            self.version += 1;
        }
        if commits {
            self.rows = draft.rows;
        }
        Plan { steps: draft.steps, commits, version: self.version }
    }

    fn draft_move(&mut self, draft: &mut Draft) {
        match self.rng.random_range(0..100) {
            0..=24 => draft.push(Step::Insert(self.any_item())),
            25..=39 => draft.push(Step::Update(self.any_item())),
            40..=54 => draft.push(Step::Upsert(self.any_item())),
            55..=74 => draft.push(Step::Delete(self.any_key())),
            75..=79 => {
                // A row moves to another key.
                let Some(from) = self.present_key(&draft.rows) else {
                    return;
                };
                let item = draft.rows[&from];
                let to = self.any_key();
                draft.push(Step::Delete(from));
                draft.push(Step::Insert(Item::new(to, item.value)));
            }
            80..=84 => {
                // Two rows swap places: both are deleted and inserted again in the opposite order.
                let keys = (self.present_key(&draft.rows), self.present_key(&draft.rows));
                let (Some(one), Some(other)) = keys else {
                    return;
                };
                let (first, second) = (draft.rows[&one], draft.rows[&other]);
                draft.push(Step::Delete(one));
                draft.push(Step::Delete(other));
                draft.push(Step::Insert(Item::new(other, first.value)));
                draft.push(Step::Insert(Item::new(one, second.value)));
            }
            85..=92 => {
                // A row is inserted and deleted again.
                let item = self.any_item();
                draft.push(Step::Insert(item));
                draft.push(Step::Delete(item.key()));
            }
            93..=95 => {
                // Fills the table, tries one more row, then frees a slot.
                for number in 0..self.capacity + 2 {
                    let key = (number as u32 % 3, number as u32);
                    let item = self.item(key);
                    draft.push(Step::Upsert(item));
                }
                let gone = self.any_key();
                draft.push(Step::Delete(gone));
                let new = self.any_item();
                draft.push(Step::Insert(new));
            }
            96..=97 => {
                let count = self.rng.random_range(0..=self.capacity);
                let items: Vec<Item> = (0..count).map(|_| self.any_item()).collect();
                draft.push(Step::ReplaceWith(items));
            }
            98 => draft.push(Step::Clear),
            _ => {
                // An update to equal content.
                if let Some(key) = self.present_key(&draft.rows) {
                    draft.push(Step::Update(draft.rows[&key]));
                }
            }
        }
    }
}

/// A transaction under construction, with the model after its steps.
struct Draft {
    rows: HashMap<ItemKey, Item>,
    /// Keys that were written or deleted, even if nothing changed.
    touched: HashSet<ItemKey>,
    steps: Vec<(Step, Outcome)>,
    capacity: usize,
}

impl Draft {
    fn push(&mut self, step: Step) {
        let outcome = match &step {
            Step::Insert(item) if self.rows.contains_key(&item.key()) => Outcome::Exists,
            Step::Insert(item) | Step::Upsert(item) => self.put(*item),
            Step::Update(item) if self.rows.contains_key(&item.key()) => self.put(*item),
            Step::Delete(key) if self.rows.contains_key(key) => self.delete(*key),
            Step::Update(_) | Step::Delete(_) => Outcome::Missing,
            Step::Clear => {
                let keys: Vec<ItemKey> = self.rows.keys().copied().collect();
                for key in keys {
                    self.delete(key);
                }
                Outcome::Done
            }
            Step::ReplaceWith(items) => {
                let wanted: HashMap<ItemKey, Item> =
                    items.iter().map(|item| (item.key(), *item)).collect();
                let keys: Vec<ItemKey> = self.rows.keys().copied().collect();
                for key in keys.into_iter().filter(|key| !wanted.contains_key(key)) {
                    self.delete(key);
                }
                // In input order: a row that is listed twice was staged, even if the later one
                // equals the committed row.
                for item in items {
                    if self.rows.get(&item.key()) != Some(item) {
                        self.put(*item);
                    }
                }
                Outcome::Done
            }
        };
        self.steps.push((step, outcome));
    }

    fn put(&mut self, item: Item) -> Outcome {
        if !self.rows.contains_key(&item.key()) && self.rows.len() == self.capacity {
            return Outcome::Full;
        }
        self.touched.insert(item.key());
        self.rows.insert(item.key(), item);
        Outcome::Done
    }

    fn delete(&mut self, key: ItemKey) -> Outcome {
        self.touched.insert(key);
        self.rows.remove(&key);
        Outcome::Done
    }
}
