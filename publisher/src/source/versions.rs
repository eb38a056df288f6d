//! Publishes an input of which each version is a whole table.
//!
//! 1. An [`Input`] reads one version after the other, in a [`Worker`](super::worker::Worker), and
//!    passes each of them to [`Versions`].
//! 2. [`Versions`] keeps a good version until it is published in one commit of the differences. A
//!    version that is not a table is reported, and the rows do not change.
//! 3. [`Versioned`], the source, opens when the first version has been read, because the schema may
//!    be inferred from it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::service::Readiness;
use cli::{CliError, Shutdown, status};
use common::{Error, Schema, UntypedPublisher};

use super::format::Table;
use super::{Progress, Snapshot, Source, SourceError};

/// Interval at which publishing is retried after a lack of memory.
pub const RETRY: Duration = Duration::from_secs(5);

/// Maximum size of a version that a command prints or that arrives on stdin, in bytes.
pub const MAX_OUTPUT: usize = 64 << 20;

/// An input of which each version is a whole table.
pub trait Input {
    /// Returns descriptors, one of which becomes readable when there is something to do.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Returns the time at which to call `advance` even if no descriptor is readable.
    fn due(&self) -> Option<Instant>;

    /// Passes the versions that have been read to `versions`, and starts to read more. Never
    /// blocks.
    ///
    /// # Errors
    /// Returns an error if the source cannot continue.
    fn advance(&mut self, now: Instant, versions: &mut Versions) -> Result<Progress, CliError>;

    /// Returns the number of reloads that were requested, and true if all of them are done.
    fn reloads(&self) -> (u32, bool) {
        (0, true)
    }
}

/// The source of an input's versions.
pub struct Versioned<I> {
    input: I,
    versions: Versions,
}

impl<I: Input> Versioned<I> {
    /// Waits for the first version. Returns `None` if the program was stopped before.
    pub fn open(
        mut input: I,
        mut versions: Versions,
        stop: &Shutdown,
    ) -> Result<Option<Self>, CliError> {
        loop {
            let now = Instant::now();
            input.advance(now, &mut versions)?;
            if versions.schema.is_some() {
                return Ok(Some(Self { input, versions }));
            }
            let time = input.due().map(|due| due.saturating_duration_since(now));
            if stop.wait_with(&input.descriptors(), time) {
                versions.say("stopped before the end of the first version, nothing is published");
                return Ok(None);
            }
        }
    }

    pub fn schema(&self) -> &Schema {
        self.versions.schema().expect("`open` has read a version")
    }
}

impl<I: Input> Source for Versioned<I> {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.input.descriptors()
    }

    fn due(&self) -> Option<Instant> {
        let to_publish = self.versions.fresh.as_ref().map(|(_, due)| *due);
        [self.input.due(), to_publish].into_iter().flatten().min()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        let now = Instant::now();
        // The version that `open` has read comes first.
        self.versions.publish(now, publisher)?;
        let progress = self.input.advance(now, &mut self.versions).map_err(SourceError::Input)?;
        self.versions.publish(now, publisher)?;
        Ok(progress)
    }

    fn readiness(&self) -> Readiness {
        let (reloads, are_done) = self.input.reloads();
        Readiness { is_ready: self.versions.has_published && are_done, reloads }
    }

    fn summary(&self) -> Option<String> {
        let Versions { of, accepted, refused, .. } = &self.versions;
        Some(format!("versions of {of} taken: {accepted}, refused: {refused}"))
    }

    fn shortfall(&self) -> Option<CliError> {
        let Versions { name, refused, has_left_out, .. } = &self.versions;
        if *refused > 0 {
            return Some(CliError::new(5, format!("{name}: versions refused: {refused}")));
        }
        let reason = "the table has no room for all rows: choose a larger --capacity";
        has_left_out.then(|| CliError::new(1, format!("{name}: {reason}")))
    }
}

