//! How a subscriber is asked for: what it believes, how it is woken, how long it waits for its table.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Subscriber, UntypedSubscriber};
use crate::error::{Error, Result};
use crate::region::ReaderRegion;
use crate::region::object::{TableName, own_user};
use crate::row::Row;
use crate::schema::Schema;
use crate::wake::WakeKind;

/// The shortest re-check: less would be spinning.
const MIN_RECHECK: Duration = Duration::from_millis(1);
/// How often a table that nobody publishes yet is looked for.
const OPEN_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) owner: Option<u32>,
    pub(super) recheck: Duration,
    pub(super) expected: Option<Arc<Schema>>,
    pub(super) wake: WakeKind,
    pub(super) wake_at: Option<PathBuf>,
}

impl Settings {
    /// The user whose tables are believed, and whether root's are, too.
    pub(super) fn trust(&self) -> (u32, bool) {
        (self.owner.unwrap_or_else(own_user), self.owner.is_none())
    }

    pub(super) fn region(&self, name: &TableName) -> Result<Option<ReaderRegion>> {
        let (owner, trust_root) = self.trust();
        ReaderRegion::open(name, owner, trust_root)
    }
}

/// Settings for a subscriber; `S` tells what its rows are: a type with [`Row`], or `()` for what the table says itself.
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
///     .open_within(Duration::from_secs(10))?; // also if the publisher comes later than we do
/// # assert!(prices.is_empty());
/// # publisher.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "open it"]
pub struct SubscriberBuilder<S> {
    name: String,
    settings: Settings,
    rows: S,
}

impl<S> SubscriberBuilder<S> {
    pub(super) fn new(name: &str) -> SubscriberBuilder<S>
    where
        S: Default,
    {
        let settings = Settings {
            owner: None,
            recheck: Duration::from_secs(1),
            expected: None,
            wake: WakeKind::default(),
            wake_at: None,
        };
        Self {
            name: name.to_owned(),
            settings,
            rows: S::default(),
        }
    }

    /// Believes the tables of this user only. Otherwise those of this process's own user and of root.
    pub fn owner(mut self, user: u32) -> Self {
        self.settings.owner = Some(user);
        self
    }

    /// How long a sleeping subscriber goes at most without looking by itself, should a wake-up be lost: 1 s unless told otherwise.
    pub fn recheck(mut self, interval: Duration) -> Self {
        self.settings.recheck = interval.max(MIN_RECHECK);
        self
    }

    /// How it waits for news: by [`Sleep::Auto`](crate::Sleep::Auto) unless told otherwise. What is asked for and cannot be had
    /// is said once, in the log, and then it looks every 50 ms.
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
        self.settings.wake = kind.into();
        self
    }

    /// Where the socket of [`Sleep::Unix`](crate::Sleep::Unix) is made, a directory, or the pipe of
    /// [`Sleep::Fifo`](crate::Sleep::Fifo), a directory or a path. The publisher must see it under the same path, and believes it
    /// of its own user only. Opening fails with [`Error::InvalidWake`] if nothing can be made there. By default sockets are
    /// abstract, and pipes are made in `XDG_RUNTIME_DIR` or in `tablecast-UID` of the directory for temporary files.
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
        self.settings.wake_at = Some(path.into());
        self
    }
}

/// Tries until there is a table, and until it stood still enough to be copied, for `timeout` at most.
fn when_published<T>(name: &str, timeout: Duration, open: impl Fn() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(Error::Outrun { .. }) if begun.elapsed() < timeout => {}
            Err(Error::NotFound { .. }) if begun.elapsed() < timeout => {
                std::thread::sleep(OPEN_INTERVAL.min(timeout.saturating_sub(begun.elapsed())));
            }
            Err(Error::NotFound { .. }) => {
                return Err(Error::TimedOut {
                    table: name.to_owned(),
                    waited: timeout,
                });
            }
            other => return other,
        }
    }
}

impl SubscriberBuilder<()> {
    /// Attaches to the table, of whatever schema it is.
    ///
    /// # Errors
    /// As for [`UntypedSubscriber::open`].
    pub fn open(&self) -> Result<UntypedSubscriber> {
        UntypedSubscriber::attach(&self.name, self.settings.clone())
    }

    /// Attaches to the table as soon as there is one that can be copied.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Outrun`] if it changed too fast all the time, and as for [`UntypedSubscriber::open`].
    pub fn open_within(&self, timeout: Duration) -> Result<UntypedSubscriber> {
        when_published(&self.name, timeout, || self.open())
    }
}

impl<R: Row> SubscriberBuilder<PhantomData<R>> {
    /// Attaches to the table.
    ///
    /// # Errors
    /// As for [`Subscriber::open`].
    pub fn open(&self) -> Result<Subscriber<R>> {
        let expected = Some(Arc::new(Schema::of::<R>()?));
        let inner = UntypedSubscriber::attach(
            &self.name,
            Settings {
                expected,
                ..self.settings.clone()
            },
        )?;
        Ok(Subscriber {
            inner,
            rows: self.rows,
        })
    }

    /// Attaches to the table as soon as there is one that can be copied.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Outrun`] if it changed too fast all the time, and as for [`Subscriber::open`].
    pub fn open_within(&self, timeout: Duration) -> Result<Subscriber<R>> {
        when_published(&self.name, timeout, || self.open())
    }
}
