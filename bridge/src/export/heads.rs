//! Heads: tell importers that a table has another version.
//!
//! Each head is published under two keys, and an importer subscribes to one of them. Under the second
//! one it carries the rows that were written since the last head, if they are few. An importer with
//! a slow link takes the first one, so that rows that it cannot use do not fill the link.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Position, PublisherState, UntypedReader};
use exchange::{Changes, Delta, Entries, Head, HeadEncoder, Publisher};
use zenoh::qos::CongestionControl;
use zenoh::query::Queryable;
use zenoh::{Session, Wait};

use super::answers::Changed;
use super::{BEAT, Failure, exchanged};
use crate::keys::{Origin, Part};
use crate::links::{Status, lock, unix_ns};

/// Maximum bytes of slots and rows that are sent with a head. They fit into one batch of zenoh (64
/// KiB): a congested link drops most messages that need several.
const MAX_DELTA_BYTES: usize = 56 << 10;
/// Number of heads without rows after a commit that was too large to be sent with its head.
const PLAIN_HEADS: u32 = 15;
/// Minimum time between two heads without rows: they must not fill a slow link.
const PLAIN_PACE: Duration = Duration::from_millis(10);

/// The number of the next whole head of this process.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Sends the heads of a table, and returns the last one to queries.
pub struct Heads<'s> {
    /// Publishes heads without rows.
    plain: Output<'s>,
    /// Publishes heads with rows.
    deltas: Output<'s>,
    _queryable: Queryable<()>,
    last: Arc<Mutex<Vec<u8>>>,
    encoder: HeadEncoder,
    /// True if an importer has requested changes since the last head: it may not know the last whole
    /// head.
    is_requested: Arc<AtomicBool>,
    link: Arc<Mutex<Status>>,
    /// The position of the last head.
    sent: Position,
    schema: u64,
    /// Number of heads that are sent without rows.
    pause: u32,
    /// Time of the last head without rows, and whether a newer one is still to be sent.
    plain_sent: Instant,
    is_plain_due: bool,
    /// Time of the last commit by the clock of this host, if the commit was observed.
    committed_ns: u64,
}

impl<'s> Heads<'s> {
    pub fn declare(
        session: &'s Session,
        origin: &Origin,
        table: &UntypedReader,
        link: &Arc<Mutex<Status>>,
    ) -> Result<Self, Failure> {
        let publisher = |part| {
            session
                .declare_publisher(origin.key(part))
                // With the default priority, which takes no bytes. Requests and replies have
                // lower ones.
                .congestion_control(CongestionControl::Drop)
                .wait()
                .map(Output::new)
        };
        let last = Arc::new(Mutex::new(Vec::new()));
        let answered = Arc::clone(&last);
        let key = origin.key(Part::Head);
        let queryable = session
            .declare_queryable(key.clone())
            .callback(move |query| {
                if let Err(error) = query.reply(&key, lock(&answered).clone()).wait() {
                    tracing::debug!("a query for a head was not answered: {error}");
                }
            })
            .wait()?;
        let heads = Self {
            plain: publisher(Part::Head)?,
            deltas: publisher(Part::Delta)?,
            _queryable: queryable,
            last,
            encoder: HeadEncoder::default(),
            is_requested: Arc::default(),
            link: Arc::clone(link),
            sent: table.position()?,
            schema: table.schema()?.fingerprint(),
            pause: 0,
            plain_sent: Instant::now(),
            is_plain_due: false,
            committed_ns: 0,
        };
        let head = heads.head(table, heads.sent, None)?;
        *lock(&heads.last) = head.to_bytes();
        Ok(heads)
    }

