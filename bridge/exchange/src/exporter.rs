//! The exporter: replies to requests.

use std::ops::Range;

use crate::message::{Entries, Piece, Position, Reply, Request};
use crate::mutant::{Check, holds};
use crate::sized;

/// Maximum number of answers that an exporter keeps.
pub const MAX_ANSWERS: usize = sized(4, 2);
/// Number of ticks after which an answer that nobody requests is dropped.
const KEPT_TICKS: u32 = sized(30, 2) as u32;
/// Number of ticks for which an answer with all rows is given to further importers although the
/// table has newer versions.
const REUSED_TICKS: u32 = 1;
/// Bytes of entries in the first piece, if its size is left to the exporter. The message fits into one
/// batch of zenoh (64 KiB): a congested link drops most messages that need several.
const FIRST_BYTES: usize = sized(56 << 10, 1);
/// Maximum bytes of entries in a piece, unless one row is longer.
const MAX_PIECE_BYTES: usize = 512 << 10;

/// The slots that were written between two positions, with their rows.
pub trait Changes {
    /// Returns the version after which the slots were written; 0 if these are all rows.
    fn from(&self) -> u64;
    /// Returns the position of the rows.
    fn to(&self) -> Position;
    /// Returns the number of publishers that the table has had.
    fn epoch(&self) -> u64;
    /// Returns the fingerprint of the schema.
    fn fingerprint(&self) -> u64;
    /// Returns the encoded schema.
    fn schema(&self) -> Vec<u8>;
    /// Returns the length of a row in bytes.
    fn row_bytes(&self) -> usize;
    /// Returns the slots whose row was deleted.
    fn deleted(&self) -> &[u32];
    /// Returns the slots that hold a row.
    fn slots(&self) -> &[u32];
    /// Returns the row of `slots()[at]`.
    fn row(&self, at: usize) -> &[u8];
}

/// The table that an exporter reads.
pub trait Origin {
    /// The slots that were written between two positions.
    type Changes: Changes;

    /// Returns the slots that were written since a position, or all rows if the table does not have
    /// the position.
    ///
    /// # Errors
    /// A message for the importer.
    fn changes(&self, since: Position) -> Result<Self::Changes, String>;

    /// Returns the current position.
    ///
    /// # Errors
    /// A message for the importer.
    fn position(&self) -> Result<Position, String>;
}

/// Replies to requests, and keeps the answers that need several pieces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exporter<C> {
    kept: Vec<Kept<C>>,
    /// The number of the last answer.
    last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept<C> {
    answer: u64,
    changes: C,
    /// Ticks since the answer was created.
    age: u32,
    /// Ticks since the last request.
    idle: u32,
    /// True if the last entry was returned after the last importer began.
    is_finished: bool,
}

