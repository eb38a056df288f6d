//! Publishes several tables, which a configuration file describes, from one process.
//!
//! 1. Each table has a thread that does what `serve` does. A table that fails is tried again, and
//!    the others are not affected.
//! 2. The main thread combines the states of the tables for the service manager, and passes SIGHUP
//!    on to the tables that read files.
//! 3. One server has the metrics of all tables.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueHint;
use cli::metrics::{Address, Gauge, Server, Serving, registry};
use cli::service::{Readiness, Service};
use cli::{CliError, Shutdown, start_error, status};
use common::UntypedPublisher;
use nix::sys::eventfd::{EfdFlags, EventFd};
use prometheus_client::metrics::family::Family;

use crate::serve;
use crate::serve::args::From;
use crate::serve::metrics::{Labels, Metered, Metrics};
use crate::serve::table::Observer;
use crate::source::Progress;
use crate::source::file::sighup::{Hangups, PassedRequests, Requests};

mod config;

/// Pause before a failed table is tried again. It doubles with each failure until the table is ready.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Interval at which the main thread looks for the loss of the terminal.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time without a turn after which a table's thread is considered to hang.
const MAX_TURN: Duration = Duration::from_secs(10);

pub const HELP: &str = r#"CONFIG.toml has one section per table, with the long options of `publisher serve` as keys:

  [prices]
  from = "prices.csv"
  fields = ["symbol:text(8)", "price:f64"]
  mode = 0o644

  [disks]
  from = "command"
  command = ["df", "-P"]
  key = "Mounted_on"
  keep = true

Relative paths begin at the folder of CONFIG.toml, which is also the working directory of commands. Every source but stdin can be used; fifo:PATH takes lines from scripts.

A table that fails, at the start or later, does not affect the others. It is reported once and tried again after 1s, then 2s, up to 10s, and its rows stay readable. A table with exit-at-eof ends when its input has been read, and is not tried again. The program ends when all tables have ended, or with Ctrl-C or SIGTERM. If a table is failing then, the exit code is that of its failure, and its rows stay.

SIGHUP reads all files again, and tries tables of files that have failed at once. A service (Type=notify of systemd) is ready when each table has been published or has failed; its status names the failed ones."#;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that describes the tables
    #[arg(value_name = "CONFIG.toml", value_hint = ValueHint::FilePath)]
    config: PathBuf,

    /// Check the file, and publish nothing
    #[arg(long)]
    check: bool,

    /// Serve metrics of all tables for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`,
    /// `[::1]:0` (any free port, reported on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,
}

/// Runs `publisher run`.
pub fn run(args: Args) -> Result<(), CliError> {
    // Before the working directory changes.
    let address =
        args.metrics.map(Address::absolute).transpose().map_err(|error| {
            CliError::new(1, format!("cannot find the working directory: {error}"))
        })?;
    let configs = config::read(&args.config)?;
    if args.check {
        status(format_args!("{}: tables: {}", args.config.display(), configs.len()));
        return Ok(());
    }
    // Before `Shutdown` is installed, which would treat SIGHUP as a request to stop.
    let mut hangups = Hangups::open()?;
    let stop = Shutdown::install()?;
    let server = Server::bind(address.as_ref())?;
    let mut service = Service::of_environment();
    service.begin("reading the initial rows");
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let changed = EventFd::from_value_and_flags(0, flags)
        .map_err(|errno| CliError::new(1, format!("cannot wait for a table: {errno}")))?;
    let changed = Arc::new(changed);
    let (monitors, _serving) = monitors(&configs, &changed, server)?;
    let mut tables = Vec::new();
    for (config, monitor) in configs.into_iter().zip(monitors) {
        match Table::start(config, monitor, &stop) {
            Ok(table) => tables.push(table),
            Err(failure) => {
                stop.request();
                tables.into_iter().for_each(|table| drop(table.join()));
                return Err(failure);
            }
        }
    }
    supervise(&mut tables, &mut hangups, &changed, &stop, &mut service);
    service.end("closing all tables");
    // All threads end before the first failure is returned.
    let outcomes: Vec<Result<(), CliError>> = tables.into_iter().map(Table::join).collect();
    outcomes.into_iter().collect()
}

