//! A local copy of a table, and its changes.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{OnceLock, RwLock, TryLockError};

use common::{
    Cause, Change, Interrupter, RowRef, Schema, UntypedChanges, UntypedReader, UntypedSubscriber,
};

use crate::call::{
    Failure, Opener, Result, bytes, call, check_abi, close, expected, object, open, state_number,
    tablecast_row_callback, text, timeout, visitor, write,
};
use crate::schema::tablecast_schema;

/// A copy of a table at one version, which follows the publisher.
///
/// Any number of threads may read the copy at the same time. Refreshing and waiting need the
/// subscriber alone: while another call uses it, they are TABLECAST_ERROR_BUSY, and so is reading
/// during a wait. Pointers to rows and changes are valid until the next refresh or wait that is not
/// TABLECAST_ERROR_BUSY, so a thread that keeps pointers must be the one that refreshes. Closing
/// must be the last call. In a forked child only closing is allowed, and every other call is
/// TABLECAST_ERROR_FORKED.
pub struct tablecast_subscriber {
    opener: Opener,
    schema: tablecast_schema,
    copy: RwLock<Copy>,
    interrupter: Interrupter,
    publisher_state: AtomicI32,
}

struct Copy {
    subscriber: UntypedSubscriber,
    /// The changes of the last refresh, listed when the program asks for them.
    changes: OnceLock<Vec<tablecast_change>>,
}

/// Operations on a row.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum tablecast_operation {
    /// The key is new: `old_row` is NULL.
    TABLECAST_CREATED = 1,
    /// The row of the key has changed.
    TABLECAST_UPDATED = 2,
    /// The key was deleted: `new_row` is NULL.
    TABLECAST_DELETED = 3,
}

/// One key that changed between two versions. Rows are aligned to 8 bytes.
#[repr(C)]
pub struct tablecast_change {
    operation: tablecast_operation,
    old_row: *const c_void,
    new_row: *const c_void,
}

impl From<Change<RowRef<'_>>> for tablecast_change {
    fn from(change: Change<RowRef<'_>>) -> Self {
        let (operation, old, new) = match change {
            Change::Created(new) => (tablecast_operation::TABLECAST_CREATED, None, Some(new)),
            Change::Updated { old, new } => {
                (tablecast_operation::TABLECAST_UPDATED, Some(old), Some(new))
            }
            Change::Deleted(old) => (tablecast_operation::TABLECAST_DELETED, Some(old), None),
        };
        let pointer = |row: Option<RowRef<'_>>| {
            row.map_or(std::ptr::null(), |row| row.bytes().as_ptr().cast())
        };
        Self { operation, old_row: pointer(old), new_row: pointer(new) }
    }
}

impl tablecast_subscriber {
    fn open(name: &str, expected: Option<Schema>) -> Result<Self> {
        let schema = match expected {
            Some(schema) => schema,
            None => Schema::clone(&*UntypedReader::open(name)?.schema()?),
        };
        let mut subscriber = UntypedSubscriber::builder(name).schema(schema).open()?;
        Ok(Self {
            opener: Opener::this_process(),
            schema: tablecast_schema::new(subscriber.schema().clone()),
            interrupter: subscriber.interrupter()?,
            publisher_state: AtomicI32::new(state_number(subscriber.publisher_state())),
            copy: RwLock::new(Copy { subscriber, changes: OnceLock::new() }),
        })
    }

    /// Calls `read` with the local copy.
    fn read<T>(&self, read: impl FnOnce(&Copy) -> Result<T>) -> Result<T> {
        match self.copy.try_read() {
            Ok(copy) => read(&copy),
            Err(TryLockError::Poisoned(poisoned)) => read(&poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::busy()),
        }
    }

    /// Calls `follow`, and returns 1 if there are news.
    fn follow(
        &self,
        follow: impl FnOnce(&mut UntypedSubscriber) -> common::Result<UntypedChanges<'_>>,
    ) -> Result<usize> {
        let mut copy = match self.copy.try_write() {
            Ok(copy) => copy,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::busy()),
        };
        copy.changes.take();
        let cause = follow(&mut copy.subscriber)?.cause();
        let state = state_number(copy.subscriber.publisher_state());
        self.publisher_state.store(state, Ordering::Relaxed);
        Ok(usize::from(!matches!(cause, Cause::Nothing | Cause::Interrupted)))
    }

    /// Returns a pointer to the row of a key, if there is one, in memory of the local copy.
    fn row(&self, key: &[u8]) -> Result<*const c_void> {
        self.read(|copy| {
            let row = copy.subscriber.get(key);
            Ok(row.map_or(std::ptr::null(), |row| row.bytes().as_ptr().cast()))
        })
    }
}

/// Returns a subscriber that this process opened.
///
/// # Safety
/// The pointer is NULL or a subscriber.
unsafe fn opened<'a>(subscriber: *const tablecast_subscriber) -> Result<&'a tablecast_subscriber> {
    // SAFETY: as the caller promises. Nothing writes to a subscriber but through its lock.
    let subscriber = unsafe { object(subscriber, "subscriber")? };
    subscriber.opener.check()?;
    Ok(subscriber)
}

/// Opens a subscriber. Call tablecast_subscriber_open() or tablecast_subscriber_open_fields()
/// instead, which pass on the number of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_open_abi(
    abi_version: u32,
    name: *const c_char,
    fields: *const c_char,
    key: *const c_char,
    subscriber: *mut *mut tablecast_subscriber,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or texts, and NULL or a pointer to write to.
        unsafe {
            open(subscriber, || {
                check_abi(abi_version)?;
                tablecast_subscriber::open(text(name, "name")?, expected(fields, key)?)
            })
        }
    })
}

