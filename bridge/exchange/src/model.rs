//! A model of the protocol: stateright runs exporter and importer with each order of events that the
//! faults of a scenario allow.
//!
//! The messages are encoded, and wait in a network that delivers them in any order. A message that
//! is never delivered is lost. Faults are limited in number, so that each scenario is finite:
//! repeated messages and heads, requests that fail although their reply may still arrive,
//! transactions that fail, restarts of exporter and importer, and time after which the exporter drops
//! an answer. Pieces have one entry here.
//!
//! Each scenario must hold. It then runs once for each of its mutants, in which one [`Check`] is left
//! out, and must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::message::{Delta, Entries, Head, Position, Publisher, Reply, Request};
use crate::mutant::{Check, LEFT_OUT};
use crate::{Action, Changes, Exporter, HeadDecoder, HeadEncoder, Importer, Origin, Update};

/// A key and its value.
type Row = [u8; 2];

/// Number of slots of the origin.
const SLOTS: usize = 3;
/// Steps within which a healed link must lead to equal tables.
const MAX_STEPS: usize = 60;

/// A commit of the origin.
enum Commit {
    /// Writes rows into slots, or deletes them.
    Write(&'static [(usize, Option<Row>)]),
    /// Removes the table and creates one with these rows.
    Recreate(&'static [(usize, Row)]),
    /// Moves the table to a larger region.
    Grow,
}

/// The origin after a commit.
#[derive(Clone, Default)]
struct Version {
    position: Position,
    rows: [Option<Row>; SLOTS],
    /// The versions at which the slots were written, or 0.
    written: [u64; SLOTS],
}

impl Version {
    fn next(&self, commit: &Commit) -> Self {
        let mut next = self.clone();
        let Position { region, version } = &mut next.position;
        *version += 1;
        match *commit {
            Commit::Write(writes) => {
                for &(slot, row) in writes {
                    next.rows[slot] = row;
                    next.written[slot] = *version;
                }
            }
            Commit::Recreate(rows) => {
                (*region, *version) = (*region + 1, 1);
                next.rows = [None; SLOTS];
                next.written = [0; SLOTS];
                for &(slot, row) in rows {
                    next.rows[slot] = Some(row);
                    next.written[slot] = 1;
                }
            }
            Commit::Grow => *region += 1,
        }
        next
    }

    fn table(&self) -> BTreeMap<u8, u8> {
        self.rows.iter().flatten().map(|&[key, value]| (key, value)).collect()
    }
}

/// The slots that were written between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Written {
    from: u64,
    to: Position,
    deleted: Vec<u32>,
    slots: Vec<u32>,
    rows: Vec<Row>,
}

impl Changes for Written {
    fn from(&self) -> u64 {
        self.from
    }
    fn to(&self) -> Position {
        self.to
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn fingerprint(&self) -> u64 {
        1
    }
    fn schema(&self) -> Vec<u8> {
        vec![1]
    }
    fn row_bytes(&self) -> usize {
        size_of::<Row>()
    }
    fn deleted(&self) -> &[u32] {
        &self.deleted
    }
    fn slots(&self) -> &[u32] {
        &self.slots
    }
    fn row(&self, at: usize) -> &[u8] {
        &self.rows[at]
    }
}

impl Origin for Version {
    type Changes = Written;

    fn changes(&self, since: Position) -> Result<Written, String> {
        let is_known =
            since.region == self.position.region && since.version <= self.position.version;
        let from = if is_known { since.version } else { 0 };
        let mut written =
            Written { from, to: self.position, deleted: vec![], slots: vec![], rows: vec![] };
        for slot in (0..SLOTS).filter(|&slot| self.written[slot] > from) {
            match self.rows[slot] {
                Some(row) => {
                    written.slots.push(slot as u32);
                    written.rows.push(row);
                }
                None if from > 0 => written.deleted.push(slot as u32),
                None => {}
            }
        }
        Ok(written)
    }

    fn position(&self) -> Result<Position, String> {
        Ok(self.position)
    }
}

/// A message in the network. A head has the life of its exporter. Requests and replies have the life
/// of the importer that sent the request, and the number of the request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Head(u8, Vec<u8>),
    Request(u8, u64, Vec<u8>),
    Reply(u8, u64, Vec<u8>),
}

impl Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head(life, bytes) => {
                write!(f, "life {life} {:?} {bytes:?}", Head::from_bytes(bytes))
            }
            Self::Request(life, id, bytes) => {
                write!(f, "life {life} request {id} {:?}", Request::from_bytes(bytes))
            }
            Self::Reply(life, id, bytes) => {
                write!(f, "life {life} reply {id} {:?}", Reply::from_bytes(bytes))
            }
        }
    }
}

