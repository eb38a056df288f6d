//! Follows one of the kernel's tables.
//!
//! 1. Join the multicast groups, so that no event is missed; then [dump](super::dump).
//! 2. When the dump is complete, replay the events that arrived in the meantime over it. Then make
//!    the published table equal to the result, in one commit that contains the differences.
//! 3. Apply events as they arrive. Events that are received together become one commit.
//! 4. If the copy may differ from the kernel's table (events were lost, or the effect of an event
//!    cannot be determined), drop further events and leave the published table unchanged. Once the
//!    queue is empty, start again with a dump.
//!
//! A dump during which events were lost, or that the kernel marks as interrupted, is never used.
//! The next dump starts after a pause, which doubles each time. A dump that is merely doubtful (the
//! kernel's iteration over its table may have skipped rows, or the replayed events are ambiguous)
//! is used after a few attempts. It is then followed like any other, and verified by another dump a
//! little later.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::bytes_of;
use cli::service::Readiness;
use cli::{CliError, status};
use common::{Error, Schema, UntypedPublisher};
use nix::libc::{RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK};

use super::channel::{Channel, Message, Received, messages};
use super::dump::{Dump, Kept, LOST};
use super::links::Links;
use super::model::{Effect, Model};
use crate::source::{Progress, Snapshot, Source, SourceError};

/// Initial size of the buffer for a datagram, in bytes. The datagrams of a dump have up to 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// Maximum numbers of bytes and datagrams that one call to `receive` processes, so that the table
/// is still maintained under load.
const MAX_BYTES: usize = 4 << 20;
const MAX_DATAGRAMS: usize = 8192;

/// Pause after the first failed dump. It doubles with each further failure, up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Number of consecutive doubtful dumps that are discarded before one is used.
const DOUBTS: u32 = 3;

/// Number of consecutive failed dumps after which the failure is reported.
const WARN_AFTER: u32 = 5;

/// Delay before publishing is retried after the table was full.
const RETRY: Duration = Duration::from_secs(1);

/// A source that follows one of the kernel's tables.
pub struct Follow<M: Model> {
    schema: Arc<Schema>,
    receive_buffer: usize,
    channel: Channel,
    state: State<M>,
    model: M,
    links: Links,
    touched: BTreeSet<M::Key>,
    /// Time at which the whole copy is to be published, because part of it has not been.
    due_whole: Option<Instant>,
    /// Time at which the kernel's table is to be dumped again, because the copy is doubtful.
    due_again: Option<Instant>,
    failed_dumps: u32,
    reports: Reports,
    has_published: bool,
}

/// Relation of the copy to the kernel's table.
enum State<M> {
    /// Equal to the kernel's table, except for events that are not received yet.
    Live,
    /// Unknown; a dump is due at this time.
    Stale(Instant),
    /// Unknown; a dump is in progress.
    Dumping(Box<Dump<M>>),
}

impl<M: Model> Follow<M> {
    /// Creates the source with a receive buffer of `receive_buffer` bytes for unread events.
    pub fn new(receive_buffer: usize) -> Result<Self, CliError> {
        let channel = Self::open(receive_buffer).map_err(|error| unreadable::<M>(&error))?;
        Ok(Self {
            schema: Arc::new(Schema::of::<M::Row>()?),
            receive_buffer,
            channel,
            state: State::Stale(Instant::now()),
            model: M::default(),
            links: Links::default(),
            touched: BTreeSet::new(),
            due_whole: None,
            due_again: None,
            failed_dumps: 0,
            reports: Reports::new(M::NAME),
            has_published: false,
        })
    }

    fn open(receive_buffer: usize) -> io::Result<Channel> {
        let groups = [&[RTNLGRP_LINK], M::GROUPS].concat();
        Channel::open(&groups, receive_buffer)
    }

