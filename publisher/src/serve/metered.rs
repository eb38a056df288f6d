//! `--metrics` of a publisher: its numbers, noted in each turn of the loop and told to who asks.
//!
//! The loop notes them under a lock that it never waits for: should somebody read them at that instant, they are noted the next
//! time, a second later at most. Who listens is looked up when it is asked for, from outside, as by `subscriber info`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use common::inspect::Listener;
use common::publisher::Statistics;
use common::{TableInfo, UntypedPublisher, inspect};
use prometheus_client::registry::Unit;
use subscriber::metrics::page::{Families, Page};
use subscriber::metrics::{Bound, Server};
use subscriber::shell::Failure;

use crate::source::Progress;

/// The shortest time that is told apart, in ns: a power of two.
const LEAST_NS: u64 = 256;

/// What is told of a publisher, and the thread that tells it.
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
    /// Serves what `publisher` does from now on.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn serve(bound: Bound, publisher: &mut UntypedPublisher) -> Result<Self, Failure> {
        publisher.time_commits();
        let noted = Arc::new(Mutex::new(Noted::of(publisher, Progress::Waiting)));
        let (shared, name) = (Arc::clone(&noted), publisher.name().to_owned());
        let page = Page::new("publisher", publisher.name(), move |families| {
            let noted = copied(&shared);
            noted.encode(families)?;
            match inspect(&name, None) {
                Ok(table) => encode_table(&table, families),
                Err(error) => {
                    tracing::debug!("metrics do without what is seen from outside: {error}");
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

/// A copy: nobody is kept waiting for what becomes of it.
fn copied(noted: &Mutex<Noted>) -> Noted {
    noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Noted {
    fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        families.counter(
            "tablecast_commits",
            "Commits since this process took the table, counted by their numbers.",
            self.version - self.begun_at,
        )?;
        families.changes(
            "Rows that commits created, updated, or deleted.",
            [statistics.creates, statistics.updates, statistics.deletes],
        )?;
        families.gauge("tablecast_version", "The last commit.", None, self.version)?;
        families.gauge(
            "tablecast_rows",
            "Rows of the table.",
            None,
            self.rows as u64,
        )?;
        families.gauge(
            "tablecast_capacity",
            "Rows that the table has room for.",
            Some(Unit::Other("rows".to_owned())),
            self.capacity as u64,
        )?;
        families.gauge(
            "tablecast_epoch",
            "Publishers that the table has had, this one included.",
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
            "Looks after new subscribers, and after what dead ones left.",
            statistics.sweeps,
        )?;
        families.counter(
            "tablecast_wakes",
            "Calls to subscribers that slept: one each, and one for all that sleep on the futex.",
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
            "Time that commits with rows took the publisher, waking included.",
            times.sum_ns(),
            std::iter::once((Some(LEAST_NS), least)).chain(others),
        )
    }
}

/// What is seen from outside.
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
        "Subscribers that have a slot: parked (asleep until the next commit), awake, or gone with their slot not freed yet.",
        "state",
        &[
            ("parked", count(&|one| one.alive && one.parked)),
            ("awake", count(&|one| one.alive && !one.parked)),
            ("gone", count(&|one| !one.alive)),
        ],
    )?;
    families.gauge(
        "tablecast_subscribers_behind",
        "Subscribers that live and have not seen the last commit yet, as they say.",
        None,
        count(&|one| one.alive && one.seen < table.version),
    )
}
