//! The subscriber: a local copy of the whole table at one version, updated with the changed rows.
//!
//! - [`Subscriber`], [`Changes`]: rows of a Rust type.
//! - [`UntypedSubscriber`], [`UntypedChanges`]: rows of a schema learnt at run time. The same machinery.
//!
//! - [`Interrupter`] ends a wait from another thread; [`WaitSet`] waits for several tables at once.
//! - `AsyncSubscriber` (feature `tokio`): either of the two on a runtime of tokio.
//!
//! How a row arrives: a refresh first copies every changed row to a buffer (`table::catch_up`); the local copy then applies the
//! buffer in one step and reports the differences by key.

#[cfg(feature = "tokio")]
mod asynchronous;
mod builder;
mod changes;
mod committed;
mod copy;
mod event_set;
mod interrupt;
mod liveness;
mod parking;
mod snapshot;
mod untyped;
mod wait;
mod wait_set;

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

#[cfg(feature = "tokio")]
pub use asynchronous::{AnySubscriber, AsyncSubscriber, OwnedChanges};
pub use builder::SubscriberBuilder;
pub use changes::{Cause, Change, Changes, ChangesIter, UntypedChanges, UntypedChangesIter};
pub use interrupt::Interrupter;
pub use untyped::UntypedSubscriber;
pub use wait_set::{Member, WaitSet};

use crate::error::Result;
use crate::row::{Key, Row, RowRef};

/// State of the publisher, as the subscriber last observed it.
///
/// ```
/// # use common::{PublisherState, Schema, UntypedPublisher, UntypedSubscriber};
/// # use std::time::Duration;
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-state-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// # let mut table = UntypedSubscriber::builder(&name).recheck(Duration::from_millis(5)).open()?;
/// # publisher.close()?;
/// # table.wait(None)?;
/// let age = match table.publisher_state() {
///     PublisherState::Alive { pid, .. } => format!("published by process {pid}"),
///     PublisherState::Gone { .. } => format!("nobody has published it for {:?}", table.heartbeat_age()),
///     PublisherState::Closed { .. } => "closed".to_owned(),
/// };
/// # assert_eq!(age, "closed");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherState {
    /// The publisher is alive.
    Alive {
        /// Number of publishers that the table has had, including this one.
        epoch: u64,
        /// Process id of the publisher, in the publisher's pid namespace.
        pid: u32,
    },
    /// The publisher died, or was dropped without being closed. The table keeps its last commit.
    Gone {
        /// Number of publishers that the table has had.
        epoch: u64,
    },
    /// The publisher closed the table.
    Closed {
        /// Number of publishers that the table has had.
        epoch: u64,
    },
}

impl PublisherState {
    /// Returns the number of publishers that the table has had.
    pub fn epoch(&self) -> u64 {
        match *self {
            Self::Alive { epoch, .. } | Self::Gone { epoch } | Self::Closed { epoch } => epoch,
        }
    }

    /// Returns true if the publisher is alive.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Alive { .. })
    }

    /// Returns the state as a word: `alive`, `gone` or `closed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Alive { .. } => "alive",
            Self::Gone { .. } => "gone",
            Self::Closed { .. } => "closed",
        }
    }
}

/// A copy of a table of `R` that follows its publisher.
///
/// What needs no row type ([`version`](UntypedSubscriber::version), [`publisher_state`](UntypedSubscriber::publisher_state), …)
/// is reached by dereferencing to [`UntypedSubscriber`]. It must not be used in a child of `fork`: its mappings stay behind.
///
/// The table must have the fields of `R`: the same names, kinds and order, and the same key. Only the widths of texts may differ,
/// because a publisher that infers fields widens them as longer texts come in. Each row is then converted when it is copied; for
/// equal schemas nothing is converted. A row with a text that does not fit the field of `R` makes the call that reads it return
/// [`Error::TextTooLong`](crate::Error::TextTooLong) with the field's name. The local copy stays as it is, and goes on once
/// the text fits.
///
/// ```
/// use common::{Change, Publisher, Row, Subscriber};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64 }
///
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-subscriber-{}", std::process::id());
/// let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut prices = Subscriber::<Price>::open(&name)?;
///
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// tx.commit()?;
///
/// assert_eq!(prices.get(&7), None);                       // the local copy is as it was
/// assert_eq!(prices.latest(&7)?.unwrap().bid, 9.5);       // shared memory is not
/// for change in &prices.refresh()? {
///     assert_eq!(change, Change::Created(&Price { instrument: 7, bid: 9.5 }));
/// }
/// assert_eq!(prices.get(&7).unwrap().bid, 9.5);
/// # publisher.close()
/// # }
/// ```
///
/// A row of the local copy is borrowed from it; it can neither outlive a refresh nor be sent away:
///
/// ```compile_fail,E0502
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64 }
/// fn stale(prices: &mut common::Subscriber<Price>) -> u64 {
///     let row = prices.get(&7).unwrap();
///     prices.refresh().unwrap();
///     row.instrument
/// }
/// ```
///
/// ```compile_fail,E0521
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, common::Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64 }
/// fn sent(prices: &common::Subscriber<Price>) {
///     let row = prices.get(&7).unwrap();
///     std::thread::spawn(move || row.instrument);
/// }
/// ```
pub struct Subscriber<R: Row> {
    inner: UntypedSubscriber,
    rows: PhantomData<R>,
}

impl<R: Row> Subscriber<R> {
    /// Attaches to table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`](crate::Error::SchemaMismatch) if the table has other fields than `R`,
    /// [`Error::TextTooLong`](crate::Error::TextTooLong) if a text does not fit its field of `R`, and as for
    /// [`UntypedSubscriber::open`].
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns a builder for a subscriber of table `name`.
    pub fn builder(name: &str) -> SubscriberBuilder<PhantomData<R>> {
        SubscriberBuilder::new(name)
    }

