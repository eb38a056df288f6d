//! The importer: follows the heads of one exporter, and returns updates for the copy.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::message::{Delta, Entries, Head, MAX_ROW_BYTES, Piece, Position, Reply, Request};
use crate::mutant::{Check, holds};
use crate::sized;

/// Bytes of entries that a request asks for, after the first piece.
const PIECE_BYTES: usize = sized(128 << 10, 1);
/// Number of requests for pieces that are outstanding at first, and after a failure.
const MIN_WINDOW: usize = 2;
/// Maximum number of requests for pieces that are outstanding.
const MAX_WINDOW: usize = 32;
/// Maximum number of deltas that are kept during a request.
const MAX_DELTAS: usize = 64;
/// Number of pauses without a piece in between, after which an answer is given up.
const MAX_FAILURES: u32 = sized(8, 1) as u32;
/// Maximum number of letters of an exporter's reason.
const REASON_LETTERS: usize = 240;

/// The next step of the caller of an [`Importer`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a request to the exporter. Pass its reply to [`Importer::reply`] with the same number.
    /// Each request must end in a reply or in [`Importer::request_failed`].
    Ask {
        /// Number of the request.
        id: u64,
        /// The request.
        request: Request,
    },
    /// Apply an update to the copy, as one transaction. Then call [`Importer::applied`] or
    /// [`Importer::not_applied`].
    Apply(Update),
    /// Call [`Importer::retry`] after a pause.
    RetryLater,
}

/// The difference between two versions of the origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// True if these are all rows of the table. The caller then forgets the slots that it has.
    pub is_complete: bool,
    /// The encoded schema, if the update is complete.
    pub schema: Vec<u8>,
    /// The position of the rows.
    pub to: Position,
    /// Number of publishers that the origin has had.
    pub epoch: u64,
    /// The entries. Apply them in this order, the deleted slots of a piece before its rows: an
    /// exporter that cannot be trusted may send a slot twice.
    pub pieces: Vec<Entries>,
}

impl Update {
    /// Returns the number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Entries::len).sum()
    }

    /// Returns true if there are no slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Follows one exporter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Importer {
    /// Maximum number of entries of an answer.
    max_entries: u64,
    /// True if the copy may have rows although its position is not in `copy`.
    has_rows: bool,
    /// The position of the copy, after the first update.
    copy: Option<Copy>,
    /// True if the exporter may have another version than the copy.
    is_behind: bool,
    /// The newest position of the heads since the last new request. The default if they were of
    /// several regions, because it is not known which region is the newest.
    news: Option<Position>,
    /// The update that the caller applies.
    applying: Option<Copy>,
    fetch: Option<Fetch>,
    /// Deltas that arrived during a request, with their ends.
    deltas: VecDeque<(Delta, Head)>,
    /// Number of the last request.
    last_request: u64,
    /// True if a pause must end before the next request.
    is_paused: bool,
    refusal: Option<String>,
}

/// The position and the schema of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Copy {
    position: Position,
    fingerprint: u64,
    row_bytes: usize,
}

/// An answer that is being fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    /// The first piece, without its entries.
    answer: Option<Piece>,
    /// Ranges of entries that must be requested.
    missing: Vec<Range<u64>>,
    /// Ranges that were requested, by the number of the request.
    outstanding: BTreeMap<u64, Range<u64>>,
    /// The entries, by the number of the first one.
    pieces: BTreeMap<u64, Entries>,
    window: usize,
    /// Number of pauses since the last piece.
    failures: u32,
}

impl Fetch {
    fn new() -> Self {
        Self {
            answer: None,
            missing: std::iter::once(0..u64::MAX).collect(),
            outstanding: BTreeMap::new(),
            pieces: BTreeMap::new(),
            window: MIN_WINDOW,
            failures: 0,
        }
    }
}

impl Importer {
    /// Creates an importer, whose first update is a complete one. It refuses answers with more than
    /// `max_entries` entries. `has_rows` is true if the copy has rows from an earlier importer: the
    /// first update is then not older than the first request.
    #[must_use]
    pub fn new(max_entries: u64, has_rows: bool) -> Self {
        Self {
            max_entries,
            has_rows,
            copy: None,
            is_behind: false,
            news: None,
            applying: None,
            fetch: None,
            deltas: VecDeque::new(),
            last_request: 0,
            is_paused: false,
            refusal: None,
        }
    }

