//! Errors as numbers and checks of arguments, which all exported functions share.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Error, PublisherState, Schema};

/// The number of this binary interface. The functions that open a table pass it on, and a library
/// with another one refuses it.
pub const TABLECAST_ABI_VERSION: u32 = 1;

/// Results of functions that fail. More can be added, so treat every negative number as an error.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tablecast_error {
    /// An argument is NULL or out of range, or a text is not UTF-8.
    TABLECAST_ERROR_INVALID_ARGUMENT = -1,
    /// The program was compiled with the header of another, incompatible library.
    TABLECAST_ERROR_ABI_MISMATCH = -2,
    /// The handle was opened before a fork, in the parent. Open the table again in the child.
    TABLECAST_ERROR_FORKED = -3,
    /// Another thread, or a callback, uses the handle, and this call needs it alone.
    TABLECAST_ERROR_BUSY = -4,
    /// A bug of the library.
    TABLECAST_ERROR_INTERNAL = -5,
    /// A key or row has another size than the schema says.
    TABLECAST_ERROR_WRONG_LENGTH = -6,
    /// The name of a table is not valid.
    TABLECAST_ERROR_INVALID_NAME = -7,
    /// The fields or the key that the program expects are not valid.
    TABLECAST_ERROR_INVALID_SCHEMA = -8,
    /// A key in text form is not valid.
    TABLECAST_ERROR_INVALID_VALUE = -9,
    /// A text is longer than its field.
    TABLECAST_ERROR_TEXT_TOO_LONG = -10,
    /// There is no such table.
    TABLECAST_ERROR_NOT_FOUND = -11,
    /// The table has other fields than the program expects, or than it had when it was opened.
    TABLECAST_ERROR_SCHEMA_MISMATCH = -12,
    /// The table was published by a version of Tablecast with another layout.
    TABLECAST_ERROR_LAYOUT_MISMATCH = -13,
    /// The table is damaged.
    TABLECAST_ERROR_CORRUPT = -14,
    /// The table belongs to a user who is neither the user of this process nor root.
    TABLECAST_ERROR_WRONG_OWNER = -15,
    /// The permissions of the table do not allow this process to read it.
    TABLECAST_ERROR_PERMISSION_DENIED = -16,
    /// A limit of the system was reached: memory or open files.
    TABLECAST_ERROR_LIMIT = -17,
    /// Rows changed faster than they could be read. Try again.
    TABLECAST_ERROR_OUTRUN = -18,
    /// Any other error of the system.
    TABLECAST_ERROR_SYSTEM = -19,
}

use tablecast_error::*;

/// A failed call. It is boxed, so that results fit in registers.
pub struct Failure(Box<(tablecast_error, String)>);

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn new(code: tablecast_error, message: impl Into<String>) -> Self {
        Self(Box::new((code, message.into())))
    }

    #[cold]
    pub fn invalid(what: &str, reason: &str) -> Self {
        let message = format!("invalid argument: {what}: {reason}");
        Self::new(TABLECAST_ERROR_INVALID_ARGUMENT, message)
    }

    #[cold]
    pub fn wrong_length(what: &str, length: usize, expected: usize) -> Self {
        let message = format!(
            "wrong length: {what}: it has {expected} bytes, and {length} were given; use the schema of the handle"
        );
        Self::new(TABLECAST_ERROR_WRONG_LENGTH, message)
    }

    pub fn busy() -> Self {
        let message = "handle in use: another thread or a callback uses it; open one for each thread that waits";
        Self::new(TABLECAST_ERROR_BUSY, message)
    }
}

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Self {
        let code = match error {
            Error::InvalidName { .. } => TABLECAST_ERROR_INVALID_NAME,
            Error::NotFound { .. } => TABLECAST_ERROR_NOT_FOUND,
            Error::SchemaMismatch { .. } => TABLECAST_ERROR_SCHEMA_MISMATCH,
            Error::InvalidSchema { .. } => TABLECAST_ERROR_INVALID_SCHEMA,
            Error::InvalidValue { .. } => TABLECAST_ERROR_INVALID_VALUE,
            Error::TextTooLong { .. } => TABLECAST_ERROR_TEXT_TOO_LONG,
            Error::WrongLength { .. } => TABLECAST_ERROR_WRONG_LENGTH,
            Error::LayoutMismatch { .. } => TABLECAST_ERROR_LAYOUT_MISMATCH,
            Error::Corrupt { .. } => TABLECAST_ERROR_CORRUPT,
            Error::WrongOwner { .. } => TABLECAST_ERROR_WRONG_OWNER,
            Error::PermissionDenied { .. } => TABLECAST_ERROR_PERMISSION_DENIED,
            Error::Limit { .. } => TABLECAST_ERROR_LIMIT,
            Error::Outrun { .. } => TABLECAST_ERROR_OUTRUN,
            Error::System { .. } => TABLECAST_ERROR_SYSTEM,
            _ => TABLECAST_ERROR_INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Returns the text about the last call of this thread that failed, or an empty text if none did.
/// It is valid until the next call that fails in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn tablecast_error_message() -> *const c_char {
    // A thread that is ending has no message any more.
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cold]
fn report(Failure(failure): Failure) -> c_int {
    let (code, message) = *failure;
    // No name or field can contain a NUL, so nothing is lost.
    let text = CString::new(message.replace('\0', "")).unwrap_or_default();
    let _ending_thread = MESSAGE.try_with(|message| message.replace(text));
    code as c_int
}

/// Runs an exported function. Returns its result, or a negative number for an error or a panic.
///
/// The result is a whole word, because the compiler passes a smaller one through memory, where it
/// is stored in parts and loaded as a word. The processor waits for that.
#[inline(always)]
pub fn call(function: impl FnOnce() -> Result<usize>) -> c_int {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(result)) => result as c_int,
        Ok(Err(failure)) => report(failure),
        Err(panic) => {
            // The payload could panic again when it is dropped.
            std::mem::forget(panic);
            let message = "internal error: the library panicked; its message is on stderr";
            report(Failure::new(TABLECAST_ERROR_INTERNAL, message))
        }
    }
}

