//! Damage to the objects of a table.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// A change of a file's bytes. Positions are taken modulo the file's length, so that each patch
/// hits something.
#[derive(Arbitrary, Clone, Debug)]
pub enum Patch {
    /// Overwrites a word.
    Word {
        /// Number of the word.
        at: u16,
        /// New value.
        value: u64,
    },
    /// Overwrites one of the first words, which contain the header.
    Header {
        /// Number of the word.
        at: u8,
        /// New value.
        value: u64,
    },
    /// Changes a word by a small amount.
    Nudge {
        /// Number of the word.
        at: u16,
        /// Amount that is added.
        by: i8,
    },
    /// Overwrites some bytes.
    Bytes {
        /// Position of the first byte.
        at: u32,
        /// New bytes.
        bytes: Vec<u8>,
    },
    /// Truncates the file at this position.
    Cut(u32),
    /// Extends the file with a hole.
    Extend(u16),
}

impl Patch {
    /// Applies the patch to a file that other processes may have mapped.
    pub fn apply(&self, file: &File) {
        let length = file.metadata().map_or(0, |status| status.len());
        let words = (length / 8).max(1);
        let write = |at: u64, bytes: &[u8]| {
            let room = usize::try_from(length.saturating_sub(at)).unwrap_or(0);
            // In a full /dev/shm the write fails and does no damage.
            let _done = file.write_all_at(&bytes[..bytes.len().min(room)], at);
        };
        match self {
            Self::Word { at, value } => write(u64::from(*at) % words * 8, &value.to_le_bytes()),
            Self::Header { at, value } => {
                write(u64::from(*at % 64) % words * 8, &value.to_le_bytes())
            }
            Self::Nudge { at, by } => {
                let at = u64::from(*at) % words * 8;
                let mut word = [0; 8];
                if file.read_exact_at(&mut word, at).is_ok() {
                    let value = u64::from_le_bytes(word).wrapping_add_signed(i64::from(*by));
                    write(at, &value.to_le_bytes());
                }
            }
            Self::Bytes { at, bytes } => write(u64::from(*at) % length.max(1), bytes),
            Self::Cut(at) => {
                let _done = file.set_len(u64::from(*at) % (length + 1));
            }
            Self::Extend(by) => {
                let _done = file.set_len(length + u64::from(*by));
            }
        }
    }
}

/// Applies patches to an object if it exists.
pub fn damage(object: &Path, patches: &[Patch]) {
    if let Ok(file) = File::options().read(true).write(true).open(object) {
        patches.iter().for_each(|patch| patch.apply(&file));
    }
}

/// Returns the path of the region of table `name`.
pub fn region(name: &str) -> PathBuf {
    format!("/dev/shm/tablecast.table.{name}").into()
}

/// Returns the path of registry `id`.
pub fn registry(id: u64) -> PathBuf {
    format!("/dev/shm/tablecast.subs.{id:016x}").into()
}

/// Returns the paths of all generations of the key index.
pub fn indexes() -> Vec<PathBuf> {
    objects("tablecast.index.")
}

fn objects(prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    found.map(|entry| entry.path()).collect()
}

/// Removes all objects of Tablecast.
///
/// # Panics
/// If /dev/shm is not private to this run.
pub fn clear() {
    assert!(
        std::env::var_os("TABLECAST_FUZZ").is_some(),
        "tables are made and damaged in a /dev/shm of their own: use `bash tests/fuzz/run`"
    );
    for object in objects("tablecast.") {
        std::fs::remove_file(object).expect("an object of this run");
    }
}