/// Maximum number of each fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// Messages that arrive twice.
    repeated: u8,
    /// Heads without a commit.
    heads: u8,
    /// Requests that fail.
    failed: u8,
    /// Transactions that fail.
    refused: u8,
    /// Pauses that end.
    pauses: u8,
    /// Units of time that pass for the exporter.
    ticks: u8,
    /// Restarts of the exporter.
    exporters: u8,
    /// Restarts of the importer.
    importers: u8,
}

/// The copy, as a program that drives an importer keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Table {
    /// The rows by key. They outlive the importer.
    rows: BTreeMap<u8, u8>,
    /// The keys by slot.
    keys: BTreeMap<u32, u8>,
    /// The number of commits after which the origin had these rows.
    commits: usize,
    /// True if the copy had a newer version before, or a version that the origin never had.
    is_wrong: bool,
}

impl Table {
    fn apply(&mut self, update: &Update, history: &[Version]) {
        if update.is_complete {
            self.keys.clear();
            self.rows.clear();
        }
        // A key may move to a slot that is in front of its old one.
        for entries in &update.pieces {
            for slot in entries.deleted.iter().chain(&entries.slots) {
                if let Some(key) = self.keys.remove(slot) {
                    self.rows.remove(&key);
                }
            }
        }
        for entries in &update.pieces {
            for (slot, row) in entries.slots.iter().zip(entries.rows.as_chunks().0) {
                let [key, value]: Row = *row;
                self.keys.insert(*slot, key);
                self.rows.insert(key, value);
            }
        }
        let commits = history.iter().position(|version| version.position == update.to);
        self.is_wrong |= commits.is_none_or(|commits| commits < self.commits);
        self.commits = commits.unwrap_or_default();
    }
}

/// The kind of message that an update was created from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Answer,
    Delta,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    history: usize,
    /// Number of commits of the origin.
    commits: usize,
    /// Number of commits before the last head, 0 if there was none.
    headed: usize,
    exporter: Exporter<Written>,
    encoder: HeadEncoder,
    /// The number of the last whole head.
    number: u64,
    importer: Importer,
    decoder: HeadDecoder,
    /// The exporter that the importer follows.
    followed: u8,
    /// Number of restarts.
    exporter_life: u8,
    importer_life: u8,
    /// True until the importer follows the exporter that runs now.
    has_notice: bool,
    network: BTreeSet<Message>,
    /// Requests that have neither a reply nor failed.
    asked: BTreeSet<u64>,
    applying: Option<(Source, Update)>,
    is_paused: bool,
    table: Table,
    faults: Faults,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Commit,
    SendHead,
    Deliver(Message),
    Repeat(Message),
    FailRequest(u64),
    Apply,
    RefuseUpdate,
    Retry,
    Tick,
    RestartExporter,
    Follow,
    RestartImporter,
}

/// The number of the first answer of each exporter, which is random in reality. Here it is always
/// the same, the worst case.
const FIRST_ANSWER: u64 = 7;
/// More than the slots, so that no answer is too large.
const MAX_ENTRIES: u64 = 10;

impl State {
    fn new(history: usize, faults: Faults) -> Self {
        let mut state = Self {
            history,
            commits: 1,
            headed: 0,
            exporter: Exporter::new(FIRST_ANSWER),
            encoder: HeadEncoder::default(),
            number: 0,
            importer: Importer::new(MAX_ENTRIES, false),
            decoder: HeadDecoder::default(),
            followed: 0,
            exporter_life: 0,
            importer_life: 0,
            has_notice: false,
            network: BTreeSet::new(),
            asked: BTreeSet::new(),
            applying: None,
            is_paused: false,
            table: Table::default(),
            faults,
        };
        let actions = state.importer.follow();
        state.take(Source::Answer, actions);
        state
    }

