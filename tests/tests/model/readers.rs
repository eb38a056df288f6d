//! The readers that stay attached, and the checks of each.

use std::collections::BTreeMap;
use std::time::Duration;

use common::bytemuck::{bytes_of, pod_read_unaligned};
use common::{Cause, Change, Error, Result, Row, RowRef, Snapshot, Subscriber, UntypedSubscriber};
use tests::model::operation::Who;
use tests::model::reference::{History, Observed};
use tests::model::shape::Shape;
use tests::with_row_type;

/// Re-check interval of readers that must soon notice every change of the table.
const SOON: Duration = Duration::from_millis(1);

/// A change with its rows as bytes.
type Told = Change<Vec<u8>>;

/// A subscriber, typed or untyped.
pub trait Reads {
    fn untyped(&self) -> &UntypedSubscriber;
    fn refresh(&mut self) -> Result<(Vec<Told>, Cause)>;
    fn wait(&mut self) -> Result<(Vec<Told>, Cause)>;
    fn told(&self) -> Vec<Told>;
    fn rows(&self) -> Vec<Vec<u8>>;
    fn get(&self, shape: Shape, key: u64) -> Option<Vec<u8>>;
    /// Returns the row of a key in the schema that the table has now, and that schema.
    fn latest(&self, shape: Shape, key: u64) -> Result<Option<(Shape, Vec<u8>)>>;
    /// Returns the version, the schema that the table has now, and all rows.
    fn snapshot(&self) -> Result<(u64, Shape, Vec<Vec<u8>>)>;
}

fn change<T>(change: Change<T>, bytes: impl Fn(T) -> Vec<u8>) -> Told {
    match change {
        Change::Created(new) => Change::Created(bytes(new)),
        Change::Updated { old, new } => Change::Updated { old: bytes(old), new: bytes(new) },
        Change::Deleted(old) => Change::Deleted(bytes(old)),
    }
}

fn untyped_bytes(row: RowRef<'_>) -> Vec<u8> {
    row.bytes().to_vec()
}

fn typed_bytes<R: Row>(row: &R) -> Vec<u8> {
    bytes_of(row).to_vec()
}

impl Reads for UntypedSubscriber {
    fn untyped(&self) -> &UntypedSubscriber {
        self
    }
    fn refresh(&mut self) -> Result<(Vec<Told>, Cause)> {
        let cause = self.refresh()?.cause();
        Ok((self.told(), cause))
    }
    fn wait(&mut self) -> Result<(Vec<Told>, Cause)> {
        let cause = self.wait(Some(Duration::ZERO))?.cause();
        Ok((self.told(), cause))
    }
    fn told(&self) -> Vec<Told> {
        self.changes().iter().map(|one| change(one, untyped_bytes)).collect()
    }
    fn rows(&self) -> Vec<Vec<u8>> {
        self.iter().map(untyped_bytes).collect()
    }
    fn get(&self, shape: Shape, key: u64) -> Option<Vec<u8>> {
        self.get(&shape.key(key)).map(untyped_bytes)
    }
    fn latest(&self, shape: Shape, key: u64) -> Result<Option<(Shape, Vec<u8>)>> {
        let row = self.latest(&shape.key(key))?;
        Ok(row.map(|row| (Shape::of(row.schema()), row.bytes().to_vec())))
    }
    fn snapshot(&self) -> Result<(u64, Shape, Vec<Vec<u8>>)> {
        let mut snapshot = Snapshot::default();
        let version = self.snapshot(&mut snapshot)?;
        let shape = Shape::of(snapshot.schema().expect("a filled snapshot"));
        Ok((version, shape, snapshot.iter().map(untyped_bytes).collect()))
    }
}

impl<R: Row> Reads for Subscriber<R> {
    fn untyped(&self) -> &UntypedSubscriber {
        self.untyped()
    }
    fn refresh(&mut self) -> Result<(Vec<Told>, Cause)> {
        let cause = self.refresh()?.cause();
        Ok((self.told(), cause))
    }
    fn wait(&mut self) -> Result<(Vec<Told>, Cause)> {
        let cause = self.wait(Some(Duration::ZERO))?.cause();
        Ok((self.told(), cause))
    }
    fn told(&self) -> Vec<Told> {
        self.changes().iter().map(|one| change(one, typed_bytes)).collect()
    }
    fn rows(&self) -> Vec<Vec<u8>> {
        self.iter().map(typed_bytes).collect()
    }
    fn get(&self, shape: Shape, key: u64) -> Option<Vec<u8>> {
        let row: R = pod_read_unaligned(&shape.row(key, 0));
        self.get(&row.key()).map(typed_bytes)
    }
    fn latest(&self, shape: Shape, key: u64) -> Result<Option<(Shape, Vec<u8>)>> {
        let row: R = pod_read_unaligned(&shape.row(key, 0));
        Ok(self.latest(&row.key())?.map(|row| (shape, typed_bytes(&row))))
    }
    fn snapshot(&self) -> Result<(u64, Shape, Vec<Vec<u8>>)> {
        let mut rows = Vec::new();
        let version = self.snapshot(&mut rows)?;
        let shape = Shape::of(self.untyped().schema());
        Ok((version, shape, rows.iter().map(typed_bytes).collect()))
    }
}