    /// Sends a head to all importers.
    pub fn send(
        &mut self,
        table: &UntypedReader,
        has_news: bool,
        is_removed: bool,
    ) -> Result<(), Failure> {
        let with_rows = self.deltas.has_subscribers()?;
        let (position, delta) = match has_news && with_rows {
            true => self.changes(table)?,
            false => (table.position()?, None),
        };
        if has_news {
            self.committed_ns = unix_ns();
        }
        if position.region_id() != self.sent.region_id() {
            self.schema = table.schema()?.fingerprint();
        }
        self.sent = position;
        let mut head = self.head(table, position, delta)?;
        if is_removed {
            head.publisher = Publisher::Closed;
        }
        let mut sent_bytes = 0;
        if with_rows {
            if self.is_requested.swap(false, Ordering::Relaxed) {
                self.encoder.begin();
            }
            let next = || NUMBERS.fetch_add(1, Ordering::Relaxed);
            sent_bytes += self.deltas.put(self.encoder.encode(&head, next));
        }
        head.delta = None;
        let bytes = head.to_bytes();
        lock(&self.last).clone_from(&bytes);
        self.is_plain_due = has_news && self.plain_sent.elapsed() < PLAIN_PACE;
        if !self.is_plain_due && self.plain.has_subscribers()? {
            self.plain_sent = Instant::now();
            sent_bytes += self.plain.put(bytes);
        }
        lock(&self.link).sent_head(&head, sent_bytes);
        Ok(())
    }

    /// Returns a flag. Set it when an importer has requested changes.
    pub fn is_requested(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_requested)
    }

    /// Returns the time by which another head must be sent, although there was no other commit.
    pub fn due(&self) -> Option<Instant> {
        self.is_plain_due.then(|| self.plain_sent + PLAIN_PACE)
    }

    fn head(
        &self,
        table: &UntypedReader,
        position: Position,
        delta: Option<Delta>,
    ) -> Result<Head, Failure> {
        let state = table.publisher_state();
        Ok(Head {
            number: 0,
            position: exchanged(position),
            epoch: state.epoch(),
            rows: table.len()? as u64,
            publisher: match state {
                PublisherState::Alive { .. } => Publisher::Alive,
                PublisherState::Gone { .. } => Publisher::Gone,
                _ => Publisher::Closed,
            },
            schema: self.schema,
            committed_ns: self.committed_ns,
            delta,
        })
    }

    /// Returns the current position, and the slots that were written since the last head if they
    /// are few.
    fn changes(&mut self, table: &UntypedReader) -> Result<(Position, Option<Delta>), Failure> {
        if self.pause > 0 {
            self.pause -= 1;
            return Ok((table.position()?, None));
        }
        let changes = table.changed_slots(self.sent)?;
        let (position, is_complete) = (changes.position(), changes.is_complete());
        let changes = Changed::since(self.sent.version(), changes);
        let slots = changes.slots().len() + changes.deleted().len();
        let bytes = slots * size_of::<u32>() + changes.slots().len() * changes.row_bytes();
        if is_complete || bytes > MAX_DELTA_BYTES {
            self.pause = PLAIN_HEADS;
            return Ok((position, None));
        }
        Ok((position, Some(Delta { from: changes.from(), entries: Entries::of(&changes) })))
    }
}

/// A publisher of heads.
struct Output<'s> {
    publisher: zenoh::pubsub::Publisher<'s>,
    /// Time at which subscribers were found last.
    found: Option<Instant>,
}

impl<'s> Output<'s> {
    fn new(publisher: zenoh::pubsub::Publisher<'s>) -> Self {
        Self { publisher, found: None }
    }

    /// Returns true if there are subscribers, or were less than a [`BEAT`] ago. To look for them
    /// takes a fifth of the time of a put.
    fn has_subscribers(&mut self) -> Result<bool, Failure> {
        if self.found.is_none_or(|found| found.elapsed() >= BEAT) {
            let is_found = self.publisher.matching_status().wait()?.matching();
            self.found = is_found.then(Instant::now);
        }
        Ok(self.found.is_some())
    }

    /// Publishes a head, and returns its length.
    fn put(&self, bytes: Vec<u8>) -> usize {
        let length = bytes.len();
        if let Err(error) = self.publisher.put(bytes).wait() {
            tracing::debug!("a head was not sent: {error}");
        }
        length
    }
}
