//! The changes that lines of input request, and the rows of a file after its changes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use cli::CliError;
use common::{RowBuf, Schema, UntypedTransaction};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Snapshot;

/// Maximum length of a line or record on stdin, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// The error for a `commit` outside a transaction.
pub const COMMIT_WITHOUT_BEGIN: &str =
    "`commit` without `begin`: begin a transaction with {\"op\":\"begin\"}";

/// The number of a line, and its instruction or the reason why the line is refused.
pub type Line = (u64, Result<Instruction, String>);

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Instruction {
    /// The line is blank.
    Nothing,
    /// Begins a transaction: the changes up to `Commit` become visible atomically.
    Begin,
    /// Commits the transaction.
    Commit,
    /// A change of the table.
    Change(Operation),
}

/// A change of the table.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a row.
    Insert(RowBuf),
    /// Replaces the row with the same key.
    Update(RowBuf),
    /// Adds a row, or replaces the row with the same key.
    Upsert(RowBuf),
    /// Removes the row with this key, given in its canonical bytes.
    Delete(Vec<u8>),
    /// Removes all rows.
    Clear,
}

impl Operation {
    /// Adds the change to a transaction.
    ///
    /// # Errors
    /// Returns the errors of the transaction's methods. The transaction continues without this
    /// change.
    pub fn apply(&self, tx: &mut UntypedTransaction<'_>) -> common::Result<()> {
        match self {
            Self::Insert(row) => tx.insert(row.bytes()),
            Self::Update(row) => tx.update(row.bytes()),
            Self::Upsert(row) => tx.upsert(row.bytes()),
            Self::Delete(key) => tx.delete(key),
            Self::Clear => {
                tx.clear();
                Ok(())
            }
        }
    }

    /// Returns the row that the change stores.
    pub fn row(&self) -> Option<&RowBuf> {
        match self {
            Self::Insert(row) | Self::Update(row) | Self::Upsert(row) => Some(row),
            Self::Delete(_) | Self::Clear => None,
        }
    }

    /// Returns the approximate memory use of the change, in bytes.
    pub fn size(&self) -> usize {
        let content = match self {
            Self::Delete(key) => key.len(),
            _ => self.row().map_or(0, |row| size_of_val(row.words())),
        };
        size_of::<Self>() + content
    }
}

/// Rows with distinct keys, stored back to back in order of insertion as long as none is removed.
pub struct RowSet {
    schema: Arc<Schema>,
    rows: Vec<u8>,
    /// Positions of the rows, by key.
    index: HashTable<u32>,
    state: RandomState,
}

impl RowSet {
    /// Creates an empty set of rows of `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self {
            schema,
            rows: Vec::new(),
            index: HashTable::new(),
            state: RandomState::default(),
        }
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the rows as a snapshot.
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot::of(self.schema, self.rows)
    }

    /// Applies a change.
    ///
    /// # Errors
    /// Returns a sentence if the row exists or does not exist, and the change needs the opposite.
    pub fn apply(&mut self, change: &Operation) -> Result<(), String> {
        match change {
            Operation::Insert(row) => self.insert(row.bytes()).map_err(|_| {
                let key = row.as_ref().key().to_string();
                format!("the key {key} exists already: use update or upsert to change its row")
            }),
            Operation::Update(row) => {
                let at = self.find(&row.key_bytes())?;
                self.replace(at, row.bytes());
                Ok(())
            }
            Operation::Upsert(row) => {
                if let Err(at) = self.insert(row.bytes()) {
                    self.replace(at, row.bytes());
                }
                Ok(())
            }
            Operation::Delete(key) => {
                let at = self.find(key)?;
                self.remove(at);
                Ok(())
            }
            Operation::Clear => {
                self.index.clear();
                self.rows.clear();
                Ok(())
            }
        }
    }

    /// Adds a row unless a row with the same key exists.
    ///
    /// # Errors
    /// Returns the position of the existing row with the same key.
    pub fn insert(&mut self, row: &[u8]) -> Result<(), usize> {
        let hash = hash_of(&self.state, &self.schema, row);
        let (schema, rows, state) = (&self.schema, &self.rows, &self.state);
        let size = schema.row_size();
        let at = |at: &u32| &rows[*at as usize * size..][..size];
        let found = self.index.find(hash, |held| schema.same_key(at(held), row));
        if let Some(held) = found {
            return Err(*held as usize);
        }
        // The size of a file is limited, and so is the number of rows in it.
        let place = u32::try_from(self.index.len()).expect("fewer rows than bytes in a file");
        self.index
            .insert_unique(hash, place, |held| hash_of(state, schema, at(held)));
        self.rows.extend_from_slice(row);
        Ok(())
    }

    /// Replaces the row at `at` by a row with the same key.
    pub fn replace(&mut self, at: usize, row: &[u8]) {
        let size = self.schema.row_size();
        self.rows[at * size..][..size].copy_from_slice(row);
    }

    fn find(&self, key: &[u8]) -> Result<usize, String> {
        let mut hasher = self.state.build_hasher();
        self.schema.hash_key(key, &mut hasher);
        let is_it = |at: &u32| self.schema.key_matches(self.row(*at as usize), key);
        let found = self.index.find(hasher.finish(), is_it);
        found.map(|at| *at as usize).ok_or_else(|| {
            let key = self.schema.format_key(key);
            format!("there is no key {key}: use insert or upsert to create its row")
        })
    }

    /// Removes a row. The last row moves to its position.
    fn remove(&mut self, at: usize) {
        let (size, last) = (self.schema.row_size(), self.index.len() - 1);
        let hash = hash_of(&self.state, &self.schema, self.row(at));
        if let Ok(entry) = self.index.find_entry(hash, |held| *held as usize == at) {
            entry.remove();
        }
        if at != last {
            let moved = hash_of(&self.state, &self.schema, self.row(last));
            if let Some(held) = self.index.find_mut(moved, |held| *held as usize == last) {
                // The cast is lossless: `at` is less than `last`, which is a `u32`.
                *held = at as u32;
            }
            self.rows.copy_within(last * size.., at * size);
        }
        self.rows.truncate(last * size);
    }

    fn row(&self, at: usize) -> &[u8] {
        let size = self.schema.row_size();
        &self.rows[at * size..][..size]
    }
}