/// The versions of an input.
pub struct Versions {
    /// Name of the input in messages.
    name: String,
    /// Name of the kind of input in the summary.
    of: &'static str,
    is_strict: bool,
    /// True if only the first of consecutive refused versions is reported.
    reports_streaks: bool,
    /// Schema of the last good version.
    schema: Option<Arc<Schema>>,
    /// The snapshot to publish, and the time of the next attempt.
    fresh: Option<(Snapshot, Instant)>,
    has_published: bool,
    /// True if the table had no room for all rows of the last version.
    has_left_out: bool,
    /// True if the last version was refused or is missing.
    is_stale: bool,
    remarks: Vec<String>,
    accepted: u64,
    refused: u64,
}

impl Versions {
    /// Creates the state before the first version. If `is_strict`, a bad version ends the source.
    pub fn new(name: String, of: &'static str, is_strict: bool) -> Self {
        Self {
            name,
            of,
            is_strict,
            reports_streaks: false,
            schema: None,
            fresh: None,
            has_published: false,
            has_left_out: false,
            is_stale: false,
            remarks: Vec::new(),
            accepted: 0,
            refused: 0,
        }
    }

    /// Reports only the first of consecutive refused versions, because there may be one in each
    /// interval.
    pub fn with_streaks(self) -> Self {
        Self { reports_streaks: true, ..self }
    }

    /// Returns the schema of the last good version.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// Takes a version that has been read. A good one is published at the next opportunity, and a
    /// bad one is reported.
    pub fn take(&mut self, read: Result<Table, CliError>, now: Instant) -> Result<(), CliError> {
        match read {
            Ok(table) => self.accept(table, now),
            Err(fault) => return self.report(&fault, self.is_strict),
        }
        Ok(())
    }

    fn accept(&mut self, table: Table, now: Instant) {
        self.accepted += 1;
        for remark in &table.remarks {
            if !self.remarks.contains(remark) {
                self.say(remark);
            }
        }
        self.remarks = table.remarks;
        let schema = table.snapshot.schema();
        if self.schema.as_ref().is_some_and(|it| it != schema) {
            self.say(&format!("the fields are now {schema}"));
        }
        if std::mem::take(&mut self.is_stale) {
            self.say(&format!("read again, rows: {}", table.snapshot.len()));
        }
        self.schema = Some(Arc::clone(schema));
        self.fresh = Some((table.snapshot, now));
    }

    fn publish(
        &mut self,
        now: Instant,
        publisher: &mut UntypedPublisher,
    ) -> Result<(), SourceError> {
        let Some((snapshot, _)) = self.fresh.take_if(|(_, due)| *due <= now) else {
            return Ok(());
        };
        let is_first = !std::mem::replace(&mut self.has_published, true);
        let published = snapshot.publish(publisher);
        self.has_left_out = matches!(published, Ok(Some(_)));
        match published {
            Ok(None) => {}
            Ok(Some(sentence)) => self.say(&sentence),
            Err(error @ (Error::Limit { .. } | Error::InvalidSetting { .. })) if is_first => {
                return Err(SourceError::Input(error.into()));
            }
            Err(error @ Error::Limit { .. }) => {
                if !std::mem::replace(&mut self.is_stale, true) {
                    self.say(&format!("{error}; the table stays as it is"));
                }
                // Memory may become available.
                self.fresh = Some((snapshot, now + RETRY));
            }
            Err(error @ Error::InvalidSetting { .. }) => {
                let fault = CliError::new(5, error.to_string());
                return self.report(&fault, self.is_strict).map_err(SourceError::Input);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reports a fault, or returns it as the error if `is_end` or no version has been read yet.
    pub fn report(&mut self, fault: &CliError, is_end: bool) -> Result<(), CliError> {
        if is_end || self.schema.is_none() {
            return Err(CliError::new(fault.code(), format!("{}: {fault}", self.name)));
        }
        self.refused += 1;
        if std::mem::replace(&mut self.is_stale, true) && self.reports_streaks {
            tracing::debug!("{}: {fault}", self.name);
        } else {
            self.say(&format!("{fault}; the table stays as it is"));
        }
        Ok(())
    }

    pub fn say(&self, sentence: &str) {
        status(format_args!("{}: {sentence}", self.name));
    }
}