impl<C: Changes> Exporter<C> {
    /// Creates an exporter. The numbers of its answers begin after `first`. Pass a random number, so
    /// that an importer does not confuse the answers of two exporters.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { kept: Vec::new(), last: first }
    }

    /// Replies to a request.
    pub fn reply(&mut self, request: &Request, origin: &impl Origin<Changes = C>) -> Reply {
        if request.answer == 0 {
            self.begin(request, origin).unwrap_or_else(Reply::Failed)
        } else {
            self.piece_of_kept(request)
        }
    }

    /// Counts a unit of time, and drops answers that nobody requests. Call it once a second.
    pub fn tick(&mut self) {
        self.kept.iter_mut().for_each(|kept| {
            kept.age = kept.age.saturating_add(1);
            kept.idle += 1;
        });
        self.kept.retain(|kept| kept.idle < KEPT_TICKS);
    }

    /// Returns true if answers are kept, so that [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn keeps_answers(&self) -> bool {
        !self.kept.is_empty()
    }

    fn begin(
        &mut self,
        request: &Request,
        origin: &impl Origin<Changes = C>,
    ) -> Result<Reply, String> {
        let now = origin.position()?;
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.answers(request, now)) {
            (kept.idle, kept.is_finished) = (0, false);
            return Ok(Reply::Piece(piece(kept.answer, &kept.changes, request)));
        }
        // A copy of all rows costs time and memory: it is not created to be dropped.
        if request.since.region != now.region && !self.has_room() {
            return Ok(Reply::Busy);
        }
        let changes = origin.changes(request.since)?;
        self.last = self.last.wrapping_add(1).max(1);
        let first = piece(self.last, &changes, request);
        if (first.entries.len() as u64) < first.total {
            if !self.has_room() {
                return Ok(Reply::Busy);
            }
            let kept = Kept { answer: self.last, changes, age: 0, idle: 0, is_finished: false };
            self.kept.push(kept);
        }
        Ok(Reply::Piece(first))
    }

    /// Returns true if another answer can be kept. If necessary, drops a finished answer, or else the
    /// least recently requested answer, unless all were requested in the last unit of time.
    fn has_room(&mut self) -> bool {
        if self.kept.len() < MAX_ANSWERS {
            return true;
        }
        // Of equal ones the oldest, which is the last one in this order.
        let kept = self.kept.iter().enumerate().rev();
        match kept.max_by_key(|(_, kept)| (kept.is_finished, kept.idle)) {
            Some((at, kept)) if kept.is_finished || kept.idle > 1 => {
                self.kept.remove(at);
                true
            }
            _ => false,
        }
    }

    fn piece_of_kept(&mut self, request: &Request) -> Reply {
        let mut kept = self.kept.iter_mut();
        let Some(kept) = kept.find(|kept| kept.answer == request.answer) else {
            return Reply::Gone;
        };
        kept.idle = 0;
        let total = (kept.changes.deleted().len() + kept.changes.slots().len()) as u64;
        if request.first >= total {
            return Reply::Gone;
        }
        let piece = piece(kept.answer, &kept.changes, request);
        kept.is_finished |= piece.first + piece.entries.len() as u64 == total;
        Reply::Piece(piece)
    }
}

impl<C: Changes> Kept<C> {
    /// Returns true if this answer is also one to a new request. An answer with all rows may be a
    /// little older than the table, if the importer cannot have had a newer version.
    fn answers(&self, request: &Request, now: Position) -> bool {
        let to = self.changes.to();
        if self.changes.from() == 0 {
            request.since.region != to.region
                && holds(Check::ReusedRegion, to.region == now.region)
                && (to == now
                    || holds(Check::AcceptsOlder, request.accepts_older)
                        && self.age <= REUSED_TICKS)
        } else {
            to == now
                && request.since.region == to.region
                && request.since.version == self.changes.from()
        }
    }
}

/// Returns the requested range of an answer.
fn piece(answer: u64, changes: &impl Changes, request: &Request) -> Piece {
    let total = changes.deleted().len() + changes.slots().len();
    let first = usize::try_from(request.first).map_or(total, |first| first.min(total));
    let entry_bytes = changes.row_bytes() + size_of::<u32>();
    let wanted = match request.count {
        0 => FIRST_BYTES / entry_bytes,
        count => (count as usize).min(MAX_PIECE_BYTES / entry_bytes),
    };
    let end = first.saturating_add(wanted.max(1)).min(total);
    Piece {
        answer,
        from: changes.from(),
        to: changes.to(),
        epoch: changes.epoch(),
        fingerprint: changes.fingerprint(),
        schema: (first == 0 && changes.from() == 0).then(|| changes.schema()),
        row_bytes: u32::try_from(changes.row_bytes()).unwrap_or(u32::MAX),
        total: total as u64,
        first: first as u64,
        entries: entries(changes, first..end),
    }
}

/// Returns a range of the slots, of which the deleted ones come first.
fn entries(changes: &impl Changes, range: Range<usize>) -> Entries {
    let deleted = changes.deleted();
    let with_row = |at: usize| at.saturating_sub(deleted.len());
    let rows = with_row(range.start)..with_row(range.end);
    let mut bytes = Vec::with_capacity(rows.len() * changes.row_bytes());
    rows.clone().for_each(|at| bytes.extend_from_slice(changes.row(at)));
    Entries {
        deleted: deleted[range.start.min(deleted.len())..range.end.min(deleted.len())].to_vec(),
        slots: changes.slots()[rows].to_vec(),
        rows: bytes,
    }
}

impl Entries {
    /// Returns all slots of `changes`.
    #[must_use]
    pub fn of(changes: &impl Changes) -> Self {
        entries(changes, 0..changes.deleted().len() + changes.slots().len())
    }
}
