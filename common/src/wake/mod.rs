//! Wake-ups of parked subscribers. A wake-up is an empty hint and never data: a woken subscriber
//! loads `commit`.
//!
//! Each kind has a file with two halves:
//!
//! - [`WakeReceiver`], the subscriber's receiver: created at its slot, drained before the subscriber parks,
//!   readable when woken, removed when dropped.
//! - [`WakeSender`], the publisher's sender: opened at the [`WakeTarget`] in the slot's record, closed
//!   when dropped. It never blocks and never fails: a full receiver already holds a wake-up, and a
//!   missing receiver has nobody to wake.
//!
//! | kind | the publisher | the subscriber sleeps in | needs a slot | file |
//! |---|---|---|---|---|
//! | `mq` | sends one byte | `epoll`, on its queue | yes | [`queue`] |
//! | `unix` | sends an empty datagram | `epoll`, on its socket | yes | [`unix`] |
//! | `signal` | sends a signal by pidfd | `epoll`, on a socket that the handler writes to | yes | [`signal`] |
//! | `fifo` | writes a line | `epoll`, on its pipe | yes | [`fifo`] |
//! | `futex` | wakes all by one call | the futex that is `commit` | no | [`futex`] |
//! | `spin` | nothing | nothing: it polls | no | [`spin`] |
//!
//! Names are derived from the registry, the slot and the subscriber's random number, and never read
//! from the registry. A target that cannot be derived (a process, a path) is read from the registry
//! only if a single user may write to it. For kinds without a descriptor, [`thread`] provides one
//! on request.

pub mod budget;
mod callers;
pub mod fifo;
pub mod futex;
mod kind;
pub mod queue;
pub mod registry;
pub mod signal;
pub mod spin;
mod thread;
pub mod unix;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::protocol::layout::MAX_SLOTS;
use crate::protocol::layout::registry::PATH_BYTES;
use crate::region::object::{failure_io, queue_name};

pub use callers::WakeSenders;
pub use kind::{Sleep, WakeKind};
pub use thread::WaitThread;

/// The values of the kind word in a slot's record.
pub mod words {
    /// [`WakeTarget::Queue`](super::Address::Queue).
    pub const QUEUE: u64 = 1;
    /// [`WakeTarget::Socket`](super::Address::Socket).
    pub const SOCKET: u64 = 2;
    /// [`WakeTarget::SocketAt`](super::Address::SocketAt).
    pub const SOCKET_AT: u64 = 3;
    /// [`WakeTarget::Signal`](super::Address::Signal).
    pub const SIGNAL: u64 = 4;
    /// [`WakeTarget::Fifo`](super::Address::Fifo).
    pub const FIFO: u64 = 5;
    /// [`WakeTarget::Futex`](super::Address::Commit).
    pub const FUTEX: u64 = 6;
    /// [`WakeTarget::Spin`](super::Address::Nowhere).
    pub const SPIN: u64 = 7;

    /// Returns true if this kind carries a target supplied by the subscriber, which the publisher
    /// accepts only from its own user.
    pub fn name_a_target(word: u64) -> bool {
        matches!(word, SOCKET_AT | SIGNAL | FIFO)
    }

    /// Returns true if a subscriber of this kind is woken individually, and not with all others
    /// that sleep on `commit`.
    pub fn needs_calls(word: u64) -> bool {
        !matches!(word, 0 | FUTEX | SPIN)
    }

    /// Returns the name of the kind that a word encodes.
    pub fn kind_of(word: u64) -> &'static str {
        match word {
            QUEUE => "mq",
            SOCKET | SOCKET_AT => "unix",
            SIGNAL => "signal",
            FIFO => "fifo",
            FUTEX => "futex",
            SPIN => "spin",
            _ => "unknown",
        }
    }
}

/// Target of a subscriber's wake-ups, as given in its slot's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeTarget {
    /// The message queue with this name.
    Queue(String),
    /// The abstract socket with this name.
    Socket(String),
    /// The socket at this path.
    SocketAt(PathBuf),
    /// This signal, sent to this process.
    Signal(Identity, i32),
    /// The named pipe at this path.
    Fifo(PathBuf),
    /// The futex in `commit`, shared by all subscribers that sleep on it.
    Futex,
    /// None: the subscriber never sleeps.
    Spin,
}

