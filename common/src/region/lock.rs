//! Open-file-description locks: the kernel's own word on who is alive.
//!
//! Such a lock belongs to one opening of a file and falls with it, whatever way its holder ends; a reused pid
//! cannot fake it. The file must not be mapped through the same opening, for a mapping would keep the lock.

use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::fork::{Creator, ForkSafeFd};

/// Bytes of a file that are locked together.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: i64,
    length: i64,
}

impl Span {
    /// The whole file, however long it grows.
    pub const WHOLE: Self = Self {
        start: 0,
        length: 0,
    };

    /// One byte. It need not exist.
    pub fn byte(at: usize) -> Self {
        Self {
            start: at as i64,
            length: 1,
        }
    }

    fn flock(self, kind: i32) -> nix::libc::flock {
        nix::libc::flock {
            l_type: kind as i16,
            l_whence: nix::libc::SEEK_SET as i16,
            l_start: self.start,
            l_len: self.length,
            l_pid: 0,
        }
    }
}

/// A file that is locked as a whole until this is dropped.
pub struct Locked {
    file: ForkSafeFd,
    process: Creator,
}

impl Locked {
    /// Locks the file, if nobody else holds a lock on it.
    ///
    /// # Errors
    /// What the system refuses beside that.
    pub fn take(file: File) -> nix::Result<Option<Self>> {
        let file = ForkSafeFd::new(file);
        let taken = try_lock(&file, Span::WHOLE)?;
        let process = Creator::this_process();
        Ok(taken.then_some(Self { file, process }))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Not left to closing: between fork and exec a child of another thread has the descriptor, too. But not by
        // such a child.
        if self.process.is_this_process() {
            let _falls_by_closing = unlock(&self.file, Span::WHOLE);
        }
    }
}

/// Takes the lock if nobody else holds one there; whether it did.
///
/// # Errors
/// What the system refuses beside that.
pub fn try_lock(file: impl AsFd, span: Span) -> nix::Result<bool> {
    set(file, span, nix::libc::F_WRLCK)
}

/// Takes a shared lock, as on a file that is open to read only. `is_locked` reports such a lock, [`is_held`] does not.
///
/// # Errors
/// What the system refuses beside that.
pub fn try_share(file: impl AsFd, span: Span) -> nix::Result<bool> {
    set(file, span, nix::libc::F_RDLCK)
}

fn set(file: impl AsFd, span: Span, kind: i32) -> nix::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&span.flock(kind))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Lets the lock go.
///
/// # Errors
/// What the system refuses.
pub fn unlock(file: impl AsFd, span: Span) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&span.flock(nix::libc::F_UNLCK))).map(drop)
}

/// Whether another opening holds it for writing. Asked for as a reader, so that neighbours' read locks do not count.
///
/// # Errors
/// What the system refuses.
pub fn is_held(file: impl AsFd, span: Span) -> nix::Result<bool> {
    Ok(ask(file, span, nix::libc::F_RDLCK)? != nix::libc::F_UNLCK)
}

/// Whether another opening has locked it, be it to share.
///
/// # Errors
/// What the system refuses.
pub fn is_locked(file: impl AsFd, span: Span) -> nix::Result<bool> {
    Ok(ask(file, span, nix::libc::F_WRLCK)? != nix::libc::F_UNLCK)
}

/// Whether another opening shares a lock of it, which is what keeps this one from taking it.
///
/// # Errors
/// What the system refuses.
pub fn is_shared(file: impl AsFd, span: Span) -> nix::Result<bool> {
    Ok(ask(file, span, nix::libc::F_WRLCK)? == nix::libc::F_RDLCK)
}

/// The kind of the first lock of others that stands against one of `kind`.
fn ask(file: impl AsFd, span: Span, kind: i32) -> nix::Result<i32> {
    let mut query = span.flock(kind);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type))
}
