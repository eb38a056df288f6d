//! Reads the interfaces and a whole table into a separate copy, which is published only once it is
//! known to be consistent.
//!
//! The interfaces are read first, and not only for their names. The kernel reports that an
//! interface or an address is removed *before* it removes its routes, but does both under one lock.
//! Reading the interfaces waits for that lock.
//!
//! The requests are sent one after the other. The kernel sends each answer in parts, as the receive
//! buffer has room for them. Events that arrive in between are kept and replayed at the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use netlink_packet_core::{DoneBuffer, ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};

use super::channel::Message;
use super::links::Links;
use super::model::Model;

/// Maximum total size, in bytes, of the events kept during one dump.
const MAX_KEPT: usize = 64 << 20;

/// Maximum time without progress of an answer.
const STALL: Duration = Duration::from_secs(10);

/// Size, in bytes, of an answer that always fits into one datagram, so that the kernel reads all of
/// it at one instant.
const ONE_PART: usize = 2048;

/// The steps of a dump: the interfaces, then the table of each address family.
const STEPS: [Option<u8>; 3] = [None, Some(AF_INET as u8), Some(AF_INET6 as u8)];

/// The reason why a dump cannot be used if events were lost during it.
pub const LOST: &str = "events were lost because the receive buffer was full";

/// An event that arrived during the dump: kind, flags and payload of its [`Message`].
pub struct Kept {
    pub kind: u16,
    pub flags: u16,
    pub payload: Vec<u8>,
}

#[derive(Default)]
pub struct Dump<M> {
    pub model: M,
    pub links: Links,
    /// Events that arrived during the dump.
    pub kept: Vec<Kept>,
    /// Reasons why this dump can no longer be used; empty while it can.
    pub failures: BTreeSet<String>,
    /// True if rows may be missing, because the kernel resumes its iteration by position.
    pub is_shifted: bool,
    /// Time at which the request was sent or the last part of an answer arrived.
    progress: Option<Instant>,
    kept_bytes: usize,
    /// Index of the current step in [`STEPS`].
    step: usize,
    /// Sequence number of the current step's request, which its answers repeat.
    sequence: u32,
    /// Number of bytes of answers received in the current step.
    bytes: usize,
    /// True if an event for the current step's family arrived during the step.
    has_changed: bool,
}

impl<M: Model> Dump<M> {
    /// Returns the next request to send, or `None` if everything is read.
    pub fn request(&self) -> Option<RouteNetlinkMessage> {
        let interfaces = || RouteNetlinkMessage::GetLink(LinkMessage::default());
        STEPS.get(self.step).map(|family| family.map_or_else(interfaces, M::request))
    }

    pub fn requested(&mut self, sequence: u32) {
        self.sequence = sequence;
        (self.bytes, self.has_changed) = (0, false);
        self.progress = Some(Instant::now());
    }

    pub fn is_answer(&self, message: &Message<'_>, port: u32) -> bool {
        (message.port, message.sequence) == (port, self.sequence)
    }

    /// Records that a datagram of `bytes` bytes with answers arrived.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.progress = Some(Instant::now());
    }

    /// Applies an answer. Returns true if the step is complete. A malformed message is ignored, and
    /// its description returned as the error.
    pub fn answer(&mut self, message: &Message<'_>) -> Result<bool, String> {
        if message.flags & NLM_F_DUMP_INTR != 0 {
            self.fail("the kernel interrupted it, because the table had changed");
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

    pub fn keep(&mut self, message: &Message<'_>) {
        self.has_changed |= self.family() == Some(message.family());
        self.kept_bytes += message.payload.len();
        if self.kept_bytes > MAX_KEPT {
            self.fail(LOST);
        }
        if self.failures.is_empty() {
            let Message { kind, flags, payload, .. } = *message;
            self.kept.push(Kept { kind, flags, payload: payload.to_vec() });
        }
    }

    /// Marks the dump as unusable. Returns true if this reason is new.
    pub fn fail(&mut self, why: &str) -> bool {
        self.kept = Vec::new();
        self.failures.insert(why.to_owned())
    }

    /// Returns the time at which the dump has stalled unless a part of an answer arrives.
    pub fn due(&self) -> Option<Instant> {
        self.progress.map(|progress| progress + STALL)
    }

    /// Returns true if the rest of the answer will not arrive. `idle` is true if no datagram is
    /// left to receive. The kernel creates each part of an answer when the previous part is
    /// received; if the buffer has no room at that moment, the kernel does not try again.
    pub fn has_stalled(&self, idle: bool) -> bool {
        idle && self.failures.contains(LOST) || self.due().is_some_and(|due| due <= Instant::now())
    }

    fn family(&self) -> Option<u8> {
        STEPS.get(self.step).copied().flatten()
    }

    fn end_step(&mut self, refusal: Option<Errno>) {
        match refusal {
            None => {}
            // For example a kernel without IPv6, whose tables have no IPv6 entries.
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) if self.step > 0 => {}
            Some(errno) => drop(self.fail(&format!("the kernel refused it: {errno}"))),
        }
        let may_shift = self.family().is_some_and(M::resumes_by_position);
        self.is_shifted |= may_shift && self.has_changed && self.bytes > ONE_PART;
        self.step += 1;
    }
}

fn refusal(message: &Message<'_>) -> Option<Errno> {
    let code = match message.kind {
        NLMSG_DONE => DoneBuffer::new_checked(message.payload).map_or(0, |done| done.code()),
        _ => ErrorBuffer::new_checked(message.payload)
            .map_or(0, |error| error.code().map_or(0, std::num::NonZeroI32::get)),
    };
    (code != 0).then(|| Errno::from_raw(code.saturating_abs()))
}
