//! The subscriber of a table whose rows are bytes of a schema. [`Subscriber`](super::Subscriber) is
//! the typed view of it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::changes::UntypedChanges;
use super::copy::LocalCopy;
use super::event_set::Interrupter;
use super::follow::{Content, Follow};
use super::liveness::PublisherState;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::protocol::commit_time;
use crate::protocol::layout::header;
use crate::row::schema::Schema;
use crate::row::{KeyRef, RowBuf, RowRef};

/// A local copy of a table with rows as bytes of a schema, which follows the table's publisher.
///
/// ```
/// use common::UntypedSubscriber;
/// # use common::{Schema, UntypedPublisher};
/// # let name = format!("doc-untyped-subscriber-{}", std::process::id());
/// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64,half:f64", None)?).open()?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&[7_u64.to_le_bytes(), 3.5_f64.to_le_bytes()].concat())?;
/// # tx.commit()?;
/// let table = UntypedSubscriber::open(&name)?; // whatever its fields are
/// assert_eq!(table.schema().to_string(), "id:u64,half:f64");
/// for row in table.iter() {
///     for (field, value) in row.values() {
///         println!("{field}: {value}");
///     }
/// }
/// let key = table.schema().parse_key("7")?;
/// let row = table.get(&key).expect("the row exists");
/// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":7,"half":3.5}"#);
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub struct UntypedSubscriber {
    follow: Follow<LocalCopy>,
}

impl fmt::Debug for UntypedSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntypedSubscriber")
            .field("table", &self.name())
            .field("version", &self.version())
            .field("rows", &self.len())
            .finish_non_exhaustive()
    }
}

impl UntypedSubscriber {
    pub(super) fn new(follow: Follow<LocalCopy>) -> Self {
        Self { follow }
    }

    /// Returns the local copy, for the typed view.
    #[inline(always)]
    pub(super) fn local_copy(&self) -> &LocalCopy {
        self.follow.content()
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &str {
        self.local_copy().name()
    }

    /// Returns the schema of the local copy, and of all rows that this subscriber returns.
    ///
    /// A publisher may give the table another schema. [`UntypedChanges::schema_changed`] is true
    /// for the refresh or wait that moves the local copy to it, even if no row changed.
    pub fn schema(&self) -> &Arc<Schema> {
        self.local_copy().schema()
    }

    /// Returns the version of the local copy. All its rows are as of that commit.
    pub fn version(&self) -> u64 {
        self.local_copy().version()
    }

    /// Returns the number of rows in the local copy.
    pub fn len(&self) -> usize {
        self.local_copy().len()
    }

    /// Returns true if the local copy has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rows for which the table has room before it grows.
    pub fn capacity(&self) -> usize {
        self.local_copy().region().geometry().capacity
    }

    /// Returns the state of the publisher as last observed. While the program waits for or
    /// refreshes this subscriber, that observation is at most as old as the re-check interval.
    pub fn publisher_state(&self) -> PublisherState {
        self.follow.publisher_state()
    }

    /// Returns the time since the publisher's last heartbeat; `None` if the publisher is in another
    /// time namespace, where times are from another clock.
    ///
    /// A publisher that commits or calls `maintain` stores a heartbeat at least every
    /// [`MAINTENANCE_INTERVAL`](crate::publisher::MAINTENANCE_INTERVAL). If the publisher is alive
    /// and this exceeds [`SILENT_AFTER`](crate::publisher::SILENT_AFTER), the publisher hangs. For
    /// a dead publisher this is about the time since it died.
    ///
    /// ```
    /// # use common::{PublisherState, Schema, UntypedPublisher, UntypedSubscriber, publisher::SILENT_AFTER};
    /// # let name = format!("doc-heartbeat-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let table = UntypedSubscriber::open(&name)?;
    /// let hangs = table.publisher_state().is_alive()
    ///     && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER);
    /// # assert!(!hangs);
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn heartbeat_age(&self) -> Option<Duration> {
        self.follow.heartbeat_age()
    }

    /// Returns true if the publisher's source of rows has ended
    /// ([`UntypedPublisher::end_input`](crate::UntypedPublisher::end_input)), so that no changes are
    /// expected until the source [resumes](crate::UntypedPublisher::resume_input).
    pub fn has_input_ended(&self) -> bool {
        self.local_copy().region().word(header::INPUT_ENDED) != 0
    }

    /// Returns the time between the last applied commit and the refresh that applied it. `None` if
    /// another commit followed before the refresh ended, or if the publisher is in another time
    /// namespace and therefore uses another clock.
    pub fn delay(&self) -> Option<Duration> {
        self.follow.delay()
    }

    /// Returns the time at which the version of the local copy was committed, by the publisher's
    /// CLOCK_MONOTONIC ([`monotonic_ns`](crate::clock::monotonic_ns)). `None` if there was a later
    /// commit.
    ///
    /// All processes in one time namespace share this clock. If the publisher is in another one,
    /// compare this with other commits only, and not with the subscriber's clock.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # let name = format!("doc-committed-{}", std::process::id());
    /// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let first = table.committed();
    /// let mut tx = publisher.begin();
    /// tx.insert(&[1])?;
    /// tx.commit()?;
    /// assert_eq!(table.committed(), None);
    /// table.refresh()?;
    /// assert!(table.committed() >= first);
    /// # assert!(first.is_some());
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    pub fn committed(&self) -> Option<Duration> {
        commit_time(self.local_copy().region().words(), self.version()).map(Duration::from_nanos)
    }

    /// Returns the row of a key, given in canonical bytes, from the local copy.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<RowRef<'_>> {
        self.local_copy().get(key)
    }

