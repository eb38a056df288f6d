//! Receivers at a path: sockets in a directory, and named pipes.

use std::fs::FileType;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::{Mechanism, Sleep, TargetForm, WakeTarget};
use crate::error::{Error, Result};
use crate::protocol::layout::MAX_SLOTS;
use crate::protocol::layout::registry::PATH_BYTES;
use crate::region::object::{failure, own_user, queue_name};

/// The rules for the path of a receiver.
#[derive(Debug)]
pub struct Place {
    /// The receiver, in messages.
    pub(super) noun: &'static str,
    /// Returns the path for the directory or path that the user named, if any, and the file name
    /// that is derived from the slot.
    pub(super) path: fn(place: Option<&Path>, file: &str) -> Result<PathBuf>,
    /// True if the user may name the file itself, and not only its directory.
    pub(super) names_file: bool,
    /// Checks a path in an existing directory, and returns the reason if it cannot be used.
    pub(super) check: fn(&Path) -> std::result::Result<(), &'static str>,
}

/// Checks that a subscriber that asks for `sleep` can create its receiver at `place`, a path given
/// by the user.
pub fn check_place(sleep: Sleep, place: &Path) -> Result<()> {
    let TargetForm::Path(rules) = &Mechanism::of(Some(sleep), true).target else {
        return Ok(());
    };
    let names_file = rules.names_file && !place.is_dir();
    let directory = if names_file { place.parent().unwrap_or(place) } else { place };
    // The parent of a bare name is empty.
    let is_bare = directory.as_os_str().is_empty();
    let directory = if is_bare { Path::new(".") } else { directory };
    let refused = |reason: &str| {
        let reason = format!("{} at {}: {reason}", rules.noun, place.display());
        Err(Error::InvalidWake { reason })
    };
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(status) if status.is_dir() => {}
        Ok(_) => return refused(&format!("{shown} is not a directory; name a directory")),
        Err(error) => {
            let remedy = "create that directory first, or name another place";
            return refused(&format!("{shown}: {error}; {remedy}"));
        }
    }
    if let Err(errno) = access(directory, AccessFlags::W_OK | AccessFlags::X_OK) {
        let remedy = "name a directory that this user may write to";
        return refused(&format!("{shown}: {}; {remedy}", errno.desc()));
    }
    // The longest name that is created in a directory.
    let longest = queue_name(u64::MAX, MAX_SLOTS, u64::MAX);
    let target = WakeTarget::new(Some(sleep), Some(place), &longest)?;
    (rules.check)(&target.path).or_else(refused)
}

/// Returns the absolute path, because the publisher has another working directory. Refuses a path
/// that does not fit into a slot's record.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let object = path.display().to_string();
    let path = std::path::absolute(path).map_err(|error| failure(&object, "find", error))?;
    let bytes = path.as_os_str().len();
    if bytes >= PATH_BYTES {
        let reason = format!(
            "{object}: the path is too long: {bytes} bytes, at most {}; name a shorter path",
            PATH_BYTES - 1
        );
        return Err(Error::InvalidWake { reason });
    }
    Ok(path)
}

/// Returns true if a file of this user and of this type is at `path`. Links are not followed.
pub(super) fn is_own(path: &Path, is_type: fn(FileType) -> bool) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|status| is_type(status.file_type()) && status.uid() == own_user())
}

/// Removes a file. Returns false if it did not exist.
pub(super) fn remove_file(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure(&path.display().to_string(), "remove", error)),
    }
}
