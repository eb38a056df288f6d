//! The subscriber of a table whose rows are bytes of a schema. [`Subscriber`](super::Subscriber) is the typed view of it.
//!
//! A refresh, in order: awake; look at `commit`; if it moved, copy aside what changed and take it over as one; if the
//! re-check is due, look whether the publisher lives and the name is still this region's; if there was no news and
//! somebody waits, park.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_utils::Backoff;
use nix::errno::Errno;

use super::PublisherState;
use super::builder::{Settings, SubscriberBuilder};
use super::changes::UntypedChanges;
use super::copy::{ChangeList, LocalCopy};
use super::event_set::EventSet;
use super::interrupt::Interrupter;
use super::parking::ParkState;
use crate::clock::{is_same_clock, monotonic_ns, time_namespace};
use crate::error::{Error, Result};
use crate::memory::{AlignedWords, NoMemory};
use crate::protocol::catch_up::{ChangedRows, Failed, copy_all};
use crate::protocol::commit_time;
use crate::protocol::journal::Cursor;
use crate::protocol::layout::header;
use crate::protocol::sync::Ordering;
use crate::protocol::words::set_bits;
use crate::region::ReaderRegion;
use crate::region::object::{TableName, failure};
use crate::row::schema::{Conversion, Schema};
use crate::row::{RowBuf, RowRef};
use crate::wake::check_place;

/// How often a refresh copies what changed while it copied, before it gives up.
pub(super) const PASSES: u32 = 256;
/// How often `latest` reads its one row again. A pass over it takes about as long as a commit of a few rows, so that where
/// cache lines travel slowly most passes over a hot row may fail: many, then, of which all together take some milliseconds.
const ROW_PASSES: u32 = 1 << 14;
/// How often a subscriber that finds a commit while it goes to sleep looks again before it leaves that to the re-check.
const PARK_TRIES: u32 = 64;

/// A copy of a table, over rows of bytes, that follows its publisher.
///
/// ```
/// use common::UntypedSubscriber;
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
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
/// let row = table.get(&key).expect("it is there");
/// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":7,"half":3.5}"#);
/// # publisher.close()
/// # }
/// ```
pub struct UntypedSubscriber {
    pub(super) name: TableName,
    pub(super) settings: Settings,
    pub(super) region: ReaderRegion,
    pub(super) resting: ParkState,
    pub(super) waiter: EventSet,
    pub(super) copy: LocalCopy,
    /// Makes rows of the copy of rows of the region, if the region's texts have other widths.
    pub(super) conversion: Option<Conversion>,
    pub(super) staging: ChangedRows,
    pub(super) changes: ChangeList,
    /// How far the local copy is.
    pub(super) mark: Cursor,
    /// The last commit that was seen, and is slept at. Later than `mark` only while a later one still is waited for.
    pub(super) seen: u64,
    pub(super) state: PublisherState,
    pub(super) publisher_changed: bool,
    /// Whether the last refresh brought another schema.
    pub(super) schema_changed: bool,
    pub(super) interrupted: bool,
    /// The header's state, epoch and registry at the last look.
    pub(super) known: [u64; 3],
    pub(super) next_check_ns: u64,
    /// The time namespace of this process, which says whether the publisher has the same clock.
    time_namespace: u64,
    pub(super) asleep: bool,
    pub(super) delay: Option<Duration>,
    /// Whether the descriptor was asked for, so that a refresh that finds nothing parks.
    pub(super) armed: AtomicBool,
    /// Made when it is first asked for.
    pub(super) interrupter: Option<Interrupter>,
}

impl UntypedSubscriber {
    /// Attaches to table `name` of this user or of root.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotFound`], [`Error::WrongOwner`], [`Error::PermissionDenied`],
    /// [`Error::LayoutMismatch`], [`Error::Corrupt`], [`Error::Outrun`], and [`Error::InvalidWake`] from a builder.
    pub fn open(name: &str) -> Result<Self> {
        Self::builder(name).open()
    }

    /// Settings for a subscriber of table `name`.
    pub fn builder(name: &str) -> SubscriberBuilder<()> {
        SubscriberBuilder::new(name)
    }

