//! Wake-ups of parked subscribers. A wake-up carries no data: a woken subscriber loads `commit` to
//! learn whether it changed.
//!
//! [`MECHANISMS`] lists the ways to wake a subscriber. Each one has a file with two halves:
//!
//! - [`WakeReceiver`], the subscriber's receiver: created at its slot, drained before the
//!   subscriber parks, readable when woken, removed when dropped.
//! - [`WakeSender`], the publisher's sender: opened at the [`WakeTarget`] in the slot's record,
//!   closed when dropped. It never blocks and never fails: a full receiver already holds a wake-up,
//!   and a missing receiver has nobody to wake.
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
//! Names are derived from the registry, the slot and the subscriber's random number. They are never
//! read from the registry. A target that cannot be derived (a process, a path) is read from the
//! registry only if a single user may write to it. For kinds without a descriptor, [`thread`]
//! provides one on request.

pub mod budget;
pub mod fifo;
pub mod futex;
mod kind;
mod place;
pub mod queue;
pub mod registry;
mod senders;
pub mod signal;
pub mod spin;
mod thread;
pub mod unix;

use std::ffi::OsStr;
use std::mem::discriminant;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::SIGUSR1;

use crate::error::Result;
use crate::identity::Identity;

pub use kind::{Sleep, WakeKind};
pub use place::check_place;
use place::{Place, absolute};
pub use senders::WakeSenders;
pub use thread::WaitThread;

/// The ways to wake a subscriber. To add one, write its file and add its entry here.
static MECHANISMS: [Mechanism; 7] = [
    entry(1, "mq", Some(Sleep::Queue), TargetForm::Name("/"), Some(queue::HALVES)),
    entry(2, "unix", Some(Sleep::Unix), TargetForm::Name("@"), Some(unix::HALVES)),
    entry(3, "unix", Some(Sleep::Unix), TargetForm::Path(unix::PLACE), Some(unix::HALVES)),
    entry(4, "signal", Some(Sleep::Signal(SIGUSR1)), TargetForm::Process, Some(signal::HALVES)),
    entry(5, "fifo", Some(Sleep::Fifo), TargetForm::Path(fifo::PLACE), Some(fifo::HALVES)),
    entry(6, "futex", Some(Sleep::Futex), TargetForm::Table, None),
    entry(7, "spin", None, TargetForm::Table, None),
];

const fn entry(
    word: u64,
    name: &'static str,
    sleep: Option<Sleep>,
    target: TargetForm,
    halves: Option<Halves>,
) -> Mechanism {
    Mechanism { word, name, sleep, target, halves }
}

#[derive(Debug)]
pub struct Mechanism {
    /// Value of the kind word in a slot's record.
    word: u64,
    /// Name in the text form of [`Sleep`] and in lists of subscribers.
    name: &'static str,
    /// The setting that selects it, with a default for its parameter; `None` if the subscriber
    /// does not sleep.
    sleep: Option<Sleep>,
    target: TargetForm,
    /// `None` if subscribers are not woken individually and need no slot.
    halves: Option<Halves>,
}

#[derive(Debug)]
pub enum TargetForm {
    /// A name derived from the slot, with the prefix of its namespace.
    Name(&'static str),
    /// A path, stored in the slot's record.
    Path(Place),
    /// A process and a signal, stored in the slot's record.
    Process,
    /// The table itself: the subscriber has no receiver.
    Table,
}

/// The two halves of a mechanism that wakes subscribers individually.
#[derive(Clone, Copy, Debug)]
pub struct Halves {
    create: fn(&WakeTarget, queue::PublisherCredentials) -> Result<Box<dyn WakeReceiver>>,
    open: fn(&WakeTarget) -> nix::Result<WakeSender>,
    /// Removes the receiver's object, whose owner is gone. With `held`, also removes one that its
    /// owner holds. Returns true if something was removed.
    remove: fn(&WakeTarget, held: bool) -> Result<bool>,
}

/// The subscriber's half. Dropping it removes what it created.
pub trait WakeReceiver: Send + Sync {
    /// Takes out pending wake-ups, so that they do not make the descriptor readable again.
    fn drain(&self);

