//! Log lines and counters of a source that follows one of the kernel's tables. A condition that can
//! recur is a warning the first time, and a debug message afterwards.

use cli::status;

/// Number of consecutive failed dumps after which the failure is reported.
const WARN_AFTER: u32 = 5;

/// The reports about one table.
#[derive(Default)]
pub struct Reports {
    table: &'static str,
    pub events: u64,
    pub dumps: u64,
    failed_dumps: u64,
    overruns: u64,
    has_warned_overrun: bool,
    has_warned_malformed: bool,
    lacks_capacity: bool,
}

impl Reports {
    pub fn new(table: &'static str) -> Self {
        Self { table, ..Self::default() }
    }

    pub fn overrun(&mut self) {
        self.overruns += 1;
        let table = self.table;
        tracing::info!("{table}: overrun");
        if !std::mem::replace(&mut self.has_warned_overrun, true) {
            tracing::warn!(
                "{table}: events were lost because the receive buffer was full: everything is read again, now and whenever this \
                 happens; raise --receive-buffer (and net.core.rmem_max)"
            );
        }
    }

    /// Reports that a dump could not be used, the last of `times` such dumps in a row.
    pub fn dump_failed(&mut self, why: &[String], times: u32) {
        self.failed_dumps += 1;
        let table = self.table;
        let why = match why {
            [] => "the table changed during the dump, or the kernel did not answer".to_owned(),
            why => why.join(", "),
        };
        tracing::info!("{table}: dumping again: {why}");
        if times == WARN_AFTER {
            tracing::warn!(
                "{table}: {times} dumps failed, the last one because {why}; the rows stay as they are until a dump succeeds"
            );
        }
    }

    /// Reports, if `message` is given and new, why the table has no room for all rows.
    pub fn capacity(&mut self, message: Option<String>) {
        let lacked_capacity = std::mem::replace(&mut self.lacks_capacity, message.is_some());
        if let Some(message) = message.filter(|_| !lacked_capacity) {
            status(format_args!("{}: {message}", self.table));
        }
    }

    pub fn malformed(&mut self, why: &str) {
        let table = self.table;
        if !std::mem::replace(&mut self.has_warned_malformed, true) {
            status(format_args!(
                "{table}: ignoring a malformed message of the kernel, and all further ones: {why}"
            ));
        }
        tracing::debug!("{table}: malformed message: {why}");
    }

    pub fn summary(&self) -> String {
        let Self { events, overruns, dumps, failed_dumps, .. } = self;
        format!("events: {events}, overruns: {overruns}, dumps: {dumps}, failed: {failed_dumps}")
    }
}
