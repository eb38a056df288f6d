//! Reads a file whenever it changes. Each version of it is a whole table.
//!
//! 1. `watch`, `follow` and `sighup` decide when to read the file.
//! 2. `reader` reads it in a worker. While it does, the publishing loop maintains the table and
//!    handles signals. A change during that time leads to one more read.
//! 3. [`File`] passes each version on. A version that is not a table is reported once.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::{CliError, Shutdown};

use super::Progress;
use super::format::{Format, Settings};
use super::versions::{Input, RETRY, Versions};
use super::worker::Worker;

mod follow;
mod reader;
pub mod sighup;
mod watch;

use follow::{Due, Identity, ReadSchedule};
use reader::{Outcome, Reading};
use sighup::Requests;
use watch::Watch;

/// Interval at which the file is checked even without events.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time for which a file that keeps changing is not read. It is short for JSONL, to which
/// lines are appended, and long for other formats, which may be half written.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_JSONL: Duration = Duration::from_secs(1);

pub struct File {
    path: Arc<Path>,
    settings: Arc<Settings>,
    worker: Worker<Reading>,
    watch: Watch,
    requests: Requests,
    stop: Shutdown,
    schedule: ReadSchedule,
    next_check: Instant,
    /// Fingerprint of the bytes that were read last.
    fingerprint: Option<u64>,
    /// Number of reloads that were requested.
    reloads: u32,
    /// Value of `reloads` when the current read began, and when the last one ended.
    reloads_begun: u32,
    reloads_done: u32,
    /// True if it was reported that the folder cannot be watched.
    is_unwatched: bool,
}

impl File {
    pub fn new(
        path: &Path,
        settings: Settings,
        requests: Requests,
        stop: &Shutdown,
    ) -> Result<Self, CliError> {
        let patience = match settings.format {
            Format::Csv(_) | Format::Json => PATIENCE,
            Format::Jsonl => PATIENCE_JSONL,
        };
        let now = Instant::now();
        let mut schedule = ReadSchedule::new(patience);
        schedule.force(now);
        Ok(Self {
            path: path.into(),
            settings: Arc::new(settings),
            worker: Worker::new()?,
            watch: Watch::new(path),
            requests,
            stop: stop.clone(),
            schedule,
            next_check: now,
            fingerprint: None,
            reloads: 0,
            reloads_begun: 0,
            reloads_done: 0,
            is_unwatched: false,
        })
    }

    /// Handles requests to read the file. Checks it if there are inotify events or the check is due.
    fn check(&mut self, now: Instant, versions: &Versions) {
        if self.requests.take(&self.stop) {
            // Read the file even if it has not changed.
            self.fingerprint = None;
            self.schedule.force(now);
            self.reloads = self.reloads.wrapping_add(1);
        }
        let events = self.watch.events();
        if events.is_none() && now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_INTERVAL;
        self.arm(versions);
        let identity = Identity::of_path(&self.path)
            .inspect_err(|error| tracing::debug!("{}: {error}", self.path.display()));
        self.schedule.record(now, identity.ok(), events.unwrap_or_default());
    }

    fn arm(&mut self, versions: &Versions) {
        let armed = self.watch.arm();
        let was_unwatched = std::mem::replace(&mut self.is_unwatched, armed.is_err());
        if let Err(reason) = armed
            && !was_unwatched
        {
            versions.say(&reason);
        }
    }

    fn begin_read(&mut self, now: Instant, versions: &mut Versions) -> Result<(), CliError> {
        if self.worker.is_busy() {
            return Ok(());
        }
        match self.schedule.take_due(now) {
            None => Ok(()),
            Some(Due::Gone) => {
                self.reloads_done = self.reloads;
                self.report_gone("there is no such file any more", versions)
            }
            Some(Due::Read) => {
                self.reloads_begun = self.reloads;
                let (path, settings) = (Arc::clone(&self.path), Arc::clone(&self.settings));
                let (fingerprint, schema) = (self.fingerprint, versions.schema().cloned());
                let work = move || reader::read(&path, &settings, fingerprint, schema.as_deref());
                let Err(error) = self.worker.begin(work) else {
                    return Ok(());
                };
                // The lack of threads may be temporary.
                self.schedule.force(now + RETRY);
                self.reloads_done = self.reloads;
                versions.report(&error, false)
            }
        }
    }

    /// Processes a finished read, and passes a good table on.
    fn finish_read(
        &mut self,
        reading: Reading,
        now: Instant,
        versions: &mut Versions,
    ) -> Result<(), CliError> {
        if matches!(reading.outcome, Outcome::Gone) && self.schedule.record_missing(now) {
            // A file that comes back is parsed again even if its bytes are the same.
            self.fingerprint = None;
            return Ok(());
        }
        self.schedule.record_read(now, reading.identity, reading.is_young);
        self.reloads_done = self.reloads_begun;
        match reading.outcome {
            Outcome::Gone => {
                return self.report_gone("there is no such file: check the path", versions);
            }
            Outcome::Same => {}
            Outcome::Read(read) => match versions.accept(read, now) {
                // The writer may not have finished. The file is read again once it is not young any
                // more, and the fault is reported if it is still there.
                Err(_) if reading.is_young && versions.schema().is_some() => return Ok(()),
                Err(fault) => versions.refuse(&fault)?,
                Ok(()) => {}
            },
        }
        if reading.fingerprint.is_some() {
            self.fingerprint = reading.fingerprint;
        }
        Ok(())
    }

    fn report_gone(&mut self, reason: &str, versions: &mut Versions) -> Result<(), CliError> {
        // A file that comes back is read and reported even if its bytes are the same.
        self.fingerprint = None;
        versions.report(&CliError::new(5, reason), false)
    }
}

impl Input for File {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut descriptors = vec![self.worker.descriptor(), self.requests.descriptor()];
        descriptors.extend(self.watch.descriptor());
        descriptors
    }

    fn due(&self) -> Option<Instant> {
        let to_read = self.schedule.due().filter(|_| !self.worker.is_busy());
        to_read.into_iter().chain([self.next_check]).min()
    }

    fn advance(&mut self, now: Instant, versions: &mut Versions) -> Result<Progress, CliError> {
        if let Some(reading) = self.worker.finished() {
            self.finish_read(reading, now, versions)?;
        }
        // Watches the folder before the first read, so that no change is missed in between.
        self.check(now, versions);
        self.begin_read(now, versions)?;
        Ok(Progress::Following)
    }

    fn reloads(&self) -> (u32, bool) {
        (self.reloads, self.reloads == self.reloads_done)
    }
}
