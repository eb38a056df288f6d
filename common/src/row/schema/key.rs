//! The key's bytes in a row, which every lookup compares and hashes.
//!
//! Fields that are adjacent in both the row and the key form one run of bytes. Most keys are one
//! run, so each function has a fast path for a single run. A row and its key have the same hash
//! because both are fed to the hasher run by run.

use std::hash::Hasher;
use std::ops::Range;

use super::{Field, Kind, MAX_KEY_SIZE, Schema, invalid};
use crate::Result;

/// Returns the runs of the key's bytes within a row, in the key's order, and their total size.
pub(super) fn parts(fields: &[Field], key: &[usize]) -> Result<(Vec<Range<usize>>, usize)> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut key_size = 0;
    for (position, &index) in key.iter().enumerate() {
        let Some(field) = fields.get(index) else {
            return invalid(format!("the key names field {index} of {}", fields.len()));
        };
        if key[..position].contains(&index) {
            return invalid(format!("the key names {:?} twice", field.name));
        }
        // The equality of floats differs from that of their bytes.
        if matches!(field.kind, Kind::F32 | Kind::F64) {
            let (name, kind) = (&field.name, field.kind);
            return invalid(format!(
                "field {name:?} is {kind} and cannot be in the key: use an integer or text"
            ));
        }
        key_size += field.kind.size();
        match parts.last_mut() {
            Some(last) if last.end == field.offset => last.end = field.range().end,
            _ => parts.push(field.range()),
        }
    }
    if key_size == 0 || key_size > MAX_KEY_SIZE {
        return invalid(format!(
            "a key of {key_size} bytes is not possible: use fields of 1 to {MAX_KEY_SIZE} bytes in total"
        ));
    }
    Ok((parts, key_size))
}

impl Schema {
    /// Returns the runs of the key's bytes in a row, in the key's order, with adjacent fields
    /// merged.
    #[must_use]
    #[inline]
    pub fn key_parts(&self) -> &[Range<usize>] {
        &self.key_parts
    }

    /// Returns the index of the row's word that is the key, if the key is one aligned integer of 8
    /// bytes. The callers have fast paths for such keys, which are the most common ones.
    #[must_use]
    pub fn key_word(&self) -> Option<usize> {
        match self.key_parts.as_slice() {
            [part] if part.len() == 8 && part.start.is_multiple_of(8) => Some(part.start / 8),
            _ => None,
        }
    }

    /// Appends the key of `row`, [`Schema::key_size`] bytes, to `out`.
    /// Panics if `row` is too short to contain the key.
    #[inline]
    pub fn write_key(&self, row: &[u8], out: &mut Vec<u8>) {
        for part in &self.key_parts {
            out.extend_from_slice(&row[part.clone()]);
        }
    }

    /// Returns true if `row` has the key `key`. A key of the wrong length matches no row.
    /// Panics if `row` is too short to contain the key.
    #[must_use]
    #[inline]
    pub fn key_matches(&self, row: &[u8], key: &[u8]) -> bool {
        if let [part] = self.key_parts.as_slice() {
            return equal(&row[part.clone()], key);
        }
        key.len() == self.key_size
            && self
                .key_chunks(key)
                .zip(&self.key_parts)
                .all(|(chunk, part)| equal(&row[part.clone()], chunk))
    }

    /// Returns true if the rows `a` and `b` have the same key.
    /// Panics if a row is too short to contain the key.
    #[must_use]
    #[inline]
    pub fn same_key(&self, a: &[u8], b: &[u8]) -> bool {
        if let [part] = self.key_parts.as_slice() {
            return equal(&a[part.clone()], &b[part.clone()]);
        }
        self.key_parts.iter().all(|part| equal(&a[part.clone()], &b[part.clone()]))
    }

