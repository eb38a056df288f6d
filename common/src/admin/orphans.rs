//! Finds and removes orphans: objects of dead processes that belong to no table.
//!
//! 1. List the objects, then read which registries the regions refer to. The order matters: a
//!    registry is linked after a region refers to it, and loses its name before the region does.
//! 2. Suspect a lock object or a `next` region that no process holds, a registry or a generation of
//!    a key index that no region refers to and in which no process holds a byte, and a queue that
//!    no process holds and that no registry contains. While the registry of a live publisher is
//!    unknown, no registry of its user is suspect.
//! 3. Repeat both steps after [`SECOND_LOOK`]. The objects that are still suspect are orphans.
//!
//! A [`sweep`] frees the slots of dead subscribers in all registries, then removes orphans until
//! none is found, because removing a region can expose its registry.
//!
//! Locks decide whether a process is alive; pids do not. An object is removed only while its lock
//! is taken. A process that opens the object at that moment finds afterwards that its name is gone,
//! and creates a new object. The table of a dead publisher is not an orphan: its rows are kept for
//! the next publisher.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::inspect::suffixes;
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::publisher::acquire_lock_of;
use crate::region::object::{self, DIRECTORY, TableName, index_name, registry_name};
use crate::region::read_words;
use crate::wake::queue;
use crate::wake::registry;

/// Time for which an object may look like an orphan while it is being created or removed. A
/// subscriber whose registry was removed notices this at its re-check, which runs once a second by
/// default.
const SECOND_LOOK: Duration = Duration::from_millis(1200);
/// Maximum number of rounds in which removing orphans may expose further orphans.
const ROUNDS: usize = 4;

/// The purpose of an object.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanKind {
    /// The exclusive lock of a publisher.
    Lock,
    /// A region that never took its table's name.
    Next,
    /// The registry of a table's subscribers.
    Registry,
    /// A generation of a table's key index.
    Index,
    /// The message queue of a subscriber.
    Queue,
}

impl OrphanKind {
    /// Returns the name of the kind, the prefix of its objects' names, and the reason of its
    /// orphans.
    fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Lock => (
                "lock",
                "tablecast.lock.",
                "its publisher ended before the table was created, or after its removal",
            ),
            Self::Next => {
                ("next", "tablecast.next.", "its publisher ended before it took its table's name")
            }
            Self::Registry => (
                "registry",
                "tablecast.subs.",
                "no table refers to it, and no process is registered in it",
            ),
            Self::Index => {
                ("index", "tablecast.index.", "no table refers to it, and no publisher writes it")
            }
            Self::Queue => {
                ("queue", "tablecast.wake.", "its subscriber is dead, and no registry contains it")
            }
        }
    }
}

/// Displays `lock`, `next`, `registry`, `index` or `queue`.
impl fmt::Display for OrphanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.describe().0)
    }
}

/// An object that belongs to no table and that no process holds.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Path of the object.
    pub object: PathBuf,
    /// Purpose of the object.
    pub kind: OrphanKind,
    /// User id of the object's owner.
    pub owner: u32,
    /// Table with which [`remove`](crate::remove) removes the object; None if only
    /// [`sweep`](crate::sweep) removes it.
    pub table: Option<String>,
    /// Reason why the object is an orphan.
    pub reason: &'static str,
    /// Part of the name after the prefix.
    suffix: String,
    inode: u64,
}

/// Returns the orphans on this machine that this user has permission to examine. The call takes
/// more than a second if an object is suspect.
///
/// # Errors
/// Errors of the system.
pub fn orphans() -> Result<Vec<Orphan>> {
    Search::twice().map(|search| search.orphans)
}

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
    pub unseen: Vec<Orphan>,
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

/// Removes all orphans: locks, regions that never took their table's name, key indexes, registries,
/// and queues. Also frees the slots of dead subscribers, with their queues, in the registries of all
/// tables.
///
/// The tables of dead publishers stay, with their rows: see [`remove`](crate::remove). Objects that
/// a live process holds are never removed, whatever its pid or pid namespace. The call takes one or
/// a few seconds if there are orphans.
///
/// # Errors
/// Errors of the system while listing the objects. Objects that cannot be removed are reported in
/// [`Swept::kept`] instead.
///
/// # Examples
/// ```no_run
/// let swept = common::sweep()?;
/// for kept in &swept.kept {
///     println!("{}: {}", kept.object, kept.error);
/// }
/// # Ok::<(), common::Error>(())
/// ```
pub fn sweep() -> Result<Swept> {
    let mut swept = Swept::default();
    for registry in candidates(Path::new(DIRECTORY), OrphanKind::Registry)? {
        swept.free_slots(&registry);
    }
    let kept_queues = swept.kept.len();
    for _ in 0..ROUNDS {
        let removed = swept.removed.len();
        let Search { orphans, unseen } = Search::twice()?;
        swept.kept.truncate(kept_queues);
        swept.unseen = unseen;
        for orphan in &orphans {
            swept.note(orphan.name(), orphan.remove());
        }
        if swept.removed.len() == removed {
            break;
        }
    }
    Ok(swept)
}

