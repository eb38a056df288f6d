//! Opening a table for publishing: creates a new table, takes over the region of a dead publisher,
//! or replaces that region with a successor.
//!
//! Takeover:
//!
//! 1. Lock the table's lock object.
//! 2. Validate the region.
//! 3. Hide everything that was written above the last commit.
//! 4. Rebuild the index.
//! 5. Sign the region with the next epoch.
//! 6. Commit an empty transaction.
//! 7. Wake all parked subscribers.
//!
//! Each step can be repeated by the next publisher if this one dies in the middle.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::notify::{self, Waking};
use super::rows::Rows;
use super::statistics::Statistics;
use super::transaction::Staged;
use super::untyped::UntypedPublisher;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::protocol::layout::{Geometry, State, header};
use crate::region::lock::{self, Locked, Span};
use crate::region::object::{self, TableName, failure};
use crate::region::{Header, PublisherRegion, RegionOptions};
use crate::row::schema::{Conversion, Schema};

/// Maximum number of attempts to lock a lock object, one millisecond apart while another process
/// holds it. Other processes may remove or create the object in the meantime. The limit gives a
/// starting publisher time to sign its region, and a sweep time to release the lock.
const LOCK_TRIES: usize = 1000;

/// Locks the table's lock object, and creates it if it does not exist.
pub(super) fn acquire_lock(name: &TableName) -> Result<Locked> {
    acquire_lock_of(name, object::own_user())
}

