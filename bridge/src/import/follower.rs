//! Follows an imported table: connects zenoh, the state machine and the local table.
//!
//! Each table has a thread, which does what is due. Heads and replies are handled by the thread of
//! zenoh that received them, unless the state is in use: to wake the thread of the table takes as
//! long as everything else.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use cli::{CliError, status};
use common::Error;
use common::publisher::MAINTENANCE_INTERVAL;
use exchange::{Action, Head, HeadDecoder, Importer, Publisher, Request, Update};
use zenoh::bytes::ZBytes;
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
/// Delay of a head with rows, beyond the minimum, that shows that the link is too slow for them.
const MAX_DELAY_NS: i128 = 200_000_000;
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
        /// The number of the exporting process.
        instance: u64,
        payload: ZBytes,
    },
    Reply {
        id: u64,
        payload: ZBytes,
    },
    /// A request has ended, with or without a reply.
    Ended {
        id: u64,
    },
    /// The thread of the table must look what is due.
    Wake,
}

/// Follows one table.
pub struct Follower {
    core: Arc<Mutex<Core>>,
    inbox: Inbox,
    events: Receiver<Event>,
    heads: Heads,
    _tokens: Subscriber<()>,
}

/// The receiver of events. zenoh's threads have it.
#[derive(Clone)]
struct Inbox {
    core: Weak<Mutex<Core>>,
    sender: Sender<Event>,
    /// Number of heads that wait for the thread of the table.
    queued: Arc<AtomicUsize>,
}

impl Inbox {
    /// Handles an event in this thread of zenoh, which is quicker than to wake the thread of the
    /// table. If that is busy, the event waits for it.
    fn deliver(&self, mut event: Event) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        let is_head = matches!(event, Event::Head { .. });
        if let Ok(mut core) = core.try_lock() {
            core.handle(event);
            return;
        }
        if is_head {
            if self.queued.load(Ordering::Relaxed) >= MAX_HEADS {
                return;
            }
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
        if let Event::Head { payload, .. } | Event::Reply { payload, .. } = &mut event {
            // A payload keeps the whole buffer in which it was received.
            *payload = payload.to_bytes().into_owned().into();
        }
        // An error means that the thread has ended.
        let _ended = self.sender.send(event);
    }
}

