//! Open-file-description locks, which show whether their holder is alive.
//!
//! The kernel releases such a lock when its holder ends in any way. The file must not be mapped
//! through the same description, because the mapping would keep the lock.

use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, flock};

use super::fork::ForkSafeFd;

/// A range of bytes of a file that are locked together.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: i64,
    length: i64,
}

impl Span {
    /// The whole file, including bytes that are added later.
    pub const WHOLE: Self = Self { start: 0, length: 0 };

    /// Returns the span of one byte. The byte does not need to exist.
    pub fn byte(at: usize) -> Self {
        Self { start: at as i64, length: 1 }
    }

    fn flock(self, kind: i32) -> flock {
        flock {
            l_type: kind as i16,
            l_whence: SEEK_SET as i16,
            l_start: self.start,
            l_len: self.length,
            l_pid: 0,
        }
    }
}

/// A file that is locked completely until this value is dropped.
#[derive(Debug)]
pub struct Locked(ForkSafeFd);

impl Locked {
    /// Locks the file. Returns `None` if another open file description holds a lock on it.
    ///
    /// # Errors
    /// Returns any other errno of `fcntl`.
    pub fn take(file: File) -> nix::Result<Option<Self>> {
        let file = ForkSafeFd::new(file);
        Ok(try_lock(&file, Span::WHOLE)?.then_some(Self(file)))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Unlock explicitly instead of relying on the close: between fork and exec, a child that
        // another thread forked also has the descriptor. Such a child must not unlock.
        if self.0.is_of_this_process() {
            let _released_by_close = unlock(&self.0, Span::WHOLE);
        }
    }
}

/// Takes the write lock of `span`. Returns false if another open file description holds a lock
/// there.
///
/// # Errors
/// Returns any other errno of `fcntl`.
pub fn try_lock(file: impl AsFd, span: Span) -> nix::Result<bool> {
    set(file, span, F_WRLCK)
}

/// Takes a shared lock, which also works on a file that is open for reading only. `is_locked`
/// reports such a lock, [`is_held`] does not. Returns false if another open file description holds
/// the write lock there.
///
/// # Errors
/// Returns any other errno of `fcntl`.
pub fn try_share(file: impl AsFd, span: Span) -> nix::Result<bool> {
    set(file, span, F_RDLCK)
}

fn set(file: impl AsFd, span: Span, kind: i32) -> nix::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&span.flock(kind))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Releases the lock.
///
/// # Errors
/// Returns the errno of `fcntl`.
pub fn unlock(file: impl AsFd, span: Span) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&span.flock(F_UNLCK))).map(drop)
}

/// Returns true if another open file description holds the write lock. The query is for a read
/// lock, so that read locks of processes of other users do not count.
///
/// # Errors
/// Returns the errno of `fcntl`.
pub fn is_held(file: impl AsFd, span: Span) -> nix::Result<bool> {
    conflicts(file, span, F_RDLCK)
}

/// Returns true if another open file description holds a lock, including a shared one.
pub fn is_locked(file: impl AsFd, span: Span) -> nix::Result<bool> {
    conflicts(file, span, F_WRLCK)
}

/// Returns true if another open file description holds a lock that conflicts with one of `kind`.
fn conflicts(file: impl AsFd, span: Span, kind: i32) -> nix::Result<bool> {
    let mut query = span.flock(kind);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type) != F_UNLCK)
}