fn by_key(shape: Shape, rows: Vec<Vec<u8>>) -> BTreeMap<u64, Vec<u8>> {
    let count = rows.len();
    let rows = rows.into_iter().map(|row| (shape.number(&row), row));
    let rows: BTreeMap<_, _> = rows.collect();
    assert_eq!(rows.len(), count, "a key has two rows");
    rows
}

/// A reader, and the copy that results from its changes alone.
pub struct Reader {
    pub who: Who,
    reads: Box<dyn Reads>,
    mirror: BTreeMap<u64, Vec<u8>>,
    shape: Shape,
    /// Index in the history of the table that it had last.
    at: usize,
}

impl Reader {
    /// Attaches to a table. A typed reader is `None` if `shape` has no Rust type.
    pub fn attach(name: &str, who: Who, shape: Shape, history: &History) -> Result<Option<Self>> {
        let recheck = match who {
            Who::Waiting => Duration::from_secs(1),
            _ => SOON,
        };
        let reads: Option<Result<Box<dyn Reads>>> = match who {
            Who::Typed | Who::SlowTyped => with_row_type!(shape, R => {
                let opened = Subscriber::<R>::builder(name).recheck(recheck).open();
                opened.map(|reads| Box::new(reads) as _)
            }),
            _ => {
                let opened = UntypedSubscriber::builder(name).recheck(recheck).open();
                Some(opened.map(|reads| Box::new(reads) as _))
            }
        };
        let Some(reads) = reads.transpose()? else {
            return Ok(None);
        };
        let mut reader = Self {
            who,
            shape: Shape::of(reads.untyped().schema()),
            mirror: BTreeMap::new(),
            reads,
            at: history.last(),
        };
        reader.apply(reader.reads.told());
        Ok(Some(reader))
    }

