//! Publishes a file as a whole table and reads it again whenever it changes.
//!
//! 1. `watch`, `follow` and `sighup` decide when to read the file.
//! 2. `reader` reads it in a separate thread. While it does, the publishing loop maintains the
//!    table and handles signals. A change during that time leads to one more read.
//! 3. [`File`], the source, publishes each version in one commit of the differences. A version that
//!    is not a table is reported once, and the rows do not change.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::service::Readiness;
use cli::{CliError, Shutdown, status};
use common::{Error, Schema, UntypedPublisher};

use super::format::{Format, Settings, Table};
use super::{Progress, Snapshot, Source, SourceError};

mod follow;
mod reader;
pub mod sighup;
mod watch;

use follow::{Due, Identity, ReadSchedule};
use reader::{Former, Outcome, Reader, Reading};
use sighup::{Hangups, Request};
use watch::Watch;

/// Interval at which the file is checked even without events.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which publishing is retried after a lack of memory.
const RETRY: Duration = Duration::from_secs(5);

/// Maximum time for which a file that keeps changing is not read. It is short for JSONL, to which
/// lines are appended, and long for CSV, which may be half written.
const PATIENCE_CSV: Duration = Duration::from_secs(10);
const PATIENCE_JSONL: Duration = Duration::from_secs(1);

pub struct File {
    path: PathBuf,
    is_strict: bool,
    reader: Reader,
    watch: Watch,
    hangups: Hangups,
    stop: Shutdown,
    schedule: ReadSchedule,
    next_check: Instant,
    former: Former,
    /// The snapshot to publish, and the time of the next attempt.
    fresh: Option<(Snapshot, Instant)>,
    has_published: bool,
    /// True if the table had no room for all rows of the last version.
    has_left_out: bool,
    /// Number of reloads that were requested by SIGHUP.
    reloads: u32,
    /// Value of `reloads` when the current read began, and when the last one ended.
    reloads_begun: u32,
    reloads_done: u32,
    /// True if the last version is not a table, or the file is gone.
    is_stale: bool,
    /// True if it was reported that the folder cannot be watched.
    is_unwatched: bool,
    remarks: Vec<String>,
    accepted: u64,
    refused: u64,
}

impl File {
    /// Opens the file and reads it for the first time. If `is_strict`, a bad version ends the
    /// source. Returns `None` if the program was stopped during the read.
    pub fn open(
        path: &Path,
        settings: Settings,
        is_strict: bool,
        hangups: Hangups,
        stop: &Shutdown,
    ) -> Result<Option<Self>, CliError> {
        let patience = match settings.format {
            Format::Csv(_) => PATIENCE_CSV,
            Format::Jsonl => PATIENCE_JSONL,
        };
        let mut file = Self {
            path: path.to_owned(),
            is_strict,
            reader: Reader::new(path, settings)?,
            watch: Watch::new(path),
            hangups,
            stop: stop.clone(),
            schedule: ReadSchedule::new(patience),
            next_check: Instant::now(),
            former: Former::default(),
            fresh: None,
            has_published: false,
            has_left_out: false,
            reloads: 0,
            reloads_begun: 0,
            reloads_done: 0,
            is_stale: false,
            is_unwatched: false,
            remarks: Vec::new(),
            accepted: 0,
            refused: 0,
        };
        // Watch the folder before reading, so that no change is missed in between.
        file.arm();
        file.reader.begin(file.former.clone())?;
        loop {
            if file.stop.wait_with(&file.descriptors(), Some(CHECK_INTERVAL)) {
                file.say("stopped before the end of the file, nothing is published");
                return Ok(None);
            }
            if let Some(reading) = file.reader.finished() {
                file.finish_read(reading)?;
                return Ok(Some(file));
            }
            file.check(Instant::now());
        }
    }

    pub fn schema(&self) -> &Schema {
        self.former.schema.as_deref().expect("`open` has read the file")
    }

    /// Handles SIGHUP. Checks the file if there are inotify events or the check is due.
    fn check(&mut self, now: Instant) {
        match self.hangups.request() {
            Some(Request::End) => self.stop.request(),
            Some(Request::Read) => {
                // Read the file even if it has not changed.
                self.former.fingerprint = None;
                self.schedule.force(now);
                self.reloads = self.reloads.wrapping_add(1);
            }
            None => {}
        }
        let events = self.watch.events();
        if events.is_none() && now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_INTERVAL;
        self.arm();
        let identity = Identity::of_path(&self.path)
            .inspect_err(|error| tracing::debug!("{}: {error}", self.path.display()));
        self.schedule.record(now, identity.ok(), events.unwrap_or_default());
    }

