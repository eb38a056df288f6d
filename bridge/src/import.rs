//! `import`: publishes local tables that follow tables of other hosts.
//!
//! Each table has a thread ([`Follower`]), which is the publisher of the local table. The main thread
//! publishes `bridge.links` and finds out why a table has no exporter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use cli::metrics::{Address, Server};
use cli::service::{Readiness, Service};
use cli::{CliError, Shutdown, complete, status};
use common::Error;
use common::publisher::MAX_CAPACITY;

use crate::connect;
use crate::keys;
use crate::links::{Links, State, Status, lock};
use crate::metrics;
use crate::net::{self, Net};
use crate::replica::{Replica, Settings};
use follower::{Follower, Wanted};

mod follower;

/// Maximum time between two looks of the main thread at its threads.
const TURN: Duration = Duration::from_millis(200);
/// Time without an exporter after which the reason is looked for, and between two such looks.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tables: TABLE, or HOST/TABLE if several hosts export a table of that name
    #[arg(required = true, value_name = "[HOST/]TABLE", value_parser = wanted)]
    tables: Vec<Wanted>,

    /// Name of the local table [default: TABLE]
    #[arg(long = "as", value_name = "NAME", add = ArgValueCompleter::new(complete::abandoned_tables))]
    name: Option<String>,

    /// At the end, keep the local tables for the next importer and for readers; otherwise they are
    /// removed
    #[arg(long)]
    keep: bool,

    /// Maximum number of rows of a table; a larger table is refused
    #[arg(long, value_name = "ROWS", default_value_t = MAX_CAPACITY as u64)]
    max_rows: u64,

    /// Permissions to read the local tables, in octal: 600 the owner, 640 also the group, 644
    /// everybody
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = cli::mode)]
    mode: u32,

    /// The group that owns the local tables [default: the importer's]
    #[arg(long, value_name = "NAME|GID", value_parser = cli::group)]
    group: Option<u32>,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free
    /// port, reported on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,

    #[command(flatten)]
    net: net::Args,
}

/// Parses `[HOST/]TABLE`.
fn wanted(text: &str) -> Result<Wanted, String> {
    let (host, table) = match text.split_once('/') {
        Some((host, table)) => (Some(host.to_owned()), table),
        None => (None, text),
    };
    let is_valid = keys::is_name(table) && host.as_deref().is_none_or(keys::is_name);
    let wanted = Wanted { host, table: table.to_owned() };
    is_valid.then_some(wanted).ok_or_else(|| {
        "write TABLE or HOST/TABLE, each with 1 to 64 of A-Z a-z 0-9 . _ - without a leading dot"
            .to_owned()
    })
}

/// The thread of a table.
struct Import {
    name: String,
    wanted: Wanted,
    link: Arc<Mutex<Status>>,
    thread: JoinHandle<Result<(), CliError>>,
}

