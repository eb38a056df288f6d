//! Metrics for Prometheus, served at `http://ADDR/metrics` (`--metrics ADDR`) in the OpenMetrics
//! format, or in Prometheus's text format for clients that ask for it.
//!
//! 1. [`Server::bind`] listens before the table exists, so that an address in use is reported at
//!    the start.
//! 2. The main loop sets metrics in a [`Registry`] and never waits for a client.
//! 3. A thread answers requests, and encodes the registry for each.
//!
//! The server is meant for a scraper on the same machine: it has neither TLS nor authentication.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, unit last, `_total` for
//! counters.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use common::LAYOUT_VERSION;
use prometheus_client::metrics::family;
use prometheus_client::metrics::gauge::{self, ConstGauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

mod server;

pub use server::{Address, Server, Serving};

/// Metric that goes up and down.
pub type Gauge = gauge::Gauge<u64, AtomicU64>;

/// Metrics that differ in the values of their labels.
pub type Family<M, const LABELS: usize> = family::Family<[(&'static str, &'static str); LABELS], M>;

/// Creates the registry of `program`, with its version and start time.
pub fn registry(program: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = vec![
        ("program", program.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("layout", LAYOUT_VERSION.to_string()),
    ];
    registry.register("tablecast_build", "What this program was built from", Info::new(build));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "When this process was started, in seconds since 1970";
    let start = ConstGauge::new(now.as_secs_f64());
    registry.register_with_unit("process_start_time", help, Unit::Seconds, start);
    registry
}

/// Registers a new metric and returns it.
pub fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers the gauge of a table's capacity and returns it.
pub fn register_capacity<M: Metric + Clone + Default>(registry: &mut Registry) -> M {
    let capacity = M::default();
    let (help, unit) = (
        "Number of rows for which the table has room before it grows",
        Unit::Other("rows".to_owned()),
    );
    registry.register_with_unit("capacity", help, unit, capacity.clone());
    capacity
}
