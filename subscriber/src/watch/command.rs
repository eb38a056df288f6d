//! `watch NAME -- COMMAND…`: runs a command for each change, one run at a time.
//!
//! 1. The command starts with a description of the event in its environment and a pipe as its
//!    stdin.
//! 2. The watch writes the changes to the pipe as lines of JSON. The command may read only some of
//!    them, and may exit early.
//! 3. The watch waits until the command exits. It does not refresh the table in the meantime, so
//!    the changes up to that point become one refresh and one run, with each key once.
//!
//! A command that fails is reported, and the watch continues. If the watch later ends by `--once`
//! or `--count`, its exit code is that of the last run that failed. A command that cannot be
//! started ends the watch.
//!
//! A signal or the timeout of the watch interrupts each of these waits. Then the command and all
//! processes that it started receive SIGTERM, and SIGKILL if they still run after [`PATIENCE`]
//! ([`Group`]).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Change, UntypedSubscriber};
use nix::errno::Errno;
use nix::poll::PollFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::format::{Json, Printer};
use crate::output::{BUFFER_BYTES, PIPE_BYTES};
use crate::select::Shown;
use cli::service;
use cli::{CliError, Group, Shutdown, cannot_start};

/// Maximum time between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);

/// Offset of the exit code for a command killed by a signal, as in a shell; the signal's number is
/// added.
const KILLED: u8 = 128;

pub struct Runner {
    command: Vec<OsString>,
    /// The exit code of the last run that failed.
    failure: Option<u8>,
    stop: Shutdown,
    deadline: Option<Instant>,
    /// Environment variables that set flags of this watch.
    own_variables: Vec<String>,
}

impl Runner {
    /// Creates a runner for a command and its arguments. `stop` and `deadline` end a run early.
    pub fn new(command: &[OsString], stop: &Shutdown, deadline: Option<Instant>) -> Self {
        Self {
            command: command.to_vec(),
            failure: None,
            stop: stop.clone(),
            deadline,
            own_variables: cli::variables_of::<crate::Args>("watch"),
        }
    }

    /// Runs the command until it exits. Reports a failure of the command, and keeps it for
    /// [`outcome`](Self::outcome). Returns an error if the command cannot be started, unless the
    /// reason is temporary, or if the system cannot wait for processes.
    pub fn run<'a>(
        &mut self,
        event: &str,
        table: &UntypedSubscriber,
        changes: impl ExactSizeIterator<Item = Change<Shown<'a>>>,
    ) -> Result<(), CliError> {
        let (program, version) = (self.command[0].as_os_str(), table.version());
        let mut command = Command::new(program);
        // A command that is itself a `subscriber` would take these variables as its own flags.
        for variable in &self.own_variables {
            command.env_remove(variable);
        }
        let group = Group::choose(&mut command);
        let started = service::hide_from(&mut command)
            .args(&self.command[1..])
            .env("TABLECAST_TABLE", table.name())
            .env("TABLECAST_VERSION", version.to_string())
            .env("TABLECAST_EVENT", event)
            .env("TABLECAST_CHANGES", changes.len().to_string())
            .env("TABLECAST_PUBLISHER", table.publisher_state().as_str())
            .stdin(Stdio::piped())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                let failure = cannot_start(program, &error);
                if !is_temporary(&error) {
                    return Err(failure);
                }
                self.failure = Some(failure.code());
                cli::status(failure);
                return Ok(());
            }
        };
        let mut running = Running::new(child, group, self)?;
        if let Err(error) = running.feed(version, changes)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            cli::status(format_args!("cannot write to {program:?}: {error}"));
        }
        let status = running.end().map_err(|error| cannot_wait(program, error))?;
        if let Some(status) = status.filter(|status| !status.success()) {
            cli::status(format_args!("{program:?} failed at version {version}: {status}"));
            self.failure = Some(exit_code(status));
        }
        Ok(())
    }

    /// Returns the exit code of the last run that failed as an error without a message, because the
    /// failure was reported already.
    pub fn outcome(&self) -> Result<(), CliError> {
        self.failure.map_or(Ok(()), |code| Err(CliError::new(code, "")))
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let signal = status.signal().and_then(|signal| u8::try_from(signal).ok());
    code.or(signal.map(|signal| KILLED.saturating_add(signal))).unwrap_or(1)
}

