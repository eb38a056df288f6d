//! The `--metrics` of a publisher, set by the publishing loop in each turn.
//!
//! The list of subscribers is read from shared memory at each request, as `subscriber info` does.

use cli::CliError;
use cli::metrics::{Gauge, Server, Serving, registry};
use common::admin::Listener;
use common::{UntypedPublisher, inspect};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::source::Progress;

/// Metrics of a publisher, and the server for them.
pub struct Metered {
    figures: Figures,
    _serving: Serving,
}

/// Metrics that the publishing loop sets.
#[derive(Default)]
struct Figures {
    /// Version at the start.
    first_version: u64,
    commits: Counter,
    /// Changed rows by operation.
    changes: Family<[(&'static str, &'static str); 1], Counter>,
    version: Gauge,
    rows: Gauge,
    capacity: Gauge,
    epoch: Gauge,
    input_ended: Gauge,
    sweeps: Counter,
    wakes: Counter,
}

/// Metrics that are read from shared memory.
#[derive(Default)]
struct Subscribers {
    bytes: Gauge,
    states: Family<[(&'static str, &'static str); 1], Gauge>,
    behind: Gauge,
}

impl Metered {
    /// Starts to serve the metrics of `publisher`.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the server cannot be started.
    pub fn serve(server: Server, publisher: &mut UntypedPublisher) -> Result<Self, CliError> {
        let name = publisher.name().to_owned();
        let subscribers = Subscribers::default();
        let figures = Figures {
            first_version: publisher.version(),
            ..Figures::default()
        };
        figures.set(publisher, Progress::Waiting);
        let commit_times = Histogram::new(exponential_buckets(256e-9, 2.0, 22));
        let mut registry = registry("publisher");
        let table = ("table".into(), name.clone().into());
        let of_table = registry.sub_registry_with_label(table);
        figures.register(of_table);
        subscribers.register(of_table);
        of_table.register_with_unit(
            "tablecast_commit",
            "Time that commits with rows took, including the wake-ups",
            Unit::Seconds,
            commit_times.clone(),
        );
        publisher.time_commits(move |time| commit_times.observe(time.as_secs_f64()));
        let serving = server.serve(move || {
            subscribers.update(&name);
            let mut page = String::new();
            text::encode(&mut page, &registry).map(|()| page)
        })?;
        Ok(Self {
            figures,
            _serving: serving,
        })
    }

    /// Sets the metrics to the current figures.
    pub fn note(&self, publisher: &UntypedPublisher, progress: Progress) {
        self.figures.set(publisher, progress);
    }
}

/// Raises a counter to `total`.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Figures {
    fn set(&self, publisher: &UntypedPublisher, progress: Progress) {
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
        let has_ended = progress == Progress::Ended;
        self.input_ended.set(u64::from(has_ended));
        raise(&self.sweeps, statistics.sweeps);
        raise(&self.wakes, statistics.wakes);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "tablecast_commits",
            "Commits by this process",
            self.commits.clone(),
        );
        registry.register(
            "tablecast_changes",
            "Rows created, updated or deleted by commits",
            self.changes.clone(),
        );
        registry.register(
            "tablecast_version",
            "Version of the last commit",
            self.version.clone(),
        );
        registry.register("tablecast_rows", "Rows in the table", self.rows.clone());
        registry.register_with_unit(
            "tablecast_capacity",
            "Maximum number of rows in the table",
            Unit::Other("rows".to_owned()),
            self.capacity.clone(),
        );
        registry.register(
            "tablecast_epoch",
            "Number of publishers that the table has had, including this one",
            self.epoch.clone(),
        );
        registry.register(
            "tablecast_input_ended",
            "1 if the input of `serve --from -` has ended, so that the rows do not change any more; otherwise 0",
            self.input_ended.clone(),
        );
        registry.register(
            "tablecast_sweeps",
            "Searches for new subscribers and for slots of dead ones",
            self.sweeps.clone(),
        );
        registry.register(
            "tablecast_wakes",
            "Wake-ups sent: one per parked subscriber with a slot, and one for all that wait on the futex",
            self.wakes.clone(),
        );
    }
}

impl Subscribers {
    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "tablecast_region",
            "Size of the table in shared memory",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "tablecast_subscribers",
            "Subscribers with a slot: parked (waiting for a commit), awake, or gone (dead, slot not freed yet)",
            self.states.clone(),
        );
        registry.register(
            "tablecast_subscribers_behind",
            "Live subscribers that have not reported the last commit as seen",
            self.behind.clone(),
        );
    }

    fn update(&self, name: &str) {
        let table = match inspect(name, None) {
            Ok(table) => table,
            Err(error) => {
                tracing::debug!("metrics of the region are not current: {error}");
                return;
            }
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
        let is_behind = |one: &Listener| one.alive && one.seen < table.version;
        self.behind.set(count(&is_behind));
    }
}