    /// Receives pending datagrams, up to a limit. Returns true if none are left.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(DATAGRAM);
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
                    self.reports.malformed(&error.to_string());
                    return Ok(());
                }
            };
            match &mut self.state {
                State::Dumping(dump) if dump.is_answer(&message, self.channel.port()) => {
                    if !std::mem::replace(&mut has_answers, true) {
                        dump.count(datagram.len());
                    }
                    match dump.answer(&message) {
                        Ok(true) => self.request_next()?,
                        Ok(false) => {}
                        Err(what) => self.reports.malformed(&what),
                    }
                }
                State::Dumping(dump) => dump.keep(&message),
                State::Live => {
                    self.reports.events += 1;
                    match take_event(&mut self.model, &mut self.links, &message, false) {
                        Ok(Effect::None) => {}
                        Ok(Effect::Changed(key)) => drop(self.touched.insert(key)),
                        Ok(Effect::Doubt) => self.state = State::Stale(Instant::now()),
                        Err(what) => self.reports.malformed(&what),
                    }
                }
                State::Stale(_) => {}
            }
        }
        Ok(())
    }

    /// Sends the next request of a dump, if there is one.
    fn request_next(&mut self) -> io::Result<()> {
        if let State::Dumping(dump) = &mut self.state
            && let Some(request) = dump.request()
        {
            dump.requested(self.channel.request_dump(request)?);
        }
        Ok(())
    }

    fn overrun(&mut self) {
        let is_new = match &mut self.state {
            State::Dumping(dump) => dump.fail(LOST),
            State::Live => {
                self.state = State::Stale(Instant::now());
                true
            }
            State::Stale(_) => false,
        };
        if is_new {
            self.reports.overrun();
        }
    }

    /// Starts a dump if one is due, or finishes a complete dump. `idle` is true if no datagram is
    /// left to receive.
    fn advance(&mut self, idle: bool, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let refused = |error: io::Error| SourceError::Input(unreadable::<M>(&error));
        if self.due_again.is_some_and(|due| due <= Instant::now()) {
            self.due_again = None;
            if let State::Live = self.state {
                self.state = State::Stale(Instant::now());
            }
        }
        match std::mem::replace(&mut self.state, State::Live) {
            State::Stale(at) if idle && at <= Instant::now() => {
                self.state = State::Dumping(Box::default());
                self.request_next().map_err(refused)?;
            }
            State::Dumping(dump) if dump.request().is_none() => self.finish(*dump, publisher)?,
            State::Dumping(dump) if dump.has_stalled(idle) => {
                self.channel = Self::open(self.receive_buffer).map_err(refused)?;
                self.retry(&dump.failures);
            }
            unchanged => self.state = unchanged,
        }
        Ok(())
    }

    /// Replays the events that arrived during a dump, and uses the result or dumps again.
    fn finish(
        &mut self,
        mut dump: Dump<M>,
        publisher: &mut UntypedPublisher,
    ) -> Result<(), SourceError> {
        self.reports.dumps += 1;
        let mut is_doubtful = dump.is_shifted;
        for Kept { kind, flags, payload } in std::mem::take(&mut dump.kept) {
            self.reports.events += 1;
            let message = Message { kind, flags, sequence: 0, port: 0, payload: &payload };
            match take_event(&mut dump.model, &mut dump.links, &message, true) {
                Ok(Effect::None | Effect::Changed(_)) => {}
                Ok(Effect::Doubt) => is_doubtful = true,
                Err(what) => self.reports.malformed(&what),
            }
        }
        if !dump.failures.is_empty() || is_doubtful && self.failed_dumps < DOUBTS {
            self.retry(&dump.failures);
            return Ok(());
        }
        self.failed_dumps = 0;
        self.due_again = is_doubtful.then(|| Instant::now() + LONGEST_PAUSE);
        (self.model, self.links) = (dump.model, dump.links);
        self.publish_whole(publisher)
    }

    fn retry(&mut self, why: &BTreeSet<String>) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed_dumps.min(16));
        self.state = State::Stale(Instant::now() + pause.min(LONGEST_PAUSE));
        self.failed_dumps += 1;
        self.reports.dump_failed(why, self.failed_dumps);
    }

    fn publish_touched(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        if self.touched.is_empty() || self.due_whole.is_some() {
            return Ok(());
        }
        let key_of = |row: &M::Row| {
            let mut key = Vec::new();
            self.schema.write_key(bytes_of(row), &mut key);
            key
        };
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for group in std::mem::take(&mut self.touched) {
            let rows = self.model.rows(&group, &self.links);
            // The numbers are contiguous: after the first missing one there are no more.
            let keys =
                (rows.len()..).map_while(|number| Some(key_of(&M::key_row(&group, number)?)));
            for key in keys {
                if publisher.get(&key)?.is_none() {
                    break;
                }
                gone.push(key);
            }
            for row in rows {
                let known = publisher.get(&key_of(&row))?;
                if known.is_none_or(|known| known.bytes() != bytes_of(&row)) {
                    changed.push(row);
                }
            }
        }
        let mut tx = publisher.begin();
        // Deletions come first: they free slots for the other rows.
        let staged = gone.iter().try_for_each(|key| tx.delete(key));
        let staged =
            staged.and_then(|()| changed.iter().try_for_each(|row| tx.upsert(bytes_of(row))));
        match staged.and_then(|()| tx.commit()) {
            Ok(_) => Ok(()),
            Err(Error::TableFull { .. } | Error::Limit { .. }) => self.publish_whole(publisher),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the published table equal to the copy, as far as its capacity allows.
    fn publish_whole(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.touched.clear();
        let mut rows = Vec::new();
        for row in self.model.keys().flat_map(|key| self.model.rows(key, &self.links)) {
            rows.extend_from_slice(bytes_of(&row));
        }
        let snapshot = Snapshot::of(Arc::clone(&self.schema), rows);
        let problem = match snapshot.publish(publisher) {
            Ok(problem) => {
                self.has_published = true;
                problem
            }
            // Memory may become available again.
            Err(error @ Error::Limit { .. }) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let due = problem.is_some().then(|| Instant::now() + RETRY);
        let had_problem = std::mem::replace(&mut self.due_whole, due).is_some();
        if let Some(problem) = problem.filter(|_| !had_problem) {
            status(format_args!("{}: {problem}", M::NAME));
        }
        Ok(())
    }
}

/// Applies an event about an interface or about the table.
fn take_event<M: Model>(
    model: &mut M,
    links: &mut Links,
    message: &Message<'_>,
    is_replay: bool,
) -> Result<Effect<M::Key>, String> {
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => Ok(match links.take(message)? {
            true => Effect::Doubt,
            false => Effect::None,
        }),
        _ => model.event(message, is_replay),
    }
}

impl<M: Model> Source for Follow<M> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.channel.as_fd()]
    }

    fn due(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Live => None,
            State::Stale(at) => Some(*at),
            State::Dumping(dump) => dump.due(),
        };
        [state, self.due_whole, self.due_again].into_iter().flatten().min()
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

    fn readiness(&self) -> Readiness {
        Readiness { is_ready: self.has_published, reloads: 0 }
    }

    fn summary(&self) -> Option<String> {
        Some(self.reports.summary())
    }
}

