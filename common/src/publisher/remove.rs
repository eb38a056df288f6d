//! Removing what dead publishers left.

use super::open::{acquire_lock, adopt_as_it_is};
use crate::error::{Error, Result};
use crate::layout::header;
use crate::region::object::{self, TableName, own_user, registry_name};
use crate::region::read_words;
use crate::registry::Registry;

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
    // The polite way is to be its next publisher, and close.
    match adopt_as_it_is(name.clone(), acquire_lock(&name)?) {
        Ok(Some(publisher)) => publisher.close().map(|()| found),
        Err(Error::PublisherActive { table, pid }) => Err(Error::PublisherActive { table, pid }),
        outcome => {
            let lock = acquire_lock(&name)?;
            if let Err(error) = outcome {
                tracing::warn!("removing what cannot be taken over: {error}");
                remove_registry_of(&name)?;
            }
            // The lock object last: until then nobody else can publish under this name.
            objects
                .iter()
                .try_for_each(|object| object::remove(object))?;
            drop(lock);
            Ok(found)
        }
    }
}

/// Removes the registry that a damaged region names, if that is one.
fn remove_registry_of(name: &TableName) -> Result<()> {
    let Some(region) = object::open(&name.region(), false, own_user(), false)? else {
        return Ok(());
    };
    let mut id = [0];
    let named = read_words(
        &name.region(),
        &region,
        header::REGISTRY_ID as u64 * 8,
        &mut id,
    );
    if let Ok(Some(registry)) = named.and_then(|()| Registry::adopt(id[0])) {
        object::remove(&registry_name(id[0]))?;
        registry.remove_queues();
    }
    Ok(())
}