    pub(super) fn attach(name: &str, settings: Settings) -> Result<Self> {
        let name = TableName::new(name)?;
        if let (Some(sleep), Some(place)) = (settings.wake.sleep(), &settings.wake_at) {
            check_place(sleep, place)?;
        }
        let Some(region) = settings.region(&name)? else {
            return Err(Error::NotFound {
                table: name.as_str().to_owned(),
            });
        };
        let Copied {
            mark,
            copy,
            conversion,
        } = copied(&name, &settings, &region)?;
        let changes = ChangeList::of_all(copy.schema());
        let waiter = EventSet::new(region.object())?;
        let state = PublisherState::Gone { epoch: 0 };
        let resting = ParkState::new(settings.wake);
        let mut subscriber = Self {
            name,
            settings,
            region,
            resting,
            waiter,
            copy,
            conversion,
            staging: ChangedRows::default(),
            changes,
            mark,
            seen: mark.version,
            state,
            publisher_changed: false,
            schema_changed: false,
            interrupted: false,
            known: [0; 3],
            next_check_ns: 0,
            time_namespace: time_namespace(),
            asleep: false,
            delay: None,
            armed: AtomicBool::new(false),
            interrupter: None,
        };
        subscriber.observe()?;
        subscriber.set_next_check();
        Ok(subscriber)
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The schema of the local copy's rows, and of all rows that this subscriber returns.
    ///
    /// A publisher may give the table another schema. A refresh or wait that moves the local copy to it says so:
    /// [`UntypedChanges::schema_changed`] is true, also where no row changed.
    pub fn schema(&self) -> &Arc<Schema> {
        self.copy.schema()
    }

    /// The version of the local copy: all of it is the table as of that commit.
    pub fn version(&self) -> u64 {
        self.mark.version
    }

    /// How many rows the local copy has.
    pub fn len(&self) -> usize {
        self.copy.len()
    }

    /// Whether the local copy has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows the table has room for.
    pub fn capacity(&self) -> usize {
        self.region.geometry().capacity
    }

    /// Whether the publisher lives, as of the last look: at most the re-check interval ago while waiting or refreshing.
    pub fn publisher_state(&self) -> PublisherState {
        self.state
    }

    /// Returns the time since the publisher's last heartbeat. A publisher that commits or calls `maintain` stores one at least
    /// every [`MAINTENANCE_INTERVAL`](crate::publisher::MAINTENANCE_INTERVAL). If the publisher is alive and this exceeds
    /// [`SILENT_AFTER`](crate::publisher::SILENT_AFTER), the publisher hangs. For a dead publisher this is about the time since it
    /// died.
    ///
    /// `None` if the publisher is in another time namespace: its times are from another clock.
    ///
    /// ```
    /// # use common::{PublisherState, Schema, UntypedPublisher, UntypedSubscriber, publisher::SILENT_AFTER};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-heartbeat-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let table = UntypedSubscriber::open(&name)?;
    /// let hangs = table.publisher_state().is_alive()
    ///     && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER);
    /// # assert!(!hangs);
    /// # publisher.close()
    /// # }
    /// ```
    pub fn heartbeat_age(&self) -> Option<Duration> {
        self.age_of(self.region.word(header::HEARTBEAT))
    }

    /// Returns true if the publisher's source of rows has ended, so that no change is to be expected
    /// ([`UntypedPublisher::end_input`](crate::UntypedPublisher::end_input)).
    pub fn has_input_ended(&self) -> bool {
        self.region.word(header::INPUT_ENDED) != 0
    }

    /// Returns the time between the last applied commit and its refresh. `None` if another commit came in between, or if the
    /// publisher is in another time namespace: its times are from another clock.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The row of a key (in its canonical bytes) in the local copy.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<RowRef<'_>> {
        self.copy.find(key).map(|slot| self.copy.row(slot))
    }

