//! Heads: tell importers that a table has another version.

use std::sync::{Arc, Mutex};

use common::{Position, PublisherState, UntypedReader};
use exchange::{Delta, Entries, Head, Publisher};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::Queryable;
use zenoh::{Session, Wait};

use super::Failure;
use crate::keys::{Origin, Part};
use crate::links::{Status, lock, unix_ns};

/// Maximum bytes of rows that are sent with a head.
const MAX_DELTA_BYTES: usize = 16 << 10;
/// Number of heads without rows after a commit that was too large to be sent with its head.
const PLAIN_HEADS: u32 = 15;

/// Sends the heads of a table, and returns the last one to queries.
pub struct Heads<'s> {
    publisher: zenoh::pubsub::Publisher<'s>,
    _queryable: Queryable<()>,
    last: Arc<Mutex<Vec<u8>>>,
    link: Arc<Mutex<Status>>,
    /// The position of the last head.
    sent: Position,
    schema: u64,
    /// Number of heads that are sent without rows.
    plain: u32,
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
        let publisher = session
            .declare_publisher(origin.key(Part::Head))
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::InteractiveHigh)
            .express(true)
            .wait()?;
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
            publisher,
            _queryable: queryable,
            last,
            link: Arc::clone(link),
            sent: table.position()?,
            schema: table.schema()?.fingerprint(),
            plain: 0,
            committed_ns: 0,
        };
        let head = heads.head(table, heads.sent, None)?;
        *lock(&heads.last) = head.to_bytes();
        Ok(heads)
    }

    /// Sends a head, with the rows that were written since the last one if they are few.
    pub fn send(
        &mut self,
        table: &UntypedReader,
        has_news: bool,
        is_removed: bool,
    ) -> Result<(), Failure> {
        let has_readers = self.publisher.matching_status().wait()?.matching();
        let (position, delta) = match has_news && has_readers {
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
        let bytes = head.to_bytes();
        lock(&self.link).sent_head(&head, if has_readers { bytes.len() } else { 0 });
        if head.delta.take().is_some() {
            *lock(&self.last) = head.to_bytes();
        } else {
            lock(&self.last).clone_from(&bytes);
        }
        if has_readers && let Err(error) = self.publisher.put(bytes).wait() {
            tracing::debug!("a head was not sent: {error}");
        }
        Ok(())
    }

    fn head(
        &self,
        table: &UntypedReader,
        position: Position,
        delta: Option<Delta>,
    ) -> Result<Head, Failure> {
        let state = table.publisher_state();
        Ok(Head {
            position: exchange::Position {
                region: position.region_id(),
                version: position.version(),
            },
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
        if self.plain > 0 {
            self.plain -= 1;
            return Ok((table.position()?, None));
        }
        let changes = table.changed_slots(self.sent)?;
        let position = changes.position();
        let row_bytes = changes.schema().row_size();
        if changes.is_complete() || changes.slots().len() * row_bytes > MAX_DELTA_BYTES {
            self.plain = PLAIN_HEADS;
            return Ok((position, None));
        }
        let rows = changes.bytes().chunks_exact(changes.stride());
        let entries = Entries {
            deleted: changes.deleted().to_vec(),
            slots: changes.slots().to_vec(),
            rows: rows.flat_map(|row| &row[..row_bytes]).copied().collect(),
        };
        Ok((position, Some(Delta { from: self.sent.version(), entries })))
    }
}
