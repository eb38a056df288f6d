//! The metrics of a publisher (`--metrics`).
//!
//! The publishing loop updates its own metrics in each turn. The metrics about subscribers are read
//! from shared memory at each request, as `subscriber info` does.

use std::sync::{Arc, Mutex};

use cli::CliError;
use cli::metrics::{
    Family, Gauge, Server, Serving, of_table, register, register_capacity, registry,
};
use common::admin::Listener;
use common::{UntypedPublisher, inspect};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::source::Progress;

/// Metrics that the publishing loop updates, and the server for all metrics.
pub struct Metered {
    /// Version at the start.
    first_version: u64,
    commits: Counter,
    /// Changed rows by operation.
    changes: Family<Counter>,
    version: Gauge,
    rows: Gauge,
    capacity: Gauge,
    epoch: Gauge,
    input_ended: Gauge,
    sweeps: Counter,
    wakes: Counter,
    serving: Option<Serving>,
}

/// Metrics that are read from shared memory at each request.
struct Subscribers {
    bytes: Gauge,
    states: Family<Gauge>,
    behind: Gauge,
}

impl Metered {
    pub fn serve(server: Server, publisher: &mut UntypedPublisher) -> Result<Self, CliError> {
        let name = publisher.name().to_owned();
        let mut registry = registry("publisher");
        let table = of_table(&mut registry, &name);
        let subscribers = Subscribers::register(table);
        let commit_times = Histogram::new(exponential_buckets(256e-9, 2.0, 22));
        let help = "Time that commits with rows took, including the wake-ups";
        table.register_with_unit("commit", help, Unit::Seconds, commit_times.clone());
        publisher.time_commits(move |time| commit_times.observe(time.as_secs_f64()));
        let mut metered = Self {
            first_version: publisher.version(),
            commits: register(table, "commits", "Commits by this process"),
            changes: register(table, "changes", "Rows that commits changed"),
            version: register(table, "version", "Version of the last commit"),
            rows: register(table, "rows", "Rows in the table"),
            capacity: register_capacity(table),
            epoch: register(table, "epoch", "Publishers that the table has had"),
            input_ended: register(table, "input_ended", "1 if the input has ended"),
            sweeps: register(table, "sweeps", "Searches for new and dead subscribers"),
            wakes: register(
                table,
                "wakes",
                "Wake-ups sent; waking all futex waiters counts as one",
            ),
            serving: None,
        };
        metered.set(publisher, Progress::Waiting);
        let registry = Arc::new(Mutex::new(registry));
        metered.serving = Some(server.serve(registry, move || subscribers.set(&name))?);
        Ok(metered)
    }

    pub fn set(&self, publisher: &UntypedPublisher, progress: Progress) {
        let statistics = publisher.statistics();
        raise(&self.commits, publisher.version() - self.first_version);
        for (op, count) in [
            ("create", statistics.creates),
            ("update", statistics.updates),
            ("delete", statistics.deletes),
        ] {
            raise(&self.changes.get_or_create(&[("op", op)]), count);
        }
        self.version.set(publisher.version());
        self.rows.set(publisher.len() as u64);
        self.capacity.set(publisher.capacity() as u64);
        self.epoch.set(publisher.epoch());
        self.input_ended.set(u64::from(progress == Progress::Ended));
        raise(&self.sweeps, statistics.sweeps);
        raise(&self.wakes, statistics.wakes);
    }
}

fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Subscribers {
    fn register(table: &mut Registry) -> Self {
        let bytes = Gauge::default();
        let help = "Size of the table in shared memory";
        table.register_with_unit("region", help, Unit::Bytes, bytes.clone());
        Self {
            bytes,
            states: register(table, "subscribers", "Subscribers with a slot, by state"),
            behind: register(table, "subscribers_behind", "Live subscribers that lag"),
        }
    }

    fn set(&self, name: &str) {
        let logged = |error: &_| tracing::debug!("metrics of the region are not current: {error}");
        let Ok(table) = inspect(name, None).inspect_err(logged) else {
            return;
        };
        self.bytes.set(table.bytes);
        let Ok(subscribers) = &table.subscribers else {
            return;
        };
        let count = |which: &dyn Fn(&Listener) -> bool| {
            subscribers.iter().filter(|one| which(one)).count() as u64
        };
        for (state, count) in [
            ("parked", count(&|one| one.alive && one.parked)),
            ("awake", count(&|one| one.alive && !one.parked)),
            ("gone", count(&|one| !one.alive)),
        ] {
            self.states.get_or_create(&[("state", state)]).set(count);
        }
        self.behind.set(count(&|one| one.alive && one.seen < table.version));
    }
}