    fn take(&mut self, source: Source, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ask { id, request } => {
                    self.asked.insert(id);
                    let message = Message::Request(self.importer_life, id, request.to_bytes());
                    self.network.insert(message);
                }
                Action::Apply(update) => {
                    assert!(self.applying.is_none(), "two updates at once");
                    self.applying = Some((source, update));
                }
                Action::RetryLater => {
                    assert!(!self.is_paused, "two pauses at once");
                    self.is_paused = true;
                }
            }
        }
    }

    fn send_head(&mut self, history: &[Version]) {
        let now = &history[self.commits];
        let before = &history[self.headed];
        let has_delta = self.headed < self.commits && before.position.region == now.position.region;
        let delta = has_delta.then(|| {
            let written = now.changes(before.position).expect("it can be read");
            let rows = written.rows.concat();
            let entries = Entries { deleted: written.deleted, slots: written.slots, rows };
            Delta { from: written.from, entries }
        });
        let head = Head {
            number: 0,
            position: now.position,
            epoch: 1,
            rows: now.table().len() as u64,
            publisher: Publisher::Alive,
            schema: 1,
            committed_ns: 0,
            delta,
        };
        self.headed = self.commits;
        let bytes = self.encoder.encode(&head, || {
            self.number += 1;
            self.number
        });
        self.network.insert(Message::Head(self.exporter_life, bytes));
    }

    fn deliver(&mut self, message: &Message, history: &[Version]) {
        match message {
            Message::Head(life, bytes) if *life == self.followed => {
                let actions = match self.decoder.decode(bytes) {
                    Ok(Some(head)) => self.importer.head(head),
                    Ok(None) => self.importer.unknown_head(),
                    Err(_) => {
                        self.table.is_wrong = true;
                        vec![]
                    }
                };
                self.take(Source::Delta, actions);
            }
            Message::Head(..) => {}
            Message::Request(life, id, bytes) => {
                let request = Request::from_bytes(bytes).expect("a request");
                if request.answer == 0 {
                    self.encoder.begin();
                }
                let reply = self.exporter.reply(&request, &history[self.commits]);
                self.network.insert(Message::Reply(*life, *id, reply.to_bytes()));
            }
            Message::Reply(life, id, bytes) => {
                if *life == self.importer_life {
                    self.asked.remove(id);
                    let actions = self.importer.reply(*id, bytes, false);
                    self.take(Source::Answer, actions);
                }
            }
        }
    }

    fn step(&mut self, step: &Step, history: &[Version]) {
        match step {
            Step::Commit => self.commits += 1,
            Step::SendHead => {
                self.faults.heads -= u8::from(self.headed == self.commits);
                self.send_head(history);
            }
            Step::Deliver(message) => {
                self.network.remove(message);
                self.deliver(message, history);
            }
            Step::Repeat(message) => {
                self.faults.repeated -= 1;
                self.deliver(message, history);
            }
            Step::FailRequest(id) => {
                self.faults.failed -= 1;
                self.fail(*id);
            }
            Step::Apply => self.apply(history),
            Step::RefuseUpdate => {
                self.faults.refused -= 1;
                self.applying = None;
                let actions = self.importer.not_applied("no memory");
                self.take(Source::Answer, actions);
            }
            Step::Retry => {
                self.faults.pauses -= 1;
                self.retry();
            }
            Step::Tick => {
                self.faults.ticks -= 1;
                self.exporter.tick();
            }
            Step::RestartExporter => {
                self.faults.exporters -= 1;
                self.exporter = Exporter::new(FIRST_ANSWER);
                self.encoder = HeadEncoder::default();
                self.number = 0;
                self.exporter_life += 1;
                self.headed = 0;
                self.has_notice = true;
            }
            Step::Follow => {
                self.has_notice = false;
                self.followed = self.exporter_life;
                self.decoder = HeadDecoder::default();
                // The importer ignores the requests that are outstanding.
                self.asked.clear();
                let actions = self.importer.follow();
                self.take(Source::Answer, actions);
            }
            Step::RestartImporter => {
                self.faults.importers -= 1;
                self.importer = Importer::new(MAX_ENTRIES, true);
                self.importer_life += 1;
                self.followed = self.exporter_life;
                self.decoder = HeadDecoder::default();
                self.table.keys.clear();
                self.asked.clear();
                self.applying = None;
                self.is_paused = false;
                self.has_notice = false;
                let actions = self.importer.follow();
                self.take(Source::Answer, actions);
            }
        }
    }

    fn fail(&mut self, id: u64) {
        self.asked.remove(&id);
        let actions = self.importer.request_failed(id);
        self.take(Source::Answer, actions);
    }

    fn retry(&mut self) {
        self.is_paused = false;
        let actions = self.importer.retry();
        self.take(Source::Answer, actions);
    }

    fn apply(&mut self, history: &[Version]) {
        if let Some((_, update)) = self.applying.take() {
            self.table.apply(&update, history);
            let actions = self.importer.applied();
            self.take(Source::Delta, actions);
        }
    }

    /// Returns true if the copy has the rows of one version, and never had a newer one.
    fn is_one_version(&self, history: &[Version]) -> bool {
        let version = &history[self.table.commits];
        self.table.rows == version.table()
            && self.table.keys.iter().all(|(slot, key)| {
                version.rows[*slot as usize].is_some_and(|[other, _]| other == *key)
            })
    }

    /// Returns true if the copy gets the rows of the origin when the origin does not change, the
    /// exporter sends one head, and nothing fails from now on.
    fn heals(mut self, history: &[Version], are_old_messages_lost: bool) -> bool {
        if are_old_messages_lost {
            self.network.clear();
        }
        if self.has_notice {
            self.step(&Step::Follow, history);
        }
        let old = std::mem::take(&mut self.network);
        self.send_head(history);
        let head = self.network.pop_first().expect("a head");
        self.deliver(&head, history);
        self.network.extend(old);
        for _ in 0..MAX_STEPS {
            if let Some(message) = self.network.pop_first() {
                self.deliver(&message, history);
            } else if self.applying.is_some() {
                self.apply(history);
            } else if self.is_paused {
                self.exporter.tick();
                self.retry();
            } else if let Some(&id) = self.asked.first() {
                self.fail(id);
            } else {
                return self.table.commits == self.commits && self.is_one_version(history);
            }
        }
        false
    }
}

