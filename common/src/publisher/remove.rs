//! Removal of the tables of dead publishers.

use super::open::{acquire_lock, acquire_lock_of, adopt_as_it_is};
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::region::object::{self, TableName, own_user, registry_name};
use crate::region::{ReaderRegion, read_words};
use crate::wake::registry::Registry;

/// Removes a table that has no live publisher, with all of its objects, and notifies subscribers
/// that the table is closed. Returns the names of the objects that existed.
///
/// # Errors
/// [`Error::NotFound`] if no object of that name exists, [`Error::PublisherActive`] if the table
/// has a live publisher, [`Error::InvalidName`], and errors of the system.
///
/// ```
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-remove-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// assert!(common::remove(&name).is_err(), "its publisher lives");
/// drop(publisher);
/// common::remove(&name)?;
/// # Ok(())
/// # }
/// ```
pub fn remove(name: &str) -> Result<Vec<String>> {
    let name = TableName::new(name)?;
    let objects = objects_of(&name);
    let found = existing(&objects);
    if found.is_empty() {
        return Err(not_found(&name));
    }
    // Take the table over and close it, so that its subscribers are notified.
    match adopt_as_it_is(name.clone(), acquire_lock(&name)?) {
        Ok(Some(publisher)) => publisher.close().map(|()| found),
        Err(Error::PublisherActive { table, pid }) => Err(Error::PublisherActive { table, pid }),
        outcome => {
            let lock = acquire_lock(&name)?;
            if let Err(error) = outcome {
                tracing::warn!("removing what cannot be taken over: {error}");
                remove_registry_of(&name, own_user())?;
            }
            // Remove the lock object last: while it exists, no other process can publish under this
            // name.
            objects
                .iter()
                .try_for_each(|object| object::remove(object))?;
            drop(lock);
            Ok(found)
        }
    }
}

/// Removes a table of another user that has no live publisher. Only root may remove the objects of
/// other users. Returns the names of the objects that existed.
///
/// Subscribers of the table have already learned of its publisher's death, and keep their rows.
///
/// # Errors
/// [`Error::NotFound`] if the table does not exist, [`Error::WrongOwner`] if it belongs to a user
/// other than `owner`, [`Error::PublisherActive`] if it has a publisher,
/// [`Error::PermissionDenied`], [`Error::InvalidName`], and errors of the system.
pub fn remove_of(name: &str, owner: u32) -> Result<Vec<String>> {
    if owner == own_user() {
        return remove(name);
    }
    let name = TableName::new(name)?;
    let objects = objects_of(&name);
    let found = existing(&objects);
    if found.is_empty() {
        return Err(not_found(&name));
    }
    let _lock = acquire_lock_of(&name, owner)?;
    match ReaderRegion::open(&name, owner, false) {
        Ok(Some(region)) if region.has_publisher()? => {
            return Err(Error::PublisherActive {
                table: name.as_str().to_owned(),
                pid: region.publisher().pid,
            });
        }
        Ok(_) | Err(Error::Corrupt { .. }) => {}
        Err(error) => return Err(error),
    }
    remove_registry_of(&name, owner)?;
    // Remove the lock object last: while it exists, no other process can publish under this name.
    objects
        .iter()
        .try_for_each(|object| object::remove(object))?;
    Ok(found)
}

fn objects_of(name: &TableName) -> [String; 3] {
    [name.region(), name.next_region(), name.lock()]
}

fn existing(objects: &[String]) -> Vec<String> {
    let found = objects.iter().filter(|object| object::exists(object));
    found.cloned().collect()
}

fn not_found(name: &TableName) -> Error {
    Error::NotFound {
        table: name.as_str().to_owned(),
    }
}

/// Removes the registry that a region of `owner` refers to, if it refers to one.
fn remove_registry_of(name: &TableName, owner: u32) -> Result<()> {
    let Some(region) = object::open(&name.region(), false, owner, false)? else {
        return Ok(());
    };
    let mut id = [0];
    let named = read_words(
        &name.region(),
        &region,
        header::REGISTRY_ID as u64 * 8,
        &mut id,
    );
    if let Ok(Some(registry)) = named.and_then(|()| Registry::adopt_of(id[0], owner)) {
        object::remove(&registry_name(id[0]))?;
        registry.remove_receivers();
    }
    Ok(())
}
