//! Opens a table for publishing: creates a new table, takes over the region of a dead publisher, or
//! replaces that region with a successor.
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

use super::UntypedPublisher;
use super::builder::Settings;
use super::name::OwnedName;
use super::notify::{Notifier, wake_stale};
use super::table::PublishedTable;
use crate::error::{Error, Result};
use crate::protocol::layout::{Geometry, MAX_CAPACITY, State, header};
use crate::region::object::{self, TableName};
use crate::region::{PublisherRegion, RegionOptions};
use crate::row::schema::{Conversion, Schema};

/// How to treat a table that a dead publisher left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Take it over, or else create the table.
    Any,
    /// Refuse it: the table must be new.
    Refused,
    /// Take it over. It must exist.
    Required,
}

pub(super) fn open(
    name: &str,
    schema: Schema,
    settings: Settings,
    existing: Existing,
) -> Result<UntypedPublisher> {
    let opening = Opening {
        name: OwnedName::acquire(TableName::new(name)?)?,
        schema: Arc::new(schema),
        settings,
    };
    let name = opening.name.table();
    let table = || name.as_str().to_owned();
    // While this process holds the lock, no other publisher creates or removes the table.
    match (existing, object::exists(&name.region())) {
        (Existing::Refused, true) => return Err(Error::TableExists { table: table() }),
        (Existing::Required, false) => return opening.fail(Error::NotFound { table: table() }),
        _ => {}
    }
    // A publisher that died while replacing a region leaves this object behind. If it belongs to
    // another user and cannot be removed, it stays.
    object::remove(&name.next_region())
        .unwrap_or_else(|error| tracing::warn!("an unused region stays: {error}"));
    let Some(left) = PublisherRegion::adopt(name).or_else(|error| opening.fail(error))? else {
        return opening.create();
    };
    opening.name.check_region(&left)?;
    if opening.fits(&left) { opening.take_over(left) } else { opening.succeed(&left) }
}

/// Takes over the table of a dead publisher with its existing schema and settings. Returns None if
/// the table does not exist.
///
/// # Errors
/// [`Error::PublisherActive`], [`Error::Corrupt`], and errors of the system.
pub(crate) fn adopt(name: &TableName) -> Result<Option<UntypedPublisher>> {
    let name = OwnedName::acquire(name.clone())?;
    let Some(left) = PublisherRegion::adopt(name.table())? else {
        return Ok(None);
    };
    name.check_region(&left)?;
    let Geometry { capacity, slots, .. } = *left.geometry();
    let (slots, access) = (slots.max(1), left.access()?);
    let settings = Settings { capacity, max_capacity: None, slots, access };
    let schema = Arc::clone(left.schema());
    let opening = Opening { name, schema, settings };
    opening.take_over(left).map(Some)
}

/// A publisher's name, schema and settings before it has a region.
struct Opening {
    name: OwnedName,
    schema: Arc<Schema>,
    settings: Settings,
}

impl Opening {
    fn options(&self, capacity: usize, epoch: u64, commit: u64) -> RegionOptions {
        RegionOptions {
            schema: Arc::clone(&self.schema),
            capacity,
            slots: self.settings.slots,
            epoch,
            commit,
            access: self.settings.access,
        }
    }

    /// Removes the lock object again, unless the table has a region, and returns `error`.
    fn fail<T>(&self, error: Error) -> Result<T> {
        if !object::exists(&self.name.table().region()) {
            object::remove(&self.name.table().lock())?;
        }
        Err(error)
    }

    fn create(self) -> Result<UntypedPublisher> {
        let create = || {
            let options = self.options(self.settings.capacity, 1, 1);
            let region = PublisherRegion::create(self.name.table(), &options)?;
            let table = PublishedTable::new(self.name.table(), region)?;
            let (notifier, _) = Notifier::open(table.region(), 0, self.settings);
            table.take_name(None)?;
            Ok((table, notifier))
        };
        match create() {
            Ok((table, notifier)) => Ok(self.opened(table, notifier)),
            Err(error) => self.fail(error),
        }
    }

