//! The metrics of a publisher (`--metrics`).
//!
//! The publishing loop of a table updates its own metrics in each turn. The metrics about
//! subscribers are read from shared memory at each request, as `subscriber info` does.

use cli::metrics::{Gauge, register, register_capacity};
use common::admin::Listener;
use common::publisher::Statistics;
use common::{UntypedPublisher, inspect};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::source::Progress;

/// The table, and in some metrics the operation or the state of a subscriber.
pub type Labels = Vec<(&'static str, String)>;

/// The metrics of all tables.
pub struct Metrics {
    bytes: Family<Labels, Gauge>,
    subscribers: Family<Labels, Gauge>,
    behind: Family<Labels, Gauge>,
    commit_times: Family<Labels, Histogram>,
    commits: Family<Labels, Counter>,
    changes: Family<Labels, Counter>,
    version: Family<Labels, Gauge>,
    rows: Family<Labels, Gauge>,
    capacity: Family<Labels, Gauge>,
    epoch: Family<Labels, Gauge>,
    input_ended: Family<Labels, Gauge>,
    sweeps: Family<Labels, Counter>,
    wakes: Family<Labels, Counter>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tablecast");
        let bytes = Family::default();
        let help = "Size of the table in shared memory";
        registry.register_with_unit("region", help, Unit::Bytes, Family::clone(&bytes));
        let commit_times = Family::new_with_constructor(commit_times as fn() -> Histogram);
        let help = "Time that commits with rows took, including the wake-ups";
        registry.register_with_unit("commit", help, Unit::Seconds, commit_times.clone());
        Self {
            bytes,
            subscribers: register(registry, "subscribers", "Subscribers with a slot, by state"),
            behind: register(registry, "subscribers_behind", "Live subscribers that lag"),
            commit_times,
            commits: register(registry, "commits", "Commits by this process"),
            changes: register(registry, "changes", "Rows that commits changed"),
            version: register(registry, "version", "Version of the last commit"),
            rows: register(registry, "rows", "Rows in the table"),
            capacity: register_capacity(registry),
            epoch: register(registry, "epoch", "Publishers that the table has had"),
            input_ended: register(registry, "input_ended", "1 if the input has ended"),
            sweeps: register(registry, "sweeps", "Searches for new and dead subscribers"),
            wakes: register(
                registry,
                "wakes",
                "Wake-ups sent; waking all futex waiters counts as one",
            ),
        }
    }

    /// Returns the metrics of one table.
    pub fn of_table(&self, name: &str) -> (Metered, Subscribers) {
        let label = vec![("table", name.to_owned())];
        let with = |key, value: &str| vec![label[0].clone(), (key, value.to_owned())];
        let change = |op| self.changes.get_or_create_owned(&with("op", op));
        let state = |state| self.subscribers.get_or_create_owned(&with("state", state));
        let metered = Metered {
            commits: self.commits.get_or_create_owned(&label),
            changes: ["create", "update", "delete"].map(change),
            version: self.version.get_or_create_owned(&label),
            rows: self.rows.get_or_create_owned(&label),
            capacity: self.capacity.get_or_create_owned(&label),
            epoch: self.epoch.get_or_create_owned(&label),
            input_ended: self.input_ended.get_or_create_owned(&label),
            sweeps: self.sweeps.get_or_create_owned(&label),
            wakes: self.wakes.get_or_create_owned(&label),
            commit_times: self.commit_times.get_or_create_owned(&label),
            counted: Default::default(),
        };
        let subscribers = Subscribers {
            table: name.to_owned(),
            bytes: self.bytes.get_or_create_owned(&label),
            states: ["parked", "awake", "gone"].map(state),
            behind: self.behind.get_or_create_owned(&label),
        };
        (metered, subscribers)
    }
}

fn commit_times() -> Histogram {
    Histogram::new(exponential_buckets(256e-9, 2.0, 22))
}

/// Metrics that the publishing loop of a table updates.
pub struct Metered {
    commits: Counter,
    /// Rows created, updated and deleted.
    changes: [Counter; 3],
    version: Gauge,
    rows: Gauge,
    capacity: Gauge,
    epoch: Gauge,
    input_ended: Gauge,
    sweeps: Counter,
    wakes: Counter,
    commit_times: Histogram,
    /// The version of the current publisher that was counted last, and its statistics.
    counted: (u64, Statistics),
}

impl Metered {
    /// Starts to measure a new publisher of the table. The counters continue.
    pub fn attach(&mut self, publisher: &mut UntypedPublisher) {
        let commit_times = self.commit_times.clone();
        publisher.time_commits(move |time| commit_times.observe(time.as_secs_f64()));
        self.counted = (publisher.version(), Statistics::default());
        self.update(publisher, Progress::Waiting);
    }

    pub fn update(&mut self, publisher: &UntypedPublisher, progress: Progress) {
        let (version, now) = (publisher.version(), publisher.statistics());
        let (counted_version, counted) = std::mem::replace(&mut self.counted, (version, now));
        self.commits.inc_by(version - counted_version);
        let changes = |of: &Statistics| [of.creates, of.updates, of.deletes];
        for (counter, (now, counted)) in
            self.changes.iter().zip(changes(&now).into_iter().zip(changes(&counted)))
        {
            counter.inc_by(now - counted);
        }
        self.version.set(version);
        self.rows.set(publisher.len() as u64);
        self.capacity.set(publisher.capacity() as u64);
        self.epoch.set(publisher.epoch());
        self.input_ended.set(u64::from(progress == Progress::Ended));
        self.sweeps.inc_by(now.sweeps - counted.sweeps);
        self.wakes.inc_by(now.wakes - counted.wakes);
    }
}

/// Metrics of a table that are read from shared memory at each request.
pub struct Subscribers {
    table: String,
    bytes: Gauge,
    /// Numbers of parked, awake and dead subscribers.
    states: [Gauge; 3],
    behind: Gauge,
}

impl Subscribers {
    pub fn update(&self) {
        let logged = |error: &_| tracing::debug!("metrics of the region are not current: {error}");
        let Ok(table) = inspect(&self.table, None).inspect_err(logged) else {
            return;
        };
        self.bytes.set(table.bytes);
        let Ok(subscribers) = &table.subscribers else {
            return;
        };
        let count = |which: &dyn Fn(&Listener) -> bool| {
            subscribers.iter().filter(|one| which(one)).count() as u64
        };
        let [parked, awake, gone] = &self.states;
        parked.set(count(&|one| one.alive && one.parked));
        awake.set(count(&|one| one.alive && !one.parked));
        gone.set(count(&|one| !one.alive));
        self.behind.set(count(&|one| one.alive && one.seen < table.version));
    }
}