/// Runs `bridge import`.
pub fn run(args: &Args) -> Result<(), CliError> {
    if args.name.is_some() && args.tables.len() > 1 {
        return Err(CliError::new(
            2,
            "--as names one local table: import one table, or leave it out",
        ));
    }
    let stop = Shutdown::install()?;
    let server = Server::bind(args.metrics.as_ref())?;
    let mut service = Service::of_environment();
    service.begin("connecting");
    let mut replicas = Vec::new();
    for wanted in &args.tables {
        let name = args.name.clone().unwrap_or_else(|| wanted.table.clone());
        if !keys::is_name(&name) {
            return Err(Error::InvalidName { name }.into());
        }
        let settings =
            Settings { name, mode: args.mode, group: args.group, max_rows: args.max_rows };
        replicas.push((wanted.clone(), Replica::open(settings)?));
    }
    let mut links = Links::open()?;
    for (wanted, replica) in &mut replicas {
        lock(&links.add(replica.name(), &wanted.to_string())).set(State::Connecting, "");
        replica.mark_stale(true);
    }
    let turn = || {
        links.publish()?;
        replicas.iter_mut().try_for_each(|(_, replica)| replica.maintain())?;
        Ok(())
    };
    let Some(net) = connect::open(&args.net, &stop, turn)? else {
        replicas.into_iter().try_for_each(|(_, replica)| replica.close(args.keep))?;
        return Ok(links.close()?);
    };
    let net = Arc::new(net);
    let _metrics = server.map(|server| metrics::serve(server, links.rows())).transpose()?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    let mut imports = Vec::new();
    for (wanted, replica) in replicas {
        let name = replica.name().to_owned();
        status(format_args!(
            "importing {wanted} as {name}; read it with: subscriber watch {name}; links: subscriber watch {}",
            links.name()
        ));
        let link = links.add(&name, &wanted.to_string());
        let follower = Follower::new(
            net.session(),
            wanted.clone(),
            replica,
            args.max_rows,
            Arc::clone(&link),
        )?;
        let (is_stopping, keep) = (Arc::clone(&is_stopping), args.keep);
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || follower.run(&is_stopping, keep))
            .map_err(|error| CliError::new(1, cli::start_error(&error)))?;
        imports.push(Import { name, wanted, link, thread });
    }
    let mut diagnosis = Diagnosis::new(&net);
    let outcome = loop {
        if imports.iter().any(|import| import.thread.is_finished()) {
            break Ok(());
        }
        diagnosis.turn(&imports);
        if let Err(error) = links.publish() {
            break Err(error.into());
        }
        let ready = imports.iter().all(|import| lock(&import.link).position.region != 0);
        let readiness = Readiness { is_ready: ready, reloads: 0 };
        service.turn(Instant::now(), readiness, || summary(&imports));
        if stop.wait_with(&[], Some(TURN)) {
            break Ok(());
        }
    };
    service.end("closing");
    is_stopping.store(true, Ordering::Relaxed);
    let mut outcome = outcome;
    for import in imports {
        let ended = import.thread.join().unwrap_or_else(|_| {
            Err(CliError::new(1, format!("the thread of table {} failed", import.name)))
        });
        outcome = outcome.and(ended);
    }
    links.close()?;
    outcome
}

/// Returns the number of tables in each state.
fn summary(imports: &[Import]) -> String {
    let following = imports.iter().filter(|one| lock(&one.link).state == State::Following).count();
    format!("following {following} of {} tables", imports.len())
}

/// Looks for the reason why tables have no exporter, in a thread, because connecting takes time.
struct Diagnosis {
    net: Arc<Net>,
    next: Instant,
    running: Option<JoinHandle<Vec<net::Diagnosis>>>,
}

impl Diagnosis {
    fn new(net: &Arc<Net>) -> Self {
        Self { net: Arc::clone(net), next: Instant::now() + PATIENCE, running: None }
    }

    fn turn(&mut self, imports: &[Import]) {
        let lost = || imports.iter().filter(|import| lock(&import.link).is_lost);
        match self.running.take_if(|running| running.is_finished()) {
            Some(ended) => {
                let found = ended.join().unwrap_or_default();
                for import in lost() {
                    let why = explain(&found, &import.wanted);
                    if lock(&import.link).explain(&why) {
                        status(format_args!("{}: {why}", import.name));
                    }
                }
                self.next = Instant::now() + PATIENCE;
            }
            None if self.running.is_none() && Instant::now() >= self.next => {
                if lost().next().is_none() {
                    self.next = Instant::now() + PATIENCE;
                    return;
                }
                let net = Arc::clone(&self.net);
                self.running = thread::Builder::new().spawn(move || net.diagnose()).ok();
            }
            None => {}
        }
    }
}

/// Returns why no exporter of a table can be reached.
fn explain(found: &[net::Diagnosis], wanted: &Wanted) -> String {
    if found.is_empty() {
        return format!("no bridge that exports {wanted} has connected");
    }
    let reasons = found.iter().map(|found| match found.cause {
        net::Cause::Connected => format!(
            "{}: connected, but there is no table {wanted}: start `bridge export` there, correct the name, or allow its keys in the access control",
            found.endpoint
        ),
        _ => found.to_string(),
    });
    reasons.collect::<Vec<_>>().join("; ")
}