fn unreadable<M: Model>(error: &io::Error) -> CliError {
    CliError::new(5, format!("{}: cannot ask the kernel over netlink: {error}", M::NAME))
}

/// Log lines and counters. A condition that can recur is a warning only the first time.
#[derive(Default)]
struct Reports {
    table: &'static str,
    events: u64,
    dumps: u64,
    failed_dumps: u64,
    overruns: u64,
    has_warned_malformed: bool,
}

impl Reports {
    fn new(table: &'static str) -> Self {
        Self { table, ..Self::default() }
    }

    fn overrun(&mut self) {
        self.overruns += 1;
        let table = self.table;
        tracing::info!("{table}: overrun");
        if self.overruns == 1 {
            tracing::warn!(
                "{table}: events were lost because the receive buffer was full: everything is read again, now and whenever this \
                 happens; raise --receive-buffer (and net.core.rmem_max)"
            );
        }
    }

    /// Reports that a dump could not be used, the last of `times` such dumps in a row.
    fn dump_failed(&mut self, why: &BTreeSet<String>, times: u32) {
        self.failed_dumps += 1;
        let table = self.table;
        let mut why: Vec<&str> = why.iter().map(String::as_str).collect();
        if why.is_empty() {
            why.push("the table changed during the dump, or the kernel did not answer");
        }
        let why = why.join(", ");
        tracing::info!("{table}: dumping again: {why}");
        if times == WARN_AFTER {
            tracing::warn!(
                "{table}: {times} dumps failed, the last one because {why}; the rows stay as they are until a dump succeeds"
            );
        }
    }

    fn malformed(&mut self, why: &str) {
        let table = self.table;
        if !std::mem::replace(&mut self.has_warned_malformed, true) {
            status(format_args!(
                "{table}: ignoring a malformed message of the kernel, and all further ones: {why}"
            ));
        }
        tracing::debug!("{table}: malformed message: {why}");
    }

    fn summary(&self) -> String {
        let Self { events, overruns, dumps, failed_dumps, .. } = self;
        format!("events: {events}, overruns: {overruns}, dumps: {dumps}, failed: {failed_dumps}")
    }
}
