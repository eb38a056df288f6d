//! Messages of a bridge: heads and replies for an importer, requests for an exporter. The importer
//! keeps its promises about updates, and has at most a window of requests and one update at once.
#![no_main]

use std::collections::VecDeque;

use exchange::{
    Action, Changes, Entries, Exporter, HeadDecoder, Importer, Origin, Piece, Position, Reply,
    Request,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Maximum number of entries of an answer.
const MAX_ENTRIES: u64 = 1_000;
/// Maximum number of requests that are outstanding at once.
const MAX_WINDOW: usize = 32;

/// A message for the importer or exporter, or an event.
#[derive(Arbitrary, Debug)]
enum Event {
    Head(Vec<u8>),
    Reply(Vec<u8>),
    /// A reply that decodes, to the oldest outstanding request.
    Piece {
        answer: u8,
        from: u8,
        region: u8,
        version: u8,
        row_bytes: u8,
        total: u8,
        first: Option<u8>,
        deleted: u8,
        slots: u8,
        missing: bool,
    },
    Request(Vec<u8>),
    /// The exporter's reply to the oldest outstanding request.
    Answer,
    Commit,
    Fail,
    Applied,
    NotApplied,
    Retry,
    Follow,
    Tick,
}

/// A table whose slots were all written by its last commit.
struct Table(Position);

impl Origin for Table {
    type Changes = Table;

    fn changes(&self, _: Position) -> Result<Table, String> {
        Ok(Table(self.0))
    }
    fn position(&self) -> Result<Position, String> {
        Ok(self.0)
    }
}

const SLOTS: [u32; 40] = [7; 40];
const ROW: [u8; 4_000] = [1; 4_000];

impl Changes for Table {
    fn from(&self) -> u64 {
        0
    }
    fn to(&self) -> Position {
        self.0
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn fingerprint(&self) -> u64 {
        1
    }
    fn schema(&self) -> Vec<u8> {
        vec![1]
    }
    fn row_bytes(&self) -> usize {
        ROW.len()
    }
    fn deleted(&self) -> &[u32] {
        &SLOTS
    }
    fn slots(&self) -> &[u32] {
        &SLOTS
    }
    fn row(&self, _: usize) -> &[u8] {
        &ROW
    }
}

/// The step that the importer waits for.
#[derive(Default)]
struct Driver {
    outstanding: VecDeque<(u64, Request)>,
    is_applying: bool,
    is_paused: bool,
}

impl Driver {
    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ask { id, request } => {
                    if request.answer == 0 {
                        self.outstanding.clear();
                    }
                    self.outstanding.push_back((id, request));
                    assert!(self.outstanding.len() <= MAX_WINDOW);
                }
                Action::Apply(update) => {
                    assert!(!std::mem::replace(&mut self.is_applying, true));
                    assert!(update.len() as u64 <= MAX_ENTRIES || !update.is_complete);
                    let mut row_bytes = None;
                    for Entries { slots, rows, .. } in update.pieces.iter() {
                        if let Some(bytes) = rows.len().checked_div(slots.len()) {
                            assert_eq!(bytes * slots.len(), rows.len());
                            assert_eq!(*row_bytes.get_or_insert(bytes), bytes);
                        }
                    }
                }
                Action::RetryLater => assert!(!std::mem::replace(&mut self.is_paused, true)),
            }
        }
    }
}

fuzz_target!(|input: (bool, Vec<Event>)| {
    let (has_rows, events) = input;
    let mut table = Table(Position { region: 1, version: 1 });
    let mut exporter = Exporter::new(1);
    let mut importer = Importer::new(MAX_ENTRIES, has_rows);
    let mut decoder = HeadDecoder::default();
    let mut driver = Driver::default();
    driver.take(importer.follow());
    for event in events {
        let actions = match event {
            Event::Head(bytes) => match decoder.decode(&bytes) {
                Ok(Some(head)) => importer.head(head),
                Ok(None) => importer.unknown_head(),
                Err(_) => vec![],
            },
            Event::Reply(bytes) => match driver.outstanding.pop_front() {
                Some((id, _)) => importer.reply(id, &bytes, true),
                None => vec![],
            },
            Event::Piece {
                answer,
                from,
                region,
                version,
                row_bytes,
                total,
                first,
                deleted,
                slots,
                missing,
            } => {
                let Some((id, request)) = driver.outstanding.pop_front() else { continue };
                let rows =
                    vec![0; usize::from(row_bytes) * usize::from(slots) + usize::from(missing)];
                let slots = (0..u32::from(slots)).collect();
                let piece = Piece {
                    answer: answer.into(),
                    from: from.into(),
                    to: Position { region: region.into(), version: version.into() },
                    epoch: 1,
                    fingerprint: 1,
                    schema: Some(vec![]),
                    row_bytes: row_bytes.into(),
                    total: total.into(),
                    first: first.map_or(request.first, u64::from),
                    entries: Entries { deleted: (0..u32::from(deleted)).collect(), slots, rows },
                };
                importer.reply(id, &Reply::Piece(piece).to_bytes(), true)
            }
            Event::Request(bytes) => {
                if let Ok(request) = Request::from_bytes(&bytes) {
                    let bytes = exporter.reply(&request, &table).to_bytes();
                    assert!(Reply::from_bytes(&bytes).is_ok());
                }
                vec![]
            }
            Event::Answer => match driver.outstanding.pop_front() {
                Some((id, request)) => {
                    importer.reply(id, &exporter.reply(&request, &table).to_bytes(), false)
                }
                None => vec![],
            },
            Event::Commit => {
                table.0.version += 1;
                vec![]
            }
            Event::Fail => match driver.outstanding.pop_front() {
                Some((id, _)) => importer.request_failed(id),
                None => vec![],
            },
            Event::Applied if std::mem::take(&mut driver.is_applying) => importer.applied(),
            Event::NotApplied if std::mem::take(&mut driver.is_applying) => {
                importer.not_applied("refused")
            }
            Event::Retry if std::mem::take(&mut driver.is_paused) => importer.retry(),
            Event::Follow => importer.follow(),
            Event::Tick => {
                exporter.tick();
                vec![]
            }
            Event::Applied | Event::NotApplied | Event::Retry => vec![],
        };
        driver.take(actions);
        assert!(
            importer
                .progress()
                .is_none_or(|(arrived, total)| arrived <= total && total <= MAX_ENTRIES)
        );
    }
});