impl Swept {
    fn free_slots(&mut self, registry: &Orphan) {
        let Some(id) = parse_id(&registry.suffix) else {
            return;
        };
        let freed = registry::free_stale(id, registry.owner, |stale| {
            self.slots += 1;
            self.note(stale.object, stale.removed);
        });
        // A registry that this user may not write to is also reported in `unseen`. The publisher
        // replaces a damaged registry.
        if let Err(error) = freed {
            tracing::debug!("cannot free the slots of {}: {error}", registry.name());
        }
    }

    /// Records the outcome of removing an object: true if it existed.
    fn note(&mut self, object: String, removed: Result<bool>) {
        match removed {
            Ok(true) => self.removed.push(object),
            Ok(false) => {}
            Err(_) if self.kept.iter().any(|kept| kept.object == object) => {}
            Err(error) => self.kept.push(Kept { object, error }),
        }
    }
}

impl Orphan {
    fn name(&self) -> String {
        format!("/{}{}", self.kind.describe().1, self.suffix)
    }

    /// Removes the object, unless a process holds it now. Returns true if it was removed.
    fn remove(&self) -> Result<bool> {
        let object = self.name();
        match self.kind {
            // Only the holder of the lock creates a region. A publisher that starts at this moment
            // waits for the lock, then finds that the name is gone and creates a new lock object.
            OrphanKind::Lock => {
                object::remove_unless_held(&object, self.owner, |_| self.missing_table().is_some())
            }
            OrphanKind::Next => self.remove_next(&TableName::new(&self.suffix)?),
            // A publisher that took the table over may have linked another object and died.
            OrphanKind::Registry | OrphanKind::Index => {
                object::remove_unless_held(&object, self.owner, |found| found.ino() == self.inode)
            }
            OrphanKind::Queue => queue::remove_deserted(&object),
        }
    }

    /// Removes a region that never took the name of its table. Takes the table's lock first,
    /// because only its holder creates such a region.
    fn remove_next(&self, table: &TableName) -> Result<bool> {
        let lock = match acquire_lock_of(table, self.owner) {
            Err(Error::PublisherActive { .. }) => return Ok(false),
            lock => lock?,
        };
        let removed = object::remove_unless_held(&self.name(), self.owner, |_| true);
        // This function created the lock object, or the lock object is itself an orphan.
        if !object::exists(&table.region()) && object::names(&table.lock(), &lock) {
            object::remove(&table.lock())?;
        }
        removed
    }

    /// Returns the table of a lock object or a `next` region, or None if that table has a region.
    fn missing_table(&self) -> Option<TableName> {
        let name = TableName::new(&self.suffix).ok()?;
        (!object::exists(&name.region())).then_some(name)
    }
}

/// Orphans, and objects that may be orphans but that this user has no permission to examine.
#[derive(Default)]
struct Search {
    orphans: Vec<Orphan>,
    unseen: Vec<Orphan>,
}

impl Search {
    fn twice() -> Result<Self> {
        let first = Self::once()?;
        if first.orphans.is_empty() {
            return Ok(first);
        }
        std::thread::sleep(SECOND_LOOK);
        let mut second = Self::once()?;
        second.orphans.retain(|found| first.orphans.contains(found));
        Ok(second)
    }

