//! Sweeps after publisher crashes, in private shared memory.

use std::collections::BTreeSet;

use common::admin::DIRECTORY;
use common::internals::header;
use tests::confined::{own_memory, own_queues, show_queues};
use tests::object_state::{IndexId, ObjectState};
use tests::replica::Replica;
use tests::scenario::Scenario;
use tests::skip;

use super::expected::Expected;
use super::followers::{newcomer, succeed};
use super::lookups::{Keys, reader_of};

/// States that differ in the names of their objects, one of each kind.
#[derive(Default)]
pub struct NamesOnly {
    kinds: BTreeSet<(String, Vec<IndexId>, Option<IndexId>)>,
    states: Vec<ObjectState>,
}

impl NamesOnly {
    /// Adds a state if its names differ from those of all others.
    pub fn add(&mut self, state: &ObjectState) {
        let kind = (state.names(), state.indexes().collect(), state.current_index());
        if self.kinds.insert(kind) {
            self.states.push(state.clone());
        }
    }
}

fn objects() -> BTreeSet<String> {
    let entries = std::fs::read_dir(DIRECTORY).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("tablecast.")).collect()
}

/// Simulates publisher crashes in states with different names, and one sweep. Half of the tables
/// are taken over and closed before the sweep, and half of them after it. Checks that the sweep
/// damages no table and that nothing is left at the end.
pub fn sweep_everywhere(scenario: Scenario, states: &NamesOnly, expected: &Expected) {
    // Only this thread gets private shared memory: a sweep would remove the objects of other tests.
    std::thread::scope(|scope| {
        let sweeping = scope.spawn(|| {
            if !own_memory(256 << 20) || !own_queues(64) {
                return skip("sweeps: no mount or IPC namespace");
            }
            let queues = tempfile::tempdir().unwrap();
            show_queues(queues.path());
            sweep_here(scenario, &states.states, expected);
        });
        sweeping.join().unwrap();
    });
}

fn sweep_here(scenario: Scenario, states: &[ObjectState], expected: &Expected) {
    let keys = Keys::of(scenario, expected);
    let take_over = |replica: &Replica, state: &ObjectState| {
        let name = replica.table().name();
        let version = newcomer(name).map(|new| new.version());
        let epoch = state.word(header::EPOCH);
        let (publisher, rows) = succeed(scenario, name, expected, version, epoch);
        keys.check(&reader_of(name).unwrap(), publisher.version(), &rows);
        publisher.close().unwrap();
    };
    let replicas = |states: &[ObjectState]| states.iter().map(Replica::new).collect::<Vec<_>>();
    let (early, late) = (replicas(states), replicas(states));
    early.iter().zip(states).for_each(|(replica, state)| take_over(replica, state));
    let before = objects();
    let swept = common::sweep().unwrap();
    assert!(swept.kept.is_empty() && swept.unseen.is_empty(), "{swept:?}");
    for (replica, state) in late.iter().zip(states) {
        if let Some(reader) = reader_of(replica.table().name()) {
            keys.check_expected(&reader, expected);
            let current = state.current_index().filter(|id| state.indexes().any(|has| has == *id));
            let current = current.map(|id| replica.index_name(id));
            let indexes: Vec<String> = replica.indexes().collect();
            assert_eq!(indexes, current.into_iter().collect::<Vec<_>>(), "others are swept");
        }
        take_over(replica, state);
    }
    assert_eq!(objects(), BTreeSet::new(), "of {before:?}");
}
