//! LMDB by heed: durable, ordered, one copy for all; here without its syncs, in /dev/shm, so that it pays for nothing that we
//! do not do either.

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};

use crate::row::Row;

/// Keys are integers as the machine has them: LMDB's own order for them.
pub type Rows = Database<heed::types::U64<heed::byteorder::BigEndian>, Bytes>;

/// An environment and its one table.
pub struct Lmdb {
    /// The environment.
    pub env: Env<WithoutTls>,
    /// The table.
    pub rows: Rows,
}

impl Lmdb {
    /// Opens what is at `path`, and makes it if nothing is there.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a folder");
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(4 << 30);
        // SAFETY: nobody else touches the files, and what a crash of the machine leaves is of no interest.
        let env = unsafe {
            options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP);
            options.open(path)
        }
        .expect("an environment");
        let mut tx = env.write_txn().expect("a writer");
        let rows = env.create_database(&mut tx, None).expect("a table");
        tx.commit().expect("a commit");
        Self { env, rows }
    }

    /// Puts rows in, in one transaction.
    ///
    /// # Panics
    /// If that fails.
    pub fn put(&self, rows: impl IntoIterator<Item = Row>) {
        let mut tx = self.env.write_txn().expect("a writer");
        for row in rows {
            let bytes = bytemuck::bytes_of(&row);
            self.rows.put(&mut tx, &row.key, bytes).expect("room");
        }
        tx.commit().expect("a commit");
    }
}