/// Checks the number that the caller's header has.
pub fn check_abi(abi_version: u32) -> Result<()> {
    if abi_version == TABLECAST_ABI_VERSION {
        return Ok(());
    }
    let message = format!(
        "interface mismatch: tablecast.h has number {abi_version}, and the library has {TABLECAST_ABI_VERSION}; compile the program with the header of the library"
    );
    Err(Failure::new(TABLECAST_ERROR_ABI_MISMATCH, message))
}

/// Parses the fields and the key that a program expects. Returns `None` without fields.
///
/// # Safety
/// Each pointer is NULL or a text.
pub unsafe fn expected(fields: *const c_char, key: *const c_char) -> Result<Option<Schema>> {
    if fields.is_null() {
        return match key.is_null() {
            true => Ok(None),
            false => Err(Failure::invalid("key", "there are no fields; pass the fields, too")),
        };
    }
    // SAFETY: the caller promises a text, and neither is NULL where it is read.
    let (fields, key) = unsafe {
        (text(fields, "fields")?, (!key.is_null()).then(|| text(key, "key")).transpose()?)
    };
    Ok(Some(Schema::parse(fields, key)?))
}

/// Number of forks between the first process of the program and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process that opened a handle. A forked child does not have the mappings of its parent.
pub struct Opener {
    forks: u64,
}

impl Opener {
    pub fn this_process() -> Self {
        static PREPARED: Once = Once::new();
        PREPARED.call_once(|| {
            // SAFETY: `in_child` only adds to an atomic. The registration can fail for lack of
            // memory, and then a child is not told from its parent.
            let _without = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Self { forks: FORKS.load(Ordering::Relaxed) }
    }

    #[inline(always)]
    pub fn check(&self) -> Result<()> {
        // Relaxed: the value changes only in a child, while the child has one thread.
        match self.forks == FORKS.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(forked()),
        }
    }
}

#[cold]
fn forked() -> Failure {
    let message =
        "forked process: the handle belongs to the parent; open the table again in the child";
    Failure::new(TABLECAST_ERROR_FORKED, message)
}

#[cold]
fn null(what: &str) -> Failure {
    Failure::invalid(what, "it is NULL; pass a pointer")
}

/// Returns the object behind a pointer.
///
/// # Safety
/// The pointer is NULL or valid, and nothing writes to the object while it is used.
#[inline(always)]
pub unsafe fn object<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: as the caller promises.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// Returns an error if the caller's memory is NULL.
#[inline(always)]
pub fn check_not_null(pointer: *const c_void, what: &str) -> Result<()> {
    if pointer.is_null() { Err(null(what)) } else { Ok(()) }
}

/// Returns an error if the caller's memory is NULL, unless it needs none.
pub fn check_memory(pointer: *const c_void, size: usize, what: &str) -> Result<()> {
    if size > 0 { check_not_null(pointer, what) } else { Ok(()) }
}

/// Returns the bytes behind a pointer, which may be NULL if there are none.
///
/// # Safety
/// As for [`object`], for `size` bytes.
#[inline(always)]
pub unsafe fn bytes<'a>(pointer: *const c_void, size: usize, what: &str) -> Result<&'a [u8]> {
    check_memory(pointer, size, what)?;
    match size {
        0 => Ok(&[]),
        // SAFETY: as the caller promises. No object is larger than `isize::MAX` bytes.
        size => Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), size) }),
    }
}

