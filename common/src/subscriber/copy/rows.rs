//! Rows by slot, and what their keys are.

use std::sync::Arc;

use crate::index::{Hash, KeyHasher, KeyIndex};
use crate::memory::{self, AlignedWords, NoMemory};
use crate::row::schema::Schema;

/// Rows of one schema, a slot each.
pub(super) struct Rows {
    pub(super) schema: Arc<Schema>,
    hasher: KeyHasher,
    row_words: usize,
    /// [`Schema::key_word`].
    key_word: Option<usize>,
    words: AlignedWords,
}

impl Rows {
    /// The rows that stand in `words` one after the other.
    pub(super) fn new(schema: &Arc<Schema>, words: AlignedWords) -> Self {
        Self {
            schema: Arc::clone(schema),
            hasher: KeyHasher::default(),
            row_words: schema.row_words(),
            key_word: schema.key_word(),
            words,
        }
    }

    /// Makes room for `slots` rows.
    pub(super) fn try_grow(&mut self, slots: usize) -> Result<(), NoMemory> {
        self.words.try_grow(slots * self.row_words)
    }

    /// The words of the row at a slot.
    #[inline]
    pub(super) fn at(&self, slot: usize) -> &[u64] {
        &self.words[slot * self.row_words..][..self.row_words]
    }

    /// Returns the bytes of the row at a slot.
    #[inline]
    pub(super) fn bytes(&self, slot: usize) -> &[u8] {
        &bytemuck::cast_slice(self.at(slot))[..self.schema.row_size()]
    }

    pub(super) fn write(&mut self, slot: usize, row: &[u64]) {
        self.words[slot * self.row_words..][..self.row_words].copy_from_slice(row);
    }

    /// Prefetches the row at a slot, if the slot exists.
    #[inline]
    pub(super) fn prefetch(&self, slot: usize) {
        self.words
            .get(slot * self.row_words)
            .inspect(|word| memory::prefetch(*word));
    }

    /// The slot of a key and the words of its row, found by `index`; None also for a key of another length. `row_words` is a row's
    /// size, which a caller may know when it is compiled.
    #[inline(always)]
    pub(super) fn find(
        &self,
        index: &KeyIndex,
        key: &[u8],
        row_words: usize,
    ) -> Option<(usize, &[u64])> {
        let row = |slot: usize| &self.words[slot * row_words..][..row_words];
        match (self.key_word, <[u8; 8]>::try_from(key)) {
            (Some(word), Ok(key)) => {
                let key = u64::from_ne_bytes(key);
                index.find(self.hasher.of_word(key), |slot| {
                    let row = row(slot);
                    (row[word] == key).then_some((slot, row))
                })
            }
            _ => self.find_by_parts(index, key).map(|slot| (slot, row(slot))),
        }
    }

    fn find_by_parts(&self, index: &KeyIndex, key: &[u8]) -> Option<usize> {
        index.find(self.hash_key(key)?, |slot| {
            self.is_key_of(key, self.at(slot)).then_some(slot)
        })
    }

    /// A slot where `index` may have a key: the first one that looks like it.
    #[inline]
    pub(super) fn find_alike(&self, index: &KeyIndex, key: &[u8]) -> Option<usize> {
        index.find(self.hash_key(key)?, Some)
    }

    /// Returns the hash of a key; `None` for a key of another length.
    #[inline]
    fn hash_key(&self, key: &[u8]) -> Option<Hash> {
        match (self.key_word, <[u8; 8]>::try_from(key)) {
            (Some(_), Ok(key)) => Some(self.hasher.of_word(u64::from_ne_bytes(key))),
            _ => {
                (key.len() == self.schema.key_size()).then(|| self.hasher.of_key(&self.schema, key))
            }
        }
    }

    /// Returns true if `key` is the key of `row`.
    #[inline]
    pub(super) fn is_key_of(&self, key: &[u8], row: &[u64]) -> bool {
        match (self.key_word, <[u8; 8]>::try_from(key)) {
            (Some(word), Ok(key)) => row[word] == u64::from_ne_bytes(key),
            _ => self.schema.key_matches(bytemuck::cast_slice(row), key),
        }
    }

    /// The hash of a row's key.
    #[inline]
    pub(super) fn hash(&self, row: &[u64]) -> Hash {
        match self.key_word {
            Some(word) => self.hasher.of_word(row[word]),
            None => self.hasher.of_row(&self.schema, bytemuck::cast_slice(row)),
        }
    }

    #[inline]
    pub(super) fn same_key(&self, one: &[u64], other: &[u64]) -> bool {
        match self.key_word {
            Some(word) => one[word] == other[word],
            None => self
                .schema
                .same_key(bytemuck::cast_slice(one), bytemuck::cast_slice(other)),
        }
    }
}
