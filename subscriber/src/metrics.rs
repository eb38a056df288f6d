//! Metrics of a subscriber, set after each refresh.

use std::sync::{Arc, Mutex, PoisonError};

use cli::CliError;
use cli::metrics::{
    Address, Family, Gauge, Server, Serving, of_table, register, register_capacity, registry,
};
use common::{Change, UntypedSubscriber};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::follow::state_word;
use crate::latency::bucket_ends;

/// Metrics of a subscriber, and the server for them.
pub struct SubscriberMetrics {
    registry: Arc<Mutex<Registry>>,
    refreshes: Counter,
    outrun: Counter,
    commits: Counter,
    changes: Family<Counter>,
    delays: Histogram,
    /// `None` until a table is attached.
    table: Option<Table>,
    _serving: Serving,
}

struct Table {
    version: Gauge,
    rows: Gauge,
    capacity: Gauge,
    epoch: Gauge,
    publisher: Family<Gauge>,
}

impl SubscriberMetrics {
    /// Serves the metrics of table `name` at `address`. Returns `None` without an address.
    pub fn serve_at(address: Option<&Address>, name: &str) -> Result<Option<Self>, CliError> {
        let Some(server) = Server::bind(address)? else {
            return Ok(None);
        };
        let mut registry = registry("subscriber");
        let table = of_table(&mut registry, name);
        let delays = Histogram::new(bucket_ends().map(|end| end as f64 / 1e9));
        table.register_with_unit(
            "delay",
            "Time from a commit until it was applied, if no other commit came in between",
            Unit::Seconds,
            delays.clone(),
        );
        let changes: Family<Counter> = register(table, "changes", "Rows that refreshes changed");
        for op in ["create", "update", "delete"] {
            changes.get_or_create(&[("op", op)]).inc_by(0);
        }
        let refreshes = register(table, "refreshes", "Refreshes that applied commits");
        let outrun = register(table, "outrun", "Refreshes that the publisher outran");
        let commits = register(table, "commits", "Commits applied, by version number");
        let registry = Arc::new(Mutex::new(registry));
        let serving = server.serve(Arc::clone(&registry), || {})?;
        Ok(Some(Self {
            registry,
            refreshes,
            outrun,
            commits,
            changes,
            delays,
            table: None,
            _serving: serving,
        }))
    }

    pub fn attached(&mut self, table: &UntypedSubscriber) {
        // The server holds the lock only while it encodes.
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = Table::register(of_table(&mut registry, table.name()));
        metrics.set(table);
        self.table = Some(metrics);
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
        for (op, count) in [("create", creates), ("update", updates), ("delete", deletes)] {
            self.changes.get_or_create(&[("op", op)]).inc_by(count);
        }
        self.refreshes.inc_by(u64::from(commits > 0));
        self.commits.inc_by(commits);
        if let Some(delay) = table.delay().filter(|_| !changes.is_empty()) {
            self.delays.observe(delay.as_secs_f64());
        }
        if let Some(metrics) = &self.table {
            metrics.set(table);
        }
    }

    pub fn outrun(&self) {
        self.outrun.inc();
    }
}

impl Table {
    fn register(table: &mut Registry) -> Self {
        let capacity = register_capacity(table);
        Self {
            version: register(table, "version", "Version of this copy"),
            rows: register(table, "rows", "Rows of this copy"),
            capacity,
            epoch: register(table, "epoch", "Publishers that the table has had"),
            publisher: register(table, "publisher_state", "1 for the publisher's state"),
        }
    }

    fn set(&self, table: &UntypedSubscriber) {
        let publisher = table.publisher_state();
        self.version.set(table.version());
        self.rows.set(table.len() as u64);
        self.capacity.set(table.capacity() as u64);
        self.epoch.set(publisher.epoch());
        let state = state_word(table);
        for word in ["alive", "silent", "gone", "closed"] {
            let gauge = self.publisher.get_or_create(&[("state", word)]);
            gauge.set(u64::from(word == state));
        }
    }
}