/// Locks the lock object of `owner`'s table.
///
/// # Errors
/// [`Error::PublisherActive`] immediately if a publisher holds the lock; [`Error::PublisherActive`]
/// with pid 0 after [`LOCK_TRIES`] attempts if another process holds it; and errors of the system.
pub(crate) fn acquire_lock_of(name: &TableName, owner: u32) -> Result<Locked> {
    let object = name.lock();
    let take = |file| Locked::take(file).map_err(|errno| failure(&object, "lock", errno));
    let mut held = false;
    for _ in 0..LOCK_TRIES {
        let Some(file) = object::open(&object, true, owner, false)? else {
            let file = object::create(&object, 0o600, None)?;
            object::give(&file, &object, owner)?;
            // Lock the object before linking it, so that no other process can lock it first.
            if let Some(locked) = take(file)?
                && object::link(&locked, &object)?
            {
                return Ok(locked);
            }
            continue;
        };
        match take(file)? {
            // A publisher that closed may have removed the name between opening and locking.
            Some(locked) if object::names(&object, &locked) => return Ok(locked),
            Some(_) => held = false,
            None => {
                if let Some(pid) = holder(name, owner) {
                    return Err(active(name, pid));
                }
                held = true;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    if held {
        return Err(active(name, 0));
    }
    let reason = "it is being removed and made again all the time".to_owned();
    Err(Error::Corrupt { object, reason })
}

fn active(name: &TableName, pid: u32) -> Error {
    Error::PublisherActive {
        table: name.as_str().to_owned(),
        pid,
    }
}

/// Returns the pid of the process that publishes the table, if there is one. The holder of the lock
/// object is not necessarily a publisher: a sweep locks only that object, and a publisher that
/// takes over locks the region before it signs it, while the region still has the pid of the dead
/// publisher.
fn holder(name: &TableName, owner: u32) -> Option<u32> {
    let object = name.region();
    let file = object::open(&object, false, owner, false).ok()??;
    let publisher = Header::read(&object, &file).ok()?.publisher();
    let publishes = lock::is_held(&file, Span::WHOLE) == Ok(true) && !publisher.is_gone();
    publishes.then_some(publisher.pid)
}

/// Opens a table for publishing.
pub(super) fn open(name: &str, schema: Schema, settings: Settings) -> Result<UntypedPublisher> {
    let name = TableName::new(name)?;
    let schema = Arc::new(schema);
    let lock = acquire_lock(&name)?;
    // A publisher that died while replacing a region leaves this object behind. An object of
    // another user that cannot be removed may stay.
    if let Err(error) = object::remove(&name.next_region()) {
        tracing::warn!("it stays behind: {error}");
    }
    let opening = Opening {
        name,
        lock,
        schema,
        settings,
    };
    let left =
        PublisherRegion::adopt(&opening.name).or_else(|error| opening.leave_nothing(error))?;
    let Some(left) = left else {
        return opening.create();
    };
    refuse_if_published(&opening.name, &left)?;
    if opening.fits(&left) {
        opening.take_over(left)
    } else {
        opening.succeed(left)
    }
}

/// Takes over the table of a dead publisher with its existing schema and settings. Returns None if
/// the table does not exist.
pub(crate) fn adopt(name: &TableName) -> Result<Option<UntypedPublisher>> {
    let lock = acquire_lock(name)?;
    let Some(left) = PublisherRegion::adopt(name)? else {
        return Ok(None);
    };
    refuse_if_published(name, &left)?;
    let Geometry {
        capacity, slots, ..
    } = *left.geometry();
    let settings = Settings {
        capacity,
        slots: slots.max(1),
        access: left.access()?,
    };
    Opening {
        name: name.clone(),
        lock,
        schema: Arc::clone(left.schema()),
        settings,
    }
    .take_over(left)
    .map(Some)
}

/// Returns an error if another publisher still holds its lock on the region, which it does even if
/// its lock object was removed. A process of another user can only hold a read lock, which does not
/// count here.
fn refuse_if_published(name: &TableName, left: &PublisherRegion) -> Result<()> {
    if !left.is_locked() && left.has_publisher()? {
        return Err(active(name, left.publisher().pid));
    }
    Ok(())
}

/// A publisher's name, lock, schema and settings before it has a region.
struct Opening {
    name: TableName,
    lock: Locked,
    schema: Arc<Schema>,
    settings: Settings,
}

impl Opening {
    fn beginning(&self, capacity: usize, epoch: u64, commit: u64) -> RegionOptions {
        RegionOptions {
            schema: Arc::clone(&self.schema),
            capacity,
            slots: self.settings.slots,
            epoch,
            commit,
            access: self.settings.access,
        }
    }

    /// Removes the lock object again, unless its table exists, and returns `error`.
    fn leave_nothing<T>(&self, error: Error) -> Result<T> {
        if !object::exists(&self.name.region()) {
            object::remove(&self.name.lock())?;
        }
        Err(error)
    }

    fn create(self) -> Result<UntypedPublisher> {
        let begin = || {
            let region =
                PublisherRegion::create(&self.name, &self.beginning(self.settings.capacity, 1, 1))?;
            let rows = self.rows(&region)?;
            let (waking, _) = Waking::begin(&region, 0, &self.settings);
            region.take_name(&self.name)?;
            Ok((region, rows, waking))
        };
        match begin() {
            Ok((region, rows, waking)) => Ok(self.publisher(region, rows, waking)),
            Err(error) => self.leave_nothing(error),
        }
    }

    /// Returns true if the existing region can be used unchanged.
    fn fits(&self, left: &PublisherRegion) -> bool {
        let Geometry {
            capacity, slots, ..
        } = *left.geometry();
        left.is_locked()
            && left.schema() == &self.schema
            && capacity >= self.settings.capacity
            && slots >= self.settings.slots
            && left.word(header::STATE) != State::Superseded as u64
    }

    fn take_over(self, region: PublisherRegion) -> Result<UntypedPublisher> {
        let (commit, table) = region.look()?;
        table.repair(commit);
        let rows = self.rows(&region)?;
        region.restrict(self.settings.access)?;
        let registry_id = region.word(header::REGISTRY_ID);
        let (waking, registry_left) = Waking::begin(&region, registry_id, &self.settings);
        region.sign(region.word(header::EPOCH).wrapping_add(1));
        let mut publisher = self.publisher(region, rows, waking);
        publisher.check_notes(0..publisher.rows.used())?;
        publisher.commit_news(true)?;
        if let Some(left) = registry_left {
            notify::leave(left, publisher.version);
        }
        Ok(publisher)
    }

    /// Creates a region that replaces `left`, with all of its rows that can be converted to the new
    /// schema.
    fn succeed(self, left: PublisherRegion) -> Result<UntypedPublisher> {
        let (commit, table) = left.look()?;
        table.repair(commit);
        let same = left.schema() == &self.schema;
        let capacity = self
            .settings
            .capacity
            .max(if same { left.geometry().capacity } else { 0 });
        let epoch = left.word(header::EPOCH).wrapping_add(1);
        let region =
            PublisherRegion::create(&self.name, &self.beginning(capacity, epoch, commit + 1))?;
        fill(&region, &left, commit, &self.name)?;
        let rows = self.rows(&region)?;
        let registry_id = left.word(header::REGISTRY_ID);
        let (waking, registry_left) = Waking::begin(&region, registry_id, &self.settings);
        region.take_name(&self.name)?;
        let mut publisher = self.publisher(region, rows, waking);
        supersede(&mut publisher, &left);
        if let Some(left) = registry_left {
            notify::leave(left, publisher.version);
        }
        Ok(publisher)
    }

    fn rows(&self, region: &PublisherRegion) -> Result<Rows> {
        let (version, table) = region.look()?;
        let twice = |_: &[u8]| region.corrupt("a key stands at two slots".to_owned());
        Rows::of(
            &self.schema,
            &table,
            version,
            region.geometry().capacity,
            twice,
        )
    }

    fn publisher(
        self,
        region: PublisherRegion,
        rows: Rows,
        mut waking: Waking,
    ) -> UntypedPublisher {
        waking.publish();
        UntypedPublisher {
            version: region.word(header::COMMIT),
            name: self.name,
            settings: self.settings,
            lock: self.lock,
            region,
            waking,
            schema: self.schema,
            rows,
            staged: Staged::default(),
            next_upkeep_ns: 0,
            statistics: Statistics::default(),
            commit_timer: None,
        }
    }
}

/// Copies the rows of `left` as of `commit`. If the schemas are equal, each row keeps its slot.
fn fill(
    region: &PublisherRegion,
    left: &PublisherRegion,
    commit: u64,
    name: &TableName,
) -> Result<()> {
    let (_, from) = left.look()?;
    let same = left.schema() == region.schema();
    let Some(conversion) = Conversion::between(left.schema(), region.schema()) else {
        tracing::warn!(
            "table {:?} begins empty: its rows have another key now",
            name.as_str()
        );
        return Ok(());
    };
    let lost = conversion.lost();
    if !lost.is_empty() {
        tracing::warn!(
            "table {:?} loses the values of {}: the new schema has no such fields, or of another kind",
            name.as_str(),
            lost.join(", ")
        );
    }
    let version = region.word(header::COMMIT);
    let mut words = vec![0; left.schema().row_words()];
    let mut converted = vec![0; region.schema().row_words()];
    let mut next = 0;
    for slot in 0..from.rows() {
        let live = from
            .read(slot, commit, 0, &mut words)
            .is_ok_and(|tag| tag.is_live());
        if !live {
            continue;
        }
        let to = if same { slot } else { next };
        next += 1;
        if to >= region.geometry().capacity {
            return Err(Error::TableFull {
                table: name.as_str().to_owned(),
                capacity: region.geometry().capacity,
            });
        }
        region.grow(to + 1)?;
        let new_size = region.schema().row_size();
        conversion.convert(
            &bytemuck::cast_slice(&words)[..left.schema().row_size()],
            &mut bytemuck::cast_slice_mut(&mut converted)[..new_size],
        );
        let (_, table) = region.look()?;
        table.fill(to, 0, version, Some(&converted));
    }
    Ok(())
}

/// Marks the old region as superseded and wakes all of its subscribers. If the region cannot be
/// marked, its subscribers find the successor by their re-check, because the successor already has
/// the table's name.
fn supersede(publisher: &mut UntypedPublisher, old: &PublisherRegion) {
    match old.look() {
        Ok((commit, table)) => {
            old.set(header::STATE, State::Superseded as u64);
            table.commit(commit + 1, monotonic_ns(), std::iter::empty());
        }
        Err(error) => {
            tracing::warn!("subscribers learn of the successor by their re-check only: {error}");
        }
    }
    publisher.wake(publisher.version, true);
    // Subscribers without a slot wait on the commit word of the old region.
    old.commit_half().wake_all();
}

/// Replaces the publisher's region, which lost its name, with a successor that has the same rows.
pub(super) fn succeed_self(publisher: &mut UntypedPublisher) -> Result<()> {
    let capacity = publisher.capacity();
    let new = successor(publisher, Arc::clone(&publisher.schema), capacity)?;
    copy_as_noted(publisher, &new)?;
    go_on_with(publisher, new, None)
}

/// Copies the publisher's committed rows to `new`. Each row is copied to the slot and the copy that
/// the publisher's notes record, so that the notes are also valid for `new`. A staged transaction
/// stays valid, because its entries name copies that are free in both regions.
fn copy_as_noted(publisher: &UntypedPublisher, new: &PublisherRegion) -> Result<()> {
    let (region, notes) = (&publisher.region, &publisher.rows);
    let (_, from) = region.look()?;
    let rows = from.rows().min(notes.used());
    new.grow(rows)?;
    let (version, table) = new.look()?;
    let mut words = vec![0; publisher.schema.row_words()];
    for slot in 0..notes.used() {
        let (holder, live) = notes.holder(slot);
        if live && !publisher.read_into(slot, &mut words) {
            return Err(region.corrupt(format!("the committed row at slot {slot} is gone")));
        }
        if slot < rows {
            table.fill(slot, holder, version, live.then_some(&words));
        }
    }
    Ok(())
}

/// Replaces the publisher's region with a successor that has the given schema, capacity and rows.
pub(super) fn reshape<B: AsRef<[u8]>>(
    publisher: &mut UntypedPublisher,
    schema: Schema,
    capacity: usize,
    rows: impl IntoIterator<Item = B>,
) -> Result<()> {
    let schema = Arc::new(schema);
    let new = successor(publisher, Arc::clone(&schema), capacity)?;
    let version = new.word(header::COMMIT);
    let mut words = vec![0; schema.row_words()];
    for (slot, row) in rows.into_iter().enumerate() {
        let row = row.as_ref();
        publisher.check_length("row", row.len(), schema.row_size())?;
        if slot >= capacity {
            return Err(Error::TableFull {
                table: publisher.name().to_owned(),
                capacity,
            });
        }
        bytemuck::cast_slice_mut(&mut words)[..row.len()].copy_from_slice(row);
        new.grow(slot + 1)?;
        let (_, table) = new.look()?;
        table.fill(slot, 0, version, Some(&words));
    }
    let (_, table) = new.look()?;
    let twice = |key: &[u8]| Error::KeyExists {
        table: publisher.name().to_owned(),
        key: schema.format_key(key),
    };
    let rows = Rows::of(&schema, &table, version, capacity, twice)?;
    go_on_with(publisher, new, Some(rows))
}

/// Creates an unnamed, empty region that can replace the publisher's region.
fn successor(
    publisher: &UntypedPublisher,
    schema: Arc<Schema>,
    capacity: usize,
) -> Result<PublisherRegion> {
    let region = &publisher.region;
    let beginning = RegionOptions {
        schema,
        capacity,
        slots: region.geometry().slots,
        epoch: region.word(header::EPOCH),
        commit: publisher.next_version()?,
        access: publisher.settings.access,
    };
    let new = PublisherRegion::create(&publisher.name, &beginning)?;
    new.set(header::REGISTRY_ID, publisher.waking.registry_id());
    Ok(new)
}

/// Gives `new` the table's name, makes it the publisher's region, and wakes the subscribers of the
/// old region. `rows` are the notes that describe `new`; `None` means that the publisher's own
/// notes do. Changes nothing if it fails.
fn go_on_with(
    publisher: &mut UntypedPublisher,
    new: PublisherRegion,
    rows: Option<Rows>,
) -> Result<()> {
    let (version, table) = new.look()?;
    if cfg!(debug_assertions) {
        let notes = rows.as_ref().unwrap_or(&publisher.rows);
        // No other process can have written to the region, because it has no name yet.
        let wrong = notes.disagreement(&table, version, 0..notes.used());
        assert_eq!(wrong, None, "the notes of a slot describe the successor");
    }
    new.take_name(&publisher.name)?;
    if let Some(rows) = rows {
        publisher.rows = rows;
    }
    publisher.schema = Arc::clone(new.schema());
    publisher.settings.capacity = new.geometry().capacity;
    publisher.version = version;
    let old = std::mem::replace(&mut publisher.region, new);
    supersede(publisher, &old);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn open_lock(name: &TableName) -> Locked {
        let file = object::open(&name.lock(), true, object::own_user(), false);
        let file = file.unwrap().unwrap();
        Locked::take(file).unwrap().unwrap()
    }

    #[test]
    fn damaged_registry_id_is_restored_by_maintenance_and_not_copied_to_a_successor() -> Result<()>
    {
        let name = format!("unit-registry-id-{}", std::process::id());
        let mut publisher =
            UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
        let id = publisher.region.word(header::REGISTRY_ID);
        publisher.region.set(header::REGISTRY_ID, id ^ 7);
        publisher.maintain()?;
        assert_eq!(publisher.region.word(header::REGISTRY_ID), id);
        publisher.region.set(header::REGISTRY_ID, id ^ 7);
        let schema = (**publisher.schema()).clone();
        publisher.reshape(schema, 10, [[7; 8]])?;
        assert_eq!(publisher.region.word(header::REGISTRY_ID), id);
        publisher.close()
    }

    #[test]
    fn lock_of_a_table_without_a_publisher_is_awaited_and_names_no_dead_pid() -> Result<()> {
        let name = TableName::new(&format!("unit-held-lock-{}", std::process::id()))?;
        let schema = Schema::parse("id:u64", None)?;
        let open = || UntypedPublisher::builder(name.as_str(), schema.clone()).open();
        let pid = |outcome: Result<UntypedPublisher>| match outcome {
            Err(error @ Error::PublisherActive { pid, .. }) => (pid, error.to_string()),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("two processes have the lock"),
        };
        let publisher = open()?;
        let own = Identity::own();
        assert_eq!(pid(open()).0, own.pid);
        drop(publisher);

        // A sweep holds only the lock object.
        let sweeping = open_lock(&name);
        let (found, message) = pid(open());
        assert_eq!(found, 0);
        assert!(message.contains("a sweep"), "{message}");

        // A publisher that takes over holds both locks before it signs the region.
        let left = PublisherRegion::adopt(&name)?.expect("it was left");
        left.set(header::START_TIME, own.start_time + 1);
        assert!(left.is_locked());
        assert_eq!(pid(open()).0, 0);
        drop((sweeping, left));
        open()?.close()
    }
}