/// Returns true if the reason is temporary, so that the command may start at the next change: a
/// resource of the system is used up, or the file is being written.
fn is_temporary(error: &io::Error) -> bool {
    use Errno::{EAGAIN, EMFILE, ENFILE, ENOMEM, ETXTBSY};
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(EAGAIN | ENOMEM | EMFILE | ENFILE | ETXTBSY))
}

fn cannot_wait(program: &OsStr, error: impl fmt::Display) -> CliError {
    CliError::new(1, format!("cannot wait for {program:?}: {error}"))
}

/// Event that ends a wait for the command.
enum Event {
    Exited,
    /// A shutdown was requested, or the deadline has passed.
    WatchEnded,
    /// The command's stdin has room.
    Writable,
}

struct Running<'r> {
    child: Child,
    group: Group,
    /// A pidfd; readable when the command has exited.
    process: OwnedFd,
    runner: &'r Runner,
}

impl<'r> Running<'r> {
    fn new(mut child: Child, group: Group, runner: &'r Runner) -> Result<Self, CliError> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(process) => Ok(Self { child, group, process, runner }),
            Err(errno) => {
                let _killed = child.kill().and_then(|()| child.wait());
                Err(cannot_wait(&runner.command[0], errno))
            }
        }
    }

    /// Writes the changes to the command's stdin, and closes it. Returns
    /// [`io::ErrorKind::BrokenPipe`] if the command does not read all of them, or the watch ends.
    fn feed<'a>(
        &mut self,
        version: u64,
        changes: impl Iterator<Item = Change<Shown<'a>>>,
    ) -> io::Result<()> {
        let Some(stdin) = self.child.stdin.take() else {
            return Ok(());
        };
        let pipe = Pipe { file: File::from(OwnedFd::from(stdin)), running: self };
        let mut lines = Json::new(BufWriter::with_capacity(BUFFER_BYTES, pipe), false);
        for change in changes {
            lines.change(version, &change)?;
        }
        lines.flush()
    }

    /// Sleeps until the command exits or the watch ends, or, with `stdin`, until the pipe has room.
    fn sleep(&self, stdin: Option<&File>) -> Event {
        let Runner { stop, deadline, .. } = self.runner;
        let mut awaited = vec![(self.process.as_fd(), PollFlags::POLLIN)];
        awaited.extend(stdin.map(|stdin| (stdin.as_fd(), PollFlags::POLLOUT)));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let (stopped, events) = stop.poll(&awaited, left);
            let has = |at: usize| events.get(at).is_some_and(|events| !events.is_empty());
            if has(0) {
                return Event::Exited;
            } else if stopped || left == Some(Duration::ZERO) {
                return Event::WatchEnded;
            } else if has(1) {
                return Event::Writable;
            }
        }
    }

    /// Waits until the command exits. Returns `None` if it had to be terminated.
    fn end(&mut self) -> io::Result<Option<ExitStatus>> {
        let has_exited = matches!(self.sleep(None), Event::Exited);
        if !has_exited {
            self.group.terminate(Pid::from_child(&self.child), PATIENCE);
        }
        let status = self.child.wait()?;
        Ok(has_exited.then_some(status))
    }
}

/// The command's stdin. A write returns [`io::ErrorKind::BrokenPipe`] if the command has exited,
/// the command has closed its stdin, or the watch ends.
struct Pipe<'r> {
    file: File,
    running: &'r Running<'r>,
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.running.sleep(Some(&self.file)) {
            // A pipe that polls as writable has room for this many bytes, so this never blocks.
            Event::Writable => self.file.write(&bytes[..bytes.len().min(PIPE_BYTES)]),
            Event::Exited | Event::WatchEnded => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
