//! Exporter and importer with pieces of real size, and replies that no honest exporter sends.

use exchange::{
    Action, Changes, Delta, Entries, Exporter, Head, Importer, MAX_ANSWERS, MAX_MESSAGE_BYTES,
    MAX_ROW_BYTES, Origin, Piece, Position, Publisher, Reply, Request, Update,
};

/// A table whose row `slot` has the slot in each byte.
#[derive(Clone)]
struct Rows {
    from: u64,
    to: Position,
    row_bytes: usize,
    slots: Vec<u32>,
    row: Vec<u8>,
}

impl Changes for Rows {
    fn from(&self) -> u64 {
        self.from
    }
    fn to(&self) -> Position {
        self.to
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
        self.row_bytes
    }
    fn deleted(&self) -> &[u32] {
        &[]
    }
    fn slots(&self) -> &[u32] {
        &self.slots
    }
    fn row(&self, _: usize) -> &[u8] {
        &self.row
    }
}

/// An origin in which each commit writes all rows.
struct Table {
    position: Position,
    row_bytes: usize,
    rows: u32,
}

impl Origin for Table {
    type Changes = Rows;

    fn changes(&self, since: Position) -> Result<Rows, String> {
        let is_known = since.region == self.position.region;
        Ok(Rows {
            from: if is_known { since.version } else { 0 },
            to: self.position,
            row_bytes: self.row_bytes,
            slots: (0..self.rows).collect(),
            row: vec![7; self.row_bytes],
        })
    }

    fn position(&self) -> Result<Position, String> {
        match self.rows {
            0 => Err("the table cannot be read".to_owned()),
            _ => Ok(self.position),
        }
    }
}

fn at(version: u64) -> Position {
    Position { region: 1, version }
}

fn table(row_bytes: usize, rows: u32) -> Table {
    Table { position: at(5), row_bytes, rows }
}

fn new_request() -> Request {
    let since = Position::default();
    Request { since, accepts_older: true, answer: 0, first: 0, count: 0 }
}

fn head(version: u64, delta: Option<Delta>) -> Head {
    let publisher = Publisher::Alive;
    let position = at(version);
    Head { number: 0, position, epoch: 1, rows: 1, publisher, schema: 1, committed_ns: 0, delta }
}

fn asks(actions: &[Action]) -> Vec<(u64, Request)> {
    let asks = actions.iter().map(|action| match action {
        Action::Ask { id, request } => (*id, *request),
        other => panic!("not a request: {other:?}"),
    });
    asks.collect()
}

fn ask(actions: &[Action]) -> (u64, Request) {
    let asks = asks(actions);
    assert_eq!(asks.len(), 1, "{asks:?}");
    asks[0]
}

fn update(actions: &[Action]) -> &Update {
    match actions {
        [Action::Apply(update)] => update,
        other => panic!("not an update: {other:?}"),
    }
}

/// A piece with all rows, whose two entries fit.
fn honest() -> Piece {
    Piece {
        answer: 9,
        from: 0,
        to: at(5),
        epoch: 1,
        fingerprint: 1,
        schema: Some(vec![1]),
        row_bytes: 2,
        total: 2,
        first: 0,
        entries: Entries { deleted: vec![], slots: vec![0, 1], rows: vec![1, 2, 3, 4] },
    }
}

fn reply(importer: &mut Importer, id: u64, piece: Piece) -> Vec<Action> {
    importer.reply(id, &Reply::Piece(piece).to_bytes(), true)
}

/// Returns an importer whose copy is at version 5, with no request outstanding.
fn following() -> Importer {
    let mut importer = Importer::new(100, false);
    let (id, _) = ask(&importer.follow());
    update(&reply(&mut importer, id, honest()));
    let (id, _) = ask(&importer.applied());
    let entries = Entries::default();
    let nothing = Piece { from: 5, schema: None, total: 0, entries, ..honest() };
    assert_eq!(reply(&mut importer, id, nothing), []);
    assert!(!importer.is_fetching());
    importer
}

/// Replies to all requests until there is an update. Returns it, and the most requests that were
/// outstanding at once.
fn run(importer: &mut Importer, mut actions: Vec<Action>, table: &Table) -> (Update, usize) {
    let mut exporter = Exporter::new(1);
    let mut outstanding = Vec::new();
    let mut most = 0;
    loop {
        match &actions[..] {
            [Action::Apply(update)] => return (update.clone(), most),
            more => outstanding.extend(asks(more)),
        }
        most = most.max(outstanding.len());
        let (id, request) = outstanding.remove(0);
        let bytes = exporter.reply(&request, table).to_bytes();
        assert!(bytes.len() <= MAX_MESSAGE_BYTES, "{} bytes", bytes.len());
        actions = importer.reply(id, &bytes, true);
    }
}

