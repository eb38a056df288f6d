//! The public view of the changes of a refresh.

use std::fmt;
use std::marker::PhantomData;

use super::copy::{Changed, LiveSlots, LocalCopy};
use super::follow::Content;
use crate::row::{Row, RowRef};

/// A key that changed between two versions of the local copy. Intermediate values are not reported.
///
/// A key has an old row, a new row, or both. The three variants are all cases, so this enum will
/// not get another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// The key is new.
    Created(T),
    /// The row of the key changed.
    Updated {
        /// Row of the key before the change.
        old: T,
        /// Row of the key after the change.
        new: T,
    },
    /// The key was deleted. Holds its last row.
    Deleted(T),
}

impl<T> Change<T> {
    pub(super) fn map<U>(self, row: impl Fn(T) -> U) -> Change<U> {
        match self {
            Change::Created(new) => Change::Created(row(new)),
            Change::Updated { old, new } => Change::Updated { old: row(old), new: row(new) },
            Change::Deleted(old) => Change::Deleted(row(old)),
        }
    }
}

/// The reason why a refresh or a wait returned.
///
/// ```
/// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
/// # use std::time::Duration;
/// # let name = format!("doc-cause-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// # let mut table = UntypedSubscriber::open(&name)?;
/// let changes = table.wait(Some(Duration::from_millis(10)))?;
/// match changes.cause() {
///     Cause::Rows => println!("{} rows changed", changes.len()),
///     Cause::Schema => println!("the new fields are {}", table.schema()),
///     Cause::Publisher => println!("{:?}", table.publisher_state()),
///     Cause::Interrupted => println!("interrupted"),
///     Cause::Nothing => println!("timed out"),
///     _ => {}
/// }
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Rows changed. The schema and the publisher's state may have changed, too.
    Rows,
    /// No row changed, but the [`schema`](super::UntypedSubscriber::schema) did. The publisher's
    /// state may have changed, too. A typed subscriber never returns this cause.
    Schema,
    /// No row changed, but the publisher's state did: see `publisher_state()`.
    Publisher,
    /// Nothing changed, and an [`Interrupter`](super::Interrupter) ended the wait.
    Interrupted,
    /// Nothing changed. For a wait: nothing changed before the timeout.
    Nothing,
}

/// Changes of the last refresh, with untyped rows.
#[derive(Clone, Copy)]
pub struct UntypedChanges<'s> {
    copy: &'s LocalCopy,
    publisher_changed: bool,
    interrupted: bool,
}

impl<'s> UntypedChanges<'s> {
    #[inline]
    pub(super) fn new(copy: &'s LocalCopy, publisher_changed: bool, interrupted: bool) -> Self {
        Self { copy, publisher_changed, interrupted }
    }

    /// Returns the version of the local copy after the changes.
    pub fn version(&self) -> u64 {
        self.copy.version()
    }

    /// Returns the number of keys that changed.
    pub fn len(&self) -> usize {
        match self.copy.changes() {
            None => self.copy.len(),
            Some(changes) => changes.len(),
        }
    }

    /// Returns true if no key changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the reason why the refresh or wait returned.
    pub fn cause(&self) -> Cause {
        match (self.publisher_changed, self.interrupted) {
            _ if !self.is_empty() => Cause::Rows,
            _ if self.schema_changed() => Cause::Schema,
            (true, _) => Cause::Publisher,
            (false, true) => Cause::Interrupted,
            (false, false) => Cause::Nothing,
        }
    }

    /// Returns true if an [`Interrupter`](super::Interrupter) ended the wait, even if there are
    /// changes as well.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Returns true if this refresh or wait changed the schema, even if no row changed.
    ///
    /// The old rows of [`Change::Updated`] and [`Change::Deleted`] may then have the previous
    /// schema: call [`RowRef::schema`] on each row. A row is not reported as changed if its fields
    /// were only dropped, added or moved.
    ///
    /// ```
    /// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
    /// # let name = format!("doc-schema-changed-{}", std::process::id());
    /// # let open = |fields| UntypedPublisher::builder(&name, Schema::parse(fields, None)?).open();
    /// # drop(open("id:u64,name:text(8)")?);
    /// # let mut table = UntypedSubscriber::open(&name)?;
    /// # let publisher = open("id:u64,name:text(16)")?;
    /// # let mut columns = Vec::new();
    /// let changes = table.wait(None)?;
    /// if changes.schema_changed() {
    ///     // Before the changed rows are used.
    ///     columns = table.schema().fields().iter().map(|field| field.name().to_owned()).collect();
    /// }
    /// # assert_eq!(columns, ["id", "name"]);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn schema_changed(&self) -> bool {
        self.copy.schema_changed()
    }

    /// Returns an iterator over the changes. Each key occurs once.
    pub fn iter(&self) -> UntypedChangesIter<'s> {
        let changes = self.copy.changes();
        UntypedChangesIter {
            copy: self.copy,
            created: changes.is_none().then(|| self.copy.slots()),
            changed: changes.unwrap_or_default().iter(),
        }
    }
}

