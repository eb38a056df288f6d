//! The shared bytes of a table at one instant.
//!
//! A [`TableObserver`] observes a table from outside, by reads alone. This is cheap enough to do
//! after each instruction of the table's publisher. An [`ObjectState`] is one observation.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use common::admin::DIRECTORY;
use common::internals::{header, registry_name};

use crate::table::index_objects;

/// The region that has the table's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Named {
    /// No region has the name.
    #[default]
    Nothing,
    /// The region that had the name at the beginning.
    First,
    /// Another region.
    Other,
}

/// All shared objects of a table at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ObjectState {
    pub(crate) lock: bool,
    named: Named,
    /// The region that had the name at the beginning.
    pub(crate) first: Option<Vec<u8>>,
    /// The region that has the name now, if it is another one.
    pub(crate) other: Option<Vec<u8>>,
    /// The region that is about to take the name.
    pub(crate) next: Option<Vec<u8>>,
    pub(crate) registries: BTreeMap<u64, Vec<u8>>,
    pub(crate) indexes: BTreeMap<IndexId, Vec<u8>>,
}

/// A generation of a key index: the id of its region, and its number.
pub type IndexId = (u64, u64);

pub(crate) fn word_of(bytes: &[u8], word: usize) -> u64 {
    let bytes = bytes.get(word * 8..word * 8 + 8);
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

/// Counts the words that differ. The shorter file counts as extended with zeros, because growing a
/// file stores nothing.
fn differing_words(one: &[u8], other: &[u8]) -> usize {
    let words = one.len().max(other.len()) / 8;
    (0..words).filter(|word| word_of(one, *word) != word_of(other, *word)).count()
}

impl ObjectState {
    /// Returns the region that has the name.
    pub fn region(&self) -> Option<&[u8]> {
        match self.named {
            Named::Nothing => None,
            Named::First => self.first.as_deref(),
            Named::Other => self.other.as_deref(),
        }
    }

    /// Returns which region has the name.
    pub fn named(&self) -> Named {
        self.named
    }

    /// Returns true if the region that had the name at the beginning was removed, and no other
    /// region has the name.
    pub fn is_removed(&self) -> bool {
        self.named == Named::Nothing && self.first.is_some()
    }

    /// Returns a word of the header of the region that has the name, or 0 if there is no such
    /// region.
    pub fn word(&self, word: usize) -> u64 {
        self.region().map_or(0, |region| word_of(region, word))
    }

    /// Returns the last commit of the region that has the name.
    pub fn commit(&self) -> u64 {
        self.word(header::COMMIT)
    }

    /// Returns the number of words that differ in objects that both states have.
    pub fn words_from(&self, other: &Self) -> usize {
        let regions =
            [(&self.first, &other.first), (&self.other, &other.other), (&self.next, &other.next)];
        let regions = regions
            .into_iter()
            .filter_map(|(one, other)| Some(differing_words(one.as_ref()?, other.as_ref()?)));
        let registries = self
            .registries
            .iter()
            .filter_map(|(id, one)| Some(differing_words(one, other.registries.get(id)?)));
        let indexes = self.indexes.iter();
        let indexes =
            indexes.filter_map(|(id, one)| Some(differing_words(one, other.indexes.get(id)?)));
        regions.sum::<usize>() + registries.sum::<usize>() + indexes.sum::<usize>()
    }

    /// Returns the number of objects that only one of both states has under their name.
    pub fn names_from(&self, other: &Self) -> usize {
        let ids = |picture: &Self| picture.registries.keys().copied().collect::<Vec<u64>>();
        usize::from(self.lock != other.lock)
            + usize::from(self.named != other.named)
            + usize::from(self.next.is_some() != other.next.is_some())
            + usize::from(ids(self) != ids(other))
            + usize::from(!self.indexes.keys().eq(other.indexes.keys()))
    }

    /// Returns the generation of the key index that the region that has the name refers to.
    pub fn current_index(&self) -> Option<IndexId> {
        let word = |word| self.word(word);
        self.region().map(|_| (word(header::REGION_ID), word(header::INDEX_GENERATION)))
    }

    /// Returns a text that is different for states in which other objects have names, except for
    /// their key indexes.
    pub fn names(&self) -> String {
        let registries: Vec<&u64> = self.registries.keys().collect();
        format!("{} {:?} {} {registries:?}", self.lock, self.named, self.next.is_some())
    }

    /// Returns the generations of key indexes that have a name.
    pub fn indexes(&self) -> impl Iterator<Item = IndexId> {
        self.indexes.keys().copied()
    }

    /// Returns the ids of the regions of this state, and of those whose key index has a name.
    pub fn region_ids(&self) -> BTreeSet<u64> {
        let regions = [&self.first, &self.other, &self.next];
        let ids = regions.into_iter().flatten();
        let ids = ids.map(|region| word_of(region, header::REGION_ID));
        ids.chain(self.indexes.keys().map(|(id, _)| *id)).collect()
    }

    /// Returns the registries that are named in the regions of this state.
    fn named_registries(&self) -> impl Iterator<Item = u64> {
        let regions = [&self.first, &self.other, &self.next];
        let ids = regions.into_iter().flatten();
        ids.map(|region| word_of(region, header::REGISTRY_ID))
    }
}

/// Paths of a table's objects.
pub(crate) struct Paths {
    pub(crate) name: String,
}

impl Paths {
    pub(crate) fn of(&self, kind: &str) -> PathBuf {
        format!("{DIRECTORY}/tablecast.{kind}.{}", self.name).into()
    }
}

pub(crate) fn registry_path(id: u64) -> PathBuf {
    format!("{DIRECTORY}{}", registry_name(id)).into()
}

fn is_same(one: &File, other: &File) -> bool {
    let number = |file: &File| file.metadata().map(|status| status.ino()).ok();
    number(one) == number(other)
}

/// A table that is observed from outside.
pub struct TableObserver {
    paths: Paths,
    first: Option<File>,
    other: Option<File>,
    next: Option<File>,
    registries: BTreeMap<u64, File>,
    indexes: BTreeMap<IndexId, File>,
    /// The process whose objects belong to the table even before a region with a name refers to
    /// them.
    process: Option<u32>,
    /// Ids of the regions that the table has had.
    region_ids: BTreeSet<u64>,
    now: ObjectState,
    scratch: Vec<u8>,
}

impl TableObserver {
    /// Observes the table as it is now.
    pub fn new(name: &str) -> Self {
        Self::observe(name, None)
    }

    /// Observes the table as it is now, with the objects that a process has open.
    pub fn of_process(name: &str, process: u32) -> Self {
        Self::observe(name, Some(process))
    }

    fn observe(name: &str, process: Option<u32>) -> Self {
        let paths = Paths { name: name.to_owned() };
        let first = File::open(paths.of("table")).ok();
        let mut observer = Self {
            paths,
            first,
            other: None,
            next: None,
            registries: BTreeMap::new(),
            indexes: BTreeMap::new(),
            process,
            region_ids: BTreeSet::new(),
            now: ObjectState::default(),
            scratch: Vec::new(),
        };
        observer.look(true);
        observer
    }

    /// Returns the last observation.
    pub fn now(&self) -> &ObjectState {
        &self.now
    }

    /// Observes the table again, and also its names and the sizes of its objects, which only system
    /// calls change, if `at_names` is set. Returns true if anything changed.
    pub fn look(&mut self, at_names: bool) -> bool {
        let mut changed = at_names && self.look_at_names();
        let Self { first, other, next, now, scratch, .. } = self;
        let regions =
            [(&*first, &mut now.first), (&*other, &mut now.other), (&*next, &mut now.next)];
        for (file, seen) in regions {
            changed |= look_at(file.as_ref(), seen, at_names, scratch);
        }
        if at_names {
            // The regions that were just read name the registries and the key indexes.
            changed |= self.look_for_registries();
            changed |= self.look_for_indexes();
        }
        let Self { registries, indexes, now, scratch, .. } = self;
        changed |= look_at_all(registries, &mut now.registries, at_names, scratch);
        changed | look_at_all(indexes, &mut now.indexes, at_names, scratch)
    }

    /// Returns the named objects that a process has open and that a sweep cannot find from the
    /// table. If the process died now, they would never be removed. A sweep finds a key index by
    /// its name alone.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn unknown_to_all_but(&self, process: u32) -> Vec<PathBuf> {
        let objects = ["lock", "table", "next"].map(|kind| self.paths.of(kind));
        // A sweep finds the registry of a region that was removed.
        let removed = self.now.first.as_deref();
        let removed = removed.filter(|_| self.now.is_removed());
        let regions = [self.now.region(), self.now.next.as_deref(), removed];
        let registries = regions.into_iter().flatten();
        let registries =
            registries.map(|region| registry_path(word_of(region, header::REGISTRY_ID)));
        let indexes = self.indexes.values().filter_map(|file| Some(file.metadata().ok()?.ino()));
        let known = objects.into_iter().chain(registries);
        let known = known.filter_map(|path| Some(path.metadata().ok()?.ino()));
        let known: Vec<u64> = known.chain(indexes).collect();
        let memory = std::fs::metadata(DIRECTORY).map(|status| status.dev()).ok();
        let is_unknown = |path: &PathBuf| {
            path.metadata().is_ok_and(|status| {
                let is_object = status.is_file() && Some(status.dev()) == memory;
                is_object && status.nlink() > 0 && !known.contains(&status.ino())
            })
        };
        open_files(process).filter(is_unknown).collect()
    }

    fn look_at_names(&mut self) -> bool {
        let lock = self.paths.of("lock").exists();
        let bearer = File::open(self.paths.of("table")).ok();
        let named = match (&bearer, &self.first) {
            (None, _) => Named::Nothing,
            (Some(bearer), Some(first)) if is_same(bearer, first) => Named::First,
            (Some(_), _) => Named::Other,
        };
        self.other = bearer.filter(|_| named == Named::Other);
        self.next = File::open(self.paths.of("next")).ok();
        let changed = lock != self.now.lock || named != self.now.named;
        (self.now.lock, self.now.named) = (lock, named);
        changed
    }

    fn look_for_registries(&mut self) -> bool {
        let before: Vec<u64> = self.registries.keys().copied().collect();
        let mut ids = before.clone();
        ids.extend(self.now.named_registries());
        let open = |id| Some((id, File::open(registry_path(id)).ok()?));
        self.registries = ids.into_iter().filter_map(open).collect();
        let Self { registries, now, .. } = self;
        now.registries.retain(|id, _| registries.contains_key(id));
        !registries.keys().eq(&before)
    }

    fn look_for_indexes(&mut self) -> bool {
        self.region_ids.extend(self.now.region_ids());
        let open = self.process.map(|process| {
            let numbers = open_files(process).filter_map(|path| Some(path.metadata().ok()?.ino()));
            numbers.collect::<HashSet<u64>>()
        });
        // The first generation has its name before its region has one.
        let is_open = |number| open.as_ref().is_some_and(|open| open.contains(&number));
        let before: Vec<IndexId> = self.indexes.keys().copied().collect();
        self.indexes.clear();
        for (id, path) in index_objects() {
            if let Ok(file) = File::open(path)
                && let Ok(status) = file.metadata()
                && (self.region_ids.contains(&id.0) || is_open(status.ino()))
            {
                self.region_ids.insert(id.0);
                self.indexes.insert(id, file);
            }
        }
        let Self { indexes, now, .. } = self;
        now.indexes.retain(|id, _| indexes.contains_key(id));
        !indexes.keys().eq(&before)
    }
}

