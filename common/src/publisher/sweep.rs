//! Removes orphans: objects of processes that are gone, except those that belong to a table.
//!
//! 1. Free the slots of dead subscribers in each registry, with their queues.
//! 2. Find the orphans ([`leftovers`](mod@crate::inspect)) and remove them.
//! 3. Repeat step 2 as long as an object was removed. Removing an object can create an orphan: a
//!    registry becomes one when the only region that names it, which never took its table's name,
//!    is removed.
//!
//! Locks decide whether a process is alive, never pids. Each lock is taken before the object that
//! it guards is removed. An object that another process holds cannot be locked, and a process that
//! arrives at that moment finds that the name is gone and creates a new object. The table of a dead
//! publisher is not an orphan: its rows are kept for the next publisher.

use nix::errno::Errno;

use super::open::acquire_lock_of;
use crate::error::{Error, Result};
use crate::inspect::{Findings, Leftover, LeftoverKind, registries};
use crate::region::lock::{self, Locked, Span};
use crate::region::object::{self, TableName, failure};
use crate::wake::queue;
use crate::wake::registry;

/// Maximum number of rounds in which removing orphans may expose further orphans.
const ROUNDS: usize = 4;

/// Result of a [`sweep`].
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Swept {
    /// Names of the removed objects: queues, or objects of shared memory.
    pub removed: Vec<String>,
    /// Number of slots of dead subscribers that were freed.
    pub slots: usize,
    /// Orphans that could not be removed, with the reason.
    pub kept: Vec<Kept>,
    /// Possible orphans that this user has no permission to examine.
    pub unseen: Vec<Leftover>,
}

/// An orphan that could not be removed.
#[non_exhaustive]
#[derive(Debug)]
pub struct Kept {
    /// Name of the object, in the format of [`Swept::removed`].
    pub object: String,
    /// Reason why the object could not be removed.
    pub error: Error,
}

/// Removes the objects of dead processes that belong to no table: locks, regions that never took
/// their table's name, registries, and queues. Also frees the slots of dead subscribers, with their
/// queues, in the registries of all tables.
///
/// Tables of dead publishers stay, with their rows: see [`remove`](crate::remove). Objects that a
/// live process holds are never removed, whatever its pid or pid namespace. The call takes one or a
/// few seconds if there are orphans.
///
/// # Errors
/// Errors of the system while listing the objects. Objects that cannot be removed are reported in
/// [`Swept::kept`] instead.
///
/// ```no_run
/// # fn main() -> common::Result<()> {
/// let swept = common::sweep()?;
/// for kept in &swept.kept {
///     println!("{}: {}", kept.object, kept.error);
/// }
/// # Ok(())
/// # }
/// ```
pub fn sweep() -> Result<Swept> {
    let mut swept = Swept::default();
    swept.free_slots()?;
    let of_slots = swept.kept.len();
    for _ in 0..ROUNDS {
        let Findings { left, unseen } = Findings::at_two_looks()?;
        let before = swept.removed.len();
        swept.kept.truncate(of_slots);
        swept.unseen = unseen;
        for one in &left {
            let object = name(one);
            let known = swept.kept.iter().any(|kept| kept.object == object);
            match remove(one, &object) {
                Ok(true) => swept.removed.push(object),
                Err(error) if !known => swept.kept.push(Kept { object, error }),
                Ok(false) | Err(_) => {}
            }
        }
        if swept.removed.len() == before {
            break;
        }
    }
    Ok(swept)
}

impl Swept {
    fn free_slots(&mut self) -> Result<()> {
        for (id, owner) in registries()? {
            let freed = registry::free_stale(id, owner, |deserted| {
                self.slots += 1;
                let object = deserted.object;
                match deserted.removed {
                    Ok(true) => self.removed.push(object),
                    Ok(false) => {}
                    Err(error) => self.kept.push(Kept { object, error }),
                }
            });
            // A registry that this user may not write to is also reported among the unseen objects.
            // A damaged registry is replaced by its publisher.
            if let Err(error) = freed {
                tracing::debug!("no slot is freed: {error}");
            }
        }
        Ok(())
    }
}

