//! A table name for one test, and all objects with that name.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use common::admin::DIRECTORY;
use common::internals::index_name;
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, mq_close, mq_open, mq_unlink};
use nix::sys::stat::Mode;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Returns the ids of the region and the numbers of all generations of key indexes on this machine,
/// with their paths.
pub(crate) fn index_objects() -> Vec<((u64, u64), PathBuf)> {
    let entries = std::fs::read_dir(DIRECTORY).expect("a directory of shared memory");
    let parse = |path: PathBuf| {
        let (id, generation) =
            path.file_name()?.to_str()?.strip_prefix("tablecast.index.")?.split_once('.')?;
        let id = (u64::from_str_radix(id, 16).ok()?, generation.parse().ok()?);
        Some((id, path))
    };
    entries.filter_map(|entry| parse(entry.ok()?.path())).collect()
}

/// A table name that no other test uses. Dropping it removes the table and all of its objects.
///
/// Declare it before processes, publishers and subscribers, so that it is dropped after them.
pub struct Table {
    name: String,
    /// Registries and queues that were observed. Their names do not show which table they belong
    /// to.
    seen: RefCell<BTreeSet<Object>>,
    /// Ids of the regions whose key indexes belong to the table.
    region_ids: RefCell<BTreeSet<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Memory(String),
    Queue(String),
}

impl Object {
    fn exists(&self) -> bool {
        match self {
            Self::Memory(name) => Path::new(&format!("/dev/shm{name}")).exists(),
            Self::Queue(name) => {
                let queue = mq_open(name.as_str(), MQ_OFlag::O_WRONLY, Mode::empty(), None);
                match queue {
                    Ok(queue) => mq_close(queue).is_ok(),
                    Err(errno) => errno != Errno::ENOENT,
                }
            }
        }
    }

    fn remove(&self) {
        let _best_effort = match self {
            Self::Memory(name) => nix::sys::mman::shm_unlink(name.as_str()),
            Self::Queue(name) => mq_unlink(name.as_str()),
        };
    }
}

impl Table {
    /// Creates a name that begins with `test`.
    pub fn new(test: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("{test}-{}-{number}", std::process::id()),
            seen: RefCell::default(),
            region_ids: RefCell::default(),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records the table's current registry, key index and queues for [`Table::orphans`]. Returns
    /// the number of queues.
    pub fn remember(&self) -> usize {
        let mut seen = self.seen.borrow_mut();
        let Ok(info) = common::inspect(&self.name, None) else {
            return 0;
        };
        self.remember_indexes(info.region_id);
        let id = info.registry_id;
        seen.insert(Object::Memory(format!("/tablecast.subs.{id:016x}")));
        let queues = info.subscribers.unwrap_or_default().into_iter();
        let queues = queues.map(|listener| {
            Object::Queue(format!(
                "/tablecast.wake.{id:016x}.{}.{:016x}",
                listener.slot, listener.nonce
            ))
        });
        let queues: Vec<Object> = queues.filter(Object::exists).collect();
        let count = queues.len();
        seen.extend(queues);
        count
    }

    /// Records that all generations of the key index of a region belong to the table.
    pub fn remember_indexes(&self, region_id: u64) {
        self.region_ids.borrow_mut().insert(region_id);
    }

    /// Returns the existing objects of the table, including those that [`Table::remember`]
    /// recorded.
    pub fn orphans(&self) -> Vec<String> {
        self.objects().filter(Object::exists).map(|object| format!("{object:?}")).collect()
    }

    /// Returns true if a recorded queue exists.
    pub fn has_queue(&self) -> bool {
        let mut objects = self.objects();
        objects.any(|object| matches!(object, Object::Queue(_)) && object.exists())
    }

    /// Returns the names of the existing generations of the recorded key indexes.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = String> {
        let ids = self.region_ids.borrow().clone();
        let indexes = index_objects().into_iter().filter(move |((id, _), _)| ids.contains(id));
        indexes.map(|((id, generation), _)| index_name(id, generation))
    }

    fn objects(&self) -> impl Iterator<Item = Object> {
        let name = &self.name;
        let own = ["lock", "table", "next"]
            .map(|kind| Object::Memory(format!("/tablecast.{kind}.{name}")));
        let indexes = self.indexes().map(Object::Memory);
        own.into_iter().chain(self.seen.borrow().clone()).chain(indexes)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.remember();
        if common::remove(&self.name).is_err() {
            // The table does not exist or is damaged; the removal below is enough then.
        }
        self.objects().for_each(|object| object.remove());
    }
}
