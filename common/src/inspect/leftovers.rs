//! What processes left behind that ended in the middle of something: objects that no table knows of any more.
//!
//! 1. List the objects, then read which registries the regions name, in this order: a registry is linked after a region
//!    names it, and loses its name before the region does.
//! 2. Suspect a lock object or a `next` region that nobody has locked, a registry that no region names and of which nobody
//!    has locked a slot, or the publisher's byte, a queue that its registry does not know and nobody has locked.
//! 3. Look again after a while. What is still suspect is left behind.
//!
//! In doubt it is none: as long as a region of a live publisher cannot be read, or a publisher has a lock and no region yet,
//! none of its user's registries is suspect. Queues can be seen only where their file system is mounted. Read by
//! calls; nothing is mapped.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::region::lock::{self, Span};
use crate::region::object::{self, DIRECTORY, TableName, failure, failure_io, registry_name};
use crate::region::read_words;
use crate::wake::queue;
use crate::wake::registry;

/// How long what is suspect may be in the middle of being made or removed. A process that lost its registry notices at its
/// re-check, which is every second unless set otherwise.
const SECOND_LOOK: Duration = Duration::from_millis(1200);
/// Where the queues' file system is usually mounted.
const QUEUES: &str = "/dev/mqueue";

/// What an object was for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A publisher's exclusive lock.
    Lock,
    /// A region that did not come to take its table's name.
    Next,
    /// Who listens at a table.
    Registry,
    /// The message queue of a subscriber.
    Queue,
}

/// In one word: `lock`, `next`, `registry`, `queue`.
impl fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lock => "lock",
            Self::Next => "next",
            Self::Registry => "registry",
            Self::Queue => "queue",
        })
    }
}

/// An object that no table knows of and nobody holds.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The file.
    pub object: PathBuf,
    /// What it was for.
    pub kind: LeftoverKind,
    /// The user id it belongs to.
    pub owner: u32,
    /// The table that [`remove`](crate::remove) removes it with. None of what has no table: [`sweep`](crate::sweep) removes it.
    pub table: Option<String>,
    /// Why it is left behind.
    pub reason: &'static str,
    inode: u64,
}

/// What is left behind on this machine, as far as this user may look. Takes a second where something is suspect.
///
/// ```no_run
/// # fn main() -> common::Result<()> {
/// for left in common::inspect::leftovers()? {
///     println!("{}: {}", left.object.display(), left.reason);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the system refuses.
pub fn leftovers() -> Result<Vec<Leftover>> {
    Findings::at_two_looks().map(|found| found.left)
}

/// What is left behind, and what may be: this user may not look.
#[derive(Default)]
pub(crate) struct Findings {
    pub left: Vec<Leftover>,
    pub unseen: Vec<Leftover>,
}

impl Findings {
    pub fn at_two_looks() -> Result<Self> {
        let suspects = look()?;
        if suspects.left.is_empty() {
            return Ok(suspects);
        }
        std::thread::sleep(SECOND_LOOK);
        let mut still = look()?;
        still.left.retain(|found| suspects.left.contains(found));
        Ok(still)
    }

    /// Takes note of an object that nobody holds, or of which that cannot be known.
    fn note(&mut self, held: Held, left: impl FnOnce() -> Leftover) {
        match held {
            Held::Yes => {}
            Held::No => self.left.push(left()),
            Held::Unknown => self.unseen.push(left()),
        }
    }
}

/// Whether a process has locked an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// This user may not look.
    Unknown,
}

impl Held {
    fn of(outcome: Result<bool>) -> Self {
        match outcome {
            Ok(false) => Self::No,
            Err(Error::PermissionDenied { .. }) => Self::Unknown,
            // Gone meanwhile, or no object of ours.
            Ok(true) | Err(_) => Self::Yes,
        }
    }
}

/// All registries, and whose they are.
pub(crate) fn registries() -> Result<Vec<(u64, u32)>> {
    let found = objects(Path::new(DIRECTORY), "tablecast.subs.")?;
    let known = found
        .iter()
        .map(|one| Some((number(&one.name)?, one.owner)));
    Ok(known.flatten().collect())
}

