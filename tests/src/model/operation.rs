//! The steps of the model-based test. Their `Debug` form is Rust: a program that failed can be
//! pasted into a test.

use common::Error;
use serde::{Deserialize, Serialize};

use super::shape::Shape;

/// A call of a transaction, with keys and values as numbers (see [`Shape::row`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Call {
    /// Inserts the row of a key and a value.
    Insert(u64, u64),
    /// Updates the row of a key.
    Update(u64, u64),
    /// Inserts or updates the row of a key.
    Upsert(u64, u64),
    /// Deletes a key.
    Delete(u64),
    /// Deletes all rows.
    Clear,
    /// Replaces all rows by these, cut to the maximum capacity of the table.
    ReplaceWith(Vec<(u64, u64)>),
    /// Upserts the keys below the first number, each with the second number as its value, up to the
    /// first refusal.
    Fill(u64, u64),
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The transaction is committed.
    Commit,
    /// The transaction is dropped.
    Abort,
    /// The transaction is passed to `mem::forget`.
    Forget,
}

/// An object in /dev/shm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// The lock object.
    Lock,
    /// The region that has the table's name.
    Region,
    /// The registry that this region names.
    Registry,
}

/// One of the readers that are attached all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// Untyped; refreshes after each step.
    Untyped,
    /// Typed; refreshes after each step.
    Typed,
    /// Untyped, with the default re-check; waits after each step.
    Waiting,
    /// Untyped; refreshes only when a step says so.
    Slow,
    /// Typed; refreshes only when a step says so.
    SlowTyped,
}

/// One step of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Operation {
    /// Opens a publisher. If `typed`, it has the shape's Rust type, if that exists.
    Open {
        /// The table's schema.
        shape: Shape,
        /// Minimum capacity.
        capacity: usize,
        /// Capacity up to which the table grows, or `None` for a fixed capacity.
        max_capacity: Option<usize>,
        /// True for a `Publisher`, false for an `UntypedPublisher`.
        typed: bool,
    },
    /// A transaction.
    Transaction(Vec<Call>, End),
    /// Reshapes the table. Without rows it gets the ones it has, converted.
    Reshape(Shape, usize, Option<Vec<(u64, u64)>>),
    /// Calls `maintain`.
    Maintain,
    /// Closes the table.
    Close,
    /// Closes the table and keeps its objects.
    Keep,
    /// Drops the publisher.
    Drop,
    /// Kills the publisher's process; drops the publisher if it is in the test's own process.
    Kill,
    /// The publisher's process forks and ends; the child then drops what it inherited. Drops the
    /// publisher if that is in the test's own process.
    Fork,
    /// Opens a second publisher of the table.
    Second,
    /// Unlinks an object by hand.
    Unlink(Object),
    /// Calls `common::remove`.
    Remove,
    /// Calls `common::sweep`.
    Sweep,
    /// Fills /dev/shm, or frees enough of it again.
    FullDisk(bool),
    /// Attaches a reader again.
    Attach(Who),
    /// Refreshes the readers that refresh only at this step.
    Refresh,
    /// Carries out the step while other readers continuously attach and take snapshots.
    Raced(Inner),
    /// Carries out the step in another process, which is stopped after this number of instructions
    /// if it is traced, otherwise after this number of microseconds. Then the process continues or
    /// is killed.
    Interrupted(u64, After, Inner),
}

/// A step within another one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Inner(Box<Operation>);

impl Inner {
    /// Wraps a step.
    pub fn new(operation: Operation) -> Self {
        Self(Box::new(operation))
    }
}

impl std::ops::Deref for Inner {
    type Target = Operation;

    fn deref(&self) -> &Operation {
        &self.0
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inner::new({:?})", self.0)
    }
}

/// Formats a program as Rust code that can be pasted into a test.
pub fn program(operations: &[Operation]) -> String {
    let line = |operation: &Operation| format!("    {operation:?},\n").replace('[', "vec![");
    operations.iter().map(line).collect()
}

/// The fate of a process that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// It continues.
    Continue,
    /// It is killed.
    Kill,
}

impl Operation {
    /// Returns the calls of a transaction.
    pub fn calls(&mut self) -> Option<&mut Vec<Call>> {
        match self {
            Self::Raced(inner) | Self::Interrupted(_, _, inner) => inner.0.calls(),
            Self::Transaction(calls, _) => Some(calls),
            _ => None,
        }
    }

    /// Returns true if the step reshapes the table.
    pub fn is_reshape(&self) -> bool {
        match self {
            Self::Raced(inner) | Self::Interrupted(_, _, inner) => inner.is_reshape(),
            other => matches!(other, Self::Reshape(..)),
        }
    }

    /// Returns true if the step needs an open publisher.
    pub fn needs_publisher(&self) -> bool {
        match self {
            Self::Raced(inner) | Self::Interrupted(_, _, inner) => inner.needs_publisher(),
            Self::Transaction(..)
            | Self::Reshape(..)
            | Self::Maintain
            | Self::Close
            | Self::Keep
            | Self::Drop
            | Self::Kill
            | Self::Fork
            | Self::Second => true,
            _ => false,
        }
    }
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// `Ok`.
    Done,
    /// [`Error::KeyExists`].
    Exists,
    /// [`Error::KeyMissing`].
    Missing,
    /// [`Error::TableFull`].
    Full,
    /// [`Error::Limit`].
    Limit,
    /// [`Error::Lost`].
    Lost,
    /// [`Error::PublisherActive`].
    Active,
    /// [`Error::NotFound`].
    NotFound,
    /// Any other error.
    Failed(String),
}

impl<T> From<common::Result<T>> for Answer {
    fn from(result: common::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(Error::KeyExists { .. }) => Self::Exists,
            Err(Error::KeyMissing { .. }) => Self::Missing,
            Err(Error::TableFull { .. }) => Self::Full,
            Err(Error::Limit { .. }) => Self::Limit,
            Err(Error::Lost { .. }) => Self::Lost,
            Err(Error::PublisherActive { .. }) => Self::Active,
            Err(Error::NotFound { .. }) => Self::NotFound,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// The report of a publisher after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The outcome of each call of the transaction.
    pub calls: Vec<Answer>,
    /// The outcome of the step.
    pub result: Answer,
    /// The table as the publisher has it; `None` without a publisher.
    pub table: Option<Published>,
}

/// The table as its publisher has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The version.
    pub version: u64,
    /// The capacity.
    pub capacity: usize,
    /// The digest of the rows, by [`digest`].
    pub rows: u64,
}

/// Returns the digest of rows in key order.
pub fn digest<'r>(rows: impl IntoIterator<Item = &'r [u8]>) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    for row in rows {
        hasher.write(row);
    }
    hasher.finish()
}
