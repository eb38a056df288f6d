//! Reads whole tables from stdin, one after the other (`--snapshot`).
//!
//! A version ends at the separator, or at the end of the input. A worker reads it, and stdin is not
//! read in the meantime. Versions without content are left out.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use cli::CliError;

use super::Progress;
use super::format::{Separator, Settings, Table};
use super::stdin::Stream;
use super::versions::{Input, MAX_OUTPUT, Versions};
use super::worker::Worker;

pub struct StdinVersions {
    input: Stream,
    splitter: Splitter,
    settings: Arc<Settings>,
    worker: Worker<Result<Table, CliError>>,
    has_ended: bool,
}

impl StdinVersions {
    pub fn new(separator: Separator, settings: Settings) -> Result<Self, CliError> {
        Ok(Self {
            input: Stream::stdin()?,
            splitter: Splitter::new(separator, MAX_OUTPUT),
            settings: Arc::new(settings),
            worker: Worker::new()?,
            has_ended: false,
        })
    }
}

impl Input for StdinVersions {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let input = (!self.has_ended && !self.worker.is_busy()).then(|| self.input.as_fd());
        input.into_iter().chain([self.worker.descriptor()]).collect()
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn advance(&mut self, now: Instant, versions: &mut Versions) -> Result<Progress, CliError> {
        if let Some(read) = self.worker.finished() {
            versions.take(read, now)?;
        }
        if self.worker.is_busy() {
            return Ok(Progress::Waiting);
        }
        let mut version = self.splitter.next(self.has_ended);
        if version.is_none() && !self.has_ended {
            let count = self
                .input
                .read_available(&mut self.splitter.buffer)
                .map_err(|error| CliError::new(5, format!("stdin: cannot read: {error}")))?;
            self.has_ended = count == Some(0);
            version = self.splitter.next(self.has_ended);
        }
        match version {
            Some(Ok(bytes)) => {
                let (settings, schema) = (Arc::clone(&self.settings), versions.schema().cloned());
                let begun = self.worker.begin(move || settings.read(&bytes, schema.as_deref()));
                begun.or_else(|error| versions.report(&error, false))?;
            }
            Some(Err(reason)) => versions.take(Err(CliError::new(5, reason)), now)?,
            None if self.has_ended && versions.schema().is_none() => {
                return Err(CliError::new(5, "stdin: it ends before the first version"));
            }
            None if self.has_ended => return Ok(Progress::Ended),
            None => {}
        }
        Ok(Progress::Waiting)
    }
}

/// Splits a stream into versions.
struct Splitter {
    separator: Separator,
    max_bytes: usize,
    buffer: Vec<u8>,
    /// Number of bytes that have been searched for the separator.
    searched: usize,
    /// True if the current version is too long, and is skipped up to its end.
    is_skipping: bool,
}

impl Splitter {
    fn new(separator: Separator, max_bytes: usize) -> Self {
        Self { separator, max_bytes, buffer: Vec::new(), searched: 0, is_skipping: false }
    }

    /// Returns the next version, or the reason why it is refused. Returns `None` if the buffer does
    /// not hold a complete version. If `is_end`, no more bytes follow.
    fn next(&mut self, is_end: bool) -> Option<Result<Vec<u8>, String>> {
        loop {
            let length = self.buffer.len();
            let separator = match self.find() {
                Some(separator) => separator,
                None if length > self.max_bytes && !is_end => {
                    // `find` recognizes an empty line by the two bytes before its end: `\n` or `\n\r`.
                    self.buffer.drain(..length - 2);
                    self.searched = 2;
                    let is_known = std::mem::replace(&mut self.is_skipping, true);
                    let reason = format!("a version has more than {} bytes", self.max_bytes);
                    return (!is_known).then_some(Err(reason));
                }
                None if is_end && length > 0 => length..length,
                None => return None,
            };
            let rest = self.buffer.split_off(separator.end);
            let mut version = std::mem::replace(&mut self.buffer, rest);
            version.truncate(separator.start);
            self.searched = 0;
            if !std::mem::take(&mut self.is_skipping) && !version.trim_ascii().is_empty() {
                return Some(Ok(version));
            }
        }
    }

    /// Returns the position of the next separator.
    fn find(&mut self) -> Option<Range<usize>> {
        let end_byte = match self.separator {
            Separator::Blank => b'\n',
            Separator::Formfeed => b'\x0c',
        };
        loop {
            let unsearched = &self.buffer[self.searched..];
            let Some(length) = unsearched.iter().position(|byte| *byte == end_byte) else {
                self.searched = self.buffer.len();
                return None;
            };
            let end = self.searched + length;
            self.searched = end + 1;
            let before = &self.buffer[..end];
            let version = before.strip_suffix(b"\r").unwrap_or(before);
            match self.separator {
                Separator::Formfeed => return Some(end..end + 1),
                Separator::Blank if version.is_empty() || version.ends_with(b"\n") => {
                    return Some(version.len()..end + 1);
                }
                Separator::Blank => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a text in pieces of `size`.
    fn split(separator: Separator, text: &str, size: usize) -> Vec<Result<String, String>> {
        let mut splitter = Splitter::new(separator, 16);
        let mut versions = Vec::new();
        let pieces = text.as_bytes().chunks(size).map(|piece| (piece, false));
        for (piece, is_end) in pieces.chain([(&b""[..], true)]) {
            splitter.buffer.extend_from_slice(piece);
            while let Some(version) = splitter.next(is_end) {
                versions.push(version.map(|bytes| String::from_utf8(bytes).unwrap()));
            }
        }
        assert!(splitter.buffer.is_empty());
        versions
    }

    #[test]
    fn versions_end_at_the_separator() {
        for size in 1..8 {
            let blank = |text| split(Separator::Blank, text, size);
            let whole = |text: &str| Ok(text.to_owned());
            assert_eq!(blank("a\nb\n\n\n\nc\n\r\nd"), [whole("a\nb\n"), whole("c\n"), whole("d")]);
            assert_eq!(blank("\n\n \n\n"), []);
            let fed = split(Separator::Formfeed, "\u{c}a\n\nb\u{c}\nc\n\u{c}\n", size);
            assert_eq!(fed, [whole("a\n\nb"), whole("\nc\n")]);
        }
    }

    /// Guards against the end of a long version that is taken for a version.
    #[test]
    fn too_long_version_is_skipped_up_to_the_separator() {
        let reason = Err("a version has more than 16 bytes".to_owned());
        for size in 1..8 {
            for long in 17..40 {
                for line_end in ["\n", "\r\n"] {
                    let long = "x".repeat(long);
                    let text = format!("a\n\n{long}{line_end}{long}{line_end}\nb\n\n");
                    let versions = split(Separator::Blank, &text, size);
                    let expected = [Ok("a\n".to_owned()), reason.clone(), Ok("b\n".to_owned())];
                    assert_eq!(versions, expected, "{text:?} in pieces of {size}");
                }
            }
        }
    }
}
