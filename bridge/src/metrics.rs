//! The metrics of the links (`--metrics`), which are encoded from their states at each request.

use std::fmt;
use std::sync::{Arc, Mutex};

use cli::CliError;
use cli::metrics::{Server, Serving, registry};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::links::{Rows, State, Status, lock};

/// Serves the metrics of all links.
///
/// # Errors
/// The server's thread cannot be started.
pub fn serve(server: Server, rows: Rows) -> Result<Serving, CliError> {
    let mut registry = registry("bridge");
    registry.register_collector(Box::new(LinkMetrics(rows)));
    server.serve(Arc::new(Mutex::new(registry)), || {})
}

#[derive(Debug)]
struct LinkMetrics(Rows);

/// A figure of a link.
type Figure = fn(&Status) -> u64;

const GAUGES: [(&str, &str, Figure); 4] = [
    ("version", "Version of the origin", |link| link.position.version),
    ("epoch", "Publishers that the origin has had", |link| link.epoch),
    ("rows", "Rows in the table", |link| link.rows),
    ("following", "1 if the link works: it exports, or follows the origin", |link| {
        u64::from(matches!(link.state, State::Exporting | State::Following))
    }),
];

const COUNTERS: [(&str, &str, Figure); 3] = [
    ("messages", "Messages of the link", |link| link.messages),
    ("message_bytes", "Length of all messages of the link", |link| link.bytes),
    ("resyncs", "Updates with all rows", |link| link.resyncs),
];

impl Collector for LinkMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let links: Vec<Status> = lock(&self.0).iter().map(|link| lock(link).clone()).collect();
        let mut family = |name: &str, help: &str, unit, metric: &dyn Fn(&Status) -> Metric| {
            let name = format!("tablecast_link_{name}");
            let Some(first) = links.first() else {
                return Ok(());
            };
            let kind = metric(first).kind();
            let mut family = encoder.encode_descriptor(&name, help, unit, kind)?;
            for link in &links {
                let labels = [("table", &*link.table), ("peer", &*link.peer)];
                metric(link).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        for (name, help, figure) in GAUGES {
            family(name, help, None, &|link| Metric::Gauge(figure(link) as f64))?;
        }
        let help = "Time between the last commit and its local commit, by the clocks of both hosts";
        let lag = |link: &Status| Metric::Gauge(link.lag_ns as f64 / 1e9);
        family("lag", help, Some(&Unit::Seconds), &lag)?;
        for (name, help, figure) in COUNTERS {
            family(name, help, None, &|link| Metric::Counter(figure(link)))?;
        }
        Ok(())
    }
}

enum Metric {
    Gauge(f64),
    Counter(u64),
}

impl Metric {
    fn kind(&self) -> prometheus_client::metrics::MetricType {
        match self {
            Self::Gauge(value) => ConstGauge::new(*value).metric_type(),
            Self::Counter(value) => ConstCounter::new(*value).metric_type(),
        }
    }

    fn encode(self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Gauge(value) => ConstGauge::new(value).encode(encoder),
            Self::Counter(value) => ConstCounter::new(value).encode(encoder),
        }
    }
}