    fn once() -> Result<Self> {
        let list = |kind| candidates(Path::new(DIRECTORY), kind);
        let (locks, nexts) = (list(OrphanKind::Lock)?, list(OrphanKind::Next)?);
        let (registries, indexes) = (list(OrphanKind::Registry)?, list(OrphanKind::Index)?);
        let mut referenced = HashSet::new();
        // Users with a publisher whose registry is unknown.
        let mut unknown = HashSet::new();
        let tables = suffixes(Path::new(DIRECTORY), "tablecast.table.")?.into_iter();
        let named = tables.filter_map(|table| {
            let region = format!("/tablecast.table.{table}");
            Some((region.clone(), file_status(Path::new(&format!("{DIRECTORY}{region}")))?.uid()))
        });
        let unnamed = nexts.iter().map(|next| (next.name(), next.owner));
        for (region, owner) in named.chain(unnamed) {
            match referenced_by(&region, owner) {
                Ok(objects) => referenced.extend(objects),
                Err(_) if is_held(&region, owner) == Some(false) => {}
                Err(_) => drop(unknown.insert(owner)),
            }
        }
        let mut search = Self::default();
        for lock in locks {
            if let Some(table) = lock.missing_table() {
                let held = is_held(&lock.name(), lock.owner);
                if held != Some(false) {
                    unknown.insert(lock.owner);
                }
                search.add(held, lock, Some(table));
            }
        }
        for next in nexts {
            // Do not name a table that exists: `remove` would remove the table, too.
            let (held, table) = (is_held(&next.name(), next.owner), next.missing_table());
            search.add(held, next, table);
        }
        for object in registries.into_iter().chain(indexes) {
            let id = object.suffix.split('.').next().and_then(parse_id);
            if id.is_none() || referenced.contains(&object.name()) {
                continue;
            }
            let held = is_held(&object.name(), object.owner);
            if held != Some(false) || !unknown.contains(&object.owner) {
                search.add(held, object, None);
            }
        }
        search.add_queues();
        Ok(search)
    }

    /// Searches the queues on all mounts. A mount may show the queues of another IPC namespace.
    fn add_queues(&mut self) {
        let mut seen = HashSet::new();
        // A user may see a mount without permission to list it.
        let queues = queue_directories()
            .into_iter()
            .flat_map(|directory| candidates(&directory, OrphanKind::Queue).unwrap_or_default());
        for queue in queues {
            if seen.insert(queue.suffix.clone()) {
                // `None` means that this IPC namespace has no such queue.
                let held = queue::is_held(&queue.name()).map(|held| held.unwrap_or(true));
                if !is_registered(&queue) {
                    self.add(unless_denied(held), queue, None);
                }
            }
        }
    }

    /// Adds an object unless a process holds it. `held` is None if that is unknown.
    fn add(&mut self, held: Option<bool>, object: Orphan, table: Option<TableName>) {
        let table = table.map(|name| name.as_str().to_owned());
        let orphan = Orphan { table, ..object };
        match held {
            Some(true) => {}
            Some(false) => self.orphans.push(orphan),
            None => self.unseen.push(orphan),
        }
    }
}

/// Returns all objects of one kind. Any of them may be an orphan.
fn candidates(directory: &Path, kind: OrphanKind) -> Result<Vec<Orphan>> {
    let (_, prefix, reason) = kind.describe();
    let candidate = |suffix| {
        let object = directory.join(format!("{prefix}{suffix}"));
        let status = file_status(&object)?;
        let (owner, inode) = (status.uid(), status.ino());
        Some(Orphan { object, kind, owner, table: None, reason, suffix, inode })
    };
    Ok(suffixes(directory, prefix)?.into_iter().filter_map(candidate).collect())
}

/// Returns the status of a regular file, without following links.
fn file_status(path: &Path) -> Option<Metadata> {
    fs::symlink_metadata(path).ok().filter(Metadata::is_file)
}

/// Returns the names of the objects that a region refers to: its registry, and the current
/// generation of its key index. Returns none if no object has the name `region` any more: the
/// region took its table's name or was removed.
fn referenced_by(region: &str, owner: u32) -> Result<Vec<String>> {
    let Some(file) = object::open(region, false, owner, false)? else {
        return Ok(Vec::new());
    };
    let mut header = [0; header::SCHEMA];
    read_words(region, &file, 0, &mut header)?;
    let index = index_name(header[header::REGION_ID], header[header::INDEX_GENERATION]);
    Ok(vec![registry_name(header[header::REGISTRY_ID]), index])
}

/// Returns true if a process has locked any part of an object for writing, and None if permission
/// was denied.
fn is_held(object: &str, owner: u32) -> Option<bool> {
    let open = object::open(object, false, owner, false);
    unless_denied(
        open.and_then(|file| file.map_or(Ok(true), |file| object::is_held(object, &file))),
    )
}

/// Returns None if permission was denied. Returns true after any other error: the object no longer
/// exists or does not belong to Tablecast.
fn unless_denied(held: Result<bool>) -> Option<bool> {
    match held {
        Err(Error::PermissionDenied { .. }) => None,
        held => Some(held.unwrap_or(true)),
    }
}

/// Returns true if the registry of a queue contains its subscriber. A subscriber stores its nonce
/// before it creates the queue, and clears it after it removed the queue.
fn is_registered(queue: &Orphan) -> bool {
    let mut parts = queue.suffix.split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (id, slot, nonce) = (parse_id(part()), part().parse::<usize>(), parse_id(part()));
    let (Some(id), Ok(slot), Some(nonce)) = (id, slot, nonce) else {
        return true;
    };
    let path = format!("{DIRECTORY}{}", registry_name(id));
    let owner = fs::symlink_metadata(path).map_or(queue.owner, |status| status.uid());
    match registry::listeners(id, owner, false) {
        Ok(listeners) => listeners.iter().any(|one| (one.slot, one.nonce) == (slot, nonce)),
        Err(error) => !matches!(error, Error::PermissionDenied { .. }),
    }
}

