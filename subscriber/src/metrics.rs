//! Metrics of a subscriber: recorded after each refresh, encoded on request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use common::{Change, PublisherState, UntypedSubscriber};
use prometheus_client::registry::Unit;

use cli::CliError;
use cli::metrics::encode::{Families, Page};
use cli::metrics::{Address, Bound, Buckets, Server, bind};

use crate::publisher_status::is_silent;

/// Metrics of a subscriber, and the thread that serves them.
pub struct Following {
    noted: Arc<Mutex<Noted>>,
    _server: Server,
}

/// Recorded values.
#[derive(Clone, Debug, Default)]
struct Noted {
    /// State of the table, or `None` before it appeared.
    table: Option<Table>,
    refreshes: u64,
    outrun: u64,
    commits: u64,
    creates: u64,
    updates: u64,
    deletes: u64,
    delays: Buckets,
}

#[derive(Clone, Copy, Debug)]
struct Table {
    version: u64,
    rows: usize,
    capacity: usize,
    publisher: PublisherState,
    is_silent: bool,
}

impl Table {
    fn of(table: &UntypedSubscriber) -> Self {
        Self {
            version: table.version(),
            rows: table.len(),
            capacity: table.capacity(),
            publisher: table.publisher_state(),
            is_silent: is_silent(table.publisher_state(), table),
        }
    }

    fn state(&self) -> &'static str {
        match self.is_silent {
            true => "silent",
            false => self.publisher.as_str(),
        }
    }
}

impl Following {
    /// Serves the metrics of table `name` at `address`, if there is one.
    ///
    /// # Errors
    /// Fails if the system refuses to listen.
    pub fn serve_at(address: Option<&Address>, name: &str) -> Result<Option<Self>, CliError> {
        let bound = bind(address)?;
        bound.map(|bound| Self::serve(bound, name)).transpose()
    }

    fn serve(bound: Bound, name: &str) -> Result<Self, CliError> {
        let noted = Arc::new(Mutex::new(Noted::default()));
        let shared = Arc::clone(&noted);
        let page = Page::new("subscriber", name, move |families| {
            copied(&shared).encode(families)
        });
        Ok(Self {
            noted,
            _server: bound.serve(move || page.text())?,
        })
    }

    /// Records that the subscriber attached to a table.
    pub fn attached(&self, table: &UntypedSubscriber) {
        self.note(|noted| noted.table = Some(Table::of(table)));
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
        self.note(|noted| {
            noted.table = Some(Table::of(table));
            noted.refreshes += u64::from(commits > 0);
            noted.commits += commits;
            noted.creates += creates;
            noted.updates += updates;
            noted.deletes += deletes;
            if let Some(delay) = table.delay().filter(|_| !changes.is_empty()) {
                noted.delays.record(delay);
            }
        });
    }

    /// Records that the table changed faster than it could be copied.
    pub fn outrun(&self) {
        self.note(|noted| noted.outrun += 1);
    }

    fn note(&self, what: impl FnOnce(&mut Noted)) {
        what(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Copies the values, so that the lock is held only for the copy.
fn copied(noted: &Mutex<Noted>) -> Noted {
    noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Noted {
    fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            table.encode(families)?;
        }
        families.counter(
            "tablecast_refreshes",
            "Refreshes that applied commits to this copy.",
            self.refreshes,
        )?;
        families.counter(
            "tablecast_outrun",
            "Refreshes that failed because the table changed faster than it could be copied.",
            self.outrun,
        )?;
        families.counter(
            "tablecast_commits",
            "Commits applied to this copy, counted by version number.",
            self.commits,
        )?;
        families.changes(
            "Rows that differed after a refresh. What changed twice in between counts once.",
            [self.creates, self.updates, self.deletes],
        )?;
        families.delays(&self.delays)
    }
}

impl Table {
    fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "tablecast_version",
            "The version of this copy.",
            None,
            self.version,
        )?;
        families.gauge(
            "tablecast_rows",
            "Rows of this copy.",
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
            "Publishers that the table has had.",
            None,
            self.publisher.epoch(),
        )?;
        let state = self.state();
        families.gauges(
            "tablecast_publisher_state",
            "What this subscriber knows of its publisher: 1 for the state that it is in.",
            "state",
            &["alive", "silent", "gone", "closed"].map(|one| (one, u64::from(one == state))),
        )
    }
}