/// Creates a monitor for each table, and starts the server for metrics.
fn monitors(
    configs: &[serve::args::Args],
    changed: &Arc<EventFd>,
    server: Option<Server>,
) -> Result<(Vec<Monitor>, Option<Serving>), CliError> {
    let mut registry = registry("publisher");
    let metrics = Metrics::register(&mut registry);
    let help = "1 if the table is published, 0 before that and after a failure";
    let published = Family::<Labels, Gauge>::default();
    registry.register("tablecast_published", help, published.clone());
    let mut subscribers = Vec::new();
    let monitor = |config: &serve::args::Args| {
        let (metered, of_subscribers) = metrics.of_table(&config.name);
        subscribers.push(of_subscribers);
        let reads_file = matches!(config.from, From::File(_));
        let state = State {
            phase: Phase::Starting,
            is_over: false,
            readiness: Readiness::default(),
            turned: Instant::now(),
        };
        Ok(Monitor {
            retries: !config.exit_at_eof,
            state: Arc::new(Mutex::new(state)),
            changed: Arc::clone(changed),
            requests: reads_file.then(PassedRequests::new).transpose()?.map(Arc::new),
            metered: server.is_some().then_some(metered),
            published: published.get_or_create_owned(&vec![("table", config.name.clone())]),
        })
    };
    let monitors = configs.iter().map(monitor).collect::<Result<Vec<_>, CliError>>()?;
    let update = move || subscribers.iter().for_each(|subscribers| subscribers.update());
    let serve = |server: Server| server.serve(Arc::new(Mutex::new(registry)), update);
    Ok((monitors, server.map(serve).transpose()?))
}

/// Combines the states of the tables for the service manager and passes SIGHUP on, until all tables
/// have ended or the program is stopped.
fn supervise(
    tables: &mut [Table],
    hangups: &mut Hangups,
    changed: &EventFd,
    stop: &Shutdown,
    service: &mut Service,
) {
    let mut reloads = 0;
    loop {
        if hangups.take(stop) {
            reloads += 1;
            tables.iter_mut().for_each(Table::reload);
        }
        // Before the states are read, so that no change is missed.
        let _nothing_changed = changed.read();
        let now = Instant::now();
        let mut due = now + CHECK_INTERVAL;
        if !tables.iter().any(|table| table.hangs(now)) {
            let is_ready = tables.iter().all(Table::is_settled);
            service.turn(now, Readiness { is_ready, reloads }, || status_of(tables));
            due = service.due().map_or(due, |service| service.min(due));
        }
        if tables.iter().all(|table| table.state().is_over) {
            return;
        }
        let time = due.saturating_duration_since(Instant::now());
        if stop.wait_with(&[changed.as_fd(), hangups.descriptor()], Some(time)) {
            return;
        }
    }
}

/// Returns the status for the service manager.
fn status_of(tables: &[Table]) -> String {
    let of_phase = |phase| tables.iter().filter(move |table| table.state().phase == phase);
    let published = of_phase(Phase::Published).count();
    let failed: Vec<&str> = of_phase(Phase::Failed).map(|table| &*table.name).collect();
    match failed.is_empty() {
        true => format!("publishing {published} tables"),
        false => format!("publishing {published} tables; failed: {}", failed.join(", ")),
    }
}

/// A table and its thread.
struct Table {
    name: String,
    state: Arc<Mutex<State>>,
    /// The requests to read its file again, and their number.
    requests: Option<Arc<PassedRequests>>,
    requested: u32,
    thread: JoinHandle<Result<(), CliError>>,
}

/// The state of a table.
#[derive(Clone, Copy)]
struct State {
    phase: Phase,
    /// True if the thread has ended.
    is_over: bool,
    /// The reloads are those since the start of the program.
    readiness: Readiness,
    /// Time of the last turn of its publishing loop.
    turned: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first rows are being read.
    Starting,
    Published,
    Failed,
    Ended,
}

impl Table {
    /// Starts to publish the table in a thread.
    fn start(
        config: serve::args::Args,
        monitor: Monitor,
        stop: &Shutdown,
    ) -> Result<Self, CliError> {
        let (name, stop) = (config.name.clone(), stop.clone());
        let (state, requests) = (Arc::clone(&monitor.state), monitor.requests.clone());
        // The kernel cuts the name.
        let thread = Builder::new().name(format!("table {name}"));
        let thread = thread.spawn(move || publish(&config, monitor, &stop));
        let thread = thread.map_err(|error| {
            let reason = start_error(&error);
            CliError::new(1, format!("cannot start a thread for {name}: {reason}"))
        })?;
        Ok(Self { name, state, requests, requested: 0, thread })
    }

    /// Requests that a file is read again.
    fn reload(&mut self) {
        if let Some(requests) = &self.requests {
            self.requested += 1;
            requests.make();
        }
    }

    fn state(&self) -> State {
        *lock(&self.state)
    }

