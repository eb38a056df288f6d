//! The table that a program should produce, and all tables that it has produced until now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::operation::{Answer, Call, digest};
use super::shape::Shape;

/// Rows by the number of their key.
pub type Rows = BTreeMap<u64, Arc<[u8]>>;

/// The effect of the calls of a transaction so far.
#[derive(Default)]
struct Staged {
    touched: BTreeSet<u64>,
    /// Maximum number of rows at a time. Rows that the transaction deleted make room for others, so
    /// the table grows only if this is more than its capacity.
    most_rows: usize,
}

/// A table as it should be.
#[derive(Clone, Debug)]
pub struct Table {
    /// The schema.
    pub shape: Shape,
    /// The capacity.
    pub capacity: usize,
    /// Capacity up to which the table grows, or `None` for a fixed capacity.
    pub growth_limit: Option<usize>,
    /// The rows.
    pub rows: Rows,
}

impl Table {
    /// Creates a table without rows.
    pub fn new(shape: Shape, capacity: usize, growth_limit: Option<usize>) -> Self {
        let rows = Rows::new();
        Self { shape, capacity, growth_limit, rows }
    }

    fn max_capacity(&self) -> usize {
        self.capacity.max(self.growth_limit.unwrap_or(0))
    }

    /// Carries out the calls of a transaction. Returns the outcome that each call should have, and
    /// true if a commit makes a version.
    pub fn transact(&mut self, calls: &[Call]) -> (Vec<Answer>, bool) {
        let before = self.rows.clone();
        let mut staged = Staged { most_rows: before.len(), ..Staged::default() };
        let answers = calls.iter().map(|call| self.call(call, &mut staged)).collect();
        let counts = |key: &u64| before.contains_key(key) || self.rows.contains_key(key);
        let is_version = staged.touched.iter().any(counts);
        while is_version && self.capacity < staged.most_rows {
            self.capacity = (4 * self.capacity).min(self.max_capacity());
        }
        (answers, is_version)
    }

    fn call(&mut self, call: &Call, staged: &mut Staged) -> Answer {
        match call {
            Call::Insert(key, _) if self.rows.contains_key(key) => Answer::Exists,
            Call::Update(key, _) | Call::Delete(key) if !self.rows.contains_key(key) => {
                Answer::Missing
            }
            Call::Insert(key, value) | Call::Update(key, value) | Call::Upsert(key, value) => {
                self.put(*key, *value, staged)
            }
            Call::Delete(key) => {
                staged.touched.insert(*key);
                self.rows.remove(key);
                Answer::Done
            }
            Call::Clear => {
                staged.touched.extend(self.rows.keys());
                self.rows.clear();
                Answer::Done
            }
            Call::ReplaceWith(rows) => {
                let rows = &rows[..rows.len().min(self.max_capacity())];
                let wanted: BTreeSet<u64> = rows.iter().map(|(key, _)| *key).collect();
                staged.touched.extend(self.rows.keys().filter(|key| !wanted.contains(key)));
                self.rows.retain(|key, _| wanted.contains(key));
                for (key, value) in rows {
                    let new = self.shape.row(*key, *value);
                    if self.rows.get(key).is_none_or(|old| **old != *new) {
                        self.put(*key, *value, staged);
                    }
                }
                Answer::Done
            }
            Call::Fill(count, value) => {
                let mut answers = (0..*count).map(|key| self.put(key, *value, staged));
                answers.find(|answer| *answer != Answer::Done).unwrap_or(Answer::Done)
            }
        }
    }

    fn put(&mut self, key: u64, value: u64, staged: &mut Staged) -> Answer {
        if !self.rows.contains_key(&key) && self.rows.len() == self.max_capacity() {
            return Answer::Full;
        }
        staged.touched.insert(key);
        self.rows.insert(key, self.shape.row(key, value).into());
        staged.most_rows = staged.most_rows.max(self.rows.len());
        Answer::Done
    }

    /// Returns the table after a reshape.
    ///
    /// # Errors
    /// The outcome that `reshape` should have instead.
    pub fn reshaped(
        &self,
        shape: Shape,
        capacity: usize,
        rows: Option<&[(u64, u64)]>,
    ) -> Result<Self, Answer> {
        let mut table = Self::new(shape, capacity, self.growth_limit);
        let Some(rows) = rows else {
            table.rows = self.converted(shape);
            let fits = table.rows.len() <= capacity;
            return if fits { Ok(table) } else { Err(Answer::Full) };
        };
        let row = |(key, value): &(u64, u64)| (*key, shape.row(*key, *value).into());
        table.rows = rows.iter().map(row).collect();
        match () {
            () if rows.len() > capacity => Err(Answer::Full),
            () if table.rows.len() < rows.len() => Err(Answer::Exists),
            () => Ok(table),
        }
    }