    /// Hashes the key of `row`, with the same result as [`Schema::hash_key`].
    /// Panics if `row` is too short to contain the key.
    #[inline]
    pub fn hash_key_of_row(&self, row: &[u8], hasher: &mut impl Hasher) {
        if let [part] = self.key_parts.as_slice() {
            return feed(&row[part.clone()], hasher);
        }
        for part in &self.key_parts {
            feed(&row[part.clone()], hasher);
        }
    }

    /// Hashes `key`, with the same result as [`Schema::hash_key_of_row`].
    /// Panics if `key` is shorter than [`Schema::key_size`].
    #[inline]
    pub fn hash_key(&self, key: &[u8], hasher: &mut impl Hasher) {
        if let [_] = self.key_parts.as_slice() {
            return feed(&key[..self.key_size], hasher);
        }
        for chunk in self.key_chunks(key) {
            feed(chunk, hasher);
        }
    }

    /// Splits `key` into one chunk for each run of the key's bytes in a row.
    #[inline]
    fn key_chunks<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = key;
        self.key_parts.iter().map(move |part| {
            let (chunk, after) = rest.split_at(part.len());
            rest = after;
            chunk
        })
    }
}

/// Compares two byte strings, without a call of `memcmp` if both have 8 bytes.
#[inline]
fn equal(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        (Some(x), Some(y)) if a.len() == 8 && b.len() == 8 => {
            u64::from_ne_bytes(*x) == u64::from_ne_bytes(*y)
        }
        _ => a == b,
    }
}

/// Hashes one run of a key, as an integer if it has 8 or 4 bytes.
#[inline]
fn feed(bytes: &[u8], hasher: &mut impl Hasher) {
    match bytes.len() {
        8 => hasher.write_u64(u64::from_ne_bytes(*bytes.first_chunk().expect("8 bytes"))),
        4 => hasher.write_u32(u32::from_ne_bytes(*bytes.first_chunk().expect("4 bytes"))),
        _ => hasher.write(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    const KEYS: [&str; 6] = ["a", "b", "d", "a,b", "b,a", "d,b,a"];

    fn schema(key: &str) -> Schema {
        Schema::parse("a:u64,b:u32,c:f32,d:text(5)", Some(key)).unwrap()
    }

    fn key_of(schema: &Schema, row: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        schema.write_key(row, &mut key);
        key
    }

    #[test]
    fn adjacent_key_fields_form_one_run() {
        assert!(matches!(schema("a,b").key_parts(), [part] if *part == (0..12)));
        assert_eq!(schema("b,a").key_parts(), [8..12, 0..8]);
        assert_eq!(schema("d,a,b").key_parts(), [16..21, 0..12]);
        assert_eq!(schema("d,a,b").key_size(), 17);
    }

    #[test]
    fn row_and_key_have_equal_hashes_and_match() {
        let row: Vec<u8> = (1..=24).collect();
        let other: Vec<u8> = (2..=25).collect();
        let state = std::hash::RandomState::new();
        for schema in KEYS.map(schema) {
            let key = key_of(&schema, &row);
            assert_eq!(key.len(), schema.key_size());
            assert!(schema.key_matches(&row, &key));
            assert!(!schema.key_matches(&other, &key));
            assert!(!schema.key_matches(&row, &key[1..]));
            assert!(schema.same_key(&row, &row));
            assert!(!schema.same_key(&row, &other));
            let (mut of_row, mut of_key, mut of_other) =
                (state.build_hasher(), state.build_hasher(), state.build_hasher());
            schema.hash_key_of_row(&row, &mut of_row);
            schema.hash_key(&key, &mut of_key);
            schema.hash_key_of_row(&other, &mut of_other);
            assert_eq!(of_row.finish(), of_key.finish());
            assert_ne!(of_row.finish(), of_other.finish());
        }
    }

    #[test]
    fn fields_outside_the_key_are_ignored() {
        let row = [0; 24];
        let mut other = row;
        other[12..16].fill(9);
        for schema in KEYS.map(schema) {
            assert!(schema.same_key(&row, &other));
        }
    }
}
