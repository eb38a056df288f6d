//! The bytes that a table shares, at one instant, and their copy under another name.
//!
//! A [`Scene`] looks at a table from outside, by reads alone, and cheaply enough to do so after each instruction of its
//! publisher. A [`Picture`] is what it saw. A [`Replica`] is a table made of a picture: what a publisher would have left
//! that died at that instant. It becomes another picture in place, under the mappings of those who attached to it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use common::layout::{header, registry};
use common::region::object::{DIRECTORY, registry_name};

use crate::table::Table;

/// Who bears the name of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Named {
    /// Nobody.
    #[default]
    Nothing,
    /// The region that bore it at the beginning.
    First,
    /// Another one.
    Other,
}

/// All that a table shares, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Picture {
    lock: bool,
    named: Named,
    /// The region that bore the name at the beginning.
    first: Option<Vec<u8>>,
    /// The region that bears it now, if that is another one.
    other: Option<Vec<u8>>,
    /// The region that is about to take the name.
    next: Option<Vec<u8>>,
    registries: BTreeMap<u64, Vec<u8>>,
}

fn word_of(bytes: &[u8], word: usize) -> u64 {
    let bytes = bytes.get(word * 8..word * 8 + 8);
    bytes.map_or(0, |bytes| {
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    })
}

/// What a file has beyond the end of the other counts as zeros there: growing it stores nothing.
fn differing_words(one: &[u8], other: &[u8]) -> usize {
    let words = one.len().max(other.len()) / 8;
    (0..words)
        .filter(|word| word_of(one, *word) != word_of(other, *word))
        .count()
}

impl Picture {
    /// The region that bears the name.
    pub fn region(&self) -> Option<&[u8]> {
        match self.named {
            Named::Nothing => None,
            Named::First => self.first.as_deref(),
            Named::Other => self.other.as_deref(),
        }
    }

    /// Who bears the name.
    pub fn named(&self) -> Named {
        self.named
    }

    /// A word of the header of the region that bears the name; 0 if there is none.
    pub fn word(&self, word: usize) -> u64 {
        self.region().map_or(0, |region| word_of(region, word))
    }

    /// The last commit of the region that bears the name.
    pub fn commit(&self) -> u64 {
        self.word(header::COMMIT)
    }

    /// How many words differ in what both have.
    pub fn words_from(&self, other: &Self) -> usize {
        let regions = [
            (&self.first, &other.first),
            (&self.other, &other.other),
            (&self.next, &other.next),
        ];
        let regions = regions
            .into_iter()
            .filter_map(|(one, other)| Some(differing_words(one.as_ref()?, other.as_ref()?)));
        let registries = self
            .registries
            .iter()
            .filter_map(|(id, one)| Some(differing_words(one, other.registries.get(id)?)));
        regions.sum::<usize>() + registries.sum::<usize>()
    }

    /// How many objects only one of both has under its name.
    pub fn names_from(&self, other: &Self) -> usize {
        let ids = |picture: &Self| picture.registries.keys().copied().collect::<Vec<u64>>();
        usize::from(self.lock != other.lock)
            + usize::from(self.named != other.named)
            + usize::from(self.next.is_some() != other.next.is_some())
            + usize::from(ids(self) != ids(other))
    }

    /// The registries that a region of it names.
    fn named_registries(&self) -> impl Iterator<Item = u64> {
        let regions = [&self.first, &self.other, &self.next];
        let ids = regions.into_iter().flatten();
        ids.map(|region| word_of(region, header::REGISTRY_ID))
    }
}

/// Where objects of a table stand.
struct Paths {
    name: String,
}

impl Paths {
    fn of(&self, kind: &str) -> PathBuf {
        format!("{DIRECTORY}/tablecast.{kind}.{}", self.name).into()
    }
}

fn registry_path(id: u64) -> PathBuf {
    format!("{DIRECTORY}{}", registry_name(id)).into()
}

fn is_same(one: &File, other: &File) -> bool {
    let number = |file: &File| file.metadata().map(|status| status.ino()).ok();
    number(one) == number(other)
}

/// A table, looked at from outside.
pub struct Scene {
    paths: Paths,
    first: Option<File>,
    other: Option<File>,
    next: Option<File>,
    registries: BTreeMap<u64, File>,
    now: Picture,
    scratch: Vec<u8>,
}

impl Scene {
    /// The table as it is now.
    pub fn new(name: &str) -> Self {
        let paths = Paths {
            name: name.to_owned(),
        };
        let first = File::open(paths.of("table")).ok();
        let mut scene = Self {
            paths,
            first,
            other: None,
            next: None,
            registries: BTreeMap::new(),
            now: Picture::default(),
            scratch: Vec::new(),
        };
        scene.look(true);
        scene
    }

    /// What was seen last.
    pub fn now(&self) -> &Picture {
        &self.now
    }

