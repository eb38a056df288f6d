//! What is told of a table that is followed, and what is counted. What may happen again and again is told once.

use subscriber::shell::tell;

use super::dump::Spoilt;

/// After how many dumps in vain that is told.
const PATIENCE: u32 = 5;

/// What happened so far.
#[derive(Default)]
pub struct Counts {
    /// Events that were taken over.
    pub events: u64,
    /// Times that the table was read as a whole.
    pub dumps: u64,
    /// How many of them were of no use.
    in_vain: u64,
    /// Times that events were lost.
    overruns: u64,
}

/// The reports about one table.
pub struct Reports {
    what: &'static str,
    /// What happened so far.
    pub counts: Counts,
    told_overrun: bool,
    told_odd: bool,
    in_trouble: bool,
}

impl Reports {
    /// About the table of that name.
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            counts: Counts::default(),
            told_overrun: false,
            told_odd: false,
            in_trouble: false,
        }
    }

    /// Events were lost.
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

    /// A dump was of no use, the last of so many in a row.
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

    /// Whether there is room for all rows, and if not, a sentence.
    pub fn room(&mut self, trouble: Option<String>) {
        let was_in_trouble = std::mem::replace(&mut self.in_trouble, trouble.is_some());
        if let Some(trouble) = trouble.filter(|_| !was_in_trouble) {
            tell(format_args!("{}: {trouble}", self.what));
        }
    }

    /// A message makes no sense, or not enough.
    pub fn odd(&mut self, why: &str) {
        let what = self.what;
        if !std::mem::replace(&mut self.told_odd, true) {
            tell(format_args!(
                "{what}: a message of the kernel's is left out, and so will others be like it: {why}"
            ));
        }
        tracing::debug!("{what}: odd message: {why}");
    }

    /// What was brought, in a few words.
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
