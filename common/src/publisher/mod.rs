//! The end that publishes: one process, one table, transactions that become true at one instant.
//!
//! - [`Publisher`], [`Transaction`]: rows of a Rust type.
//! - [`UntypedPublisher`], [`UntypedTransaction`]: rows of a schema learnt at run time. The same machinery.
//!
//! How a row travels: a transaction stages it in private memory; its commit makes room in the region, which is the only step
//! that can fail, writes the row (`WritableTable::commit`), and wakes parked subscribers.

mod notify;
mod open;
mod remove;
mod rows;
mod statistics;
mod sweep;
mod transaction;
mod untyped;

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

pub use remove::{remove, remove_of};
pub use statistics::{CommitTimes, Statistics};
pub use sweep::{Kept, Swept, sweep};
pub use transaction::UntypedTransaction;
pub use untyped::UntypedPublisher;

use crate::error::{Error, Result};
pub use crate::layout::{MAX_CAPACITY, MAX_SLOTS};
use crate::region::object::Access;
use crate::row::{Key, Row, RowBuf};
use crate::schema::Schema;

/// How often [`UntypedPublisher::maintain`] wants to be called while there is nothing to commit.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// A live publisher that has not said for so long that it is well is silent: it is stopped or hangs, or it neither commits nor
/// calls [`UntypedPublisher::maintain`].
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Settings {
    capacity: usize,
    slots: usize,
    access: Access,
}

/// Settings for a publisher; `S` tells what its rows are: a type with [`Row`], or a [`Schema`].
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

    /// How many rows there can be: 1,048,576 unless told otherwise. Capacity that is not used costs an eighth of a byte a row.
    pub fn capacity(mut self, rows: usize) -> Self {
        self.settings.capacity = rows;
        self
    }

    /// How many subscribers can be woken by name: 1,024 unless told otherwise. Beyond that they look for themselves.
    pub fn subscribers(mut self, slots: usize) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Who may read the table: `0o600` (its owner alone) unless told otherwise; `0o640` for a group, `0o644` for everybody.
    /// Who may read it may also register to be woken. The umask does not matter.
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.access.mode = mode;
        self
    }

    /// The group id that the table belongs to.
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
    /// Creates the table, or takes over what a dead publisher left. Another schema or a larger capacity than what was
    /// left makes a successor: rows and fields that both schemas know are kept.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::PublisherActive`], [`Error::InvalidSetting`],
    /// [`Error::Limit`], [`Error::PermissionDenied`], [`Error::Corrupt`] if what was left cannot be right.
    pub fn open(self) -> Result<UntypedPublisher> {
        open::open(&self.name, self.rows.clone(), self.checked()?)
    }
}

impl<R: Row> PublisherBuilder<PhantomData<R>> {
    /// Creates the table, or takes over what a dead publisher left. Another schema or a larger capacity than what was
    /// left makes a successor: rows and fields that both schemas know are kept.
    ///
    /// # Errors
    /// As for [`UntypedPublisher::builder`]'s `open`.
    pub fn open(self) -> Result<Publisher<R>> {
        let inner = open::open(&self.name, Schema::of::<R>()?, self.checked()?)?;
        Ok(Publisher {
            inner,
            rows: PhantomData,
        })
    }
}

/// The one publisher of a table of `R`.
///
/// What needs no row type ([`version`](UntypedPublisher::version), [`len`](UntypedPublisher::len), …) is reached by
/// dereferencing to [`UntypedPublisher`]. Dropped without [`close`](Self::close) it is as if its process had died: the table
/// stays, readers go on, and the next publisher takes over. It must not be used in a child of `fork`: its mapping stays
/// behind. A child that neither execs nor ends keeps the table locked after its parent's death.
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
/// Two transactions at once do not compile:
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

    /// Begins a transaction. The borrow makes it the only one.
    pub fn begin(&mut self) -> Transaction<'_, R> {
        Transaction {
            inner: self.inner.begin(),
            rows: PhantomData,
        }
    }

    /// The committed row of a key.
    pub fn get(&self, key: &R::Key) -> Option<R> {
        key.with_bytes(|key| self.inner.get(key))
            .map(|row| read(&row))
    }

    /// All committed rows.
    pub fn iter(&self) -> impl Iterator<Item = R> + '_ {
        self.inner.iter().map(|row| read(&row))
    }

    /// See [`UntypedPublisher::maintain`].
    ///
    /// # Errors
    /// As there.
    pub fn maintain(&mut self) -> Result<()> {
        self.inner.maintain()
    }

    /// See [`UntypedPublisher::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    /// See [`UntypedPublisher::close_and_keep`].
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
    /// As there.
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
/// Nothing is seen by anybody before [`commit`](Self::commit), and then all of it at once. Dropping it changes nothing.
/// Within a transaction each call sees what those before it staged.
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
    /// [`Error::KeyExists`], [`Error::TableFull`]. The transaction goes on without the row.
    pub fn insert(&mut self, row: &R) -> Result<()> {
        self.inner.insert(bytemuck::bytes_of(row))
    }

    /// Replaces a row by its key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`]. The transaction goes on without the row.
    pub fn update(&mut self, row: &R) -> Result<()> {
        self.inner.update(bytemuck::bytes_of(row))
    }

    /// Adds a row or replaces the one of that key.
    ///
    /// # Errors
    /// [`Error::TableFull`]. The transaction goes on without the row.
    pub fn upsert(&mut self, row: &R) -> Result<()> {
        self.inner.upsert(bytemuck::bytes_of(row))
    }

    /// Removes the row of a key.
    ///
    /// # Errors
    /// [`Error::KeyMissing`]. The transaction goes on without it.
    pub fn delete(&mut self, key: &R::Key) -> Result<()> {
        key.with_bytes(|key| self.inner.delete(key))
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// Makes the table hold exactly these rows, staging differences only. Of two rows with one key the later counts.
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
    /// [`Error::TableFull`]; then some of the differences are staged.
    pub fn replace_with<'r>(&mut self, rows: impl IntoIterator<Item = &'r R>) -> Result<()> {
        self.inner
            .replace_with(rows.into_iter().map(bytemuck::bytes_of))
    }

    /// How many rows are staged.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Makes all of it true at one instant, wakes whoever sleeps, and returns the version of the table. Without anything
    /// staged it does nothing and returns the version there is.
    ///
    /// # Errors
    /// [`Error::Limit`] if the region cannot grow, [`Error::Lost`] if another publisher has taken the name. Nothing was
    /// committed then, and the publisher can go on.
    pub fn commit(self) -> Result<u64> {
        self.inner.commit()
    }
}
