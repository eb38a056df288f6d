//! Subscribers and readers on a tokio runtime (feature `tokio`).
//!
//! Thin views: tokio waits for the descriptor of the subscriber or reader. To wait for news:
//!
//! 1. Refresh. If there is news, return it.
//! 2. Wait until the descriptor is readable. A refresh that found no news has parked, so the next
//!    event makes the descriptor readable.
//! 3. Clear the readiness and start again at step 1. An event between the clearing and the refresh
//!    makes the descriptor readable again.
//!
//! Dropping a future loses nothing: it can be dropped only at step 2, when it has returned every
//! change that it took from the table. The next future returns later changes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;

use super::changes::{Cause, Change, Changes, UntypedChanges, typed_row};
use super::event_set::Interrupter;
use super::reader::UntypedReader;
use super::typed::Subscriber;
use super::untyped::UntypedSubscriber;
use crate::error::{Error, Result};
use crate::row::{Row, RowBuf, RowRef};

/// A [`Subscriber`] or an [`UntypedSubscriber`].
pub trait AnySubscriber: View {}

impl<R: Row> AnySubscriber for Subscriber<R> {}
impl AnySubscriber for UntypedSubscriber {}

/// The rows of a subscriber, typed or untyped. Not exported, so that no other type can implement it.
pub trait View: AsFd {
    /// Changes borrowed from the local copy.
    type Changes<'s>
    where
        Self: 's;
    /// An owned row.
    type Row;

    /// Returns the subscriber without its row type.
    fn inner(&mut self) -> &mut UntypedSubscriber;
    /// Returns the changes of the last refresh.
    fn last_changes(&self) -> Self::Changes<'_>;
    /// Converts a row.
    fn owned_row(row: RowRef<'_>) -> Self::Row;
}

impl View for UntypedSubscriber {
    type Changes<'s> = UntypedChanges<'s>;
    type Row = RowBuf;

    fn inner(&mut self) -> &mut UntypedSubscriber {
        self
    }

    fn last_changes(&self) -> UntypedChanges<'_> {
        self.changes()
    }

    fn owned_row(row: RowRef<'_>) -> RowBuf {
        row.to_buf()
    }
}

impl<R: Row> View for Subscriber<R> {
    type Changes<'s> = Changes<'s, R>;
    type Row = R;

    fn inner(&mut self) -> &mut UntypedSubscriber {
        self.untyped_mut()
    }

    fn last_changes(&self) -> Changes<'_, R> {
        self.changes()
    }

    fn owned_row(row: RowRef<'_>) -> R {
        *typed_row(row)
    }
}

/// Owned changes of one refresh: the item of the [`AsyncSubscriber`] stream.
///
/// ```
/// # use common::{AsyncSubscriber, Publisher, Row, Subscriber};
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// use futures_util::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> common::Result<()> {
/// # let name = format!("doc-stream-{}", std::process::id());
/// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut prices = AsyncSubscriber::new(Subscriber::<Price>::open(&name)?)?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&Price { instrument: 7, bid: 3 })?;
/// # tx.commit()?;
/// # let rounds = 1;
/// # let mut prices = prices.take(rounds);
/// while let Some(update) = prices.next().await {
///     let update = update?;
///     println!("version {}: {:?}", update.version, update.changes);
/// }
/// # publisher.close()
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedChanges<T> {
    /// The version that the changes lead to.
    pub version: u64,
    /// Reason that the changes were returned.
    pub cause: Cause,
    /// True if the schema changed; see [`UntypedChanges::schema_changed`].
    pub schema_changed: bool,
    /// True if an [`Interrupter`] ended the wait, even if there are changes as well.
    pub interrupted: bool,
    /// The changes, each key once.
    pub changes: Vec<Change<T>>,
}

impl<T> OwnedChanges<T> {
    fn new(changes: &UntypedChanges<'_>, row: impl Fn(RowRef<'_>) -> T) -> Self {
        Self {
            version: changes.version(),
            cause: changes.cause(),
            schema_changed: changes.schema_changed(),
            interrupted: changes.interrupted(),
            changes: changes.iter().map(|change| change.map(&row)).collect(),
        }
    }
}

