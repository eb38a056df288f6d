//! Reports changes in the state of a table's publisher on stderr, each once.

use common::publisher::SILENT_AFTER;
use common::{PublisherState, UntypedSubscriber};

use cli::status;

/// Returns true if the publisher, which is in `state`, is alive and its last heartbeat is known to
/// be too old.
fn is_silent(state: PublisherState, table: &UntypedSubscriber) -> bool {
    state.is_alive() && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER)
}

/// Returns the publisher's state as a word: alive, silent, gone or closed.
pub fn state_word(table: &UntypedSubscriber) -> &'static str {
    let state = table.publisher_state();
    if is_silent(state, table) { "silent" } else { state.as_str() }
}

/// The state that was last reported.
#[derive(Debug)]
pub struct PublisherStatus {
    reported: PublisherState,
    is_reported_silent: bool,
    is_reported_ended: bool,
}

impl PublisherStatus {
    /// Starts to observe the publisher of an attached table. Nothing is reported yet.
    pub fn of(table: &UntypedSubscriber) -> Self {
        Self {
            reported: table.publisher_state(),
            is_reported_silent: false,
            is_reported_ended: false,
        }
    }

    /// Reports, at the start, that the table has no publisher, or that its input has ended.
    pub fn report_absence(&mut self, table: &UntypedSubscriber) {
        if !self.reported.is_alive() {
            self.report_state(table);
        }
        self.report_input(table);
    }

    /// Reports a change of the publisher's state after a refresh.
    pub fn report(&mut self, table: &UntypedSubscriber) {
        if self.reported != table.publisher_state() {
            self.reported = table.publisher_state();
            self.report_state(table);
        }
        self.report_input(table);
    }

    /// Reports that the input of a live publisher has ended.
    fn report_input(&mut self, table: &UntypedSubscriber) {
        let ended = table.has_input_ended() && self.reported.is_alive();
        if ended && !self.is_reported_ended {
            status(format_args!(
                "the input of the publisher of table {:?} has ended; its rows stay as they are",
                table.name()
            ));
        }
        self.is_reported_ended = ended;
    }

    /// Reports, after a refresh without changes, that a live publisher has become silent, or is
    /// heard again.
    pub fn report_silence(&mut self, table: &UntypedSubscriber) {
        self.report_input(table);
        let is_silent = is_silent(self.reported, table);
        if is_silent == std::mem::replace(&mut self.is_reported_silent, is_silent) {
            return;
        }
        let name = table.name();
        status(match (is_silent, self.reported) {
            (true, _) => format!(
                "the publisher of table {name:?} is silent: it is stopped or hangs, or commits nothing and never calls maintain()"
            ),
            (false, PublisherState::Alive { .. }) => {
                format!("the publisher of table {name:?} is heard again")
            }
            // The change of state is reported separately.
            (false, _) => return,
        });
    }

    fn report_state(&self, table: &UntypedSubscriber) {
        let name = table.name();
        status(match self.reported {
            PublisherState::Alive { pid, .. } => {
                format!("table {name:?} is published by process {pid} now")
            }
            PublisherState::Gone { .. } => format!(
                "the publisher of table {name:?} is gone; its rows stay until the next one comes"
            ),
            PublisherState::Closed { .. } => {
                format!("table {name:?} is closed; its rows stay until it is published again")
            }
        });
    }
}
