//! Follows a table: refreshes it, counts commits, sets metrics, and reports each change of its
//! publisher's state on stderr once.

use std::os::fd::AsFd;
use std::time::Duration;

use cli::metrics::Address;
use cli::{CliError, Shutdown, status};
use common::publisher::SILENT_AFTER;
use common::{Error, OpenOptions, PublisherState, UntypedSubscriber};

use crate::attach::attach_when_published;
use crate::latency::Commits;
use crate::metrics::SubscriberMetrics;

pub struct Follower {
    table: UntypedSubscriber,
    commits: Commits,
    metrics: Option<SubscriberMetrics>,
    /// The state that was last reported.
    reported: PublisherState,
    is_reported_silent: bool,
    is_reported_ended: bool,
}

impl Follower {
    /// Serves metrics if an address is given, and attaches to the table `name` like
    /// [`attach_when_published`].
    pub fn attach(
        name: &str,
        builder: &OpenOptions<UntypedSubscriber>,
        timeout: Option<Duration>,
        metrics: Option<&Address>,
        stop: &Shutdown,
    ) -> Result<Option<Self>, CliError> {
        let metrics = SubscriberMetrics::serve_at(metrics, name)?;
        let Some(table) = attach_when_published(builder, timeout, stop)? else {
            return Ok(None);
        };
        metrics.iter().for_each(|metrics| metrics.set(&table));
        Ok(Some(Self {
            commits: Commits(table.version()),
            reported: table.publisher_state(),
            is_reported_silent: false,
            is_reported_ended: false,
            metrics,
            table,
        }))
    }

    pub fn table(&self) -> &UntypedSubscriber {
        &self.table
    }

    /// Reports a missing or silent publisher, or an ended input. Also requests the table's
    /// descriptor, which then becomes readable when there are changes.
    pub fn begin(&mut self) {
        if !self.reported.is_alive() {
            self.report_state();
        }
        self.report();
        // Refreshes arm the descriptor only after it was requested.
        let _armed = self.table.as_fd();
    }

    /// Refreshes the table. Returns the number of commits, or `None` if the publisher outran the
    /// refresh; the copy then keeps its previous version, and is complete.
    pub fn refresh(&mut self) -> Result<Option<u64>, CliError> {
        match self.table.refresh() {
            Ok(_) => {}
            Err(Error::Outrun { .. }) => {
                self.metrics.iter().for_each(SubscriberMetrics::outrun);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let commits = self.commits.advance(self.table.version());
        if let Some(metrics) = &self.metrics {
            metrics.refreshed(&self.table, commits);
        }
        self.report();
        Ok(Some(commits))
    }

    /// Reports what has changed about the publisher since the last report.
    fn report(&mut self) {
        let (table, name) = (&self.table, self.table.name());
        if self.reported != table.publisher_state() {
            self.reported = table.publisher_state();
            // The next publisher has its own input.
            self.is_reported_ended = false;
            self.report_state();
        }
        let is_alive = self.reported.is_alive();
        let is_silent = is_silent(table);
        if is_silent != std::mem::replace(&mut self.is_reported_silent, is_silent) {
            if is_silent {
                status(format_args!(
                    "the publisher of table {name:?} is silent: it is stopped or hangs, or commits nothing and never calls maintain()"
                ));
            } else if is_alive {
                status(format_args!("the publisher of table {name:?} is heard again"));
            }
        }
        let has_ended = is_alive && table.has_input_ended();
        if has_ended != std::mem::replace(&mut self.is_reported_ended, has_ended) {
            let news = if has_ended { "ended; its rows stay as they are" } else { "resumed" };
            status(format_args!("the input of the publisher of table {name:?} has {news}"));
        }
    }

    fn report_state(&self) {
        let name = self.table.name();
        status(match self.reported {
            PublisherState::Alive { pid, .. } => {
                format!("table {name:?} is published by process {pid} now")
            }
            PublisherState::Gone { .. } => format!(
                "the publisher of table {name:?} is gone; its rows stay until the next publisher takes over"
            ),
            PublisherState::Closed { .. } => {
                format!("table {name:?} is closed; its rows stay until it is published again")
            }
            _ => return,
        });
    }
}

/// Returns the publisher's state as a word: alive, silent, gone or closed.
pub fn state_word(table: &UntypedSubscriber) -> &'static str {
    if is_silent(table) { "silent" } else { table.publisher_state().as_str() }
}

/// Returns true if the publisher is alive and its last heartbeat is known to be too old.
fn is_silent(table: &UntypedSubscriber) -> bool {
    let is_old = || table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER);
    table.publisher_state().is_alive() && is_old()
}