/// The state of a followed table.
struct Core {
    session: Session,
    wanted: Wanted,
    replica: Replica,
    machine: Importer,
    decoder: HeadDecoder,
    link: Arc<Mutex<Status>>,
    inbox: Inbox,
    /// The exporters of the wanted table that are alive.
    exporters: BTreeSet<Origin>,
    /// The exporter that is followed, also while it is not alive.
    origin: Option<Origin>,
    /// True until the first answer of an exporter that appeared.
    awaits_answer: bool,
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
    /// Minimum age of a head when it arrived, by the clocks of both hosts, which may differ.
    min_delay_ns: i128,
    /// Number of heads whose rows could not be applied, or were late.
    gaps: u32,
    next_maintenance: Instant,
    next_report: Instant,
    /// Time since which an answer has been incomplete.
    incomplete_since: Option<Instant>,
    /// The reason why the table is not followed any more.
    ended: Option<Ended>,
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
        let now = Instant::now();
        let mut inbox = Inbox { core: Weak::new(), sender, queued: Arc::default() };
        let new = |core: &Weak<Mutex<Core>>| {
            inbox.core = Weak::clone(core);
            Mutex::new(Core {
                session: session.clone(),
                wanted: wanted.clone(),
                machine: Importer::new(max_rows, replica.is_open()),
                replica,
                decoder: HeadDecoder::default(),
                link,
                inbox: inbox.clone(),
                exporters: BTreeSet::new(),
                origin: None,
                awaits_answer: false,
                choose_at: None,
                asked: HashMap::new(),
                retry_at: None,
                pause: MIN_PAUSE,
                heard: now,
                publisher: Publisher::Alive,
                committed: Default::default(),
                min_delay_ns: i128::MAX,
                gaps: 0,
                next_maintenance: now,
                next_report: now,
                incomplete_since: None,
                ended: None,
            })
        };
        let core = Arc::new_cyclic(new);
        let heads = Heads::new(session);
        let of_tokens = inbox.clone();
        let tokens = session
            .liveliness()
            .declare_subscriber(keys::all(wanted.host.as_deref(), Some(&wanted.table), Part::Alive))
            .history(true)
            .callback(move |sample| {
                if let Some(origin) = Origin::of_key(sample.key_expr(), Part::Alive) {
                    let is_alive = sample.kind() == SampleKind::Put;
                    of_tokens.deliver(Event::Exporter { origin, is_alive });
                }
            })
            .wait()
            .map_err(&failed)?;
        Ok(Self { core, inbox, events, heads, _tokens: tokens })
    }

    /// Follows the table until the program ends. Then closes the local table, or keeps it.
    ///
    /// # Errors
    /// Several hosts export the table, or the local table cannot be published any more.
    pub fn run(mut self, is_stopping: &AtomicBool, keep: bool) -> Result<(), CliError> {
        let ended = loop {
            if is_stopping.load(Ordering::Relaxed) {
                break None;
            }
            let due = lock(&self.core).due();
            let time = due.saturating_duration_since(Instant::now()).min(TURN);
            let first = self.events.recv_timeout(time).ok();
            let mut core = lock(&self.core);
            // Before the silence is judged: applying an update may have taken long.
            let waiting = std::iter::from_fn(|| self.events.try_recv().ok()).take(MAX_HEADS);
            for event in first.into_iter().chain(waiting) {
                if matches!(event, Event::Head { .. }) {
                    self.inbox.queued.fetch_sub(1, Ordering::Relaxed);
                }
                core.handle(event);
            }
            let now = Instant::now();
            core.turn(now);
            if core.ended.is_some() {
                break core.ended.take();
            }
            let gaps = std::mem::take(&mut core.gaps);
            let is_busy = core.machine.is_fetching();
            let next = core.origin.clone();
            // A subscription may call this thread's callbacks.
            drop(core);
            self.heads.turn(&self.inbox, gaps, is_busy, now);
            if next.is_some() && self.heads.origin != next {
                self.heads.follow(&self.inbox, next);
                lock(&self.core).follow();
            }
        };
        let replica = lock(&self.core).end();
        match ended {
            // The table belongs to another publisher.
            Some(Ended::Lost(error)) => Err(error.into()),
            Some(Ended::Ambiguous(message)) => {
                replica.close(keep)?;
                Err(CliError::new(2, message))
            }
            _ => Ok(replica.close(keep)?),
        }
    }
}

impl Core {
    /// Returns the time by which [`turn`](Self::turn) must be called.
    fn due(&self) -> Instant {
        let due = [self.retry_at, self.choose_at].into_iter().flatten();
        due.fold(self.next_maintenance, Instant::min)
    }

    /// Does what is due.
    fn turn(&mut self, now: Instant) {
        let outcome = self.try_turn(now);
        self.note(outcome);
        self.report(now);
    }

    fn try_turn(&mut self, now: Instant) -> Result<(), Ended> {
        if self.choose_at.is_some_and(|at| at <= now) {
            self.choose_at = None;
            self.choose()?;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let actions = self.machine.retry();
            self.act(actions)?;
        }
        if self.next_maintenance <= now {
            self.next_maintenance = now + MAINTENANCE_INTERVAL;
            self.maintain()?;
        }
        Ok(())
    }

