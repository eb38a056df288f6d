//! The right to publish under a name: a lock object that this process has locked.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::region::lock::{self, Locked, Span};
use crate::region::object::{self, TableName, failure, own_user};
use crate::region::{Header, PublisherRegion};

/// Maximum number of attempts to lock a lock object, one millisecond apart while another process
/// holds it. Other processes may remove or create the object in the meantime. The limit gives a
/// starting publisher time to sign its region, and a sweep time to release the lock.
const LOCK_TRIES: usize = 1000;

/// A table name whose lock object this process has locked.
pub(super) struct OwnedName {
    name: TableName,
    lock: Locked,
}

impl OwnedName {
    /// Locks the lock object of a table of this user, and creates it if it does not exist.
    ///
    /// # Errors
    /// The errors of [`acquire_lock_of`].
    pub fn acquire(name: TableName) -> Result<Self> {
        let lock = acquire_lock_of(&name, own_user())?;
        Ok(Self { name, lock })
    }

    pub fn table(&self) -> &TableName {
        &self.name
    }

    /// Returns an error if another publisher still holds its lock on the region. A live publisher
    /// holds this lock even after its lock object was removed. A process of another user can hold
    /// only a read lock, which is ignored here.
    pub fn check_region(&self, region: &PublisherRegion) -> Result<()> {
        if !region.is_locked() && region.has_publisher()? {
            return Err(active(&self.name, region.publisher().pid));
        }
        Ok(())
    }

    /// Locks the lock object again if another process removed its name.
    ///
    /// # Errors
    /// The errors of [`acquire_lock_of`].
    pub fn relock(&mut self) -> Result<()> {
        if !object::names(&self.name.lock(), &self.lock) {
            tracing::warn!("lock of table {:?}: its name was removed", self.name.as_str());
            self.lock = acquire_lock_of(&self.name, own_user())?;
        }
        Ok(())
    }

    /// Removes the lock object. Keeps an object that another publisher created under this name
    /// after the table was removed.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn remove(&self) -> Result<()> {
        match object::names(&self.name.lock(), &self.lock) {
            true => object::remove(&self.name.lock()),
            false => Ok(()),
        }
    }
}

/// Locks the lock object of `owner`'s table, and creates it if it does not exist.
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
    let reason = "another process removes and creates it repeatedly".to_owned();
    Err(Error::Corrupt { object, reason })
}

fn active(name: &TableName, pid: u32) -> Error {
    Error::PublisherActive { table: name.as_str().to_owned(), pid }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::protocol::layout::header;
    use crate::{Schema, UntypedPublisher};

    #[test]
    fn open_waits_for_a_lock_without_publisher_and_does_not_report_the_dead_pid() -> Result<()> {
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
        let sweeping = OwnedName::acquire(name.clone())?;
        let (found, message) = pid(open());
        assert_eq!(found, 0);
        assert!(message.contains("a sweep"), "{message}");

        // A publisher that takes over holds both locks before it signs the region.
        let region = PublisherRegion::adopt(&name)?.expect("the region of a dropped publisher");
        region.set(header::START_TIME, own.start_time + 1);
        assert!(region.is_locked());
        assert_eq!(pid(open()).0, 0);
        drop((sweeping, region));
        open()?.close()
    }
}
