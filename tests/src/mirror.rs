//! A copy that is maintained only from reported changes.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use common::{Change, Changes, Row};

/// Rows by key. Only [`Mirror::apply`] changes them.
#[derive(Clone, Debug)]
pub struct Mirror<R: Row> {
    rows: HashMap<R::Key, R>,
    /// Number of changes that were applied.
    pub applied: u64,
}

impl<R: Row> Default for Mirror<R>
where
    R::Key: Eq + Hash,
{
    fn default() -> Self {
        Self { rows: HashMap::new(), applied: 0 }
    }
}

impl<R: Row + Debug + PartialEq> Mirror<R>
where
    R::Key: Eq + Hash + Debug,
{
    /// Applies reported changes.
    ///
    /// # Panics
    /// If a change is wrong: it creates a key that exists, updates a key that does not exist,
    /// updates a row to equal content, or repeats a key.
    pub fn apply(&mut self, changes: &Changes<'_, R>) {
        let mut told = std::collections::HashSet::new();
        for change in changes {
            let (key, before, after) = match change {
                Change::Created(new) => (new.key(), None, Some(*new)),
                Change::Updated { old, new } => {
                    assert_eq!(old.key(), new.key(), "an update keeps its key");
                    assert_ne!(old, new, "an update without a change");
                    (old.key(), Some(*old), Some(*new))
                }
                Change::Deleted(old) => (old.key(), Some(*old), None),
            };
            assert!(told.insert(key), "key {key:?} is reported twice");
            let here = match after {
                Some(new) => self.rows.insert(key, new),
                None => self.rows.remove(&key),
            };
            assert_eq!(here, before, "the old row of {change:?}");
            self.applied += 1;
        }
        assert_eq!(told.len(), changes.len());
    }

    /// Returns the rows.
    pub fn rows(&self) -> &HashMap<R::Key, R> {
        &self.rows
    }
}