#[test]
fn large_table_arrives_in_pieces_and_the_window_grows() {
    for (row_bytes, rows) in [(8, 500_000), (100, 100_000), (MAX_ROW_BYTES, 100), (1, 1)] {
        let mut importer = Importer::new(u64::from(rows), false);
        let actions = importer.follow();
        let (update, most) = run(&mut importer, actions, &table(row_bytes, rows));
        let slots: Vec<u32> = update.pieces.iter().flat_map(|piece| piece.slots.clone()).collect();
        assert!(slots.iter().copied().eq(0..rows), "{row_bytes} bytes a row");
        assert!(update.is_complete && update.to == at(5) && update.schema == [1]);
        assert!((1..=32).contains(&most) && (rows == 1 || most > 2), "{most} requests at once");
    }
}

#[test]
fn progress_counts_entries() {
    let mut exporter = Exporter::new(1);
    let origin = table(1_000, 1_000);
    let mut importer = Importer::new(1_000, false);
    assert_eq!(importer.progress(), None);
    let (id, request) = ask(&importer.follow());
    importer.reply(id, &exporter.reply(&request, &origin).to_bytes(), false);
    let (arrived, total) = importer.progress().unwrap();
    assert!(0 < arrived && arrived < total && total == 1_000);
}

#[test]
fn cut_link_continues_where_it_was() {
    let mut exporter = Exporter::new(1);
    let origin = table(1_000, 1_000);
    let mut importer = Importer::new(1_000, false);
    let (id, request) = ask(&importer.follow());
    let mut open = asks(&importer.reply(id, &exporter.reply(&request, &origin).to_bytes(), true));
    assert!(open.len() > 2);
    // More failures than an answer survives, if each of them counted.
    for _ in 0..8 {
        let mut pauses = 0;
        for (id, _) in open {
            pauses += importer.request_failed(id).len();
        }
        assert_eq!(pauses, 1);
        open = asks(&importer.retry());
        assert_eq!(open.len(), 2, "the window is small again");
        assert!(open.iter().all(|(_, request)| request.answer == 2));
    }
    open.into_iter().for_each(|(id, _)| drop(importer.request_failed(id)));
    assert_eq!(ask(&importer.retry()).1.answer, 0, "the answer is given up");
}

#[test]
fn hostile_pieces_are_refused() {
    type Change = fn(&mut Piece);
    let changes: [(&str, Change); 14] = [
        ("fewer rows than slots", |piece| piece.entries.rows.truncate(3)),
        ("more rows than slots", |piece| piece.entries.rows.push(0)),
        ("rows of no bytes", |piece| piece.row_bytes = 0),
        ("rows of another length", |piece| piece.row_bytes = 4),
        ("rows that overflow", |piece| piece.row_bytes = u32::MAX),
        ("rows that are too long", |piece| {
            piece.row_bytes = MAX_ROW_BYTES as u32 + 1;
            piece.entries = Entries { deleted: vec![0], ..Entries::default() };
        }),
        ("another range", |piece| piece.first = 1),
        ("a range at the end of all numbers", |piece| piece.first = u64::MAX),
        ("more entries than the total", |piece| piece.total = 1),
        ("no entries", |piece| piece.entries = Entries::default()),
        ("too many entries", |piece| piece.total = 101),
        ("a total that nobody can store", |piece| piece.total = u64::MAX),
        ("no schema", |piece| piece.schema = None),
        ("changes that were not requested", |piece| piece.from = 3),
    ];
    for (what, change) in changes {
        let mut importer = Importer::new(100, false);
        let (id, _) = ask(&importer.follow());
        let mut piece = honest();
        change(&mut piece);
        assert_eq!(reply(&mut importer, id, piece), [Action::RetryLater], "{what}");
        assert!(importer.refusal().is_some(), "{what}");
        assert_eq!(ask(&importer.retry()).1, new_request(), "{what}");
    }
}

#[test]
fn hostile_changes_are_refused() {
    type Change = fn(&mut Piece);
    let changes: [(&str, Change); 5] = [
        ("changes since a newer version", |piece| piece.from = 6),
        ("an older version", |piece| piece.to = at(4)),
        ("another region", |piece| piece.to.region = 2),
        ("another schema", |piece| piece.fingerprint = 2),
        ("all rows of an older version", |piece| {
            *piece = Piece { to: at(4), ..honest() };
        }),
    ];
    for (what, change) in changes {
        let mut importer = following();
        let (id, request) = ask(&importer.head(head(7, None)));
        assert_eq!(request.since, at(5));
        let mut piece = Piece { from: 5, to: at(7), schema: None, ..honest() };
        change(&mut piece);
        assert_eq!(reply(&mut importer, id, piece), [Action::RetryLater], "{what}");
        assert!(importer.refusal().is_some(), "{what}");
        assert_eq!(importer.position(), at(5), "{what}");
    }
}