    /// Returns true if the local copy has a row with this key, given in canonical bytes.
    pub fn contains_key(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Returns an iterator over the keys of all rows of the local copy, in no particular order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = KeyRef<'_>> {
        self.iter().map(RowRef::key)
    }

    /// Returns an iterator over all rows of the local copy, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> {
        let copy = self.local_copy();
        copy.slots().map(|slot| copy.row(slot))
    }

    /// Reads the row of a key directly from shared memory, as of the last commit. This also finds
    /// keys that are newer than the local copy. The local copy does not change.
    ///
    /// # Errors
    /// The errors of [`UntypedReader::get`](crate::UntypedReader::get).
    pub fn latest(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        let mut row = None;
        let found = self.local_copy().latest(key, &mut row)?;
        Ok(row.filter(|_| found))
    }

    /// Copies all rows as of the last commit directly from shared memory into `snapshot`, and
    /// returns their version. The local copy does not change.
    ///
    /// # Errors
    /// The errors of [`UntypedReader::snapshot`](crate::UntypedReader::snapshot).
    pub fn snapshot(&self, snapshot: &mut Snapshot) -> Result<u64> {
        self.local_copy().latest_source()?.snapshot(snapshot)
    }

    /// Returns the changes of the last refresh or wait. After opening, these are all rows as
    /// created.
    #[inline]
    pub fn changes(&self) -> UntypedChanges<'_> {
        let follow = &self.follow;
        UntypedChanges::new(follow.content(), follow.publisher_changed(), follow.interrupted())
    }

    /// Updates the local copy to the last commit and returns the changes. Never blocks.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Limit`](crate::Error::Limit) if there is not enough memory for the rows, and for
    /// a successor region: [`Error::SchemaMismatch`](crate::Error::SchemaMismatch),
    /// [`Error::TextTooLong`](crate::Error::TextTooLong),
    /// [`Error::LayoutMismatch`](crate::Error::LayoutMismatch). After an error, the local copy is
    /// still complete, at its former version.
    pub fn refresh(&mut self) -> Result<UntypedChanges<'_>> {
        self.follow.refresh()?;
        Ok(self.changes())
    }

    /// Refreshes like [`refresh`](Self::refresh), as a step of a wait that sleeps on
    /// [the descriptor][as_fd] without borrowing the subscriber. If nothing changed, the descriptor
    /// becomes readable at the next event. Changes do not make it readable, which saves a system
    /// call: call this function, or `as_fd`, again before the next sleep.
    ///
    /// ```
    /// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
    /// # use std::os::fd::AsFd;
    /// # use std::sync::Mutex;
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-refresh-or-park-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let table = UntypedSubscriber::open(&name)?;
    /// let descriptor = table.as_fd().try_clone_to_owned()?;
    /// let table = Mutex::new(table);
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&7_u64.to_le_bytes())?;
    /// # tx.commit()?;
    /// while table.lock().unwrap().refresh_or_park()?.cause() == Cause::Nothing {
    ///     // Other threads can use the table in the meantime.
    ///     let mut descriptors = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    ///     poll(&mut descriptors, PollTimeout::NONE)?;
    /// }
    /// # publisher.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    ///
    /// [as_fd]: #impl-AsFd-for-UntypedSubscriber
    pub fn refresh_or_park(&mut self) -> Result<UntypedChanges<'_>> {
        self.follow.refresh_or_park()?;
        Ok(self.changes())
    }

    /// Refreshes like [`refresh`](Self::refresh). If nothing changed, sleeps until something does,
    /// for at most `timeout`, or until an [interrupter](Self::interrupter) ends the wait.
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<UntypedChanges<'_>> {
        self.wait_for(0, timeout)
    }

    /// Sleeps until the local copy can be updated to `version` or later, for at most `timeout`, and
    /// updates it in one step. The changes are all those since the last refresh, each key once.
    /// Commits in between are not copied. If the copy already has that version, it is refreshed
    /// without sleeping.
    ///
    /// The wait ends early if the timeout expires, if it is [interrupted](Self::interrupter), or if
    /// the schema or the state of the publisher changes: a dead publisher commits no more, and a
    /// table that is published again after it was closed counts versions from the beginning. The
    /// copy is then at the last commit, and the [`version`](UntypedChanges::version) of the changes
    /// is lower than requested.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # use std::time::Duration;
    /// # let name = format!("doc-wait-for-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&7_u64.to_le_bytes())?;
    /// # let written = tx.commit()?;
    /// // The publisher's commit returned `written`, and the publisher passed it on.
    /// let changes = table.wait_for(written, Some(Duration::from_secs(2)))?;
    /// assert!(changes.version() >= written, "not within two seconds");
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    pub fn wait_for(
        &mut self,
        version: u64,
        timeout: Option<Duration>,
    ) -> Result<UntypedChanges<'_>> {
        self.follow.wait_for(version, timeout)?;
        Ok(self.changes())
    }

    /// Refreshes without blocking, for a wait until `version`; see [`Follow::refresh_for`].
    #[cfg(feature = "tokio")]
    pub(super) fn refresh_for(&mut self, version: u64) -> Result<bool> {
        self.follow.refresh_for(version)
    }

    /// Returns a handle that ends this subscriber's waits from another thread. The current wait, or
    /// else the next refresh or wait, then returns with
    /// [`interrupted`](UntypedChanges::interrupted) set, together with the changes at that moment.
    ///
    /// ```
    /// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
    /// # let name = format!("doc-interrupt-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let interrupter = table.interrupter()?;
    /// std::thread::spawn(move || interrupter.interrupt());
    /// while !table.wait(None)?.interrupted() { /* use the changes */ }
    /// # publisher.close()?;
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        self.follow.interrupter()
    }
}