    /// All rows of the local copy.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.copy.slots().map(|slot| self.copy.row(slot))
    }

    /// The row of a key straight from shared memory, as of the last commit, also of a key that is newer than the local copy.
    /// The local copy stays as it is.
    ///
    /// # Errors
    /// [`Error::Outrun`], [`Error::Corrupt`].
    pub fn latest(&self, key: &[u8]) -> Result<Option<RowBuf>> {
        let mut words = vec![0; self.schema().row_words()];
        let bytes =
            |words: &[u64]| bytemuck::cast_slice(words)[..self.schema().row_size()].to_vec();
        Ok(match self.latest_words(key, &mut words)? {
            true => Some(RowBuf::from_bytes(
                Arc::clone(self.schema()),
                &bytes(&words),
            )?),
            false => None,
        })
    }

    /// Its words, of which there are `row_words`.
    #[inline(always)]
    pub(super) fn get_words(&self, key: &[u8], row_words: usize) -> Option<&[u64]> {
        self.copy.find_words(key, row_words)
    }

    /// Copies the last committed row of a key into `words`, if it is at the slot where the local copy has it and needs no
    /// conversion.
    #[inline]
    pub(super) fn read_fast(&self, key: &[u8], words: &mut [u64]) -> bool {
        if self.conversion.is_some() {
            return false;
        }
        let slot = self.copy.find_alike(key);
        slot.is_some_and(|slot| self.region.read_fast(slot, words))
            && self.copy.is_key_of(key, words)
    }

    /// Copies the last committed row of a key into `words`. Returns true if there is one.
    #[inline]
    pub(super) fn latest_words(&self, key: &[u8], words: &mut [u64]) -> Result<bool> {
        if let Some(slot) = self.copy.find(key) {
            let row_words = self.region.geometry().row_words;
            let mut unconverted = self
                .conversion
                .as_ref()
                .map(|conversion| (conversion, vec![0; row_words]));
            let backoff = Backoff::new();
            let mut passes = 0;
            loop {
                let (version, table) = self.region.look()?;
                if slot >= table.rows() {
                    break;
                }
                let row = match &mut unconverted {
                    Some((_, row)) => &mut row[..],
                    None => &mut *words,
                };
                match table.read(slot, version, 0, row) {
                    Ok(tag) if tag.is_live() => {
                        self.region.check_whole()?;
                        if let Some((conversion, row)) = &unconverted {
                            convert(conversion, row, words)?;
                        }
                        if self.schema().key_matches(bytemuck::cast_slice(words), key) {
                            return Ok(true);
                        }
                        break;
                    }
                    Ok(_) => break,
                    Err(_) => backoff.spin(),
                }
                passes += 1;
                if passes == ROW_PASSES {
                    return Err(outrun(&self.name, passes));
                }
            }
        }
        self.search(key, words)
    }

    /// Looks for a key among the rows that changed since the version of the local copy.
    fn search(&self, key: &[u8], words: &mut [u64]) -> Result<bool> {
        let mut staging = ChangedRows::default();
        stage(
            &self.name,
            &self.region,
            &self.copy,
            self.conversion.as_ref(),
            self.mark,
            &mut staging,
        )?;
        let holds = |row: &&[u64]| self.schema().key_matches(bytemuck::cast_slice(row), key);
        let row = staging
            .list()
            .iter()
            .filter_map(|moved| staging.row(moved))
            .find(holds);
        if let Some(row) = row {
            words.copy_from_slice(row);
        }
        Ok(row.is_some())
    }

    /// What the last refresh or wait changed.
    pub fn changes(&self) -> UntypedChanges<'_> {
        UntypedChanges {
            copy: &self.copy,
            list: &self.changes,
            version: self.mark.version,
            publisher_changed: self.publisher_changed,
            schema_changed: self.schema_changed,
            interrupted: self.interrupted,
        }
    }

    /// Brings the local copy to the last commit, without ever blocking, and tells what changed.
    ///
    /// # Errors
    /// [`Error::Outrun`], [`Error::Corrupt`], [`Error::Limit`] if memory is too short for the rows, and the errors of a new
    /// publisher's region: [`Error::SchemaMismatch`], [`Error::TextTooLong`], [`Error::LayoutMismatch`]. The local copy is whole
    /// then, at its former version.
    pub fn refresh(&mut self) -> Result<UntypedChanges<'_>> {
        self.interrupted = false;
        let armed = *self.armed.get_mut();
        let advanced = self.advance(armed || self.resting.always_parks(), 0);
        self.settle(advanced)?;
        Ok(self.changes())
    }

    pub(super) fn has_news(&self) -> bool {
        self.publisher_changed || self.schema_changed || !self.changes.items.is_empty()
    }

    /// One refresh. Commits before `least` are not taken over, unless they are of another publisher.
    pub(super) fn advance(&mut self, park: bool, least: u64) -> Result<()> {
        self.changes.clear(self.copy.schema());
        self.publisher_changed = false;
        self.schema_changed = false;
        for _ in 0..PARK_TRIES {
            self.awake_after(Duration::ZERO)?;
            if monotonic_ns() >= self.next_check_ns {
                self.check_or_later()?;
            }
            // Changed rows of a successor region are returned first. Another publisher or schema is returned together with
            // the rows that were committed since.
            if self.changes.items.is_empty() {
                self.take_over(least)?;
            }
            if self.has_news() || !park || self.park()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Applies the last commit to the copy. A commit before `least` is only noted as seen, unless something else has changed.
    pub(super) fn take_over(&mut self, least: u64) -> Result<()> {
        self.seen = self.mark.version;
        if self.mark.version < least {
            // Loaded once: a later commit may be the one that is waited for, and nobody would wake a subscriber that parks there.
            let (commit, _) = self.region.look()?;
            if (self.mark.version..least).contains(&commit) {
                // State, epoch and registry are stored before the commit that tells of them, as in `catch_up`.
                if self.state_words() != self.known {
                    self.check_or_later()?;
                }
                if !self.has_news() {
                    self.seen = commit;
                    return Ok(());
                }
            }
        }
        if self.changes.items.is_empty() && self.region.word(header::COMMIT) != self.mark.version {
            match self.catch_up() {
                Err(error) if self.has_news() => {
                    tracing::debug!("to be tried again: {error}");
                }
                other => other?,
            }
            self.seen = self.mark.version;
        }
        Ok(())
    }

    /// Applies everything that was committed since the copy's version.
    fn catch_up(&mut self) -> Result<()> {
        let mark = stage(
            &self.name,
            &self.region,
            &self.copy,
            self.conversion.as_ref(),
            self.mark,
            &mut self.staging,
        )?;
        self.copy
            .apply(&self.staging, &mut self.changes)
            .map_err(|NoMemory| no_memory(&self.region))?;
        self.mark = mark;
        self.note_delay();
        // State, epoch and registry are stored before the commit that tells of them.
        if self.state_words() != self.known {
            self.check_or_later()?;
        }
        Ok(())
    }

    pub(super) fn note_delay(&mut self) {
        let committed = commit_time(self.region.words(), self.mark.version)
            .filter(|_| !self.changes.items.is_empty());
        self.delay = committed.and_then(|committed| self.age_of(committed));
    }

    /// Returns the time since the publisher's clock showed `then_ns`; `None` if this process has another clock.
    fn age_of(&self, then_ns: u64) -> Option<Duration> {
        let namespace = self.region.word(header::TIME_NAMESPACE);
        is_same_clock(namespace, self.time_namespace)
            .then(|| Duration::from_nanos(monotonic_ns().saturating_sub(then_ns)))
    }

    pub(super) fn state_words(&self) -> [u64; 3] {
        [header::STATE, header::EPOCH, header::REGISTRY_ID].map(|word| self.region.word(word))
    }
}

impl AsFd for UntypedSubscriber {
    /// One descriptor for every kind of news: readable until a [`refresh`](Self::refresh) or a wait found nothing more to tell,
    /// and then again at the next news. It may turn readable without any, and is so when it is first asked for. So to wait
    /// until it is readable, refresh, and use what changed is all that a loop has to do, level- or edge-triggered: each refresh that
    /// told something makes another edge.
    /// Where there is none to sleep in (a futex, or spinning) the first refresh after that starts a thread that waits instead, and
    /// ends with the subscriber.
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
    ///     for _change in &table.refresh()? { /* use it */ }
    /// }
    /// # publisher.close()?;
    /// # Ok(())
    /// # }
    /// ```
    fn as_fd(&self) -> BorrowedFd<'_> {
        if !self.armed.swap(true, Ordering::Relaxed) {
            self.waiter.fire();
        }
        self.waiter.as_fd()
    }
}