impl fmt::Debug for UntypedChanges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'s> IntoIterator for UntypedChanges<'s> {
    type Item = Change<RowRef<'s>>;
    type IntoIter = UntypedChangesIter<'s>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'s> IntoIterator for &UntypedChanges<'s> {
    type Item = Change<RowRef<'s>>;
    type IntoIter = UntypedChangesIter<'s>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator over [`UntypedChanges`].
#[derive(Clone)]
pub struct UntypedChangesIter<'s> {
    copy: &'s LocalCopy,
    /// After opening, the slots of all rows; `changed` is not used then.
    created: Option<LiveSlots<'s>>,
    changed: std::slice::Iter<'s, Changed>,
}

impl fmt::Debug for UntypedChangesIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'s> Iterator for UntypedChangesIter<'s> {
    type Item = Change<RowRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match &mut self.created {
            Some(slots) => Changed::Created { slot: slots.next()? },
            None => *self.changed.next()?,
        };
        Some(match item {
            Changed::Created { slot } => Change::Created(self.copy.row(slot)),
            Changed::Updated { old, slot } => {
                Change::Updated { old: self.copy.old_row(old), new: self.copy.row(slot) }
            }
            Changed::Deleted { old } => Change::Deleted(self.copy.old_row(old)),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.created {
            Some(slots) => slots.size_hint(),
            None => self.changed.size_hint(),
        }
    }
}

impl ExactSizeIterator for UntypedChangesIter<'_> {}

/// Changes of the last refresh, with rows of type `R`.
///
/// ```
/// # use common::{Change, Publisher, Row, Subscriber};
/// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: u64 }
/// # let name = format!("doc-changes-{}", std::process::id());
/// # let mut publisher = Publisher::<Price>::builder(&name).open()?;
/// # let mut prices = Subscriber::<Price>::open(&name)?;
/// for bid in [1, 2, 3] {
///     let mut tx = publisher.begin();
///     tx.upsert(&Price { instrument: 7, bid })?;
///     tx.commit()?;
/// }
/// let changes = prices.refresh()?;
/// assert_eq!(changes.version(), publisher.version());
/// // Three commits, and one change: intermediate rows are not reported.
/// let created = Change::Created(&Price { instrument: 7, bid: 3 });
/// assert_eq!(changes.iter().collect::<Vec<_>>(), [created]);
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Changes<'s, R> {
    inner: UntypedChanges<'s>,
    rows: PhantomData<fn() -> R>,
}

impl<'s, R: Row> Changes<'s, R> {
    pub(super) fn new(inner: UntypedChanges<'s>) -> Self {
        Self { inner, rows: PhantomData }
    }

    /// Returns the version of the local copy after the changes.
    pub fn version(&self) -> u64 {
        self.inner.version()
    }

    /// Returns the number of keys that changed.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Returns true if no key changed.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Returns the reason why the refresh or wait returned.
    pub fn cause(&self) -> Cause {
        self.inner.cause()
    }

    /// Forwards to [`UntypedChanges::interrupted`].
    pub fn interrupted(&self) -> bool {
        self.inner.interrupted()
    }

    /// Returns an iterator over the changes. Each key occurs once.
    pub fn iter(&self) -> ChangesIter<'s, R> {
        self.inner.iter().map(|change| change.map(typed_row))
    }
}

impl<'s, R: Row> IntoIterator for Changes<'s, R> {
    type Item = Change<&'s R>;
    type IntoIter = ChangesIter<'s, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'s, R: Row> IntoIterator for &Changes<'s, R> {
    type Item = Change<&'s R>;
    type IntoIter = ChangesIter<'s, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator over [`Changes`].
pub type ChangesIter<'s, R> =
    std::iter::Map<UntypedChangesIter<'s>, fn(Change<RowRef<'s>>) -> Change<&'s R>>;

/// Casts a row to its type. The schema was compared when the subscriber attached to the table.
#[inline]
pub(super) fn typed_row<R: Row>(row: RowRef<'_>) -> &R {
    bytemuck::from_bytes(row.bytes())
}
