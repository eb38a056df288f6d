//! Follows one of the kernel's tables.
//!
//! 1. Join the groups, so that no event is missed; then [dump](super::dump).
//! 2. When the dump is complete, replay over it what came meanwhile, and make the table hold exactly that: one commit of the
//!    differences.
//! 3. Then take over events as they come; what came together is one commit.
//! 4. Whenever the copy may not be the kernel's any more (events were lost, or what one leads to cannot be known), what comes is
//!    dropped, the table stays as it is, and once the queue is empty all begins again with a dump.
//!
//! A dump in which events were lost, or that the kernel calls interrupted, is never used: the next one follows after a pause that
//! doubles. One that is merely doubtful (the kernel's way through its table may have missed rows, or the events
//! replayed do not decide) is used after a few tries, followed like any other, and checked by another one a little later.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Error, Schema, UntypedPublisher};
use nix::libc::{RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK};
use subscriber::service::Stage;
use subscriber::shell::CliError;

use super::channel::{Channel, Received};
use super::diff;
use super::dump::{Dump, STALL, Spoilt};
use super::links::Links;
use super::message::{Message, messages};
use super::model::{Effect, Model, When};
use super::reports::Reports;
use crate::source::{CapacityPolicy, Progress, Source, SourceError};

/// The most that is taken over at a time, so that the table is looked after now and then.
const MAX_BYTES: usize = 4 << 20;

/// The most datagrams of it.
const MAX_DATAGRAMS: usize = 8192;

/// The pause after a dump in vain; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What the pause grows to.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How many doubtful dumps in a row are not used.
const DOUBTS: u32 = 3;

/// How long until the table is tried again that had no room.
const RETRY: Duration = Duration::from_secs(1);

/// One of the kernel's tables.
pub struct Follow<M: Model> {
    schema: Arc<Schema>,
    room: CapacityPolicy,
    receive_buffer: usize,
    channel: Channel,
    state: State<M>,
    model: M,
    links: Links,
    /// The groups that the published table does not know yet.
    touched: BTreeSet<M::Key>,
    /// When all of the copy is to be published, because some of it has not been.
    due_whole: Option<Instant>,
    /// When to read all again, because the copy is doubtful.
    due_again: Option<Instant>,
    /// Dumps in a row that were of no use.
    in_vain: u32,
    reports: Reports,
    has_published: bool,
}

/// How the copy is.
enum State<M> {
    /// As the kernel's table, but for the events to come.
    Live,
    /// Unknown: to be read when that time has come.
    Stale(Instant),
    /// Unknown: it is being read.
    Dumping(Box<Dump<M>>),
}

impl<M: Model> Follow<M> {
    /// With room for `receive_buffer` bytes of unread events.
    ///
    /// # Errors
    /// [`CliError`] if the kernel cannot be asked.
    pub fn new(receive_buffer: usize, room: CapacityPolicy) -> Result<Self, CliError> {
        let channel = Self::open(receive_buffer).map_err(|error| unreadable::<M>(&error))?;
        Ok(Self {
            schema: Arc::new(Schema::of::<M::Row>()?),
            room,
            receive_buffer,
            channel,
            state: State::Stale(Instant::now()),
            model: M::default(),
            links: Links::default(),
            touched: BTreeSet::new(),
            due_whole: None,
            due_again: None,
            in_vain: 0,
            reports: Reports::of(M::WHAT),
            has_published: false,
        })
    }

    /// What a row is.
    pub fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn open(receive_buffer: usize) -> io::Result<Channel> {
        let groups = [&[RTNLGRP_LINK], M::GROUPS].concat();
        Channel::open(&groups, receive_buffer)
    }

