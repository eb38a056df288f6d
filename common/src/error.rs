//! The error type of this crate.

use std::time::Duration;

/// A result with an [`Error`] of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
///
/// Each message has the form `what failed: object: reason; what to do`.
///
/// # Examples
/// ```
/// use common::{Error, Schema, UntypedSubscriber};
///
/// match UntypedSubscriber::open("no-such-table") {
///     Ok(table) => println!("{} rows", table.len()),
///     Err(Error::NotFound { table }) => println!("{table} is not published yet"),
///     Err(error) => println!("{error}"),
/// }
/// let error = Schema::parse("id:u46", None).unwrap_err();
/// assert!(error.to_string().contains("u46"));
/// ```
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name of a table is not 1 to 64 of `A-Z a-z 0-9 . _ -`, or starts with a dot.
    #[error(
        "invalid table name: {name:?}: a name is 1 to 64 of A-Z a-z 0-9 . _ - without a leading dot; choose another name"
    )]
    InvalidName {
        /// The invalid name.
        name: String,
    },

    /// The table does not exist on this machine, or not in this mount of /dev/shm.
    #[error(
        "table not found: {table:?}: /dev/shm has no such table; check the name, or start its publisher"
    )]
    NotFound {
        /// Name of the table.
        table: String,
    },

    /// Another process, or another publisher of this process, holds the table.
    #[error("table in use: {table:?}: {}", holder(*pid))]
    PublisherActive {
        /// Name of the table.
        table: String,
        /// Process id of the publisher, as stored by the publisher. 0 if the process that holds
        /// the lock does not publish the table: a starting publisher, or a sweep.
        pid: u32,
    },

    /// The table to create exists already: a dead publisher left it.
    #[error(
        "table exists: {table:?}: a dead publisher left /dev/shm/tablecast.table.{table}; take the table over, or remove it first"
    )]
    TableExists {
        /// Name of the table.
        table: String,
    },

    /// The key of a new row exists already.
    #[error(
        "duplicate key: {key} in table {table:?}: another row has this key; use update or upsert to replace that row"
    )]
    KeyExists {
        /// Name of the table.
        table: String,
        /// Fields of the key, joined by commas.
        key: String,
    },

    /// `update` or `delete` of a key that does not exist.
    #[error(
        "key not found: {key} in table {table:?}: no row has this key; check it, or use insert or upsert to add a row"
    )]
    KeyMissing {
        /// Name of the table.
        table: String,
        /// Fields of the key, joined by commas.
        key: String,
    },

    /// The table already has as many rows as its maximum capacity allows.
    #[error(
        "table full: {table:?}: all {capacity} rows are in use; delete rows, or open the table with a larger capacity limit"
    )]
    TableFull {
        /// Name of the table.
        table: String,
        /// Maximum capacity in rows.
        capacity: usize,
    },

    /// The table's schema differs from the one that this program expects.
    #[error(
        "schema mismatch: table {table:?}: {difference}; use the same row type in this program and in the publisher"
    )]
    SchemaMismatch {
        /// Name of the table.
        table: String,
        /// First difference, with the name of its field.
        difference: String,
    },

    /// A schema has no fields, two fields of one name, a float in its key, or rows that are too
    /// large.
    #[error("invalid schema: {reason}")]
    InvalidSchema {
        /// The problem, with the name of the field.
        reason: String,
    },

    /// A setting of a publisher is out of range.
    #[error("invalid setting: {reason}")]
    InvalidSetting {
        /// The setting and its range.
        reason: String,
    },

    /// A wake kind that does not exist or that this table does not support.
    #[error("wake kind not available: {reason}")]
    InvalidWake {
        /// The problem, and what to use instead.
        reason: String,
    },

    /// A value that is out of range for its field.
    #[error("field {field:?} cannot hold {value}: {reason}")]
    InvalidValue {
        /// Name of the field.
        field: String,
        /// The value as it was given, shortened if it is long.
        value: String,
        /// The values that the field accepts.
        reason: String,
    },

    /// A text that is longer than its field.
    #[error(
        "text too long: {field}: the text has {length} bytes, and the field holds {capacity}; shorten the text, or widen the field"
    )]
    TextTooLong {
        /// Name of the field, or its type if the field is not known.
        field: String,
        /// Length of the text in bytes of UTF-8.
        length: usize,
        /// Width of the field in bytes.
        capacity: usize,
    },

    /// A row or key whose length differs from the schema's.
    #[error(
        "wrong length: table {table:?}: a {what} has {expected} bytes, and {length} were given; encode it with the table's schema"
    )]
    WrongLength {
        /// Name of the table.
        table: String,
        /// `row` or `key`.
        what: &'static str,
        /// The given length in bytes.
        length: usize,
        /// Length according to the schema, in bytes.
        expected: usize,
    },

    /// The object was created by a version of Tablecast with another layout.
    #[error(
        "layout mismatch: {path}: it has layout version {found}, and this program reads {expected}; use the same version of Tablecast everywhere, or remove the table",
        path = path(object)
    )]
    LayoutMismatch {
        /// Name of the object.
        object: String,
        /// Layout version of the object.
        found: u64,
        /// Layout version of this program.
        expected: u64,
    },

    /// The bytes of an object are not those that Tablecast writes.
    #[error("damaged object: {path}: {reason}; remove the table, and publish it again", path = path(object))]
    Corrupt {
        /// Name of the object.
        object: String,
        /// The part that is invalid.
        reason: String,
    },

    /// The object belongs to a user that this program does not trust.
    #[error(
        "wrong owner: {path}: it belongs to user {found} and not to {expected}; use another name, or, if you trust that user, name the user as the table's owner",
        path = path(object)
    )]
    WrongOwner {
        /// Name of the object.
        object: String,
        /// User id of the object's owner.
        found: u32,
        /// User id that was expected.
        expected: u32,
    },

    /// The permissions of an object do not allow the action.
    #[error(
        "no permission to {action} {path}: its mode or owner forbids it; run as its owner, or publish the table with a mode and group that include this user",
        path = path(object)
    )]
    PermissionDenied {
        /// Name of the object.
        object: String,
        /// The action that was tried.
        action: &'static str,
    },

    /// A limit of the system was reached. The committed table is unchanged.
    #[error("limit reached: {path}: {limit} is used up; {remedy}", path = path(object))]
    Limit {
        /// Name of the object that could not be created or grown.
        object: String,
        /// The limit that was reached.
        limit: &'static str,
        /// The setting to change, or another remedy.
        remedy: &'static str,
    },

    /// The rows changed faster than they could be copied. The local copy keeps its version.
    #[error(
        "table changes too fast: {table:?}: rows changed during each of {passes} passes; try again"
    )]
    Outrun {
        /// Name of the table.
        table: String,
        /// Number of passes.
        passes: u32,
    },

    /// No publisher of the table appeared within the given time.
    #[error(
        "no publisher: table {table:?}: none appeared within {waited:?}; start one, or wait longer"
    )]
    TimedOut {
        /// Name of the table.
        table: String,
        /// Time that the caller waited.
        waited: Duration,
    },

    /// Another process removed or replaced the objects of this publisher, and another publisher
    /// holds the name.
    #[error(
        "table lost: {table:?}: its lock was removed, and another publisher holds it now; publish each table from one process"
    )]
    Lost {
        /// Name of the table.
        table: String,
    },

    /// Any other error of the system.
    #[error("cannot {action} {path}: {source}", path = path(object))]
    System {
        /// Name of the object.
        object: String,
        /// The action that was tried.
        action: &'static str,
        /// Error of the system.
        source: std::io::Error,
    },
}

/// Returns the reason and the remedy for a table that the process `pid` holds.
fn holder(pid: u32) -> String {
    match pid {
        0 => "it is locked by a starting publisher or a sweep; try again".to_owned(),
        pid => {
            format!("it is published by process {pid}; stop that process, or choose another name")
        }
    }
}

/// Returns the path of an object of shared memory, and any other name unchanged.
fn path(object: &str) -> String {
    let is_queue = object.starts_with("/tablecast.wake.");
    if object.starts_with("/tablecast.") && !is_queue {
        return format!("/dev/shm{object}");
    }
    object.to_owned()
}