/// Parses an id of 16 hexadecimal digits.
fn parse_id(text: &str) -> Option<u64> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u64::from_str_radix(text, 16).ok())?
}

/// Returns the directory that lists message queues, if their file system is mounted.
#[must_use]
pub fn queue_directory() -> Option<PathBuf> {
    queue_directories().into_iter().next()
}

fn queue_directories() -> Vec<PathBuf> {
    queue_mounts(&fs::read("/proc/thread-self/mounts").unwrap_or_default())
}

/// Returns the mount points of the file system of message queues in `mounts`, with `/dev/mqueue`
/// first. Paths need not be UTF-8.
fn queue_mounts(mounts: &[u8]) -> Vec<PathBuf> {
    let found = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == b"mqueue").then(|| PathBuf::from(OsStr::from_bytes(path)))
    });
    let mut found: Vec<PathBuf> = found.collect();
    found.sort_by_key(|path| path != Path::new("/dev/mqueue"));
    found
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::index::KeyHasher;
    use crate::protocol::key_index::IndexGeometry;
    use crate::publisher::acquire_lock_of;
    use crate::region::object::{Access, own_user};
    use crate::region::{PublisherIndex, random_id};

    #[test]
    fn queue_mounts_are_found_next_to_a_path_that_is_not_utf8() {
        let mounts = b"tmpfs /caf\xe9 tmpfs rw 0 0\nmqueue /q\xff mqueue rw 0 0\nmqueue /dev/mqueue mqueue rw 0 0\n";
        let expected =
            [&b"/dev/mqueue"[..], b"/q\xff"].map(|path| PathBuf::from(OsStr::from_bytes(path)));
        assert_eq!(queue_mounts(mounts), expected);
        assert_eq!(queue_mounts(b""), Vec::<PathBuf>::new());
    }

    #[test]
    fn publisher_that_starts_during_a_sweep_gets_its_lock_and_keeps_it() {
        let name = TableName::new(&format!("unit-sweep-{}", std::process::id())).unwrap();
        let end = AtomicBool::new(false);
        let removed = std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                let mut removed = 0;
                while !end.load(Ordering::Relaxed) || object::exists(&name.lock()) {
                    let remove = |_: &_| !object::exists(&name.region());
                    let outcome = object::remove_unless_held(&name.lock(), own_user(), remove);
                    removed += u32::from(outcome.unwrap());
                    std::thread::sleep(Duration::from_micros(20));
                }
                removed
            });
            for _ in 0..500 {
                let lock = acquire_lock_of(&name, own_user()).unwrap();
                for _ in 0..3 {
                    std::thread::yield_now();
                    assert!(object::names(&name.lock(), &lock), "removed while held");
                }
            }
            end.store(true, Ordering::Relaxed);
            sweeping.join().unwrap()
        });
        assert!(removed > 0);
        assert!(!object::exists(&name.lock()));
    }

    #[test]
    fn generation_linked_while_a_sweep_removes_an_unfinished_one_keeps_its_name() {
        let (id, access) = (random_id().unwrap(), Access { mode: 0o600, group: None });
        let (geometry, hasher) = (IndexGeometry::for_keys(1, 1), KeyHasher::with_seed(0));
        let name = index_name(id, 7);
        for is_sweeping in [true, false] {
            let unfinished = object::create(&name, access.mode, None).unwrap();
            assert!(object::link(&unfinished, &name).unwrap());
            let mut index = PublisherIndex::create(id, 7, geometry, hasher, access).unwrap();
            // The sweep calls this after it has compared the inode and before it removes the name.
            let link = |_: &_| {
                index.link().unwrap();
                is_sweeping
            };
            let removed = object::remove_unless_held(&name, own_user(), link).unwrap();
            assert_eq!((removed, index.is_intact()), (is_sweeping, true));
            drop(unfinished);
            // Without a sweep, the next publisher replaces the unfinished object.
            if !is_sweeping {
                let mut next = PublisherIndex::create(id, 7, geometry, hasher, access).unwrap();
                next.link().unwrap();
                assert_eq!((next.generation(), next.is_intact()), (7, true));
                assert!(!object::remove_unless_held(&name, own_user(), |_| true).unwrap());
                next.remove().unwrap();
            }
            index.remove().unwrap();
            assert!(!object::exists(&name));
        }
    }
}
