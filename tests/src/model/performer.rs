//! Carries out the steps of a publisher, in the test's process or in a child.

use std::collections::BTreeMap;
use std::mem::forget;

use common::{
    Publisher, PublisherBuilder, Result, Row, RowBuf, Transaction, UntypedPublisher,
    UntypedTransaction,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::operation::{Answer, Call, End, Operation, Published, Reply, digest};
use super::shape::Shape;
use crate::with_row_type;

/// Number of slots of the registry: fewer than there are subscribers, so that some get no slot.
const SLOTS: usize = 4;

/// A transaction, typed or not, over rows as bytes.
trait Transact {
    fn insert(&mut self, row: &[u8]) -> Result<()>;
    fn update(&mut self, row: &[u8]) -> Result<()>;
    fn upsert(&mut self, row: &[u8]) -> Result<()>;
    /// Deletes the key of `row`.
    fn delete(&mut self, shape: Shape, row: &[u8]) -> Result<()>;
    fn clear(&mut self);
    fn replace_with(&mut self, rows: &[Vec<u8>]) -> Result<()>;
    fn commit(self) -> Result<u64>;
}

impl Transact for UntypedTransaction<'_> {
    fn insert(&mut self, row: &[u8]) -> Result<()> {
        self.insert(row)
    }
    fn update(&mut self, row: &[u8]) -> Result<()> {
        self.update(row)
    }
    fn upsert(&mut self, row: &[u8]) -> Result<()> {
        self.upsert(row)
    }
    fn delete(&mut self, shape: Shape, row: &[u8]) -> Result<()> {
        self.delete(&shape.key(shape.number(row)))
    }
    fn clear(&mut self) {
        self.clear();
    }
    fn replace_with(&mut self, rows: &[Vec<u8>]) -> Result<()> {
        self.replace_with(rows)
    }
    fn commit(self) -> Result<u64> {
        self.commit()
    }
}

fn typed<R: Row>(row: &[u8]) -> R {
    common::bytemuck::pod_read_unaligned(row)
}

impl<R: Row> Transact for Transaction<'_, R> {
    fn insert(&mut self, row: &[u8]) -> Result<()> {
        self.insert(&typed(row))
    }
    fn update(&mut self, row: &[u8]) -> Result<()> {
        self.update(&typed(row))
    }
    fn upsert(&mut self, row: &[u8]) -> Result<()> {
        self.upsert(&typed(row))
    }
    fn delete(&mut self, _: Shape, row: &[u8]) -> Result<()> {
        self.delete(&typed::<R>(row).key())
    }
    fn clear(&mut self) {
        self.clear();
    }
    fn replace_with(&mut self, rows: &[Vec<u8>]) -> Result<()> {
        let rows: Vec<R> = rows.iter().map(|row| typed(row)).collect();
        self.replace_with(&rows)
    }
    fn commit(self) -> Result<u64> {
        self.commit()
    }
}

fn transact<T: Transact>(
    mut tx: T,
    shape: Shape,
    capacity: usize,
    calls: &[Call],
    end: End,
    moment: &dyn Fn(),
) -> (Vec<Answer>, Answer) {
    let rows = |rows: &[(u64, u64)]| -> Vec<Vec<u8>> {
        let rows = rows.iter().take(capacity);
        rows.map(|(key, value)| shape.row(*key, *value)).collect()
    };
    let mut call = |call: &Call| match call {
        Call::Insert(key, value) => tx.insert(&shape.row(*key, *value)),
        Call::Update(key, value) => tx.update(&shape.row(*key, *value)),
        Call::Upsert(key, value) => tx.upsert(&shape.row(*key, *value)),
        Call::Delete(key) => tx.delete(shape, &shape.row(*key, 0)),
        Call::Clear => {
            tx.clear();
            Ok(())
        }
        Call::ReplaceWith(new) => tx.replace_with(&rows(new)),
        Call::Fill(count, value) => {
            (0..*count).try_for_each(|key| tx.upsert(&shape.row(key, *value)))
        }
    };
    let answers = calls.iter().map(|one| call(one).into()).collect();
    moment();
    let result = match end {
        End::Commit => tx.commit().into(),
        End::Abort => {
            drop(tx);
            Answer::Done
        }
        End::Forget => {
            forget(tx);
            Answer::Done
        }
    };
    moment();
    (answers, result)
}