    /// Takes over what is there, up to a bound. Whether that was all.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = Channel::buffer();
        let mut bytes = 0;
        for _ in 0..MAX_DATAGRAMS {
            match self.channel.receive(&mut buffer)? {
                Received::Datagram => self.take_datagram(&buffer)?,
                Received::Overrun => self.overrun(),
                Received::Nothing => return Ok(true),
            }
            bytes += buffer.len();
            if bytes >= MAX_BYTES {
                break;
            }
        }
        Ok(false)
    }

    fn take_datagram(&mut self, datagram: &[u8]) -> io::Result<()> {
        let mut has_answers = false;
        for message in messages(datagram) {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    self.reports.odd(&error.to_string());
                    return Ok(());
                }
            };
            match &mut self.state {
                State::Dumping(dump) if dump.is_answer(&message, self.channel.port()) => {
                    if !std::mem::replace(&mut has_answers, true) {
                        dump.count(datagram.len());
                    }
                    match dump.answer(&message) {
                        Ok(true) => self.ask()?,
                        Ok(false) => {}
                        Err(what) => self.reports.odd(&what),
                    }
                }
                State::Dumping(dump) => dump.keep(&message),
                State::Live => {
                    self.reports.counts.events += 1;
                    match take_event(&mut self.model, &mut self.links, &message, When::Live) {
                        Ok(Effect::None) => {}
                        Ok(Effect::Changed(key)) => drop(self.touched.insert(key)),
                        Ok(Effect::Doubt) => self.state = State::Stale(Instant::now()),
                        Err(what) => self.reports.odd(&what),
                    }
                }
                State::Stale(_) => {}
            }
        }
        Ok(())
    }

    /// Asks for what comes next of a dump, if there is more.
    fn ask(&mut self) -> io::Result<()> {
        if let State::Dumping(dump) = &mut self.state
            && let Some(request) = dump.request()
        {
            dump.requested(self.channel.request_dump(request)?);
        }
        Ok(())
    }

    fn overrun(&mut self) {
        let is_news = match &mut self.state {
            State::Dumping(dump) => dump.spoil(Spoilt::Lost),
            State::Live => {
                self.state = State::Stale(Instant::now());
                true
            }
            State::Stale(_) => false,
        };
        if is_news {
            self.reports.overrun();
        }
    }

    /// Goes on with a dump that is due or complete. `idle`: nothing is left to receive.
    fn advance(&mut self, idle: bool, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let refused = |error: io::Error| SourceError::Input(unreadable::<M>(&error));
        if self.due_again.is_some_and(|due| due <= Instant::now()) {
            self.due_again = None;
            if let State::Live = self.state {
                self.state = State::Stale(Instant::now());
            }
        }
        match &self.state {
            State::Stale(at) if idle && *at <= Instant::now() => {
                self.state = State::Dumping(Box::new(Dump::begin()));
                self.ask().map_err(refused)
            }
            State::Dumping(dump) if dump.request().is_none() => {
                match std::mem::replace(&mut self.state, State::Live) {
                    State::Dumping(dump) => self.finish(*dump, publisher),
                    State::Live | State::Stale(_) => Ok(()),
                }
            }
            State::Dumping(dump) if dump.has_stalled(idle) => {
                let why = dump.spoilt.clone();
                self.channel = Self::open(self.receive_buffer).map_err(refused)?;
                self.retry(&why);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Uses a complete dump, or sees that another one is made.
    fn finish(
        &mut self,
        mut dump: Dump<M>,
        publisher: &mut UntypedPublisher,
    ) -> Result<(), SourceError> {
        self.reports.counts.dumps += 1;
        let is_doubtful = self.replay(&mut dump);
        if !dump.spoilt.is_empty() || is_doubtful && self.in_vain < DOUBTS {
            self.retry(&dump.spoilt);
            return Ok(());
        }
        self.in_vain = 0;
        self.due_again = is_doubtful.then(|| Instant::now() + LONGEST_PAUSE);
        (self.model, self.links) = (dump.model, dump.links);
        self.publish_whole(publisher)
    }

    /// Brings a dump up to date by what came meanwhile. Whether it is doubtful then.
    fn replay(&mut self, dump: &mut Dump<M>) -> bool {
        let mut is_doubtful = dump.is_shifted;
        for kept in std::mem::take(&mut dump.kept) {
            self.reports.counts.events += 1;
            let message = Message {
                kind: kept.kind,
                flags: kept.flags,
                sequence: 0,
                port: 0,
                payload: &kept.payload,
            };
            match take_event(&mut dump.model, &mut dump.links, &message, When::Replayed) {
                Ok(Effect::None | Effect::Changed(_)) => {}
                Ok(Effect::Doubt) => is_doubtful = true,
                Err(what) => self.reports.odd(&what),
            }
        }
        is_doubtful
    }

    fn retry(&mut self, why: &[Spoilt]) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.in_vain.min(16));
        self.state = State::Stale(Instant::now() + pause.min(LONGEST_PAUSE));
        self.in_vain += 1;
        self.reports.in_vain(why, self.in_vain);
    }

    /// Publishes the groups that were touched.
    fn publish_touched(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        if self.touched.is_empty() || self.due_whole.is_some() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched);
        match diff::differences(&self.model, &self.links, &touched, &self.schema, publisher)?
            .apply(publisher)
        {
            Ok(()) => Ok(()),
            Err(Error::TableFull { .. } | Error::Limit { .. }) => self.publish_whole(publisher),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the table hold exactly the copy, as far as there is room.
    fn publish_whole(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.touched.clear();
        let snapshot = diff::snapshot(&self.model, &self.links, &self.schema);
        let trouble = match snapshot.publish(publisher, self.room) {
            Ok(trouble) => {
                self.has_published = true;
                trouble
            }
            // Memory may be found again.
            Err(error @ Error::Limit { .. }) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        self.due_whole = trouble.is_some().then(|| Instant::now() + RETRY);
        self.reports.room(trouble);
        Ok(())
    }
}

/// Takes over an event, be it an interface's or the table's.
fn take_event<M: Model>(
    model: &mut M,
    links: &mut Links,
    message: &Message<'_>,
    when: When,
) -> Result<Effect<M::Key>, String> {
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => Ok(match links.take(message)? {
            true => Effect::Doubt,
            false => Effect::None,
        }),
        _ => model.event(message, when),
    }
}

impl<M: Model> Source for Follow<M> {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.channel.as_fd())
    }

    fn due(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Live => None,
            State::Stale(at) => Some(*at),
            State::Dumping(dump) => Some(dump.progress + STALL),
        };
        [state, self.due_whole, self.due_again]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        let received = self.receive();
        let idle = received.map_err(|error| SourceError::Input(unreadable::<M>(&error)))?;
        if self.due_whole.is_some_and(|due| due <= Instant::now()) {
            self.publish_whole(publisher)?;
        }
        self.publish_touched(publisher)?;
        self.advance(idle, publisher)?;
        Ok(Progress::Waiting)
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn stage(&self) -> Stage {
        Stage {
            is_ready: self.has_published,
            reloads: 0,
        }
    }

    fn summary(&self) -> Option<String> {
        Some(self.reports.summary())
    }
}

fn unreadable<M: Model>(error: &io::Error) -> CliError {
    CliError::new(
        5,
        format!("{}: cannot ask the kernel over netlink: {error}", M::WHAT),
    )
}
