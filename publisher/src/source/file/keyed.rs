//! Rows with distinct keys, indexed by key.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use common::Schema;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::source::Snapshot;

/// Rows with distinct keys, stored back to back in order of insertion as long as none is removed.
pub struct Keyed {
    schema: Arc<Schema>,
    rows: Vec<u8>,
    index: HashTable<u32>,
    state: RandomState,
}

impl Keyed {
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

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.index.len()
    }

    /// Returns the position of the row with this key, given in its canonical bytes.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let mut hasher = self.state.build_hasher();
        self.schema.hash_key(key, &mut hasher);
        let is_it = |at: &u32| self.schema.key_matches(self.row(*at as usize), key);
        self.index
            .find(hasher.finish(), is_it)
            .map(|at| *at as usize)
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

    /// Removes a row. The last row moves to its position.
    pub fn remove(&mut self, at: usize) {
        let (size, last) = (self.schema.row_size(), self.count() - 1);
        self.forget(at);
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

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.index.clear();
        self.rows.clear();
    }

    /// Returns the rows as a snapshot.
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot::of(self.schema, self.rows)
    }

    fn row(&self, at: usize) -> &[u8] {
        let size = self.schema.row_size();
        &self.rows[at * size..][..size]
    }

    fn forget(&mut self, at: usize) {
        let hash = hash_of(&self.state, &self.schema, self.row(at));
        if let Ok(entry) = self.index.find_entry(hash, |held| *held as usize == at) {
            entry.remove();
        }
    }
}

fn hash_of(state: &RandomState, schema: &Schema, row: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    schema.hash_key_of_row(row, &mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rows(keyed: Keyed) -> BTreeMap<u8, u8> {
        let snapshot = keyed.into_snapshot();
        snapshot.rows().map(|row| (row[0], row[1])).collect()
    }

    #[test]
    fn rows_are_found_by_key_after_removals() {
        let schema = Arc::new(Schema::parse("id:u8,n:u8", None).unwrap());
        let mut keyed = Keyed::new(schema);
        let mut model = BTreeMap::new();
        let mut random = 1_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [_, n, id, action] = random.to_be_bytes().map(|byte| byte % 50);
            let place = keyed.find(&[id]);
            assert_eq!(place.is_some(), model.contains_key(&id));
            match (place, action) {
                (Some(at), 0..20) => {
                    keyed.remove(at);
                    model.remove(&id);
                }
                (_, 49) if n == 0 => {
                    keyed.clear();
                    model.clear();
                }
                (Some(at), _) => {
                    assert_eq!(keyed.insert(&[id, n]), Err(at));
                    keyed.replace(at, &[id, n]);
                    model.insert(id, n);
                }
                (None, _) => {
                    assert_eq!(keyed.insert(&[id, n]), Ok(()));
                    model.insert(id, n);
                }
            }
            assert_eq!(keyed.count(), model.len());
        }
        assert!(!model.is_empty());
        assert_eq!(rows(keyed), model);
    }
}
