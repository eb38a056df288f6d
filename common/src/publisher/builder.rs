//! Settings for a publisher.

use std::marker::PhantomData;

use super::open::{self, Existing};
use super::{Publisher, UntypedPublisher};
use crate::error::{Error, Result};
use crate::protocol::layout::{MAX_CAPACITY, MAX_SLOTS};
use crate::region::object::Access;
use crate::row::Row;
use crate::row::schema::Schema;

/// Initial capacity of a table, for which the smallest journal suffices.
const DEFAULT_CAPACITY: usize = 1024;
/// Number of subscriber slots, for which a new table takes at most 64 KiB.
const DEFAULT_SLOTS: usize = 512;

/// Settings for a publisher. `S` describes its rows: a type with [`Row`](crate::Row), or a
/// [`Schema`](crate::Schema).
///
/// # Examples
/// ```
/// # use common::{Publisher, Row};
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
/// # let name = format!("doc-builder-{}", std::process::id());
/// let publisher = Publisher::<Price>::builder(&name).capacity(1_000_000).mode(0o640).open()?;
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "open it"]
pub struct PublisherBuilder<S> {
    name: String,
    settings: Settings,
    rows: S,
}

/// Capacity, registry size and access of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Number of rows for which a new region has room.
    pub capacity: usize,
    /// Capacity up to which the table grows; None if the capacity is fixed.
    pub max_capacity: Option<usize>,
    /// Number of subscriber slots in the registry.
    pub slots: usize,
    /// Mode and group of the table's objects.
    pub access: Access,
}

impl<S> PublisherBuilder<S> {
    pub(super) fn new(name: &str, rows: S) -> Self {
        let access = Access { mode: 0o600, group: None };
        Self {
            name: name.to_owned(),
            settings: Settings {
                capacity: DEFAULT_CAPACITY,
                max_capacity: Some(MAX_CAPACITY),
                slots: DEFAULT_SLOTS,
                access,
            },
            rows,
        }
    }

    /// Sets the number of rows for which the table has room before it grows. The default is 1,024.
    /// An existing table keeps a larger capacity, unless it gets another schema and its capacity is
    /// beyond the maximum. Unused capacity costs an eighth of a byte per row, and enlarges the
    /// journal, which takes at most 256 KiB.
    ///
    /// A commit that needs more rows than the table has room for first moves the table to a region
    /// with four times the capacity (or 16 times, and so on, if it needs that many), up to
    /// [`max_capacity`](Self::max_capacity). This copies all rows, and is a version in which no row
    /// differs. Subscribers and readers follow automatically.
    pub fn capacity(mut self, rows: usize) -> Self {
        self.settings.capacity = rows;
        self
    }

    /// Sets the number of rows up to which the table grows. The default is [`MAX_CAPACITY`], or less
    /// for rows of more than 8,000 bytes, whose region is limited to 32 TiB. If it is less than
    /// [`capacity`](Self::capacity), it is also the initial capacity. A table that already has a
    /// larger capacity keeps it, unless it gets another schema.
    pub fn max_capacity(mut self, rows: usize) -> Self {
        self.settings.max_capacity = Some(rows);
        self
    }

