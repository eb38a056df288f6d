//! Time from a commit on one host until a reader on another one sees it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zenoh::Wait;
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::ConsolidationMode;

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, Other, free_endpoint, now_ns};
use crate::roles::{self, MESSAGE_BYTES, PUT, QUERY};
use crate::table::{self, Origin};
use crate::{Failure, Result, Size};

/// Rows of each table.
const ROWS: u64 = 10_000;
/// Rows of a small and of a large commit that are sent along with their heads, and of a commit that is
/// requested, because it is longer than the 56 KiB that a head carries.
const COMMITS: [usize; 3] = [10, 512, 1_000];
/// The threads of zenoh in a bridge.
const SHARED: &str =
    "(rx:(worker_threads:4),acc:(handover:rx),net:(handover:rx),app:(handover:rx))";
/// Minimum pause before each measurement. All threads fall asleep in it.
const PAUSE: Duration = Duration::from_millis(3);
/// Time for a message of TCP or zenoh.
const LIMIT: Duration = Duration::from_secs(10);

pub const CASE: Case = Case {
    name: "latency",
    about: "from a commit until a sleeping reader of the imported table sees it, in turn with bare \
        TCP, a bare put and a bare query of zenoh; everything sleeps before each measurement",
    run,
};

fn run(size: &Size) -> Result<Vec<Figure>> {
    let mut tcp = Tcp::start()?;
    let mut zenoh = Zenoh::start("")?;
    let mut shared = Zenoh::start(SHARED)?;
    let local = table::name("local");
    let mut local = Table { origin: Origin::publish(&local, ROWS)?, reader: reader(&local)? };
    let endpoint = free_endpoint()?;
    let names = COMMITS.map(|rows| table::name(&rows.to_string()));
    let copies = names.each_ref().map(|name| format!("{name}.copy"));
    let mut origins = Vec::new();
    for name in &names {
        origins.push(Origin::publish(name, ROWS)?);
    }
    let names = names.each_ref().map(String::as_str);
    let _exporter = Bridge::export("--listen", &endpoint, &names)?;
    let (mut tables, mut importers) = (Vec::new(), Vec::new());
    for ((mut origin, name), copy) in origins.into_iter().zip(names).zip(&copies) {
        importers.push(Bridge::import(&endpoint, name, copy)?);
        table::wait_for(&mut table::open(copy)?, origin.commit(COMMITS[0])?)?;
        tables.push(Table { origin, reader: reader(copy)? });
    }

    let mut samples: [Vec<f64>; 8] = Default::default();
    // Until the importer committed.
    let mut applied: [Vec<f64>; 3] = Default::default();
    // The first rounds are not counted: caches are cold, and heads carry no rows for a while after
    // large commits.
    let warm_up = 50;
    for round in 0..warm_up + u64::from(size.rounds) {
        let mut measure = |at: usize, measured: &mut dyn FnMut() -> Result<u64>| {
            // Not in step with timers.
            thread::sleep(PAUSE + Duration::from_micros((round * 377 + at as u64 * 131) % 1_000));
            let time = measured()?;
            if round >= warm_up {
                samples[at].push(time as f64);
            }
            Ok::<_, Failure>(())
        };
        measure(0, &mut || tcp.half_round_trip())?;
        measure(1, &mut || zenoh.put(round + 1))?;
        measure(2, &mut || shared.put(round + 1))?;
        measure(3, &mut || zenoh.query())?;
        measure(4, &mut || Ok(local.commit(COMMITS[0])?.0))?;
        for (at, (table, rows)) in tables.iter_mut().zip(COMMITS).enumerate() {
            let mut until_applied = 0;
            measure(5 + at, &mut || {
                let (seen, committed) = table.commit(rows)?;
                until_applied = committed;
                Ok(seen)
            })?;
            if round >= warm_up {
                applied[at].push(until_applied as f64);
            }
        }
    }
    let [tcp, put, shared, query, local, small_seen, large_seen, asked_seen] = samples;
    let [small, large, asked] = applied;
    let figures = [
        ("half a round trip of bare TCP, 1 KiB", tcp),
        ("bare put of zenoh, 1 KiB", put),
        ("the same, received with the threads of the bridge", shared),
        ("bare query of zenoh, reply of 1 KiB", query),
        ("commit of 10 rows → reader on the same host", local),
        ("commit of 10 rows (sent along) → applied to the copy", small),
        ("commit of 10 rows → reader of the copy", small_seen),
        ("commit of 512 rows (sent along) → applied to the copy", large),
        ("commit of 512 rows → reader of the copy", large_seen),
        ("commit of 1000 rows (by request) → applied to the copy", asked),
        ("commit of 1000 rows → reader of the copy", asked_seen),
    ];
    let mut figures = figures.map(|(name, samples)| Figure::times(name, samples)).to_vec();
    let value = |at: usize| figures[at].value();
    let (put, put_and_query) = (value(1), value(1) + value(3));
    let ratio = |name: &str, of: f64, to: f64| Figure::new(name, Unit::Ratio, of / to);
    let ratios = [
        ratio("10 rows : put", value(5), put).at_most(1.5),
        ratio("512 rows : put and query", value(7), put_and_query).at_most(1.3),
        ratio("1000 rows : put and query", value(9), put_and_query).at_most(1.3),
    ];
    figures.extend(ratios);
    Ok(figures)
}

