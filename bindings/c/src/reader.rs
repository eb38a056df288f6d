//! Lookups in shared memory.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;
use std::sync::TryLockError;
use std::sync::atomic::{AtomicI32, Ordering};

use common::{Interrupter, Schema, UntypedReader, bytemuck};

use crate::call::{
    Failure, Opener, Result, bytes, call, check_abi, check_memory, check_not_null, close, copy_out,
    expected, object, open, state_number, tablecast_row_callback, text, timeout, visitor, write,
    write_if_wanted,
};
use crate::schema::tablecast_schema;
use crate::snapshot::tablecast_snapshot;

/// Rows of up to this number of words are looked up without an allocation, whatever the alignment
/// of the caller's memory.
const STACK_WORDS: usize = 32;

/// Looks up rows in shared memory, as of the last commit.
///
/// Any number of threads may use a reader for lookups (the functions that take a pointer to const),
/// also while another thread waits. Only one thread at a time may refresh or wait; for another one
/// this is TABLECAST_ERROR_BUSY. Closing must be the last call. In a forked child only closing is
/// allowed, and every other call is TABLECAST_ERROR_FORKED.
pub struct tablecast_reader {
    opener: Opener,
    lookups: UntypedReader,
    schema: tablecast_schema,
    /// A second reader, so that a wait needs no lock that lookups take.
    waits: Mutex<UntypedReader>,
    interrupter: Interrupter,
    publisher_state: AtomicI32,
}

impl tablecast_reader {
    fn open(name: &str, expected: Option<Schema>) -> Result<Self> {
        let schema = match expected {
            Some(schema) => schema,
            None => Schema::clone(&*UntypedReader::open(name)?.schema()?),
        };
        let options = UntypedReader::builder(name).schema(schema);
        // The waits are opened first, so that they miss no commit that a lookup does not see.
        let (mut waits, lookups) = (options.open()?, options.open()?);
        Ok(Self {
            opener: Opener::this_process(),
            schema: tablecast_schema::new(lookups.schema()?),
            interrupter: waits.interrupter()?,
            publisher_state: AtomicI32::new(state_number(waits.publisher_state())),
            waits: Mutex::new(waits),
            lookups,
        })
    }

    /// Copies the row of a key to the caller's memory. Returns 1, or 0 if there is none.
    ///
    /// # Safety
    /// `key` is NULL or valid for reading `key_size` bytes, and `row` is NULL or valid for writing
    /// `row_size` bytes.
    #[inline(always)]
    unsafe fn get(
        &self,
        key: *const c_void,
        key_size: usize,
        row: *mut c_void,
        row_size: usize,
    ) -> Result<usize> {
        self.schema.check_key(key_size)?;
        self.schema.check_row(row_size)?;
        // Neither is empty.
        check_not_null(key, "key")?;
        check_not_null(row, "row")?;
        // SAFETY: `key` is not null, and valid as the caller promises.
        let key = unsafe { std::slice::from_raw_parts(key.cast::<u8>(), key_size) };
        let words = row.cast::<u64>();
        if !row_size.is_multiple_of(size_of::<u64>()) || !words.is_aligned() {
            // SAFETY: `row` is not null, and valid for a row as the caller promises.
            return unsafe { self.get_unaligned(key, row) };
        }
        // SAFETY: `row` is not null, aligned, and valid for so many words as the caller promises.
        let words = unsafe { std::slice::from_raw_parts_mut(words, row_size / size_of::<u64>()) };
        Ok(usize::from(self.lookups.get_into(key, words)?))
    }

    /// Copies the row of a key to the caller's memory, which is not a whole number of aligned words.
    ///
    /// # Safety
    /// `row` is valid for writing a row.
    #[inline(never)]
    unsafe fn get_unaligned(&self, key: &[u8], row: *mut c_void) -> Result<usize> {
        let schema = self.schema.schema();
        let (mut on_stack, mut on_heap) = ([0; STACK_WORDS], Vec::new());
        let words = match on_stack.get_mut(..schema.row_words()) {
            Some(words) => words,
            None => {
                on_heap.resize(schema.row_words(), 0);
                &mut on_heap[..]
            }
        };
        let found = self.lookups.get_into(key, words)?;
        let bytes = &bytemuck::cast_slice(words)[..schema.row_size()];
        // SAFETY: as the caller promises.
        unsafe { copy_out(bytes, row, "row")? };
        Ok(usize::from(found))
    }

    /// Calls `follow` with the reader that waits, and returns 1 if there are news.
    fn follow(
        &self,
        follow: impl FnOnce(&mut UntypedReader) -> common::Result<Option<u64>>,
    ) -> Result<usize> {
        self.with_waits(|waits| {
            let news = follow(waits)?;
            let state = state_number(waits.publisher_state());
            self.publisher_state.store(state, Ordering::Relaxed);
            Ok(usize::from(news.is_some()))
        })
    }

