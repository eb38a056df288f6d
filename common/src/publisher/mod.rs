//! The publishing half of the crate: one process, one table, atomic transactions.
//!
//! - [`Publisher`], [`Transaction`]: rows of a Rust type.
//! - [`UntypedPublisher`], [`UntypedTransaction`]: rows of a schema known only at run time. The
//!   implementation is the same.
//!
//! A transaction stages its rows in private memory. Its commit grows the region, which is the only
//! step that can fail, writes the rows (`WritableTable::commit`), and wakes parked subscribers.

mod notify;
mod open;
mod rows;
mod statistics;
mod transaction;
mod untyped;

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

pub(crate) use open::{acquire_lock_of, adopt};
pub use statistics::Statistics;
pub use transaction::UntypedTransaction;
pub use untyped::UntypedPublisher;

use crate::error::{Error, Result};
pub use crate::protocol::layout::{MAX_CAPACITY, MAX_SLOTS};
use crate::region::object::Access;
use crate::row::schema::Schema;
use crate::row::{Key, Row, RowBuf};

/// Interval at which to call [`UntypedPublisher::maintain`] while there is nothing to commit.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Age of the last heartbeat after which a live publisher counts as silent. Such a publisher is
/// stopped or hangs, or it neither commits nor calls [`UntypedPublisher::maintain`].
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Settings {
    capacity: usize,
    slots: usize,
    access: Access,
}

/// Settings for a publisher. `S` describes its rows: a type with [`Row`], or a [`Schema`].
///
/// ```
/// # use common::{Publisher, Row};
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-builder-{}", std::process::id());
/// let publisher = Publisher::<Price>::builder(&name).capacity(1_000_000).mode(0o640).open()?;
/// # publisher.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "open it"]
pub struct PublisherBuilder<S> {
    name: String,
    settings: Settings,
    rows: S,
}

impl<S> PublisherBuilder<S> {
    fn new(name: &str, rows: S) -> Self {
        let access = Access {
            mode: 0o600,
            group: None,
        };
        Self {
            name: name.to_owned(),
            settings: Settings {
                capacity: 1 << 20,
                slots: 1024,
                access,
            },
            rows,
        }
    }

    /// Sets the maximum number of rows. The default is 1,048,576. Unused capacity costs an eighth
    /// of a byte per row.
    pub fn capacity(mut self, rows: usize) -> Self {
        self.settings.capacity = rows;
        self
    }

    /// Sets the number of subscriber slots in the registry. The default is 1,024. Subscribers
    /// without a slot are not called individually and check the table themselves.
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

    fn checked(&self) -> Result<Settings> {
        let refused = |reason: String| Err(Error::InvalidSetting { reason });
        let Settings {
            capacity,
            slots,
            access,
        } = self.settings;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return refused(format!(
                "a capacity of {capacity} rows is not within 1 to {MAX_CAPACITY}"
            ));
        }
        if !(1..=MAX_SLOTS).contains(&slots) {
            return refused(format!(
                "{slots} subscribers are not within 1 to {MAX_SLOTS}"
            ));
        }
        if access.mode & !0o644 != 0 || access.mode & 0o600 != 0o600 {
            return refused(format!(
                "mode {:o} is not 600 with read bits for group (040) and others (004)",
                access.mode
            ));
        }
        Ok(self.settings.clone())
    }
}

impl PublisherBuilder<Schema> {
    /// Creates the table, or takes over the table of a dead publisher. If the schema differs from
    /// the existing one or the capacity is larger, a successor region replaces the old region. Rows
    /// and fields that both schemas have are kept.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::PublisherActive`], [`Error::InvalidSetting`],
    /// [`Error::Limit`], [`Error::PermissionDenied`], or [`Error::Corrupt`] if the existing table
    /// is invalid.
    pub fn open(self) -> Result<UntypedPublisher> {
        open::open(&self.name, self.rows.clone(), self.checked()?)
    }
}

