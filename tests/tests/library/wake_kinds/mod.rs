//! The same checks for every wake kind: no wake-up is lost, wake-ups coalesce, a dead process
//! blocks nobody, and nothing is left.
//!
//! Unless stated otherwise, the re-check interval never ends, so a lost wake-up makes the test
//! fail.

mod crowd;
mod deaths;
mod descriptors;
mod lost;
mod scripts;
mod stopped;
mod waiting;

use common::Publisher;
use tempfile::TempDir;
use tests::kinds::{KINDS, Kind};
use tests::process::Process;
use tests::role;
use tests::script::Item;
use tests::table::Table;

/// A table, and a directory for objects of subscribers.
struct Place {
    table: Table,
    directory: TempDir,
}

impl Place {
    fn new(test: &str) -> Self {
        Self { table: Table::new(test), directory: TempDir::new().unwrap() }
    }

    fn name(&self) -> &str {
        self.table.name()
    }

    fn publish(&self) -> Publisher<Item> {
        let builder = Publisher::<Item>::builder(self.name()).capacity(10);
        builder.open().unwrap()
    }

    /// Starts a role of `tests::kinds`.
    fn start(&self, role: &str, kind: Kind, rest: &[&str]) -> Process {
        let mut command = role!("kinds", role, self.name());
        command.args(kind.arguments(self.directory.path()));
        Process::start(command.args(rest))
    }

    /// Returns the objects of subscribers in the directory.
    fn made(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

fn commit(publisher: &mut Publisher<Item>, value: u64) -> u64 {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((0, 0), value)).unwrap();
    tx.commit().unwrap()
}

/// Runs `test` for each kind. Prints the kind first, so that a failure names it.
fn for_each_kind(test: impl Fn(Kind)) {
    for kind in KINDS {
        println!("{kind:?}");
        test(*kind);
    }
}

/// Returns the number of parked subscribers in the registry.
fn asleep(table: &Table) -> usize {
    let listeners = common::inspect(table.name(), None).unwrap().subscribers;
    let listeners = listeners.unwrap_or_default();
    listeners.iter().filter(|one| one.alive && one.parked).count()
}
