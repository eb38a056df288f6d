//! The page of metrics: collected on request and encoded by `prometheus_client`.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, unit last, `_total` for
//! counters.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use common::LAYOUT_VERSION;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::buckets::Buckets;

/// Encoder of a page's families of metrics.
pub struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    /// Adds a counter. `_total` is appended to its name.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// Adds the numbers of rows created, updated and deleted by a table's commits.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn changes(&mut self, help: &str, [creates, updates, deletes]: [u64; 3]) -> fmt::Result {
        let values = [
            ("create", creates),
            ("update", updates),
            ("delete", deletes),
        ];
        let family = ("tablecast_changes", help);
        self.several(family, "op", &values, &ConstCounter::new)
    }

    /// Adds a gauge. `unit` is appended to its name.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Adds gauges that differ in a label.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        self.several((name, help), label, values, &ConstGauge::new)
    }

    /// Adds a family of metrics, each created by `metric`.
    fn several<M: EncodeMetric>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: &[(&str, u64)],
        metric: &dyn Fn(u64) -> M,
    ) -> fmt::Result {
        let kind = metric(0).metric_type();
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        values.iter().try_for_each(|(of, value)| {
            metric(*value).encode(encoder.encode_family(&[(label, *of)])?)
        })
    }

    /// Adds a histogram of times with bucket bounds in ns. `_seconds` is appended to its name.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn times(
        &mut self,
        name: &str,
        help: &str,
        sum_ns: u64,
        counts: impl Iterator<Item = (Option<u64>, u64)>,
    ) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let buckets: Vec<(f64, u64)> = counts
            .map(|(end, count)| (end.map_or(f64::INFINITY, seconds), count))
            .collect();
        let all = buckets.iter().map(|(_, count)| count).sum();
        self.0
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(seconds(sum_ns), all, &buckets, None)
    }

    /// Adds the delays from commit to the end of the refresh.
    pub fn delays(&mut self, delays: &Buckets) -> fmt::Result {
        self.times(
            "tablecast_delay",
            "Time from a commit until this subscriber had applied it, where no other commit came in between.",
            delays.sum_ns(),
            delays.iter(),
        )
    }
}

/// Page of metrics of one process and one table.
#[derive(Debug)]
pub struct Page(Registry);

impl Page {
    /// Creates the page of `program`. `table` encodes the families of table `name` on each request.
    pub fn new(
        program: &'static str,
        name: &str,
        table: impl Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Self {
        let mut registry = Registry::default();
        let layout = LAYOUT_VERSION.to_string();
        registry.register(
            "tablecast_build",
            "What this program was built from",
            Info::new(vec![
                ("program", program.to_owned()),
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("layout", layout),
            ]),
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        registry.register_with_unit(
            "process_start_time",
            "When this process was started, in seconds since 1970",
            Unit::Seconds,
            ConstGauge::new(now.unwrap_or_default().as_secs_f64()),
        );
        let label = ("table".into(), name.to_owned().into());
        let of_table = registry.sub_registry_with_label(label);
        of_table.register_collector(Box::new(Collected(table)));
        Self(registry)
    }

    /// Returns the current page.
    ///
    /// # Errors
    /// Fails if encoding a family fails.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

struct Collected<F>(F);

impl<F> fmt::Debug for Collected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

impl<F: Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static> Collector for Collected<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Families(encoder))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn page_contains_all_families() {
        let page = Page::new("test", "prices", |families| {
            families.counter("tablecast_commits", "Commits.", 7)?;
            families.changes("Rows.", [u64::MAX, 0, 0])?;
            families.gauge("tablecast_region", "Size.", Some(Unit::Bytes), 4096_u64)?;
            let mut delays = Buckets::default();
            delays.record(Duration::from_micros(3));
            families.delays(&delays)
        });
        let text = page.text().unwrap();
        for line in [
            "# TYPE tablecast_commits counter",
            "tablecast_commits_total{table=\"prices\"} 7",
            "tablecast_changes_total{table=\"prices\",op=\"create\"} 18446744073709551615",
            "# UNIT tablecast_region_bytes bytes",
            "tablecast_region_bytes{table=\"prices\"} 4096",
            "tablecast_delay_seconds_count{table=\"prices\"} 1",
            "tablecast_delay_seconds_bucket{table=\"prices\",le=\"+Inf\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