/// A subscriber for tokio tasks: [`changed`](Self::changed) waits, and the [`Stream`] returns owned
/// changes.
///
/// [`get_ref`](Self::get_ref) returns the subscriber, whose methods read ([`get`](Subscriber::get),
/// `iter`, `latest`, …). The stream has no end, because a closed table may be published again; see
/// `publisher_state()`. It begins with the first change after the subscriber was opened or last refreshed. Earlier rows
/// are in the local copy.
///
/// ```
/// use common::{AsyncSubscriber, Change, Publisher, Row, Subscriber};
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Price { #[row(key)] instrument: u64, bid: f64 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> common::Result<()> {
/// # let name = format!("doc-async-{}", std::process::id());
/// let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut prices = AsyncSubscriber::new(Subscriber::<Price>::open(&name)?)?;
///
/// let mut tx = publisher.begin();
/// tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// tx.commit()?;
///
/// for change in prices.changed().await? {
///     if let Change::Created(new) = change {
///         println!("{} is {} now", new.instrument, new.bid);
///     }
/// }
/// assert!(prices.get_ref().get(&7).is_some());
/// # publisher.close()
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncSubscriber<S> {
    readable: Readable,
    subscriber: S,
}

impl<S: AnySubscriber> AsyncSubscriber<S> {
    /// Registers the subscriber with the runtime.
    ///
    /// # Errors
    /// Errors of the system calls.
    ///
    /// # Panics
    /// If called outside of a tokio runtime with I/O enabled.
    pub fn new(mut subscriber: S) -> Result<Self> {
        let name = subscriber.inner().name().to_owned();
        Ok(Self { readable: Readable::new(&name, subscriber.as_fd())?, subscriber })
    }

    /// Waits until rows, the schema or the publisher's state change, or an [`Interrupter`] ends the
    /// wait, and returns the changes. Yields to other tasks from time to time, even if each refresh
    /// finds changes.
    ///
    /// Dropping the future loses nothing, so it can be used in `select!` and with a timeout: the
    /// next future returns the changes. Until the next call, `get_ref().changes()` also returns
    /// them.
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::refresh`]. After [`Error::Outrun`], the caller can try
    /// again at once.
    pub async fn changed(&mut self) -> Result<S::Changes<'_>> {
        std::future::poll_fn(|context| self.poll_changed(context)).await?;
        Ok(self.subscriber.last_changes())
    }

    /// Waits until the local copy can be updated to `version` or later, and updates it in one step.
    /// Returns early if the schema or the state of the publisher changes, or if the wait is
    /// interrupted; see [`UntypedSubscriber::wait_for`]. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The errors of [`changed`](Self::changed).
    pub async fn wait_for(&mut self, version: u64) -> Result<S::Changes<'_>> {
        std::future::poll_fn(|context| self.poll_for(version, context)).await?;
        Ok(self.subscriber.last_changes())
    }

    /// Polls for [`changed`](Self::changed), for futures that are written by hand.
    /// `get_ref().changes()` returns the changes.
    ///
    /// # Errors
    /// The errors of [`changed`](Self::changed).
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_for(0, context)
    }

    fn poll_for(&mut self, version: u64, context: &mut Context<'_>) -> Poll<Result<()>> {
        let subscriber = self.subscriber.inner();
        self.readable.poll(context, || subscriber.refresh_for(version))
    }

    /// Returns a handle that ends a wait from another thread or task; see
    /// [`UntypedSubscriber::interrupter`].
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.subscriber.inner().interrupter()
    }

    /// Returns the subscriber, to read the local copy.
    pub fn get_ref(&self) -> &S {
        &self.subscriber
    }

    /// Returns the subscriber and deregisters it from the runtime.
    pub fn into_inner(self) -> S {
        self.subscriber
    }
}

/// A descriptor that is registered with the runtime.
#[derive(Debug)]
struct Readable {
    table: String,
    /// A duplicate, which stays open while the runtime uses it.
    descriptor: AsyncFd<OwnedFd>,
}

impl Readable {
    fn new(table: &str, descriptor: BorrowedFd<'_>) -> Result<Self> {
        let failed = |error| failed(table, error);
        let descriptor = descriptor.try_clone_to_owned().map_err(failed)?;
        // The replacement of this deprecated function is unsafe, because a descriptor may be closed
        // and reused while it is registered.
        #[allow(deprecated)]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE).map_err(failed)?;
        Ok(Self { table: table.to_owned(), descriptor })
    }

    /// Polls until `refresh` returns true.
    fn poll(
        &self,
        context: &mut Context<'_>,
        mut refresh: impl FnMut() -> Result<bool>,
    ) -> Poll<Result<()>> {
        // Yield before a refresh, so that no changes are lost.
        ready!(pin!(consume_budget()).poll(context));
        while !refresh()? {
            match ready!(self.descriptor.poll_read_ready(context)) {
                Ok(mut readable) => readable.clear_ready(),
                Err(error) => return Poll::Ready(Err(failed(&self.table, error))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn failed(table: &str, source: std::io::Error) -> Error {
    Error::System { object: table.to_owned(), action: "wait with tokio for", source }
}

/// A poll keeps no borrow of the subscriber.
impl<S> Unpin for AsyncSubscriber<S> {}

impl<S: AnySubscriber> Stream for AsyncSubscriber<S> {
    type Item = Result<OwnedChanges<S::Row>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let changed = ready!(self.poll_changed(context));
        let owned = |()| OwnedChanges::new(&self.subscriber.inner().changes(), S::owned_row);
        Poll::Ready(Some(changed.map(owned)))
    }
}

/// A reader for tasks of tokio: lookups as those of the reader, which never wait, and waits for
/// commits.
///
/// `T` is a [`Reader`](crate::Reader) or an [`UntypedReader`], which [`get_ref`](Self::get_ref)
/// returns.
///
/// ```
/// use common::{AsyncReader, Publisher, Reader, Row};
///
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> common::Result<()> {
/// # let name = format!("doc-async-reader-{}", std::process::id());
/// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// let mut prices = AsyncReader::new(Reader::<Price>::open(&name)?)?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// # let written = tx.commit()?;
/// // The publisher's commit returned `written`, and the publisher passed it on.
/// if prices.wait_for(written).await? {
///     assert_eq!(prices.get_ref().get(&7)?.unwrap().bid, 9.5);
/// }
/// # publisher.close()
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncReader<T> {
    readable: Readable,
    reader: T,
}

impl<T: AsMut<UntypedReader> + AsFd> AsyncReader<T> {
    /// Registers the reader with the runtime.
    ///
    /// # Errors
    /// Errors of the system calls.
    ///
    /// # Panics
    /// If called outside of a tokio runtime with I/O enabled.
    pub fn new(mut reader: T) -> Result<Self> {
        let name = reader.as_mut().name().to_owned();
        Ok(Self { readable: Readable::new(&name, reader.as_fd())?, reader })
    }

    /// Waits for a commit, another schema or another state of the publisher, or until an
    /// [`Interrupter`] ends the wait. Returns the version of the table if there are any of these
    /// news. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The errors of [`UntypedReader::refresh`].
    pub async fn changed(&mut self) -> Result<Option<u64>> {
        std::future::poll_fn(|context| self.poll_for(0, context)).await?;
        Ok(self.reader.as_mut().news())
    }

    /// Waits until the table is at `version` or later, and returns true if it is. Returns early as
    /// [`UntypedReader::wait_for`] does. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The errors of [`UntypedReader::refresh`].
    pub async fn wait_for(&mut self, version: u64) -> Result<bool> {
        std::future::poll_fn(|context| self.poll_for(version, context)).await?;
        Ok(self.reader.as_mut().seen_version() >= version)
    }

    fn poll_for(&mut self, version: u64, context: &mut Context<'_>) -> Poll<Result<()>> {
        let reader = self.reader.as_mut();
        self.readable.poll(context, || reader.refresh_for(version))
    }

    /// Returns a handle that ends a wait from another thread or task.
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.reader.as_mut().interrupter()
    }

    /// Returns the reader, to look up rows.
    pub fn get_ref(&self) -> &T {
        &self.reader
    }

    /// Returns the reader and deregisters it from the runtime.
    pub fn into_inner(self) -> T {
        self.reader
    }
}
