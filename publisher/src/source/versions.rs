//! Publishes an input of which each version is a whole table.
//!
//! 1. An [`Input`] reads one version after the other, in a [`Worker`](super::worker::Worker), and
//!    passes each of them to [`Versions`].
//! 2. [`Versions`] keeps a good version until it is published in one commit of the differences. A
//!    version that is not a table is reported, and the rows do not change.
//! 3. A version that looks like an accident is refused too ([`Guard`]): one without any column of the
//!    table, or with too few rows. The first version is compared with nothing.
//! 4. [`Versioned`], the source, opens when the first version has been read, because the schema may
//!    be inferred from it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::service::Readiness;
use cli::{CliError, Shutdown, status};
use common::{Error, Field, Schema, UntypedPublisher};

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

impl<I: Input + 'static> Versioned<I> {
    /// Waits for the first version. Returns `None` if the program was stopped before.
    pub fn open(
        mut input: I,
        mut versions: Versions,
        stop: &Shutdown,
    ) -> Result<Option<Box<dyn Source>>, CliError> {
        loop {
            let now = Instant::now();
            input.advance(now, &mut versions)?;
            if versions.schema.is_some() {
                return Ok(Some(Box::new(Self { input, versions })));
            }
            let time = input.due().map(|due| due.saturating_duration_since(now));
            if stop.wait_with(&input.descriptors(), time) {
                versions.say("stopped before the end of the first version, nothing is published");
                return Ok(None);
            }
        }
    }
}

impl<I: Input> Source for Versioned<I> {
    fn schema(&self) -> &Schema {
        self.versions.schema().expect("`open` has read a version")
    }

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

/// The user's limits for versions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    /// True if a version that is refused ends the source.
    pub is_strict: bool,
    /// True if the schema is inferred, so that a version may have other columns.
    pub is_inferred: bool,
    /// Maximum part of the rows that a version may remove, in percent. A version without rows
    /// exceeds every maximum.
    pub max_loss: Option<usize>,
}

impl Guard {
    /// Returns the reason to refuse a version after one with `rows` rows of schema `former`.
    fn objection(&self, snapshot: &Snapshot, former: &Schema, rows: usize) -> Option<String> {
        let is_former = |field: &Field| former.field(field.name()).is_some();
        if self.is_inferred && !snapshot.schema().fields().iter().any(is_former) {
            let names = |schema: &Schema| {
                let names: Vec<&str> = schema.fields().iter().map(Field::name).collect();
                names.join(", ")
            };
            let (found, expected) = (names(snapshot.schema()), names(former));
            return Some(format!("it has the columns {found}, and none of {expected}"));
        }
        let (max_loss, left) = (self.max_loss?, snapshot.len());
        let is_loss = rows.saturating_sub(left) * 100 > rows * max_loss || left == 0 && rows > 0;
        is_loss.then(|| {
            format!(
                "it has {left} rows, and the version before had {rows}: use --max-loss none if \
                 such a loss is intended"
            )
        })
    }
}

/// The versions of an input.
#[derive(Default)]
pub struct Versions {
    /// Name of the input in messages.
    name: String,
    /// Name of the kind of input in the summary.
    of: &'static str,
    guard: Guard,
    /// True if only the first of consecutive refused versions is reported.
    reports_streaks: bool,
    /// Schema of the last good version.
    schema: Option<Arc<Schema>>,
    /// Number of its rows.
    rows: usize,
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
    /// Creates the state before the first version.
    pub fn new(name: String, of: &'static str, guard: Guard) -> Self {
        Self { name, of, guard, ..Self::default() }
    }

    /// Reports only the first of consecutive refused versions: each interval may have one.
    pub fn with_streaks(self) -> Self {
        Self { reports_streaks: true, ..self }
    }

    /// Returns the schema of the last good version.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// Takes a version. A good one is published as soon as possible, and a bad one is reported.
    pub fn take(&mut self, read: Result<Table, CliError>, now: Instant) -> Result<(), CliError> {
        self.accept(read, now).or_else(|fault| self.refuse(&fault))
    }

    /// Takes a version if it is good, or returns what is wrong with it.
    pub fn accept(&mut self, read: Result<Table, CliError>, now: Instant) -> Result<(), CliError> {
        let table = read?;
        if let Some(former) = &self.schema
            && let Some(reason) = self.guard.objection(&table.snapshot, former, self.rows)
        {
            return Err(CliError::new(5, reason));
        }
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
        self.rows = table.snapshot.len();
        self.fresh = Some((table.snapshot, now));
        Ok(())
    }

    /// Reports what is wrong with a version, or returns it as the error if that ends the source.
    pub fn refuse(&mut self, fault: &CliError) -> Result<(), CliError> {
        self.report(fault, self.guard.is_strict)
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
                return self.refuse(&fault).map_err(SourceError::Input);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_refuses_other_columns_and_too_few_rows() {
        let snapshot = |fields: &str, rows: usize| {
            let schema = Arc::new(Schema::parse(fields, None).unwrap());
            let bytes = vec![0; schema.row_size() * rows];
            Snapshot::of(schema, bytes)
        };
        let former = Schema::parse("id:u64,n:u8", None).unwrap();
        let guard = |is_inferred, max_loss| Guard { is_strict: false, is_inferred, max_loss };
        let is_refused = |guard: Guard, fields: &str, rows: usize, before: usize| {
            guard.objection(&snapshot(fields, rows), &former, before).is_some()
        };
        for (fields, is_other) in
            [("id:u64,n:u8", false), ("x:u8,n:text(8)", false), ("html:u8", true), ("ID:u8", true)]
        {
            assert_eq!(is_refused(guard(true, None), fields, 1, 1), is_other, "{fields}");
            assert!(!is_refused(guard(false, None), fields, 1, 1), "{fields}");
        }
        // The maximum loss, the rows, and the rows of the version before.
        for (max_loss, rows, before, expected) in [
            (Some(100), 0, 0, false),
            (Some(100), 1, 1_000_000, false),
            (Some(100), 0, 1, true),
            (Some(50), 5, 10, false),
            (Some(50), 4, 10, true),
            (Some(50), 20, 10, false),
            (Some(0), 10, 10, false),
            (Some(0), 9, 10, true),
            (None, 0, 10, false),
        ] {
            let found = is_refused(guard(false, max_loss), "id:u64,n:u8", rows, before);
            assert_eq!(found, expected, "{max_loss:?}: {rows} of {before}");
        }
    }
}
