//! How sleepers are called. A call is an empty hint and never data: whoever is called looks at `commit`.
//!
//! The seam has two halves, and a file a kind:
//!
//! - [`Bell`], the subscriber's: made at its slot, drained before it parks, readable when it is called, removed when dropped.
//! - [`Caller`], the publisher's: opened by what the slot's record says ([`Address`]), sends without ever blocking, closed when
//!   dropped. Sending never fails: what is full has a wake-up in it already, and what is gone has nobody to wake.
//!
//! | kind | the publisher | the subscriber sleeps in | a slot | in which file |
//! |---|---|---|---|---|
//! | `mq` | sends one byte | `epoll`, on its queue | yes | [`queue`] |
//! | `unix` | sends an empty datagram | `epoll`, on its socket | yes | [`unix`] |
//! | `signal` | sends a signal by pidfd | `epoll`, on a socket that the handler writes to | yes | [`signal`] |
//! | `fifo` | writes a line | `epoll`, on its pipe | yes | [`fifo`] |
//! | `futex` | wakes all by one call | the futex that is `commit` | no | [`futex`] |
//! | `spin` | nothing | nothing: it looks | no | [`spin`] |
//!
//! Names are derived from registry, slot and the subscriber's random number, and never read. What cannot be derived (a process,
//! a path) is read from the registry only where one user alone may write to it. For those without a descriptor [`thread`] makes
//! one when it is asked for.

pub mod budget;
mod callers;
pub mod fifo;
pub mod futex;
mod kind;
pub mod queue;
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
use crate::layout::MAX_SLOTS;
use crate::layout::registry::PATH_BYTES;
use crate::region::object::{failure_io, queue_name};

pub use callers::Callers;
pub use kind::{Sleep, WakeKind};
pub use thread::Watcher;

/// The words that stand for the kinds in a slot's record.
pub mod words {
    /// [`Address::Queue`](super::Address::Queue).
    pub const QUEUE: u64 = 1;
    /// [`Address::Socket`](super::Address::Socket).
    pub const SOCKET: u64 = 2;
    /// [`Address::SocketAt`](super::Address::SocketAt).
    pub const SOCKET_AT: u64 = 3;
    /// [`Address::Signal`](super::Address::Signal).
    pub const SIGNAL: u64 = 4;
    /// [`Address::Fifo`](super::Address::Fifo).
    pub const FIFO: u64 = 5;
    /// [`Address::Commit`](super::Address::Commit).
    pub const FUTEX: u64 = 6;
    /// [`Address::Nowhere`](super::Address::Nowhere).
    pub const SPIN: u64 = 7;

    /// Whether who is of that kind says where to call, so that it is believed of one's own user only.
    pub fn name_a_target(word: u64) -> bool {
        matches!(word, SOCKET_AT | SIGNAL | FIFO)
    }

    /// Returns true if a subscriber of that kind is called by itself, and not with all others who sleep on `commit`.
    pub fn needs_calls(word: u64) -> bool {
        !matches!(word, 0 | FUTEX | SPIN)
    }

    /// The kind that a word stands for, in one word.
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

/// Where a subscriber can be called, as its slot's record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The message queue of that name.
    Queue(String),
    /// The abstract socket of that name.
    Socket(String),
    /// The socket of that path.
    SocketAt(PathBuf),
    /// That signal of that process.
    Signal(Identity, i32),
    /// The named pipe of that path.
    Fifo(PathBuf),
    /// Asleep on `commit` itself, with all others who are.
    Commit,
    /// Awake all the time.
    Nowhere,
}

impl Address {
    /// Where a subscriber is called that asks for `sleep`: by `name`, which nobody else has, or at `place`, if it names one.
    ///
    /// # Errors
    /// A place that cannot be, and what the system refuses.
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
            (Sleep::Futex, _) => Self::Commit,
        })
    }

    /// The path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::SocketAt(path) | Self::Fifo(path) => Some(path),
            _ => None,
        }
    }

    /// The word that stands for the kind in a slot's record.
    pub fn word(&self) -> u64 {
        match self {
            Self::Queue(_) => words::QUEUE,
            Self::Socket(_) => words::SOCKET,
            Self::SocketAt(_) => words::SOCKET_AT,
            Self::Signal(..) => words::SIGNAL,
            Self::Fifo(_) => words::FIFO,
            Self::Commit => words::FUTEX,
            Self::Nowhere => words::SPIN,
        }
    }

    /// What it is, for people.
    pub fn object(&self) -> String {
        match self {
            Self::Queue(name) => name.clone(),
            Self::Socket(name) => format!("@{name}"),
            Self::SocketAt(path) | Self::Fifo(path) => path.display().to_string(),
            Self::Signal(process, _) => format!("process {}", process.pid),
            Self::Commit | Self::Nowhere => "the table itself".to_owned(),
        }
    }

    /// Removes what stands there, whose owner is gone or, if `held`, has nobody left to be called by. Whether there was anything.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied): not everybody may.
    pub fn remove(&self, held: bool) -> Result<bool> {
        match self {
            Self::Queue(name) => queue::remove_queue(name),
            Self::SocketAt(path) => unix::remove(path),
            Self::Fifo(path) => fifo::remove(path, held),
            Self::Socket(_) | Self::Signal(..) | Self::Commit | Self::Nowhere => Ok(false),
        }
    }
}

