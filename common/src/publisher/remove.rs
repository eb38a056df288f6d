//! Removing what dead publishers left.

use super::open::{acquire_lock, adopt_as_it_is};
use crate::error::{Error, Result};
use crate::region::object::{self, TableName, failure_io};

/// Removes a table that nobody publishes, with everything that belongs to it, and tells subscribers that it is closed.
/// Returns the names of the objects that were there.
///
/// # Errors
/// [`Error::NotFound`] if there is nothing of that name, [`Error::PublisherActive`] if somebody publishes it,
/// [`Error::InvalidName`], and what the system refuses.
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
    let objects = [name.region(), name.next_region(), name.lock()];
    let found: Vec<String> = objects
        .iter()
        .filter(|object| object::exists(object))
        .cloned()
        .collect();
    if found.is_empty() {
        return Err(Error::NotFound {
            table: name.as_str().to_owned(),
        });
    }
    let lock = acquire_lock(&name)?;
    let second = lock
        .try_clone()
        .map_err(|error| failure_io(&name.lock(), "duplicate", error))?;
    // The polite way is to be its next publisher, and close. A region that is damaged is just removed.
    match adopt_as_it_is(name, second) {
        Ok(Some(publisher)) => publisher.close()?,
        Ok(None) => {}
        Err(Error::PublisherActive { table, pid }) => {
            return Err(Error::PublisherActive { table, pid });
        }
        Err(error) => tracing::warn!("removing what cannot be taken over: {error}"),
    }
    objects
        .iter()
        .try_for_each(|object| object::remove(object))?;
    drop(lock);
    Ok(found)
}