impl WakeTarget {
    /// Returns the target of a subscriber that asks for `sleep`: derived from `name`, which is
    /// unique, or at `place` if given.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] if the path is too long, and errors of the system.
    pub fn of(sleep: Sleep, place: Option<&Path>, name: &str) -> Result<Self> {
        let file = name.trim_start_matches('/');
        Ok(match (sleep, place) {
            (Sleep::Unix, None) => Self::Socket(file.to_owned()),
            (Sleep::Unix, Some(directory)) => Self::SocketAt(absolute(&directory.join(file))?),
            (Sleep::Signal(number), _) => Self::Signal(Identity::own(), number),
            (Sleep::Fifo, None) => Self::Fifo(fifo::directory()?.join(file)),
            (Sleep::Fifo, Some(place)) if place.is_dir() => {
                Self::Fifo(absolute(&place.join(file))?)
            }
            (Sleep::Fifo, Some(place)) => Self::Fifo(absolute(place)?),
            (Sleep::Auto | Sleep::Queue, _) => Self::Queue(name.to_owned()),
            (Sleep::Futex, _) => Self::Futex,
        })
    }

    /// Returns the path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::SocketAt(path) | Self::Fifo(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the word that encodes the kind in a slot's record.
    pub fn word(&self) -> u64 {
        match self {
            Self::Queue(_) => words::QUEUE,
            Self::Socket(_) => words::SOCKET,
            Self::SocketAt(_) => words::SOCKET_AT,
            Self::Signal(..) => words::SIGNAL,
            Self::Fifo(_) => words::FIFO,
            Self::Futex => words::FUTEX,
            Self::Spin => words::SPIN,
        }
    }

    /// Returns a description for messages.
    pub fn object(&self) -> String {
        match self {
            Self::Queue(name) => name.clone(),
            Self::Socket(name) => format!("@{name}"),
            Self::SocketAt(path) | Self::Fifo(path) => path.display().to_string(),
            Self::Signal(process, _) => format!("process {}", process.pid),
            Self::Futex | Self::Spin => "the table itself".to_owned(),
        }
    }

    /// Removes the object at this target, whose owner is gone. With `held`, also removes a pipe
    /// that its owner holds, because no publisher is left to wake it. Returns true if something was
    /// removed.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied) if this user may not remove it.
    pub fn remove(&self, held: bool) -> Result<bool> {
        match self {
            Self::Queue(name) => queue::remove_queue(name),
            Self::SocketAt(path) => unix::remove(path),
            Self::Fifo(path) => fifo::remove(path, held),
            Self::Socket(_) | Self::Signal(..) | Self::Futex | Self::Spin => Ok(false),
        }
    }
}

/// The subscriber's half. Dropping it removes what it created.
pub enum WakeReceiver {
    /// A message queue.
    Queue(queue::Queue),
    /// A socket.
    Socket(unix::Socket),
    /// A signal.
    Signal(signal::Receiver),
    /// A named pipe.
    Fifo(fifo::Fifo),
    /// No receiver: the subscriber sleeps on `commit` or never sleeps.
    None,
}

impl WakeReceiver {
    /// Creates the receiver, to be woken by `publisher`.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) naming the limit that was hit, and errors of the
    /// system.
    pub fn make(address: &WakeTarget, publisher: queue::Publisher) -> Result<Self> {
        Ok(match address {
            WakeTarget::Queue(name) => Self::Queue(queue::Queue::create(name.clone(), publisher)?),
            WakeTarget::Socket(name) => Self::Socket(unix::Socket::named(name)?),
            WakeTarget::SocketAt(path) => Self::Socket(unix::Socket::at(path)?),
            WakeTarget::Signal(_, number) => Self::Signal(signal::Receiver::install(*number)?),
            WakeTarget::Fifo(path) => Self::Fifo(fifo::Fifo::create(path)?),
            WakeTarget::Futex | WakeTarget::Spin => Self::None,
        })
    }

    /// Takes out pending wake-ups, as far as they would make the descriptor readable again.
    pub fn drain(&self) {
        match self {
            Self::Queue(queue) => queue.drain(),
            Self::Socket(socket) => socket.drain(),
            Self::Signal(receiver) => receiver.drain(),
            Self::Fifo(fifo) => fifo.drain(),
            Self::None => {}
        }
    }

    /// Returns the descriptor that becomes readable on a wake-up. None for a signal that the
    /// program receives itself.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Queue(queue) => Some(queue.as_fd()),
            Self::Socket(socket) => Some(socket.as_fd()),
            Self::Signal(receiver) => receiver.descriptor(),
            Self::Fifo(fifo) => Some(fifo.as_fd()),
            Self::None => None,
        }
    }

    /// Returns true if wake-ups stay in the receiver, so that only a new one counts.
    pub fn keeps_calls(&self) -> bool {
        matches!(self, Self::Fifo(_))
    }
}