    /// Returns the position of the copy, or the default before the first update.
    #[must_use]
    pub fn position(&self) -> Position {
        self.copy.map_or(Position::default(), |copy| copy.position)
    }

    /// Returns true while a request is outstanding or an answer is incomplete.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// Returns the numbers of entries of the current answer that have arrived and that there are, if
    /// the answer has several pieces.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        let fetch = self.fetch.as_ref()?;
        let total = fetch.answer.as_ref()?.total;
        Some((fetch.pieces.values().map(|piece| piece.len() as u64).sum(), total))
    }

    /// Returns the reason why the last answer or update was refused. `None` after the next update
    /// that is applied.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Begins to follow an exporter: the first one, or another one. The replies to outstanding
    /// requests are ignored. An exporter that could not be reached for a while is the same one.
    pub fn follow(&mut self) -> Vec<Action> {
        self.fetch = None;
        self.deltas.clear();
        self.is_behind = true;
        self.proceed()
    }

    /// Takes a head.
    pub fn head(&mut self, mut head: Head) -> Vec<Action> {
        let delta = head.delta.take();
        let position = head.position;
        if !position.is_news_for(self.position()) {
            return Vec::new();
        }
        if let Some(delta) = delta {
            if self.fetch.is_none()
                && self.applying.is_none()
                && let Some((update, copy)) = self.update_of(&delta, &head)
            {
                return self.apply(update, copy);
            }
            if self.deltas.len() == MAX_DELTAS {
                self.deltas.pop_front();
            }
            self.deltas.push_back((delta, head));
        }
        self.news = Some(match self.news {
            Some(news) if !holds(Check::NewestHead, false) => position.newest(news),
            _ => position,
        });
        self.is_behind |= self.fetch.is_none() && self.applying.is_none();
        self.proceed()
    }

    /// Notes that there is a head of which only that is known.
    pub fn unknown_head(&mut self) -> Vec<Action> {
        self.news = Some(Position::default());
        self.is_behind |= self.fetch.is_none() && self.applying.is_none();
        self.proceed()
    }

    /// Takes the reply to a request, as it arrived. `is_quick` is true if it took so little time that
    /// more requests may be outstanding at once.
    pub fn reply(&mut self, id: u64, bytes: &[u8], is_quick: bool) -> Vec<Action> {
        let Some(fetch) = &mut self.fetch else {
            return Vec::new();
        };
        let range = match fetch.outstanding.remove(&id) {
            Some(range) => range,
            None if holds(Check::Outstanding, false) => 0..u64::MAX,
            None => return Vec::new(),
        };
        let reply = match Reply::from_bytes(bytes) {
            Ok(reply) => reply,
            Err(malformed) => return self.refuse(malformed.to_string()),
        };
        match reply {
            // Most of these slots may be deleted ones. An answer with all rows has the number of rows.
            Reply::Piece(piece)
                if piece.from > 0 && piece.total > self.max_entries && self.copy.is_some() =>
            {
                self.copy = None;
                self.has_rows = true;
                self.fetch = None;
                self.is_behind = true;
            }
            Reply::Piece(piece) => {
                if is_quick {
                    fetch.window = (fetch.window + 1).min(MAX_WINDOW);
                }
                match self.piece(range, piece) {
                    Ok(Some((update, copy))) => {
                        let is_unchanged = copy.position == self.position();
                        if is_unchanged && update.is_empty() && !update.is_complete {
                            self.fetch = None;
                            self.applying = Some(copy);
                            return self.applied();
                        }
                        return self.apply(update, copy);
                    }
                    Ok(None) => {}
                    Err(refusal) => return self.refuse(refusal),
                }
            }
            Reply::Gone => {
                self.fetch = None;
                self.is_behind = true;
            }
            Reply::Busy => {
                self.fetch = None;
                return self.pause();
            }
            Reply::Failed(why) => return self.refuse(printable(&why)),
        }
        self.proceed()
    }

    /// Notes that a request gets no reply. The request is repeated after a pause.
    pub fn request_failed(&mut self, id: u64) -> Vec<Action> {
        let Some(fetch) = &mut self.fetch else {
            return Vec::new();
        };
        let Some(range) = fetch.outstanding.remove(&id) else {
            return Vec::new();
        };
        fetch.missing.push(range);
        fetch.window = MIN_WINDOW;
        // All outstanding requests fail when a link is cut. They count once.
        fetch.failures += u32::from(!self.is_paused);
        if fetch.failures > MAX_FAILURES {
            self.fetch = None;
        }
        self.pause()
    }

    /// Continues after the pause of [`Action::RetryLater`].
    pub fn retry(&mut self) -> Vec<Action> {
        self.is_paused = false;
        self.proceed()
    }

    /// Notes that the caller applied the update.
    pub fn applied(&mut self) -> Vec<Action> {
        let Some(copy) = self.applying.take() else {
            return Vec::new();
        };
        let before = self.position();
        self.copy = Some(copy);
        self.refusal = None;
        // The first answer of a region may be older than its request. The next one is not.
        let is_same_region = before.region == copy.position.region;
        self.is_behind |= !holds(Check::Confirm, is_same_region);
        while let Some((delta, head)) = self.deltas.pop_front() {
            if let Some((update, copy)) = self.update_of(&delta, &head) {
                return self.apply(update, copy);
            }
        }
        let has_news = self.news.take().is_some_and(|news| news.is_news_for(copy.position));
        self.is_behind |= !holds(Check::NewsAgain, !has_news);
        self.proceed()
    }

    /// Notes that the caller could not apply the update, and why. The copy is unchanged.
    pub fn not_applied(&mut self, why: impl Into<String>) -> Vec<Action> {
        self.applying = None;
        self.refuse(why.into())
    }

    fn refuse(&mut self, why: String) -> Vec<Action> {
        self.fetch = None;
        self.deltas.clear();
        self.refusal = Some(why);
        self.pause()
    }

    /// Tries again after a pause.
    fn pause(&mut self) -> Vec<Action> {
        if self.fetch.is_none() {
            self.is_behind = true;
        }
        match std::mem::replace(&mut self.is_paused, true) {
            false if !holds(Check::RetryFailed, false) => vec![Action::RetryLater],
            _ => Vec::new(),
        }
    }

    /// Returns the update of a delta, if it continues the copy.
    fn update_of(&self, delta: &Delta, head: &Head) -> Option<(Update, Copy)> {
        let copy = self.copy?;
        let continues = holds(Check::DeltaRegion, head.position.region == copy.position.region)
            && holds(Check::DeltaBegins, delta.from <= copy.position.version)
            && holds(Check::DeltaNewer, head.position.version > copy.position.version)
            && head.schema == copy.fingerprint
            && delta.entries.fits(copy.row_bytes);
        if !continues {
            return None;
        }
        let update = Update {
            is_complete: false,
            schema: Vec::new(),
            to: head.position,
            epoch: head.epoch,
            pieces: vec![delta.entries.clone()],
        };
        Some((update, Copy { position: head.position, ..copy }))
    }

    fn apply(&mut self, update: Update, copy: Copy) -> Vec<Action> {
        self.fetch = None;
        self.applying = Some(copy);
        vec![Action::Apply(update)]
    }

    /// Adds a piece to the answer. Returns the update if it is the last piece.
    fn piece(
        &mut self,
        range: Range<u64>,
        mut piece: Piece,
    ) -> Result<Option<(Update, Copy)>, String> {
        let Some(fetch) = &mut self.fetch else {
            return Ok(None);
        };
        let entries = std::mem::take(&mut piece.entries);
        let count = entries.len() as u64;
        let end = piece.first.saturating_add(count);
        let is_range = piece.first == range.start && end <= piece.total.min(range.end);
        if !is_range || !entries.fits(piece.row_bytes as usize) {
            return Err("the exporter sent a piece whose lengths contradict each other".to_owned());
        }
        if count == 0 && piece.total > 0 {
            return Err("the exporter sent an empty piece".to_owned());
        }
        match &fetch.answer {
            None => {
                check_answer(&piece, self.copy.as_ref(), self.max_entries)?;
                fetch.missing = std::iter::once(end..piece.total).collect();
                fetch.answer = Some(piece.clone());
            }
            Some(answer) => {
                let is_same = (piece.answer, piece.from, piece.to, piece.total)
                    == (answer.answer, answer.from, answer.to, answer.total)
                    && (piece.fingerprint, piece.row_bytes)
                        == (answer.fingerprint, answer.row_bytes);
                if !holds(Check::OneAnswer, is_same) {
                    return Err("the exporter sent pieces of different answers".to_owned());
                }
                fetch.missing.push(end..range.end);
            }
        }
        fetch.missing.retain(|range| range.start < range.end);
        fetch.failures = 0;
        if count > 0 {
            fetch.pieces.insert(piece.first, entries);
        }
        let is_complete = fetch.missing.is_empty() && fetch.outstanding.is_empty();
        if !holds(Check::AllPieces, is_complete) {
            return Ok(None);
        }
        Ok(fetch.answer.take().map(|answer| {
            let update = Update {
                is_complete: answer.from == 0,
                schema: answer.schema.unwrap_or_default(),
                to: answer.to,
                epoch: answer.epoch,
                pieces: std::mem::take(&mut fetch.pieces).into_values().collect(),
            };
            let copy = Copy {
                position: answer.to,
                fingerprint: answer.fingerprint,
                row_bytes: answer.row_bytes as usize,
            };
            (update, copy)
        }))
    }

    /// Sends the requests that are due.
    fn proceed(&mut self) -> Vec<Action> {
        if self.is_paused || self.applying.is_some() {
            return Vec::new();
        }
        if self.fetch.is_none() && std::mem::take(&mut self.is_behind) {
            self.news = None;
            self.fetch = Some(Fetch::new());
        }
        let since = self.position();
        let accepts_older = self.copy.is_some() || !self.has_rows;
        let Some(fetch) = &mut self.fetch else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        while fetch.outstanding.len() < fetch.window
            && let Some(range) = fetch.missing.pop()
        {
            let (answer, range, count) = match &fetch.answer {
                // The first piece has the number of entries.
                None => (0, range, 0),
                Some(answer) => {
                    let count =
                        (PIECE_BYTES / (answer.row_bytes as usize + size_of::<u32>())).max(1);
                    let end = range.end.min(range.start.saturating_add(count as u64));
                    if end < range.end {
                        fetch.missing.push(end..range.end);
                    }
                    (answer.answer, range.start..end, count as u32)
                }
            };
            self.last_request += 1;
            let first = range.start;
            let request = Request { since, accepts_older, answer, first, count };
            fetch.outstanding.insert(self.last_request, range);
            actions.push(Action::Ask { id: self.last_request, request });
        }
        actions
    }
}

