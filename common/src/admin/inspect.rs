//! Inspects tables from outside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::clock::{is_same_clock, monotonic_ns, time_namespace};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::protocol::layout::{State, header};
use crate::publisher::SILENT_AFTER;
use crate::region::lock::{self, Span};
use crate::region::object::{self, DIRECTORY, TableName, failure, index_name, own_user};
use crate::region::{Header, Mapping, check_allocated, read_words};
use crate::row::schema::Schema;
use crate::subscriber::PublisherState;
use crate::wake::registry::{self, Listener};

/// State of a table, as stored in its region, and of its publisher, as known to the kernel.
///
/// All ages are `None` if [`shares_clock`](Self::shares_clock) is false.
#[non_exhaustive]
#[derive(Debug)]
pub struct TableInfo {
    /// Name of the table.
    pub name: String,
    /// Schema of the rows.
    pub schema: Schema,
    /// Number of the last committed transaction.
    pub version: u64,
    /// Time since that commit. `None` if another commit was made while the table was read.
    pub committed_ago: Option<Duration>,
    /// Number of rows. Approximate while the publisher commits.
    pub rows: usize,
    /// Number of rows for which the table has room before it grows.
    pub capacity: usize,
    /// Size of the region in bytes.
    pub bytes: u64,
    /// Memory that the region occupies, in bytes.
    pub allocated_bytes: u64,
    /// State of the publisher.
    pub publisher: PublisherState,
    /// Process id of the last publisher, in its own pid namespace.
    pub publisher_pid: u32,
    /// Time since the publisher's last heartbeat.
    pub heartbeat_ago: Option<Duration>,
    /// True if this process is in the publisher's time namespace, or either namespace is unknown.
    /// If false, the publisher uses another clock.
    pub shares_clock: bool,
    /// User id of the region's owner.
    pub owner: u32,
    /// Group id of the region.
    pub group: u32,
    /// Permission bits of the region.
    pub mode: u32,
    /// Random id of the region.
    pub region_id: u64,
    /// True if the publisher's source of rows has ended
    /// ([`UntypedPublisher::end_input`](crate::UntypedPublisher::end_input)) and not
    /// [resumed](crate::UntypedPublisher::resume_input).
    pub input_ended: bool,
    /// Time since the source of rows ended, if it has.
    pub input_ended_ago: Option<Duration>,
    /// Number of the current generation of the key index.
    pub index_generation: u64,
    /// Size of the key index in bytes; None if this user may not read it.
    pub index_bytes: Option<u64>,
    /// Random id of the registry.
    pub registry_id: u64,
    /// Number of subscriber slots in the registry.
    pub slots: usize,
    /// The registered subscribers, or an error if this user may not read the registry.
    pub subscribers: Result<Vec<Listener>>,
}

impl TableInfo {
    /// Returns true if the publisher is alive and its last heartbeat is known to be older than
    /// [`SILENT_AFTER`].
    pub fn is_silent(&self) -> bool {
        self.publisher.is_alive() && self.heartbeat_ago.is_some_and(|ago| ago > SILENT_AFTER)
    }
}

/// Returns the names of all tables on this machine, sorted. [`inspect`] may return an error for
/// some of them.
///
/// # Errors
/// Errors of the system.
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher, inspect, tables};
/// # let name = format!("doc-tables-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// for table in tables()? {
///     match inspect(&table, None) {
///         Ok(info) => println!("{table}: {} rows at version {}", info.rows, info.version),
///         Err(error) => println!("{error}"), // of another user, damaged, or gone by now
///     }
/// }
/// # assert!(tables()?.contains(&name));
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub fn tables() -> Result<Vec<String>> {
    let mut names = suffixes(Path::new(DIRECTORY), "tablecast.table.")?;
    names.retain(|name| TableName::new(name).is_ok());
    Ok(names)
}

