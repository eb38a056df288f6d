//! Runs a command at an interval. The output of each run is a version of the table.
//!
//! 1. A worker starts the command as the leader of a process group, without input, and reads its
//!    stdout and the end of its stderr.
//! 2. A run that has not ended after the timeout, or that prints more than [`MAX_OUTPUT`] bytes, is
//!    terminated with all processes of its group, and so is a run when the source is dropped.
//! 3. Processes of the group that are left when the command has exited are killed.
//! 4. The next run starts at the interval, or when this run has ended. Missed runs are skipped.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::{CliError, Group, Shutdown, cannot_start, service};
use nix::poll::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::Progress;
use super::format::{Settings, Table};
use super::versions::{Input, MAX_OUTPUT, Versions};
use super::worker::Worker;

/// Maximum time between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);

/// Number of bytes at the end of stderr that are reported.
const STDERR_BYTES: usize = 1024;

const READ_SIZE: usize = 64 * 1024;

pub struct CommandOutput {
    runner: Arc<Runner>,
    every: Duration,
    due: Instant,
    worker: Worker<Result<Table, CliError>>,
}

impl CommandOutput {
    /// Runs a command and its arguments at the interval `every`, each time for at most `timeout`.
    pub fn new(
        words: &[OsString],
        every: Duration,
        timeout: Duration,
        settings: Settings,
    ) -> Result<Self, CliError> {
        let runner = Arc::new(Runner {
            words: words.to_vec(),
            timeout,
            settings,
            own_variables: cli::variables_of::<crate::Args>("serve"),
            cancel: Shutdown::by_request()?,
        });
        Ok(Self { runner, every, due: Instant::now(), worker: Worker::new()? })
    }
}

impl Input for CommandOutput {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.worker.descriptor()]
    }

    fn due(&self) -> Option<Instant> {
        (!self.worker.is_busy()).then_some(self.due)
    }

    fn advance(&mut self, now: Instant, versions: &mut Versions) -> Result<Progress, CliError> {
        if let Some(read) = self.worker.finished() {
            versions.take(read, now)?;
        }
        if now >= self.due && !self.worker.is_busy() {
            self.due = now + self.every;
            let (runner, schema) = (Arc::clone(&self.runner), versions.schema().cloned());
            let begun = self.worker.begin(move || {
                let output = runner.run().map_err(|reason| CliError::new(5, reason))?;
                runner.settings.read(&output, schema.as_deref())
            });
            // The lack of threads may be temporary.
            begun.or_else(|error| versions.report(&error, false))?;
        }
        Ok(Progress::Following)
    }
}

impl Drop for CommandOutput {
    fn drop(&mut self) {
        self.runner.cancel.request();
        self.worker.wait();
    }
}

struct Runner {
    words: Vec<OsString>,
    timeout: Duration,
    /// How to parse the output.
    settings: Settings,
    /// Environment variables that set flags of this program.
    own_variables: Vec<String>,
    /// Ends the current run.
    cancel: Shutdown,
}

impl Runner {
    /// Runs the command once, and returns its stdout.
    fn run(&self) -> Result<Vec<u8>, String> {
        let program = &self.words[0];
        let mut command = Command::new(program);
        // A command that is itself a `publisher` would take these variables as its own flags.
        for variable in &self.own_variables {
            command.env_remove(variable);
        }
        let group = Group::separate(&mut command);
        let mut child = service::hide_from(&mut command)
            .args(&self.words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot_start(program, &error).to_string())?;
        let mut outputs = [Output::new(child.stdout.take()), Output::new(child.stderr.take())];
        let process = Pid::from_child(&child);
        // The command is waited for last, so that its process id is not reused before.
        let read = self.read(process, &mut outputs);
        match read {
            Ok(()) => {
                let _none_left = kill_process_group(process, Signal::KILL);
            }
            Err(_) => group.terminate(process, PATIENCE),
        }
        let [stdout, stderr] = outputs;
        let status = child.wait().map_err(|error| format!("cannot wait for it: {error}"));
        let failure = match (read, status) {
            (Ok(()), Ok(status)) if status.success() => return Ok(stdout.bytes),
            (Ok(()), Ok(status)) => format!("it failed with {status}"),
            (Err(reason), _) | (_, Err(reason)) => reason,
        };
        let text = String::from_utf8_lossy(&stderr.bytes);
        match text.trim().replace(char::is_control, " ") {
            text if text.is_empty() => Err(failure),
            text => Err(format!("{failure}, its stderr ends with: {text}")),
        }
    }

    /// Reads stdout and the end of stderr until the command has exited.
    fn read(&self, process: Pid, outputs: &mut [Output; 2]) -> Result<(), String> {
        let process = pidfd_open(process, PidfdFlags::empty())
            .map_err(|errno| format!("cannot wait for it: {errno}"))?;
        let deadline = Instant::now() + self.timeout;
        let mut has_exited = false;
        loop {
            let left = match has_exited {
                true => Duration::ZERO,
                false => deadline.saturating_duration_since(Instant::now()),
            };
            let mut awaited = vec![(process.as_fd(), PollFlags::POLLIN)];
            let open = outputs.iter().filter_map(|output| output.pipe.as_ref());
            awaited.extend(open.map(|pipe| (pipe.as_fd(), PollFlags::POLLIN)));
            let (is_cancelled, events) = self.cancel.poll(&awaited, Some(left));
            if is_cancelled {
                return Err("it was terminated".to_owned());
            }
            let mut are_ready = events.iter().map(|events| !events.is_empty());
            let was_exited = has_exited;
            has_exited |= are_ready.next().unwrap_or(false);
            let mut has_read = false;
            let open = outputs.iter_mut().filter(|output| output.pipe.is_some());
            for (output, is_ready) in open.zip(are_ready) {
                if is_ready {
                    output.read();
                    has_read = true;
                }
            }
            let [stdout, stderr] = outputs;
            let before_end = stderr.bytes.len().saturating_sub(STDERR_BYTES);
            stderr.bytes.drain(..before_end);
            if stdout.bytes.len() > MAX_OUTPUT {
                return Err(format!("it printed more than {MAX_OUTPUT} bytes"));
            }
            if was_exited && !has_read {
                return Ok(());
            }
            if !has_exited && left.is_zero() {
                let timeout = self.timeout;
                return Err(format!("it did not end within {timeout:?} and was terminated"));
            }
        }
    }
}

/// An output of the command.
struct Output {
    /// `None` after the end of the output.
    pipe: Option<File>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(descriptor: Option<impl Into<OwnedFd>>) -> Self {
        let pipe = descriptor.map(|descriptor| File::from(descriptor.into()));
        Self { pipe, bytes: Vec::new() }
    }

    /// Reads once from a pipe that is readable.
    fn read(&mut self) {
        let length = self.bytes.len();
        self.bytes.resize(length + READ_SIZE, 0);
        let count =
            self.pipe.as_ref().and_then(|mut pipe| pipe.read(&mut self.bytes[length..]).ok());
        self.bytes.truncate(length + count.unwrap_or(0));
        if count.is_none_or(|count| count == 0) {
            self.pipe = None;
        }
    }
}
