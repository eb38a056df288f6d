//! mmap-sync: the whole table is one value, which a write replaces.

use std::path::Path;
use std::time::Duration;

use mmap_sync::synchronizer::Synchronizer;
use rkyv::{Archive, Deserialize, Serialize};

use crate::row::{Row, WORDS};

/// All rows.
#[derive(Archive, Serialize, Deserialize)]
#[archive_attr(derive(bytecheck::CheckBytes))]
pub struct Blob {
    /// Each in its words.
    pub rows: Vec<[u64; WORDS]>,
}

impl Blob {
    /// Of these rows.
    pub fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        let rows = rows.into_iter().map(|row| *row.words()).collect();
        Self { rows }
    }

    /// Makes it what readers see.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, to: &mut Synchronizer) {
        to.write(self, Duration::from_secs(1)).expect("room");
    }
}

/// Returns the reader and the writer of the file at `path`.
pub fn open(path: &Path) -> Synchronizer {
    Synchronizer::new(path.as_os_str())
}
