//! Runs a program: a publisher and the reference table carry out each step, and then all readers
//! are compared with the reference table.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::internals::lock::{Span, is_held};
use common::{Error, inspect, remove, sweep};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use tests::LIMIT;
use tests::model::operation::{After, Answer, Call, End, Object, Operation, Reply, Who};
use tests::model::reference::{Follows, History, Observed, Table};
use tests::model::shape::Shape;
use tests::process::Process;

use crate::generate::Place;
use crate::readers::{Reader, never_was};
use crate::seat::{Seat, raced};

/// Size of a private /dev/shm: enough for several regions that only slow readers still map.
pub const MEMORY: usize = 512 << 20;

thread_local! {
    /// Number of steps that the programs of this thread have carried out.
    pub static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// The expected effect of a step: another table, none, or a refusal.
type Expected = Result<Option<(Table, Follows)>, Answer>;

/// The readers that are attached during a step.
enum Watched {
    Not,
    Raced,
    Interrupted(u64, After),
}

/// A running program.
pub struct Runner {
    table: tests::table::Table,
    place: Place,
    /// True if /dev/shm is private to this test.
    is_confined: bool,
    seat: Option<Seat>,
    is_open: bool,
    is_typed: bool,
    is_full: bool,
    /// True if the region was unlinked or replaced without notice, so that readers learn of it by
    /// re-check only.
    is_disturbed: bool,
    /// The publisher's version.
    version: Option<u64>,
    history: History,
    readers: Vec<Reader>,
    /// Processes that forked and whose children still run.
    forked: Vec<Process>,
}

fn named(kind: &str, name: &str) -> PathBuf {
    format!("/dev/shm/tablecast.{kind}.{name}").into()
}

fn unlink(path: &Path) {
    if path.exists() {
        std::fs::remove_file(path).expect("an object of the test's own user");
    }
}

impl Runner {
    pub fn new(place: Place, is_confined: bool) -> Self {
        Self {
            table: tests::table::Table::new("model"),
            place,
            is_confined,
            seat: None,
            is_open: false,
            is_typed: false,
            is_full: false,
            is_disturbed: false,
            version: None,
            history: History::default(),
            readers: Vec::new(),
            forked: Vec::new(),
        }
    }

    fn has(&self, kind: &str) -> bool {
        named(kind, self.table.name()).exists()
    }

    /// Returns true if a publisher holds the lock object that has the name.
    fn is_locked(&self) -> bool {
        let lock = File::open(named("lock", self.table.name()));
        lock.is_ok_and(|lock| is_held(&lock, Span::WHOLE).unwrap())
    }

    /// Carries out a step and checks everything. Skips impossible steps: one that needs a publisher
    /// if there is none, a second `Open`, a typed publisher's `Reshape`.
    pub fn step(&mut self, operation: &Operation) {
        STEPS.set(STEPS.get() + 1);
        if operation.needs_publisher() != self.is_open
            && (operation.needs_publisher() || matches!(operation, Operation::Open { .. }))
        {
            return;
        }
        if self.is_typed && operation.is_reshape() {
            return;
        }
        match operation {
            Operation::Raced(inner) => self.publish(inner, Watched::Raced),
            Operation::Interrupted(at, after, inner) => {
                self.publish(inner, Watched::Interrupted(*at, *after));
            }
            Operation::Second => self.second(),
            Operation::Unlink(object) => self.unlink(*object),
            Operation::Remove => self.remove(),
            Operation::Sweep => self.sweep(),
            Operation::FullDisk(full) => self.fill_disk(*full),
            Operation::Attach(who) => self.attach(*who),
            Operation::Refresh => self.refresh_slow_readers(),
            _ => self.publish(operation, Watched::Not),
        }
        self.table.remember();
        self.check();
    }

    /// Returns the expected outcome of each call, and the expected effect of the step.
    fn expect(&self, operation: &Operation) -> (Vec<Answer>, Expected) {
        let table = || self.history.table().expect("a published table").clone();
        let mut calls = Vec::new();
        let next = match operation {
            Operation::Open { shape, capacity, max_capacity, .. } if self.has("table") => {
                let has_same_shape = table().shape == *shape;
                let follows = if has_same_shape { Follows::Elsewhere } else { Follows::InPlace };
                let opened = table().opened(*shape, *capacity, *max_capacity);
                opened.map(|table| Some((table, follows)))
            }
            Operation::Open { shape, capacity, max_capacity, .. } => {
                Ok(Some((Table::new(*shape, *capacity, *max_capacity), Follows::Anew)))
            }
            Operation::Transaction(program, end) => {
                let mut table = table();
                let (answers, is_version) = table.transact(program);
                calls = answers;
                let commits = is_version && *end == End::Commit;
                Ok(commits.then_some((table, Follows::InPlace)))
            }
            Operation::Reshape(shape, capacity, rows) => {
                let reshaped = table().reshaped(*shape, *capacity, rows.as_deref());
                reshaped.map(|table| Some((table, Follows::InPlace)))
            }
            _ => Ok(None),
        };
        (calls, next)
    }

    /// Carries out a step of the publisher.
    fn publish(&mut self, operation: &Operation, watched: Watched) {
        let (calls, expected) = self.expect(operation);
        let before = self.history.last();
        let is_taken_over = self.has("table");
        let result = match &expected {
            Ok(next) => {
                if let Some((table, follows)) = next.clone() {
                    self.history.announce(table, follows);
                }
                Answer::Done
            }
            Err(answer) => answer.clone(),
        };
        let announced = matches!(expected, Ok(Some(_)));
        let mut seen = Vec::new();
        let name = self.table.name().to_owned();
        let reply = self.carry_out(operation, watched, &name, &mut seen);
        match &reply {
            Some(reply) => {
                assert_eq!(reply.calls, calls, "the calls of {operation:?}");
                let is_limited = self.is_full && reply.result == Answer::Limit;
                assert!(
                    reply.result == result || is_limited,
                    "{operation:?}: {:?}, not {result:?}",
                    reply.result
                );
                let is_done = reply.result == Answer::Done;
                self.note(operation, reply, is_done, is_taken_over);
                match (announced, is_done) {
                    (true, true) => self.history.confirm(self.version.expect("an open publisher")),
                    (true, false) => self.history.withdraw(),
                    (false, _) => {}
                }
                if let Some(table) = &reply.table {
                    let expected = self.history.table().expect("a published table");
                    assert_eq!(
                        table.rows,
                        expected.digest(),
                        "the publisher's rows after {operation:?}"
                    );
                    assert_eq!(
                        table.capacity, expected.capacity,
                        "the capacity after {operation:?}"
                    );
                }
            }
            None => self.settle_after_kill(operation, announced, &seen),
        }
        for one_reader in &seen {
            let mut from = before;
            for one in one_reader {
                let place = self.history.find(from, one);
                from = place.unwrap_or_else(|| {
                    never_was(&self.history, before, one, "what was seen during the step")
                });
            }
        }
    }

    /// Carries out a step. Without a reply, the publisher was killed.
    fn carry_out(
        &mut self,
        operation: &Operation,
        watched: Watched,
        name: &str,
        seen: &mut Vec<Vec<Observed>>,
    ) -> Option<Reply> {
        if matches!(operation, Operation::Open { .. }) {
            self.seat = Some(Seat::new(self.place, name));
        }
        let mut seat = self.seat.take().expect("an open publisher");
        // The child of a traced process would stop at its marks forever.
        let is_fork = matches!((operation, &seat), (Operation::Fork, Seat::Traced(_)));
        if is_fork || matches!(operation, Operation::Kill) {
            seat.kill();
            return Some(Reply { calls: Vec::new(), result: Answer::Done, table: None });
        }
        let (seat, reply) = match watched {
            Watched::Not => {
                let reply = seat.perform(operation);
                (seat, reply)
            }
            Watched::Raced => {
                // More readers than processors while the first rows are written: a reader that is
                // suspended between two loads of one snapshot finds a table that grows during the
                // snapshot.
                let is_empty = self.history.table().is_none_or(|table| table.rows.is_empty());
                let racers = if is_empty { 6 } else { 2 };
                let (reply, raced) = raced(name, racers, || seat.perform(operation));
                *seen = raced;
                (seat, reply)
            }
            Watched::Interrupted(at, after) => {
                let Self { readers, history, table, .. } = self;
                let last = history.table().map(|table| table.shape);
                seen.push(Vec::new());
                let seen = &mut seen[0];
                seat.interrupt(operation, at, after, || {
                    for reader in readers.iter_mut().filter(|reader| reader.who == Who::Untyped) {
                        reader.refresh();
                        seen.push(reader.observe());
                        seen.extend(reader.snapshot());
                    }
                    let shape = last.unwrap_or(Shape::Pair);
                    match Reader::attach(table.name(), Who::Untyped, shape, history) {
                        Ok(new) => seen.extend(new.map(|new| new.observe())),
                        Err(Error::NotFound { .. }) => {}
                        Err(error) => {
                            panic!("cannot attach in the middle of {operation:?}: {error}")
                        }
                    }
                })?
            }
        };
        match (operation, seat) {
            (Operation::Fork, Seat::Child(process)) => self.forked.push(process),
            (Operation::Fork | Operation::Close | Operation::Keep | Operation::Drop, _) => {}
            (_, seat) => self.seat = Some(seat),
        }
        Some(reply)
    }

    /// Records the effect of a step on the publisher.
    fn note(&mut self, operation: &Operation, reply: &Reply, is_done: bool, is_taken_over: bool) {
        let version = reply.table.as_ref().map(|table| table.version);
        let before = self.version.unwrap_or(self.history.version());
        match operation {
            Operation::Open { typed, .. } => {
                (self.is_open, self.is_typed) = (is_done, *typed);
                if is_done && !is_taken_over {
                    assert_eq!(version, Some(1), "the version of a new table");
                    self.is_disturbed = false;
                    // These readers learn of another table with this name only late.
                    self.readers.retain(|reader| reader.who != Who::Waiting);
                } else if is_done {
                    assert!(version > Some(before), "{version:?} after {before}");
                }
                if !is_done {
                    self.seat = None;
                }
            }
            Operation::Close
            | Operation::Keep
            | Operation::Drop
            | Operation::Kill
            | Operation::Fork => {
                self.is_open = false;
                if matches!(operation, Operation::Close) && !self.is_disturbed {
                    assert!(
                        !self.has("table") && !self.has("lock"),
                        "the table exists after close"
                    );
                }
            }
            _ => {
                let made_one = is_done && self.history.table().is_some();
                assert!(
                    version >= Some(before) && made_one || !is_done,
                    "{version:?} after {before}"
                );
            }
        }
        self.version = version;
    }

    /// Determines from the readers whether a publisher that was killed during a step had committed.
    fn settle_after_kill(
        &mut self,
        operation: &Operation,
        announced: bool,
        seen: &[Vec<Observed>],
    ) {
        self.is_open = false;
        self.version = None;
        self.is_disturbed |= matches!(operation, Operation::Reshape(..) | Operation::Maintain);
        if !announced {
            return;
        }
        let last = self.history.last();
        let seen = seen.iter().flatten().last();
        let seen = seen.filter(|seen| self.history.is_at(last, seen));
        // Both tables may have the same schema and rows.
        let fits_both = seen.is_some_and(|seen| self.history.is_at(last - 1, seen));
        match seen {
            Some(seen) if !fits_both => self.history.confirm(seen.version),
            _ => self.history.withdraw(),
        }
        let may_have_grown = matches!(operation, Operation::Transaction(..));
        if let (true, Ok(left)) = (fits_both || may_have_grown, inspect(self.table.name(), None)) {
            // The publisher may have died after the growth and before the commit, and before it
            // marked the region that it replaced.
            self.is_disturbed |= self.history.set_capacity(left.capacity);
        }
    }

    /// Opens a second publisher. It is refused, unless the names of all objects of the first one
    /// are gone; the first one has then lost the table. A refused publisher may have left a lock
    /// object, which the first one does not hold before its next maintenance.
    fn second(&mut self) {
        let table = self.history.table().expect("a published table").clone();
        let (shape, capacity) = (table.shape, table.capacity);
        let open = Operation::Open { shape, capacity, max_capacity: None, typed: false };
        let is_refused = self.has("table") || self.is_locked();
        let mut second = Seat::new(self.place, self.table.name());
        let reply = second.perform(&open);
        if is_refused || reply.result != Answer::Done {
            let expected = if is_refused { Answer::Active } else { Answer::Limit };
            assert_eq!(reply.result, expected, "opening a second publisher");
            return;
        }
        let mut first = self.seat.replace(second).expect("an open publisher");
        let commit = Operation::Transaction(vec![Call::Upsert(0, 1)], End::Commit);
        for step in [&Operation::Maintain, &commit] {
            assert_eq!(
                first.perform(step).result,
                Answer::Lost,
                "{step:?} of a publisher that lost its table"
            );
        }
        assert_eq!(first.perform(&Operation::Close).result, Answer::Done, "closing a lost table");
        assert!(self.has("table") && self.has("lock"), "the second publisher's objects");
        self.history.announce(Table::new(shape, capacity, None), Follows::Anew);
        self.history.confirm(1);
        self.note(&open, &reply, true, false);
    }

    fn unlink(&mut self, object: Object) {
        let name = self.table.name();
        let path = match object {
            Object::Lock => named("lock", name),
            Object::Region => named("table", name),
            Object::Registry => {
                let id = inspect(name, None).map_or(0, |info| info.registry_id);
                format!("/dev/shm/tablecast.subs.{id:016x}").into()
            }
        };
        self.is_disturbed |= path.exists();
        unlink(&path);
    }

    fn remove(&mut self) {
        let is_there = self.has("table") || self.has("lock");
        let expected = match (is_there, self.is_open) {
            (false, _) => Answer::NotFound,
            (true, true) => Answer::Active,
            (true, false) => Answer::Done,
        };
        let answer = Answer::from(remove(self.table.name()));
        assert!(
            answer == expected || self.is_full && answer == Answer::Limit,
            "remove: {answer:?}, not {expected:?}"
        );
        if expected == Answer::Done && answer == expected {
            assert!(!self.has("table") && !self.has("lock"), "the table exists after remove");
        }
    }

    /// Sweeps a private /dev/shm. A shared one may have orphans of other users of the machine.
    fn sweep(&mut self) {
        if self.is_confined {
            let swept = sweep().expect("a sweep");
            assert!(swept.kept.is_empty(), "not swept: {:?}", swept.kept);
        }
    }

    fn fill_disk(&mut self, full: bool) {
        match &mut self.seat {
            _ if self.is_confined => {
                let memory = statvfs("/dev/shm").expect("a file system");
                let used = memory.blocks() - memory.blocks_free();
                let size = if full { used * memory.fragment_size() } else { MEMORY as u64 };
                let size = format!("size={}", size.max(1));
                let none = None::<&str>;
                mount(none, "/dev/shm", none, MsFlags::MS_REMOUNT, Some(size.as_str()))
                    .expect("the private mount of this test");
                self.is_full = full;
            }
            Some(seat @ (Seat::Child(_) | Seat::Traced(_))) => {
                seat.perform(&Operation::FullDisk(full));
                self.is_full = full;
            }
            _ => {}
        }
    }

    fn attach(&mut self, who: Who) {
        let Some(table) = self.history.table() else {
            return;
        };
        let is_there = self.has("table");
        match Reader::attach(self.table.name(), who, table.shape, &self.history) {
            Ok(new) => {
                assert!(is_there || new.is_none(), "attached to a table that does not exist");
                self.readers.retain(|reader| reader.who != who);
                self.readers.extend(new);
            }
            Err(Error::NotFound { .. }) if !is_there => {}
            Err(error) => panic!("{who:?} cannot attach: {error}"),
        }
    }

    fn refresh_slow_readers(&mut self) {
        for reader in self.readers.iter_mut().filter(|reader| is_slow(reader.who)) {
            reader.refresh();
            reader.check(&self.history);
        }
    }

    /// Compares all readers and a new one with the reference table.
    fn check(&mut self) {
        if let Some(shape) = self.history.table().map(|table| table.shape)
            && self.has("table")
        {
            for who in [Who::Untyped, Who::Typed, Who::Waiting, Who::Slow, Who::SlowTyped] {
                if self.readers.iter().all(|reader| reader.who != who) {
                    self.attach(who);
                }
            }
            let new = Reader::attach(self.table.name(), Who::Untyped, shape, &self.history);
            let new = new.expect("an existing table").expect("untyped readers fit all schemas");
            let seen = new.observe();
            if !self.history.is_at(self.history.last(), &seen) {
                never_was(&self.history, self.history.last(), &seen, "the table of a new reader");
            }
            if self.is_open {
                assert_eq!(Some(seen.version), self.version, "a new reader's version");
            }
        }
        let mut readers = std::mem::take(&mut self.readers);
        for reader in readers.iter_mut().filter(|reader| !is_slow(reader.who)) {
            self.settle(reader);
        }
        self.readers = readers;
    }

    /// Refreshes a reader until it has the table that was committed last.
    fn settle(&self, reader: &mut Reader) {
        let begun = Instant::now();
        let shape = self.history.table().map(|table| table.shape);
        loop {
            reader.refresh();
            reader.check(&self.history);
            if reader.is_typed() && Some(reader.shape()) != shape {
                return;
            }
            let knows_state = reader.subscriber().publisher_state().is_alive() == self.is_open;
            if knows_state && reader.is_current(&self.history, self.version) {
                return;
            }
            if reader.who == Who::Waiting && (self.is_disturbed || !knows_state) {
                return;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{:?} stays at {:?}, {:?}; committed: {}",
                reader.who,
                reader.observe(),
                reader.subscriber().publisher_state(),
                self.history.describe(self.history.last())
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends a program. Nothing is left after one sweep.
    pub fn finish(mut self) {
        if self.is_full {
            self.fill_disk(false);
        }
        self.refresh_slow_readers();
        if self.is_open {
            self.publish(&Operation::Close, Watched::Not);
        }
        self.readers.clear();
        for process in &mut self.forked {
            process.finish();
        }
        if self.has("table") || self.has("lock") {
            self.remove();
        }
        if self.is_confined {
            self.sweep();
            let left: Vec<_> =
                std::fs::read_dir("/dev/shm").expect("the reader is attached").collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        } else {
            // Only a sweep removes a registry whose region was unlinked, and tests do not sweep a
            // shared /dev/shm.
            assert!(!self.has("table") && !self.has("lock"), "left behind");
        }
    }
}

fn is_slow(who: Who) -> bool {
    matches!(who, Who::Slow | Who::SlowTyped)
}
