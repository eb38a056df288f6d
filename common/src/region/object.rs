//! Objects in shared memory and their names: creating, opening and comparing them.
//!
//! An object is created without a name (`O_TMPFILE`), filled, sized and locked, and only then
//! linked. No process can attach to an incomplete object, and a process that dies in between leaves
//! nothing. An object is opened without following links, without blocking, and only if it is a
//! regular file of the expected owner.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{Mode, fchmod, lstat};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, fchown, geteuid, linkat};

use super::lock::{self, Locked, Span};
use crate::error::{Error, Result};

/// Directory of POSIX shared memory on Linux.
pub const DIRECTORY: &str = "/dev/shm";

/// A valid table name: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName(String);

impl TableName {
    pub fn new(name: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::InvalidName { name: name.to_owned() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the lock object. Its lock ensures that a table has only one publisher.
    pub fn lock(&self) -> String {
        format!("/tablecast.lock.{}", self.0)
    }

    pub fn region(&self) -> String {
        format!("/tablecast.table.{}", self.0)
    }

    /// Returns the name of a new region until it takes its final name.
    pub fn next_region(&self) -> String {
        format!("/tablecast.next.{}", self.0)
    }
}

/// Returns the temporary name of the new region `id` if [`TableName::next_region`] is not
/// available.
pub fn next_region_of(id: u64) -> String {
    format!("/tablecast.next.{id:016x}")
}

/// Returns the name of the registry with this random id.
pub fn registry_name(id: u64) -> String {
    format!("/tablecast.subs.{id:016x}")
}

/// Returns the name of a generation of the key index of region `id`.
pub fn index_name(id: u64, generation: u64) -> String {
    format!("/tablecast.index.{id:016x}.{generation}")
}

/// Returns the name of the queue of subscriber `nonce` at `slot` of registry `id`. Without the
/// slash it is the name of its socket or pipe.
pub fn queue_name(id: u64, slot: usize, nonce: u64) -> String {
    format!("/tablecast.wake.{id:016x}.{slot}.{nonce:016x}")
}

/// Access of users other than the owner to a table's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Mode of the region: `0o600`, or with read bits for group and others. Users with read access
    /// may also register.
    pub mode: u32,
    /// Group of the objects, if it is not the group of the process.
    pub group: Option<u32>,
}

impl Access {
    /// Returns the mode of the registry, which every reader must be able to write to.
    pub fn writable_by_readers(self) -> u32 {
        let reading = self.mode & 0o044;
        0o600 | reading | (reading >> 1)
    }
}

/// Creates an unnamed file with exactly this mode and group.
pub fn create(object: &str, mode: u32, group: Option<u32>) -> Result<File> {
    let failed = |errno| failure(object, "create", errno);
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(DIRECTORY, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    restrict(&file, mode, group)
        .map_err(|errno| failure(object, "set the mode and group of", errno))?;
    Ok(File::from(file))
}

/// Sets mode and group, independently of the umask. The group is set first, because changing it
/// clears bits of the mode.
pub fn restrict(file: impl AsFd, mode: u32, group: Option<u32>) -> nix::Result<()> {
    if let Some(group) = group {
        fchown(file.as_fd(), None, Some(Gid::from_raw(group)))?;
    }
    fchmod(file.as_fd(), Mode::from_bits_truncate(mode))
}

/// Makes `owner` the owner of a file of [`create`]. Only root may do this, unless `owner` owns the
/// file already.
pub fn give(file: &File, object: &str, owner: u32) -> Result<()> {
    if owner == own_user() {
        return Ok(());
    }
    fchown(file, Some(Uid::from_raw(owner)), None)
        .map_err(|errno| failure(object, "set the owner of", errno))
}

/// Gives a file of [`create`] its name. Returns false if the name is taken.
pub fn link(file: &File, object: &str) -> Result<bool> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (from, to) = (from.as_str(), path(object));
    match linkat(AT_FDCWD, from, AT_FDCWD, to.as_str(), AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(failure(object, "link", errno)),
    }
}

/// Renames `object` to `name`, and replaces the object of that name atomically.
pub fn rename(object: &str, name: &str) -> Result<()> {
    std::fs::rename(path(object), path(name)).map_err(|error| failure(name, "replace", error))
}

/// Opens an object, which must be a regular file of `owner` or, if `trust_root` is set, of root.
/// Returns `None` if it does not exist.
pub fn open(object: &str, write: bool, owner: u32, trust_root: bool) -> Result<Option<File>> {
    let access = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    let not_a_regular_file = || corrupt(object, "it is not a regular file");
    let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match shm_open(object, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        // The object is a link, a socket or a directory (for which glibc's shm_open returns
        // EINVAL).
        Err(Errno::ELOOP | Errno::ENXIO | Errno::EISDIR | Errno::EINVAL) => {
            return Err(not_a_regular_file());
        }
        Err(errno) => return Err(failure(object, "open", errno)),
    };
    let status = status(object, &file)?;
    if !status.is_file() {
        return Err(not_a_regular_file());
    }
    let found = status.uid();
    if found != owner && !(trust_root && found == 0) {
        return Err(Error::WrongOwner { object: object.to_owned(), found, expected: owner });
    }
    Ok(Some(file))
}

pub fn own_user() -> u32 {
    Uid::as_raw(geteuid())
}

/// Returns the user whose objects a reader trusts, and true if it also trusts those of root.
/// `owner` is the user that the program named, if any.
pub fn trusted_users(owner: Option<u32>) -> (u32, bool) {
    (owner.unwrap_or_else(own_user), owner.is_none())
}

/// Opens a file again, with a separate open file description: a lock on one does not belong to the
/// other.
pub fn reopen(object: &str, file: &File) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|error| failure(object, "reopen", error))
}

