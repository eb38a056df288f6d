//! Options for opening a table.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copy::LocalCopy;
use super::follow::{Content, Follow};
use super::liveness::Liveness;
use super::parking::ParkState;
use super::reader::{LastSeen, Reader, UntypedReader};
use super::source::Source;
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

/// Options for opening a table: [`Subscriber::builder`], [`Reader::builder`] and those of the
/// untyped types return them. `T` is the type that [`open`](Self::open) returns.
///
/// ```
/// # use common::{Publisher, Row, Sleep, Subscriber};
/// # use std::time::Duration;
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// # let name = format!("doc-open-options-{}", std::process::id());
/// # let publisher = Publisher::<Price>::builder(&name).open()?;
/// let prices = Subscriber::<Price>::builder(&name)
///     .wake(Sleep::Futex)
///     .recheck(Duration::from_millis(200))
///     .open_within(Duration::from_secs(10))?; // also if the publisher starts later
/// # assert!(prices.is_empty());
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[must_use = "open it"]
pub struct OpenOptions<T> {
    settings: Settings,
    target: PhantomData<fn() -> T>,
}

#[derive(Clone, Debug)]
struct Settings {
    name: String,
    owner: Option<u32>,
    recheck: Duration,
    wake: WakeKind,
    wake_at: Option<PathBuf>,
    schema: Option<Schema>,
}

// A derived implementation would require it of `T`.
impl<T> Clone for OpenOptions<T> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), target: PhantomData }
    }
}

impl<T> fmt::Debug for OpenOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenOptions").field(&self.settings).finish()
    }
}

impl<T> OpenOptions<T> {
    fn new(name: &str) -> Self {
        let settings = Settings {
            name: name.to_owned(),
            owner: None,
            recheck: Duration::from_secs(1),
            wake: WakeKind::default(),
            wake_at: None,
            schema: None,
        };
        Self { settings, target: PhantomData }
    }

    /// Opens the table, and follows it with `content`. `expected` is the schema of the rows, unless
    /// it is that of the table.
    fn follow<C: Content>(
        &self,
        expected: Option<Schema>,
        content: impl FnOnce(Arc<Source>) -> Result<C>,
    ) -> Result<Follow<C>> {
        let Settings { name, owner, recheck, wake, wake_at, schema: _ } = &self.settings;
        let name = TableName::new(name)?;
        if let Some(sleep) = wake.sleep() {
            sleep.check()?;
            wake_at.iter().try_for_each(|place| check_place(sleep, place))?;
        }
        let source = Source::open(name, *owner, expected.map(Arc::new))?;
        let content = content(Arc::new(source))?;
        let object = content.region().object();
        let parking = ParkState::new(object, *owner, *wake, wake_at.clone())?;
        Follow::new(content, parking, Liveness::new(*recheck))
    }

    /// Trusts only tables of this user. The default is to trust those of this process's user and of
    /// root.
    pub fn owner(mut self, user: u32) -> Self {
        self.settings.owner = Some(user);
        self
    }

    /// Sets the maximum time that a subscriber sleeps before it checks the table without a wake-up.
    /// This re-check limits the delay if a wake-up is lost. The default is 1 s.
    pub fn recheck(mut self, interval: Duration) -> Self {
        self.settings.recheck = interval.max(MIN_RECHECK);
        self
    }

    /// Sets how the subscriber waits for changes. The default is
    /// [`Sleep::Auto`](crate::Sleep::Auto). If the requested kind is not available, the subscriber
    /// logs this once and checks the table at least every 50 ms.
    ///
    /// ```
    /// # use common::{Schema, Sleep, UntypedPublisher, UntypedSubscriber, WakeKind};
    /// # use std::time::Duration;
    /// # let name = format!("doc-wake-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let kind = WakeKind::SpinThen(Duration::from_micros(50), Sleep::Futex);
    /// let mut table = UntypedSubscriber::builder(&name).wake(kind).open()?;
    /// # table.wait(Some(Duration::from_millis(1)))?;
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn wake(mut self, kind: impl Into<WakeKind>) -> Self {
        self.settings.wake = kind.into();
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
    /// # let name = format!("doc-wake-at-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let builder = UntypedSubscriber::builder(&name).wake(Sleep::Fifo);
    /// let refused = builder.wake_at("/no/such/directory/news").open();
    /// assert!(matches!(refused, Err(Error::InvalidWake { .. })));
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn wake_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.wake_at = Some(path.into());
        self
    }
}

/// A type that can be opened by [`OpenOptions`]: a subscriber or a reader, typed or untyped.
pub trait Open: Attach {}

impl<T: Attach> Open for T {}