    /// Handles an event, unless the table is not followed any more.
    fn handle(&mut self, event: Event) {
        if self.ended.is_none() {
            let outcome = self.event(event);
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Result<(), Ended>) {
        if let Err(ended) = outcome {
            self.ended = Some(ended);
        }
    }

    /// Ignores all further events, and returns the local table.
    fn end(&mut self) -> Replica {
        self.ended = Some(Ended::Stopped);
        std::mem::take(&mut self.replica)
    }

    fn event(&mut self, event: Event) -> Result<(), Ended> {
        match event {
            Event::Wake => {}
            Event::Exporter { origin, is_alive: true } => {
                self.exporters.insert(origin);
                if self.origin.is_some() {
                    return self.choose();
                }
                self.choose_at.get_or_insert_with(|| Instant::now() + GATHER);
                self.wake();
            }
            Event::Exporter { origin, is_alive: false } => {
                self.exporters.remove(&origin);
                if self.origin.is_some() {
                    return self.choose();
                }
            }
            Event::Head { instance, payload } => {
                if self.origin.as_ref().is_none_or(|origin| origin.instance != instance) {
                    return Ok(());
                }
                self.heard(payload.len());
                match self.decoder.decode(&payload.to_bytes()) {
                    Ok(Some(head)) => return self.head(head),
                    Ok(None) => {
                        return self.take_head(true, Importer::unknown_head);
                    }
                    Err(malformed) => {
                        tracing::warn!("{}: a message was ignored: {malformed}", self.wanted);
                    }
                }
            }
            Event::Reply { id, payload } => {
                self.heard(payload.len());
                let is_quick = self.asked.get(&id).is_some_and(|at| at.elapsed() < QUICK);
                let actions = self.machine.reply(id, &payload.to_bytes(), is_quick);
                self.act(actions)?;
                self.awaits_answer &= self.machine.is_fetching();
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
            let delay_ns = i128::from(unix_ns()) - i128::from(head.committed_ns);
            self.min_delay_ns = self.min_delay_ns.min(delay_ns);
            if head.delta.is_some() && delay_ns - self.min_delay_ns > MAX_DELAY_NS {
                self.gaps += MAX_GAPS;
            }
        }
        lock(&self.link).head(&head);
        self.take_head(head.delta.is_some(), |machine| machine.head(head))
    }

    /// Gives a head to the machine. Counts one with rows that leads to a request.
    fn take_head(
        &mut self,
        has_rows: bool,
        give: impl FnOnce(&mut Importer) -> Vec<Action>,
    ) -> Result<(), Ended> {
        let was_fetching = self.machine.is_fetching();
        let actions = give(&mut self.machine);
        if has_rows && !was_fetching && self.machine.is_fetching() {
            self.gaps += 1;
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
            self.awaits_answer = true;
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
        self.decoder = HeadDecoder::default();
        self.publisher = Publisher::Alive;
        self.min_delay_ns = i128::MAX;
        self.retry_at = None;
        self.awaits_answer = true;
        // The thread subscribes to its heads first.
        self.wake();
        Ok(())
    }

    /// Begins to follow the exporter, to whose heads the thread has subscribed.
    fn follow(&mut self) {
        let mut actions = self.machine.retry();
        actions.extend(self.machine.follow());
        let outcome = self.act(actions);
        self.note(outcome);
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
                    self.wake();
                }
            }
        }
        Ok(())
    }

    /// Wakes the thread of the table, which may sleep longer than until [`due`](Self::due).
    fn wake(&self) {
        let _ended = self.inbox.sender.send(Event::Wake);
    }

