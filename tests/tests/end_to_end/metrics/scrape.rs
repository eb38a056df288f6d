//! A scrape over HTTP, parsed as OpenMetrics.

use std::collections::BTreeMap;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::{OpenMetricsType, OpenMetricsValue};
use tests::LIMIT;
use tests::process::Process;

/// A page of metrics.
pub struct Scrape {
    /// Values by sample name and labels without the table's label:
    /// `tablecast_changes_total{op=create}`.
    pub values: BTreeMap<String, f64>,
    /// The values that are counters.
    pub counters: Vec<String>,
    /// Families with their types and units.
    pub families: BTreeMap<String, (String, String)>,
}

impl Scrape {
    /// Fetches the page at `url` and keeps the samples of `table`.
    pub fn of(url: &str, table: &str) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build().new_agent();
        let mut response = agent.get(url).call().unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0;"), "{kind}");
        Self::read(&response.body_mut().read_to_string().unwrap(), table)
    }

    /// Parses a page.
    pub fn read(text: &str, table: &str) -> Self {
        let (text, units) = without_units_of_histograms(text);
        let parsed = parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        let mut scrape =
            Self { values: BTreeMap::new(), counters: Vec::new(), families: BTreeMap::new() };
        for (name, family) in &parsed.families {
            assert!(!family.help.is_empty(), "{name} has no help");
            let unit = units.get(name).unwrap_or(&family.unit);
            assert!(unit.is_empty() || name.ends_with(unit.as_str()), "{name} {unit}");
            let kind = family.family_type.to_string();
            scrape.families.insert(name.clone(), (kind, unit.clone()));
            for sample in family.iter_samples() {
                let labels = sample.get_labelset().unwrap();
                let of_table = labels.get_label_value("table");
                assert!(of_table.is_none_or(|of| of == table), "{name} of {of_table:?}");
                let labels: Vec<String> = labels
                    .iter()
                    .filter(|(label, _)| *label != "table")
                    .map(|(label, value)| format!("{label}={value}"))
                    .collect();
                scrape.note(name, &labels.join(","), &sample.value, family.family_type);
            }
        }
        scrape
    }

    fn note(&mut self, name: &str, labels: &str, value: &OpenMetricsValue, kind: OpenMetricsType) {
        let mut put = |suffix: &str, labels: &str, value: f64, grows: bool| {
            let braces = match labels {
                "" => String::new(),
                labels => format!("{{{labels}}}"),
            };
            let name = format!("{name}{suffix}{braces}");
            if grows {
                self.counters.push(name.clone());
            }
            assert_eq!(self.values.insert(name.clone(), value), None, "{name}");
        };
        match value {
            OpenMetricsValue::Gauge(value) => put("", labels, value.as_f64(), false),
            OpenMetricsValue::Counter(counter) => {
                put("_total", labels, counter.value.as_f64(), true);
            }
            OpenMetricsValue::Histogram(histogram) => {
                put("_sum", labels, histogram.sum.unwrap().as_f64(), true);
                put("_count", labels, histogram.count.unwrap() as f64, true);
                for bucket in &histogram.buckets {
                    let end = format!("le={}", bucket.upper_bound);
                    put("_bucket", &end, bucket.count.as_f64(), true);
                }
            }
            OpenMetricsValue::Info => put("_info", labels, 1.0, false),
            other => panic!("{name} is {other:?} of {kind:?}"),
        }
    }

    /// Returns the value of a sample.
    pub fn get(&self, name: &str) -> f64 {
        let value = self.values.get(name);
        *value.unwrap_or_else(|| panic!("no {name} in {:#?}", self.values))
    }

    /// Returns true if the page has all of these values.
    pub fn has(&self, values: &[(&str, f64)]) -> bool {
        values.iter().all(|(name, value)| self.values.get(*name) == Some(value))
    }
}

/// Removes the units of histograms: the specification allows them (only infos and state sets have
/// no unit), but the parser does not.
fn without_units_of_histograms(text: &str) -> (String, BTreeMap<String, String>) {
    let (mut rest, mut units) = (String::new(), BTreeMap::new());
    for line in text.lines() {
        let unit = line.strip_prefix("# UNIT ").and_then(|unit| unit.split_once(' '));
        let of_histogram =
            unit.filter(|(name, _)| text.contains(&format!("# TYPE {name} histogram\n")));
        match of_histogram {
            Some((name, unit)) => drop(units.insert(name.to_owned(), unit.to_owned())),
            None => rest.extend([line, "\n"]),
        }
    }
    (rest, units)
}

/// Returns the URL that a process prints for its metrics.
pub fn url(process: &mut Process) -> String {
    let told = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("metrics at "));
        line.map(str::to_owned)
    };
    let stderr = process.stderr_until(|text| told(text).is_some());
    told(&stderr).unwrap()
}