/// Returns an exporter's reason for a terminal: short, without control characters and those that
/// change the direction of the text.
fn printable(reason: &str) -> String {
    let plain = |letter: char| match letter {
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    };
    reason.chars().take(REASON_LETTERS).map(plain).collect()
}

/// Checks the first piece of an answer.
fn check_answer(piece: &Piece, copy: Option<&Copy>, max_entries: u64) -> Result<(), String> {
    let to = piece.to;
    if let Some(Copy { position, .. }) = copy
        && to.region == position.region
        && to.version < position.version
    {
        return Err(format!(
            "the exporter returned version {}, which is older than version {} that this copy has of the same table",
            to.version, position.version
        ));
    }
    if piece.row_bytes as usize > MAX_ROW_BYTES {
        return Err(format!(
            "the table has rows of {} bytes, more than {MAX_ROW_BYTES}",
            piece.row_bytes
        ));
    }
    if piece.from > 0 {
        let continues = copy.is_some_and(|copy| {
            to.region == copy.position.region
                && piece.from <= copy.position.version
                && piece.fingerprint == copy.fingerprint
                && piece.row_bytes as usize == copy.row_bytes
        });
        if !continues {
            return Err(
                "the exporter returned changes since a version that was not requested".to_owned()
            );
        }
    }
    if piece.total > max_entries {
        return Err(format!(
            "the table has {} rows, more than the {max_entries} that are allowed here",
            piece.total
        ));
    }
    if piece.from == 0 && piece.schema.is_none() {
        return Err("the exporter sent a table without its schema".to_owned());
    }
    Ok(())
}
