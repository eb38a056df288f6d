//! The builder of a subscriber.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copy::LocalCopy;
use super::liveness::Liveness;
use super::parking::ParkState;
use super::typed::Subscriber;
use super::untyped::UntypedSubscriber;
use crate::error::{Error, Result};
use crate::region::object::TableName;
use crate::row::Row;
use crate::row::schema::Schema;
use crate::wake::{WakeKind, check_place};

/// Minimum re-check interval. A shorter one would amount to spinning.
const MIN_RECHECK: Duration = Duration::from_millis(1);
/// Interval at which `open_within` looks for a table that is not published yet.
const OPEN_INTERVAL: Duration = Duration::from_millis(10);

/// Builder of a subscriber. `S` selects the rows: a type with [`Row`], or `()` for the table's own
/// schema.
///
/// ```
/// # use common::{Publisher, Row, Sleep, Subscriber};
/// # use std::time::Duration;
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-subscriber-builder-{}", std::process::id());
/// # let publisher = Publisher::<Price>::builder(&name).open()?;
/// let prices = Subscriber::<Price>::builder(&name)
///     .wake(Sleep::Futex)
///     .recheck(Duration::from_millis(200))
///     .open_within(Duration::from_secs(10))?; // also if the publisher starts later
/// # assert!(prices.is_empty());
/// # publisher.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "open it"]
pub struct SubscriberBuilder<S> {
    name: String,
    owner: Option<u32>,
    recheck: Duration,
    wake: WakeKind,
    wake_at: Option<PathBuf>,
    rows: PhantomData<S>,
}

impl<S> SubscriberBuilder<S> {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: None,
            recheck: Duration::from_secs(1),
            wake: WakeKind::default(),
            wake_at: None,
            rows: PhantomData,
        }
    }

    fn attach(&self, expected: Option<Arc<Schema>>) -> Result<UntypedSubscriber> {
        let name = TableName::new(&self.name)?;
        if let (Some(sleep), Some(place)) = (self.wake.sleep(), &self.wake_at) {
            check_place(sleep, place)?;
        }
        let copy = LocalCopy::open(name, self.owner, expected)?;
        let object = copy.region().object();
        let parking = ParkState::new(object, self.owner, self.wake, self.wake_at.clone())?;
        UntypedSubscriber::new(copy, parking, Liveness::new(self.recheck))
    }

    /// Trusts only tables of this user. The default is to trust those of this process's user and of
    /// root.
    pub fn owner(mut self, user: u32) -> Self {
        self.owner = Some(user);
        self
    }

    /// Sets the maximum time that a subscriber sleeps before it checks the table without a wake-up.
    /// This re-check limits the delay if a wake-up is lost. The default is 1 s.
    pub fn recheck(mut self, interval: Duration) -> Self {
        self.recheck = interval.max(MIN_RECHECK);
        self
    }

    /// Sets how the subscriber waits for changes. The default is
    /// [`Sleep::Auto`](crate::Sleep::Auto). If the requested kind is not available, the subscriber
    /// logs this once and checks the table at least every 50 ms.
    ///
    /// ```
    /// # use common::{Schema, Sleep, UntypedPublisher, UntypedSubscriber, WakeKind};
    /// # use std::time::Duration;
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-wake-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let kind = WakeKind::SpinThen(Duration::from_micros(50), Sleep::Futex);
    /// let mut table = UntypedSubscriber::builder(&name).wake(kind).open()?;
    /// # table.wait(Some(Duration::from_millis(1)))?;
    /// # publisher.close()
    /// # }
    /// ```
    pub fn wake(mut self, kind: impl Into<WakeKind>) -> Self {
        self.wake = kind.into();
        self
    }

    /// Sets the directory of the socket of [`Sleep::Unix`](crate::Sleep::Unix), or the directory or
    /// path of the pipe of [`Sleep::Fifo`](crate::Sleep::Fifo). The publisher must see the socket
    /// or pipe under the same path, and opens it only if the publisher's user owns it. Opening
    /// fails with [`Error::InvalidWake`] if the socket or pipe cannot be created there. By default
    /// sockets are abstract, and pipes are created in `XDG_RUNTIME_DIR` or in `tablecast-UID` in
    /// the directory for temporary files.
    ///
    /// ```
    /// # use common::{Error, Schema, Sleep, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-wake-at-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let builder = UntypedSubscriber::builder(&name).wake(Sleep::Fifo);
    /// let refused = builder.wake_at("/no/such/directory/news").open();
    /// assert!(matches!(refused, Err(Error::InvalidWake { .. })));
    /// # publisher.close()
    /// # }
    /// ```
    pub fn wake_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.wake_at = Some(path.into());
        self
    }
}

/// Retries `open` until the table exists and changes slowly enough to be copied, for at most
/// `timeout`.
fn when_published<T>(name: &str, timeout: Duration, open: impl Fn() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(Error::Outrun { .. }) if begun.elapsed() < timeout => {}
            Err(Error::NotFound { .. }) if begun.elapsed() < timeout => {
                std::thread::sleep(OPEN_INTERVAL.min(timeout.saturating_sub(begun.elapsed())));
            }
            Err(Error::NotFound { .. }) => {
                return Err(Error::TimedOut { table: name.to_owned(), waited: timeout });
            }
            other => return other,
        }
    }
}

impl SubscriberBuilder<()> {
    /// Attaches to the table, whatever its schema.
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::open`].
    pub fn open(&self) -> Result<UntypedSubscriber> {
        self.attach(None)
    }

    /// Attaches to the table as soon as it exists and can be copied.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Outrun`] if it always changed too fast, and the errors of
    /// [`UntypedSubscriber::open`].
    pub fn open_within(&self, timeout: Duration) -> Result<UntypedSubscriber> {
        when_published(&self.name, timeout, || self.open())
    }
}

impl<R: Row> SubscriberBuilder<PhantomData<R>> {
    /// Attaches to the table.
    ///
    /// # Errors
    /// The errors of [`Subscriber::open`].
    pub fn open(&self) -> Result<Subscriber<R>> {
        let expected = Arc::new(Schema::of::<R>()?);
        self.attach(Some(expected)).map(Subscriber::new)
    }

    /// Attaches to the table as soon as it exists and can be copied.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Outrun`] if it always changed too fast, and the errors of
    /// [`Subscriber::open`].
    pub fn open_within(&self, timeout: Duration) -> Result<Subscriber<R>> {
        when_published(&self.name, timeout, || self.open())
    }
}

impl UntypedSubscriber {
    /// Attaches to table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotFound`], [`Error::WrongOwner`],
    /// [`Error::PermissionDenied`], [`Error::LayoutMismatch`], [`Error::Corrupt`],
    /// [`Error::Outrun`], and [`Error::InvalidWake`] from a builder.
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns a builder for a subscriber of table `name`.
    pub fn builder(name: &str) -> SubscriberBuilder<()> {
        SubscriberBuilder::new(name)
    }
}

impl<R: Row> Subscriber<R> {
    /// Attaches to table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] if the table has other fields than `R`, [`Error::TextTooLong`] if
    /// a text does not fit its field of `R`, and the errors of [`UntypedSubscriber::open`].
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns a builder for a subscriber of table `name`.
    pub fn builder(name: &str) -> SubscriberBuilder<PhantomData<R>> {
        SubscriberBuilder::new(name)
    }
}