    /// Returns true if the table is published and has done all reloads, or if it is not published.
    fn is_settled(&self) -> bool {
        let State { phase, readiness, .. } = self.state();
        match phase {
            Phase::Starting => false,
            Phase::Published => readiness.is_ready && readiness.reloads == self.requested,
            Phase::Failed | Phase::Ended => true,
        }
    }

    fn hangs(&self, now: Instant) -> bool {
        let State { phase, turned, .. } = self.state();
        phase == Phase::Published && now.saturating_duration_since(turned) > MAX_TURN
    }

    fn join(self) -> Result<(), CliError> {
        let panicked = |_| Err(CliError::new(1, format!("{}: internal error", self.name)));
        self.thread.join().unwrap_or_else(panicked)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Publishes a table, and tries again after each failure until the program is stopped. Returns the
/// failure that the table has at that time.
fn publish(
    config: &serve::args::Args,
    mut monitor: Monitor,
    stop: &Shutdown,
) -> Result<(), CliError> {
    let name = &config.name;
    let (mut pause, mut reported) = (MIN_PAUSE, None);
    loop {
        let requests = monitor.requests.clone().map(Requests::Passed);
        let attempt = || {
            serve::table::refuse_early(name)?;
            serve::table::serve(config, requests, stop, &mut monitor)
        };
        // A bug that one table meets does not end the others.
        let outcome = catch_unwind(AssertUnwindSafe(attempt));
        let outcome = outcome.unwrap_or_else(|_| Err(CliError::new(1, "internal error")));
        if monitor.phase() == Phase::Published {
            (pause, reported) = (MIN_PAUSE, None);
        }
        let failure = match (outcome, &reported) {
            (Err(failure), _) => failure,
            // The program was stopped before the table was published again.
            (Ok(()), Some((code, _))) => return monitor.end(Phase::Failed, *code),
            (Ok(()), None) => return monitor.end(Phase::Ended, 0),
        };
        let report = Some((failure.code(), failure.to_string()));
        if reported != report {
            let next = if monitor.retries { "; it is tried again until it succeeds" } else { "" };
            status(format_args!("error: {name}: {failure}{next}"));
            reported = report;
        }
        if !monitor.retries {
            return monitor.end(Phase::Failed, failure.code());
        }
        monitor.set_state(Phase::Failed, false);
        let request = monitor.requests.as_ref().map(|requests| requests.descriptor());
        if stop.wait_with(request.as_slice(), Some(pause)) {
            return monitor.end(Phase::Failed, failure.code());
        }
        // The next attempt reads the file.
        while monitor.requests.as_ref().is_some_and(|requests| requests.take()) {}
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Passes the state of a table on to the main thread and to the metrics.
struct Monitor {
    retries: bool,
    state: Arc<Mutex<State>>,
    /// Wakes the main thread.
    changed: Arc<EventFd>,
    /// The requests to read the file again.
    requests: Option<Arc<PassedRequests>>,
    metered: Option<Metered>,
    published: Gauge,
}

impl Monitor {
    fn phase(&self) -> Phase {
        lock(&self.state).phase
    }

    fn set_state(&self, phase: Phase, is_over: bool) {
        let mut state = lock(&self.state);
        (state.phase, state.is_over) = (phase, is_over);
        drop(state);
        self.published.set(u64::from(phase == Phase::Published));
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.changed.write(1);
    }

    /// Ends with an exit code. The message was printed before.
    fn end(&self, phase: Phase, code: u8) -> Result<(), CliError> {
        self.set_state(phase, true);
        if code == 0 { Ok(()) } else { Err(CliError::new(code, "")) }
    }
}

impl Observer for Monitor {
    fn opened(&mut self, publisher: &mut UntypedPublisher) -> Result<(), CliError> {
        if let Some(metered) = &mut self.metered {
            metered.attach(publisher);
        }
        Ok(())
    }

    fn turn(&mut self, publisher: &UntypedPublisher, progress: Progress, readiness: Readiness) {
        if let Some(metered) = &mut self.metered {
            metered.update(publisher, progress);
        }
        let reloads = self.requests.as_ref().map_or(0, |requests| requests.taken());
        let readiness = Readiness { reloads, ..readiness };
        let mut state = lock(&self.state);
        state.turned = Instant::now();
        let is_change = std::mem::replace(&mut state.readiness, readiness) != readiness;
        let is_published = state.phase == Phase::Published;
        drop(state);
        if is_change && is_published || readiness.is_ready && !is_published {
            self.set_state(Phase::Published, false);
        }
    }

    fn retries(&self) -> bool {
        self.retries
    }
}
