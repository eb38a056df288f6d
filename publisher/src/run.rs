//! Publishes several tables, which a configuration file describes, from one process.
//!
//! 1. Each table has a thread that does what `serve` does. A table that fails is tried again, and
//!    the others do not notice.
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
use crate::source::file::sighup::{Hangups, Request, Requests};

mod config;

/// Pause before a failed table is tried again. It doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

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

A table that fails, at the start or later, does not affect the others. It is reported once and tried again after 1s, then 2s, up to 1m, and its rows stay readable. A table with exit-at-eof ends when its input has been read, and is not tried again. The program ends when all tables have ended, or with Ctrl-C or SIGTERM. Its exit code is that of a table that had failed at that time.

SIGHUP reads all files again. A service (Type=notify of systemd) is ready when each table has been published or has failed; its status names the failed ones."#;

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
    let changed = Arc::new(event(EfdFlags::empty())?);
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

fn reads_file(config: &serve::args::Args) -> bool {
    matches!(config.from, From::File(_))
}

/// Returns a descriptor that another thread makes readable.
fn event(flags: EfdFlags) -> Result<EventFd, CliError> {
    let flags = flags | EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags)
        .map_err(|errno| CliError::new(1, format!("cannot wait for a table: {errno}")))
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
    let mut monitor = |config: &serve::args::Args| {
        let (metered, counted) = metrics.of_table(&config.name);
        subscribers.push(counted);
        Monitor {
            retries: !config.exit_at_eof,
            state: Arc::new(Mutex::new(State::new())),
            changed: Arc::clone(changed),
            metered,
            published: published.get_or_create_owned(&vec![("table", config.name.clone())]),
            reloads: 0,
        }
    };
    let monitors = configs.iter().map(&mut monitor).collect();
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
        match hangups.request() {
            Some(Request::End) => stop.request(),
            Some(Request::Read) => {
                reloads += 1;
                tables.iter_mut().for_each(Table::reload);
            }
            None => {}
        }
        // Before the states are read, so that no change is missed.
        let _nothing_changed = changed.read();
        let now = Instant::now();
        if !tables.iter().any(|table| table.hangs(now)) {
            let is_ready = tables.iter().all(Table::is_settled);
            service.turn(now, Readiness { is_ready, reloads }, || status_of(tables));
        }
        if tables.iter().all(|table| table.state().phase == Phase::Ended) {
            return;
        }
        let check = now + CHECK_INTERVAL;
        let due = service.due().map_or(check, |due| due.min(check));
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
    /// The semaphore by which its file is read again, and the number of requests.
    requests: Option<Arc<EventFd>>,
    requested: u32,
    thread: JoinHandle<Result<(), CliError>>,
}

/// The state of a table.
#[derive(Clone, Copy)]
struct State {
    phase: Phase,
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
    /// The table is tried again later.
    Failed,
    Ended,
}

impl State {
    fn new() -> Self {
        Self { phase: Phase::Starting, readiness: Readiness::default(), turned: Instant::now() }
    }
}

impl Table {
    /// Starts to publish the table in a thread.
    fn start(
        config: serve::args::Args,
        monitor: Monitor,
        stop: &Shutdown,
    ) -> Result<Self, CliError> {
        let requests = reads_file(&config).then(|| event(EfdFlags::EFD_SEMAPHORE));
        let requests = requests.transpose()?.map(Arc::new);
        let (name, state) = (config.name.clone(), Arc::clone(&monitor.state));
        let (stop, of_thread) = (stop.clone(), requests.clone());
        // The kernel cuts the name.
        let thread = Builder::new().name(format!("table {name}"));
        let thread = thread.spawn(move || publish(&config, of_thread, monitor, &stop));
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
            // The write fails only if the counter is full.
            let _readable = requests.write(1);
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
    requests: Option<Arc<EventFd>>,
    mut monitor: Monitor,
    stop: &Shutdown,
) -> Result<(), CliError> {
    let name = &config.name;
    let (mut pause, mut reported, mut is_kept) = (MIN_PAUSE, None, false);
    let code = loop {
        let requests = requests.clone().map(Requests::Counted);
        // A bug that one table meets does not end the others.
        let attempt = || serve::table::serve(config, requests, stop, &mut monitor);
        let outcome = catch_unwind(AssertUnwindSafe(attempt));
        let outcome = outcome.unwrap_or_else(|_| Err(CliError::new(1, "internal error")));
        let Err(failure) = outcome else {
            monitor.set_phase(Phase::Ended);
            return Ok(());
        };
        if monitor.is_published() {
            (pause, reported) = (MIN_PAUSE, None);
            // Unless another publisher has taken the table.
            is_kept = monitor.retries && failure.code() != 3;
        }
        monitor.set_phase(Phase::Failed);
        let message = failure.to_string();
        if reported.as_ref() != Some(&message) {
            let next = if monitor.retries { "; it is tried again until it succeeds" } else { "" };
            status(format_args!("error: {name}: {message}{next}"));
            reported = Some(message);
        }
        if !monitor.retries || stop.wait_with(&[], Some(pause)) {
            break failure.code();
        }
        pause = (pause * 2).min(MAX_PAUSE);
    };
    monitor.set_phase(Phase::Ended);
    if is_kept && !config.keep {
        common::remove(name)?;
    }
    // The message was printed before.
    Err(CliError::new(code, ""))
}

/// Passes the state of a table on to the main thread and to the metrics.
struct Monitor {
    retries: bool,
    state: Arc<Mutex<State>>,
    /// Wakes the main thread.
    changed: Arc<EventFd>,
    metered: Metered,
    published: Gauge,
    /// Number of reloads that earlier attempts have seen.
    reloads: u32,
}

impl Monitor {
    fn is_published(&self) -> bool {
        lock(&self.state).phase == Phase::Published
    }

    fn set_phase(&mut self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = phase;
        state.readiness.is_ready = false;
        self.reloads = state.readiness.reloads;
        self.published.set(u64::from(phase == Phase::Published));
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.changed.write(1);
    }
}

impl Observer for Monitor {
    fn opened(&mut self, publisher: &mut UntypedPublisher) -> Result<(), CliError> {
        self.metered.attach(publisher);
        lock(&self.state).turned = Instant::now();
        self.set_phase(Phase::Published);
        Ok(())
    }

    fn turn(&mut self, publisher: &UntypedPublisher, progress: Progress, readiness: Readiness) {
        self.metered.update(publisher, progress);
        let reloads = self.reloads + readiness.reloads;
        let readiness = Readiness { reloads, ..readiness };
        let mut state = lock(&self.state);
        state.turned = Instant::now();
        let is_change = std::mem::replace(&mut state.readiness, readiness) != readiness;
        drop(state);
        if is_change {
            self.wake();
        }
    }

    fn retries(&self) -> bool {
        self.retries
    }
}
