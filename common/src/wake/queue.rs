//! POSIX message queues: one per subscriber, one message of one byte deep. A full queue means that
//! a wake-up is pending.
//!
//! A queue's name is derived from the registry, the slot and the subscriber's random number, so
//! that a publisher reaches the intended subscriber or nobody. Each queue counts against the
//! system's limit (256 unless set otherwise).

use std::fs::Metadata;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use super::{Halves, WakeReceiver};
use crate::error::{Error, Result};
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::{self, failure, own_user};

pub(super) const HALVES: Halves = Halves {
    create: |target, publisher| Ok(Box::new(Queue::create(target.object(), publisher)?)),
    open: |target| {
        let name = target.object();
        let queue = Descriptor::open(&name, MQ_OFlag::O_WRONLY, None)?;
        Ok(Box::new(move |_version| {
            let _hint = mq_send(queue.get(), &[0], 0);
        }))
    },
    remove: |target, _held| remove_queue(&target.object()),
};

/// An open queue, closed when dropped (nix does not close it).
struct Descriptor(Option<MqdT>);

impl Descriptor {
    fn open(name: &str, flags: MQ_OFlag, attributes: Option<&MqAttr>) -> nix::Result<Self> {
        let flags = flags | MQ_OFlag::O_NONBLOCK | MQ_OFlag::O_CLOEXEC;
        let owner = Mode::S_IRUSR | Mode::S_IWUSR;
        Ok(Self(Some(mq_open(name, flags, owner, attributes)?)))
    }

    fn get(&self) -> &MqdT {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // Fails only for an invalid descriptor.
        let _closed = self.0.take().map(mq_close);
    }
}

/// User and group of the publisher that sends to a queue.
#[derive(Clone, Copy, Debug)]
pub struct PublisherCredentials {
    user: u32,
    /// Group of the publisher's objects. The publisher is a member of it.
    group: u32,
    /// True if every user may read its table.
    is_public: bool,
}

impl PublisherCredentials {
    /// Returns the publisher whose registry has this status.
    pub fn of(registry: &Metadata) -> Self {
        let is_public = registry.mode() & 0o004 != 0;
        Self { user: registry.uid(), group: registry.gid(), is_public }
    }

    /// Lets the publisher send to a queue created with mode 0600, and as few others as file modes
    /// allow. Nobody else can take a message out.
    fn admit(self, queue: BorrowedFd<'_>) -> nix::Result<()> {
        // The owner and root may send already.
        if [own_user(), 0].contains(&self.user) {
            return Ok(());
        }
        match object::restrict(queue, 0o620, Some(self.group)) {
            // This process is not a member of that group, and can admit the publisher only with the
            // permissions of others.
            Err(_) if self.is_public => object::restrict(queue, 0o622, None),
            admitted => admitted,
        }
    }
}

/// A subscriber's own queue. Dropping it removes it.
struct Queue {
    name: String,
    queue: Descriptor,
    process: Creator,
}

impl Queue {
    fn create(name: String, publisher: PublisherCredentials) -> Result<Self> {
        let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY;
        let queue = Descriptor::open(&name, flags, Some(&MqAttr::new(0, 1, 1, 0)))
            .map_err(|errno| queue_failure(&name, errno))?;
        let queue = Self { name, queue, process: Creator::this_process() };
        // The lock shows that the owner is alive, even where the registry is not visible (another
        // /dev/shm in the same IPC namespace).
        if let Err(errno) = lock::try_share(queue.queue.get(), Span::WHOLE) {
            tracing::debug!("{} is not locked: {errno}", queue.name);
        }
        publisher
            .admit(queue.queue.get().as_fd())
            .map_err(|errno| failure(&queue.name, "set the mode and group of", errno))?;
        Ok(queue)
    }
}