    /// Returns the row of a key from the local copy. All rows of the local copy are consistent at
    /// [`version`](UntypedSubscriber::version).
    #[inline]
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        let row_words = const { size_of::<R>().div_ceil(8) };
        let words = key.with_bytes(|key| self.inner.get_words(key, row_words))?;
        Some(bytemuck::from_bytes(
            &bytemuck::cast_slice(words)[..size_of::<R>()],
        ))
    }

    /// Returns an iterator over all rows of the local copy.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-iter-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// # let mut tx = publisher.begin();
    /// # for instrument in 1..=3 { tx.insert(&Price { instrument, bid: 10 * instrument })?; }
    /// # tx.commit()?;
    /// let prices = Subscriber::<Price>::open(&name)?;
    /// let highest = prices.iter().max_by_key(|price| price.bid);
    /// assert_eq!(highest.map(|price| price.instrument), Some(3));
    /// # publisher.close()
    /// # }
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.inner.iter().map(typed_row)
    }

    /// Reads the row of a key directly from shared memory, as of the last commit. This also finds
    /// keys that are newer than the local copy. The local copy does not change.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-latest-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let prices = Subscriber::<Price>::open(&name)?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&Price { instrument: 7, bid: 3 })?;
    /// tx.commit()?;
    /// assert_eq!(prices.latest(&7)?.map(|price| price.bid), Some(3));
    /// assert_eq!(prices.get(&7), None, "nothing was refreshed");
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt), and
    /// [`Error::TextTooLong`](crate::Error::TextTooLong) for a text that does not fit its field of `R`.
    #[inline]
    pub fn latest(&self, key: &R::Key) -> Result<Option<R>> {
        let mut row = R::zeroed();
        // Read in place: moving a value of this size costs more than reading it.
        if let Ok(words) = bytemuck::try_cast_slice_mut(std::slice::from_mut(&mut row))
            && key.with_bytes(|key| self.inner.read_fast(key, words))
        {
            return Ok(Some(row));
        }
        self.read_latest(key)
    }

    /// Slow path of [`latest`](Self::latest), for when `read_fast` cannot return the row.
    fn read_latest(&self, key: &R::Key) -> Result<Option<R>> {
        let mut row = R::zeroed();
        let found = match bytemuck::try_cast_slice_mut(std::slice::from_mut(&mut row)) {
            Ok(words) => key.with_bytes(|key| self.inner.latest_words(key, words))?,
            // `R` is not a whole number of words or not aligned to words: copy through a buffer.
            Err(_) => {
                let mut words = vec![0; self.schema().row_words()];
                let found = key.with_bytes(|key| self.inner.latest_words(key, &mut words))?;
                row = bytemuck::pod_read_unaligned(&bytemuck::cast_slice(&words)[..size_of::<R>()]);
                found
            }
        };
        Ok(found.then_some(row))
    }

    /// Updates the local copy to the last commit and returns the changes. Never blocks.
    ///
    /// # Errors
    /// As for [`UntypedSubscriber::refresh`].
    pub fn refresh(&mut self) -> Result<Changes<'_, R>> {
        self.inner.refresh().map(|inner| Changes {
            inner,
            rows: PhantomData,
        })
    }

    /// Refreshes like [`refresh`](Self::refresh). If nothing changed, sleeps until something does,
    /// for at most `timeout`.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # use std::time::Duration;
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-wait-{}", std::process::id());
    /// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let mut prices = Subscriber::<Price>::open(&name)?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&Price { instrument: 7, bid: 3 })?;
    /// # tx.commit()?;
    /// let changes = prices.wait(Some(Duration::from_secs(1)))?;
    /// if changes.is_empty() {
    ///     println!("nothing for a second");
    /// }
    /// for change in &changes {
    ///     println!("{change:?}, at version {}", changes.version());
    /// }
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`UntypedSubscriber::refresh`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Changes<'_, R>> {
        self.inner.wait(timeout).map(|inner| Changes {
            inner,
            rows: PhantomData,
        })
    }

    /// Sleeps until the local copy can be updated to `version` or later; see
    /// [`UntypedSubscriber::wait_for`].
    ///
    /// # Errors
    /// As for [`UntypedSubscriber::refresh`].
    pub fn wait_for(&mut self, version: u64, timeout: Option<Duration>) -> Result<Changes<'_, R>> {
        self.inner.wait_for(version, timeout).map(|inner| Changes {
            inner,
            rows: PhantomData,
        })
    }

    /// Returns a handle that ends this subscriber's waits from another thread; see
    /// [`UntypedSubscriber::interrupter`].
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.inner.interrupter()
    }

    /// Returns the changes of the last refresh or wait. After opening, these are all rows as created.
    pub fn changes(&self) -> Changes<'_, R> {
        Changes {
            inner: self.inner.changes(),
            rows: PhantomData,
        }
    }
}

/// Casts a row to its type. The schema was compared when the subscriber attached to the table.
#[inline]
fn typed_row<R: Row>(row: RowRef<'_>) -> &R {
    bytemuck::from_bytes(row.bytes())
}

impl<R: Row> Deref for Subscriber<R> {
    type Target = UntypedSubscriber;

    fn deref(&self) -> &UntypedSubscriber {
        &self.inner
    }
}

impl<R: Row> AsFd for Subscriber<R> {
    /// As [`UntypedSubscriber`]'s.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<R: Row> AsRawFd for Subscriber<R> {
    /// As [`UntypedSubscriber`]'s.
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