/// The publisher's half.
pub enum WakeSender {
    /// To a message queue.
    Queue(queue::Sender),
    /// To a socket.
    Socket(unix::Sender),
    /// To a process.
    Signal(signal::Sender),
    /// To a named pipe.
    Fifo(fifo::Sender),
    /// Nothing to send: the subscriber is awake, or woken with all others that sleep on `commit`.
    None,
}

impl WakeSender {
    /// Opens the sender.
    ///
    /// # Errors
    /// Errors of the system; the caller reports the errno to the subscriber.
    pub fn open(address: &WakeTarget) -> nix::Result<Self> {
        Ok(match address {
            WakeTarget::Queue(name) => Self::Queue(queue::Sender::open(name)?),
            WakeTarget::Socket(name) => Self::Socket(unix::Sender::to_name(name)?),
            WakeTarget::SocketAt(path) => Self::Socket(unix::Sender::to_path(path)?),
            WakeTarget::Signal(process, number) => {
                Self::Signal(signal::Sender::open(*process, *number)?)
            }
            WakeTarget::Fifo(path) => Self::Fifo(fifo::Sender::open(path)?),
            WakeTarget::Futex | WakeTarget::Spin => Self::None,
        })
    }

    /// Wakes the subscriber for commit `version`. Never blocks.
    #[inline]
    pub fn call(&self, version: u64) {
        match self {
            Self::Queue(sender) => sender.send(),
            Self::Socket(sender) => sender.send(),
            Self::Signal(sender) => sender.send(),
            Self::Fifo(sender) => sender.send(version),
            Self::None => {}
        }
    }
}

/// Checks that a subscriber that asks for `sleep` can create its receiver at `place`, a path given
/// by the user.
///
/// # Errors
/// [`Error::InvalidWake`] with the reason.
pub fn check_place(sleep: Sleep, place: &Path) -> Result<()> {
    let (what, directory) = match sleep {
        Sleep::Unix => ("socket", place),
        Sleep::Fifo if place.is_dir() => ("named pipe", place),
        Sleep::Fifo => ("named pipe", place.parent().unwrap_or(place)),
        Sleep::Auto | Sleep::Queue | Sleep::Futex | Sleep::Signal(_) => return Ok(()),
    };
    let refused = |reason: String| Err(Error::InvalidWake { reason });
    // The parent of a bare name is empty.
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let (object, shown) = (place.display(), directory.display());
    match std::fs::metadata(directory) {
        Ok(status) if status.is_dir() => {}
        Ok(_) => {
            return refused(format!(
                "{what} at {object}: {shown} is not a directory; name a directory"
            ));
        }
        Err(error) => {
            return refused(format!(
                "{what} at {object}: {shown}: {error}; create that directory first, or name another place"
            ));
        }
    }
    if let Err(errno) = access(directory, AccessFlags::W_OK | AccessFlags::X_OK) {
        return refused(format!(
            "{what} at {object}: {shown}: {}; name a directory that this user may write to",
            errno.desc()
        ));
    }
    let is_taken = |status: std::fs::Metadata| !status.is_dir() && !status.file_type().is_fifo();
    if sleep == Sleep::Fifo && std::fs::symlink_metadata(place).is_ok_and(is_taken) {
        return refused(format!(
            "{what} at {object}: another file has this name; remove it, or name another place"
        ));
    }
    // The longest name that is created in a directory.
    let longest = queue_name(u64::MAX, MAX_SLOTS, u64::MAX);
    match WakeTarget::of(sleep, Some(place), &longest)? {
        WakeTarget::SocketAt(path) if SocketAddr::from_pathname(&path).is_err() => {
            refused(format!(
                "{what} at {object}: its path would be too long for a socket; name a directory with a shorter path"
            ))
        }
        _ => Ok(()),
    }
}

/// Returns the absolute path, because the publisher has another working directory. Refuses a path
/// that does not fit into a slot's record.
fn absolute(path: &Path) -> Result<PathBuf> {
    let object = path.display().to_string();
    let path = std::path::absolute(path).map_err(|error| failure_io(&object, "find", error))?;
    let bytes = path.as_os_str().len();
    if bytes >= PATH_BYTES {
        let reason = format!(
            "{object}: the path is too long: {bytes} bytes, at most {}; name a shorter path",
            PATH_BYTES - 1
        );
        return Err(Error::InvalidWake { reason });
    }
    Ok(path)
}

/// Returns the errno of a standard library error.
fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests;