    /// Returns the descriptor that becomes readable on a wake-up; `None` for a signal that the
    /// program receives itself.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Returns true if wake-ups stay in the receiver for other readers, so that only a new wake-up
    /// is an event.
    fn keeps_wake_ups(&self) -> bool {
        false
    }
}

/// The publisher's half: wakes the subscriber for a commit, given its version. Never blocks, and
/// ignores errors: a full receiver already holds a wake-up, and any other error is caused by its
/// owner.
pub type WakeSender = Box<dyn Fn(u64) + Send + Sync>;

impl Mechanism {
    /// Returns the mechanism that `sleep` selects, or spinning for `None`. `place` is true if the
    /// user named a place for the receiver.
    fn of(sleep: Option<Sleep>, place: bool) -> &'static Self {
        let sleep = if sleep == Some(Sleep::Auto) { Some(Sleep::Queue) } else { sleep };
        let same =
            |one: &&Self| one.sleep.as_ref().map(discriminant) == sleep.as_ref().map(discriminant);
        let mut found = MECHANISMS.iter().filter(same);
        let first = found.next().expect("each setting has a mechanism");
        // Without a path among its forms, a mechanism ignores the place.
        let at_place = found.find(|one| place && matches!(one.target, TargetForm::Path(_)));
        at_place.unwrap_or(first)
    }

    fn of_word(word: u64) -> Option<&'static Self> {
        MECHANISMS.iter().find(|one| one.word == word)
    }

    /// Returns true if the subscriber stores its target in the slot's record. The publisher accepts
    /// such a target only from its own user.
    fn carries_target(&self) -> bool {
        matches!(self.target, TargetForm::Path(_) | TargetForm::Process)
    }
}

/// Returns true if a subscriber of this kind is woken individually, and not with all others that
/// sleep on `commit`.
fn needs_slot(kind_word: u64) -> bool {
    kind_word != 0 && Mechanism::of_word(kind_word).is_none_or(|one| one.halves.is_some())
}

fn kind_name(kind_word: u64) -> &'static str {
    Mechanism::of_word(kind_word).map_or("unknown", |one| one.name)
}

/// Returns the kind word of subscribers that sleep on `sleep`, without a place named by the user.
#[cfg(test)]
pub fn kind_word(sleep: Sleep) -> u64 {
    Mechanism::of(Some(sleep), false).word
}

/// Target of a subscriber's wake-ups, as given in its slot's record.
#[derive(Clone, Debug)]
pub struct WakeTarget {
    mechanism: &'static Mechanism,
    name: String,
    /// Empty unless the target is a path.
    path: PathBuf,
    /// The process, if the target is one, and its signal.
    process: Identity,
    signal: i32,
}

impl WakeTarget {
    /// Returns the target of a subscriber that asks for `sleep`, or that spins if it is `None`. The
    /// target is derived from `name`, which is unique, or is at `place` if the user named one.
    fn new(sleep: Option<Sleep>, place: Option<&Path>, name: &str) -> Result<Self> {
        let mechanism = Mechanism::of(sleep, place.is_some());
        let mut target = Self::of_name(mechanism, name);
        if let TargetForm::Path(rules) = &mechanism.target {
            target.path = absolute(&(rules.path)(place, &target.name)?)?;
        }
        if let Some(Sleep::Signal(number)) = sleep {
            (target.process, target.signal) = (Identity::own(), number);
        }
        Ok(target)
    }

    fn of_name(mechanism: &'static Mechanism, name: &str) -> Self {
        Self {
            mechanism,
            name: name.trim_start_matches('/').to_owned(),
            path: PathBuf::new(),
            process: Identity::default(),
            signal: 0,
        }
    }

    /// Returns a description for messages; for a named object its name.
    fn object(&self) -> String {
        match self.mechanism.target {
            TargetForm::Name(prefix) => format!("{prefix}{}", self.name),
            TargetForm::Path(_) => self.path.display().to_string(),
            TargetForm::Process => format!("process {}", self.process.pid),
            TargetForm::Table => "the table itself".to_owned(),
        }
    }

    /// Creates the receiver, to be woken by `publisher`.
    fn create(
        &self,
        publisher: queue::PublisherCredentials,
    ) -> Result<Option<Box<dyn WakeReceiver>>> {
        self.mechanism.halves.map(|halves| (halves.create)(self, publisher)).transpose()
    }

    /// Opens the sender. The caller reports an errno to the subscriber.
    fn open(&self) -> nix::Result<WakeSender> {
        match self.mechanism.halves {
            Some(halves) => (halves.open)(self),
            // The publisher wakes all subscribers of this mechanism together.
            None => Ok(Box::new(|_version| ())),
        }
    }

    /// Removes the object at this target, whose owner is gone. With `held`, also removes a pipe
    /// that its owner holds, because no publisher is left to wake it. Returns true if something was
    /// removed.
    fn remove(&self, held: bool) -> Result<bool> {
        if let TargetForm::Path(rules) = &self.mechanism.target
            && !rules.names_file
            && self.path.file_name() != Some(OsStr::new(&self.name))
        {
            // Not the path of this subscriber, so the record is damaged.
            return Ok(false);
        }
        self.mechanism.halves.map_or(Ok(false), |halves| (halves.remove)(self, held))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests;