    /// Looks again, also at the names if these may have changed; whether anything is new.
    pub fn look(&mut self, at_names: bool) -> bool {
        let mut changed = at_names && self.look_at_names();
        let Self {
            first,
            other,
            next,
            now,
            scratch,
            ..
        } = self;
        let regions = [
            (&*first, &mut now.first),
            (&*other, &mut now.other),
            (&*next, &mut now.next),
        ];
        for (file, seen) in regions {
            changed |= look_at(file.as_ref(), seen, scratch);
        }
        if at_names {
            // By the names in the regions that were just read.
            changed |= self.look_for_registries();
        }
        let Self {
            registries,
            now,
            scratch,
            ..
        } = self;
        for (id, file) in registries {
            let mut seen = now.registries.remove(id);
            changed |= look_at(Some(file), &mut seen, scratch);
            now.registries.extend(seen.map(|seen| (*id, seen)));
        }
        changed
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
        let Self {
            registries, now, ..
        } = self;
        now.registries.retain(|id, _| registries.contains_key(id));
        !registries.keys().eq(&before)
    }
}

/// Reads a file that may have become longer; whether it is not as it was seen.
fn look_at(file: Option<&File>, seen: &mut Option<Vec<u8>>, scratch: &mut Vec<u8>) -> bool {
    let Some(file) = file else {
        return seen.take().is_some();
    };
    let size = file.metadata().map_or(0, |status| status.len() as usize);
    scratch.resize(size, 0);
    file.read_exact_at(scratch, 0)
        .expect("a file that nobody cuts short");
    if seen.as_ref() == Some(scratch) {
        return false;
    }
    *seen = Some(scratch.clone());
    true
}

/// A table made of a picture, without a publisher. Registries get names of their own.
pub struct Replica {
    table: Table,
    paths: Paths,
    mask: u64,
    first: Option<File>,
    registries: BTreeMap<u64, File>,
}

impl Replica {
    /// Of a picture.
    pub fn new(picture: &Picture) -> Self {
        let table = Table::new("replica");
        let paths = Paths {
            name: table.name().to_owned(),
        };
        let mut replica = Self {
            table,
            paths,
            mask: rand::random(),
            first: None,
            registries: BTreeMap::new(),
        };
        let first = picture.first.as_deref();
        replica.first = first.map(|bytes| {
            let file = create(&replica.paths.of("table"));
            replica.write_region(&file, bytes);
            file
        });
        replica.become_as(picture);
        replica
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Becomes another picture of the same scene, in place.
    pub fn become_as(&mut self, picture: &Picture) {
        if let (Some(file), Some(bytes)) = (&self.first, &picture.first) {
            self.write_region(file, bytes);
        }
        self.become_registries(picture);
        let [lock, table, next] = ["lock", "table", "next"].map(|kind| self.paths.of(kind));
        place(&lock, picture.lock.then(|| create(&lock)));
        place(&next, None);
        if let Some(bytes) = &picture.next {
            self.write_region(&create(&next), bytes);
        }
        match (picture.named, &picture.other) {
            (Named::First, _) => {}
            (Named::Other, Some(bytes)) => {
                let arriving = self.paths.of("arriving");
                self.write_region(&create(&arriving), bytes);
                std::fs::rename(arriving, table).expect("nobody else has such names");
            }
            _ => place(&table, None),
        }
    }

    fn become_registries(&mut self, picture: &Picture) {
        for (id, bytes) in &picture.registries {
            let named = id ^ self.mask;
            let file = self.registries.entry(*id);
            let file = file.or_insert_with(|| create(&registry_path(named)));
            let mut bytes = bytes.clone();
            bytes[registry::REGISTRY_ID * 8..][..8].copy_from_slice(&named.to_le_bytes());
            file.write_all_at(&bytes, 0).expect("room in /dev/shm");
        }
        let mask = self.mask;
        self.registries.retain(|id, _| {
            let stays = picture.registries.contains_key(id);
            if !stays {
                place(&registry_path(id ^ mask), None);
            }
            stays
        });
    }

    /// The bytes of a region, with the name of its registry as it is here.
    fn write_region(&self, file: &File, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let id = word_of(&bytes, header::REGISTRY_ID);
        if id != 0 {
            let named = id ^ self.mask;
            bytes[header::REGISTRY_ID * 8..][..8].copy_from_slice(&named.to_le_bytes());
        }
        file.write_all_at(&bytes, 0).expect("room in /dev/shm");
    }

    /// What is left of it: of the names, and of the registries.
    pub fn leftovers(&self) -> Vec<String> {
        let ids = self
            .registries
            .keys()
            .map(|id| registry_path(id ^ self.mask));
        let registries = ids.filter(|path| path.exists());
        let registries = registries.map(|path| path.display().to_string());
        self.table
            .leftovers()
            .into_iter()
            .chain(registries)
            .collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        for id in self.registries.keys() {
            place(&registry_path(id ^ self.mask), None);
        }
    }
}

fn create(path: &PathBuf) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path).expect("room in /dev/shm")
}

/// Leaves the name to `file`, which was made under it, or to nothing.
fn place(path: &PathBuf, file: Option<File>) {
    if file.is_none() && path.exists() {
        std::fs::remove_file(path).expect("nobody else has such names");
    }
}