    /// Returns true if the existing region can be used unchanged.
    fn fits(&self, left: &PublisherRegion) -> bool {
        let Geometry { capacity, slots, .. } = *left.geometry();
        left.is_locked()
            && left.schema() == &self.schema
            && capacity >= self.settings.capacity
            && slots >= self.settings.slots
            && left.word(header::STATE) != State::Superseded as u64
    }

    fn take_over(self, region: PublisherRegion) -> Result<UntypedPublisher> {
        let (commit, table) = region.look()?;
        table.repair(commit);
        // The new key index gets the access of the region.
        region.restrict(self.settings.access)?;
        let table = PublishedTable::new(self.name.table(), region)?;
        let region = table.region();
        let registry_id = region.word(header::REGISTRY_ID);
        let (notifier, stale) = Notifier::open(region, registry_id, self.settings);
        region.sign(region.word(header::EPOCH).wrapping_add(1));
        let mut publisher = self.opened(table, notifier);
        publisher.commit_event()?;
        wake_stale(stale, publisher.version());
        Ok(publisher)
    }

    /// Creates a region that replaces `left`, with all of its rows that can be converted to the new
    /// schema.
    fn succeed(self, left: &PublisherRegion) -> Result<UntypedPublisher> {
        let (commit, table) = left.look()?;
        table.repair(commit);
        let Settings { capacity, max_capacity, .. } = self.settings;
        // A table with the same schema keeps a larger capacity than the limit.
        let limit = match left.schema() == &self.schema {
            true => MAX_CAPACITY,
            false => max_capacity.unwrap_or(capacity),
        };
        let capacity = left.geometry().capacity.clamp(capacity, limit);
        let epoch = left.word(header::EPOCH).wrapping_add(1);
        // The version after `commit` ends the region that was left, with its rows.
        let begin = commit + 1 + u64::from(left.schema() != &self.schema);
        let options = self.options(capacity, epoch, begin);
        let region = PublisherRegion::create(self.name.table(), &options)?;
        let name = self.name.table();
        let rows = converted_rows(left, commit, &self.schema, name)?;
        let table = PublishedTable::with_rows(name, region, rows).map_err(|error| match error {
            Error::KeyExists { key, .. } => left.corrupt(format!("two of its rows have key {key}")),
            other => other,
        })?;
        let registry_id = left.word(header::REGISTRY_ID);
        let (notifier, stale) = Notifier::open(table.region(), registry_id, self.settings);
        table.take_name(Some(left))?;
        let mut publisher = self.opened(table, notifier);
        publisher.supersede(left);
        wake_stale(stale, publisher.version());
        Ok(publisher)
    }

    fn opened(self, mut table: PublishedTable, mut notifier: Notifier) -> UntypedPublisher {
        table.set_growth_limit(self.settings.max_capacity.unwrap_or(0));
        notifier.link();
        UntypedPublisher::new(self.name, table, notifier)
    }
}

/// Returns the rows of `left` as of `commit`, converted to `schema`. Logs the fields whose values
/// are lost, or that no row can be converted.
fn converted_rows(
    left: &PublisherRegion,
    commit: u64,
    schema: &Schema,
    name: &TableName,
) -> Result<impl Iterator<Item = Vec<u8>>> {
    let conversion = Conversion::between(left.schema(), schema);
    let (name, lost) = (name.as_str(), conversion.as_ref().map(Conversion::lost));
    match lost {
        None => tracing::warn!("table {name:?} begins empty: the new schema has another key"),
        Some([]) => {}
        Some(lost) => tracing::warn!(
            "table {name:?} loses the values of {}: the new schema has no such fields, or of another kind",
            lost.join(", ")
        ),
    }
    let (_, table) = left.look()?;
    let (old_size, new_size) = (left.schema().row_size(), schema.row_size());
    let mut words = vec![0; left.schema().row_words()];
    let slots = 0..conversion.as_ref().map_or(0, |_| table.rows());
    Ok(slots.filter_map(move |slot| {
        let read = table.read(slot, commit, 0, &mut words);
        if !read.is_ok_and(|tag| tag.is_live()) {
            return None;
        }
        let mut row = vec![0; new_size];
        let old = &bytemuck::cast_slice(&words)[..old_size];
        conversion.as_ref()?.convert(old, &mut row);
        Some(row)
    }))
}
