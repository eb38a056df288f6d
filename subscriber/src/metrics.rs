//! Metrics of a subscriber, set after each refresh.

use std::sync::{Arc, Mutex, PoisonError};

use cli::CliError;
use cli::metrics::{Address, Gauge, Server, Serving, registry};
use common::{Change, UntypedSubscriber};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::publisher_status::is_silent;

/// Metrics of a subscriber, and the server for them.
pub struct Following {
    registry: Arc<Mutex<Registry>>,
    refreshes: Counter,
    outrun: Counter,
    commits: Counter,
    /// Changed rows by operation.
    changes: Family<[(&'static str, &'static str); 1], Counter>,
    delays: Histogram,
    version: Gauge,
    rows: Gauge,
    capacity: Gauge,
    epoch: Gauge,
    publisher: Family<[(&'static str, &'static str); 1], Gauge>,
    _serving: Serving,
}

impl Following {
    /// Serves the metrics of table `name` at `address`, if there is one.
    ///
    /// # Errors
    /// Fails if the system refuses to listen.
    pub fn serve_at(address: Option<&Address>, name: &str) -> Result<Option<Self>, CliError> {
        let Some(server) = Server::bind(address)? else {
            return Ok(None);
        };
        let registry = Arc::new(Mutex::new(registry("subscriber")));
        let served = Arc::clone(&registry);
        let serving = server.serve(move || {
            let mut page = String::new();
            let registry = served.lock().unwrap_or_else(PoisonError::into_inner);
            text::encode(&mut page, &registry).map(|()| page)
        })?;
        let metrics = Self {
            registry,
            refreshes: Counter::default(),
            outrun: Counter::default(),
            commits: Counter::default(),
            changes: Family::default(),
            delays: Histogram::new(delay_buckets()),
            version: Gauge::default(),
            rows: Gauge::default(),
            capacity: Gauge::default(),
            epoch: Gauge::default(),
            publisher: Family::default(),
            _serving: serving,
        };
        for op in ["create", "update", "delete"] {
            metrics.changes.get_or_create(&[("op", op)]).inc_by(0);
        }
        metrics.register(name);
        Ok(Some(metrics))
    }

    /// Registers the metrics that are known before there is a table.
    fn register(&self, name: &str) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let table = ("table".into(), name.to_owned().into());
        let registry = registry.sub_registry_with_label(table);
        registry.register(
            "tablecast_refreshes",
            "Refreshes that applied commits to this copy",
            self.refreshes.clone(),
        );
        registry.register(
            "tablecast_outrun",
            "Refreshes that failed because the table changed faster than it could be copied",
            self.outrun.clone(),
        );
        registry.register(
            "tablecast_commits",
            "Commits applied to this copy, counted by version number",
            self.commits.clone(),
        );
        registry.register(
            "tablecast_changes",
            "Rows that differed after a refresh. What changed twice in between counts once",
            self.changes.clone(),
        );
        registry.register_with_unit(
            "tablecast_delay",
            "Time from a commit until this subscriber had applied it, where no other commit came in between",
            Unit::Seconds,
            self.delays.clone(),
        );
    }

    /// Records that the subscriber attached to a table.
    pub fn attached(&self, table: &UntypedSubscriber) {
        self.set_table(table);
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let name = ("table".into(), table.name().to_owned().into());
        let registry = registry.sub_registry_with_label(name);
        registry.register(
            "tablecast_version",
            "Version of this copy",
            self.version.clone(),
        );
        registry.register("tablecast_rows", "Rows of this copy", self.rows.clone());
        registry.register_with_unit(
            "tablecast_capacity",
            "Maximum number of rows in the table",
            Unit::Other("rows".to_owned()),
            self.capacity.clone(),
        );
        registry.register(
            "tablecast_epoch",
            "Number of publishers that the table has had",
            self.epoch.clone(),
        );
        registry.register(
            "tablecast_publisher_state",
            "State of the publisher as this subscriber knows it: 1 for its state, 0 for the others",
            self.publisher.clone(),
        );
    }

    /// Records the changes of the last refresh, which applied `commits` commits.
    pub fn refreshed(&self, table: &UntypedSubscriber, commits: u64) {
        let changes = table.changes();
        let (mut creates, mut updates, mut deletes) = (0, 0, 0);
        for change in &changes {
            match change {
                Change::Created(_) => creates += 1,
                Change::Updated { .. } => updates += 1,
                Change::Deleted(_) => deletes += 1,
            }
        }
        for (op, count) in [
            ("create", creates),
            ("update", updates),
            ("delete", deletes),
        ] {
            self.changes.get_or_create(&[("op", op)]).inc_by(count);
        }
        self.refreshes.inc_by(u64::from(commits > 0));
        self.commits.inc_by(commits);
        if let Some(delay) = table.delay().filter(|_| !changes.is_empty()) {
            self.delays.observe(delay.as_secs_f64());
        }
        self.set_table(table);
    }

    fn set_table(&self, table: &UntypedSubscriber) {
        let publisher = table.publisher_state();
        self.version.set(table.version());
        self.rows.set(table.len() as u64);
        self.capacity.set(table.capacity() as u64);
        self.epoch.set(publisher.epoch());
        let state = match is_silent(publisher, table) {
            true => "silent",
            false => publisher.as_str(),
        };
        for other in ["alive", "silent", "gone", "closed"] {
            let gauge = self.publisher.get_or_create(&[("state", other)]);
            gauge.set(u64::from(other == state));
        }
    }

    /// Records that the table changed faster than it could be copied.
    pub fn outrun(&self) {
        self.outrun.inc();
    }
}

/// Returns the upper ends of the buckets, in seconds: 1, 2 and 5 of each power of ten, from a
/// microsecond to ten seconds.
fn delay_buckets() -> impl Iterator<Item = f64> {
    let powers = (0..7).map(|power| 10_u64.pow(power));
    let microseconds = powers.flat_map(|power| [power, 2 * power, 5 * power]);
    microseconds.chain([10_000_000]).map(|end| end as f64 / 1e6)
}