/// Not exported, so that no other type can implement it.
pub trait Attach: Sized {
    fn attach(options: &OpenOptions<Self>) -> Result<Self>;
}

/// Not exported, so that no other type can implement it.
pub trait Untyped {}

impl Untyped for UntypedSubscriber {}
impl Untyped for UntypedReader {}

impl Attach for UntypedSubscriber {
    fn attach(options: &OpenOptions<Self>) -> Result<Self> {
        options.follow(options.settings.schema.clone(), LocalCopy::new).map(Self::new)
    }
}

impl<R: Row> Attach for Subscriber<R> {
    fn attach(options: &OpenOptions<Self>) -> Result<Self> {
        let follow = options.follow(Some(Schema::of::<R>()?), LocalCopy::new)?;
        Ok(Self::new(UntypedSubscriber::new(follow)))
    }
}

impl Attach for UntypedReader {
    fn attach(options: &OpenOptions<Self>) -> Result<Self> {
        let expected = options.settings.schema.clone();
        options.follow(expected, |source| Ok(LastSeen::new(source))).map(Self::new)
    }
}

impl<R: Row> Attach for Reader<R> {
    fn attach(options: &OpenOptions<Self>) -> Result<Self> {
        let expected = Some(Schema::of::<R>()?);
        let follow = options.follow(expected, |source| Ok(LastSeen::new(source)))?;
        Ok(Self::new(UntypedReader::new(follow)))
    }
}

impl<T: Open> OpenOptions<T> {
    /// Opens the table.
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::open`] or [`Subscriber::open`].
    pub fn open(&self) -> Result<T> {
        T::attach(self)
    }

    /// Opens the table as soon as it exists and, for a subscriber, changes slowly enough to be
    /// copied.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Outrun`] if it always changed too fast, and the errors of
    /// [`open`](Self::open).
    pub fn open_within(&self, timeout: Duration) -> Result<T> {
        let begun = Instant::now();
        loop {
            match self.open() {
                Err(Error::Outrun { .. }) if begun.elapsed() < timeout => {}
                Err(Error::NotFound { .. }) if begun.elapsed() < timeout => {
                    std::thread::sleep(OPEN_INTERVAL.min(timeout.saturating_sub(begun.elapsed())));
                }
                Err(Error::NotFound { table }) => {
                    return Err(Error::TimedOut { table, waited: timeout });
                }
                other => return other,
            }
        }
    }
}

/// Untyped subscribers and readers.
impl<T: Open + Untyped> OpenOptions<T> {
    /// Sets the schema that the program expects, as the row type of a typed reader does. Rows are
    /// converted to it where only the widths of texts differ. Any other difference is
    /// [`Error::SchemaMismatch`], also when a later publisher changes the schema. By default, rows
    /// have the schema of the table, which may change.
    ///
    /// ```
    /// # use common::{Error, Schema, UntypedPublisher, UntypedReader};
    /// # let name = format!("doc-schema-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("name:text(8)", None)?).open()?;
    /// let wider = Schema::parse("name:text(32)", None)?;
    /// let reader = UntypedReader::builder(&name).schema(wider).open()?;
    /// assert_eq!(reader.schema()?.row_size(), 32);
    ///
    /// let other = Schema::parse("id:u64", None)?;
    /// let refused = UntypedReader::builder(&name).schema(other).open();
    /// assert!(matches!(refused, Err(Error::SchemaMismatch { .. })));
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn schema(mut self, schema: Schema) -> Self {
        self.settings.schema = Some(schema);
        self
    }
}

impl UntypedSubscriber {
    /// Attaches to table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotFound`], [`Error::WrongOwner`],
    /// [`Error::PermissionDenied`], [`Error::LayoutMismatch`], [`Error::Corrupt`],
    /// [`Error::Outrun`], and [`Error::InvalidWake`] with options.
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns options for a subscriber of table `name`.
    pub fn builder(name: &str) -> OpenOptions<Self> {
        OpenOptions::new(name)
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

    /// Returns options for a subscriber of table `name`.
    pub fn builder(name: &str) -> OpenOptions<Self> {
        OpenOptions::new(name)
    }
}

impl UntypedReader {
    /// Opens table `name` of this user or of root.
    ///
    /// # Errors
    /// The errors of [`UntypedSubscriber::open`], except [`Error::Outrun`].
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns options for a reader of table `name`.
    pub fn builder(name: &str) -> OpenOptions<Self> {
        OpenOptions::new(name)
    }
}

impl<R: Row> Reader<R> {
    /// Opens table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] if the table has other fields than `R`, and the errors of
    /// [`UntypedReader::open`].
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Returns options for a reader of table `name`.
    pub fn builder(name: &str) -> OpenOptions<Self> {
        OpenOptions::new(name)
    }
}