impl<R: Row> PublisherBuilder<PhantomData<R>> {
    /// Creates the table, or takes over the table of a dead publisher. If the schema differs from
    /// the existing one or the capacity is larger, a successor region replaces the old region. Rows
    /// and fields that both schemas have are kept.
    ///
    /// # Errors
    /// The same as for `open` of an [`UntypedPublisher::builder`].
    pub fn open(self) -> Result<Publisher<R>> {
        let inner = open::open(&self.name, Schema::of::<R>()?, self.checked()?)?;
        Ok(Publisher {
            inner,
            rows: PhantomData,
        })
    }
}

/// The only publisher of a table with rows of type `R`.
///
/// Methods that need no row type ([`version`](UntypedPublisher::version),
/// [`len`](UntypedPublisher::len), …) are available through `Deref` to [`UntypedPublisher`].
/// Dropping a publisher without [`close`](Self::close) has the same effect as the death of its
/// process: the table stays, readers continue, and the next publisher takes over. A child of `fork`
/// must not use the publisher, because the child does not inherit its mapping. A child that neither
/// calls `exec` nor exits keeps the table locked after its parent's death.
///
/// ```
/// use common::{Publisher, Row};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64, ask: f64 }
///
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-publisher-{}", std::process::id());
/// let mut prices = Publisher::<Price>::builder(&name).open()?;
/// let mut tx = prices.begin();
/// tx.insert(&Price { instrument: 1, bid: 9.5, ask: 10.0 })?;
/// tx.insert(&Price { instrument: 2, bid: 3.0, ask: 3.5 })?;
/// let version = tx.commit()?;
/// assert_eq!((prices.version(), prices.len()), (version, 2));
/// assert_eq!(prices.get(&1).unwrap().bid, 9.5);
/// prices.close()
/// # }
/// ```
///
/// Two open transactions at a time do not compile:
///
/// ```compile_fail,E0499
/// # use common::Publisher;
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64 }
/// fn twice(prices: &mut Publisher<Price>) {
///     let first = prices.begin();
///     let second = prices.begin();
///     first.commit().unwrap();
/// }
/// ```
pub struct Publisher<R: Row> {
    inner: UntypedPublisher,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Publisher<R> {
    /// Settings for publishing rows of `R` as table `name`.
    pub fn builder(name: &str) -> PublisherBuilder<PhantomData<R>> {
        PublisherBuilder::new(name, PhantomData)
    }

    /// Begins a transaction. The mutable borrow prevents a second one.
    pub fn begin(&mut self) -> Transaction<'_, R> {
        Transaction {
            inner: self.inner.begin(),
            rows: PhantomData,
        }
    }

    /// Returns the committed row of a key.
    pub fn get(&self, key: &R::Key) -> Option<R> {
        key.with_bytes(|key| self.inner.get(key))
            .map(|row| read(&row))
    }

    /// Returns an iterator over all committed rows.
    pub fn iter(&self) -> impl Iterator<Item = R> + '_ {
        self.inner.iter().map(|row| read(&row))
    }

    /// Forwards to [`UntypedPublisher::maintain`].
    ///
    /// # Errors
    /// The same as for the untyped method.
    pub fn maintain(&mut self) -> Result<()> {
        self.inner.maintain()
    }

    /// Forwards to [`UntypedPublisher::close`].
    ///
    /// # Errors
    /// The same as for the untyped method.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    /// Forwards to [`UntypedPublisher::close_and_keep`].
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-keep-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&Price { instrument: 1, bid: 10 })?;
    /// # tx.commit()?;
    /// publisher.close_and_keep()?;
    /// let prices = Subscriber::<Price>::open(&name)?; // it still can be read
    /// assert!(!prices.publisher_state().is_alive());
    /// let publisher = Publisher::<Price>::builder(&name).open()?;
    /// assert_eq!((publisher.len(), publisher.epoch()), (1, 2));
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same as for the untyped method.
    pub fn close_and_keep(self) -> Result<()> {
        self.inner.close_and_keep()
    }
}

fn read<R: Row>(row: &RowBuf) -> R {
    bytemuck::pod_read_unaligned(row.bytes())
}