/// The subscriber's half. Dropping it removes what it made.
pub enum Bell {
    /// A message queue.
    Queue(queue::Queue),
    /// A socket.
    Socket(unix::Socket),
    /// A signal.
    Signal(signal::Receiver),
    /// A named pipe.
    Fifo(fifo::Fifo),
    /// Nobody calls.
    None,
}

impl Bell {
    /// Makes it, to be called by `publisher`.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) naming what is used up, and what the system refuses.
    pub fn make(address: &Address, publisher: queue::Publisher) -> Result<Self> {
        Ok(match address {
            Address::Queue(name) => Self::Queue(queue::Queue::create(name.clone(), publisher)?),
            Address::Socket(name) => Self::Socket(unix::Socket::named(name)?),
            Address::SocketAt(path) => Self::Socket(unix::Socket::at(path)?),
            Address::Signal(_, number) => Self::Signal(signal::Receiver::install(*number)?),
            Address::Fifo(path) => Self::Fifo(fifo::Fifo::create(path)?),
            Address::Commit | Address::Nowhere => Self::None,
        })
    }

    /// Takes out what calls there are, as far as they would make it readable once more.
    pub fn drain(&self) {
        match self {
            Self::Queue(queue) => queue.drain(),
            Self::Socket(socket) => socket.drain(),
            Self::Signal(receiver) => receiver.drain(),
            Self::Fifo(fifo) => fifo.drain(),
            Self::None => {}
        }
    }

    /// Turns readable when it is called. None of a signal that the program receives by itself.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Queue(queue) => Some(queue.as_fd()),
            Self::Socket(socket) => Some(socket.as_fd()),
            Self::Signal(receiver) => receiver.descriptor(),
            Self::Fifo(fifo) => Some(fifo.as_fd()),
            Self::None => None,
        }
    }

    /// Whether calls are left where they are, so that only a new one counts.
    pub fn keeps_calls(&self) -> bool {
        matches!(self, Self::Fifo(_))
    }
}

/// The publisher's half.
pub enum Caller {
    /// To a message queue.
    Queue(queue::Sender),
    /// To a socket.
    Socket(unix::Sender),
    /// To a process.
    Signal(signal::Sender),
    /// To a named pipe.
    Fifo(fifo::Sender),
    /// To nobody: it is awake, or woken with all who sleep on `commit`.
    None,
}

impl Caller {
    /// Opens it.
    ///
    /// # Errors
    /// What the system refuses; that errno is told to the subscriber.
    pub fn open(address: &Address) -> nix::Result<Self> {
        Ok(match address {
            Address::Queue(name) => Self::Queue(queue::Sender::open(name)?),
            Address::Socket(name) => Self::Socket(unix::Sender::to_name(name)?),
            Address::SocketAt(path) => Self::Socket(unix::Sender::to_path(path)?),
            Address::Signal(process, number) => {
                Self::Signal(signal::Sender::open(*process, *number)?)
            }
            Address::Fifo(path) => Self::Fifo(fifo::Sender::open(path)?),
            Address::Commit | Address::Nowhere => Self::None,
        })
    }

    /// Calls because of commit `version`, without ever blocking.
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

/// Checks that a subscriber that asks for `sleep` can make what it is called by at `place`, a path that its user has named.
///
/// # Errors
/// [`Error::InvalidWake`] with what is wrong with the place.
pub fn check_place(sleep: Sleep, place: &Path) -> Result<()> {
    let (what, directory) = match sleep {
        Sleep::Unix => ("socket", place),
        Sleep::Fifo if place.is_dir() => ("named pipe", place),
        Sleep::Fifo => ("named pipe", place.parent().unwrap_or(place)),
        Sleep::Auto | Sleep::Queue | Sleep::Futex | Sleep::Signal(_) => return Ok(()),
    };
    let refused = |reason: String| Err(Error::InvalidWake { reason });
    // The parent of a bare name.
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let (object, shown) = (place.display(), directory.display());
    match std::fs::metadata(directory) {
        Ok(status) if status.is_dir() => {}
        Ok(_) => {
            return refused(format!(
                "{what} at {object}: {shown} is no directory; name one that is"
            ));
        }
        Err(error) => {
            return refused(format!(
                "{what} at {object}: {shown}: {error}; make that directory first, or name another place"
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
            "{what} at {object}: there is something else; remove that, or name another place"
        ));
    }
    // The longest name that is made in a directory.
    let longest = queue_name(u64::MAX, MAX_SLOTS, u64::MAX);
    match Address::of(sleep, Some(place), &longest)? {
        Address::SocketAt(path) if SocketAddr::from_pathname(&path).is_err() => refused(format!(
            "{what} at {object}: its path would be too long for a socket; name a directory with a shorter path"
        )),
        _ => Ok(()),
    }
}

/// The publisher has another working directory, and room for so many bytes.
fn absolute(path: &Path) -> Result<PathBuf> {
    let object = path.display().to_string();
    let path = std::path::absolute(path).map_err(|error| failure_io(&object, "find", error))?;
    let bytes = path.as_os_str().len();
    if bytes >= PATH_BYTES {
        let reason =
            format!("{object} is too long: {bytes} bytes, and there is room for {PATH_BYTES}");
        return Err(Error::InvalidWake { reason });
    }
    Ok(path)
}

/// The errno of an error of the standard library.
fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests;
