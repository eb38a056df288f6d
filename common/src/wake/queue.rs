//! POSIX message queues: one a subscriber, one message deep, one byte. A full one means that a wake-up is on its way.
//!
//! Its name is derived from registry, slot and the subscriber's random number, so that a publisher sends to whom it means or to
//! nobody. What it costs is a place among those of the system (256 unless set otherwise).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::{self, Access, failure};

/// An open queue, closed when dropped (nix leaves that to its users).
struct Descriptor(Option<MqdT>);

impl Descriptor {
    fn open(
        name: &str,
        flags: MQ_OFlag,
        mode: Mode,
        attributes: Option<&MqAttr>,
    ) -> nix::Result<Self> {
        mq_open(
            name,
            flags | MQ_OFlag::O_NONBLOCK | MQ_OFlag::O_CLOEXEC,
            mode,
            attributes,
        )
        .map(|queue| Self(Some(queue)))
    }

    fn get(&self) -> &MqdT {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // It can only fail for a descriptor that is none.
        let _closed = self.0.take().map(mq_close);
    }
}

/// A subscriber's own queue. Dropping it removes it.
pub struct Queue {
    name: String,
    queue: Descriptor,
    process: Creator,
}

impl Queue {
    /// Makes the queue `name`; those who may write to the registry may send to it.
    ///
    /// # Errors
    /// [`Error::Limit`] naming what is used up, and what the system refuses.
    pub fn create(name: String, access: Access) -> Result<Self> {
        let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY;
        let owner = Mode::S_IRUSR | Mode::S_IWUSR;
        let queue = Descriptor::open(&name, flags, owner, Some(&MqAttr::new(0, 1, 1, 0)))
            .map_err(|errno| queue_failure(&name, errno))?;
        let queue = Self {
            name,
            queue,
            process: Creator::this_process(),
        };
        // Says that its owner lives, also where the registry cannot be seen (another /dev/shm in the same IPC namespace).
        if let Err(errno) = lock::try_share(queue.as_fd(), Span::WHOLE) {
            tracing::debug!("{} is not locked: {errno}", queue.name);
        }
        if access.writable_by_readers() != 0o600 {
            let mode = access.writable_by_readers();
            object::restrict(queue.as_fd(), mode, access.group)
                // Not of that group, and reading by the right of everybody: then everybody may send, too.
                .or_else(|_| object::restrict(queue.as_fd(), mode, None))
                .map_err(|errno| failure(&queue.name, "set the mode and group of", errno))?;
        }
        Ok(queue)
    }

    /// Takes out the message that may be there.
    pub fn drain(&self) {
        // It holds one message at most, but a hostile sender may put in one after the other: once is enough.
        let _nothing_to_take = mq_receive(self.queue.get(), &mut [0; 1], &mut 0);
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.get().as_fd()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.process.is_this_process()
            && let Err(error) = remove_queue(&self.name)
        {
            tracing::warn!("it stays behind: {error}");
        }
    }
}

/// Whether the owner of a queue has it open; None if there is no such queue in this IPC namespace.
///
/// # Errors
/// What the system refuses.
pub fn is_held(name: &str) -> Result<Option<bool>> {
    let Some(queue) = open_if_there(name, MQ_OFlag::O_RDONLY)? else {
        return Ok(None);
    };
    lock::is_locked(queue.get().as_fd(), Span::WHOLE)
        .map(Some)
        .map_err(|errno| failure(name, "query the lock of", errno))
}

/// Removes a queue that nobody has open who made it; whether there was one.
///
/// # Errors
/// What the system refuses.
pub fn remove_deserted(name: &str) -> Result<bool> {
    // To take the lock and not only to look asks for the right to write.
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
    match Descriptor::open(name, flags, Mode::empty(), None) {
        Ok(queue) => Ok(Some(queue)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failure(name, "open", errno)),
    }
}

/// Removes a queue; whether there was one.
///
/// # Errors
/// [`Error::PermissionDenied`]: only its owner or root may.
pub fn remove_queue(name: &str) -> Result<bool> {
    match mq_unlink(name) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(failure(name, "remove", errno)),
    }
}

/// EMFILE has two meanings here, of which only one also stops other files from being opened.
fn queue_failure(name: &str, errno: Errno) -> Error {
    let object = format!("message queue {name}");
    let limit = |limit, remedy| Error::Limit {
        object: object.clone(),
        limit,
        remedy,
    };
    match errno {
        Errno::EMFILE if std::fs::File::open("/dev/null").is_ok() => limit(
            "this user's memory for message queues",
            "raise RLIMIT_MSGQUEUE (ulimit -q): a queue takes about 224 bytes of it",
        ),
        Errno::ENOSPC => limit(
            "the number of message queues",
            "raise /proc/sys/fs/mqueue/queues_max",
        ),
        Errno::ENOSYS => limit(
            "what the kernel can do",
            "it was built without POSIX message queues",
        ),
        errno => failure(&object, "make", errno),
    }
}

/// The publisher's end of a subscriber's queue.
pub struct Sender(Descriptor);

impl Sender {
    /// Opens the queue of that name.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(name: &str) -> nix::Result<Self> {
        Descriptor::open(name, MQ_OFlag::O_WRONLY, Mode::empty(), None).map(Self)
    }

    /// Any refusal means that no wake-up is needed (full) or none can help (its owner's doing).
    #[inline]
    pub fn send(&self) {
        let _hint = mq_send(self.0.get(), &[0], 0);
    }
}