fn hash_of(state: &RandomState, schema: &Schema, row: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    schema.hash_key_of_row(row, &mut hasher);
    hasher.finish()
}

/// Returns the error for a bad line of a file.
pub fn bad_line(line: u64, reason: &str) -> CliError {
    CliError::new(5, format!("line {line}: {reason}"))
}

/// Counts the bad lines of a file and keeps the first.
#[derive(Debug, Default)]
pub struct BadLines {
    first: Option<(u64, String)>,
    more: u64,
}

impl BadLines {
    /// Adds a line and the reason why it is bad.
    pub fn add(&mut self, line: u64, reason: String) {
        match self.first {
            None => self.first = Some((line, reason)),
            Some(_) => self.more += 1,
        }
    }

    /// Returns the bad lines as a result.
    ///
    /// # Errors
    /// Returns the error for the first bad line, with the number of the others, if there is one.
    pub fn into_result(self) -> Result<(), CliError> {
        let Some((line, reason)) = self.first else {
            return Ok(());
        };
        let more = match self.more {
            0 => String::new(),
            1 => " (and 1 more bad line)".to_owned(),
            more => format!(" (and {more} more bad lines)"),
        };
        Err(bad_line(line, &(reason + &more)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn rows_are_found_by_key_after_removals() {
        let schema = Arc::new(Schema::parse("id:u8,n:u8", None).unwrap());
        let row = |id, n| RowBuf::from_bytes(Arc::clone(&schema), &[id, n]).unwrap();
        let mut rows = RowSet::new(Arc::clone(&schema));
        let mut model = BTreeMap::new();
        let mut random = 1_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [_, n, id, action] = random.to_be_bytes().map(|byte| byte % 50);
            let exists = model.contains_key(&id);
            let (change, is_good) = match action {
                0..20 => (Operation::Delete(vec![id]), exists),
                20..30 => (Operation::Insert(row(id, n)), !exists),
                30..40 => (Operation::Update(row(id, n)), exists),
                49 if n == 0 => (Operation::Clear, true),
                _ => (Operation::Upsert(row(id, n)), true),
            };
            assert_eq!(rows.apply(&change).is_ok(), is_good, "{change:?}");
            match change {
                Operation::Clear => model.clear(),
                Operation::Delete(_) => drop(model.remove(&id)),
                _ if is_good => drop(model.insert(id, n)),
                _ => {}
            }
            assert_eq!(rows.index.len(), model.len());
        }
        assert!(!model.is_empty());
        let rows = rows.into_snapshot();
        let rows: BTreeMap<u8, u8> = rows.rows().map(|row| (row[0], row[1])).collect();
        assert_eq!(rows, model);
    }

    #[test]
    fn first_bad_line_is_reported_and_others_are_counted() {
        let report = |count: u64| {
            let mut bad = BadLines::default();
            (1..=count).for_each(|line| bad.add(line, "bad".to_owned()));
            bad.into_result().map_err(|error| error.to_string())
        };
        assert_eq!(report(0), Ok(()));
        assert_eq!(report(1), Err("line 1: bad".to_owned()));
        assert_eq!(
            report(2),
            Err("line 1: bad (and 1 more bad line)".to_owned())
        );
        assert_eq!(
            report(9),
            Err("line 1: bad (and 8 more bad lines)".to_owned())
        );
    }
}