/// A publisher, typed or not.
trait Publish {
    fn untyped(&self) -> &UntypedPublisher;
    fn transact(
        &mut self,
        shape: Shape,
        calls: &[Call],
        end: End,
        moment: &dyn Fn(),
    ) -> (Vec<Answer>, Answer);
    fn reshape(&mut self, shape: Shape, capacity: usize, rows: &[Vec<u8>]) -> Result<u64>;
    fn maintain(&mut self) -> Result<()>;
    fn close(self: Box<Self>) -> Result<()>;
    fn keep(self: Box<Self>) -> Result<()>;
    fn rows(&self) -> Vec<RowBuf>;
}

impl Publish for UntypedPublisher {
    fn untyped(&self) -> &UntypedPublisher {
        self
    }
    fn transact(
        &mut self,
        shape: Shape,
        calls: &[Call],
        end: End,
        moment: &dyn Fn(),
    ) -> (Vec<Answer>, Answer) {
        let capacity = self.max_capacity();
        transact(self.begin(), shape, capacity, calls, end, moment)
    }
    fn reshape(&mut self, shape: Shape, capacity: usize, rows: &[Vec<u8>]) -> Result<u64> {
        self.reshape(shape.schema().clone(), capacity, rows)
    }
    fn maintain(&mut self) -> Result<()> {
        self.maintain()
    }
    fn close(self: Box<Self>) -> Result<()> {
        (*self).close()
    }
    fn keep(self: Box<Self>) -> Result<()> {
        self.close_and_keep()
    }
    fn rows(&self) -> Vec<RowBuf> {
        self.iter().collect::<Result<_>>().expect("an intact table")
    }
}

impl<R: Row> Publish for Publisher<R> {
    fn untyped(&self) -> &UntypedPublisher {
        self.untyped()
    }
    fn transact(
        &mut self,
        shape: Shape,
        calls: &[Call],
        end: End,
        moment: &dyn Fn(),
    ) -> (Vec<Answer>, Answer) {
        let capacity = self.max_capacity();
        transact(self.begin(), shape, capacity, calls, end, moment)
    }
    fn reshape(&mut self, _: Shape, _: usize, _: &[Vec<u8>]) -> Result<u64> {
        unreachable!("a program reshapes untyped tables only")
    }
    fn maintain(&mut self) -> Result<()> {
        self.maintain()
    }
    fn close(self: Box<Self>) -> Result<()> {
        (*self).close()
    }
    fn keep(self: Box<Self>) -> Result<()> {
        self.close_and_keep()
    }
    fn rows(&self) -> Vec<RowBuf> {
        let row = |row: Result<R>| {
            let row = row.expect("an intact table");
            let bytes = common::bytemuck::bytes_of(&row).to_vec();
            RowBuf::from_bytes(self.untyped().schema().clone(), &bytes).expect("a row of the table")
        };
        self.iter().map(row).collect()
    }
}

/// The publisher of a program.
pub struct Performer {
    name: String,
    publisher: Option<Box<dyn Publish>>,
}

