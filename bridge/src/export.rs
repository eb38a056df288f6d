//! `export`: makes local tables available to other hosts.
//!
//! Each table has two threads. One waits for commits and sends heads; it also answers queries for
//! the head. The other one replies to the requests of importers; if it is idle, zenoh's thread replies
//! to a request for a few rows. Neither waits for an importer: zenoh drops heads and first replies if
//! a link is congested, and each further piece is sent by a thread that may wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use clap_complete::ArgValueCompleter;
use cli::metrics::{Address, Server};
use cli::service::{Readiness, Service};
use cli::{CliError, Shutdown, complete, status};
use common::{Error, Position, UntypedReader};
use zenoh::{Session, Wait};

use crate::connect;
use crate::keys::{self, Origin, Part};
use crate::links::{Links, State, Status, lock};
use crate::metrics;
use crate::net;
use answers::Answers;
use heads::Heads;

mod answers;
mod heads;

/// Time between two heads without a commit.
const BEAT: Duration = Duration::from_secs(1);
/// Minimum time between two heads.
const PACE: Duration = Duration::from_millis(1);
/// Maximum time that a thread waits before it looks whether it must end, and whether the table
/// still exists.
const TURN: Duration = Duration::from_millis(200);
/// The reason why a table is not exported, as it is in `bridge.links`.
const MISSING: &str = "the table does not exist";

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tables, which need not exist yet; '*' for all tables, except those of bridges
    #[arg(required = true, value_name = "TABLE", add = ArgValueCompleter::new(complete::tables))]
    tables: Vec<String>,

    /// The name of this host for importers [default: the host name]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free
    /// port, reported on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,

    #[command(flatten)]
    net: net::Args,
}

/// Runs `bridge export`.
pub fn run(args: &Args) -> Result<(), CliError> {
    let is_all = args.tables.iter().any(|table| table == "*");
    for table in args.tables.iter().filter(|table| *table != "*") {
        if !keys::is_name(table) {
            return Err(Error::InvalidName { name: table.clone() }.into());
        }
    }
    let host = keys::host_name(args.host.as_deref())?;
    let stop = Shutdown::install()?;
    let server = Server::bind(args.metrics.as_ref())?;
    let mut service = Service::of_environment();
    service.begin("connecting");
    let mut links = Links::open()?;
    let Some(net) = connect::open(&args.net, &stop, || Ok(links.publish()?))? else {
        return Ok(links.close()?);
    };
    let _metrics = server.map(|server| metrics::serve(server, links.rows())).transpose()?;
    let instance = keys::random();
    let what = if is_all { "all tables".to_owned() } else { args.tables.join(", ") };
    status(format_args!(
        "exporting {what} as host {host}; links: subscriber watch {}",
        links.name()
    ));
    for table in args.tables.iter().filter(|table| *table != "*") {
        lock(&links.add(table, "")).set(State::Waiting, MISSING);
    }
    let is_stopping = Arc::new(AtomicBool::new(false));
    let mut exported: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    loop {
        exported.retain(|_, thread| !thread.is_finished());
        let is_wanted =
            |table: &String| args.tables.contains(table) || is_all && !table.starts_with("bridge.");
        for table in common::tables()?.into_iter().filter(is_wanted) {
            if exported.contains_key(&table) {
                continue;
            }
            let origin = Origin { host: host.clone(), table: table.clone(), instance };
            let thread = start(net.session(), origin, links.add(&table, ""), &is_stopping)?;
            exported.insert(table, thread);
        }
        links.publish()?;
        let count = exported.len();
        service.turn(Instant::now(), Readiness::READY, || format!("exporting {count} tables"));
        if stop.wait_with(&[], Some(TURN)) {
            break;
        }
    }
    service.end("closing");
    is_stopping.store(true, Ordering::Relaxed);
    for (_, thread) in exported {
        // A panic was printed by its thread.
        let _panicked = thread.join();
    }
    links.close()?;
    Ok(())
}

/// Starts the thread of a table.
fn start(
    session: &Session,
    origin: Origin,
    link: Arc<Mutex<Status>>,
    is_stopping: &Arc<AtomicBool>,
) -> Result<JoinHandle<()>, CliError> {
    let (session, is_stopping) = (session.clone(), Arc::clone(is_stopping));
    let run = move || {
        let outcome = export(&session, &origin, &link, &is_stopping);
        let mut link = lock(&link);
        match outcome {
            Ok(()) => drop(link.set(State::Waiting, MISSING)),
            Err(error) if link.set(State::Refused, &error.to_string()) => {
                status(format_args!("{}: not exported: {error}", origin.table));
            }
            Err(_) => {}
        }
    };
    let thread = thread::Builder::new().spawn(run);
    thread.map_err(|error| CliError::new(1, cli::start_error(&error)))
}

/// Exports a table until it is removed, another table takes its name, or the program ends.
fn export(
    session: &Session,
    origin: &Origin,
    link: &Arc<Mutex<Status>>,
    is_stopping: &AtomicBool,
) -> Result<(), Failure> {
    let mut table = match UntypedReader::open(&origin.table) {
        Err(Error::NotFound { .. }) => return Ok(()),
        opened => opened?,
    };
    let mut heads = Heads::declare(session, origin, &table, link)?;
    let answers = Answers::start(session, origin, heads.is_requested(), link)?;
    // Declared last: an importer that finds the token can send requests.
    let token = session.liveliness().declare_token(origin.key(Part::Alive)).wait()?;
    lock(link).set(State::Exporting, "");
    let mut next_beat = Instant::now();
    let mut next_look = Instant::now() + BEAT;
    let mut is_removed = false;
    while !is_stopping.load(Ordering::Relaxed) && !is_removed {
        let began = Instant::now();
        let due = heads.due().into_iter().fold(next_beat.min(next_look), Instant::min);
        let due = due.saturating_duration_since(began).min(TURN);
        let has_news = table.wait(Some(due))?.is_some();
        let now = Instant::now();
        let is_due = now >= next_beat || heads.due().is_some_and(|due| now >= due);
        let is_sent = has_news || is_due;
        if is_sent {
            heads.send(&table, has_news, false)?;
            next_beat = now + BEAT;
        }
        let is_alive = table.publisher_state().is_alive();
        if now >= next_look || has_news && !is_alive {
            next_look = now + if is_alive { BEAT } else { TURN };
            is_removed = is_another(&table);
        }
        if is_removed {
            heads.send(&table, false, true)?;
        } else if is_sent {
            thread::sleep(PACE.saturating_sub(now.elapsed()));
        }
    }
    token.undeclare().wait()?;
    answers.end()
}

/// Returns true if the table of this name is not the one that the reader has.
fn is_another(table: &UntypedReader) -> bool {
    let found = common::inspect(table.name(), None).map(|found| found.region_id);
    let own = table.position().map(|position| position.region_id());
    !matches!((found, own), (Ok(found), Ok(own)) if found == own)
}

/// Returns a position as the messages have it.
fn exchanged(position: Position) -> exchange::Position {
    exchange::Position { region: position.region_id(), version: position.version() }
}

/// The reason why a table is not exported.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<zenoh::Error> for Failure {
    fn from(error: zenoh::Error) -> Self {
        Self(format!("zenoh: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(cli::start_error(&error))
    }
}