/// The origin's histories, the faults, and the check that is left out.
#[derive(Clone)]
struct Scenario {
    histories: Vec<Vec<Version>>,
    faults: Vec<Faults>,
    left_out: Option<Check>,
}

impl Scenario {
    /// Creates a scenario in which each history meets each of the sets of faults.
    fn new(histories: &[&[Commit]], faults: &[Faults]) -> Self {
        let history_of = |commits: &&[Commit]| {
            let mut history = vec![Version::default()];
            for commit in *commits {
                history.push(history[history.len() - 1].next(commit));
            }
            history
        };
        Self {
            histories: histories.iter().map(history_of).collect(),
            faults: faults.to_vec(),
            left_out: None,
        }
    }

    fn history(&self, state: &State) -> &[Version] {
        &self.histories[state.history]
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        LEFT_OUT.set(self.left_out);
        let states_of =
            |history| self.faults.iter().map(move |&faults| State::new(history, faults));
        (0..self.histories.len()).flat_map(states_of).collect()
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let faults = &state.faults;
        let mut add = |is_possible: bool, step: Step| {
            if is_possible {
                steps.push(step);
            }
        };
        add(state.commits + 1 < self.history(state).len(), Step::Commit);
        add(state.headed != state.commits || faults.heads > 0, Step::SendHead);
        for message in &state.network {
            add(true, Step::Deliver(message.clone()));
            add(faults.repeated > 0, Step::Repeat(message.clone()));
        }
        for &id in &state.asked {
            add(faults.failed > 0, Step::FailRequest(id));
        }
        add(state.applying.is_some(), Step::Apply);
        add(state.applying.is_some() && faults.refused > 0, Step::RefuseUpdate);
        add(state.is_paused && faults.pauses > 0, Step::Retry);
        add(faults.ticks > 0 && state.exporter.keeps_answers(), Step::Tick);
        add(faults.exporters > 0, Step::RestartExporter);
        add(state.has_notice, Step::Follow);
        add(faults.importers > 0, Step::RestartImporter);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        LEFT_OUT.set(self.left_out);
        let mut next = state.clone();
        next.step(&step, self.history(state));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the copy has the rows of one version", |scenario, state: &State| {
                state.is_one_version(scenario.history(state))
            }),
            Property::always("the copy does not go back", |_, state: &State| !state.table.is_wrong),
            Property::always(
                "late messages and a head lead to equal tables",
                |scenario: &Self, state: &State| {
                    LEFT_OUT.set(scenario.left_out);
                    state.clone().heals(scenario.history(state), false)
                },
            ),
            Property::always(
                "lost messages and a head lead to equal tables",
                |scenario: &Self, state: &State| {
                    LEFT_OUT.set(scenario.left_out);
                    state.clone().heals(scenario.history(state), true)
                },
            ),
            Property::sometimes("an answer of several pieces is applied", |_, state: &State| {
                state.applying.as_ref().is_some_and(|(_, update)| update.pieces.len() > 1)
            }),
            Property::sometimes(
                "the copy follows by an answer with changes",
                |_, state: &State| {
                    state.applying.as_ref().is_some_and(|(source, update)| {
                        *source == Source::Answer && !update.is_complete && !update.is_empty()
                    })
                },
            ),
            Property::sometimes("a delta is applied", |_, state: &State| {
                state.applying.as_ref().is_some_and(|(source, _)| *source == Source::Delta)
            }),
        ]
    }
}

