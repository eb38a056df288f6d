//! One contract for every way to be woken: no wake-up is lost, calls coalesce, nobody waits for the dead, and nothing stays behind.
//!
//! The re-check never comes in these tests unless it is said, so that a wake-up that is lost is a test that hangs, and fails.

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

/// A table, and a directory for what subscribers make.
struct Place {
    table: Table,
    directory: TempDir,
}

impl Place {
    fn new(test: &str) -> Self {
        Self {
            table: Table::new(test),
            directory: TempDir::new().unwrap(),
        }
    }

    fn name(&self) -> &str {
        self.table.name()
    }

    fn publish(&self) -> Publisher<Item> {
        let builder = Publisher::<Item>::builder(self.name()).capacity(10);
        builder.open().unwrap()
    }

    /// A role of `tests::kinds`.
    fn start(&self, role: &str, kind: Kind, rest: &[&str]) -> Process {
        let mut command = role!("kinds", role, self.name());
        command.args(kind.arguments(self.directory.path()));
        Process::start(command.args(rest))
    }

    /// What subscribers have made in the directory.
    fn made(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

fn commit(publisher: &mut Publisher<Item>, value: u64) -> u64 {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((0, 0), value)).unwrap();
    tx.commit().unwrap()
}

/// Runs `test` for each kind, and says which one it was that failed.
fn for_each_kind(test: impl Fn(Kind)) {
    for kind in KINDS {
        println!("{kind:?}");
        test(*kind);
    }
}

/// How many subscribers sleep, as the registry says.
fn asleep(table: &Table) -> usize {
    let listeners = common::inspect(table.name(), None).unwrap().subscribers;
    let listeners = listeners.unwrap_or_default();
    listeners
        .iter()
        .filter(|one| one.alive && one.parked)
        .count()
}
