//! LMDB by heed: durable, ordered, one copy for all; here without its syncs, in /dev/shm, so that
//! it pays for nothing that we do not do either.

use std::path::Path;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, WithoutTls};

use crate::row::Row;

/// Keys are integers as the machine has them, compared as such: what LMDB calls MDB_INTEGERKEY.
pub type Rows = Database<U64<NativeEndian>, Bytes, IntegerComparator>;

/// More than anything here needs: LMDB reserves addresses, not memory.
const MAP_SIZE: usize = 4 << 30;
/// More than any case starts.
const READERS: u32 = 256;

/// An environment and its one table.
pub struct Lmdb {
    /// The environment.
    pub env: Env<WithoutTls>,
    /// The table.
    pub rows: Rows,
}

impl Lmdb {
    /// Opens the environment at `path` for reading and writing. Creates it if it does not exist.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a folder");
        let env = environment(path, EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP);
        let mut tx = env.write_txn().expect("a writer");
        let options = env.database_options().types::<U64<NativeEndian>, Bytes>();
        let rows = options.key_comparator::<IntegerComparator>();
        let rows = rows.create(&mut tx).expect("a table");
        tx.commit().expect("a commit");
        Self { env, rows }
    }

    /// Opens an existing environment for reading only.
    ///
    /// # Panics
    /// If that fails.
    pub fn open_to_read(path: &Path) -> Self {
        let env = environment(path, EnvFlags::READ_ONLY);
        let tx = env.read_txn().expect("a reader");
        let options = env.database_options().types::<U64<NativeEndian>, Bytes>();
        let rows = options.key_comparator::<IntegerComparator>();
        let rows = rows.open(&tx).expect("a table").expect("a writer has created it");
        tx.commit().expect("nothing was written");
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

    /// Copies every row out into `rows`.
    ///
    /// # Panics
    /// If that fails.
    pub fn copy_out(&self, rows: &mut Vec<Row>) {
        rows.clear();
        let tx = self.env.read_txn().expect("a reader");
        let all = self.rows.iter(&tx).expect("a table");
        rows.extend(all.map(|row| bytemuck::pod_read_unaligned::<Row>(row.expect("a row").1)));
    }
}

fn environment(path: &Path, flags: EnvFlags) -> Env<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_SIZE).max_readers(READERS);
    // SAFETY: nobody else touches the files, and what a crash of the machine leaves is of no
    // interest.
    unsafe { options.flags(flags).open(path) }.expect("an environment")
}
