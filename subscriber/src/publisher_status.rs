//! Reports changes in the state of a table's publisher on stderr, each once.

use common::publisher::SILENT_AFTER;
use common::{PublisherState, UntypedSubscriber};

use cli::status;

/// Returns true if the table's publisher, which is in `state`, is alive and its last heartbeat is
/// known to be too old.
pub fn is_silent(state: PublisherState, table: &UntypedSubscriber) -> bool {
    state.is_alive() && table.heartbeat_age().is_some_and(|age| age > SILENT_AFTER)
}

/// The state that was last reported.
#[derive(Debug)]
pub struct News {
    told: PublisherState,
    told_silent: bool,
    told_input_ended: bool,
}

impl News {
    /// Starts to observe the publisher of an attached table. Nothing is reported yet.
    pub fn of(table: &UntypedSubscriber) -> Self {
        Self {
            told: table.publisher_state(),
            told_silent: false,
            told_input_ended: false,
        }
    }

    /// Reports, at the start, that the table has no publisher, or that its input has ended.
    pub fn tell_absence(&mut self, table: &UntypedSubscriber) {
        if !self.told.is_alive() {
            self.tell_state(table);
        }
        self.tell_input(table);
    }

    /// Reports a change of the publisher's state after a refresh.
    pub fn tell(&mut self, table: &UntypedSubscriber) {
        if self.told != table.publisher_state() {
            self.told = table.publisher_state();
            self.tell_state(table);
        }
        self.tell_input(table);
    }

    /// Reports that the input of a live publisher has ended.
    fn tell_input(&mut self, table: &UntypedSubscriber) {
        let ended = table.has_input_ended() && self.told.is_alive();
        if ended && !self.told_input_ended {
            status(format_args!(
                "the input of the publisher of table {:?} has ended; its rows stay as they are",
                table.name()
            ));
        }
        self.told_input_ended = ended;
    }

    /// Reports, after a refresh without changes, that a live publisher has become silent, or is
    /// heard again.
    pub fn tell_silence(&mut self, table: &UntypedSubscriber) {
        self.tell_input(table);
        let is_silent = is_silent(self.told, table);
        if is_silent == std::mem::replace(&mut self.told_silent, is_silent) {
            return;
        }
        let name = table.name();
        status(match (is_silent, self.told) {
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

    fn tell_state(&self, table: &UntypedSubscriber) {
        let name = table.name();
        status(match self.told {
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
