//! The changes that lines of input request, and the rows of a file after its changes.

use std::sync::Arc;

use cli::CliError;
use common::{RowBuf, Schema, UntypedTransaction};
use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::Snapshot;

/// Maximum length of a line or record on stdin, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// The error for a `commit` outside a transaction.
pub const COMMIT_WITHOUT_BEGIN: &str =
    "`commit` without `begin`: begin a transaction with {\"op\":\"begin\"}";

/// The number of a line, and its instruction or the reason why the line is refused.
pub type Line = (u64, Result<Instruction, String>);

/// A parser of the lines of a stream.
pub trait LineParser {
    /// Returns the next line and advances `input` past it. Returns `None` if `input` does not hold
    /// a complete line; the next call needs the rest of `input` with more bytes after it. If
    /// `is_end`, no more bytes follow.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the stream cannot continue after this line.
    fn next(&mut self, input: &mut &[u8], is_end: bool) -> Option<Result<Line, CliError>>;

    /// Returns the number of lines that were read. The last line needs no line end.
    fn lines(&self) -> u64;
}

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

/// The rows of a file, by key, in order of insertion as long as none is removed.
pub struct RowSet {
    schema: Arc<Schema>,
    keys: IndexSet<Box<[u8]>, RandomState>,
    /// The rows without gaps, at the positions of their keys.
    rows: Vec<u8>,
}

impl RowSet {
    /// Creates an empty set of rows of `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self { schema, keys: IndexSet::default(), rows: Vec::new() }
    }

    /// Returns the rows as a snapshot.
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot::of(self.schema, self.rows)
    }

    /// Adds a row unless a row with the same key exists.
    ///
    /// # Errors
    /// Returns the position of the existing row with the same key.
    pub fn insert(&mut self, row: &RowBuf) -> Result<(), usize> {
        let (at, is_new) = self.keys.insert_full(row.key_bytes().into());
        if !is_new {
            return Err(at);
        }
        self.rows.extend_from_slice(row.bytes());
        Ok(())
    }

    /// Adds a row, or replaces the row with the same key.
    pub fn upsert(&mut self, row: &RowBuf) {
        if let Err(at) = self.insert(row) {
            let size = self.schema.row_size();
            self.rows[at * size..][..size].copy_from_slice(row.bytes());
        }
    }

    /// Removes a row, whose position the last row takes. Returns false if there is none.
    fn remove(&mut self, key: &[u8]) -> bool {
        let Some((at, _)) = self.keys.swap_remove_full(key) else {
            return false;
        };
        let (size, last) = (self.schema.row_size(), self.keys.len());
        self.rows.copy_within(last * size.., at * size);
        self.rows.truncate(last * size);
        true
    }

    /// Applies a change.
    ///
    /// # Errors
    /// Returns a sentence if the row exists or does not exist, and the change needs the opposite.
    pub fn apply(&mut self, change: &Operation) -> Result<(), String> {
        let exists = |key: &[u8]| self.keys.contains(key);
        let key = |key: &[u8]| self.schema.format_key(key);
        match change {
            Operation::Insert(row) if exists(&row.key_bytes()) => Err(format!(
                "the key {} exists already: use update or upsert to change its row",
                key(&row.key_bytes())
            )),
            Operation::Update(row) if !exists(&row.key_bytes()) => {
                Err(no_key(&key(&row.key_bytes())))
            }
            Operation::Insert(row) | Operation::Update(row) | Operation::Upsert(row) => {
                self.upsert(row);
                Ok(())
            }
            Operation::Delete(bytes) => match self.remove(bytes) {
                true => Ok(()),
                false => Err(no_key(&self.schema.format_key(bytes))),
            },
            Operation::Clear => {
                self.keys.clear();
                self.rows.clear();
                Ok(())
            }
        }
    }
}

fn no_key(key: &str) -> String {
    format!("there is no key {key}: use insert or upsert to create its row")
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
            assert_eq!(rows.keys.len(), model.len());
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
        let nine = "line 1: bad (and 8 more bad lines)";
        assert_eq!(report(9), Err(nine.to_owned()));
    }
}