impl<R: Row> Deref for Publisher<R> {
    type Target = UntypedPublisher;

    fn deref(&self) -> &UntypedPublisher {
        &self.inner
    }
}

/// A transaction over rows of `R`.
///
/// Readers see none of the changes before [`commit`](Self::commit), and all of them after it.
/// Dropping the transaction discards them. Each call in a transaction sees the changes that earlier
/// calls staged.
///
/// ```
/// # use common::{Error, Publisher, Row};
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-transaction-{}", std::process::id());
/// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 1, bid: 10 })?;
/// tx.upsert(&Price { instrument: 1, bid: 11 })?; // the same row again: it is written once
/// assert!(matches!(tx.insert(&Price { instrument: 1, bid: 12 }), Err(Error::KeyExists { .. })));
/// assert!(matches!(tx.delete(&2), Err(Error::KeyMissing { .. })));
/// assert_eq!(tx.len(), 1); // what was refused has changed nothing
/// tx.commit()?;
///
/// let mut tx = publisher.begin();
/// tx.clear();
/// drop(tx);
/// assert_eq!(publisher.get(&1), Some(Price { instrument: 1, bid: 11 }));
/// # publisher.close()
/// # }
/// ```
#[must_use = "a transaction that is dropped changes nothing"]
#[derive(Debug)]
pub struct Transaction<'p, R: Row> {
    inner: UntypedTransaction<'p>,
    rows: PhantomData<fn() -> R>,
}

impl<R: Row> Transaction<'_, R> {
    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::TableFull`]. The row is not staged; the transaction stays
    /// usable.
    pub fn insert(&mut self, row: &R) -> Result<()> {
        self.inner.insert(bytemuck::bytes_of(row))
    }

    /// Replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`]. Nothing is staged; the transaction stays usable.
    pub fn update(&mut self, row: &R) -> Result<()> {
        self.inner.update(bytemuck::bytes_of(row))
    }

    /// Adds a row, or replaces the row that has the same key.
    ///
    /// # Errors
    /// [`Error::TableFull`]. The row is not staged; the transaction stays usable.
    pub fn upsert(&mut self, row: &R) -> Result<()> {
        self.inner.upsert(bytemuck::bytes_of(row))
    }

    /// Removes the row of a key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`]. Nothing is staged; the transaction stays usable.
    pub fn delete(&mut self, key: &R::Key) -> Result<()> {
        key.with_bytes(|key| self.inner.delete(key))
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// Replaces the content of the table with these rows, and stages only the differences. If two
    /// rows have the same key, the later one is used.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-replace-with-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let mut tx = publisher.begin();
    /// tx.replace_with(&[Price { instrument: 1, bid: 10 }, Price { instrument: 2, bid: 20 }])?;
    /// tx.commit()?;
    /// # let mut prices = Subscriber::<Price>::open(&name)?;
    ///
    /// let mut tx = publisher.begin();
    /// tx.replace_with(&[Price { instrument: 1, bid: 10 }, Price { instrument: 3, bid: 30 }])?;
    /// assert_eq!(tx.len(), 2); // 2 is to go and 3 to come; 1 is what it was
    /// tx.commit()?;
    /// assert_eq!(prices.refresh()?.len(), 2);
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::TableFull`]. Some of the differences are staged in that case.
    pub fn replace_with<'r>(&mut self, rows: impl IntoIterator<Item = &'r R>) -> Result<()> {
        self.inner
            .replace_with(rows.into_iter().map(bytemuck::bytes_of))
    }

    /// Returns the number of staged changes.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Returns true if nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Commits all staged changes atomically, wakes parked subscribers, and returns the new version
    /// of the table. If nothing is staged, does nothing and returns the current version.
    ///
    /// # Errors
    /// [`Error::Limit`] if the region cannot grow, [`Error::Lost`] if another publisher has taken
    /// the name. Nothing is committed in that case, and the publisher stays usable.
    pub fn commit(self) -> Result<u64> {
        self.inner.commit()
    }
}
