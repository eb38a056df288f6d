//! What can go wrong, as one enum. Every variant carries the name of the object and says what to do next.

use std::time::Duration;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with which object, and what to do about it.
///
/// ```
/// use common::{Error, Schema, UntypedSubscriber};
///
/// match UntypedSubscriber::open("no-such-table") {
///     Ok(table) => println!("{} rows", table.len()),
///     Err(Error::NotFound { table }) => println!("nobody publishes {table} yet"),
///     Err(error) => println!("{error}"), // what happened, to which object, and what to do
/// }
/// let error = Schema::parse("id:u46", None).unwrap_err();
/// assert!(error.to_string().contains("u46"));
/// ```
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table's name is 1 to 64 of `A-Z a-z 0-9 . _ -` and does not start with a dot.
    #[error(
        "{name:?} is no name for a table: use 1 to 64 of A-Z a-z 0-9 . _ - and do not start with a dot"
    )]
    InvalidName {
        /// The name as it was given.
        name: String,
    },

    /// There is no such table on this machine (or in this IPC namespace or mount of /dev/shm).
    #[error(
        "there is no table {table:?}: start a publisher of that name, or see `subscriber ls` for the tables there are"
    )]
    NotFound {
        /// The table's name.
        table: String,
    },

    /// Another process, or another publisher in this one, holds the table.
    #[error("table {table:?} is {}", holder(*pid))]
    PublisherActive {
        /// The table's name.
        table: String,
        /// The publisher's process id as it wrote it. 0 if the table is locked by a process that does not publish it: a publisher
        /// that starts, or a sweep.
        pid: u32,
    },

    /// `insert` of a key that the table has.
    #[error("table {table:?} already has the key {key}: use update or upsert to change its row")]
    KeyExists {
        /// The table's name.
        table: String,
        /// The key's fields, joined by commas.
        key: String,
    },

    /// `update` or `delete` of a key that the table has not.
    #[error("table {table:?} has no key {key}: use insert or upsert to create its row")]
    KeyMissing {
        /// The table's name.
        table: String,
        /// The key's fields, joined by commas.
        key: String,
    },

    /// Every row of the capacity is taken.
    #[error(
        "table {table:?} is full at {capacity} rows: delete rows, or open it with a larger capacity (`--capacity`)"
    )]
    TableFull {
        /// The table's name.
        table: String,
        /// The capacity in rows.
        capacity: usize,
    },

    /// The rows of the table are not of the type that was asked for.
    #[error(
        "table {table:?} has another schema than this program: {difference}; give both ends one row type (`subscriber info` shows the table's)"
    )]
    SchemaMismatch {
        /// The table's name.
        table: String,
        /// The first difference, with the name of its field.
        difference: String,
    },

    /// A schema that cannot be: no fields, a name twice, a float in the key, a row too large.
    #[error("this is no schema for a table: {reason}")]
    InvalidSchema {
        /// What is wrong, with the name of the field.
        reason: String,
    },

    /// A setting of a publisher that is beyond its limits.
    #[error("no table can be published so: {reason}")]
    InvalidSetting {
        /// What is wrong, and within what it must be.
        reason: String,
    },

    /// A way to be woken that there is not, or not at this table.
    #[error("this wake kind cannot be used: {reason}")]
    InvalidWake {
        /// What is wrong, and what there is.
        reason: String,
    },

    /// A value that its field cannot hold.
    #[error("field {field:?} cannot hold {value}: {reason}")]
    InvalidValue {
        /// The field's name.
        field: String,
        /// The value as it was given (shortened where long).
        value: String,
        /// What the field takes.
        reason: String,
    },

    /// A text that is longer than its field.
    #[error(
        "a text of {length} bytes does not fit {field}, which holds {capacity} bytes: shorten it or widen the field"
    )]
    TextTooLong {
        /// The field's name, or the type where the field is not known.
        field: String,
        /// The length of the text in bytes of UTF-8.
        length: usize,
        /// What the field holds, in bytes.
        capacity: usize,
    },

    /// A row or key of another length than the schema's.
    #[error(
        "table {table:?}: a {what} of {length} bytes where the schema's has {expected}: make it of the table's own schema"
    )]
    WrongLength {
        /// The table's name.
        table: String,
        /// `row` or `key`.
        what: &'static str,
        /// The length that was given, in bytes.
        length: usize,
        /// The length that the schema asks for, in bytes.
        expected: usize,
    },

    /// The object was made by a version of Tablecast with another layout.
    #[error(
        "{object} has layout version {found}, this program reads {expected}: run both ends at one version (`--version` tells the layout), or remove the table by `publisher rm NAME`"
    )]
    LayoutMismatch {
        /// The object's name.
        object: String,
        /// Its layout version.
        found: u64,
        /// The layout version of this program.
        expected: u64,
    },

    /// The object's bytes cannot be what Tablecast wrote.
    #[error(
        "{object} is damaged or no object of Tablecast: {reason}; `publisher rm NAME` removes it"
    )]
    Corrupt {
        /// The object's name.
        object: String,
        /// What does not fit.
        reason: String,
    },

    /// The object belongs to a user who is not trusted here.
    #[error(
        "{object} belongs to user {found} and not to {expected}: run as that user, take another name, or (to read, and if you trust that user) name its owner: `--owner`, `owner()`"
    )]
    WrongOwner {
        /// The object's name.
        object: String,
        /// The user id it belongs to.
        found: u32,
        /// The user id that was expected.
        expected: u32,
    },

    /// The operating system's permissions forbid it.
    #[error(
        "no permission to {action} {object}: run as its owner, or let its publisher open it (`--mode`, `--group`) to a group that both of you are in"
    )]
    PermissionDenied {
        /// The object's name.
        object: String,
        /// What was tried.
        action: &'static str,
    },

    /// A limit of the system was hit. What was committed stays as it was.
    #[error("{object}: {limit} is used up: {remedy}")]
    Limit {
        /// The object that could not be made or grown.
        object: String,
        /// The limit that was hit.
        limit: &'static str,
        /// The setting to change, or what else helps.
        remedy: &'static str,
    },

    /// The rows changed faster than they could be copied. The local copy is whole, at its former version.
    #[error("table {table:?} changed faster than it could be read in {passes} passes: try again")]
    Outrun {
        /// The table's name.
        table: String,
        /// How many passes were made.
        passes: u32,
    },

    /// Nobody published the table within the time given.
    #[error(
        "no publisher of table {table:?} appeared within {waited:?}: start one, or wait longer; `subscriber ls` shows the tables there are"
    )]
    TimedOut {
        /// The table's name.
        table: String,
        /// How long was waited.
        waited: Duration,
    },

    /// The publisher's own objects were removed or replaced under it, and another publisher holds the name.
    #[error(
        "table {table:?} was taken from this publisher: its lock was removed and another publisher holds it now: let one of the two publish it, under one name"
    )]
    Lost {
        /// The table's name.
        table: String,
    },

    /// Any other refusal by the operating system.
    #[error("cannot {action} {object}: {source}")]
    System {
        /// The object's name.
        object: String,
        /// What was tried.
        action: &'static str,
        /// What the system answered.
        source: std::io::Error,
    },
}

/// Returns what the error says of the process that holds a table.
fn holder(pid: u32) -> String {
    match pid {
        0 => "locked by a process that does not publish it (a publisher that starts, or a sweep): try again".to_owned(),
        pid => format!("published by process {pid}: stop that one first, or choose another name"),
    }
}
