//! A test of what tables need of this machine: files that are created without a name and linked later, and locks of open files.

use nix::errno::Errno;

use crate::error::Result;
use crate::region::lock::{self, Span};
use crate::region::object::{self, failure, own_user};

/// The outcome of [`probe`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// An error if an object could not be created, named and removed.
    pub objects: Result<()>,
    /// True if another opening of the object saw its lock; None if there was no object to lock.
    pub locks: Option<Result<bool>>,
}

/// Creates, locks and removes a test object in [`DIRECTORY`](super::DIRECTORY), by the calls that publishers and subscribers use.
///
/// ```
/// let probe = common::inspect::probe();
/// assert!(probe.objects.is_ok());
/// assert!(matches!(probe.locks, Some(Ok(true))));
/// ```
pub fn probe() -> Probe {
    let object = format!("/tablecast.doctor.{}", std::process::id());
    let linked =
        object::create(&object, 0o600, None).and_then(|file| match object::link(&file, &object)? {
            true => Ok(file),
            false => Err(failure(&object, "link", Errno::EEXIST)),
        });
    let file = match linked {
        Ok(file) => file,
        Err(error) => {
            return Probe {
                objects: Err(error),
                locks: None,
            };
        }
    };
    let look = || {
        lock::try_lock(&file, Span::WHOLE).map_err(|errno| failure(&object, "lock", errno))?;
        let Some(other) = object::open(&object, false, own_user(), false)? else {
            return Ok(false);
        };
        lock::is_held(&other, Span::WHOLE)
            .map_err(|errno| failure(&object, "query the lock of", errno))
    };
    let locks = Some(look());
    Probe {
        objects: object::remove(&object),
        locks,
    }
}
