//! A copy of a table under another name, in the state that a publisher leaves if it dies at a given
//! instant.
//!
//! A [`Replica`] is made from an [`ObjectState`]. It can become another state in place, under the
//! mappings of attached readers. Regions get their own ids, so that registries and key indexes have
//! other names than the originals.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use common::admin::DIRECTORY;
use common::internals::{header, index, index_name, registry};

use crate::object_state::{IndexId, Named, ObjectState, Paths, registry_path, word_of};
use crate::table::Table;

/// A table without a publisher.
pub struct Replica {
    table: Table,
    paths: Paths,
    mask: u64,
    first: Option<File>,
    /// The registries, with the bytes of the state in them: subscribers also write to them.
    registries: BTreeMap<u64, (File, Vec<u8>)>,
    /// The generations of key indexes that have a name.
    indexes: BTreeMap<IndexId, File>,
}

impl Replica {
    /// Creates a replica of a state.
    pub fn new(state: &ObjectState) -> Self {
        let table = Table::new("replica");
        let paths = Paths { name: table.name().to_owned() };
        let mut replica = Self {
            table,
            paths,
            mask: rand::random(),
            first: None,
            registries: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        let first = state.first.as_deref();
        replica.first = first.map(|bytes| {
            let file = create(&replica.paths.of("table"));
            replica.write_region(&file, bytes);
            file
        });
        replica.become_as(state);
        replica
    }

    /// Returns the table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Becomes another state of the same table, in place.
    pub fn become_as(&mut self, state: &ObjectState) {
        if let (Some(file), Some(bytes)) = (&self.first, &state.first) {
            self.write_region(file, bytes);
        }
        self.become_registries(state);
        self.become_indexes(state);
        let [lock, table, next] = ["lock", "table", "next"].map(|kind| self.paths.of(kind));
        place(&lock, state.lock.then(|| create(&lock)));
        place(&next, None);
        if let Some(bytes) = &state.next {
            self.write_region(&create(&next), bytes);
        }
        match (state.named(), &state.other) {
            (Named::First, _) => {}
            (Named::Other, Some(bytes)) => {
                let arriving = self.paths.of("arriving");
                self.write_region(&create(&arriving), bytes);
                std::fs::rename(arriving, table).expect("unused names");
            }
            _ => place(&table, None),
        }
    }

    fn become_registries(&mut self, state: &ObjectState) {
        for (id, bytes) in &state.registries {
            let named = id ^ self.mask;
            let made = || (create(&registry_path(named)), Vec::new());
            let (file, had) = self.registries.entry(*id).or_insert_with(made);
            if had != bytes {
                had.clone_from(bytes);
                let mut bytes = bytes.clone();
                bytes[registry::REGISTRY_ID * 8..][..8].copy_from_slice(&named.to_le_bytes());
                file.write_all_at(&bytes, 0).expect("room in /dev/shm");
            }
        }
        let mask = self.mask;
        self.registries.retain(|id, _| {
            let stays = state.registries.contains_key(id);
            if !stays {
                place(&registry_path(id ^ mask), None);
            }
            stays
        });
    }

    fn become_indexes(&mut self, state: &ObjectState) {
        let mask = self.mask;
        state.region_ids().iter().for_each(|id| self.table.remember_indexes(id ^ mask));
        self.indexes.retain(|id, _| {
            let stays = state.indexes.contains_key(id);
            if !stays {
                place(&format!("{DIRECTORY}{}", index_name(id.0 ^ mask, id.1)).into(), None);
            }
            stays
        });
        for (id, bytes) in &state.indexes {
            let path = format!("{DIRECTORY}{}", self.index_name(*id));
            let file = self.indexes.entry(*id).or_insert_with(|| create(&path.into()));
            let mut bytes = bytes.clone();
            bytes[index::REGION_ID * 8..][..8].copy_from_slice(&(id.0 ^ mask).to_le_bytes());
            file.write_all_at(&bytes, 0).expect("room in /dev/shm");
        }
    }

    /// Returns the name in this replica of a generation of the key index of a state.
    pub fn index_name(&self, (region, generation): IndexId) -> String {
        index_name(region ^ self.mask, generation)
    }

    /// Returns the names of the existing generations of key indexes of the regions of its states.
    pub fn indexes(&self) -> impl Iterator<Item = String> {
        self.table.indexes()
    }

    /// Writes the bytes of a region, with the replica's names of the registry and the key index.
    fn write_region(&self, file: &File, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        for word in [header::REGISTRY_ID, header::REGION_ID] {
            let id = word_of(&bytes, word);
            if id != 0 {
                let named = id ^ self.mask;
                bytes[word * 8..][..8].copy_from_slice(&named.to_le_bytes());
            }
        }
        file.write_all_at(&bytes, 0).expect("room in /dev/shm");
    }

    /// Returns the objects that remain: names of the table, and registries.
    pub fn orphans(&self) -> Vec<String> {
        let ids = self.registries.keys().map(|id| registry_path(id ^ self.mask));
        let registries = ids.filter(|path| path.exists());
        let registries = registries.map(|path| path.display().to_string());
        self.table.orphans().into_iter().chain(registries).collect()
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

/// Keeps the name if `file` was created under it; otherwise removes the name.
fn place(path: &PathBuf, file: Option<File>) {
    if file.is_none() && path.exists() {
        std::fs::remove_file(path).expect("unused names");
    }
}
