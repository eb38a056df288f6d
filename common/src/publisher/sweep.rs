//! One sweep: removes what processes left behind that are gone, and nothing that belongs to a table.
//!
//! 1. At each registry free the slots of subscribers that are gone, with their queues. 2. Look for what is left behind
//!    ([`leftovers`](mod@crate::inspect)), and remove it. 3. As long as something was removed look again: what only that knew of
//!    (the registry of a region that never took its table's name) is left behind now.
//!
//! Locks decide, never pids, and each lock is taken before what it guards is removed: what somebody holds cannot be locked,
//! and whoever comes at that moment finds the name gone and makes its own. The table of a dead publisher is no leftover: its
//! rows are there for the next one.

use nix::errno::Errno;

use super::open::acquire_lock_of;
use crate::error::{Error, Result};
use crate::inspect::{Findings, Leftover, LeftoverKind, registries};
use crate::region::lock::{self, Locked, Span};
use crate::region::object::{self, TableName, failure};
use crate::registry;
use crate::wake::queue;

/// How often what is left behind may lead to more of it.
const ROUNDS: usize = 4;

/// What a [`sweep`] did.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed, by its name: a queue, or an object of shared memory.
    pub removed: Vec<String>,
    /// How many slots were freed that subscribers left who are gone.
    pub slots: usize,
    /// What is left behind and could not be removed, and why.
    pub kept: Vec<Kept>,
    /// What may be left behind: this user may not look.
    pub unseen: Vec<Leftover>,
}

/// What is left behind and could not be removed.
#[non_exhaustive]
#[derive(Debug)]
pub struct Kept {
    /// What it is, named as in [`Swept::removed`].
    pub object: String,
    /// Why it could not be removed.
    pub error: Error,
}

/// Removes what processes left behind that are gone and that belongs to no table: locks, regions that never took their
/// table's name, registries, queues; and frees the slots of dead subscribers, with their queues, at all tables. Tables of dead
/// publishers stay, with their rows: see [`remove`](crate::remove). Nothing that a live process holds is touched, whatever its
/// pid or namespace. Takes a second or a few where something is left behind.
///
/// # Errors
/// What the system refuses of a look at all objects; not what could not be removed, which is told.
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
            let freed = registry::free_deserted(id, owner, |deserted| {
                self.slots += 1;
                let object = deserted.object;
                match deserted.removed {
                    Ok(true) => self.removed.push(object),
                    Ok(false) => {}
                    Err(error) => self.kept.push(Kept { object, error }),
                }
            });
            // Who may not write to it is told of it as of what cannot be looked at; damaged ones are their publishers'.
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

/// Removes what is left behind, unless somebody holds it now. Whether it was removed.
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

/// Locks an object that still bears its name; None if somebody holds it, or it is gone.
fn take(object: &str, owner: u32) -> Result<Option<Locked>> {
    let Some(file) = object::open(object, true, owner, false)? else {
        return Ok(None);
    };
    let again = object::reopen(object, &file)?;
    match Locked::take(file).map_err(|errno| failure(object, "lock", errno))? {
        Some(locked) => Ok(object::names(object, &locked).then_some(locked)),
        // What only readers have locked is nobody's, and yet cannot be taken.
        None => match lock::is_shared(&again, Span::WHOLE) {
            Ok(true) if lock::is_held(&again, Span::WHOLE) == Ok(false) => {
                Err(failure(object, "lock", Errno::EAGAIN))
            }
            _ => Ok(None),
        },
    }
}

/// A publisher that starts at this moment waits for the lock, then finds that its name is gone.
fn remove_lock(name: &TableName, owner: u32) -> Result<bool> {
    let Some(_held) = take(&name.lock(), owner)? else {
        return Ok(false);
    };
    // Only who holds the lock makes a region: from here on there is none.
    if object::exists(&name.region()) {
        return Ok(false);
    }
    object::remove(&name.lock()).map(|()| true)
}

/// Only who holds the table's lock puts anything there.
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
    // Made for this, or left behind itself.
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
