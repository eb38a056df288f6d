//! The `--metrics` of a publisher: figures that the publishing loop stores in each turn, and the
//! server that exports them.
//!
//! The loop uses `try_lock` and never waits: if the server is reading the figures at that moment,
//! the loop stores them in its next turn, at most a second later. The list of subscribers is read
//! from shared memory at each scrape, as `subscriber info` does.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cli::CliError;
use cli::metrics::encode::{Families, Page};
use cli::metrics::{Bound, Server};
use common::admin::Listener;
use common::publisher::Statistics;
use common::{TableInfo, UntypedPublisher, inspect};
use prometheus_client::registry::Unit;

use crate::source::Progress;

/// Upper bound of the first histogram bucket, in nanoseconds: a power of two.
const LEAST_NS: u64 = 256;

/// The metrics of a publisher and the thread that serves them.
pub struct Metered {
    noted: Arc<Mutex<Noted>>,
    _server: Server,
}

#[derive(Clone)]
struct Noted {
    begun_at: u64,
    version: u64,
    epoch: u64,
    rows: usize,
    capacity: usize,
    has_ended: bool,
    statistics: Statistics,
}

impl Noted {
    fn of(publisher: &UntypedPublisher, progress: Progress) -> Self {
        Self {
            has_ended: progress == Progress::Ended,
            begun_at: publisher.version(),
            version: publisher.version(),
            epoch: publisher.epoch(),
            rows: publisher.len(),
            capacity: publisher.capacity(),
            statistics: publisher.statistics().clone(),
        }
    }
}

impl Metered {
    /// Starts to serve the metrics of `publisher`.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the server cannot be started.
    pub fn serve(bound: Bound, publisher: &mut UntypedPublisher) -> Result<Self, CliError> {
        publisher.time_commits();
        let noted = Arc::new(Mutex::new(Noted::of(publisher, Progress::Waiting)));
        let (shared, name) = (Arc::clone(&noted), publisher.name().to_owned());
        let page = Page::new("publisher", publisher.name(), move |families| {
            let noted = copied(&shared);
            noted.encode(families)?;
            match inspect(&name, None) {
                Ok(table) => encode_table(&table, families),
                Err(error) => {
                    tracing::debug!("metrics are served without those of the region: {error}");
                    Ok(())
                }
            }
        });
        Ok(Self {
            noted,
            _server: bound.serve(move || page.text())?,
        })
    }

    /// Stores the current figures.
    pub fn note(&self, publisher: &UntypedPublisher, progress: Progress) {
        if let Ok(mut noted) = self.noted.try_lock() {
            *noted = Noted {
                begun_at: noted.begun_at,
                ..Noted::of(publisher, progress)
            };
        }
    }
}

/// Returns a copy, so that the lock is not held while the response is encoded.
fn copied(noted: &Mutex<Noted>) -> Noted {
    noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Noted {
    fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        families.counter(
            "tablecast_commits",
            "Commits by this process.",
            self.version - self.begun_at,
        )?;
        families.changes(
            "Rows created, updated or deleted by commits.",
            [statistics.creates, statistics.updates, statistics.deletes],
        )?;
        families.gauge(
            "tablecast_version",
            "Version of the last commit.",
            None,
            self.version,
        )?;
        families.gauge(
            "tablecast_rows",
            "Rows in the table.",
            None,
            self.rows as u64,
        )?;
        families.gauge(
            "tablecast_capacity",
            "Maximum number of rows in the table.",
            Some(Unit::Other("rows".to_owned())),
            self.capacity as u64,
        )?;
        families.gauge(
            "tablecast_epoch",
            "Number of publishers that the table has had, including this one.",
            None,
            self.epoch,
        )?;
        families.gauge(
            "tablecast_input_ended",
                        "1 if the input of `serve --from -` has ended, so that the rows do not change any more; otherwise 0.",
            None,
            u64::from(self.has_ended),
        )?;
        families.counter(
            "tablecast_sweeps",
            "Searches for new subscribers and for slots of dead ones.",
            statistics.sweeps,
        )?;
        families.counter(
            "tablecast_wakes",
                        "Wake-ups sent: one per parked subscriber with a slot, and one for all that wait on the futex.",
            statistics.wakes,
        )?;
        self.encode_commit_times(families)
    }

    fn encode_commit_times(&self, families: &mut Families<'_>) -> fmt::Result {
        let Some(times) = &self.statistics.commit_times else {
            return Ok(());
        };
        let is_least = |end: Option<u64>| end.is_some_and(|end| end <= LEAST_NS);
        let least = times.buckets().filter(|(end, _)| is_least(*end));
        let least: u64 = least.map(|(_, count)| count).sum();
        let others = times.buckets().filter(|(end, _)| !is_least(*end));
        families.times(
            "tablecast_commit",
            "Time that commits with rows took, including the wake-ups.",
            times.sum_ns(),
            std::iter::once((Some(LEAST_NS), least)).chain(others),
        )
    }
}

/// Encodes the figures that are read from shared memory.
fn encode_table(table: &TableInfo, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "tablecast_region",
        "Size of the table in shared memory.",
        Some(Unit::Bytes),
        table.bytes,
    )?;
    let Ok(subscribers) = &table.subscribers else {
        return Ok(());
    };
    let count = |which: &dyn Fn(&Listener) -> bool| {
        subscribers.iter().filter(|one| which(one)).count() as u64
    };
    families.gauges(
        "tablecast_subscribers",
                    "Subscribers with a slot: parked (waiting for a commit), awake, or gone (dead, slot not freed yet).",
        "state",
        &[
            ("parked", count(&|one| one.alive && one.parked)),
            ("awake", count(&|one| one.alive && !one.parked)),
            ("gone", count(&|one| !one.alive)),
        ],
    )?;
    families.gauge(
        "tablecast_subscribers_behind",
        "Live subscribers that have not reported the last commit as seen.",
        None,
        count(&|one| one.alive && one.seen < table.version),
    )
}