impl AsRawFd for UntypedSubscriber {
    /// As [`as_fd`](AsFd::as_fd).
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A whole copy of a region.
pub(super) struct Copied {
    pub(super) mark: Cursor,
    pub(super) copy: LocalCopy,
    pub(super) conversion: Option<Conversion>,
}

/// Copies a region, to rows of the schema that the caller expects if it expects one.
pub(super) fn copied(
    name: &TableName,
    settings: &Settings,
    region: &ReaderRegion,
) -> Result<Copied> {
    let schema = settings.expected.as_ref().unwrap_or(region.schema());
    let conversion = match schema.difference(region.schema()) {
        None => None,
        Some(difference) => Some(Conversion::by_width(region.schema(), schema).ok_or_else(
            || Error::SchemaMismatch {
                table: name.as_str().to_owned(),
                difference,
            },
        )?),
    };
    let (mut rows, mut live) = (AlignedWords::default(), Vec::new());
    let reached = copy_all(&mut rows, &mut live, PASSES, || region.look());
    let mark = checked(name, region, Cursor::START, reached)?;
    if let Some(conversion) = &conversion {
        rows = convert_all(region, conversion, schema, &rows, &live)?;
    }
    Ok(Copied {
        mark,
        copy: LocalCopy::whole(schema, rows, live),
        conversion,
    })
}

/// Copies the rows of a region that were committed after `since` to `staging`, as rows of `copy`.
fn stage(
    name: &TableName,
    region: &ReaderRegion,
    copy: &LocalCopy,
    conversion: Option<&Conversion>,
    since: Cursor,
    staging: &mut ChangedRows,
) -> Result<Cursor> {
    let reached = staging.catch_up(since, PASSES, || region.look());
    let mark = checked(name, region, since, reached)?;
    if let Some(conversion) = conversion {
        let row_words = copy.schema().row_words();
        staging
            .convert(row_words, |row, words| convert(conversion, row, words))
            .map_err(|failed| failure_of(name, region, failed))?;
    }
    Ok(mark)
}

/// Writes a row of a region to `words`, as a row of a copy.
fn convert(conversion: &Conversion, row: &[u64], words: &mut [u64]) -> Result<()> {
    conversion.try_convert(bytemuck::cast_slice(row), bytemuck::cast_slice_mut(words))
}

/// Converts all live rows of a region to rows of `schema`, by slot.
pub(super) fn convert_all(
    region: &ReaderRegion,
    conversion: &Conversion,
    schema: &Schema,
    rows: &[u64],
    live: &[u64],
) -> Result<AlignedWords> {
    let (from_words, to_words) = (region.geometry().row_words, schema.row_words());
    let mut converted = AlignedWords::try_zeroed(live.len() * 64 * to_words)
        .map_err(|NoMemory| no_memory(region))?;
    for slot in set_bits(live) {
        let row = &rows[slot * from_words..][..from_words];
        convert(
            conversion,
            row,
            &mut converted[slot * to_words..][..to_words],
        )?;
    }
    Ok(converted)
}

/// Returns how far the copied rows lead from `since`, if they can be trusted.
pub(super) fn checked(
    name: &TableName,
    region: &ReaderRegion,
    since: Cursor,
    reached: std::result::Result<Cursor, Failed<Error>>,
) -> Result<Cursor> {
    region.check_whole()?;
    match reached {
        Ok(mark) if mark.version < since.version => Err(region.corrupt(format!(
            "its commits went back from {} to {}",
            since.version, mark.version
        ))),
        Ok(mark) => Ok(mark),
        Err(failed) => Err(failure_of(name, region, failed)),
    }
}

/// Returns the error for a copy that failed.
fn failure_of(name: &TableName, region: &ReaderRegion, failed: Failed<Error>) -> Error {
    match failed {
        Failed::Caller(error) => error,
        Failed::Outrun => outrun(name, PASSES),
        Failed::NoMemory => no_memory(region),
    }
}

/// Returns the error for a copy of rows that the system has no memory for.
fn no_memory(region: &ReaderRegion) -> Error {
    failure(region.object(), "copy", Errno::ENOMEM)
}

fn outrun(name: &TableName, passes: u32) -> Error {
    Error::Outrun {
        table: name.as_str().to_owned(),
        passes,
    }
}