/// Returns true if another open file description of `file` holds its write lock.
pub fn is_held(object: &str, file: &File) -> Result<bool> {
    lock::is_held(file, Span::WHOLE).map_err(|errno| failure(object, "query the lock of", errno))
}

/// Returns true if `object` is still the name of `file`.
pub fn names(object: &str, file: &File) -> bool {
    let (named, file) = (lstat(path(object).as_str()), file.metadata());
    named.is_ok_and(|named| {
        file.is_ok_and(|file| (named.st_dev, named.st_ino) == (file.dev(), file.ino()))
    })
}

pub fn exists(object: &str) -> bool {
    lstat(path(object).as_str()).is_ok()
}

/// Removes a name, if it exists.
pub fn remove(object: &str) -> Result<()> {
    match shm_unlink(object) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failure(object, "remove", errno)),
    }
}

/// Locks an object, and removes it if it still has its name and `is_unused` returns true for its
/// status. Returns true if it was removed, and false if another process holds a lock on it.
pub fn remove_unless_held(
    object: &str,
    owner: u32,
    is_unused: impl FnOnce(&Metadata) -> bool,
) -> Result<bool> {
    let Some(file) = open(object, true, owner, false)? else {
        return Ok(false);
    };
    let Some(locked) = Locked::take(file).map_err(|errno| failure(object, "lock", errno))? else {
        return Ok(false);
    };
    let is_removed = names(object, &locked) && is_unused(&status(object, &locked)?);
    if is_removed {
        remove(object)?;
    }
    Ok(is_removed)
}

fn path(object: &str) -> String {
    format!("{DIRECTORY}{object}")
}

pub fn corrupt(object: &str, reason: impl Into<String>) -> Error {
    Error::Corrupt { object: object.to_owned(), reason: reason.into() }
}

pub fn status(object: &str, file: &File) -> Result<Metadata> {
    file.metadata().map_err(|error| failure(object, "query the status of", error))
}

/// Returns the error for private memory that the system refused.
pub fn no_memory(object: &str) -> Error {
    failure(object, "allocate", Errno::ENOMEM)
}

/// Returns the error for a refused system call. Limits and permissions have their own variants;
/// other errors keep their source.
pub fn failure(object: &str, action: &'static str, error: impl Into<std::io::Error>) -> Error {
    let (object, source) = (object.to_owned(), error.into());
    let (limit, remedy) = match source.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw) {
        Errno::EACCES | Errno::EPERM => return Error::PermissionDenied { object, action },
        // Both limits are reported as ENOSPC. A file system that does not count inodes has 0 of 0.
        Errno::ENOSPC if is_out_of_inodes() => (
            "the number of inodes of /dev/shm",
            "remove files, or allow more (mount -o remount,nr_inodes=…)",
        ),
        Errno::ENOSPC => (
            "the space of /dev/shm",
            "free some, or enlarge it (mount -o remount,size=…, docker --shm-size)",
        ),
        // Of all actions that are passed to this function, only starting a thread fails with this
        // errno.
        Errno::EAGAIN if action.contains("thread") => (
            "the number of threads and processes",
            "end some, or raise RLIMIT_NPROC (ulimit -u), pids.max of this cgroup, or /proc/sys/kernel/threads-max",
        ),
        Errno::ENOMEM => ("memory", "free some, or raise the memory limit of this cgroup"),
        Errno::EMFILE => {
            ("the number of open files of this process", "raise RLIMIT_NOFILE (ulimit -n)")
        }
        Errno::ENFILE => ("the number of open files of the system", "raise /proc/sys/fs/file-max"),
        Errno::EFBIG => ("the maximum size of a file", "raise RLIMIT_FSIZE (ulimit -f)"),
        Errno::EOPNOTSUPP => {
            ("the feature set of /dev/shm", "it does not support O_TMPFILE; mount a tmpfs there")
        }
        _ => return Error::System { object, action, source },
    };
    Error::Limit { object, limit, remedy }
}

fn is_out_of_inodes() -> bool {
    statvfs(DIRECTORY).is_ok_and(|status| status.files() > 0 && status.files_free() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_follow_the_rules() {
        for good in ["a", "prices-2.EUR_x", &"x".repeat(64)] {
            assert!(TableName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(matches!(TableName::new(bad), Err(Error::InvalidName { .. })), "{bad}");
        }
    }

    #[test]
    fn registry_is_writable_by_everyone_who_may_read_the_table() {
        for (mode, expected) in [(0o600, 0o600), (0o640, 0o660), (0o644, 0o666), (0o604, 0o606)] {
            assert_eq!(Access { mode, group: None }.writable_by_readers(), expected);
        }
    }

    #[test]
    fn refused_call_is_reported_as_a_limit_with_its_remedy_or_a_missing_permission() {
        for (errno, word) in [
            (Errno::EOPNOTSUPP, "tmpfs"),
            (Errno::ENOSPC, "shm-size"),
            (Errno::EMFILE, "ulimit -n"),
        ] {
            match failure("/x", "link", errno) {
                Error::Limit { remedy, .. } => assert!(remedy.contains(word), "{errno}: {remedy}"),
                other => panic!("{errno}: {other:?}"),
            }
        }
        for errno in [Errno::EACCES, Errno::EPERM] {
            let refused = failure("/x", "link", errno);
            assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused:?}");
        }
        let other = failure("/x", "link", Errno::ENOENT);
        assert!(matches!(other, Error::System { .. }), "{other:?}");
    }
}
