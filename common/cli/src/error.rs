//! Exit codes, messages on stderr, and suggestions for misspelled names.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Error;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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
        Self { code, message: message.into() }
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
            Error::NotFound { table } | Error::TimedOut { table, .. } => suggest_table(table),
            _ => None,
        };
        let message = match meant {
            Some(meant) => format!("{error}; {meant} (`subscriber ls` lists all tables)"),
            None => error.to_string(),
        };
        Self::new(code, message)
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
pub fn usage(error: &clap::Error) -> Result<(), CliError> {
    match (error.exit_code(), error.print()) {
        (0, printed) => Ok(printed?),
        (code, _) => Err(CliError::new(u8::try_from(code).unwrap_or(2), "")),
    }
}

/// Prints the error of a failed program to stderr, and returns the exit code for `main`.
pub fn finish(result: Result<(), CliError>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    // Empty if the message was printed already, or if the reader of stdout has closed the pipe.
    if !failure.message.is_empty() {
        status(format_args!("error: {failure}"));
    }
    ExitCode::from(failure.code)
}

/// Maximum time that a line waits for room on stderr, in ms.
const STATUS_PATIENCE_MS: u16 = 1000;

/// Prints one line to stderr. The line is dropped if stderr has no room within
/// `STATUS_PATIENCE_MS`. Later lines are then dropped immediately until stderr has room again.
pub fn status(line: impl fmt::Display) {
    static UNREAD: AtomicBool = AtomicBool::new(false);
    let patience = if UNREAD.load(Ordering::Relaxed) { 0 } else { STATUS_PATIENCE_MS };
    let stderr = io::stderr();
    let mut room = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let has_room = poll(&mut room, PollTimeout::from(patience)) == Ok(1);
    UNREAD.store(!has_room, Ordering::Relaxed);
    if has_room {
        // One write for the whole line: stderr may have no room for a second write.
        let _unread = (&stderr).write_all(format!("{line}\n").as_bytes());
    }
}

/// Explains why a thread or a process could not be started, with the limit that was reached.
pub fn start_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "the number of threads and processes is used up: end some, or raise RLIMIT_NPROC (ulimit -u), pids.max of this cgroup, or /proc/sys/kernel/threads-max".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Exit code for a command that exists and cannot be started, as in a shell.
const CANNOT_START: u8 = 126;
/// Exit code for a command that does not exist, as in a shell.
const NO_SUCH_COMMAND: u8 = 127;

/// Returns the error for a command that could not be started, with the exit code of a shell.
pub fn cannot_start(program: &OsStr, error: &io::Error) -> CliError {
    let (code, reason) = match error.kind() {
        io::ErrorKind::NotFound if exists(program) => {
            (CANNOT_START, "the interpreter that its first line names does not exist".to_owned())
        }
        io::ErrorKind::NotFound => (NO_SUCH_COMMAND, start_error(error)),
        _ => (CANNOT_START, start_error(error)),
    };
    CliError::new(code, format!("cannot run {program:?}: {reason}"))
}

fn exists(program: &OsStr) -> bool {
    if program.as_encoded_bytes().contains(&b'/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Similarity that a suggestion must exceed, from 0 to 1. clap uses the same value for flags.
const MIN_SIMILARITY: f64 = 0.7;

/// Returns the name that is most similar to `name`, if any is similar enough.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let scored = names.into_iter().map(|other| (strsim::jaro(&name, &other.to_lowercase()), other));
    let similar = scored.filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}

/// Returns a question that suggests an existing table for a missing one.
pub fn suggest_table(table: &str) -> Option<String> {
    let tables = common::tables().ok()?;
    let near = nearest(table, tables.iter().map(String::as_str))?;
    Some(format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_names_get_a_suggestion() {
        let names = ["prices", "routes", "processes", "id"];
        for (typed, meant) in [
            ("price", Some("prices")),
            ("PRICES", Some("prices")),
            ("rotues", Some("routes")),
            ("proceses", Some("processes")),
            ("di", None),
            ("weather", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