/// Returns the paths of the descriptors of a process.
fn open_files(process: u32) -> impl Iterator<Item = PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("a stopped process");
    open.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Reads each of the files. Returns true if any differs from the last observation.
fn look_at_all<K: Copy + Ord>(
    files: &BTreeMap<K, File>,
    seen: &mut BTreeMap<K, Vec<u8>>,
    at_size: bool,
    scratch: &mut Vec<u8>,
) -> bool {
    let mut changed = false;
    for (id, file) in files {
        let mut bytes = seen.remove(id);
        changed |= look_at(Some(file), &mut bytes, at_size, scratch);
        seen.extend(bytes.map(|bytes| (*id, bytes)));
    }
    changed
}

/// Reads a file, which may have grown if `at_size` is set. Returns true if it differs from the last
/// observation.
fn look_at(
    file: Option<&File>,
    seen: &mut Option<Vec<u8>>,
    at_size: bool,
    scratch: &mut Vec<u8>,
) -> bool {
    let Some(file) = file else {
        return seen.take().is_some();
    };
    let size = match seen {
        Some(seen) if !at_size => seen.len(),
        _ => file.metadata().map_or(0, |status| status.len() as usize),
    };
    scratch.resize(size, 0);
    file.read_exact_at(scratch, 0).expect("a file that is not truncated");
    if seen.as_ref() == Some(scratch) {
        return false;
    }
    *seen = Some(scratch.clone());
    true
}