/// Closes a subscriber and sets `*subscriber` to NULL, so that later calls are errors. Does nothing
/// if either is NULL. No other call may use the subscriber at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_close(subscriber: *mut *mut tablecast_subscriber) {
    // SAFETY: the header demands a pointer to NULL or to a subscriber that nothing uses.
    unsafe { close(subscriber) }
}

/// Returns the schema of all rows and keys of a subscriber. Returns NULL for NULL. Any thread may
/// call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_schema(
    subscriber: *const tablecast_subscriber,
) -> *const tablecast_schema {
    // SAFETY: the header demands NULL or a subscriber.
    unsafe { subscriber.as_ref() }
        .map_or(std::ptr::null(), |subscriber| &raw const subscriber.schema)
}

/// Stores the version of the copy. Returns 0. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_version(
    subscriber: *const tablecast_subscriber,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        unsafe {
            let found = opened(subscriber)?.read(|copy| Ok(copy.subscriber.version()))?;
            write(version, found, "version")?;
        }
        Ok(0)
    })
}

/// Stores the number of rows of the copy. Returns 0. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_count(
    subscriber: *const tablecast_subscriber,
    count: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        unsafe {
            let found = opened(subscriber)?.read(|copy| Ok(copy.subscriber.len()))?;
            write(count, found, "count")?;
        }
        Ok(0)
    })
}

/// Returns the state of the publisher, a `tablecast_publisher_state`, as of the last refresh or
/// wait, or of opening. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_publisher_state(
    subscriber: *const tablecast_subscriber,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a subscriber.
        let subscriber = unsafe { opened(subscriber)? };
        Ok(subscriber.publisher_state.load(Ordering::Relaxed) as usize)
    })
}

/// Stores a pointer to the row of a key in `*row`, and returns 1. If the key has no row, stores
/// NULL and returns 0. The row is aligned to 8 bytes. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_get(
    subscriber: *const tablecast_subscriber,
    key: *const c_void,
    key_size: usize,
    row: *mut *const c_void,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers, and so many bytes.
        unsafe {
            let (subscriber, key) = (opened(subscriber)?, bytes(key, key_size, "key")?);
            subscriber.schema.check_key(key_size)?;
            let found = subscriber.row(key)?;
            write(row, found, "row")?;
            Ok(usize::from(!found.is_null()))
        }
    })
}

/// Stores a pointer to the row of a key in text form (tablecast_schema_parse_key()), as
/// tablecast_subscriber_get() does. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_get_text(
    subscriber: *const tablecast_subscriber,
    key: *const c_char,
    row: *mut *const c_void,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers, and a text.
        unsafe {
            let (subscriber, key) = (opened(subscriber)?, text(key, "key")?);
            let found = subscriber.row(&subscriber.schema.schema().parse_key(key)?)?;
            write(row, found, "row")?;
            Ok(usize::from(!found.is_null()))
        }
    })
}

/// Calls `callback` with each row of the copy, in no particular order, until it returns another
/// number than 0. Rows are aligned to 8 bytes. Returns 0. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_for_each(
    subscriber: *const tablecast_subscriber,
    callback: tablecast_row_callback,
    context: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a subscriber, and a callback for `context`.
        let (subscriber, visit) = unsafe { (opened(subscriber)?, visitor(callback, context)?) };
        subscriber.read(|copy| {
            let _stopped = copy.subscriber.iter().all(|row| visit(row.bytes()));
            Ok(0)
        })
    })
}

/// Stores the changes of the last refresh or wait, and their number. After opening, these are all
/// rows as created. Each key occurs once, whatever the number of commits. Returns 0. Any thread may
/// call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_changes(
    subscriber: *const tablecast_subscriber,
    changes: *mut *const tablecast_change,
    count: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        unsafe {
            opened(subscriber)?.read(|copy| {
                let list = || copy.subscriber.changes().iter().map(Into::into).collect();
                let found = copy.changes.get_or_init(list);
                write(changes, found.as_ptr(), "changes")?;
                write(count, found.len(), "count")
            })?;
        }
        Ok(0)
    })
}

/// Updates the copy to the last commit, without blocking. Returns 1 if there are news (changed rows,
/// or another state of the publisher), otherwise 0. After an error the copy is complete, at its
/// former version. Needs the subscriber alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_refresh(
    subscriber: *mut tablecast_subscriber,
) -> c_int {
    // SAFETY: the header demands NULL or a subscriber.
    call(|| unsafe { opened(subscriber)? }.follow(UntypedSubscriber::refresh))
}

/// Refreshes, and sleeps until there are news, for at most `timeout_ms` milliseconds; a negative
/// number has no end. Returns 1 if there are news, or 0 after the timeout or
/// tablecast_subscriber_interrupt(). Signals do not end it. Needs the subscriber alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_wait(
    subscriber: *mut tablecast_subscriber,
    timeout_ms: i64,
) -> c_int {
    // SAFETY: the header demands NULL or a subscriber.
    call(|| unsafe { opened(subscriber)? }.follow(|copy| copy.wait(timeout(timeout_ms))))
}

/// Ends the wait of a subscriber, or the next one if none is running. Any thread and any signal
/// handler may call it. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_interrupt(
    subscriber: *const tablecast_subscriber,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a subscriber.
        unsafe { opened(subscriber)? }.interrupter.interrupt();
        Ok(0)
    })
}

/// Returns a descriptor for poll() and similar, which is readable until
/// tablecast_subscriber_refresh() finds no news. It belongs to the subscriber: do not read from it
/// or close it. Any thread may call it, unless one waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_subscriber_fd(subscriber: *mut tablecast_subscriber) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a subscriber.
        let subscriber = unsafe { opened(subscriber)? };
        subscriber.read(|copy| Ok(copy.subscriber.as_fd().as_raw_fd() as usize))
    })
}
