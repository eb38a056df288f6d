//! Removes tables that have no live publisher.

use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::protocol::layout::{State, header};
use crate::publisher::{acquire_lock_of, adopt};
use crate::region::object::{self, TableName, index_name, own_user, registry_name};
use crate::region::{Header, read_words};
use crate::wake::registry::Registry;

/// Removes a table that has no live publisher, with all of its objects, and notifies subscribers
/// that the table is closed. Returns the names of the objects that existed.
///
/// # Errors
/// [`Error::NotFound`] if no object of that name exists, [`Error::PublisherActive`] if the table
/// has a live publisher, [`Error::InvalidName`], and errors of the system.
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher};
/// # let name = format!("doc-remove-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// assert!(common::remove(&name).is_err(), "its publisher is alive");
/// drop(publisher);
/// common::remove(&name)?;
/// # Ok::<(), common::Error>(())
/// ```
pub fn remove(name: &str) -> Result<Vec<String>> {
    remove_of(name, own_user())
}

/// Removes a table of the user `owner` that has no live publisher. Only root may remove the objects
/// of other users. Returns the names of the objects that existed.
///
/// The subscribers of another user's table are not notified. They have already learned of the
/// publisher's death, and they keep their rows.
///
/// # Errors
/// [`Error::NotFound`] if no object of that name exists, [`Error::WrongOwner`] if the table belongs
/// to a user other than `owner`, [`Error::PublisherActive`] if it has a live publisher,
/// [`Error::PermissionDenied`], [`Error::InvalidName`], and errors of the system.
pub fn remove_of(name: &str, owner: u32) -> Result<Vec<String>> {
    let name = TableName::new(name)?;
    let mut objects = vec![name.region(), name.next_region(), name.lock()];
    objects.retain(|object| object::exists(object));
    if objects.is_empty() {
        return Err(Error::NotFound { table: name.as_str().to_owned() });
    }
    if owner == own_user() {
        // Take the table over and close it, so that its subscribers are notified.
        match adopt(&name) {
            Ok(Some(publisher)) => return publisher.close().map(|()| objects),
            Ok(None) => {}
            Err(error @ Error::PublisherActive { .. }) => return Err(error),
            Err(error) => tracing::warn!("removing a table that cannot be taken over: {error}"),
        }
    }
    let _lock = acquire_lock_of(&name, owner)?;
    remove_referenced(&name, owner)?;
    object::remove(&name.region())?;
    object::remove(&name.next_region())?;
    // Remove the lock object last: while it exists, no other process can publish under this name.
    object::remove(&name.lock())?;
    Ok(objects)
}

/// Removes the registry and the key index that the table's region refers to, as far as they exist.
/// Fails if a publisher still holds the region after its lock object was removed.
fn remove_referenced(name: &TableName, owner: u32) -> Result<()> {
    let object = name.region();
    let Some(region) = object::open(&object, true, owner, false)? else {
        return Ok(());
    };
    if object::is_held(&object, &region)? {
        let pid = Header::read(&object, &region).map_or(0, |header| header.publisher().pid);
        let table = name.as_str().to_owned();
        return Err(Error::PublisherActive { table, pid });
    }
    let mut header = [0; header::SCHEMA];
    if read_words(&object, &region, 0, &mut header).is_err() {
        return Ok(());
    }
    // Readers look for another table of this name once the state says that this one is closed.
    let closed = (State::Closed as u64).to_ne_bytes();
    region
        .write_all_at(&closed, header::STATE as u64 * 8)
        .map_err(|error| object::failure(&object, "close", error))?;
    let registry_id = header[header::REGISTRY_ID];
    if let Ok(Some(registry)) = Registry::adopt(registry_id, owner) {
        object::remove(&registry_name(registry_id))?;
        registry.remove_receivers();
    }
    object::remove(&index_name(header[header::REGION_ID], header[header::INDEX_GENERATION]))
}