    pub fn is_typed(&self) -> bool {
        matches!(self.who, Who::Typed | Who::SlowTyped)
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn subscriber(&self) -> &UntypedSubscriber {
        self.reads.untyped()
    }

    /// Refreshes and applies the changes to the mirror. Returns true if anything changed. A typed
    /// reader keeps its copy while the table has another schema.
    pub fn refresh(&mut self) -> bool {
        let refreshed = match self.who {
            Who::Waiting => self.reads.wait(),
            _ => self.reads.refresh(),
        };
        let (told, cause) = match refreshed {
            Ok(refreshed) => refreshed,
            Err(Error::SchemaMismatch { .. }) if self.is_typed() => return false,
            Err(error) => panic!("{:?} cannot refresh: {error}", self.who),
        };
        let shape = Shape::of(self.subscriber().schema());
        if shape != self.shape {
            assert_ne!(cause, Cause::Nothing, "{:?} is not told of schema {shape:?}", self.who);
            let old = std::mem::replace(&mut self.shape, shape);
            self.apply_across(old, told);
        } else {
            assert_eq!(cause == Cause::Rows, !told.is_empty(), "{:?}: the cause", self.who);
            self.apply(told);
        }
        cause != Cause::Nothing
    }

    fn apply(&mut self, told: Vec<Told>) {
        let mut keys = std::collections::BTreeSet::new();
        for one in told {
            let (key, before, after) = match &one {
                Change::Created(new) => (self.shape.number(new), None, Some(new)),
                Change::Updated { old, new } => {
                    assert_ne!(old, new, "an update without a change");
                    (self.shape.number(new), Some(old), Some(new))
                }
                Change::Deleted(old) => (self.shape.number(old), Some(old), None),
            };
            assert!(keys.insert(key), "{:?}: key {key} changes twice", self.who);
            let had = match after {
                Some(new) => self.mirror.insert(key, new.clone()),
                None => self.mirror.remove(&key),
            };
            assert_eq!(had.as_ref(), before, "{:?}: the old row of key {key}", self.who);
        }
    }

    /// Applies changes that lead from rows of `old` to rows of another schema.
    fn apply_across(&mut self, old: Shape, told: Vec<Told>) {
        let mut rows = std::mem::take(&mut self.mirror);
        let mut new_rows = Vec::new();
        for one in told {
            let before = match one {
                Change::Created(new) => {
                    new_rows.push((None, new));
                    continue;
                }
                Change::Updated { old: before, new } => {
                    new_rows.push((old.same_values(&before, self.shape), new));
                    before
                }
                Change::Deleted(before) => before,
            };
            let had = rows.remove(&old.number(&before));
            assert_eq!(had, Some(before), "{:?}: an old row of another schema", self.who);
        }
        let convert = |(key, row): (u64, Vec<u8>)| {
            let converted = old.same_values(&row, self.shape);
            (key, converted.expect("a row that cannot be converted is deleted"))
        };
        self.mirror = rows.into_iter().map(convert).collect();
        for (before, new) in new_rows {
            let is_change = old.retypes(self.shape) || before.as_ref() != Some(&new);
            assert!(is_change, "{:?}: an update that changes nothing", self.who);
            let had = self.mirror.insert(self.shape.number(&new), new);
            assert_eq!(had, None, "{:?}: a created row existed before", self.who);
        }
    }

    /// Returns the local copy. Checks that `iter`, `get`, `len` and the mirror agree.
    pub fn observe(&self) -> Observed {
        let rows = by_key(self.shape, self.reads.rows());
        assert_eq!(rows.len(), self.subscriber().len(), "{:?}: len", self.who);
        for (key, row) in &rows {
            assert_eq!(self.reads.get(self.shape, *key).as_ref(), Some(row), "get of key {key}");
        }
        let absent = (0..).find(|key| !rows.contains_key(key)).unwrap_or(0);
        assert_eq!(self.reads.get(self.shape, absent), None, "get of key {absent}");
        assert_eq!(rows, self.mirror, "{:?}: the copy from changes", self.who);
        let version = self.subscriber().version();
        Observed { version, shape: self.shape, rows }
    }

    /// Returns a snapshot of the table, or `None` for a typed reader of a table that now has another
    /// schema.
    pub fn snapshot(&self) -> Option<Observed> {
        let (version, shape, rows) = self.answer("snapshot", self.reads.snapshot())?;
        Some(Observed { version, shape, rows: by_key(shape, rows) })
    }

    /// Returns an answer from shared memory, or `None` for a typed reader of a table that now has
    /// another schema.
    fn answer<T>(&self, what: &str, answer: Result<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(Error::SchemaMismatch { .. }) if self.is_typed() => None,
            Err(error) => panic!("{:?}: no {what}: {error}", self.who),
        }
    }

    /// Checks the local copy, a snapshot and `latest` of some keys: each is a table of the history,
    /// and no older than the previous one.
    pub fn check(&mut self, history: &History) {
        let copy = self.observe();
        self.at = self.place(history, self.at, &copy, "local copy");
        if let Some(snapshot) = self.snapshot() {
            self.place(history, self.at, &snapshot, "snapshot");
        }
        let present = copy.rows.keys().copied();
        let some = present.step_by(copy.rows.len() / 20 + 1);
        for key in some.chain(0..3).chain([u64::from(u32::MAX)]) {
            let latest = self.reads.latest(self.shape, key);
            if let Some(row) = self.answer("latest", latest) {
                assert!(
                    history.had(self.at, self.shape, key, row.as_ref()),
                    "{:?}: latest of key {key} is {row:?}",
                    self.who
                );
            }
        }
    }

    /// Returns the index of an observed table in the history.
    fn place(&self, history: &History, from: usize, seen: &Observed, what: &str) -> usize {
        let place = history.find(from, seen);
        place.unwrap_or_else(|| never_was(history, from, seen, &format!("{:?}'s {what}", self.who)))
    }

    /// Returns true if the local copy is the table that was committed last.
    pub fn is_current(&self, history: &History, version: Option<u64>) -> bool {
        let reads = self.subscriber();
        version.is_none_or(|version| reads.version() == version)
            && history.is_at(history.last(), &self.observe())
    }
}

/// Panics because of a table that was never committed.
pub fn never_was(history: &History, from: usize, seen: &Observed, what: &str) -> ! {
    use tests::model::reference::brief;
    let Observed { version, shape, rows } = seen;
    let count = rows.len();
    let rows: Vec<_> = rows.iter().take(12).map(|(key, row)| (key, brief(row))).collect();
    panic!(
        "{what} is not a committed table: version {version}: {count} rows of {shape:?} {rows:?}\ncommitted:{}",
        history.describe(from)
    )
}