    fn apply(&mut self, update: &Update) -> Result<Vec<Action>, Ended> {
        match self.replica.apply(update) {
            Ok(()) => {
                self.pause = MIN_PAUSE;
                self.awaits_answer = false;
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
            return Err("no exporter was found".into());
        };
        self.asked.insert(id, Instant::now());
        let is_new = request.answer == 0;
        let (of_reply, of_end) = (self.inbox.clone(), self.inbox.clone());
        self.session
            .get(origin.key(Part::Changes))
            .payload(request.to_bytes())
            // The reply has the same. A piece may wait for a congested link; a new answer would be
            // out of date.
            .congestion_control(match is_new {
                true => CongestionControl::Drop,
                false => CongestionControl::Block,
            })
            // Heads have a higher one.
            .priority(if is_new { Priority::DataLow } else { Priority::Background })
            .consolidation(ConsolidationMode::None)
            .timeout(REPLY_TIMEOUT)
            .with(CallbackDrop {
                callback: move |reply: zenoh::query::Reply| match reply.result() {
                    Ok(sample) if sample.payload().len() <= MAX_BYTES => {
                        let payload = sample.payload().clone();
                        of_reply.deliver(Event::Reply { id, payload });
                    }
                    _ => {}
                },
                drop: move || of_end.deliver(Event::Ended { id }),
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
        let is_lost = self.is_lost(now);
        let is_current = matches!(state, State::Following | State::Resyncing);
        self.replica.mark_stale(!is_current);
        let mut link = lock(&self.link);
        let before = link.state;
        link.is_lost = is_lost;
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

    /// Returns true if no exporter can be reached. The exporter of a table that was closed withdraws it.
    fn is_lost(&self, now: Instant) -> bool {
        let is_silent = now.saturating_duration_since(self.heard) > SILENCE;
        match &self.origin {
            None => true,
            Some(_) if self.publisher == Publisher::Closed => false,
            Some(origin) => is_silent || !self.exporters.contains(origin),
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
        if self.publisher == Publisher::Closed {
            return (State::Stale, format!("{origin} was closed or removed"));
        }
        if self.is_lost(now) {
            let link = lock(&self.link);
            // The main thread may have found the reason.
            let error = match link.state {
                State::Stale => link.error.clone(),
                _ => format!("the exporter of {origin} cannot be reached; the rows do not change"),
            };
            return (State::Stale, error);
        }
        if self.publisher == Publisher::Gone {
            return (State::Stale, format!("the publisher of {origin} died"));
        }
        let is_long = self.incomplete_since.is_some_and(|since| now - since >= LONG);
        if self.machine.position().region == 0 || is_long {
            return (State::Resyncing, String::new());
        }
        if self.awaits_answer {
            let link = lock(&self.link);
            if matches!(link.state, State::Connecting | State::Stale) {
                return (link.state, link.error.clone());
            }
        }
        (State::Following, String::new())
    }
}

/// The subscription to the heads of an exporter, with rows or without. It names the key of this
/// exporter: zenoh sends a key that a subscriber declared as a short number.
struct Heads {
    session: Session,
    /// The exporter, and the subscription, unless it failed.
    origin: Option<Origin>,
    subscriber: Option<Subscriber<()>>,
    part: Part,
    /// Number of requests since `since` that rows with heads should have made unnecessary.
    gaps: u32,
    since: Instant,
    /// Last time at which an answer was incomplete. A link that is busy with answers is too slow for
    /// rows with heads.
    busy: Instant,
    rest: Duration,
}

impl Heads {
    fn new(session: &Session) -> Self {
        Self {
            session: session.clone(),
            origin: None,
            subscriber: None,
            part: Part::Delta,
            gaps: 0,
            since: Instant::now(),
            busy: Instant::now(),
            rest: REST,
        }
    }

    /// Subscribes to the heads of an exporter.
    fn follow(&mut self, inbox: &Inbox, origin: Option<Origin>) {
        self.origin = origin;
        self.subscribe(inbox);
    }

    /// Changes to heads without rows if `gaps` more heads could not be applied, and back when the
    /// link has not been busy for a while.
    fn turn(&mut self, inbox: &Inbox, gaps: u32, is_busy: bool, now: Instant) {
        self.gaps += gaps;
        if is_busy {
            self.busy = now;
        }
        let elapsed = now.saturating_duration_since(self.since);
        let next = match self.part {
            Part::Delta if self.gaps >= MAX_GAPS => Part::Head,
            Part::Delta => {
                if elapsed >= REST {
                    (self.gaps, self.since) = (0, now);
                }
                return;
            }
            _ if elapsed >= self.rest && now.saturating_duration_since(self.busy) >= REST => {
                self.rest = (self.rest * 2).min(MAX_REST);
                Part::Delta
            }
            _ => return,
        };
        (self.part, self.gaps, self.since) = (next, 0, now);
        self.subscribe(inbox);
    }

    fn subscribe(&mut self, inbox: &Inbox) {
        let Some(origin) = &self.origin else {
            return;
        };
        let (inbox, instance) = (inbox.clone(), origin.instance);
        let declared = self
            .session
            .declare_subscriber(origin.key(self.part))
            .callback(move |sample| {
                if sample.payload().len() <= MAX_BYTES {
                    let payload = sample.payload().clone();
                    inbox.deliver(Event::Head { instance, payload });
                }
            })
            .wait();
        match declared {
            // The old subscription ends when it is replaced.
            Ok(subscriber) => self.subscriber = Some(subscriber),
            Err(error) => tracing::warn!("cannot subscribe to {origin}: zenoh: {error}"),
        }
    }
}

/// The reason why a table is not followed any more.
enum Ended {
    /// Several hosts export it.
    Ambiguous(String),
    /// The local table cannot be published.
    Lost(Error),
    /// The program ends.
    Stopped,
}
