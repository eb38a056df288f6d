//! Log lines and counters of a source that follows one of the kernel's tables. A condition that may
//! recur is logged once at the higher level.

use cli::status;

use super::dump::Spoilt;

/// Number of consecutive failed dumps after which the failure is reported.
const PATIENCE: u32 = 5;

/// Counters since the start.
#[derive(Default)]
pub struct Counts {
    /// Number of events that were applied.
    pub events: u64,
    /// Number of dumps of the whole table.
    pub dumps: u64,
    /// Number of those dumps that could not be used.
    in_vain: u64,
    /// Number of times that events were lost.
    overruns: u64,
}

/// The reports about one table.
pub struct Reports {
    what: &'static str,
    /// Counters since the start.
    pub counts: Counts,
    told_overrun: bool,
    told_odd: bool,
    in_trouble: bool,
}

impl Reports {
    /// Creates the reports for the table of this name.
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            counts: Counts::default(),
            told_overrun: false,
            told_odd: false,
            in_trouble: false,
        }
    }

    /// Reports that events were lost.
    pub fn overrun(&mut self) {
        self.counts.overruns += 1;
        let what = self.what;
        tracing::info!("{what}: overrun");
        if !std::mem::replace(&mut self.told_overrun, true) {
            tracing::warn!(
                "{what}: events were lost for want of room in the receive buffer: all is read again, now and whenever that \
                 happens; --receive-buffer (and net.core.rmem_max) give it more room"
            );
        }
    }

    /// Reports that a dump could not be used, the last of `times` such dumps in a row.
    pub fn in_vain(&mut self, why: &[Spoilt], times: u32) {
        self.counts.in_vain += 1;
        let what = self.what;
        let why = match why {
            [] => "it changed while it was read, or the kernel did not answer".to_owned(),
            why => why
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        tracing::info!("{what}: reading all of it again: {why}");
        if times == PATIENCE {
            tracing::warn!(
                "{what}: read {times} times in vain, the last time because {why}; the table stays as it is until that works"
            );
        }
    }

    /// Reports, if `trouble` is given and new, why the table has no room for all rows.
    pub fn room(&mut self, trouble: Option<String>) {
        let was_in_trouble = std::mem::replace(&mut self.in_trouble, trouble.is_some());
        if let Some(trouble) = trouble.filter(|_| !was_in_trouble) {
            status(format_args!("{}: {trouble}", self.what));
        }
    }

    /// Reports a message that is malformed or incomplete.
    pub fn odd(&mut self, why: &str) {
        let what = self.what;
        if !std::mem::replace(&mut self.told_odd, true) {
            status(format_args!(
                "{what}: a message of the kernel's is left out, and so will others be like it: {why}"
            ));
        }
        tracing::debug!("{what}: odd message: {why}");
    }

    /// Returns the counters as one line.
    pub fn summary(&self) -> String {
        let Counts {
            events,
            dumps,
            in_vain,
            overruns,
        } = self.counts;
        format!("events: {events}, overruns: {overruns}, dumps: {dumps}, in vain: {in_vain}")
    }
}