    fn with_waits<T>(&self, use_them: impl FnOnce(&mut UntypedReader) -> Result<T>) -> Result<T> {
        match self.waits.try_lock() {
            Ok(mut waits) => use_them(&mut waits),
            Err(TryLockError::Poisoned(poisoned)) => use_them(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::busy()),
        }
    }
}

/// Returns a reader that this process opened.
///
/// # Safety
/// The pointer is NULL or a reader.
#[inline(always)]
unsafe fn opened<'a>(reader: *const tablecast_reader) -> Result<&'a tablecast_reader> {
    // SAFETY: as the caller promises. Nothing writes to a reader but through its locks.
    let reader = unsafe { object(reader, "reader")? };
    reader.opener.check()?;
    Ok(reader)
}

/// Opens a reader. Call tablecast_reader_open() or tablecast_reader_open_fields() instead, which
/// pass on the number of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_open_abi(
    abi_version: u32,
    name: *const c_char,
    fields: *const c_char,
    key: *const c_char,
    reader: *mut *mut tablecast_reader,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or texts, and NULL or a pointer to write to.
        unsafe {
            open(reader, || {
                check_abi(abi_version)?;
                tablecast_reader::open(text(name, "name")?, expected(fields, key)?)
            })
        }
    })
}

/// Closes a reader and sets `*reader` to NULL, so that later calls are errors. Does nothing if
/// either is NULL. No other call may use the reader at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_close(reader: *mut *mut tablecast_reader) {
    // SAFETY: the header demands a pointer to NULL or to a reader that nothing uses.
    unsafe { close(reader) }
}

/// Returns the schema of all rows and keys of a reader. Returns NULL for NULL. Any thread may call
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_schema(
    reader: *const tablecast_reader,
) -> *const tablecast_schema {
    // SAFETY: the header demands NULL or a reader.
    unsafe { reader.as_ref() }.map_or(std::ptr::null(), |reader| &raw const reader.schema)
}

/// Stores the number of the last commit. Returns 0. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_version(
    reader: *const tablecast_reader,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        unsafe { write(version, opened(reader)?.lookups.version()?, "version")? };
        Ok(0)
    })
}

/// Stores the number of rows as of the last commit. Returns 0. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_count(
    reader: *const tablecast_reader,
    count: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        unsafe { write(count, opened(reader)?.lookups.len()?, "count")? };
        Ok(0)
    })
}

/// Returns the state of the publisher, a `tablecast_publisher_state`, as of the last refresh or
/// wait, or of opening. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_publisher_state(
    reader: *const tablecast_reader,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a reader.
        let reader = unsafe { opened(reader)? };
        Ok(reader.publisher_state.load(Ordering::Relaxed) as usize)
    })
}

/// Copies the row of a key to `row`. Returns 1, or 0 if the key has no row; the contents of `row`
/// are then unspecified. The sizes must be those of the schema. A row whose size is a multiple of 8
/// is read fastest, into memory that is aligned to 8. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_get(
    reader: *const tablecast_reader,
    key: *const c_void,
    key_size: usize,
    row: *mut c_void,
    row_size: usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers, and so many bytes.
        unsafe { opened(reader)?.get(key, key_size, row, row_size) }
    })
}

/// Copies the row of a key in text form (tablecast_schema_parse_key()) to `row`, as
/// tablecast_reader_get() does. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_get_text(
    reader: *const tablecast_reader,
    key: *const c_char,
    row: *mut c_void,
    row_size: usize,
) -> c_int {
    let mut bytes = Vec::new();
    let parsed = call(|| {
        // SAFETY: the header demands NULL or a reader, and a text.
        let (reader, key) = unsafe { (opened(reader)?, text(key, "key")?) };
        bytes = reader.schema.schema().parse_key(key)?;
        Ok(0)
    });
    match parsed {
        // SAFETY: the header demands NULL or so many bytes.
        0 => unsafe {
            tablecast_reader_get(reader, bytes.as_ptr().cast(), bytes.len(), row, row_size)
        },
        error => error,
    }
}

