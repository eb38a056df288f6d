//! The typed subscriber, a thin view of [`UntypedSubscriber`].

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use super::changes::{Changes, typed_row};
use super::event_set::Interrupter;
use super::liveness::PublisherState;
use super::reader::{read_row, word_of, words_of};
use super::untyped::UntypedSubscriber;
use crate::error::Result;
use crate::row::{Key, Row};

/// A local copy of a table with rows of type `R`, which follows the table's publisher.
///
/// [`untyped`](Self::untyped) returns the subscriber without its row type, which has further methods
/// (`schema`, `heartbeat_age`, …). A subscriber must not be used in a child of `fork`, which does
/// not inherit its mappings.
///
/// The table must have the fields of `R`: the same names, kinds and order, and the same key. Only
/// the widths of texts may differ, because a publisher that infers fields widens them for longer
/// texts. Rows are then converted when they are copied. If a text does not fit the field of `R`,
/// the call that reads it returns [`Error::TextTooLong`](crate::Error::TextTooLong) with the name
/// of the field. The local copy stays unchanged and can be updated once the text fits.
///
/// ```
/// use common::{Change, Publisher, Row, Subscriber};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64 }
///
/// # let name = format!("doc-subscriber-{}", std::process::id());
/// let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut prices = Subscriber::<Price>::open(&name)?;
///
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// tx.commit()?;
///
/// assert_eq!(prices.get(&7), None);                       // the local copy is unchanged
/// assert_eq!(prices.latest(&7)?.unwrap().bid, 9.5);       // shared memory has the row
/// for change in prices.refresh()? {
///     assert_eq!(change, Change::Created(&Price { instrument: 7, bid: 9.5 }));
/// }
/// assert_eq!(prices.get(&7).unwrap().bid, 9.5);
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
///
/// A row is borrowed from the local copy. It cannot outlive a refresh or be sent to another thread:
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
#[derive(Debug)]
pub struct Subscriber<R: Row> {
    inner: UntypedSubscriber,
    rows: PhantomData<R>,
}

impl<R: Row> Subscriber<R> {
    /// Returns the typed view of a subscriber whose rows have the schema of `R`.
    pub(super) fn new(inner: UntypedSubscriber) -> Self {
        Self { inner, rows: PhantomData }
    }

    /// Returns the subscriber without its row type.
    pub fn untyped(&self) -> &UntypedSubscriber {
        &self.inner
    }

    /// Returns the subscriber without its row type, to refresh or to wait.
    pub fn untyped_mut(&mut self) -> &mut UntypedSubscriber {
        &mut self.inner
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Returns the version of the local copy. All its rows are as of that commit.
    pub fn version(&self) -> u64 {
        self.inner.version()
    }

    /// Returns the number of rows in the local copy.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Returns true if the local copy has no rows.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Forwards to [`UntypedSubscriber::publisher_state`].
    pub fn publisher_state(&self) -> PublisherState {
        self.inner.publisher_state()
    }

    /// Returns the row of a key from the local copy. All rows of the local copy are consistent at
    /// [`version`](Self::version).
    #[inline]
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        let row_words = const { size_of::<R>().div_ceil(8) };
        let copy = self.inner.local_copy();
        let words = key.with_bytes(|key| copy.get_words(key, row_words))?;
        Some(bytemuck::from_bytes(&bytemuck::cast_slice(words)[..size_of::<R>()]))
    }

    /// Returns true if the local copy has a row with this key.
    pub fn contains_key(&self, key: &R::Key) -> bool {
        self.get(key).is_some()
    }

    /// Returns an iterator over the keys of all rows of the local copy, in no particular order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = R::Key> {
        self.iter().map(R::key)
    }

    /// Returns an iterator over all rows of the local copy, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &R> {
        self.inner.iter().map(typed_row)
    }

    /// Reads the row of a key directly from shared memory, as of the last commit. This also finds
    /// keys that are newer than the local copy. The local copy does not change.
    ///
    /// # Errors
    /// The errors of [`Reader::get`](crate::Reader::get).
    #[inline]
    pub fn latest(&self, key: &R::Key) -> Result<Option<R>> {
        let copy = self.inner.local_copy();
        let mut row = R::zeroed();
        if let (Some(word), Some(words)) = (word_of(key), words_of(&mut row))
            && copy.latest_fast(word, words)
        {
            return Ok(Some(row));
        }
        read_row(|words| key.with_bytes(|key| copy.latest(key, words)))
    }

    /// Fills `rows` with all rows as of the last commit, directly from shared memory, and returns
    /// their version. The order of the rows is unspecified. The local copy does not change. Pass
    /// the same vector again to save the allocation.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # let name = format!("doc-snapshot-{}", std::process::id());
    /// let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let prices = Subscriber::<Price>::open(&name)?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&Price { instrument: 7, bid: 3 })?;
    /// tx.commit()?;
    ///
    /// let mut rows = Vec::new();
    /// assert_eq!(prices.snapshot(&mut rows)?, publisher.version());
    /// assert_eq!(rows, [Price { instrument: 7, bid: 3 }]);
    /// assert!(prices.is_empty(), "it was not refreshed");
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Reader::snapshot`](crate::Reader::snapshot). The contents of `rows` are then
    /// unspecified.
    pub fn snapshot(&self, rows: &mut Vec<R>) -> Result<u64> {
        self.inner.local_copy().latest_source()?.snapshot_into(rows)
    }

    /// Updates the local copy to the last commit and returns the changes. Never blocks.
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::refresh`].
    pub fn refresh(&mut self) -> Result<Changes<'_, R>> {
        self.inner.refresh().map(Changes::new)
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
    /// for change in changes {
    ///     println!("{change:?}, at version {}", changes.version());
    /// }
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::refresh`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Changes<'_, R>> {
        self.inner.wait(timeout).map(Changes::new)
    }

    /// Sleeps until the local copy can be updated to `version` or later; see
    /// [`UntypedSubscriber::wait_for`].
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::refresh`].
    pub fn wait_for(&mut self, version: u64, timeout: Option<Duration>) -> Result<Changes<'_, R>> {
        self.inner.wait_for(version, timeout).map(Changes::new)
    }

    /// Returns a handle that ends this subscriber's waits from another thread; see
    /// [`UntypedSubscriber::interrupter`].
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.inner.interrupter()
    }

    /// Returns the changes of the last refresh or wait. After opening, these are all rows as
    /// created.
    pub fn changes(&self) -> Changes<'_, R> {
        Changes::new(self.inner.changes())
    }
}

impl<R: Row> AsFd for Subscriber<R> {
    /// Returns the descriptor of [`UntypedSubscriber::as_fd`](AsFd::as_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<R: Row> AsRawFd for Subscriber<R> {
    /// Returns the descriptor of [`as_fd`](AsFd::as_fd).
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
