//! Reads lines of JSON or records of CSV from stdin.
//!
//! Stdin may be shared with other processes, so it must stay in blocking mode. It is read once
//! after each `poll` that reports input.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use cli::CliError;
use cli::service::Readiness;
use common::{Schema, UntypedPublisher};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;

use super::change::LineParser;
use super::csv_rows::CsvRows;
use super::format::Format;
use super::json_lines::JsonLines;
use super::staging::Staging;
use super::{Progress, Source, SourceError};

const READ_SIZE: usize = 64 * 1024;

pub struct Stdin {
    input: OwnedFd,
    /// Bytes of a line that has not arrived completely.
    buffer: Vec<u8>,
    parser: Box<dyn LineParser>,
    staging: Staging,
    has_ended: bool,
}

impl Stdin {
    /// Reads rows of `schema` in `format`. If `is_strict`, the first bad line ends the source.
    pub fn new(schema: Schema, format: Format, is_strict: bool) -> Result<Self, CliError> {
        let schema = Arc::new(schema);
        Ok(Self {
            input: stdin()?,
            buffer: Vec::new(),
            parser: match format {
                // An array is a whole table, which `StdinVersions` reads.
                Format::Jsonl | Format::Json => Box::new(JsonLines::new(schema)),
                Format::Csv(dialect) => Box::new(CsvRows::new(schema, dialect)),
            },
            staging: Staging::new(is_strict),
            has_ended: false,
        })
    }
}

/// Returns a descriptor of stdin.
pub fn stdin() -> Result<OwnedFd, CliError> {
    io::stdin().as_fd().try_clone_to_owned().map_err(|error| unreadable(0, &error))
}

/// Reads once if input is available, and appends to `buffer`. Returns the number of bytes, 0 at the
/// end of the input, or `None` if no input is available.
pub fn read_available(input: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut ready = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let length = buffer.len();
    let count = match poll(&mut ready, PollTimeout::ZERO) {
        Ok(0) => return Ok(None),
        Ok(_) => {
            buffer.resize(length + READ_SIZE, 0);
            read(input, &mut buffer[length..])
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

impl Source for Stdin {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let input = (!self.has_ended).then(|| self.input.as_fd());
        input.into_iter().collect()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        if self.has_ended {
            return Ok(Progress::Ended);
        }
        let count = read_available(&self.input, &mut self.buffer)
            .map_err(|error| SourceError::Input(unreadable(self.parser.lines(), &error)))?;
        self.has_ended = count == Some(0);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(line) = self.parser.next(&mut rest, self.has_ended) {
            match line {
                Ok((line, instruction)) => self.staging.take(line, instruction, publisher)?,
                Err(error) => {
                    self.staging.commit_batch(publisher)?;
                    let error = CliError::new(error.code(), format!("stdin: {error}"));
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

fn unreadable(lines: u64, error: &io::Error) -> CliError {
    CliError::new(5, format!("stdin: cannot read after line {lines}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_input_is_not_the_end() {
        let (input, output) = nix::unistd::pipe().unwrap();
        let mut buffer = Vec::new();
        let mut read = || read_available(&input, &mut buffer).unwrap();
        assert_eq!(read(), None);
        nix::unistd::write(&output, b"line").unwrap();
        assert_eq!((read(), read()), (Some(4), None));
        drop(output);
        assert_eq!(read(), Some(0));
        assert_eq!(buffer, b"line");
        let folder = std::fs::File::open("/").unwrap().into();
        assert!(read_available(&folder, &mut buffer).is_err());
    }
}
