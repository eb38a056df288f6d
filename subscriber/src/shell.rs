//! Command-line support for both binaries: shutdown by signal, exit codes, logs, durations. One
//! file each: [`arguments`] from the command line and the [`environment`], [`colour`]s,
//! [`version`]s, [`complete`] for shell completion, the [`manual`], and [`suggest`] for similar
//! names.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};

pub mod arguments;
pub mod colour;
pub mod complete;
pub mod environment;
pub mod manual;
pub mod suggest;
pub mod version;

/// A shutdown request: a descriptor that becomes readable when Ctrl-C or SIGTERM is received, and
/// stays readable.
#[derive(Clone)]
pub struct Shutdown(Arc<EventFd>);

impl Shutdown {
    /// Installs handlers for SIGINT, SIGTERM and, unless it is ignored (`nohup`), SIGHUP. Must be
    /// called once per process, before it starts threads.
    ///
    /// # Errors
    /// The error of the system call that failed.
    pub fn install() -> Result<Self, CliError> {
        let refused = |error: &dyn fmt::Display| {
            CliError::new(1, format!("cannot wait for signals: {error}"))
        };
        if ignores_hangup() {
            // The `ctrlc` handler would replace the ignored disposition. A blocked signal is never
            // delivered.
            let mut hangup = SigSet::empty();
            hangup.add(Signal::SIGHUP);
            hangup.thread_block().map_err(|errno| refused(&errno))?;
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Self(Arc::new(
            EventFd::from_value_and_flags(0, flags).map_err(|errno| refused(&errno))?,
        ));
        let handler = stop.clone();
        ctrlc::set_handler(move || handler.request()).map_err(|error| match error {
            // `ctrlc` starts a thread.
            ctrlc::Error::System(error) => refused(&start_error(&error)),
            error => refused(&error),
        })?;
        Ok(stop)
    }

    /// Requests the shutdown, as a signal does.
    pub fn request(&self) {
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.0.write(1);
    }

    /// Returns true if the shutdown was requested.
    pub fn requested(&self) -> bool {
        self.sleep(Duration::ZERO)
    }

    /// Sleeps for `time`, or until the shutdown is requested. Returns true if it was.
    pub fn sleep(&self, time: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let left = time.saturating_sub(begun.elapsed());
            // A signal interrupts the wait before its handler has requested the shutdown.
            if self.wait_with(&[], Some(left)) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }

    /// Sleeps until one of `others` is readable, the shutdown is requested, or `time` has passed.
    /// Returns true if the shutdown was requested.
    pub fn wait_with(&self, others: &[BorrowedFd<'_>], time: Option<Duration>) -> bool {
        let others: Vec<_> = others.iter().map(|fd| (*fd, PollFlags::POLLIN)).collect();
        self.poll(&others, time).0
    }

    /// Sleeps until one of `others` has one of its events, the shutdown is requested, or `time` has
    /// passed. Returns true if the shutdown was requested, and the events of each of the others.
    pub fn poll(
        &self,
        others: &[(BorrowedFd<'_>, PollFlags)],
        time: Option<Duration>,
    ) -> (bool, Vec<PollFlags>) {
        let mut descriptors = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(others.iter().map(|(fd, events)| PollFd::new(*fd, *events)));
        let milliseconds =
            time.map(|time| i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let timeout = milliseconds.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) => {
                let mut events = descriptors
                    .iter()
                    .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
                let stop = events.next().is_some_and(|events| !events.is_empty());
                (stop, events.collect())
            }
            // The events are unknown, so empty ones are returned and the caller polls again.
            Err(Errno::EINTR) => (false, vec![PollFlags::empty(); others.len()]),
            Err(_) => (true, vec![PollFlags::empty(); others.len()]),
        }
    }
}

/// Explains why a thread or a process could not be started, with the limit that was reached, if
/// any.
pub fn start_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "the number of threads and processes is used up: end some, or raise RLIMIT_NPROC (ulimit -u), pids.max of this cgroup, or /proc/sys/kernel/threads-max".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns true if this process was started to ignore SIGHUP.
pub fn ignores_hangup() -> bool {
    let status = std::fs::read("/proc/self/status").unwrap_or_default();
    // The file contains the program's name, which need not be UTF-8.
    let status = String::from_utf8_lossy(&status);
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (Signal::SIGHUP as u32 - 1) & 1 == 1)
}

/// Maximum time that a line waits for room on stderr, in ms.
const TELL_PATIENCE_MS: u16 = 1000;

/// Prints one line to stderr. If nobody reads it within `TELL_PATIENCE_MS`, the line is dropped,
/// and so are later lines, without a wait, until there is room again.
pub fn tell(line: impl fmt::Display) {
    static UNREAD: AtomicBool = AtomicBool::new(false);
    let patience = if UNREAD.load(Ordering::Relaxed) {
        0
    } else {
        TELL_PATIENCE_MS
    };
    let stderr = io::stderr();
    let mut room = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let has_room = poll(&mut room, PollTimeout::from(patience)) == Ok(1);
    UNREAD.store(!has_room, Ordering::Relaxed);
    if has_room {
        // Written in one call: there is room for one line, but not necessarily for two.
        let _unread = (&stderr).write_all(format!("{line}\n").as_bytes());
    }
}

/// A failure of the program: an exit code for scripts, a message for people.
#[derive(Debug)]
pub struct CliError {
    code: u8,
    message: String,
}

impl CliError {
    /// Creates a failure. Codes: 1 not found, timeout, a limit or a permission; 2 wrong arguments;
    /// 3 another publisher; 4 schema or layout mismatch; 5 malformed or unreadable input.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Returns the exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::InvalidName { .. }
            | Error::InvalidSchema { .. }
            | Error::InvalidSetting { .. }
            | Error::InvalidWake { .. } => 2,
            Error::PublisherActive { .. } | Error::Lost { .. } => 3,
            Error::SchemaMismatch { .. } | Error::LayoutMismatch { .. } => 4,
            Error::InvalidValue { .. } | Error::TextTooLong { .. } => 5,
            _ => 1,
        };
        let meant = match &error {
            Error::NotFound { table } | Error::TimedOut { table, .. } => {
                suggest::meant_table(table)
            }
            _ => None,
        };
        let sentence = match meant {
            Some(meant) => format!("{error}; {meant} (`subscriber ls` lists all tables)"),
            None => error.to_string(),
        };
        Self::new(code, sentence)
    }
}