impl Performer {
    /// A performer for table `name`, without a publisher yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), publisher: None }
    }

    /// Carries out a step and reports it. Calls `moment` immediately before and after the library
    /// function that commits or that is otherwise the subject of the step.
    ///
    /// # Panics
    /// If the step needs an open publisher and there is none, or if it is not a step of a
    /// publisher.
    pub fn perform(&mut self, operation: &Operation, moment: &dyn Fn()) -> Reply {
        let mut calls = Vec::new();
        let around = |step: &mut dyn FnMut() -> Answer| {
            moment();
            let answer = step();
            moment();
            answer
        };
        let result = match operation {
            Operation::Open { shape, capacity, max_capacity, typed } => {
                around(&mut || self.open(*shape, *capacity, *max_capacity, *typed))
            }
            Operation::FullDisk(full) => around(&mut || limit_files(*full).into()),
            Operation::Close
            | Operation::Keep
            | Operation::Drop
            | Operation::Kill
            | Operation::Fork => {
                let mut publisher = self.publisher.take();
                around(&mut || match (operation, publisher.take()) {
                    (Operation::Close, Some(publisher)) => publisher.close().into(),
                    (Operation::Keep, Some(publisher)) => publisher.keep().into(),
                    (_, publisher) => {
                        drop(publisher);
                        Answer::Done
                    }
                })
            }
            _ => {
                let publisher = self.publisher.as_mut().expect("an open publisher");
                let shape = Shape::of(publisher.untyped().schema());
                match operation {
                    Operation::Transaction(program, end) => {
                        let (answers, result) = publisher.transact(shape, program, *end, moment);
                        calls = answers;
                        result
                    }
                    Operation::Reshape(new, capacity, rows) => {
                        let rows: Vec<Vec<u8>> = match rows {
                            Some(rows) => rows.iter().map(|(k, v)| new.row(*k, *v)).collect(),
                            None => {
                                let old = publisher.rows();
                                let convert = |row: &RowBuf| shape.convert(row.bytes(), *new);
                                old.iter().filter_map(convert).collect()
                            }
                        };
                        around(&mut || publisher.reshape(*new, *capacity, &rows).into())
                    }
                    Operation::Maintain => around(&mut || publisher.maintain().into()),
                    other => panic!("not a publisher's step: {other:?}"),
                }
            }
        };
        Reply { calls, result, table: self.publisher.as_deref().map(published) }
    }

    fn open(
        &mut self,
        shape: Shape,
        capacity: usize,
        max_capacity: Option<usize>,
        is_typed: bool,
    ) -> Answer {
        fn with_capacity<S>(
            builder: PublisherBuilder<S>,
            capacity: usize,
            max_capacity: Option<usize>,
        ) -> PublisherBuilder<S> {
            match max_capacity {
                None => builder.fixed_capacity(capacity),
                Some(max_capacity) => builder.capacity(capacity).max_capacity(max_capacity),
            }
        }
        let name = &self.name;
        let typed = is_typed.then(|| {
            with_row_type!(shape, R => {
                let builder = Publisher::<R>::builder(name);
                let builder = with_capacity(builder, capacity, max_capacity);
                builder.subscribers(SLOTS).open().map(|publisher| Box::new(publisher) as _)
            })
        });
        let opened = typed.flatten().unwrap_or_else(|| {
            let builder = UntypedPublisher::builder(name, shape.schema().clone());
            let builder = with_capacity(builder, capacity, max_capacity);
            builder.subscribers(SLOTS).open().map(|publisher| Box::new(publisher) as _)
        });
        opened.map(|publisher| self.publisher = Some(publisher)).into()
    }
}

/// Returns the table as its publisher has it.
///
/// # Panics
/// If `get` and `iter` of the publisher disagree.
fn published(publisher: &dyn Publish) -> Published {
    let table = publisher.untyped();
    let shape = Shape::of(table.schema());
    let rows = publisher.rows();
    assert_eq!(rows.len(), table.len(), "the publisher's len and iter");
    let mut sorted = BTreeMap::new();
    for row in &rows {
        let number = shape.number(row.bytes());
        let found = table.get(&shape.key(number)).expect("an intact table");
        assert_eq!(found.as_ref(), Some(row), "the publisher's get");
        sorted.insert(number, row.bytes());
    }
    Published {
        version: table.version(),
        capacity: table.capacity(),
        rows: digest(sorted.into_values()),
    }
}

/// Sets the file size limit of this process to 0, or removes the limit. Without a private file
/// system, this is the closest approximation of a full one.
fn limit_files(full: bool) -> Result<()> {
    let mut signal = SigSet::empty();
    signal.add(Signal::SIGXFSZ);
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
    signal.thread_block().expect("a signal that can be blocked");
    setrlimit(Resource::RLIMIT_FSIZE, if full { 0 } else { hard }, hard)
        .expect("a limit below the hard limit");
    Ok(())
}
