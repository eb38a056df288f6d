//! Publishes a file as a whole table and reads it again whenever it changes.
//!
//! The modules, in the order of a row's path:
//!
//! - [`settings`]: the user's settings for a file;
//! - [`watch`], [`follow`], [`sighup`]: decide when to read the file;
//! - [`reader`], [`content`]: read its bytes in a separate thread; [`text`]: decodes them as text;
//! - [`csv`], [`jsonl`]: parse the bytes into a table; [`header`], [`names`], [`infer`], [`shape`]:
//!   find its fields; [`keyed`]: stores its rows by key; [`fault`]: reports errors; [`progress`]:
//!   shows the progress;
//! - [`File`]: the source. It publishes each version in one commit of the differences. A version
//!   that is not a table is reported once, and the rows do not change.
//!
//! The source never waits for a long file: while the thread reads a version, the publishing loop
//! maintains the table and handles signals. A change during that time leads to one more read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::service::Stage;
use cli::{CliError, Shutdown, status};
use common::{Error, Schema, UntypedPublisher};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{CapacityPolicy, Progress, Snapshot, Source, SourceError};

pub mod content;
pub mod csv;
pub mod fault;
pub mod follow;
pub mod header;
pub mod infer;
pub mod jsonl;
pub mod keyed;
pub mod names;
pub mod progress;
pub mod reader;
pub mod settings;
pub mod shape;
pub mod sighup;
pub mod text;
pub mod watch;

use content::Identity;
use fault::Fault;
use follow::{Due, Follow};
use reader::{Former, Outcome, Reader, Reading};
use settings::{Format, Settings};
use sighup::{Hangups, Request};
use watch::Watch;

/// Interval at which the file is checked even without events.
const LOOK: Duration = Duration::from_secs(1);

/// Interval at which publishing is retried after a lack of memory.
const RETRY: Duration = Duration::from_secs(5);

/// Maximum time for which a file that keeps changing is not read. It is short for JSONL, to which
/// lines are appended, and long for CSV, which may be half written.
const PATIENCE_CSV: Duration = Duration::from_secs(10);
const PATIENCE_JSONL: Duration = Duration::from_secs(1);

/// Number of recent remarks that are kept to avoid repeating them.
const MAX_REMARKS: usize = 64;

/// A table that was read from a file.
#[derive(Debug)]
pub struct Table {
    /// The rows.
    pub snapshot: Snapshot,
    /// Sentences for the user.
    pub remarks: Vec<String>,
}

/// The source that follows a file.
pub struct File {
    path: PathBuf,
    room: CapacityPolicy,
    strict: bool,
    reader: Reader,
    watch: Watch,
    hangups: Hangups,
    stop: Shutdown,
    /// Combines all descriptors that the source waits for.
    epoll: Epoll,
    follow: Follow,
    next_look: Instant,
    former: Former,
    /// The snapshot to publish, and the time of the next attempt.
    fresh: Option<(Snapshot, Instant)>,
    has_published: bool,
    /// True if the table had no room for all rows of the last version.
    has_left_out: bool,
    /// Number of reload requests by signal.
    reloads: u32,
    reload: Reload,
    /// The fault of a young version, whose writer may not have finished.
    doubt: Option<Fault>,
    /// True if the last version is not a table, or the file is gone.
    in_trouble: bool,
    /// True if it was reported that the folder cannot be watched.
    is_unwatched: bool,
    remarks: Vec<String>,
    accepted: u64,
    refused: u64,
}

/// The state of the last reload request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    Asked,
    Running,
    /// The version was read, and is being published or was reported as bad.
    Done,
}

/// The arguments of [`File::open`].
pub struct Opening {
    /// Path of the file.
    pub path: PathBuf,
    /// Settings for reading the file.
    pub settings: Settings,
    /// The policy for rows beyond the table's capacity.
    pub room: CapacityPolicy,
    /// True if a bad version ends the source.
    pub strict: bool,
    /// Receiver of SIGHUP.
    pub hangups: Hangups,
}