    /// Sets the capacity, and lets the table never grow beyond it. The memory of the table is then
    /// bounded, and no commit takes the time of a growth. A table that already has a larger capacity
    /// keeps it, unless it gets another schema.
    ///
    /// ```
    /// # use common::{Error, Publisher, Row};
    /// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: f64 }
    /// # let name = format!("doc-fixed-capacity-{}", std::process::id());
    /// let mut publisher = Publisher::<Price>::builder(&name).fixed_capacity(1).open()?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&Price { instrument: 1, bid: 9.5 })?;
    /// let full = tx.insert(&Price { instrument: 2, bid: 3.0 });
    /// assert!(matches!(full, Err(Error::TableFull { capacity: 1, .. })));
    /// # drop(tx);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn fixed_capacity(mut self, rows: usize) -> Self {
        (self.settings.capacity, self.settings.max_capacity) = (rows, None);
        self
    }

    /// Sets the number of subscriber slots in the registry. The default is 512. A subscriber
    /// without a slot sleeps on a futex that all such subscribers share. If it selected another
    /// kind of wake-up, it checks the table at least every 50 ms instead.
    pub fn subscribers(mut self, slots: usize) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Sets the mode of the table's region. The default is `0o600`, for the owner only. `0o640`
    /// adds read access for a group, `0o644` for all users. A user with read access may also
    /// register for wake-ups. The umask has no effect.
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.access.mode = mode;
        self
    }

    /// Sets the group id of the table's objects.
    pub fn group(mut self, group: u32) -> Self {
        self.settings.access.group = Some(group);
        self
    }

    /// Returns the settings.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if a setting is out of range.
    fn checked(&self) -> Result<Settings> {
        let Settings { capacity, max_capacity, slots, access } = self.settings;
        let max_capacity = max_capacity.unwrap_or(capacity);
        let range = 1..=MAX_CAPACITY;
        let out_of_range = [capacity, max_capacity].into_iter().find(|rows| !range.contains(rows));
        let reason = if let Some(rows) = out_of_range {
            format!("capacity of {rows} rows: choose 1 to {MAX_CAPACITY}")
        } else if !(1..=MAX_SLOTS).contains(&slots) {
            format!("{slots} subscribers: choose 1 to {MAX_SLOTS}")
        } else if access.mode & !0o644 != 0 || access.mode & 0o600 != 0o600 {
            let mode = access.mode;
            format!("mode {mode:o}: choose 600, with read bits for group (040) and others (004)")
        } else {
            return Ok(Settings { capacity: capacity.min(max_capacity), ..self.settings });
        };
        Err(Error::InvalidSetting { reason })
    }
}

/// The rows of a publisher: a [`Schema`], or a type with [`Row`].
pub trait PublishedRows: Describe {}

impl<S: Describe> PublishedRows for S {}

/// Not exported, so that no other type can implement it.
pub trait Describe {
    /// The publisher of such rows.
    type Publisher;

    fn schema(&self) -> Result<Schema>;
    fn publisher(untyped: UntypedPublisher) -> Self::Publisher;
}

impl Describe for Schema {
    type Publisher = UntypedPublisher;

    fn schema(&self) -> Result<Schema> {
        Ok(self.clone())
    }

    fn publisher(untyped: UntypedPublisher) -> UntypedPublisher {
        untyped
    }
}

impl<R: Row> Describe for PhantomData<R> {
    type Publisher = Publisher<R>;

    fn schema(&self) -> Result<Schema> {
        Schema::of::<R>()
    }

    fn publisher(inner: UntypedPublisher) -> Publisher<R> {
        Publisher { inner, rows: PhantomData }
    }
}

impl<S: PublishedRows> PublisherBuilder<S> {
    /// Creates the table, or takes over the table of a dead publisher. If the schema differs from
    /// the existing one, or the capacity or the number of subscriber slots is larger, a successor
    /// region replaces the old region. Rows and fields that both schemas have are kept.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::PublisherActive`], [`Error::InvalidSetting`],
    /// [`Error::InvalidSchema`], [`Error::Limit`], [`Error::PermissionDenied`],
    /// [`Error::WrongOwner`], and for the existing table [`Error::LayoutMismatch`],
    /// [`Error::Corrupt`] if it is invalid, or [`Error::TableFull`] if it gets another schema and has
    /// more rows than the maximum capacity.
    pub fn open(&self) -> Result<S::Publisher> {
        self.open_as(Existing::Any)
    }

    /// Creates the table. Never takes over the table of a dead publisher.
    ///
    /// ```
    /// # use common::{Error, Publisher, Row};
    /// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: f64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-create-new-{}", std::process::id());
    /// let builder = Publisher::<Price>::builder(&name);
    /// assert!(matches!(builder.take_over(), Err(Error::NotFound { .. })));
    /// builder.create_new()?.close_and_keep()?;
    /// assert!(matches!(builder.create_new(), Err(Error::TableExists { .. })));
    /// builder.take_over()?.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::TableExists`] if a dead publisher left the table, and the errors of
    /// [`open`](Self::open).
    pub fn create_new(&self) -> Result<S::Publisher> {
        self.open_as(Existing::Refused)
    }

    /// Takes over the table of a dead publisher as [`open`](Self::open) does. Never creates a
    /// table.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the table does not exist, and the errors of [`open`](Self::open).
    pub fn take_over(&self) -> Result<S::Publisher> {
        self.open_as(Existing::Required)
    }

    fn open_as(&self, existing: Existing) -> Result<S::Publisher> {
        let (settings, schema) = (self.checked()?, self.rows.schema()?);
        open::open(&self.name, schema, settings, existing).map(S::publisher)
    }
}
