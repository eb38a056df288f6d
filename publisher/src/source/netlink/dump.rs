//! Reading the whole of a table, and of the interfaces, beside what is published, until it is known to be good.
//!
//! The interfaces come first, and not for their names alone: the kernel tells of an interface or an address that goes *before* it
//! takes their routes away, but does all of it under one lock, which reading the interfaces has to wait for.
//!
//! One answer comes after the other, as far as there is room for them; events that come between them are kept, to be
//! replayed at the end.

use std::time::{Duration, Instant};

use netlink_packet_core::{DoneBuffer, ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};

use super::links::Links;
use super::message::Message;
use super::model::Model;

/// The most that is kept of events during one dump, in bytes.
const MAX_KEPT: usize = 64 << 20;

/// How long an answer may take.
pub const STALL: Duration = Duration::from_secs(10);

/// What the kernel always has room for in one part of its answer, so that all of it was read at one instant.
const ONE_PART: usize = 2048;

/// The families, in the order in which they are read after the interfaces.
const FAMILIES: [u8; 2] = [AF_INET as u8, AF_INET6 as u8];

/// Why what was read cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// Events were lost meanwhile.
    Lost,
    /// The kernel says that the table has changed in the middle.
    Interrupted,
    /// The kernel refused.
    Refused(Errno),
}

/// An event that came meanwhile.
pub struct Kept {
    /// As in a [`Message`].
    pub kind: u16,
    /// As in a [`Message`].
    pub flags: u16,
    /// As in a [`Message`].
    pub payload: Vec<u8>,
}

/// A dump under way.
pub struct Dump<M> {
    /// The copy so far.
    pub model: M,
    /// The interfaces so far.
    pub links: Links,
    /// What came meanwhile.
    pub kept: Vec<Kept>,
    /// Why it is in vain already.
    pub spoilt: Vec<Spoilt>,
    /// Whether rows may be missing, because the kernel counts where it goes on.
    pub is_shifted: bool,
    /// When the last of it came.
    pub progress: Instant,
    kept_bytes: usize,
    /// 0 the interfaces, then the families.
    step: usize,
    /// What answers to this step bear.
    sequence: u32,
    /// How many bytes of them have come.
    bytes: usize,
    /// Whether this step's family changed meanwhile.
    has_changed: bool,
}

impl<M: Model> Dump<M> {
    /// Nothing read, nothing asked for.
    pub fn begin() -> Self {
        Self {
            model: M::default(),
            links: Links::default(),
            kept: Vec::new(),
            spoilt: Vec::new(),
            is_shifted: false,
            progress: Instant::now(),
            kept_bytes: 0,
            step: 0,
            sequence: 0,
            bytes: 0,
            has_changed: false,
        }
    }

    /// The request that comes next; None if all is read.
    pub fn request(&self) -> Option<RouteNetlinkMessage> {
        match self.step.checked_sub(1) {
            None => Some(RouteNetlinkMessage::GetLink(LinkMessage::default())),
            Some(family) => FAMILIES.get(family).map(|family| M::request(*family)),
        }
    }

    /// It was sent.
    pub fn requested(&mut self, sequence: u32) {
        self.sequence = sequence;
        (self.bytes, self.has_changed) = (0, false);
        self.progress = Instant::now();
    }

    /// Whether a message answers the request.
    pub fn is_answer(&self, message: &Message<'_>, port: u32) -> bool {
        (message.port, message.sequence) == (port, self.sequence)
    }

    /// A datagram with answers has come, of so many bytes.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.progress = Instant::now();
    }

    /// Takes an answer. Whether the step is done.
    ///
    /// # Errors
    /// What is odd with it: it is left out.
    pub fn answer(&mut self, message: &Message<'_>) -> Result<bool, String> {
        if message.flags & NLM_F_DUMP_INTR != 0 {
            self.spoil(Spoilt::Interrupted);
        }
        if [NLMSG_DONE, NLMSG_ERROR].contains(&message.kind) {
            self.end_step(refusal(message));
            return Ok(true);
        }
        match self.family() {
            None => self.links.take(message).map(drop)?,
            // Who has no such family answers with all there are.
            Some(family) if family == message.family() => self.model.dumped(message)?,
            Some(_) => {}
        }
        Ok(false)
    }

    /// Keeps an event.
    pub fn keep(&mut self, message: &Message<'_>) {
        self.has_changed |= self.family() == Some(message.family());
        self.kept_bytes += message.payload.len();
        if self.kept_bytes > MAX_KEPT {
            self.spoil(Spoilt::Lost);
        }
        if self.spoilt.is_empty() {
            self.kept.push(Kept {
                kind: message.kind,
                flags: message.flags,
                payload: message.payload.to_vec(),
            });
        }
    }

    /// It is in vain. Whether that is news.
    pub fn spoil(&mut self, why: Spoilt) -> bool {
        self.kept = Vec::new();
        let is_news = !self.spoilt.contains(&why);
        if is_news {
            self.spoilt.push(why);
        }
        is_news
    }

    /// Whether the rest of the answer will not come. `idle`: nothing is left to receive. The kernel makes each part when the one
    /// before it is received, and if there is no room then, nothing makes it later.
    pub fn has_stalled(&self, idle: bool) -> bool {
        let had_no_room = self.spoilt.contains(&Spoilt::Lost);
        idle && had_no_room || self.progress + STALL <= Instant::now()
    }

    fn family(&self) -> Option<u8> {
        let family = self.step.checked_sub(1)?;
        FAMILIES.get(family).copied()
    }

    fn end_step(&mut self, refusal: Option<Errno>) {
        match refusal {
            None => {}
            // A kernel without IPv6, for example: then there is nothing of it.
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) if self.step > 0 => {}
            Some(errno) => drop(self.spoil(Spoilt::Refused(errno))),
        }
        let is_counted = self.family().is_some_and(M::is_counted);
        self.is_shifted |= is_counted && self.has_changed && self.bytes > ONE_PART;
        self.step += 1;
    }
}

/// The error that a last message bears.
fn refusal(message: &Message<'_>) -> Option<Errno> {
    let code = match message.kind {
        NLMSG_DONE => DoneBuffer::new_checked(message.payload).map_or(0, |done| done.code()),
        _ => ErrorBuffer::new_checked(message.payload)
            .map_or(0, |error| error.code().map_or(0, std::num::NonZeroI32::get)),
    };
    (code != 0).then(|| Errno::from_raw(code.saturating_abs()))
}

impl std::fmt::Display for Spoilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost => f.write_str("events were lost for want of room in the receive buffer"),
            Self::Interrupted => {
                f.write_str("the kernel interrupted it, for what it read had changed")
            }
            Self::Refused(errno) => write!(f, "the kernel refused to dump it: {errno}"),
        }
    }
}
