//! A subscriber on a runtime of tokio (feature `tokio`).
//!
//! A thin view: tokio waits for the subscriber's descriptor, and all else is a refresh. To wait for news is
//!
//! 1. refresh; if there is news, it is told at once;
//! 2. wait until the descriptor is readable, which only now can be let go: a refresh that found nothing has parked;
//! 3. forget that it was readable, and go on at 1. What comes between the two makes it readable again.
//!
//! So dropping a future loses nothing: it can be dropped only at step 2, when every change taken from
//! the table has been reported. The next future reports later changes.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;

use super::{Cause, Change, Changes, Interrupter, Subscriber, UntypedChanges, UntypedSubscriber};
use crate::error::{Error, Result};
use crate::row::{Row, RowBuf, RowRef};
use sealed::Refresh;

/// A [`Subscriber`] or an [`UntypedSubscriber`].
pub trait AnySubscriber: Refresh {}

impl<R: Row> AnySubscriber for Subscriber<R> {}
impl AnySubscriber for UntypedSubscriber {}

mod sealed {
    use super::*;

    /// Operations of the wrapped subscriber that the async view uses.
    pub trait Refresh: AsFd {
        /// Changes borrowed from the local copy.
        type Changes<'s>
        where
            Self: 's;
        /// An owned row.
        type Row;

        /// Refreshes, and returns true if anything changed.
        fn has_news(&mut self) -> Result<bool>;
        /// Returns the changes of the last refresh.
        fn told(&self) -> Self::Changes<'_>;
        /// Returns the changes of the last refresh, owned.
        fn taken(&self) -> OwnedChanges<Self::Row>;
        /// Returns the interrupter of the subscriber.
        fn ended_by(&mut self) -> Result<Interrupter>;
        /// Returns the table's name for error messages.
        fn table(&self) -> &str;
    }
}

impl Refresh for UntypedSubscriber {
    type Changes<'s> = UntypedChanges<'s>;
    type Row = RowBuf;

    fn has_news(&mut self) -> Result<bool> {
        Ok(self.refresh()?.cause() != Cause::Nothing)
    }

    fn told(&self) -> UntypedChanges<'_> {
        self.changes()
    }

    fn taken(&self) -> OwnedChanges<RowBuf> {
        OwnedChanges::of(&self.changes(), RowRef::to_buf)
    }

    fn ended_by(&mut self) -> Result<Interrupter> {
        self.interrupter()
    }

    fn table(&self) -> &str {
        self.name()
    }
}

impl<R: Row> Refresh for Subscriber<R> {
    type Changes<'s> = Changes<'s, R>;
    type Row = R;

    fn has_news(&mut self) -> Result<bool> {
        Ok(self.refresh()?.cause() != Cause::Nothing)
    }

    fn told(&self) -> Changes<'_, R> {
        self.changes()
    }

    fn taken(&self) -> OwnedChanges<R> {
        OwnedChanges::of(&self.changes().inner, |row| *super::typed_row::<R>(row))
    }

    fn ended_by(&mut self) -> Result<Interrupter> {
        self.interrupter()
    }

    fn table(&self) -> &str {
        self.name()
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
/// while let Some(told) = prices.next().await {
///     let told = told?;
///     println!("version {}: {:?}", told.version, told.changes);
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
    fn of<'s>(told: &UntypedChanges<'s>, row: impl Fn(RowRef<'s>) -> T + Copy) -> Self {
        Self {
            version: told.version(),
            cause: told.cause(),
            schema_changed: told.schema_changed(),
            interrupted: told.interrupted(),
            changes: told.iter().map(|change| change.map(row)).collect(),
        }
    }
}

/// A subscriber that is waited for by tasks of tokio: [`changed`](Self::changed), or a [`Stream`] of what changed.
///
/// Everything that reads ([`get`](Subscriber::get), `iter`, `latest`, …) is reached by dereferencing. The stream has no end: a
/// table that is closed may be published again; see `publisher_state()`. It begins with what changes after the subscriber was
/// opened (or last refreshed): the rows before are in the copy.
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
/// for change in &prices.changed().await? {
///     if let Change::Created(new) = change {
///         println!("{} is {} now", new.instrument, new.bid);
///     }
/// }
/// assert!(prices.get(&7).is_some());
/// # publisher.close()
/// # }
/// ```
pub struct AsyncSubscriber<S> {
    /// A descriptor of its own for what the subscriber waits by, so that it is the same as long as the runtime knows it.
    readable: AsyncFd<OwnedFd>,
    subscriber: S,
}

impl<S: AnySubscriber> AsyncSubscriber<S> {
    /// Registers the subscriber with the runtime.
    ///
    /// # Errors
    /// Errors of the system calls.
    ///
    /// # Panics
    /// Outside of a runtime of tokio with I/O enabled, as all that waits for descriptors there.
    pub fn new(subscriber: S) -> Result<Self> {
        let failed = |error| failed(subscriber.table(), error);
        let readable = subscriber.as_fd().try_clone_to_owned().map_err(failed)?;
        // What takes its place is unsafe, for the sake of descriptors that could be another one later.
        #[allow(deprecated)]
        let readable = AsyncFd::with_interest(readable, Interest::READABLE).map_err(failed)?;
        Ok(Self {
            readable,
            subscriber,
        })
    }

    /// The next news, of rows or of the publisher; at once if there is any. It gives way to other tasks now and then, also
    /// where there always is some.
    ///
    /// A future that is dropped loses nothing, so it can stand in `select!` and under a timeout: what it did not tell is told by
    /// the next one. The changes are also those that `changes()` returns until then.
    ///
    /// # Errors
    /// As for [`UntypedSubscriber::refresh`]. After [`Error::Outrun`] it can be called again at once.
    pub async fn changed(&mut self) -> Result<S::Changes<'_>> {
        std::future::poll_fn(|context| self.poll_changed(context)).await?;
        Ok(self.subscriber.told())
    }

    /// As [`changed`](Self::changed), for futures that are written by hand. The news is in `changes()`.
    ///
    /// # Errors
    /// As for [`changed`](Self::changed).
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        // Before anything is taken from the table: who has to give way here has taken nothing.
        ready!(pin!(consume_budget()).poll(context));
        loop {
            if self.subscriber.has_news()? {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.readable.poll_read_ready(context)) {
                Ok(mut readable) => readable.clear_ready(),
                Err(error) => return Poll::Ready(Err(failed(self.subscriber.table(), error))),
            }
        }
    }

    /// What has the next news told by other threads and tasks, as [`UntypedSubscriber::interrupter`].
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.subscriber.ended_by()
    }

    /// Returns the subscriber and deregisters it from the runtime.
    pub fn into_inner(self) -> S {
        self.subscriber
    }
}

fn failed(table: &str, source: std::io::Error) -> Error {
    Error::System {
        object: table.to_owned(),
        action: "wait on a runtime for",
        source,
    }
}

impl<S: AnySubscriber> Deref for AsyncSubscriber<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.subscriber
    }
}

/// No borrow of the subscriber is kept across polls.
impl<S> Unpin for AsyncSubscriber<S> {}

impl<S: AnySubscriber> Stream for AsyncSubscriber<S> {
    type Item = Result<OwnedChanges<S::Row>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let changed = ready!(self.poll_changed(context));
        Poll::Ready(Some(changed.map(|()| self.subscriber.taken())))
    }
}
