//! The thread of an imported table: connects zenoh, the state machine and the local table.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cli::{CliError, status};
use common::Error;
use common::publisher::MAINTENANCE_INTERVAL;
use exchange::{Action, Head, Importer, Publisher, Request, Update};
use zenoh::handlers::CallbackDrop;
use zenoh::pubsub::Subscriber;
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::ConsolidationMode;
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use crate::keys::{self, Origin, Part};
use crate::links::{State, Status, lock, unix_ns};
use crate::replica::{Refused, Replica};

/// Time for further hosts to appear after the first one, before the table is imported from it.
const GATHER: Duration = Duration::from_millis(300);
/// Time without a head after which the local table is stale.
const SILENCE: Duration = Duration::from_secs(3);
/// Maximum time that the thread waits before it looks whether it must end.
const TURN: Duration = Duration::from_millis(200);
/// Pause after the first failure. It doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Time for a reply. A slow link may need it for the pieces that are requested at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// A reply within this time allows more requests at once.
const QUICK: Duration = Duration::from_millis(100);
/// Maximum length of a message. Longer ones are ignored.
const MAX_BYTES: usize = 16 << 20;
/// Maximum number of heads that wait for this thread. Further heads are dropped.
const MAX_HEADS: usize = 256;
/// Number of requests within [`REST`] after which rows are not taken with heads any more, because
/// too many of them are lost.
const MAX_GAPS: u32 = 3;
/// Time after which rows are taken with heads again. It doubles each time, up to [`MAX_REST`].
const REST: Duration = Duration::from_secs(5);
/// Maximum of that time.
const MAX_REST: Duration = Duration::from_secs(60);
/// Time after which an incomplete answer is reported as a resync.
const LONG: Duration = Duration::from_secs(1);
/// Interval of reports about a long answer.
const REPORT: Duration = Duration::from_secs(5);

/// The table to import.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The host. `None` if any host will do, as long as only one exports the table.
    pub host: Option<String>,
    /// The name of the table on that host.
    pub table: String,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// A message from zenoh's threads to the thread of a table.
enum Event {
    /// An exporter appeared or disappeared.
    Exporter {
        origin: Origin,
        is_alive: bool,
    },
    Head {
        origin: Origin,
        bytes: Vec<u8>,
    },
    Reply {
        id: u64,
        bytes: Vec<u8>,
    },
    /// A request has ended, with or without a reply.
    Ended {
        id: u64,
    },
}

/// Follows one table.
pub struct Follower {
    session: Session,
    wanted: Wanted,
    replica: Replica,
    machine: Importer,
    link: Arc<Mutex<Status>>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    _tokens: Subscriber<()>,
    heads: Heads,
    /// The exporters of the wanted table that are alive.
    exporters: BTreeSet<Origin>,
    /// The exporter that is followed, also while it is not alive.
    origin: Option<Origin>,
    /// Time at which an exporter is chosen.
    choose_at: Option<Instant>,
    /// Time of each outstanding request.
    asked: HashMap<u64, Instant>,
    retry_at: Option<Instant>,
    pause: Duration,
    heard: Instant,
    publisher: Publisher,
    /// The last head: its position and the time of its commit.
    committed: (exchange::Position, u64),
    next_maintenance: Instant,
    next_report: Instant,
    /// Time since which an answer has been incomplete.
    incomplete_since: Option<Instant>,
}

impl Follower {
    /// Begins to look for exporters.
    pub fn new(
        session: &Session,
        wanted: Wanted,
        replica: Replica,
        max_rows: u64,
        link: Arc<Mutex<Status>>,
    ) -> Result<Self, CliError> {
        let failed =
            |error| CliError::new(1, format!("cannot subscribe to {wanted}: zenoh: {error}"));
        let (sender, events) = mpsc::channel();
        let (host, table) = (wanted.host.as_deref(), Some(&*wanted.table));
        let heads = Heads::new(session, &wanted, &sender).map_err(&failed)?;
        let of_tokens = sender.clone();
        let tokens = session
            .liveliness()
            .declare_subscriber(keys::all(host, table, Part::Alive))
            .history(true)
            .callback(move |sample| {
                if let Some(origin) = Origin::of_key(sample.key_expr(), Part::Alive) {
                    let is_alive = sample.kind() == SampleKind::Put;
                    let _ended = of_tokens.send(Event::Exporter { origin, is_alive });
                }
            })
            .wait()
            .map_err(&failed)?;
        let now = Instant::now();
        Ok(Self {
            session: session.clone(),
            wanted,
            machine: Importer::new(max_rows, replica.is_open()),
            replica,
            link,
            events,
            sender,
            _tokens: tokens,
            heads,
            exporters: BTreeSet::new(),
            origin: None,
            choose_at: None,
            asked: HashMap::new(),
            retry_at: None,
            pause: MIN_PAUSE,
            heard: now,
            publisher: Publisher::Alive,
            committed: Default::default(),
            next_maintenance: now,
            next_report: now,
            incomplete_since: None,
        })
    }

