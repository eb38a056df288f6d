//! Answers: returns the slots that changed to the importers that request them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{Position, SlotChanges, UntypedReader};
use exchange::{Changes, Exporter, Malformed, Reply, Request};
use zenoh::query::{Query, Queryable};
use zenoh::{Session, Wait};

use super::{Failure, exchanged};
use crate::keys::{self, Origin, Part};
use crate::links::{Status, lock};

/// Maximum number of requests that wait for the thread of a table. More are dropped, and importers
/// repeat them.
const MAX_REQUESTS: usize = 256;
/// Maximum number of pieces that are being sent at once. More are dropped.
const MAX_SENDING: usize = 64;
/// Unit of time of the kept answers.
const TICK: Duration = Duration::from_secs(1);

/// The queryable of a table, and the thread that replies.
pub struct Answers {
    queryable: Queryable<()>,
    thread: JoinHandle<()>,
}

impl Answers {
    pub fn start(
        session: &Session,
        origin: &Origin,
        is_requested: Arc<AtomicBool>,
        link: &Arc<Mutex<Status>>,
    ) -> Result<Self, Failure> {
        let table = UntypedReader::open(&origin.table)?;
        let (requests, queue) = mpsc::sync_channel(MAX_REQUESTS);
        let answering = Arc::new(Mutex::new(Answering {
            key: origin.key(Part::Changes),
            origin: Table(table),
            exporter: Exporter::new(keys::random()),
            sending: Arc::new(AtomicUsize::new(0)),
            is_requested,
            link: Arc::clone(link),
        }));
        let name = format!("{} answers", origin.table);
        let of_thread = Arc::clone(&answering);
        let thread = thread::Builder::new().name(name).spawn(move || run(&of_thread, &queue))?;
        let queryable = session
            .declare_queryable(origin.key(Part::Changes))
            .callback(move |query| {
                let bytes = query.payload().map(|payload| payload.to_bytes()).unwrap_or_default();
                let asked = Asked { request: Request::from_bytes(&bytes), query };
                // To wake the thread takes as long as to read a few rows.
                match answering.try_lock() {
                    Ok(mut answering) if answering.is_small(&asked) => answering.reply(asked),
                    // The importer repeats a request that is dropped here.
                    _ => drop(requests.try_send(asked)),
                }
            })
            .wait()?;
        Ok(Self { queryable, thread })
    }

    /// Ends the thread.
    pub fn end(self) -> Result<(), Failure> {
        // This drops the callback, and with it the sending half of the channel.
        self.queryable.undeclare().wait()?;
        // A panic was printed by the thread.
        let _panicked = self.thread.join();
        Ok(())
    }
}

/// A query, and the request in it.
struct Asked {
    query: Query,
    request: Result<Request, Malformed>,
}

/// Replies until the callback is dropped.
fn run(answering: &Mutex<Answering>, queue: &Receiver<Asked>) {
    let mut next_tick = Instant::now() + TICK;
    loop {
        let received = queue.recv_timeout(next_tick.saturating_duration_since(Instant::now()));
        let mut answering = lock(answering);
        match received {
            Ok(asked) => answering.reply(asked),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_tick {
            answering.exporter.tick();
            next_tick = Instant::now() + TICK;
        }
    }
}

/// Replies to the requests for a table.
struct Answering {
    key: String,
    origin: Table,
    exporter: Exporter<Changed>,
    /// Number of pieces that are being sent.
    sending: Arc<AtomicUsize>,
    /// Set by each request for changes.
    is_requested: Arc<AtomicBool>,
    link: Arc<Mutex<Status>>,
}

impl Answering {
    /// Returns true for a request for changes that are probably few.
    fn is_small(&self, asked: &Asked) -> bool {
        let region = self.origin.0.position().map(|position| position.region_id());
        asked.request.as_ref().is_ok_and(|request| {
            request.answer == 0 && region.is_ok_and(|region| region == request.since.region)
        })
    }

    fn reply(&mut self, Asked { query, request }: Asked) {
        let is_new = request.as_ref().is_ok_and(|request| request.answer == 0);
        let reply = match request {
            Ok(request) => self.exporter.reply(&request, &self.origin),
            Err(malformed) => Reply::Failed(malformed.to_string()),
        };
        let bytes = reply.to_bytes();
        lock(&self.link).count(bytes.len());
        if is_new {
            self.is_requested.store(true, Ordering::Relaxed);
            // The query asks zenoh to drop this reply if the link is congested.
            send(&query, &self.key, bytes);
            return;
        }
        if self.sending.fetch_add(1, Ordering::Relaxed) >= MAX_SENDING {
            self.sending.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (key, sending) = (self.key.clone(), Arc::clone(&self.sending));
        let spawned = thread::Builder::new().spawn(move || {
            send(&query, &key, bytes);
            sending.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            self.sending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn send(query: &Query, key: &str, bytes: Vec<u8>) {
    if let Err(error) = query.reply(key, bytes).wait() {
        tracing::debug!("a reply was not sent: {error}");
    }
}

/// The exported table.
struct Table(UntypedReader);

impl exchange::Origin for Table {
    type Changes = Changed;

    fn changes(&self, since: exchange::Position) -> Result<Changed, String> {
        let position = Position::new(since.region, since.version);
        let changes = self.0.changed_slots(position).map_err(|error| error.to_string())?;
        Ok(Changed::since(since.version, changes))
    }

    fn position(&self) -> Result<exchange::Position, String> {
        let position = self.0.position().map_err(|error| error.to_string())?;
        Ok(exchanged(position))
    }
}

/// Slots that changed since a version.
pub struct Changed {
    from: u64,
    changes: SlotChanges,
}

impl Changed {
    /// Takes the slots that were written since a version.
    pub fn since(version: u64, changes: SlotChanges) -> Self {
        // An answer with all rows is one since the beginning.
        let from = if changes.is_complete() { 0 } else { version };
        Self { from, changes }
    }
}

impl Changes for Changed {
    fn from(&self) -> u64 {
        self.from
    }

    fn to(&self) -> exchange::Position {
        exchanged(self.changes.position())
    }

    fn epoch(&self) -> u64 {
        self.changes.epoch()
    }

    fn fingerprint(&self) -> u64 {
        self.changes.schema().fingerprint()
    }

    fn schema(&self) -> Vec<u8> {
        self.changes.schema().to_bytes()
    }

    fn row_bytes(&self) -> usize {
        self.changes.schema().row_size()
    }

    fn deleted(&self) -> &[u32] {
        // An importer that gets all rows has none of the deleted ones.
        if self.from == 0 { &[] } else { self.changes.deleted() }
    }

    fn slots(&self) -> &[u32] {
        self.changes.slots()
    }

    fn row(&self, at: usize) -> &[u8] {
        &self.changes.bytes()[at * self.changes.stride()..][..self.row_bytes()]
    }
}
