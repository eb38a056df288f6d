//! The metrics as text: what is asked for is collected at that moment, and encoded by `prometheus_client`.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, the unit last, `_total` for what only grows.

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

/// What makes up a page: families of metrics, each with its help.
pub struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    /// A number that only grows. `_total` is put to its name.
    ///
    /// # Errors
    /// What the writer has.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// What rows a table's commits changed: how many were created, updated and deleted.
    ///
    /// # Errors
    /// What the writer has.
    pub fn changes(&mut self, help: &str, [creates, updates, deletes]: [u64; 3]) -> fmt::Result {
        let values = [
            ("create", creates),
            ("update", updates),
            ("delete", deletes),
        ];
        let family = ("tablecast_changes", help);
        self.several(family, "op", &values, &ConstCounter::new)
    }

    /// A number. `unit` is put to its name.
    ///
    /// # Errors
    /// What the writer has.
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

    /// Several of them, told apart by a label.
    ///
    /// # Errors
    /// What the writer has.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        self.several((name, help), label, values, &ConstGauge::new)
    }

    /// A family of so many metrics, each of them made by `metric`.
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

    /// Times, counted by how long they are, with their ends in ns. `_seconds` is put to its name.
    ///
    /// # Errors
    /// What the writer has.
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

    /// Delays from commit to applied.
    pub(super) fn delays(&mut self, delays: &Buckets) -> fmt::Result {
        self.times(
            "tablecast_delay",
            "Time from a commit until this subscriber had applied it, where no other commit came in between.",
            delays.sum_ns(),
            delays.iter(),
        )
    }
}

/// A page about one table, in one process.
#[derive(Debug)]
pub struct Page(Registry);

impl Page {
    /// The page of `program`, whose families about table `name` are what `table` says when it is asked for.
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

    /// The page as it is now.
    ///
    /// # Errors
    /// What makes up the page has.
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
    fn a_page_is_what_its_families_say() {
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