    fn arm(&mut self) {
        let armed = self.watch.arm();
        let was_unwatched = std::mem::replace(&mut self.is_unwatched, armed.is_err());
        if let Err(reason) = armed
            && !was_unwatched
        {
            self.say(&reason);
        }
    }

    fn begin_read(&mut self, now: Instant) -> Result<(), CliError> {
        if self.reader.is_busy() {
            return Ok(());
        }
        match self.schedule.take_due(now) {
            None => Ok(()),
            Some(Due::Gone) => {
                self.reloads_done = self.reloads;
                self.report_gone("there is no such file any more")
            }
            Some(Due::Read) => {
                self.reloads_begun = self.reloads;
                let Err(error) = self.reader.begin(self.former.clone()) else {
                    return Ok(());
                };
                // The lack of threads may be temporary.
                self.schedule.force(now + RETRY);
                self.reloads_done = self.reloads;
                self.report(&CliError::new(5, error.to_string()), false)
            }
        }
    }

    /// Processes a finished read. A good table becomes the snapshot to publish.
    fn finish_read(&mut self, reading: Reading) -> Result<(), CliError> {
        let now = Instant::now();
        if matches!(reading.outcome, Outcome::Gone) && self.schedule.record_missing(now) {
            // A file that comes back is parsed again even if its bytes are the same.
            self.former.fingerprint = None;
            return Ok(());
        }
        self.schedule.record_read(now, reading.identity, reading.is_young);
        self.reloads_done = self.reloads_begun;
        match reading.outcome {
            // The writer may not have finished. The file is read again once it is not young any
            // more, and the fault is reported if it is still there.
            Outcome::Bad(_) if reading.is_young && self.former.schema.is_some() => return Ok(()),
            Outcome::Gone => return self.report_gone("there is no such file: check the path"),
            Outcome::Same => {}
            Outcome::Bad(ref fault) => self.report(fault, self.is_strict)?,
            Outcome::Table(table) => self.accept(table, now),
        }
        if reading.fingerprint.is_some() {
            self.former.fingerprint = reading.fingerprint;
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
        if self.former.schema.as_ref().is_some_and(|it| it != schema) {
            self.say(&format!("the fields are now {schema}"));
        }
        if std::mem::take(&mut self.is_stale) {
            self.say(&format!("read again, rows: {}", table.snapshot.len()));
        }
        self.former.schema = Some(Arc::clone(schema));
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

    fn report_gone(&mut self, reason: &str) -> Result<(), CliError> {
        // A file that comes back is read and reported even if its bytes are the same.
        self.former.fingerprint = None;
        self.report(&CliError::new(5, reason), false)
    }

    /// Reports a fault, or returns it as the error if `is_end` or no version has been read yet.
    fn report(&mut self, fault: &CliError, is_end: bool) -> Result<(), CliError> {
        if is_end || self.former.schema.is_none() {
            let name = self.path.display();
            return Err(CliError::new(fault.code(), format!("{name}: {fault}")));
        }
        self.is_stale = true;
        self.refused += 1;
        self.say(&format!("{fault}; the table stays as it is"));
        Ok(())
    }

    fn say(&self, sentence: &str) {
        status(format_args!("{}: {sentence}", self.path.display()));
    }
}

impl Source for File {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut descriptors = vec![self.reader.descriptor(), self.hangups.descriptor()];
        descriptors.extend(self.watch.descriptor());
        descriptors
    }

    fn due(&self) -> Option<Instant> {
        let to_read = self.schedule.due().filter(|_| !self.reader.is_busy());
        let to_publish = self.fresh.as_ref().map(|(_, due)| *due);
        let dues = [to_read, to_publish, Some(self.next_check)];
        dues.into_iter().flatten().min()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        if let Some(reading) = self.reader.finished() {
            self.finish_read(reading).map_err(SourceError::Input)?;
        }
        let now = Instant::now();
        self.publish(now, publisher)?;
        self.check(now);
        self.begin_read(now).map_err(SourceError::Input)?;
        Ok(Progress::Following)
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            is_ready: self.has_published && self.reloads == self.reloads_done,
            reloads: self.reloads,
        }
    }

    fn summary(&self) -> Option<String> {
        Some(format!("versions of the file taken: {}, refused: {}", self.accepted, self.refused))
    }

    fn shortfall(&self) -> Option<CliError> {
        self.has_left_out.then(|| {
            let name = self.path.display();
            let reason = "the table has no room for all rows: choose a larger --capacity";
            CliError::new(1, format!("{name}: {reason}"))
        })
    }
}
