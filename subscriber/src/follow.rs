//! Follows a table: refreshes it, counts commits, sets metrics, and reports each change of its
//! publisher's state on stderr once.

use std::os::fd::AsFd;
use std::time::Duration;

use cli::metrics::Address;
use cli::{CliError, Shutdown, status};
use common::publisher::SILENT_AFTER;
use common::{Cause, Error, OpenOptions, PublisherState, UntypedSubscriber};

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

    /// Reports a missing publisher or an ended input, and requests the table's descriptor, which
    /// then becomes readable when there are changes.
    pub fn begin(&mut self) {
        if !self.reported.is_alive() {
            self.report_state();
        }
        self.report_input();
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
        if self.table.changes().cause() == Cause::Nothing {
            self.report_silence();
        } else if self.reported != self.table.publisher_state() {
            self.reported = self.table.publisher_state();
            // The next publisher has its own input.
            self.is_reported_ended = false;
            self.report_state();
        }
        self.report_input();
        Ok(Some(commits))
    }

    /// Reports that the input of a live publisher has ended, or has resumed.
    fn report_input(&mut self) {
        let has_ended = self.table.has_input_ended() && self.reported.is_alive();
        if has_ended == std::mem::replace(&mut self.is_reported_ended, has_ended) {
            return;
        }
        let name = self.table.name();
        let news = if has_ended { "has ended; its rows stay as they are" } else { "has resumed" };
        status(format_args!("the input of the publisher of table {name:?} {news}"));
    }

    /// Reports that a live publisher has become silent, or has sent a heartbeat again.
    fn report_silence(&mut self) {
        let is_silent = is_silent(self.reported, &self.table);
        if is_silent == std::mem::replace(&mut self.is_reported_silent, is_silent) {
            return;
        }
        let name = self.table.name();
        if is_silent {
            status(format_args!(
                "the publisher of table {name:?} is silent: it is stopped or hangs, or commits nothing and never calls maintain()"
            ));
        } else if self.reported.is_alive() {
            status(format_args!("the publisher of table {name:?} is heard again"));
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
    let state = table.publisher_state();
    if is_silent(state, table) { "silent" } else { state.as_str() }
}

/// Returns true if the publisher is alive by its `state` and its last heartbeat is known to be too
/// old.
fn is_silent(state: PublisherState, table: &UntypedSubscriber) -> bool {
    state.is_alive() && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER)
}
