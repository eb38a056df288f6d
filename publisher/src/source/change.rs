//! The changes that lines of input request, and the rows of a file after its changes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use cli::CliError;
use common::{RowBuf, Schema, UntypedTransaction};
use foldhash::fast::{FoldHasher, RandomState};
use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, OccupiedEntry};

use super::Snapshot;
use super::format::{OnDuplicate, Table};

/// Maximum length of a line or record on stdin, in bytes.
pub(crate) const MAX_LINE: usize = 1 << 20;

pub(crate) const COMMIT_WITHOUT_BEGIN: &str =
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
    /// Adds the change to a transaction. After an error the transaction continues without it.
    ///
    /// # Errors
    /// Returns the errors of the transaction's methods.
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
    pub(crate) fn row(&self) -> Option<&RowBuf> {
        match self {
            Self::Insert(row) | Self::Update(row) | Self::Upsert(row) => Some(row),
            Self::Delete(_) | Self::Clear => None,
        }
    }

    /// Returns the approximate memory use of the change, in bytes.
    pub(crate) fn size(&self) -> usize {
        let content = match self {
            Self::Delete(key) => key.len(),
            _ => self.row().map_or(0, |row| size_of_val(row.words())),
        };
        size_of::<Self>() + content
    }
}

/// The rows of a file, by key. They are in order of insertion until a row is removed.
pub(crate) struct RowSet {
    schema: Arc<Schema>,
    rows: Vec<u8>,
    /// The positions of the rows, by the hashes of their keys. 32 bits suffice: a file
    /// has at most 4 GiB, and each of its rows takes more than one byte.
    positions: HashTable<u32>,
    hasher: RandomState,
}

impl RowSet {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        let (rows, positions) = (Vec::new(), HashTable::new());
        Self { schema, rows, positions, hasher: RandomState::default() }
    }

    pub(crate) fn into_snapshot(self) -> Snapshot {
        Snapshot::of(self.schema, self.rows)
    }

    /// Adds a row, or returns the position of the existing row with the same key as the error.
    pub(crate) fn insert(&mut self, row: &RowBuf) -> Result<(), usize> {
        let (rows, schema, size) = (&self.rows, &self.schema, self.schema.row_size());
        let at = |position: &u32| &rows[*position as usize * size..][..size];
        let hash = |row: &[u8]| hash(&self.hasher, |hasher| schema.hash_key_of_row(row, hasher));
        let is_same = |position: &u32| schema.same_key(at(position), row.bytes());
        match self.positions.entry(hash(row.bytes()), is_same, |position| hash(at(position))) {
            Entry::Occupied(entry) => return Err(*entry.get() as usize),
            Entry::Vacant(entry) => {
                let position = u32::try_from(rows.len() / size).expect("fewer rows than bytes");
                entry.insert(position);
            }
        }
        self.rows.extend_from_slice(row.bytes());
        Ok(())
    }

    pub(crate) fn upsert(&mut self, row: &RowBuf) {
        if let Err(at) = self.insert(row) {
            let size = self.schema.row_size();
            self.rows[at * size..][..size].copy_from_slice(row.bytes());
        }
    }

    /// Returns the entry of the row with this key.
    fn entry(&mut self, key: &[u8]) -> Option<OccupiedEntry<'_, u32>> {
        let (rows, schema, size) = (&self.rows, &self.schema, self.schema.row_size());
        let is_same = |at: &u32| schema.key_matches(&rows[*at as usize * size..][..size], key);
        let hash = hash(&self.hasher, |hasher| schema.hash_key(key, hasher));
        self.positions.find_entry(hash, is_same).ok()
    }

    /// Removes the row of a key, and moves the last row to its position. Returns false if the key has
    /// no row.
    fn remove(&mut self, key: &[u8]) -> bool {
        let size = self.schema.row_size();
        let last = self.rows.len().saturating_sub(size);
        let mut last_key = Vec::with_capacity(key.len());
        let Some(entry) = self.entry(key) else {
            return false;
        };
        let at = entry.remove().0;
        self.schema.write_key(&self.rows[last..], &mut last_key);
        // If the removed row was the last one, it has no entry any more.
        if let Some(mut entry) = self.entry(&last_key) {
            *entry.get_mut() = at;
        }
        self.rows.copy_within(last.., at as usize * size);
        self.rows.truncate(last);
        true
    }

    /// Applies a change. Returns an error for an insert if the key exists, and for an update or a
    /// delete if it does not.
    pub(crate) fn apply(&mut self, change: &Operation) -> Result<(), String> {
        match change {
            Operation::Insert(row) => self.insert(row).map_err(|_| {
                let key = row.as_ref().key();
                format!("the key {key} exists already: use update or upsert to change its row")
            }),
            Operation::Update(row) if self.entry(&row.key_bytes()).is_none() => {
                let key = row.as_ref().key();
                Err(format!("there is no key {key}: use insert or upsert to create its row"))
            }
            Operation::Update(row) | Operation::Upsert(row) => {
                self.upsert(row);
                Ok(())
            }
            Operation::Delete(key) if !self.remove(key) => {
                Err(format!("there is no key {} to delete", self.schema.format_key(key)))
            }
            Operation::Delete(_) => Ok(()),
            Operation::Clear => {
                self.positions.clear();
                self.rows.clear();
                Ok(())
            }
        }
    }
}