impl From<io::Error> for CliError {
    /// Converts an error of writing to stdout. A reader that has closed the pipe is a success.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(1, format!("cannot write to stdout: {error}")),
        }
    }
}

/// Prints clap's output: help and version to stdout, wrong arguments to stderr.
///
/// # Errors
/// The exit code; the message is printed already.
pub fn usage(error: &clap::Error) -> Result<(), CliError> {
    match (error.exit_code(), error.print()) {
        (0, printed) => Ok(printed?),
        (code, _) => Err(CliError::new(u8::try_from(code).unwrap_or(2), "")),
    }
}

/// Prints the error of a failed program to stderr, and returns the exit code for `main`.
pub fn finish(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.code == 0 => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                tell(format_args!("error: {failure}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Sends logs to stderr: warnings, more with each `-v`, or the levels that `RUST_LOG` sets.
pub fn init_logging(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| crate::logs::Logs)
        .with_ansi(colour::is_wanted(&io::stderr()))
        .with_target(false)
        .without_time();
    // An embedding process may have installed its own subscriber, which stays in place.
    let _already = logs.try_init();
}

/// Parses a whole number on a command line.
///
/// # Errors
/// A message for clap.
pub fn whole<const LEAST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("write a whole number, {LEAST} or more"))
}

/// Parses a duration on a command line: `300ms`, `2s`, `1m 30s`.
///
/// # Errors
/// A message for clap.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("it is no time such as 300ms or 2s ({error})"))
}
