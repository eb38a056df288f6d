//! `ls`: lists the tables that other hosts export.
//!
//! The liveliness tokens of exporters name their tables, and a query to each exporter returns its head.

use std::collections::{BTreeMap, btree_map};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use cli::{CliError, Shutdown, duration};
use exchange::Head;
use serde_json::json;
use subscriber::listing::{self, Entry, Format, Output, Section};
use zenoh::handlers::CallbackDrop;
use zenoh::query::{ConsolidationMode, Reply};
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use crate::keys::{self, Origin, Part};
use crate::net::{self, Cause, Net};

/// Time without a further exporter after which the list is complete. Longer than the pause between
/// two attempts to connect.
const QUIET: Duration = Duration::from_millis(600);
/// Maximum time before the program checks whether it must end.
const TURN: Duration = Duration::from_millis(20);

/// The columns of `csv`. New members are last.
const NAMES: [&str; 8] =
    ["host", "name", "rows", "version", "epoch", "publisher", "instance", "problem"];

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Maximum time to wait for exporters and for their replies
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    timeout: Duration,

    #[command(flatten)]
    net: net::Args,
}

/// The exporters, each with its head, or with the reason why there is none. `None` until it has
/// replied.
type Found = BTreeMap<Origin, Option<Result<Head, String>>>;

/// A message of zenoh's threads.
enum Event {
    /// An exporter appeared or disappeared.
    Exporter { origin: Origin, is_alive: bool },
    /// An exporter replied with its head, or a request ended without a reply.
    Head { origin: Origin, head: Result<Head, String> },
}

/// Runs `bridge ls`.
pub fn run(args: &Args) -> Result<(), CliError> {
    let stop = Shutdown::install()?;
    let output = Output::stdout(&stop)?;
    let began = Instant::now();
    let net = Net::open(&args.net, |_| began.elapsed() < args.timeout && !stop.requested())?;
    let found = find(net.session(), args.timeout, &stop)?;
    if found.is_empty() {
        return Err(CliError::new(1, nothing(&net, args.timeout)));
    }
    let entries: Vec<Entry> = found.iter().map(entry).collect();
    let section = Section {
        columns: &[
            ("host", false),
            ("name", false),
            ("rows", true),
            ("version", true),
            ("epoch", true),
            ("publisher", false),
            ("instance", false),
            ("problem", false),
        ],
        lines: entries.iter().map(|one| NAMES.map(|name| one.text(name)).to_vec()).collect(),
    };
    listing::print(&entries, &NAMES, &[section], args.format, output)
}

/// Returns the exporters after `timeout`, or as soon as all of them have replied.
fn find(session: &Session, timeout: Duration, stop: &Shutdown) -> Result<Found, CliError> {
    let failed = |error| CliError::new(1, format!("cannot look for exporters: zenoh: {error}"));
    let (sender, events) = mpsc::channel();
    let tokens = sender.clone();
    let _subscriber = session
        .liveliness()
        .declare_subscriber(keys::all(None, None, Part::Alive))
        .history(true)
        .callback(move |sample| {
            if let Some(origin) = Origin::of_key(sample.key_expr(), Part::Alive) {
                let is_alive = sample.kind() == SampleKind::Put;
                let _ended = tokens.send(Event::Exporter { origin, is_alive });
            }
        })
        .wait()
        .map_err(failed)?;
    let mut found = Found::new();
    let end = Instant::now() + timeout;
    let mut quiet_at = Instant::now() + QUIET;
    loop {
        let now = Instant::now();
        let has_all = !found.is_empty() && found.values().all(Option::is_some);
        if now >= end || has_all && now >= quiet_at {
            return Ok(found);
        }
        if stop.requested() {
            return Err(CliError::new(1, "interrupted while looking for exporters"));
        }
        match events.recv_timeout(TURN.min(end - now)) {
            Ok(Event::Exporter { origin, is_alive: true }) => {
                quiet_at = Instant::now() + QUIET;
                if let btree_map::Entry::Vacant(exporter) = found.entry(origin) {
                    ask(session, exporter.key(), end - now, &sender).map_err(failed)?;
                    exporter.insert(None);
                }
            }
            Ok(Event::Exporter { origin, is_alive: false }) => {
                found.remove(&origin);
            }
            Ok(Event::Head { origin, head }) => {
                if let Some(reply @ None) = found.get_mut(&origin) {
                    *reply = Some(head);
                }
            }
            // The sender lives as long as this loop.
            Err(_) => {}
        }
    }
}

