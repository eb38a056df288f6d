//! Rows that follow from the version that wrote them, so that a reader can check every row that it
//! finds and every key that it misses.
//!
//! The rows are large and few, and each transaction writes all of them or deletes them, so many
//! rows are overwritten while they are read.

use std::sync::atomic::Ordering;

use common::{Publisher, Result, Row};

use crate::role_io::{say, told_to_end};

/// Number of keys, from 0 on. Key 0 is never deleted.
pub const KEYS: u64 = 4;

/// Number of words that repeat the version.
const WORDS: usize = 4094;

/// A row of 32 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
pub struct VersionedRow {
    /// The key.
    #[row(key)]
    pub id: u64,
    /// The version that wrote the row.
    pub version: u64,
    #[row(skip)]
    words: [u64; WORDS],
}

impl VersionedRow {
    /// Returns the row that `version` writes for a key.
    pub fn new(id: u64, version: u64) -> Self {
        Self { id, version, words: [version; WORDS] }
    }
}

/// Returns true if `version` writes the row of a key, and false if it deletes it.
pub fn is_live(id: u64, version: u64) -> bool {
    let is_chosen = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (32 + id) & 1 == 1;
    version > 0 && id < KEYS && (id == 0 || is_chosen)
}

/// Takes over or creates a table, prints its version, and commits at full speed until the end of
/// stdin. Then prints the last version before the one that closes the table.
///
/// # Errors
/// The errors of the publisher.
pub fn publish(name: &str) -> Result<()> {
    let mut publisher = Publisher::<VersionedRow>::builder(name).open()?;
    say(publisher.version());
    let mut rows: Vec<_> = (0..KEYS).map(|id| VersionedRow::new(id, 0)).collect();
    let mut written =
        publisher.iter().map(|row| row.map(|row| row.id)).collect::<Result<Vec<u64>>>()?;
    let end = told_to_end();
    while !end.load(Ordering::Relaxed) {
        let version = publisher.version() + 1;
        let mut tx = publisher.begin();
        written.iter().filter(|id| !is_live(**id, version)).try_for_each(|id| tx.delete(id))?;
        written.clear();
        for (id, row) in (0..).zip(&mut rows).filter(|(id, _)| is_live(*id, version)) {
            row.version = version;
            row.words.fill(version);
            tx.upsert(row)?;
            written.push(id);
        }
        tx.commit()?;
    }
    say(publisher.version());
    publisher.close()
}