    /// Follows the table until the program ends. Then closes the local table, or keeps it.
    ///
    /// # Errors
    /// Several hosts export the table, or the local table cannot be published any more.
    pub fn run(mut self, is_stopping: &AtomicBool, keep: bool) -> Result<(), CliError> {
        let outcome = self.follow(is_stopping);
        if let Err(Ended::Lost(error)) = outcome {
            // The table belongs to another publisher.
            return Err(error.into());
        }
        self.replica.close(keep)?;
        match outcome {
            Err(Ended::Ambiguous(message)) => Err(CliError::new(2, message)),
            _ => Ok(()),
        }
    }

    fn follow(&mut self, is_stopping: &AtomicBool) -> Result<(), Ended> {
        while !is_stopping.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = [self.retry_at, self.choose_at].into_iter().flatten();
            let due = due.fold(self.next_maintenance, Instant::min);
            let time = due.saturating_duration_since(now).min(TURN);
            if let Ok(event) = self.events.recv_timeout(time) {
                self.event(event)?;
            }
            // Before the silence is judged: applying an update may have taken long.
            for _ in 0..MAX_HEADS {
                let Ok(event) = self.events.try_recv() else {
                    break;
                };
                self.event(event)?;
            }
            let now = Instant::now();
            if self.choose_at.is_some_and(|at| at <= now) {
                self.choose_at = None;
                self.choose()?;
            }
            if self.retry_at.is_some_and(|at| at <= now) {
                self.retry_at = None;
                let actions = self.machine.retry();
                self.act(actions)?;
            }
            if let Err(error) = self.heads.turn(&self.session, &self.wanted, &self.sender, now) {
                tracing::warn!("cannot subscribe to {}: zenoh: {error}", self.wanted);
            }
            self.report(now);
            if self.next_maintenance <= now {
                self.next_maintenance = now + MAINTENANCE_INTERVAL;
                self.maintain()?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Ended> {
        match event {
            Event::Exporter { origin, is_alive: true } => {
                self.exporters.insert(origin);
                if self.origin.is_some() {
                    return self.choose();
                }
                self.choose_at.get_or_insert_with(|| Instant::now() + GATHER);
            }
            Event::Exporter { origin, is_alive: false } => {
                self.exporters.remove(&origin);
                if self.origin.is_some() {
                    return self.choose();
                }
            }
            Event::Head { origin, bytes } => {
                self.heads.queued.fetch_sub(1, Ordering::Relaxed);
                if self.origin.as_ref() != Some(&origin) {
                    return Ok(());
                }
                self.heard(bytes.len());
                match Head::from_bytes(&bytes) {
                    Ok(head) => return self.head(head),
                    Err(malformed) => {
                        tracing::warn!("{origin}: a message was ignored: {malformed}");
                    }
                }
            }
            Event::Reply { id, bytes } => {
                self.heard(bytes.len());
                let is_quick = self.asked.get(&id).is_some_and(|at| at.elapsed() < QUICK);
                let actions = self.machine.reply(id, &bytes, is_quick);
                return self.act(actions);
            }
            Event::Ended { id } => {
                self.asked.remove(&id);
                let actions = self.machine.request_failed(id);
                return self.act(actions);
            }
        }
        Ok(())
    }

    fn heard(&mut self, bytes: usize) {
        self.heard = Instant::now();
        lock(&self.link).count(bytes);
    }

    fn head(&mut self, head: Head) -> Result<(), Ended> {
        self.publisher = head.publisher;
        if head.committed_ns > 0 {
            self.committed = (head.position, head.committed_ns);
        }
        lock(&self.link).head(&head);
        let had_rows = head.delta.is_some() && !self.machine.is_fetching();
        let actions = self.machine.head(head);
        if had_rows && self.machine.is_fetching() {
            self.heads.missed();
        }
        self.act(actions)
    }

    /// Chooses the exporter to follow, after exporters have appeared or disappeared.
    fn choose(&mut self) -> Result<(), Ended> {
        let host = match (&self.origin, &self.wanted.host) {
            (Some(origin), _) => origin.host.clone(),
            (None, Some(host)) => host.clone(),
            (None, None) => {
                let hosts: BTreeSet<&str> = self.exporters.iter().map(|one| &*one.host).collect();
                if hosts.len() > 1 {
                    let table = &self.wanted.table;
                    let list: Vec<_> = hosts.iter().map(|host| format!("{host}/{table}")).collect();
                    return Err(Ended::Ambiguous(format!(
                        "several hosts export a table {table}: name one of {}",
                        list.join(", ")
                    )));
                }
                match hosts.first() {
                    Some(host) => (*host).to_owned(),
                    None => return Ok(()),
                }
            }
        };
        if self.origin.as_ref().is_some_and(|origin| self.exporters.contains(origin)) {
            // It was lost for a while, or another one appeared next to it.
            if self.machine.is_fetching() {
                return Ok(());
            }
            let actions = self.machine.follow();
            return self.act(actions);
        }
        let next = self.exporters.iter().find(|one| one.host == host).cloned();
        let Some(next) = next else {
            return Ok(());
        };
        self.heard = Instant::now();
        lock(&self.link).peer_found(&next.host);
        self.origin = Some(next);
        self.publisher = Publisher::Alive;
        self.retry_at = None;
        let mut actions = self.machine.retry();
        actions.extend(self.machine.follow());
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), Ended> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Ask { id, request } => {
                    if let Err(error) = self.ask(id, &request) {
                        tracing::debug!("a request was not sent: {error}");
                        actions.extend(self.machine.request_failed(id));
                    }
                }
                Action::Apply(update) => actions.extend(self.apply(&update)?),
                Action::RetryLater => {
                    self.retry_at = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, update: &Update) -> Result<Vec<Action>, Ended> {
        match self.replica.apply(update) {
            Ok(()) => {
                self.pause = MIN_PAUSE;
                let mut link = lock(&self.link);
                link.position = update.to;
                link.epoch = update.epoch;
                link.rows = self.replica.len() as u64;
                link.resyncs += u64::from(update.is_complete);
                let (position, committed_ns) = self.committed;
                if position.region == update.to.region && position.version <= update.to.version {
                    link.lag_ns = unix_ns().saturating_sub(committed_ns);
                    self.committed = Default::default();
                }
                drop(link);
                Ok(self.machine.applied())
            }
            Err(Refused::Table(error @ Error::Lost { .. })) => Err(Ended::Lost(error)),
            Err(refused) => Ok(self.machine.not_applied(refused.to_string())),
        }
    }

    fn ask(&mut self, id: u64, request: &Request) -> zenoh::Result<()> {
        let Some(origin) = &self.origin else {
            return Err("there is no exporter".into());
        };
        self.asked.insert(id, Instant::now());
        let is_new = request.answer == 0;
        let (sender, ended) = (self.sender.clone(), self.sender.clone());
        self.session
            .get(origin.key(Part::Changes))
            .payload(request.to_bytes())
            // The reply has the same. A piece may wait for a congested link; a new answer would be
            // out of date.
            .congestion_control(match is_new {
                true => CongestionControl::Drop,
                false => CongestionControl::Block,
            })
            .priority(if is_new { Priority::DataHigh } else { Priority::DataLow })
            .express(is_new)
            .consolidation(ConsolidationMode::None)
            .timeout(REPLY_TIMEOUT)
            .with(CallbackDrop {
                callback: move |reply: zenoh::query::Reply| match reply.result() {
                    Ok(sample) if sample.payload().len() <= MAX_BYTES => {
                        let bytes = sample.payload().to_bytes().into_owned();
                        let _ended = sender.send(Event::Reply { id, bytes });
                    }
                    _ => {}
                },
                drop: move || {
                    let _ended = ended.send(Event::Ended { id });
                },
            })
            .wait()
    }

    fn maintain(&mut self) -> Result<(), Ended> {
        match self.replica.maintain() {
            Err(error @ (Error::Lost { .. } | Error::Corrupt { .. })) => Err(Ended::Lost(error)),
            Err(error) => {
                tracing::warn!("{error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Updates the state of the link, and reports changes of it.
    fn report(&mut self, now: Instant) {
        self.incomplete_since =
            self.machine.progress().map(|_| self.incomplete_since.unwrap_or(now));
        let (state, error) = self.state(now);
        if let Some(publisher) = self.replica.publisher() {
            match state {
                State::Following | State::Resyncing => publisher.resume_input(),
                _ => publisher.end_input(),
            }
        }
        let mut link = lock(&self.link);
        let before = link.state;
        if !link.set(state, &error) {
            if state == State::Resyncing && now >= self.next_report {
                self.next_report = now + REPORT;
                if let Some((received, total)) = self.machine.progress() {
                    let name = self.replica.name();
                    status(format_args!("{name}: received {received} of {total} rows"));
                }
            }
            return;
        }
        self.next_report = now + REPORT;
        let (name, peer, position, rows) = (&link.table, &link.peer, link.position, link.rows);
        match state {
            State::Following if before != State::Resyncing || link.resyncs > 0 => {
                status(format_args!(
                    "{name}: following {peer} at version {}: {rows} rows",
                    position.version
                ))
            }
            State::Stale | State::Refused => {
                status(format_args!("{name}: {}: {error}", state.as_str()));
            }
            _ => {}
        }
    }

    fn state(&self, now: Instant) -> (State, String) {
        if let Some(refusal) = self.machine.refusal() {
            return (State::Refused, refusal.to_owned());
        }
        let Some(origin) = &self.origin else {
            let link = lock(&self.link);
            return (State::Connecting, link.error.clone());
        };
        let silence = now.saturating_duration_since(self.heard);
        if !self.exporters.contains(origin) || silence > SILENCE {
            let link = lock(&self.link);
            // The main thread may have found the reason.
            let error = match link.state {
                State::Stale => link.error.clone(),
                _ => format!("the exporter of {origin} cannot be reached; the rows do not change"),
            };
            return (State::Stale, error);
        }
        match self.publisher {
            Publisher::Alive => {}
            Publisher::Gone => return (State::Stale, format!("the publisher of {origin} died")),
            Publisher::Closed => return (State::Stale, format!("{origin} was closed or removed")),
        }
        let is_long = self.incomplete_since.is_some_and(|since| now - since >= LONG);
        if self.machine.position().region == 0 || is_long {
            return (State::Resyncing, String::new());
        }
        (State::Following, String::new())
    }
}

/// The subscription to heads, with rows or without.
struct Heads {
    subscriber: Subscriber<()>,
    /// Number of heads that wait for the thread.
    queued: Arc<AtomicUsize>,
    part: Part,
    /// Number of requests since `since` that rows with heads should have made unnecessary.
    gaps: u32,
    since: Instant,
    rest: Duration,
}

impl Heads {
    fn new(session: &Session, wanted: &Wanted, sender: &Sender<Event>) -> zenoh::Result<Self> {
        let queued = Arc::new(AtomicUsize::new(0));
        let part = Part::Delta;
        Ok(Self {
            subscriber: subscribe(session, wanted, part, sender, &queued)?,
            queued,
            part,
            gaps: 0,
            since: Instant::now(),
            rest: REST,
        })
    }

    /// Notes that the rows of a head could not be applied.
    fn missed(&mut self) {
        self.gaps += 1;
    }

    /// Changes to heads without rows if rows are lost, and back after a while.
    fn turn(
        &mut self,
        session: &Session,
        wanted: &Wanted,
        sender: &Sender<Event>,
        now: Instant,
    ) -> zenoh::Result<()> {
        let elapsed = now.saturating_duration_since(self.since);
        let next = match self.part {
            Part::Delta if self.gaps >= MAX_GAPS => Part::Head,
            Part::Delta => {
                if elapsed >= REST {
                    (self.gaps, self.since) = (0, now);
                }
                return Ok(());
            }
            _ if elapsed >= self.rest => {
                self.rest = (self.rest * 2).min(MAX_REST);
                Part::Delta
            }
            _ => return Ok(()),
        };
        // The old subscription ends when it is replaced.
        self.subscriber = subscribe(session, wanted, next, sender, &self.queued)?;
        (self.part, self.gaps, self.since) = (next, 0, now);
        Ok(())
    }
}

fn subscribe(
    session: &Session,
    wanted: &Wanted,
    part: Part,
    sender: &Sender<Event>,
    queued: &Arc<AtomicUsize>,
) -> zenoh::Result<Subscriber<()>> {
    let (sender, queued) = (sender.clone(), Arc::clone(queued));
    session
        .declare_subscriber(keys::all(wanted.host.as_deref(), Some(&wanted.table), part))
        .callback(move |sample| {
            let Some(origin) = Origin::of_key(sample.key_expr(), part) else {
                return;
            };
            if sample.payload().len() > MAX_BYTES || queued.load(Ordering::Relaxed) >= MAX_HEADS {
                return;
            }
            queued.fetch_add(1, Ordering::Relaxed);
            let bytes = sample.payload().to_bytes().into_owned();
            let _ended = sender.send(Event::Head { origin, bytes });
        })
        .wait()
}

/// The reason why a table is not followed any more.
enum Ended {
    /// Several hosts export it.
    Ambiguous(String),
    /// The local table cannot be published.
    Lost(Error),
}