impl AsFd for UntypedSubscriber {
    /// Returns the descriptor for all events of this subscriber. It is readable until a
    /// [`refresh`](Self::refresh) or a wait finds no news, and becomes readable again at the next
    /// event.
    ///
    /// To follow a table in an event loop, wait until the descriptor is readable, refresh, and use
    /// the changes. This works level-triggered and edge-triggered, since each refresh that returns
    /// changes triggers another edge. The descriptor may become readable without changes, and is
    /// readable when it is first requested, and when it is requested after
    /// [`refresh_or_park`](Self::refresh_or_park) has returned changes. If the subscriber has no
    /// descriptor to sleep on (it sleeps on a futex or spins), the first refresh after this call
    /// starts a thread that waits instead. The thread ends with the subscriber.
    ///
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-as-fd-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// # let rounds = 2;
    /// for _ in 0..rounds {
    ///     let mut descriptors = [PollFd::new(table.as_fd(), PollFlags::POLLIN)];
    ///     poll(&mut descriptors, PollTimeout::from(2000_u16))?;
    ///     for _change in table.refresh()? { /* use it */ }
    /// }
    /// # publisher.close()?;
    /// # Ok(())
    /// # }
    /// ```
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.follow.descriptor()
    }
}

impl AsRawFd for UntypedSubscriber {
    /// Returns the descriptor of [`as_fd`](AsFd::as_fd).
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