/// Asks an exporter for its head.
fn ask(
    session: &Session,
    origin: &Origin,
    timeout: Duration,
    sender: &Sender<Event>,
) -> zenoh::Result<()> {
    let send = |origin: &Origin, sender: &Sender<Event>, head| {
        // The list is complete if the receiver is gone.
        let _ended = sender.send(Event::Head { origin: origin.clone(), head });
    };
    let (of_reply, of_end) = ((origin.clone(), sender.clone()), (origin.clone(), sender.clone()));
    session
        .get(origin.key(Part::Head))
        .consolidation(ConsolidationMode::None)
        .timeout(timeout)
        .with(CallbackDrop {
            callback: move |reply: Reply| {
                if let Ok(sample) = reply.result() {
                    let head = Head::from_bytes(&sample.payload().to_bytes());
                    send(&of_reply.0, &of_reply.1, head.map_err(|malformed| malformed.to_string()));
                }
            },
            // Ignored after a reply.
            drop: move || send(&of_end.0, &of_end.1, Err(no_reply())),
        })
        .wait()
}

fn no_reply() -> String {
    "the exporter does not reply; it is stopped, or access control denies its keys".to_owned()
}

fn entry((origin, reply): (&Origin, &Option<Result<Head, String>>)) -> Entry {
    let (head, problem) = match reply {
        Some(Ok(head)) => (Some(head), None),
        Some(Err(problem)) => (None, Some(problem.clone())),
        None => (None, Some(no_reply())),
    };
    Entry::known([
        ("host", json!(origin.host)),
        ("name", json!(origin.table)),
        ("rows", json!(head.map(|head| head.rows))),
        ("version", json!(head.map(|head| head.position.version))),
        ("epoch", json!(head.map(|head| head.epoch))),
        ("publisher", json!(head.map(|head| head.publisher.as_str()))),
        ("instance", json!(format!("{:016x}", origin.instance))),
        ("problem", json!(problem)),
    ])
}

/// Returns the message for an empty list, with the reason for each address.
fn nothing(net: &Net, timeout: Duration) -> String {
    let reasons: Vec<String> = net
        .diagnose()
        .iter()
        .map(|diagnosis| match diagnosis.cause {
            Cause::Connected => format!(
                "{}: connected, but no table is exported there, or access control denies the keys of its tables",
                diagnosis.endpoint
            ),
            _ => diagnosis.to_string(),
        })
        .collect();
    match reasons.is_empty() {
        true => format!(
            "no tables found: no exporter connected to this program within {timeout:?}; start it with --connect, or use a longer --timeout"
        ),
        false => format!("no tables found: {}", reasons.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use exchange::{Position, Publisher};

    use super::*;

    fn session(listen: &[String], connect: &[String]) -> Net {
        let args = net::Args {
            listen: listen.to_vec(),
            connect: connect.to_vec(),
            ..net::Args::default()
        };
        Net::open(&args, |_| true).unwrap()
    }

    #[test]
    fn exporters_are_listed_with_their_head_or_a_problem() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = [format!("tcp/127.0.0.1:{port}")];
        let exporter = session(&endpoint, &[]);
        let origin =
            |table: &str| Origin { host: "a".to_owned(), table: table.to_owned(), instance: 7 };
        let head = Head {
            number: 0,
            position: Position { region: 1, version: 5 },
            epoch: 2,
            rows: 3,
            publisher: Publisher::Gone,
            schema: 4,
            committed_ns: 0,
            delta: None,
        };
        let mut answers = Vec::new();
        for (table, bytes) in [("good", head.to_bytes()), ("damaged", vec![1, 2, 3])] {
            let key = origin(table).key(Part::Head);
            let reply = move |query: zenoh::query::Query| {
                query.reply(query.key_expr().clone(), bytes.clone()).wait().unwrap();
            };
            answers.push(exporter.session().declare_queryable(key).callback(reply).wait().unwrap());
        }
        let keys = ["good", "damaged", "silent"].map(|table| origin(table).key(Part::Alive));
        let mut tokens = Vec::new();
        for key in keys.into_iter().chain(["tablecast/a/\u{1b}[2J/alive/7".to_owned()]) {
            tokens.push(exporter.session().liveliness().declare_token(key).wait().unwrap());
        }

        let net = session(&[], &endpoint);
        let stop = Shutdown::install().unwrap();
        let found = find(net.session(), Duration::from_secs(60), &stop).unwrap();
        assert!(found.values().all(Option::is_some), "the list waited until its end: {found:?}");
        let entries: Vec<Entry> = found.iter().map(entry).collect();
        let members = ["name", "rows", "version", "epoch", "publisher", "instance"]
            .map(|name| entries[1].text(name));
        assert_eq!(members, ["good", "3", "5", "2", "gone", "0000000000000007"]);
        assert_eq!(entries.len(), 3);
        assert_eq!(
            (entries[0].text("name"), entries[0].text("rows")),
            ("damaged".into(), "".into())
        );
        assert!(entries[0].text("problem").contains("damaged"), "{}", entries[0].text("problem"));
        assert_eq!(entries[2].text("problem"), no_reply());
    }
}
