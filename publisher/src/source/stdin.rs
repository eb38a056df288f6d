//! Reads lines of JSON or records of CSV from stdin, or from a named pipe.
//!
//! Stdin may be shared with other processes, so it must stay in blocking mode. It is read once
//! after each `poll` that reports input.
//!
//! A named pipe is created, and removed at the end. It is open for writing too, so that it does not
//! end when the last writer closes it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::CliError;
use cli::service::Readiness;
use common::{Schema, UntypedPublisher};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo, read};

use super::change::LineParser;
use super::csv_rows::CsvRows;
use super::format::Format;
use super::json_lines::JsonLines;
use super::staging::Staging;
use super::{Progress, Source, SourceError};

const READ_SIZE: usize = 64 * 1024;

/// Stdin, or a named pipe.
pub struct Stream {
    descriptor: OwnedFd,
    /// Path of the named pipe.
    fifo: Option<PathBuf>,
}

impl Stream {
    pub fn stdin() -> Result<Self, CliError> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned();
        let descriptor =
            descriptor.map_err(|error| CliError::new(5, format!("stdin: cannot read: {error}")))?;
        Ok(Self { descriptor, fifo: None })
    }

    /// Creates a named pipe that this user may write to, or takes one that a dead publisher left.
    pub fn fifo(path: &Path) -> Result<Self, CliError> {
        let failed = |action: &str, reason: &dyn std::fmt::Display| {
            CliError::new(5, format!("{}: cannot {action} the pipe: {reason}", path.display()))
        };
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let found = path.symlink_metadata().map_err(|error| failed("examine", &error))?;
                if !found.file_type().is_fifo() || found.uid() != geteuid().as_raw() {
                    return Err(failed(
                        "create",
                        &"the path exists, and is not a pipe of this user",
                    ));
                }
            }
            Err(errno) => return Err(failed("create", &errno)),
        }
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path);
        let file = file.map_err(|error| failed("open", &error))?;
        // The lock ends with the last descriptor of the pipe.
        file.try_lock().map_err(|_| failed("read", &"another publisher reads it"))?;
        Ok(Self { descriptor: file.into(), fifo: Some(path.to_owned()) })
    }

    /// Returns the name of the input in messages.
    fn name(&self) -> String {
        self.fifo.as_ref().map_or("stdin".to_owned(), |path| path.display().to_string())
    }

    /// Reads once if input is available, and appends to `buffer`. Returns the number of bytes, 0 at
    /// the end of the input, or `None` if no input is available.
    pub fn read_available(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut ready = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let length = buffer.len();
        let count = match poll(&mut ready, PollTimeout::ZERO) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                buffer.resize(length + READ_SIZE, 0);
                read(self, &mut buffer[length..])
            }
            Err(errno) => Err(errno),
        };
        buffer.truncate(length + count.unwrap_or(0));
        match count {
            Ok(count) => Ok(Some(count)),
            // Another process that shares the descriptor took the input, or a signal arrived.
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(path) = &self.fifo {
            let _removed = std::fs::remove_file(path);
        }
    }
}

pub struct Stdin {
    input: Stream,
    schema: Arc<Schema>,
    /// Bytes of a line that has not arrived completely.
    buffer: Vec<u8>,
    parser: Box<dyn LineParser>,
    staging: Staging,
    has_ended: bool,
}

impl Stdin {
    /// Reads rows of `schema` in `format`. If `is_strict`, the first bad line ends the source.
    pub fn new(input: Stream, schema: Schema, format: Format, is_strict: bool) -> Self {
        let schema = Arc::new(schema);
        Self {
            input,
            schema: Arc::clone(&schema),
            buffer: Vec::new(),
            parser: match format {
                // An array is a whole table, which `StdinVersions` reads.
                Format::Jsonl | Format::Json => Box::new(JsonLines::new(schema)),
                Format::Csv(dialect) => Box::new(CsvRows::new(schema, dialect)),
            },
            staging: Staging::new(is_strict),
            has_ended: false,
        }
    }
}

impl Source for Stdin {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let input = (!self.has_ended).then(|| self.input.as_fd());
        input.into_iter().collect()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        if self.has_ended {
            return Ok(Progress::Ended);
        }
        let count = self.input.read_available(&mut self.buffer).map_err(|error| {
            let (name, lines) = (self.input.name(), self.parser.lines());
            let message = format!("{name}: cannot read after line {lines}: {error}");
            SourceError::Input(CliError::new(5, message))
        })?;
        self.has_ended = count == Some(0);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(line) = self.parser.next(&mut rest, self.has_ended) {
            match line {
                Ok((line, instruction)) => self.staging.take(line, instruction, publisher)?,
                Err(error) => {
                    self.staging.commit_batch(publisher)?;
                    let error =
                        CliError::new(error.code(), format!("{}: {error}", self.input.name()));
                    return Err(SourceError::Input(error));
                }
            }
        }
        self.buffer = rest.to_vec();
        if self.has_ended {
            self.staging.end(self.parser.lines(), publisher)?;
            Ok(Progress::Ended)
        } else {
            self.staging.commit_batch(publisher)?;
            Ok(Progress::Waiting)
        }
    }

    fn is_snapshot(&self) -> bool {
        false
    }

    fn readiness(&self) -> Readiness {
        // The source is ready at once, because the first line may never arrive.
        Readiness::READY
    }

    fn summary(&self) -> Option<String> {
        let (lines, summary) = (self.parser.lines(), self.staging.summary());
        Some(format!("lines read: {lines}, {summary}"))
    }

    fn shortfall(&self) -> Option<CliError> {
        self.staging.shortfall()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_input_is_not_the_end() {
        let (descriptor, output) = nix::unistd::pipe().unwrap();
        let input = Stream { descriptor, fifo: None };
        let mut buffer = Vec::new();
        let mut read = || input.read_available(&mut buffer).unwrap();
        assert_eq!(read(), None);
        nix::unistd::write(&output, b"line").unwrap();
        assert_eq!((read(), read()), (Some(4), None));
        drop(output);
        assert_eq!(read(), Some(0));
        assert_eq!(buffer, b"line");
        let descriptor = std::fs::File::open("/").unwrap().into();
        let folder = Stream { descriptor, fifo: None };
        assert!(folder.read_available(&mut buffer).is_err());
    }
}