/// Returns the text behind a pointer.
///
/// # Safety
/// As for [`object`], for bytes up to a NUL.
pub unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::invalid(what, "it is not UTF-8; pass UTF-8"))
}

/// Copies bytes to the caller's memory.
///
/// # Safety
/// The pointer is NULL or valid for writing `from.len()` bytes.
pub unsafe fn copy_out(from: &[u8], to: *mut c_void, what: &str) -> Result<()> {
    check_memory(to, from.len(), what)?;
    // SAFETY: as the caller promises, and memory of Rust is not the caller's.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), from.len()) };
    Ok(())
}

/// Writes a result to the caller's memory.
///
/// # Safety
/// The pointer is NULL or valid for writing.
pub unsafe fn write<T>(pointer: *mut T, value: T, what: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: as the caller promises. The object may not be initialized, and is not read.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Writes a result that the caller may not want.
///
/// # Safety
/// As for [`write`].
pub unsafe fn write_if_wanted<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: as the caller promises.
        unsafe { pointer.write(value) };
    }
}

/// Opens a handle, and stores it in the caller's pointer. Stores NULL after an error.
///
/// # Safety
/// As for [`write`].
pub unsafe fn open<T>(handle: *mut *mut T, open: impl FnOnce() -> Result<T>) -> Result<usize> {
    // SAFETY: as the caller promises.
    unsafe { write(handle, std::ptr::null_mut(), "the pointer to the new handle")? };
    let opened = Box::into_raw(Box::new(open()?));
    // SAFETY: as above.
    unsafe { write(handle, opened, "the pointer to the new handle")? };
    Ok(0)
}

/// Closes a handle, and sets the caller's pointer to NULL.
///
/// # Safety
/// The pointer is NULL or valid, and points to NULL or to a handle from [`open`] that nothing uses.
pub unsafe fn close<T>(handle: *mut *mut T) {
    call(|| {
        // SAFETY: as the caller promises. A second close finds NULL.
        unsafe {
            if let Some(handle) = handle.as_mut() {
                let handle = std::mem::replace(handle, std::ptr::null_mut());
                if !handle.is_null() {
                    drop(Box::from_raw(handle));
                }
            }
        }
        Ok(0)
    });
}

/// Converts a timeout; a negative one has no end.
pub fn timeout(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// States of a publisher.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum tablecast_publisher_state {
    /// The publisher is alive.
    TABLECAST_PUBLISHER_ALIVE = 1,
    /// The publisher died without closing the table, which keeps its last commit.
    TABLECAST_PUBLISHER_GONE = 2,
    /// The publisher closed the table.
    TABLECAST_PUBLISHER_CLOSED = 3,
    /// A state that this header does not know.
    TABLECAST_PUBLISHER_OTHER = 1000,
}

/// Returns the number of a state.
pub fn state_number(state: PublisherState) -> c_int {
    use tablecast_publisher_state::*;
    let state = match state {
        PublisherState::Alive { .. } => TABLECAST_PUBLISHER_ALIVE,
        PublisherState::Gone { .. } => TABLECAST_PUBLISHER_GONE,
        PublisherState::Closed { .. } => TABLECAST_PUBLISHER_CLOSED,
        _ => TABLECAST_PUBLISHER_OTHER,
    };
    state as c_int
}

/// A function of the program that receives one row, which is valid until it returns. A result other
/// than 0 ends the iteration. It must return normally: no longjmp, and no exception.
pub type tablecast_row_callback =
    Option<unsafe extern "C" fn(context: *mut c_void, row: *const c_void) -> c_int>;

/// Returns a function that passes rows to a callback until it returns another result than 0, and
/// that result.
///
/// # Safety
/// The callback is a function of this type, and may be called with `context`.
pub unsafe fn visitor(
    callback: tablecast_row_callback,
    context: *mut c_void,
) -> Result<impl Fn(&[u8]) -> bool> {
    let callback = callback.ok_or_else(|| null("callback"))?;
    // SAFETY: as the caller promises; the row is valid during the call.
    Ok(move |row: &[u8]| unsafe { callback(context, row.as_ptr().cast()) } == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        // SAFETY: the text is copied before the next call.
        unsafe { CStr::from_ptr(tablecast_error_message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn panic_becomes_an_error() {
        assert_eq!(call(|| panic!("on purpose")), TABLECAST_ERROR_INTERNAL as c_int);
        assert!(message().starts_with("internal error"), "{}", message());
        assert_eq!(call(|| Ok(7)), 7);
    }

    #[test]
    fn message_belongs_to_a_thread() {
        assert_eq!(call(|| Err(null("row"))), TABLECAST_ERROR_INVALID_ARGUMENT as c_int);
        assert_eq!(message(), "invalid argument: row: it is NULL; pass a pointer");
        assert_eq!(std::thread::spawn(message).join().unwrap(), "");
    }
}