/// The rows of a table in which each key may occur once, with the number of each row's line.
pub(crate) struct DistinctRows {
    rows: RowSet,
    /// Name of the numbers in messages: line or row.
    place: &'static str,
    on_duplicate: Option<OnDuplicate>,
    /// The number of each row, by its position.
    numbers: Vec<u64>,
    duplicates: u64,
}

impl DistinctRows {
    pub(crate) fn new(
        schema: Arc<Schema>,
        place: &'static str,
        on_duplicate: Option<OnDuplicate>,
    ) -> Self {
        let (rows, numbers) = (RowSet::new(schema), Vec::new());
        Self { rows, place, on_duplicate, numbers, duplicates: 0 }
    }

    /// Adds a row, or decides by `on_duplicate` if its key exists already.
    pub(crate) fn add(&mut self, number: u64, row: &RowBuf) -> Result<(), String> {
        let Err(first) = self.rows.insert(row) else {
            self.numbers.push(number);
            return Ok(());
        };
        self.duplicates += 1;
        match self.on_duplicate {
            Some(OnDuplicate::First) => Ok(()),
            Some(OnDuplicate::Last) => {
                self.rows.upsert(row);
                Ok(())
            }
            None => {
                let (key, first) = (row.as_ref().key().to_string(), self.numbers[first]);
                Err(format!(
                    "the key {key} is also in {} {first}: name the key fields with --key, or \
                     choose a row with --on-duplicate first or last",
                    self.place
                ))
            }
        }
    }

    /// Returns the table, with a remark about duplicates.
    pub(crate) fn into_table(self, mut remarks: Vec<String>) -> Table {
        if let Some(kept) = self.on_duplicate.filter(|_| self.duplicates > 0) {
            let kept = if kept == OnDuplicate::First { "first" } else { "last" };
            let duplicates = self.duplicates;
            remarks
                .push(format!("duplicate keys: {duplicates}; the {kept} row of each key is kept"));
        }
        Table { snapshot: self.rows.into_snapshot(), remarks }
    }
}

fn hash(state: &RandomState, feed: impl FnOnce(&mut FoldHasher<'_>)) -> u64 {
    let mut hasher = state.build_hasher();
    feed(&mut hasher);
    hasher.finish()
}

pub(crate) fn bad_line(line: u64, reason: &str) -> CliError {
    CliError::new(5, format!("line {line}: {reason}"))
}

/// Returns the error of the first bad line, with the number of further bad lines. The items are the
/// number of each line and its result. `place` is the name of the numbers: line or row.
pub(crate) fn check_lines(
    place: &str,
    lines: impl Iterator<Item = (u64, Result<(), String>)>,
) -> Result<(), CliError> {
    let mut bad = lines.filter_map(|(line, result)| Some((line, result.err()?)));
    let Some((line, reason)) = bad.next() else {
        return Ok(());
    };
    let more = match bad.count() {
        0 => String::new(),
        1 => format!(" (and 1 more bad {place})"),
        more => format!(" (and {more} more bad {place}s)"),
    };
    Err(CliError::new(5, format!("{place} {line}: {reason}{more}")))
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
            assert_eq!(rows.positions.len(), model.len());
        }
        assert!(!model.is_empty());
        let rows = rows.into_snapshot();
        let rows: BTreeMap<u8, u8> = rows.rows().map(|row| (row[0], row[1])).collect();
        assert_eq!(rows, model);
    }

    #[test]
    fn first_bad_line_is_reported_and_others_are_counted() {
        let report = |count: u64| {
            let lines = [(0, Ok(()))].into_iter();
            let lines = lines.chain((1..=count).map(|line| (line, Err("bad".to_owned()))));
            check_lines("line", lines).map_err(|error| error.to_string())
        };
        assert_eq!(report(0), Ok(()));
        assert_eq!(report(1), Err("line 1: bad".to_owned()));
        let nine = "line 1: bad (and 8 more bad lines)";
        assert_eq!(report(9), Err(nine.to_owned()));
    }
}
