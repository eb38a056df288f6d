//! Metrics of a subscriber, set after each refresh.

use std::sync::{Arc, Mutex};

use cli::CliError;
use cli::metrics::{
    Address, Family, Gauge, Server, Serving, register, register_capacity, registry,
};
use common::{Change, UntypedSubscriber};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::follow::state_word;
use crate::latency::bucket_ends;

/// Gauge that is served from the first time that it is set.
type LateGauge = Family<Gauge, 0>;

/// Metrics of a subscriber, and the server for them. Those of the table are served once it is
/// attached.
pub struct SubscriberMetrics {
    refreshes: Counter,
    outrun: Counter,
    commits: Counter,
    changes: Family<Counter, 1>,
    delays: Histogram,
    version: LateGauge,
    rows: LateGauge,
    capacity: LateGauge,
    epoch: LateGauge,
    publisher: Family<Gauge, 1>,
    _serving: Serving,
}

impl SubscriberMetrics {
    /// Serves the metrics of table `name` at `address`. Returns `None` without an address.
    pub fn serve_at(address: Option<&Address>, name: &str) -> Result<Option<Self>, CliError> {
        let Some(server) = Server::bind(address)? else {
            return Ok(None);
        };
        let mut registry = registry("subscriber");
        let table = registry
            .sub_registry_with_prefix("tablecast")
            .sub_registry_with_label(("table".into(), name.to_owned().into()));
        let delays = Histogram::new(bucket_ends().map(|end| end as f64 / 1e9));
        table.register_with_unit(
            "delay",
            "Time from a commit until it was applied, if no other commit came in between",
            Unit::Seconds,
            delays.clone(),
        );
        let changes: Family<Counter, 1> = register(table, "changes", "Rows that refreshes changed");
        for op in ["create", "update", "delete"] {
            changes.get_or_create(&[("op", op)]).inc_by(0);
        }
        Ok(Some(Self {
            refreshes: register(table, "refreshes", "Refreshes that applied commits"),
            outrun: register(table, "outrun", "Refreshes that the publisher outran"),
            commits: register(table, "commits", "Commits applied, by version number"),
            changes,
            delays,
            version: register(table, "version", "Version of this copy"),
            rows: register(table, "rows", "Rows of this copy"),
            capacity: register_capacity(table),
            epoch: register(table, "epoch", "Publishers that the table has had"),
            publisher: register(table, "publisher_state", "1 for the publisher's state"),
            _serving: server.serve(Arc::new(Mutex::new(registry)), || {})?,
        }))
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
        self.set(table);
    }

    pub fn outrun(&self) {
        self.outrun.inc();
    }

    /// Sets the metrics of the table itself.
    pub fn set(&self, table: &UntypedSubscriber) {
        for (gauge, value) in [
            (&self.version, table.version()),
            (&self.rows, table.len() as u64),
            (&self.capacity, table.capacity() as u64),
            (&self.epoch, table.publisher_state().epoch()),
        ] {
            gauge.get_or_create(&[]).set(value);
        }
        let state = state_word(table);
        for word in ["alive", "silent", "gone", "closed"] {
            let gauge = self.publisher.get_or_create(&[("state", word)]);
            gauge.set(u64::from(word == state));
        }
    }
}