impl WakeReceiver for Queue {
    fn drain(&self) {
        // The queue holds at most one message. A hostile sender may refill it endlessly, so
        // receive only once.
        let _nothing_to_take = mq_receive(self.queue.get(), &mut [0; 1], &mut 0);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.get().as_fd())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.process.is_this_process()
            && let Err(error) = remove_queue(&self.name)
        {
            tracing::warn!("message queue was not removed: {error}");
        }
    }
}

/// Returns true if the owner of a queue has it open; None if this IPC namespace has no such queue.
pub fn is_held(name: &str) -> Result<Option<bool>> {
    let Some(queue) = open_if_there(name, MQ_OFlag::O_RDONLY)? else {
        return Ok(None);
    };
    lock::is_locked(queue.get().as_fd(), Span::WHOLE)
        .map(Some)
        .map_err(|errno| failure(name, "query the lock of", errno))
}

/// Removes a queue whose owner is gone. Returns true if it was removed.
pub fn remove_deserted(name: &str) -> Result<bool> {
    // Taking the lock, unlike querying it, requires write access.
    let Some(queue) = open_if_there(name, MQ_OFlag::O_RDWR)? else {
        return Ok(false);
    };
    let taken = lock::try_lock(queue.get().as_fd(), Span::WHOLE);
    match taken.map_err(|errno| failure(name, "lock", errno))? {
        true => remove_queue(name),
        false => Ok(false),
    }
}

fn open_if_there(name: &str, flags: MQ_OFlag) -> Result<Option<Descriptor>> {
    match Descriptor::open(name, flags, None) {
        Ok(queue) => Ok(Some(queue)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failure(name, "open", errno)),
    }
}

/// Removes a queue. Returns false if it did not exist. Only its owner and root may do this.
fn remove_queue(name: &str) -> Result<bool> {
    match mq_unlink(name) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(failure(name, "remove", errno)),
    }
}

/// Returns the error for an errno of `mq_open`. EMFILE means that the user's memory for queues is
/// used up, unless other files cannot be opened either.
fn queue_failure(name: &str, errno: Errno) -> Error {
    let object = format!("message queue {name}");
    let limit = |limit, remedy| Error::Limit { object: object.clone(), limit, remedy };
    match errno {
        Errno::EMFILE if std::fs::File::open("/dev/null").is_ok() => limit(
            "this user's memory for message queues",
            "raise RLIMIT_MSGQUEUE (ulimit -q): a queue takes about 224 bytes of it",
        ),
        Errno::ENOSPC => {
            limit("the number of message queues", "raise /proc/sys/fs/mqueue/queues_max")
        }
        Errno::ENOSYS => limit(
            "the feature set of the kernel",
            "it was built without POSIX message queues; use another wake kind",
        ),
        errno => failure(&object, "make", errno),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use nix::sys::stat::fstat;
    use nix::unistd::getegid;

    use super::*;
    use crate::region::object::queue_name;
    use crate::region::random_id;

    #[test]
    fn queue_admits_its_publisher_and_no_other_receiver() {
        let (own_group, stranger) = (getegid().as_raw(), own_user() + 1);
        // A group that an ordinary user is not a member of, but that root can assign.
        let other_group = own_group + 54_321;
        let is_root = own_user() == 0;
        for (user, group, is_public, mode) in [
            (own_user(), own_group, true, Some(0o600)),
            (0, other_group, true, Some(0o600)),
            (stranger, own_group, true, Some(0o620)),
            (stranger, own_group, false, Some(0o620)),
            (stranger, other_group, true, Some(if is_root { 0o620 } else { 0o622 })),
            (stranger, other_group, false, is_root.then_some(0o620)),
        ] {
            let name = queue_name(random_id().unwrap(), 0, 7);
            let publisher = PublisherCredentials { user, group, is_public };
            let queue = Queue::create(name, publisher);
            let status = queue.as_ref().ok().map(|queue| fstat(queue.queue.get()).unwrap());
            let found = status.map(|status| (status.st_mode & 0o777, status.st_gid));
            let group = if mode == Some(0o620) { group } else { own_group };
            assert_eq!(found, mode.map(|mode| (mode, group)), "{publisher:?}");
        }
    }
}