/// Returns the parts after `prefix` of the names of files in `directory`, sorted.
pub(super) fn suffixes(directory: &Path, prefix: &str) -> Result<Vec<String>> {
    let failed = |error| failure(&directory.to_string_lossy(), "list", error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let suffix = file.to_str().and_then(|name| name.strip_prefix(prefix));
        found.extend(suffix.map(str::to_owned));
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the state of a table of `owner`. If `owner` is None, the table must belong to this
/// process's user or to root.
///
/// # Errors
/// [`Error::InvalidName`], [`Error::NotFound`], [`Error::WrongOwner`], [`Error::PermissionDenied`],
/// [`Error::Corrupt`], [`Error::LayoutMismatch`].
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher, inspect};
/// # let name = format!("doc-inspect-{}", std::process::id());
/// let schema = Schema::parse("id:u64,price:f64", None)?;
/// let publisher = UntypedPublisher::builder(&name, schema).open()?;
/// let info = inspect(&name, None)?;
/// assert_eq!((info.version, info.rows), (1, 0));
/// assert!(info.publisher.is_alive());
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub fn inspect(name: &str, owner: Option<u32>) -> Result<TableInfo> {
    let name = TableName::new(name)?;
    let object = name.region();
    let (trusted, trust_root) = object::trusted_users(owner);
    let Some(file) = object::open(&object, false, trusted, trust_root)? else {
        return Err(Error::NotFound { table: name.as_str().to_owned() });
    };
    let header = Header::read(&object, &file)?;
    let status = object::status(&object, &file)?;
    let alive = object::is_held(&object, &file)?;
    let epoch = header.word(header::EPOCH);
    let Identity { pid, .. } = header.publisher();
    let publisher = match State::from_word(header.word(header::STATE)) {
        Some(State::Closed) => PublisherState::Closed { epoch },
        _ if alive => PublisherState::Alive { epoch, pid },
        _ => PublisherState::Gone { epoch },
    };
    let version = header.word(header::COMMIT);
    let now = monotonic_ns();
    let shares_clock = is_same_clock(header.word(header::TIME_NAMESPACE), time_namespace());
    let ago = |then: u64| shares_clock.then(|| Duration::from_nanos(now.saturating_sub(then)));
    let input_ended = header.word(header::INPUT_ENDED);
    let mut again = [0];
    read_words(&object, &file, header::COMMIT as u64 * 8, &mut again)?;
    let time = header.word(header::TIME + (version & 1) as usize);
    let registry_id = header.word(header::REGISTRY_ID);
    let region_id = header.word(header::REGION_ID);
    let index_generation = header.word(header::INDEX_GENERATION);
    let index = object::open(&index_name(region_id, index_generation), false, trusted, trust_root);
    let index = index.ok().flatten().and_then(|index| index.metadata().ok());
    Ok(TableInfo {
        version,
        committed_ago: ago(time).filter(|_| again[0] == version),
        rows: usize::try_from(header.word(header::LIVE + (version & 1) as usize)).unwrap_or(0),
        capacity: header.geometry.capacity,
        bytes: status.len(),
        allocated_bytes: status.blocks() * 512,
        publisher,
        publisher_pid: pid,
        heartbeat_ago: ago(header.word(header::HEARTBEAT)),
        shares_clock,
        input_ended: input_ended != 0,
        input_ended_ago: ago(input_ended).filter(|_| input_ended != 0),
        owner: status.uid(),
        group: status.gid(),
        mode: status.mode() & 0o777,
        region_id,
        index_generation,
        index_bytes: index.map(|status| status.len()),
        registry_id,
        slots: header.geometry.slots,
        subscribers: registry::listeners(registry_id, trusted, trust_root),
        name: name.as_str().to_owned(),
        schema: header.schema,
    })
}

/// Returns the number of bytes of a table's region and key index that the kernel maps with huge
/// pages, or None if this user may not read them. Whether it does is decided by the option `huge`
/// of the mount of [`DIRECTORY`].
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher, inspect, admin::huge_bytes};
/// # let name = format!("doc-huge-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// let table = inspect(&name, None)?;
/// assert!(huge_bytes(&table).unwrap() <= table.bytes + table.index_bytes.unwrap());
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub fn huge_bytes(table: &TableInfo) -> Option<u64> {
    let region = TableName::new(&table.name).ok()?.region();
    let index = index_name(table.region_id, table.index_generation);
    let bytes = [region, index].map(|object| {
        let file = object::open(&object, false, table.owner, false).ok()??;
        let status = file.metadata().ok()?;
        check_allocated(&object, &status).ok()?;
        let words = usize::try_from(status.len() / 8).ok()?;
        Mapping::read_only(&file, words).ok()?.huge_bytes()
    });
    Some(bytes[0]? + bytes[1]?)
}

/// Result of [`probe`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// An error if an object could not be created, linked and removed.
    pub objects: Result<()>,
    /// True if another open file description detected the object's lock; None if there was no
    /// object to lock.
    pub locks: Option<Result<bool>>,
}

/// Creates, locks and removes a test object in [`DIRECTORY`], with the system calls that publishers
/// and subscribers use.
///
/// # Examples
/// ```
/// let probe = common::admin::probe();
/// assert!(probe.objects.is_ok());
/// assert!(matches!(probe.locks, Some(Ok(true))));
/// ```
pub fn probe() -> Probe {
    let object = format!("/tablecast.doctor.{}", std::process::id());
    let create = || match object::create(&object, 0o600, None)? {
        file if object::link(&file, &object)? => Ok(file),
        _ => Err(failure(&object, "link", Errno::EEXIST)),
    };
    let file = match create() {
        Ok(file) => file,
        Err(error) => return Probe { objects: Err(error), locks: None },
    };
    let is_lock_seen = || {
        lock::try_lock(&file, Span::WHOLE).map_err(|errno| failure(&object, "lock", errno))?;
        let Some(other) = object::open(&object, false, own_user(), false)? else {
            return Ok(false);
        };
        object::is_held(&object, &other)
    };
    let locks = Some(is_lock_seen());
    Probe { objects: object::remove(&object), locks }
}
