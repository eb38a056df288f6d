//! What there is on this machine: tables, their publishers, their subscribers. Read by calls; nothing is mapped, so
//! that a table cut short in that moment is an error and no signal.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::clock::{is_same_clock, monotonic_ns, time_namespace};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::protocol::layout::{BLOCK_ROWS, State, Tag, header};
use crate::publisher::SILENT_AFTER;
use crate::region::lock::{self, Span};
use crate::region::object::{self, TableName, failure, failure_io, own_user};
use crate::region::{Header, read_words};
use crate::row::schema::Schema;
use crate::subscriber::PublisherState;
use crate::wake::registry;

mod leftovers;
mod probe;

pub use crate::region::object::DIRECTORY;
pub use crate::wake::registry::Listener;
pub(crate) use leftovers::{Findings, registries};
pub use leftovers::{Leftover, LeftoverKind, leftovers, queue_directory};
pub use probe::{Probe, probe};

/// What a table says of itself, and what the kernel says of its publisher.
#[non_exhaustive]
#[derive(Debug)]
pub struct TableInfo {
    /// The table's name.
    pub name: String,
    /// What a row is.
    pub schema: Schema,
    /// The last commit.
    pub version: u64,
    /// Time since that commit. `None` if another commit came in while this was read, or if [`shares_clock`](Self::shares_clock) is
    /// false.
    pub committed_ago: Option<Duration>,
    /// How many rows there are. While the publisher commits, as of about that commit.
    pub rows: usize,
    /// How many rows there can be.
    pub capacity: usize,
    /// Size of the region in bytes.
    pub bytes: u64,
    /// Memory that the region takes in bytes.
    pub allocated_bytes: u64,
    /// Whether its publisher lives.
    pub publisher: PublisherState,
    /// The process that published last, in its own pid namespace.
    pub publisher_pid: u32,
    /// Time since the publisher's last heartbeat. `None` if [`shares_clock`](Self::shares_clock) is false.
    pub heartbeat_ago: Option<Duration>,
    /// True if this process is in the publisher's time namespace, or either is unknown. If false, the publisher's times are from
    /// another clock and all ages are `None`.
    pub shares_clock: bool,
    /// The user id that the region belongs to.
    pub owner: u32,
    /// The group id that the region belongs to.
    pub group: u32,
    /// The permission bits of the region.
    pub mode: u32,
    /// The random number of the region.
    pub region_id: u64,
    /// True if the publisher's source of rows has ended ([`UntypedPublisher::end_input`](crate::UntypedPublisher::end_input)).
    pub input_ended: bool,
    /// Time since then. `None` while the source goes on, or if [`shares_clock`](Self::shares_clock) is false.
    pub input_ended_ago: Option<Duration>,
    /// The random number that names the registry.
    pub registry_id: u64,
    /// How many subscribers can be woken by name.
    pub slots: usize,
    /// Those who are. An error if this user may not look.
    pub subscribers: Result<Vec<Listener>>,
}

impl TableInfo {
    /// Returns true if the publisher lives and its last heartbeat is known to be older than [`SILENT_AFTER`].
    pub fn is_silent(&self) -> bool {
        self.publisher.is_alive() && self.heartbeat_ago.is_some_and(|ago| ago > SILENT_AFTER)
    }
}

/// The names of all tables on this machine, in order. Some may belong to users whom [`inspect`] does not believe.
///
/// ```
/// # use common::{Schema, UntypedPublisher, inspect, tables};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-tables-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// for table in tables()? {
///     match inspect(&table, None) {
///         Ok(info) => println!("{table}: {} rows at version {}", info.rows, info.version),
///         Err(error) => println!("{error}"), // of another user, damaged, or gone by now
///     }
/// }
/// # assert!(tables()?.contains(&name));
/// # publisher.close()
/// # }
/// ```
///
/// # Errors
/// What the system refuses.
pub fn tables() -> Result<Vec<String>> {
    let failed = |error| failure_io(DIRECTORY, "list", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(DIRECTORY).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        let name = entry
            .to_str()
            .and_then(|name| name.strip_prefix("tablecast.table."));
        names.extend(
            name.filter(|name| TableName::new(name).is_ok())
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// Looks at a table of `owner`, or, if none is given, of this process's own user or root.
///
/// # Errors
/// [`Error::InvalidName`], [`Error::NotFound`], [`Error::WrongOwner`], [`Error::PermissionDenied`], [`Error::Corrupt`],
/// [`Error::LayoutMismatch`].
///
/// ```
/// # use common::{Schema, UntypedPublisher, inspect};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-inspect-{}", std::process::id());
/// let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64,price:f64", None)?).open()?;
/// let info = inspect(&name, None)?;
/// assert_eq!((info.version, info.rows), (1, 0));
/// assert!(info.publisher.is_alive());
/// # publisher.close()
/// # }
/// ```
pub fn inspect(name: &str, owner: Option<u32>) -> Result<TableInfo> {
    let name = TableName::new(name)?;
    let object = name.region();
    let (trusted, trust_root) = (owner.unwrap_or_else(own_user), owner.is_none());
    let Some(file) = object::open(&object, false, trusted, trust_root)? else {
        return Err(Error::NotFound {
            table: name.as_str().to_owned(),
        });
    };
    let header = Header::read(&object, &file)?;
    let status = file
        .metadata()
        .map_err(|error| failure_io(&object, "look at", error))?;
    let alive = lock::is_held(&file, Span::WHOLE)
        .map_err(|errno| failure(&object, "query the lock of", errno))?;
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
    Ok(TableInfo {
        version,
        committed_ago: ago(time).filter(|_| again[0] == version),
        rows: live_rows(&object, &file, &header)?,
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
        region_id: header.word(header::REGION_ID),
        registry_id,
        slots: header.geometry.slots,
        subscribers: registry::listeners(registry_id, trusted, trust_root),
        name: name.as_str().to_owned(),
        schema: header.schema,
    })
}

/// Counts the rows that are live, by their tags. What is committed meanwhile counts, too.
fn live_rows(object: &str, file: &File, header: &Header) -> Result<usize> {
    let geometry = &header.geometry;
    let rows = usize::try_from(header.word(header::ROWS)).unwrap_or(usize::MAX);
    let within = rows.min(geometry.rows_in(header.file_size as usize / 8));
    let mut live = 0;
    let mut tags = [0; 2 * BLOCK_ROWS];
    for first in (0..within).step_by(BLOCK_ROWS) {
        read_words(object, file, geometry.tags(first) as u64 * 8, &mut tags)?;
        let mut commit = [0];
        read_words(object, file, header::COMMIT as u64 * 8, &mut commit)?;
        live += tags
            .chunks_exact(2)
            .take(within - first)
            .filter_map(|pair| {
                pair.iter()
                    .map(|tag| Tag(*tag))
                    .filter(|tag| tag.version() <= commit[0])
                    .max()
            })
            .filter(|tag| tag.is_live())
            .count();
    }
    Ok(live)
}