/// Where queues can be seen, if their file system is mounted.
#[must_use]
pub fn queue_directory() -> Option<PathBuf> {
    queue_directories().into_iter().next()
}

/// Returns all places where queues can be seen. Some may show those of another IPC namespace.
fn queue_directories() -> Vec<PathBuf> {
    queue_mounts(&fs::read("/proc/thread-self/mounts").unwrap_or_default())
}

/// Returns where `mounts` says that queues are mounted, the usual place first. Paths in `mounts` need not be UTF-8.
fn queue_mounts(mounts: &[u8]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            (kind == b"mqueue").then(|| PathBuf::from(OsStr::from_bytes(place)))
        })
        .collect();
    found.sort_by_key(|place| place != Path::new(QUEUES));
    found
}

/// A file of ours, by what follows `tablecast.KIND.` in its name.
struct Object {
    name: String,
    path: PathBuf,
    owner: u32,
    inode: u64,
}

impl Object {
    fn leftover(&self, kind: LeftoverKind, table: Option<&str>, reason: &'static str) -> Leftover {
        Leftover {
            object: self.path.clone(),
            kind,
            owner: self.owner,
            table: table.map(str::to_owned),
            reason,
            inode: self.inode,
        }
    }

    /// Whether another process has locked any of it for writing.
    fn held(&self, object: &str) -> Held {
        let look = || match object::open(object, false, self.owner, false)? {
            None => Ok(true),
            Some(file) => lock::is_held(&file, Span::WHOLE)
                .map_err(|errno| failure(object, "query the lock of", errno)),
        };
        Held::of(look())
    }

    /// Whether the owner of this queue has it open. By its name, as the mount may show those of another IPC namespace.
    fn is_queue_held(&self) -> Held {
        let name = format!("/tablecast.wake.{}", self.name);
        Held::of(queue::is_held(&name).map(|held| held.unwrap_or(true)))
    }
}

