//! Reads the interfaces and a whole table into a separate copy, which is published only once it is
//! known to be consistent.
//!
//! The interfaces are read first, and not only for their names. The kernel reports that an
//! interface or an address is removed *before* it removes its routes, but does both under one lock.
//! Reading the interfaces waits for that lock.
//!
//! The requests are sent one after the other. The kernel sends each answer in parts, as the receive
//! buffer has room for them. Events that arrive in between are kept and replayed at the end.

use std::time::{Duration, Instant};

use netlink_packet_core::{DoneBuffer, ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};

use super::channel::Message;
use super::follow::Model;
use super::links::Links;

/// Maximum total size, in bytes, of the events kept during one dump.
const MAX_KEPT: usize = 64 << 20;

/// Maximum time without progress of an answer.
pub const STALL: Duration = Duration::from_secs(10);

/// Size, in bytes, of an answer that always fits into one datagram, so that the kernel reads all of
/// it at one instant.
const ONE_PART: usize = 2048;

/// Address families, in the order in which they are read after the interfaces.
const FAMILIES: [u8; 2] = [AF_INET as u8, AF_INET6 as u8];

/// Reasons why a dump cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpFailure {
    /// Events were lost during the dump.
    Lost,
    /// The kernel reports that the table changed during the dump.
    Interrupted,
    /// The kernel refused the request.
    Refused(Errno),
}

/// An event that arrived during the dump.
pub struct Kept {
    /// The [`Message`]'s `kind`.
    pub kind: u16,
    /// The [`Message`]'s `flags`.
    pub flags: u16,
    /// The [`Message`]'s `payload`.
    pub payload: Vec<u8>,
}

/// A dump in progress.
pub struct Dump<M> {
    /// Rows read so far.
    pub model: M,
    /// Interfaces read so far.
    pub links: Links,
    /// Events that arrived during the dump.
    pub kept: Vec<Kept>,
    /// Reasons why this dump can no longer be used; empty while it can.
    pub failures: Vec<DumpFailure>,
    /// True if rows may be missing, because the kernel resumes its iteration by position.
    pub is_shifted: bool,
    /// Time at which the last part of an answer arrived.
    pub progress: Instant,
    kept_bytes: usize,
    /// Current step: 0 for the interfaces, then 1 plus the index of the family.
    step: usize,
    /// Sequence number of the current step's request, which its answers repeat.
    sequence: u32,
    /// Number of bytes of answers received in the current step.
    bytes: usize,
    /// True if an event for the current step's family arrived during the step.
    has_changed: bool,
}

impl<M: Model> Dump<M> {
    /// Creates an empty dump, before its first request.
    pub fn begin() -> Self {
        Self {
            model: M::default(),
            links: Links::default(),
            kept: Vec::new(),
            failures: Vec::new(),
            is_shifted: false,
            progress: Instant::now(),
            kept_bytes: 0,
            step: 0,
            sequence: 0,
            bytes: 0,
            has_changed: false,
        }
    }

    /// Returns the next request to send, or `None` if everything is read.
    pub fn request(&self) -> Option<RouteNetlinkMessage> {
        match self.step.checked_sub(1) {
            None => Some(RouteNetlinkMessage::GetLink(LinkMessage::default())),
            Some(family) => FAMILIES.get(family).map(|family| M::request(*family)),
        }
    }

    /// Records that the request was sent with this sequence number.
    pub fn requested(&mut self, sequence: u32) {
        self.sequence = sequence;
        (self.bytes, self.has_changed) = (0, false);
        self.progress = Instant::now();
    }

    /// Returns true if a message answers the current request.
    pub fn is_answer(&self, message: &Message<'_>, port: u32) -> bool {
        (message.port, message.sequence) == (port, self.sequence)
    }

    /// Records that a datagram of `bytes` bytes with answers arrived.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.progress = Instant::now();
    }

    /// Applies an answer. Returns true if the step is complete.
    ///
    /// # Errors
    /// A description of the malformed message, which is ignored.
    pub fn answer(&mut self, message: &Message<'_>) -> Result<bool, String> {
        if message.flags & NLM_F_DUMP_INTR != 0 {
            self.fail(DumpFailure::Interrupted);
        }
        if [NLMSG_DONE, NLMSG_ERROR].contains(&message.kind) {
            self.end_step(refusal(message));
            return Ok(true);
        }
        match self.family() {
            None => self.links.take(message).map(drop)?,
            // A kernel without this family answers with the entries of all families.
            Some(family) if family == message.family() => self.model.dumped(message)?,
            Some(_) => {}
        }
        Ok(false)
    }

    /// Keeps an event for the replay.
    pub fn keep(&mut self, message: &Message<'_>) {
        self.has_changed |= self.family() == Some(message.family());
        self.kept_bytes += message.payload.len();
        if self.kept_bytes > MAX_KEPT {
            self.fail(DumpFailure::Lost);
        }
        if self.failures.is_empty() {
            self.kept.push(Kept {
                kind: message.kind,
                flags: message.flags,
                payload: message.payload.to_vec(),
            });
        }
    }

    /// Marks the dump as unusable. Returns true if this reason is new.
    pub fn fail(&mut self, why: DumpFailure) -> bool {
        self.kept = Vec::new();
        let is_news = !self.failures.contains(&why);
        if is_news {
            self.failures.push(why);
        }
        is_news
    }

    /// Returns true if the rest of the answer will not arrive. `idle` is true if no datagram is
    /// left to receive. The kernel creates each part of an answer when the previous part is
    /// received; if the buffer has no room at that moment, the kernel does not try again.
    pub fn has_stalled(&self, idle: bool) -> bool {
        let had_no_room = self.failures.contains(&DumpFailure::Lost);
        idle && had_no_room || self.progress + STALL <= Instant::now()
    }

    fn family(&self) -> Option<u8> {
        let family = self.step.checked_sub(1)?;
        FAMILIES.get(family).copied()
    }

    fn end_step(&mut self, refusal: Option<Errno>) {
        match refusal {
            None => {}
            // For example a kernel without IPv6, whose tables have no IPv6 entries.
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) if self.step > 0 => {}
            Some(errno) => drop(self.fail(DumpFailure::Refused(errno))),
        }
        let is_counted = self.family().is_some_and(M::is_counted);
        self.is_shifted |= is_counted && self.has_changed && self.bytes > ONE_PART;
        self.step += 1;
    }
}

/// Returns the error code of an answer's last message, if any.
fn refusal(message: &Message<'_>) -> Option<Errno> {
    let code = match message.kind {
        NLMSG_DONE => DoneBuffer::new_checked(message.payload).map_or(0, |done| done.code()),
        _ => ErrorBuffer::new_checked(message.payload)
            .map_or(0, |error| error.code().map_or(0, std::num::NonZeroI32::get)),
    };
    (code != 0).then(|| Errno::from_raw(code.saturating_abs()))
}

impl std::fmt::Display for DumpFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost => f.write_str("events were lost because the receive buffer was full"),
            Self::Interrupted => {
                f.write_str("the kernel interrupted it, because the table had changed")
            }
            Self::Refused(errno) => write!(f, "the kernel refused it: {errno}"),
        }
    }
}