impl File {
    /// Opens the file and reads it for the first time. Returns `None` if the program was stopped
    /// during the read.
    ///
    /// # Errors
    /// Returns a [`CliError`] if the file is bad or the system refuses a descriptor or thread.
    pub fn open(opening: Opening, stop: &Shutdown) -> Result<Option<Self>, CliError> {
        let Opening {
            path,
            settings,
            room,
            strict,
            hangups,
        } = opening;
        let patience = match settings.format {
            Format::Csv(_) => PATIENCE_CSV,
            Format::Jsonl => PATIENCE_JSONL,
        };
        let reader = Reader::new(&path, settings)?;
        let (watch, unwatched) = Watch::new(&path);
        let refused = |errno| CliError::new(1, format!("cannot wait for file changes: {errno}"));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?;
        let descriptors = [
            Some(reader.descriptor()),
            watch.descriptor(),
            Some(hangups.descriptor()),
        ];
        for descriptor in descriptors.into_iter().flatten() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
            epoll.add(descriptor, event).map_err(refused)?;
        }
        let mut file = Self {
            path,
            room,
            strict,
            reader,
            watch,
            hangups,
            stop: stop.clone(),
            epoll,
            follow: Follow::new(patience, None),
            next_look: Instant::now(),
            former: Former::default(),
            fresh: None,
            has_published: false,
            has_left_out: false,
            reloads: 0,
            reload: Reload::Done,
            doubt: None,
            in_trouble: false,
            is_unwatched: false,
            remarks: Vec::new(),
            accepted: 0,
            refused: 0,
        };
        file.report_watch(unwatched);
        let has_read = file.read_first()?;
        Ok(has_read.then_some(file))
    }

    /// Returns the schema of the last good version.
    ///
    /// # Panics
    /// Never panics: `open` returns only files that have been read.
    pub fn schema(&self) -> &Schema {
        self.former.schema.as_deref().expect("it has been read")
    }

    /// Reads the first version. Returns false if the program was stopped before that.
    fn read_first(&mut self) -> Result<bool, CliError> {
        // Watch the folder before reading, so that no change is missed in between.
        self.arm();
        let progress = progress::Progress::on_terminal(self.path.display().to_string());
        let progress = Arc::new(progress);
        self.reader
            .begin(self.former.clone(), Arc::clone(&progress))?;
        let reading = loop {
            if self.stop.wait_with(&[self.epoll.0.as_fd()], Some(LOOK)) {
                progress.clear();
                status(format_args!(
                    "{}: stopped before the end of the file, nothing is published",
                    self.path.display()
                ));
                return Ok(false);
            }
            if let Some(reading) = self.reader.finished() {
                break reading;
            }
            self.hear(Instant::now());
        };
        self.take_in(reading)?;
        Ok(true)
    }

    /// Processes a finished read. A good table becomes the snapshot to publish.
    fn take_in(&mut self, reading: Reading) -> Result<(), CliError> {
        let (now, is_young) = (Instant::now(), reading.is_young);
        let is_gone = matches!(reading.outcome, Outcome::Gone);
        if is_gone && self.follow.misses(now) {
            // When the file comes back it is parsed again even if its bytes are the
            // same.
            self.former.fingerprint = None;
            self.doubt = None;
            return Ok(());
        }
        self.follow.read(now, reading.identity, is_young);
        if reading.fingerprint.is_some() {
            self.former.fingerprint = reading.fingerprint;
        }
        if self.reload == Reload::Running {
            self.reload = Reload::Done;
        }
        let doubt = self.doubt.take();
        match reading.outcome {
            Outcome::Same => match doubt {
                Some(fault) => self.report(&fault, self.strict),
                None => Ok(()),
            },
            Outcome::Gone => self.report_gone("there is no such file: check the path"),
            Outcome::Bad(fault) if is_young && self.former.schema.is_some() => {
                self.doubt = Some(fault);
                Ok(())
            }
            Outcome::Bad(fault) => self.report(&fault, self.strict),
            Outcome::Table(table) => {
                self.accept(table);
                Ok(())
            }
        }
    }

    fn accept(&mut self, table: Table) {
        self.accepted += 1;
        let name = self.path.display();
        for remark in table.remarks {
            if !self.remarks.contains(&remark) {
                status(format_args!("{name}: {remark}"));
                self.remarks.truncate(MAX_REMARKS - 1);
                self.remarks.insert(0, remark);
            }
        }
        let schema = table.snapshot.schema();
        if self
            .former
            .schema
            .as_ref()
            .is_some_and(|former| former != schema)
        {
            status(format_args!("{name}: the fields are now {schema}"));
        }
        if std::mem::take(&mut self.in_trouble) {
            status(format_args!(
                "{name}: read again, rows: {}",
                table.snapshot.len()
            ));
        }
        self.former.schema = Some(Arc::clone(schema));
        self.fresh = Some((table.snapshot, Instant::now()));
    }

    /// Reports a fault. Returns it as an error if it ends the source, as the first read and
    /// `is_end` do.
    fn report(&mut self, fault: &Fault, is_end: bool) -> Result<(), CliError> {
        let name = self.path.display();
        if is_end || self.former.schema.is_none() {
            return Err(CliError::new(fault.code, format!("{name}: {fault}")));
        }
        self.in_trouble = true;
        self.refused += 1;
        status(format_args!("{name}: {fault}; the table stays as it is"));
        Ok(())
    }

    fn report_gone(&mut self, reason: &str) -> Result<(), CliError> {
        // When the file comes back it is read and reported even if its bytes are the same.
        self.former.fingerprint = None;
        self.report(&Fault::of_file(reason), false)
    }

    fn report_watch(&mut self, refused: Option<String>) {
        let was_unwatched = std::mem::replace(&mut self.is_unwatched, refused.is_some());
        if let Some(reason) = refused.filter(|_| !was_unwatched) {
            status(format_args!("{}: {reason}", self.path.display()));
        }
    }

    fn arm(&mut self) {
        if self.watch.descriptor().is_some() {
            let refused = self.watch.arm().err();
            self.report_watch(refused);
        }
    }

    /// Processes signals and inotify events, and checks the file if one of them or the clock asks
    /// for it.
    fn hear(&mut self, now: Instant) {
        match self.hangups.heard() {
            Some(Request::End) => self.stop.request(),
            Some(Request::Read) => {
                // Read the file even if it has not changed.
                self.former.fingerprint = None;
                self.follow.force(now);
                self.reloads = self.reloads.wrapping_add(1);
                self.reload = Reload::Asked;
            }
            None => {}
        }
        let heard = self.watch.hear();
        if !heard.anything && now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        self.arm();
        let identity = identity(&self.path);
        let is_another = heard.moved && self.follow.is_another_file(identity.as_ref());
        self.follow
            .look(now, identity, heard.finished || is_another);
    }

    /// Starts a read if one is due.
    fn read_if_due(&mut self, now: Instant) -> Result<(), SourceError> {
        if self.reader.is_busy() {
            return Ok(());
        }
        match self.follow.take(now) {
            None => Ok(()),
            Some(Due::Gone) => {
                self.reload = Reload::Done;
                let gone = self.report_gone("there is no such file any more");
                gone.map_err(SourceError::Input)
            }
            Some(Due::Read) => {
                let silent = Arc::new(progress::Progress::silent());
                if self.reload == Reload::Asked {
                    self.reload = Reload::Running;
                }
                if let Err(failure) = self.reader.begin(self.former.clone(), silent) {
                    // The lack of threads may be temporary.
                    self.report(&Fault::of_file(failure.to_string()), false)
                        .map_err(SourceError::Input)?;
                    self.follow.force(now + RETRY);
                    self.reload = Reload::Done;
                }
                Ok(())
            }
        }
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
        let published = snapshot.publish(publisher, self.room);
        self.has_left_out = matches!(published, Ok(Some(_)));
        match published {
            Ok(None) => Ok(()),
            Ok(Some(sentence)) => {
                status(format_args!("{}: {sentence}", self.path.display()));
                Ok(())
            }
            Err(error @ (Error::Limit { .. } | Error::InvalidSetting { .. })) if is_first => {
                Err(SourceError::Input(error.into()))
            }
            // Memory may become available.
            Err(error @ Error::Limit { .. }) => {
                let is_new = !std::mem::replace(&mut self.in_trouble, true);
                if is_new {
                    status(format_args!(
                        "{}: {error}; the table stays as it is",
                        self.path.display()
                    ));
                }
                self.fresh = Some((snapshot, now + RETRY));
                Ok(())
            }
            Err(error @ Error::InvalidSetting { .. }) => {
                let fault = Fault::of_file(error.to_string());
                self.report(&fault, self.strict).map_err(SourceError::Input)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for File {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.0.as_fd())
    }

    fn due(&self) -> Option<Instant> {
        let to_read = self.follow.due().filter(|_| !self.reader.is_busy());
        let to_publish = self.fresh.as_ref().map(|(_, due)| *due);
        [to_read, to_publish, Some(self.next_look)]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        if let Some(reading) = self.reader.finished() {
            self.take_in(reading).map_err(SourceError::Input)?;
        }
        let now = Instant::now();
        self.publish(now, publisher)?;
        self.hear(now);
        self.read_if_due(now)?;
        Ok(Progress::Following)
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn stage(&self) -> Stage {
        Stage {
            is_ready: self.has_published && self.reload == Reload::Done,
            reloads: self.reloads,
        }
    }

    fn summary(&self) -> Option<String> {
        Some(format!(
            "versions of the file taken: {}, refused: {}",
            self.accepted, self.refused
        ))
    }

    fn shortfall(&self) -> Option<CliError> {
        let name = self.path.display();
        self.has_left_out.then(|| {
            CliError::new(
                1,
                format!("{name}: the table has no room for all rows: choose a larger --capacity"),
            )
        })
    }
}

fn identity(path: &Path) -> Option<Identity> {
    match Identity::of_path(path) {
        Ok(identity) => Some(identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::debug!("{}: {error}", path.display());
            None
        }
    }
}