/// Looks up `count` keys as of one version, which is stored in `*version` unless that is NULL. This
/// is several times faster than single lookups. The keys follow each other in `keys`; the row of
/// key `i` is stored in `rows` at `i * row_size` and `found[i]` is set to true, or to false if the
/// key has no row. Returns the number of rows found, at most INT_MAX. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_get_many(
    reader: *const tablecast_reader,
    keys: *const c_void,
    key_size: usize,
    count: usize,
    rows: *mut c_void,
    row_size: usize,
    found: *mut bool,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a reader.
        let reader = unsafe { opened(reader)? };
        reader.schema.check_key(key_size)?;
        reader.schema.check_row(row_size)?;
        let size_of_all =
            |size| count.checked_mul(size).filter(|size| *size <= isize::MAX as usize);
        let (Some(keys_size), Some(rows_size)) = (size_of_all(key_size), size_of_all(row_size))
        else {
            return Err(Failure::invalid("count", "so many rows fit no memory; pass fewer keys"));
        };
        // SAFETY: the header demands NULL or valid pointers, and so many keys, rows and flags.
        let keys = unsafe { bytes(keys, keys_size, "keys")? };
        check_memory(rows.cast(), rows_size, "rows")?;
        check_memory(found.cast(), count, "found")?;
        let keys: Vec<&[u8]> = keys.chunks_exact(key_size).collect();
        let mut number = 0_usize;
        let read_at = reader.lookups.get_many(&keys, |index, row| {
            number += usize::from(row.is_some());
            // SAFETY: `index` is less than `count`, and the row has `row_size` bytes.
            unsafe {
                found.add(index).write(row.is_some());
                if let Some(row) = row {
                    let to = rows.cast::<u8>().add(index * row_size);
                    to.copy_from_nonoverlapping(row.bytes().as_ptr(), row_size);
                }
            }
        })?;
        // SAFETY: the header demands NULL or a valid pointer.
        unsafe { write_if_wanted(version, read_at) };
        Ok(number.min(c_int::MAX as usize))
    })
}

/// Calls `callback` with each row as of one version, in no particular order, until it returns
/// another number than 0. The version is stored in `*version` unless that is NULL. Returns 0. After
/// an error the callback may have received some of the rows. Rows are aligned to 8 bytes. Any
/// thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_for_each(
    reader: *const tablecast_reader,
    callback: tablecast_row_callback,
    context: *mut c_void,
    version: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a reader, and a callback for `context`.
        let (reader, visit) = unsafe { (opened(reader)?, visitor(callback, context)?) };
        let mut goes_on = true;
        let read_at = reader.lookups.for_each(|row| goes_on = goes_on && visit(row.bytes()))?;
        // SAFETY: the header demands NULL or a valid pointer.
        unsafe { write_if_wanted(version, read_at) };
        Ok(0)
    })
}

/// Copies all rows as of one version to `*snapshot`. If that is NULL, creates it; otherwise its
/// memory is used again. Returns 0. After an error the snapshot is empty. Any thread may call it,
/// each with its own snapshot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_snapshot(
    reader: *const tablecast_reader,
    snapshot: *mut *mut tablecast_snapshot,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a reader, and a pointer to NULL or to a snapshot.
        unsafe {
            let (reader, place) = (opened(reader)?, object(snapshot, "snapshot")?);
            match place.as_ref() {
                Some(filled) => filled.fill(&reader.lookups)?,
                None => {
                    let filled = Box::<tablecast_snapshot>::default();
                    filled.fill(&reader.lookups)?;
                    write(snapshot, Box::into_raw(filled), "snapshot")?;
                }
            }
        }
        Ok(0)
    })
}

/// Looks for news since the last refresh or wait, or since opening, without blocking. News are
/// commits, and another state of the publisher. Returns 1 if there are any, otherwise 0. One thread
/// at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_refresh(reader: *mut tablecast_reader) -> c_int {
    // SAFETY: the header demands NULL or a reader.
    call(|| unsafe { opened(reader)? }.follow(UntypedReader::refresh))
}

/// Sleeps until there are news, for at most `timeout_ms` milliseconds; a negative number has no
/// end. Returns 1 if there are news, or 0 after the timeout or tablecast_reader_interrupt(). Signals
/// do not end it. One thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_wait(
    reader: *mut tablecast_reader,
    timeout_ms: i64,
) -> c_int {
    // SAFETY: the header demands NULL or a reader.
    call(|| unsafe { opened(reader)? }.follow(|waits| waits.wait(timeout(timeout_ms))))
}

/// Ends the wait of a reader, or the next one if none is running. Any thread and any signal handler
/// may call it. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_interrupt(reader: *const tablecast_reader) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or a reader.
        unsafe { opened(reader)? }.interrupter.interrupt();
        Ok(0)
    })
}

/// Returns a descriptor for poll() and similar, which is readable until tablecast_reader_refresh()
/// finds no news. It belongs to the reader: do not read from it or close it. One thread at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_reader_fd(reader: *mut tablecast_reader) -> c_int {
    // SAFETY: the header demands NULL or a reader.
    call(|| unsafe { opened(reader)? }.with_waits(|waits| Ok(waits.as_fd().as_raw_fd() as usize)))
}
