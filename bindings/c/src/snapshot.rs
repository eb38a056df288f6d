//! All rows of a table in one block of memory.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::{PoisonError, RwLock, TryLockError};

use common::{Snapshot, UntypedReader};

use crate::call::{Failure, Result, close};

/// All rows of a table as of one version, in memory of the library. Any number of threads may read
/// it while none fills or closes it. It stays valid when its reader is closed, and in a child.
#[derive(Default)]
pub struct tablecast_snapshot {
    // The lock makes filling a snapshot that is being filled an error.
    snapshot: RwLock<Snapshot>,
}

impl tablecast_snapshot {
    pub(crate) fn fill(&self, reader: &UntypedReader) -> Result<()> {
        let mut snapshot = match self.snapshot.try_write() {
            Ok(snapshot) => snapshot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::busy()),
        };
        reader.snapshot(&mut snapshot)?;
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the number of rows. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_snapshot_count(snapshot: *const tablecast_snapshot) -> usize {
    // SAFETY: the header demands NULL or a snapshot.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.read(Snapshot::len))
}

/// Returns the rows: a block of memory that is valid until the snapshot is filled again or closed,
/// and aligned to 64 bytes. Returns NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_snapshot_rows(
    snapshot: *const tablecast_snapshot,
) -> *const c_void {
    // SAFETY: the header demands NULL or a snapshot.
    let snapshot = unsafe { snapshot.as_ref() };
    snapshot.map_or(std::ptr::null(), |snapshot| {
        snapshot.read(|snapshot| snapshot.bytes().as_ptr().cast())
    })
}

/// Returns the distance from one row to the next: the size of a row, rounded up to a multiple of 8
/// bytes. Returns 0 for NULL, and before the snapshot is filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_snapshot_stride(snapshot: *const tablecast_snapshot) -> usize {
    // SAFETY: the header demands NULL or a snapshot.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.read(Snapshot::stride))
}

/// Returns the version of the rows. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_snapshot_version(snapshot: *const tablecast_snapshot) -> u64 {
    // SAFETY: the header demands NULL or a snapshot.
    unsafe { snapshot.as_ref() }.map_or(0, |snapshot| snapshot.read(Snapshot::version))
}

/// Frees a snapshot and sets `*snapshot` to NULL. Does nothing if either is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_snapshot_close(snapshot: *mut *mut tablecast_snapshot) {
    // SAFETY: the header demands a pointer to NULL or to a snapshot.
    unsafe { close(snapshot) }
}