fn reader(table: &str) -> Result<Other> {
    Other::start(&["reader", table])
}

/// A table, and the process that reads it or its copy.
struct Table {
    origin: Origin,
    reader: Other,
}

impl Table {
    /// Commits rows, and returns the times until the reader saw them and until they were committed
    /// to the table that it reads.
    fn commit(&mut self, rows: usize) -> Result<(u64, u64)> {
        let mut began = 0;
        let number = self.origin.commit_at(rows, || began = now_ns())?;
        let (seen, committed) = self.reader.times_of(number)?;
        Ok((seen.saturating_sub(began), committed.saturating_sub(began)))
    }
}

struct Tcp {
    stream: TcpStream,
    _echo: Other,
}

impl Tcp {
    fn start() -> Result<Self> {
        let echo = Other::start(&["echo"])?;
        let stream = TcpStream::connect(echo.ready())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, _echo: echo })
    }

    fn half_round_trip(&mut self) -> Result<u64> {
        let mut message = [0; MESSAGE_BYTES];
        let began = now_ns();
        self.stream.write_all(&message)?;
        self.stream.read_exact(&mut message)?;
        Ok((now_ns() - began) / 2)
    }
}

struct Zenoh {
    session: zenoh::Session,
    publisher: zenoh::pubsub::Publisher<'static>,
    other: Other,
}

impl Zenoh {
    /// Starts the other side, with these threads of zenoh; empty for zenoh's default.
    fn start(threads: &str) -> Result<Self> {
        let endpoint = free_endpoint()?;
        let session = roles::open("peer", "listen", &endpoint)?;
        let other = Other::start_with(&["zenoh", &endpoint], threads)?;
        let publisher =
            session.declare_publisher(PUT).congestion_control(CongestionControl::Drop).wait()?;
        let began = Instant::now();
        while !publisher.matching_status().wait()?.matching() {
            if began.elapsed() > LIMIT {
                return Err("the subscriber of zenoh was not found".into());
            }
            thread::sleep(PAUSE);
        }
        Ok(Self { session, publisher, other })
    }

    fn put(&mut self, number: u64) -> Result<u64> {
        let mut message = vec![0; MESSAGE_BYTES];
        message[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        let began = now_ns();
        self.publisher.put(message).wait()?;
        Ok(self.other.time_of(number)?.saturating_sub(began))
    }

    fn query(&self) -> Result<u64> {
        let (sender, reply) = mpsc::sync_channel(1);
        let began = now_ns();
        self.session
            .get(QUERY)
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::DataHigh)
            .express(true)
            .consolidation(ConsolidationMode::None)
            .callback(move |_| {
                // Only the first reply counts.
                let _full = sender.try_send(now_ns());
            })
            .wait()?;
        Ok(reply.recv_timeout(LIMIT)?.saturating_sub(began))
    }
}