/// The regular files in `directory` whose names begin with `prefix`.
fn objects(directory: &Path, prefix: &str) -> Result<Vec<Object>> {
    let failed = |error| failure_io(&directory.to_string_lossy(), "list", error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else {
            continue;
        };
        // Not followed, should it be a link. Gone meanwhile: then it is not left behind.
        if let Ok(status) = fs::symlink_metadata(entry.path())
            && status.is_file()
        {
            found.push(Object {
                name: name.to_owned(),
                path: entry.path(),
                owner: status.uid(),
                inode: status.ino(),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What looks left behind at this moment.
fn look() -> Result<Findings> {
    let of_kind = |kind: &str| objects(Path::new(DIRECTORY), &format!("tablecast.{kind}."));
    let (locks, nexts, registries) = (of_kind("lock")?, of_kind("next")?, of_kind("subs")?);
    let regions = of_kind("table")?;
    let mut named = Named::default();
    for region in &regions {
        named.add(region, &format!("/tablecast.table.{}", region.name));
    }
    for next in &nexts {
        named.add(next, &format!("/tablecast.next.{}", next.name));
    }
    let mut found = Findings::default();
    suspect_locks(&locks, &mut named, &mut found);
    suspect_nexts(&nexts, &mut found);
    for registry in &registries {
        suspect_registry(registry, &named, &mut found);
    }
    let mut seen = HashSet::new();
    for directory in queue_directories() {
        // Not listed by everybody who sees that it is mounted.
        for queue in objects(&directory, "tablecast.wake.").unwrap_or_default() {
            if seen.insert(queue.name.clone()) {
                suspect_queue(&queue, &mut found);
            }
        }
    }
    Ok(found)
}

/// The registries that regions name.
#[derive(Default)]
struct Named {
    registries: HashSet<u64>,
    /// Users of whose regions not all are known.
    unknown: HashSet<u32>,
}

impl Named {
    fn add(&mut self, region: &Object, object: &str) {
        let mut id = [0];
        let read = match object::open(object, false, region.owner, false) {
            // It took its table's name meanwhile, or was removed, its registry before it.
            Ok(None) => return,
            Ok(Some(file)) => read_words(object, &file, header::REGISTRY_ID as u64 * 8, &mut id),
            Err(error) => Err(error),
        };
        match read {
            Ok(()) => {
                self.registries.insert(id[0]);
            }
            // Too short, and nobody's any more: it names none.
            Err(_) if region.held(object) == Held::No => {}
            Err(_) => {
                self.unknown.insert(region.owner);
            }
        }
    }
}

fn suspect_locks(locks: &[Object], named: &mut Named, found: &mut Findings) {
    for lock in locks {
        let Ok(name) = TableName::new(&lock.name) else {
            continue;
        };
        if object::exists(&name.region()) {
            continue;
        }
        let held = lock.held(&name.lock());
        if held != Held::No {
            named.unknown.insert(lock.owner);
        }
        let reason = "its publisher ended before there was a table, or after it was removed";
        found.note(held, || {
            lock.leftover(LeftoverKind::Lock, Some(name.as_str()), reason)
        });
    }
}

fn suspect_nexts(nexts: &[Object], found: &mut Findings) {
    for next in nexts {
        let reason = "its publisher ended before it took its table's name";
        // Where there is a table, that would be removed, too.
        let table = TableName::new(&next.name).ok();
        let table = table.filter(|name| !object::exists(&name.region()));
        let table = table.as_ref().map(TableName::as_str);
        let held = next.held(&format!("/tablecast.next.{}", next.name));
        found.note(held, || next.leftover(LeftoverKind::Next, table, reason));
    }
}

fn suspect_registry(registry: &Object, named: &Named, found: &mut Findings) {
    let id = number(&registry.name).filter(|id| !named.registries.contains(id));
    let Some(id) = id else {
        return;
    };
    let held = registry.held(&registry_name(id));
    if held == Held::No && named.unknown.contains(&registry.owner) {
        return;
    }
    let reason = "no table names it, and nobody listens there";
    found.note(held, || {
        registry.leftover(LeftoverKind::Registry, None, reason)
    });
}

fn suspect_queue(queue: &Object, found: &mut Findings) {
    let held = queue.is_queue_held();
    if let (true, Some(reason)) = (held != Held::Yes, why_deserted(queue)) {
        found.note(held, || queue.leftover(LeftoverKind::Queue, None, reason));
    }
}

/// Why a queue is nobody's, if its registry does not know it.
fn why_deserted(queue: &Object) -> Option<&'static str> {
    let mut parts = queue.name.split('.');
    let (id, slot, nonce) = (parts.next()?, parts.next()?, parts.next()?);
    let (id, slot, nonce) = (number(id)?, slot.parse::<usize>().ok()?, number(nonce)?);
    let path = format!("{DIRECTORY}{}", registry_name(id));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("its registry is gone from /dev/shm")
        }
        Err(_) => None,
        Ok(status) => {
            // Its subscriber's random number is written before the queue is made, and cleared after it is removed.
            let is_its = |one: &registry::Listener| one.slot == slot && one.nonce == nonce;
            match registry::listeners(id, status.uid(), false) {
                Ok(listeners) if listeners.iter().any(is_its) => None,
                Ok(_) => Some("its subscriber's slot is free, or another's"),
                // A registry of the queue's owner, which this user may not look at either.
                Err(Error::PermissionDenied { .. }) => {
                    Some("its subscriber is gone; its registry cannot be looked at")
                }
                Err(_) => None,
            }
        }
    }
}

/// 16 hexadecimal digits.
fn number(text: &str) -> Option<u64> {
    let is_one = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind of defect: one path that is not UTF-8 in a file of /proc made the whole file count as empty.
    #[test]
    fn queue_mounts_are_found_next_to_a_path_that_is_not_utf8() {
        let mounts = b"tmpfs /caf\xe9 tmpfs rw 0 0\nmqueue /q\xff mqueue rw 0 0\nmqueue /dev/mqueue mqueue rw 0 0\n";
        let expected =
            [&b"/dev/mqueue"[..], b"/q\xff"].map(|path| PathBuf::from(OsStr::from_bytes(path)));
        assert_eq!(queue_mounts(mounts), expected);
        assert_eq!(queue_mounts(b""), Vec::<PathBuf>::new());
    }
}