/// Runs the scenario, which must hold, and runs it without each of the checks, which must fail.
fn check(name: &str, scenario: &Scenario, mutants: &[Check]) {
    let checker = scenario.clone().checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let survivors: Vec<Check> = mutants
        .iter()
        .copied()
        .filter(|&mutant| {
            let scenario = Scenario { left_out: Some(mutant), ..scenario.clone() };
            let checker = scenario.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
            let checker = checker.spawn_bfs().join();
            checker.discoveries().keys().all(|name| {
                let property = checker.model().property(name);
                !property.expectation.discovery_is_failure()
            })
        })
        .collect();
    println!(
        "model {name}: {} states, {} steps at most, mutants caught {} of {}",
        checker.unique_state_count(),
        checker.max_depth(),
        mutants.len() - survivors.len(),
        mutants.len()
    );
    assert!(survivors.is_empty(), "model {name} holds without {survivors:?}");
}

/// A table with two rows.
const CREATE: Commit = Commit::Recreate(&[(0, [1, 1]), (1, [2, 1])]);
/// The histories of one region.
const CHANGES: &[&[Commit]] = &[
    // An update, and a key that moves to another slot.
    &[CREATE, Commit::Write(&[(0, Some([1, 2]))]), Commit::Write(&[(1, None), (2, Some([2, 1]))])],
    // Two keys that swap their slots, and a deletion.
    &[CREATE, Commit::Write(&[(0, Some([2, 1])), (1, Some([1, 1]))]), Commit::Write(&[(1, None)])],
    // An insertion, which is deleted again while three slots are written.
    &[
        CREATE,
        Commit::Write(&[(2, Some([3, 1]))]),
        Commit::Write(&[(2, None), (1, Some([4, 1])), (0, None)]),
    ],
];
/// Short histories, for the scenarios with restarts.
const SHORT: &[&[Commit]] = &[
    &[CREATE, Commit::Write(&[(0, Some([2, 1])), (1, Some([1, 1]))])],
    &[CREATE, Commit::Write(&[(0, None), (1, Some([3, 1])), (2, Some([1, 2]))])],
];
/// The histories of several regions.
const REGIONS: &[&[Commit]] = &[
    // A table that is removed and created again, with changes between the same versions.
    &[
        CREATE,
        Commit::Write(&[(0, Some([1, 2]))]),
        Commit::Recreate(&[(1, [3, 1]), (2, [1, 1])]),
        Commit::Write(&[(1, None)]),
    ],
    // A table that is created three times.
    &[CREATE, Commit::Recreate(&[(0, [3, 1])]), Commit::Recreate(&[(1, [1, 1]), (2, [4, 1])])],
    // A table that grows between two changes.
    &[CREATE, Commit::Write(&[(1, None)]), Commit::Grow, Commit::Write(&[(1, Some([5, 1]))])],
];

/// A pause is allowed, and no other fault happens.
const NONE: Faults = Faults {
    repeated: 0,
    heads: 0,
    failed: 0,
    refused: 0,
    pauses: 1,
    ticks: 0,
    exporters: 0,
    importers: 0,
};

#[test]
fn copy_follows_the_changes_of_a_region() {
    let faults = [
        Faults { repeated: 1, ..NONE },
        Faults { failed: 1, ..NONE },
        Faults { heads: 1, ..NONE },
        Faults { refused: 1, ..NONE },
        Faults { ticks: 2, ..NONE },
    ];
    let mutants = [
        Check::HeadNumber,
        Check::DeltaBegins,
        Check::DeltaNewer,
        Check::AllPieces,
        Check::NewsAgain,
        Check::NewestHead,
        Check::RetryFailed,
    ];
    check("changes of a region", &Scenario::new(CHANGES, &faults), &mutants);
}

#[test]
fn copy_follows_a_table_that_is_created_again_and_grown() {
    let faults =
        [Faults { failed: 1, ..NONE }, Faults { heads: 1, ..NONE }, Faults { refused: 1, ..NONE }];
    let mutants = [Check::DeltaRegion, Check::Outstanding, Check::ReusedRegion, Check::Confirm];
    check("several regions", &Scenario::new(REGIONS, &faults), &mutants);
}

#[test]
fn copy_survives_restarts_of_exporter_and_importer() {
    let faults = [Faults { importers: 1, ticks: 1, ..NONE }, Faults { exporters: 1, ..NONE }];
    let mutants = [Check::AcceptsOlder, Check::RetryFailed];
    check("restarts", &Scenario::new(SHORT, &faults), &mutants);
}

#[test]
fn copy_does_not_mix_the_answers_of_two_exporters() {
    let faults = [Faults { exporters: 1, repeated: 1, pauses: 0, ..NONE }];
    check("two exporters", &Scenario::new(&SHORT[..1], &faults), &[Check::OneAnswer]);
}
