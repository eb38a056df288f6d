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
/// Rows of a commit that is sent along with its head, and of a commit that is requested.
const SMALL: usize = 10;
/// Longer than the 16 KiB that a head carries.
const LARGE: usize = 512;
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
    let mut zenoh = Zenoh::start()?;
    let local = table::name("local");
    let mut local = Table { origin: Origin::publish(&local, ROWS)?, reader: reader(&local)? };
    let names = [table::name("small"), table::name("large")];
    let copies = [table::name("small.copy"), table::name("large.copy")];
    let mut small = Origin::publish(&names[0], ROWS)?;
    let mut large = Origin::publish(&names[1], ROWS)?;
    let endpoint = free_endpoint()?;
    let _exporter = Bridge::export("--listen", &endpoint, &[&names[0], &names[1]])?;
    let _importers = [
        Bridge::import(&endpoint, &names[0], &copies[0])?,
        Bridge::import(&endpoint, &names[1], &copies[1])?,
    ];
    for (origin, copy) in [(&mut small, &copies[0]), (&mut large, &copies[1])] {
        let mut copy = table::open(copy)?;
        table::wait_for(&mut copy, origin.commit(SMALL)?)?;
    }
    let mut small = Table { origin: small, reader: reader(&copies[0])? };
    let mut large = Table { origin: large, reader: reader(&copies[1])? };

    let mut samples: [Vec<f64>; 6] = Default::default();
    // Until the importer committed.
    let mut applied: [Vec<f64>; 2] = Default::default();
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
        measure(2, &mut || zenoh.query())?;
        measure(3, &mut || Ok(local.commit(SMALL)?.0))?;
        for (at, table, rows) in [(0, &mut small, SMALL), (1, &mut large, LARGE)] {
            let mut until_applied = 0;
            measure(4 + at, &mut || {
                let (seen, committed) = table.commit(rows)?;
                until_applied = committed;
                Ok(seen)
            })?;
            if round >= warm_up {
                applied[at].push(until_applied as f64);
            }
        }
    }
    let [tcp, put, query, local, small_seen, large_seen] = samples;
    let [small, large] = applied;
    let tcp = Figure::times("half a round trip of bare TCP, 1 KiB", tcp);
    let put = Figure::times("bare put of zenoh, 1 KiB", put);
    let query = Figure::times("bare query of zenoh, reply of 1 KiB", query);
    let local = Figure::times("commit of 10 rows → reader on the same host", local);
    let small = Figure::times("commit of 10 rows (sent along) → applied to the copy", small);
    let small_seen = Figure::times("commit of 10 rows → reader of the copy", small_seen);
    let large = Figure::times("commit of 512 rows (by request) → applied to the copy", large);
    let large_seen = Figure::times("commit of 512 rows → reader of the copy", large_seen);
    let ratio = |name: &str, of: f64, to: f64| Figure::new(name, Unit::Ratio, of / to);
    let asked = put.value() + query.value();
    let ratios = [
        ratio("sent along : put", small.value(), put.value()).at_most(1.5),
        ratio("by request : put and query", large.value(), asked).at_most(1.3),
    ];
    let times = [tcp, put, query, local, small, small_seen, large, large_seen];
    Ok(times.into_iter().chain(ratios).collect())
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
    fn start() -> Result<Self> {
        let endpoint = free_endpoint()?;
        let session = roles::open("peer", "listen", &endpoint)?;
        let other = Other::start(&["zenoh", &endpoint])?;
        // With the settings of the heads of the bridge.
        let publisher = session
            .declare_publisher(PUT)
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::InteractiveHigh)
            .express(true)
            .wait()?;
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