#[test]
fn pieces_of_different_answers_are_refused() {
    type Change = fn(&mut Piece);
    let changes: [Change; 6] = [
        |piece| piece.answer = 8,
        |piece| piece.from = 1,
        |piece| piece.to = at(6),
        |piece| piece.total = 3,
        |piece| piece.fingerprint = 2,
        |piece| {
            piece.row_bytes = 1;
            piece.entries.rows.pop();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut importer = Importer::new(100, false);
        let (id, _) = ask(&importer.follow());
        let one = |slot| Entries { deleted: vec![], slots: vec![slot], rows: vec![1, 2] };
        let (id, request) = ask(&reply(&mut importer, id, Piece { entries: one(0), ..honest() }));
        assert_eq!((request.answer, request.first), (9, 1));
        let mut piece = Piece { first: 1, schema: None, entries: one(1), ..honest() };
        change(&mut piece);
        assert_eq!(reply(&mut importer, id, piece), [Action::RetryLater], "change {at}");
    }
}

#[test]
fn replies_without_a_piece_lead_to_another_request() {
    let failed = Reply::Failed("there is no such table".to_owned());
    let hostile = Reply::Failed(format!("\x1b]0;title\x07{}", "x".repeat(1000)));
    for (reply, refusal) in [
        (Reply::Busy.to_bytes(), None),
        (failed.to_bytes(), Some("there is no such table")),
        (hostile.to_bytes(), Some("\u{fffd}]0;title\u{fffd}")),
        (vec![9], Some("same release")),
    ] {
        let mut importer = Importer::new(100, false);
        let (id, _) = ask(&importer.follow());
        assert_eq!(importer.reply(id, &reply, false), [Action::RetryLater]);
        match refusal {
            Some(why) => {
                let refusal = importer.refusal().unwrap();
                assert!(refusal.contains(why) && refusal.len() < 300, "{refusal:?}");
            }
            None => assert_eq!(importer.refusal(), None),
        }
        assert_eq!(ask(&importer.retry()).1, new_request());
    }
    let mut importer = Importer::new(100, false);
    let (id, _) = ask(&importer.follow());
    assert_eq!(ask(&importer.reply(id, &Reply::Gone.to_bytes(), false)).1, new_request());
    assert_eq!(importer.reply(id, &Reply::Gone.to_bytes(), false), [], "a late reply");
}

#[test]
fn deltas_during_a_request_are_applied_after_it() {
    let mut importer = following();
    let delta = |from| {
        let entries = Entries { deleted: vec![], slots: vec![1], rows: vec![5, 6] };
        Some(Delta { from, entries })
    };
    let (id, _) = ask(&importer.head(head(7, None)));
    assert_eq!(importer.head(head(8, delta(7))), []);
    assert_eq!(importer.head(head(9, delta(8))), []);
    let piece = Piece { from: 5, to: at(7), schema: None, ..honest() };
    assert_eq!(update(&reply(&mut importer, id, piece)).to, at(7));
    assert_eq!(update(&importer.applied()).to, at(8));
    assert_eq!(update(&importer.applied()).to, at(9));
    assert_eq!(importer.applied(), [], "no further request");
    assert_eq!(importer.position(), at(9));
    // A delta whose rows do not fit, or of another schema, is only a hint.
    let mut damaged = head(10, delta(9));
    damaged.delta.as_mut().unwrap().entries.rows.pop();
    ask(&importer.clone().head(damaged));
    ask(&importer.clone().head(Head { schema: 2, ..head(10, delta(9)) }));
    assert_eq!(update(&importer.head(head(10, delta(9)))).to, at(10));
}

#[test]
fn head_without_known_position_leads_to_one_request() {
    let mut importer = following();
    let (id, request) = ask(&importer.unknown_head());
    assert_eq!(request.since, at(5));
    assert_eq!(importer.unknown_head(), [], "a request is outstanding");
    let piece = Piece { from: 5, to: at(6), schema: None, ..honest() };
    update(&reply(&mut importer, id, piece));
    // The second one may have been newer than the answer.
    let (id, _) = ask(&importer.applied());
    let nothing = Piece {
        from: 6,
        to: at(6),
        schema: None,
        total: 0,
        entries: Entries::default(),
        ..honest()
    };
    assert_eq!(reply(&mut importer, id, nothing), []);
}

#[test]
fn deltas_that_are_kept_are_limited() {
    let mut importer = following();
    let (id, _) = ask(&importer.head(head(7, None)));
    for version in 8..1_000 {
        let entries = Entries { deleted: vec![], slots: vec![1], rows: vec![5, 6] };
        assert_eq!(importer.head(head(version, Some(Delta { from: version - 1, entries }))), []);
    }
    let piece = Piece { from: 5, to: at(7), schema: None, ..honest() };
    update(&reply(&mut importer, id, piece));
    assert_eq!(ask(&importer.applied()).1.since, at(7), "the first deltas are dropped");
}

#[test]
fn update_that_is_not_applied_is_requested_again() {
    let mut importer = Importer::new(100, false);
    let (id, _) = ask(&importer.follow());
    update(&reply(&mut importer, id, honest()));
    assert_eq!(importer.not_applied("no memory"), [Action::RetryLater]);
    assert_eq!(importer.refusal(), Some("no memory"));
    assert_eq!(importer.position(), Position::default());
    let (id, request) = ask(&importer.retry());
    assert_eq!(request, new_request());
    update(&reply(&mut importer, id, honest()));
    importer.applied();
    assert_eq!((importer.refusal(), importer.position()), (None, at(5)));
}

#[test]
fn exporter_keeps_few_answers_and_drops_those_that_nobody_requests() {
    let mut exporter = Exporter::new(1);
    let mut origin = table(1_000, 1_000);
    let begin = |exporter: &mut Exporter<Rows>, origin: &Table, since| {
        exporter.reply(&Request { since, ..new_request() }, origin)
    };
    for version in 1..=MAX_ANSWERS as u64 {
        assert!(matches!(begin(&mut exporter, &origin, at(version)), Reply::Piece(_)));
    }
    assert_eq!(begin(&mut exporter, &origin, Position::default()), Reply::Busy);
    assert_eq!(begin(&mut exporter, &origin, at(0)), Reply::Busy);
    // Another importer gets the same answer. An answer of one piece is not kept.
    assert!(matches!(begin(&mut exporter, &origin, at(1)), Reply::Piece(_)));
    let small = Table { rows: 1, ..table(1_000, 1) };
    assert!(matches!(begin(&mut exporter, &small, at(0)), Reply::Piece(_)));
    exporter.tick();
    exporter.tick();
    let Reply::Piece(piece) = begin(&mut exporter, &origin, Position::default()) else {
        panic!("the oldest answer makes room");
    };
    // An answer with all rows is reused for a while, unless the importer may have a newer version.
    origin.position = at(6);
    let reused = begin(&mut exporter, &origin, Position::default());
    assert_eq!(reused, Reply::Piece(piece.clone()));
    let request = Request { accepts_older: false, ..new_request() };
    let Reply::Piece(current) = exporter.reply(&request, &origin) else { panic!("there is room") };
    assert_eq!(current.to, at(6));
    let next = Request { answer: piece.answer, first: 60, count: u32::MAX, ..new_request() };
    let Reply::Piece(next) = exporter.reply(&next, &origin) else { panic!("it is kept") };
    assert_eq!((next.to, next.first, next.schema), (at(5), 60, None));
    let past = Request { answer: piece.answer, first: u64::MAX, count: 1, ..new_request() };
    assert_eq!(exporter.reply(&past, &origin), Reply::Gone);
    (0..30).for_each(|_| exporter.tick());
    assert!(!exporter.keeps_answers());
    let next = Request { answer: piece.answer, first: 60, count: 1, ..new_request() };
    assert_eq!(exporter.reply(&next, &origin), Reply::Gone);
    assert!(matches!(exporter.reply(&new_request(), &table(1, 0)), Reply::Failed(_)));
}

#[test]
fn exporter_drops_finished_answers_first() {
    let mut exporter = Exporter::new(1);
    let origin = table(1_000, 100);
    let begin = |exporter: &mut Exporter<Rows>, since| match exporter
        .reply(&Request { since: at(since), ..new_request() }, &origin)
    {
        Reply::Piece(piece) => Some(piece.answer),
        _ => None,
    };
    let last = |exporter: &mut Exporter<Rows>, answer| {
        let request = Request { answer, first: 99, count: 1, ..new_request() };
        exporter.reply(&request, &origin)
    };
    let mut answers = Vec::new();
    for since in 1..=MAX_ANSWERS as u64 {
        answers.push(begin(&mut exporter, since).expect("there is room"));
    }
    assert_eq!(begin(&mut exporter, 9), None);
    assert!(matches!(last(&mut exporter, answers[2]), Reply::Piece(_)));
    assert!(begin(&mut exporter, 9).is_some());
    assert_eq!(last(&mut exporter, answers[2]), Reply::Gone);
    // An answer that another importer begins is not finished any more.
    assert!(matches!(last(&mut exporter, answers[1]), Reply::Piece(_)));
    assert_eq!(begin(&mut exporter, 2), Some(answers[1]));
    assert_eq!(begin(&mut exporter, 10), None);
}