fn name(left: &Leftover) -> String {
    let file = left.object.file_name().unwrap_or_default();
    format!("/{}", file.to_string_lossy())
}

/// Removes an orphan, unless a process holds it now. Returns true if it was removed.
fn remove(left: &Leftover, object: &str) -> Result<bool> {
    let table = |prefix: &str| TableName::new(object.strip_prefix(prefix).unwrap_or_default());
    match left.kind {
        LeftoverKind::Lock => remove_lock(&table("/tablecast.lock.")?, left.owner),
        LeftoverKind::Next => remove_next(object, &table("/tablecast.next.")?, left.owner),
        LeftoverKind::Registry => Ok(take(object, left.owner)?
            .map(|_held| object::remove(object))
            .transpose()?
            .is_some()),
        LeftoverKind::Queue => queue::remove_deserted(object),
    }
}

/// Locks an object that still has its name. Returns None if another process holds it or if it is
/// gone.
fn take(object: &str, owner: u32) -> Result<Option<Locked>> {
    let Some(file) = object::open(object, true, owner, false)? else {
        return Ok(None);
    };
    let again = object::reopen(object, &file)?;
    match Locked::take(file).map_err(|errno| failure(object, "lock", errno))? {
        Some(locked) => Ok(object::names(object, &locked).then_some(locked)),
        // An object with read locks only has no owner, but the write lock cannot be taken.
        None => match lock::is_shared(&again, Span::WHOLE) {
            Ok(true) if lock::is_held(&again, Span::WHOLE) == Ok(false) => {
                Err(failure(object, "lock", Errno::EAGAIN))
            }
            _ => Ok(None),
        },
    }
}

/// Removes a lock object without a table. A publisher that starts at this moment waits for the
/// lock, then finds that the name is gone and creates a new lock object.
fn remove_lock(name: &TableName, owner: u32) -> Result<bool> {
    let Some(_held) = take(&name.lock(), owner)? else {
        return Ok(false);
    };
    // Only the holder of the lock creates a region, so no region can appear from here on.
    if object::exists(&name.region()) {
        return Ok(false);
    }
    object::remove(&name.lock()).map(|()| true)
}

/// Removes a region that never took its table's name. Takes the table's lock first, because only
/// its holder creates such a region.
fn remove_next(object: &str, name: &TableName, owner: u32) -> Result<bool> {
    let lock = match acquire_lock_of(name, owner) {
        Ok(lock) => lock,
        Err(Error::PublisherActive { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let removed = take(object, owner).and_then(|held| match held {
        Some(_held) => object::remove(object).map(|()| true),
        None => Ok(false),
    });
    // The lock object was created by this function, or it is an orphan itself.
    if !object::exists(&name.region()) && object::names(&name.lock(), &lock) {
        object::remove(&name.lock())?;
    }
    removed
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::open::acquire_lock;
    use super::*;
    use crate::region::object::own_user;

    #[test]
    fn a_publisher_that_starts_during_a_sweep_gets_its_lock_and_keeps_it() {
        let name = TableName::new(&format!("unit-sweep-{}", std::process::id())).unwrap();
        let end = AtomicBool::new(false);
        let removed = std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                let mut removed = 0;
                while !end.load(Ordering::Relaxed) || object::exists(&name.lock()) {
                    removed += u32::from(remove_lock(&name, own_user()).unwrap());
                    std::thread::sleep(std::time::Duration::from_micros(20));
                }
                removed
            });
            for _ in 0..500 {
                let lock = acquire_lock(&name).unwrap();
                for _ in 0..3 {
                    std::thread::yield_now();
                    assert!(
                        object::names(&name.lock(), &lock),
                        "removed while it is held"
                    );
                }
            }
            end.store(true, Ordering::Relaxed);
            sweeping.join().unwrap()
        });
        assert!(removed > 0);
        assert!(!object::exists(&name.lock()));
    }
}