    /// Returns the table after the next publisher has opened it.
    ///
    /// # Errors
    /// The outcome that `open` should have instead.
    pub fn opened(
        &self,
        shape: Shape,
        capacity: usize,
        growth_limit: Option<usize>,
    ) -> Result<Self, Answer> {
        let is_same = shape == self.shape;
        let limit = if is_same { usize::MAX } else { growth_limit.unwrap_or(capacity) };
        let table = self.reshaped(shape, self.capacity.clamp(capacity, limit), None)?;
        Ok(Self { growth_limit, ..table })
    }

    fn converted(&self, shape: Shape) -> Rows {
        let convert = |(key, row): (&u64, &Arc<[u8]>)| {
            let converted = self.shape.convert(row, shape)?;
            Some((*key, converted.into()))
        };
        self.rows.iter().filter_map(convert).collect()
    }

    /// Returns the digest of the rows, as a publisher computes it.
    pub fn digest(&self) -> u64 {
        digest(self.rows.values().map(|row| &**row))
    }
}

/// A table as a reader has seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The version.
    pub version: u64,
    /// The schema.
    pub shape: Shape,
    /// The rows.
    pub rows: BTreeMap<u64, Vec<u8>>,
}

/// The relation of a table to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// A commit with a version that only this table has.
    InPlace,
    /// A successor region with the same rows. The old region may end with the first version of the
    /// successor.
    Elsewhere,
    /// Another table with the name: the one before was removed or lost, and versions start again.
    Anew,
}

/// A table that was committed, or that a step is about to commit.
#[derive(Debug)]
struct Entry {
    /// The version of its commit, or None before the commit.
    version: Option<u64>,
    follows: Follows,
    table: Table,
}

/// All tables that were committed under one name, in order.
#[derive(Debug, Default)]
pub struct History(Vec<Entry>);

impl History {
    /// Returns the index of the last entry.
    pub fn last(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Returns the table that was committed last.
    pub fn table(&self) -> Option<&Table> {
        self.0.last().map(|entry| &entry.table)
    }

    /// Returns the version of the commit that led to the last table.
    pub fn version(&self) -> u64 {
        self.0.last().and_then(|entry| entry.version).unwrap_or(0)
    }

    /// Adds the table that a step is about to commit.
    pub fn announce(&mut self, table: Table, follows: Follows) {
        self.0.push(Entry { version: None, follows, table });
    }

    /// Records the capacity of the table that was committed last. Returns true if it has changed.
    pub fn set_capacity(&mut self, capacity: usize) -> bool {
        let table = &mut self.0.last_mut().expect("a published table").table;
        std::mem::replace(&mut table.capacity, capacity) != capacity
    }

    /// Records that the step has committed the announced table.
    ///
    /// # Panics
    /// If nothing was announced.
    pub fn confirm(&mut self, version: u64) {
        self.0.last_mut().expect("an announced table").version = Some(version);
    }

    /// Removes the announced table, which the step has not committed.
    pub fn withdraw(&mut self) {
        self.0.pop();
    }

    /// Returns true if a reader's table is the entry at index `at`.
    pub fn is_at(&self, at: usize, seen: &Observed) -> bool {
        let entry = &self.0[at];
        let is_before_next =
            self.0.get(at + 1).is_none_or(|next| match (next.version, next.follows) {
                (Some(version), Follows::InPlace) => seen.version < version,
                (Some(version), Follows::Elsewhere) => seen.version <= version,
                _ => true,
            });
        entry.version.is_none_or(|version| version <= seen.version)
            && is_before_next
            && entry.table.shape == seen.shape
            && entry.table.rows.len() == seen.rows.len()
            && entry.table.rows.iter().zip(&seen.rows).all(|(a, b)| (a.0, &**a.1) == (b.0, &**b.1))
    }

    /// Returns the index of a reader's table, if it is one of the tables from `from` on.
    pub fn find(&self, from: usize, seen: &Observed) -> Option<usize> {
        (from..self.0.len()).find(|at| self.is_at(*at, seen))
    }

    /// Returns true if a key of the schema `asked` had this row in one of the tables from `from` on.
    pub fn had(&self, from: usize, asked: Shape, key: u64, row: Option<&(Shape, Vec<u8>)>) -> bool {
        let asked = asked.key(key).len();
        self.0[from..].iter().any(|Entry { table, .. }| {
            // A key of another size is in no row.
            let had = table.rows.get(&key).filter(|_| table.shape.key(key).len() == asked);
            had.map(|had| (table.shape, &**had)) == row.map(|(shape, row)| (*shape, &**row))
        })
    }

    /// Describes the tables from `from` on, for a message.
    pub fn describe(&self, from: usize) -> String {
        let entries = self.0[from.min(self.last())..].iter();
        let line = |entry: &Entry| {
            let Table { shape, rows, .. } = &entry.table;
            let rows: Vec<_> = rows.iter().take(12).map(|(key, row)| (key, brief(row))).collect();
            format!("\n  version {:?}: {shape:?} {rows:?}", entry.version)
        };
        entries.map(line).collect()
    }
}

/// Returns the beginning of a row after its first word, for a message.
pub fn brief(row: &[u8]) -> &[u8] {
    row.get(8..row.len().min(24)).unwrap_or(&[])
}
