//! Reads lines from a descriptor that may be shared with other processes.
//!
//! A shared descriptor must stay in blocking mode, so it is read once after each `poll` that
//! reports input.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;

/// Maximum length of a line, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Size of one read: the default capacity of a pipe.
const READ_SIZE: usize = 64 * 1024;

/// A line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The complete line.
    Whole(&'a [u8]),
    /// The line was longer than [`MAX_LINE`] bytes and was skipped.
    TooLong,
}

/// The result of [`LineReader::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// No input was available.
    Nothing,
    /// Some bytes were read.
    Some,
    /// The input has ended.
    End,
}

/// Splits the input of a descriptor into lines.
pub struct LineReader {
    input: OwnedFd,
    /// Bytes that were read. Those before `start` have been returned, and those before `searched`
    /// contain no further line end.
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    /// True if the rest of a line that is too long must still be skipped.
    passing_over: bool,
    ended: bool,
}

impl LineReader {
    /// Creates a reader of `input`.
    pub fn new(input: OwnedFd) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            passing_over: false,
            ended: false,
        }
    }

    /// Returns the descriptor to wait for, or `None` after the end of the input.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.input.as_fd())
    }

    /// Reads once if input is available.
    ///
    /// # Errors
    /// Returns the error of `poll` or `read`.
    pub fn fill(&mut self) -> io::Result<Filled> {
        if self.ended {
            return Ok(Filled::End);
        }
        let mut ready = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::ZERO) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Filled::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.discard_taken();
        let length = self.buffer.len();
        self.buffer.resize(length + READ_SIZE, 0);
        let count = read(&self.input, &mut self.buffer[length..]);
        self.buffer.truncate(length + count.unwrap_or(0));
        match count {
            Ok(0) => {
                self.ended = true;
                Ok(Filled::End)
            }
            Ok(_) => Ok(Filled::Some),
            // Another process that shares the descriptor took the input, or a signal arrived.
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Filled::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the next complete line. The last line of the input needs no line end.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let (start, last) = (self.start, self.buffer.len());
        let newline = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let end = match newline {
            Some(at) => self.searched + at,
            None if self.ended && (start < last || self.passing_over) => last,
            None => {
                self.searched = last;
                if last - start > MAX_LINE {
                    (self.passing_over, self.start) = (true, last);
                }
                return None;
            }
        };
        self.start = last.min(end + 1);
        self.searched = self.start;
        let too_long = std::mem::take(&mut self.passing_over) || end - start > MAX_LINE;
        Some(if too_long {
            Line::TooLong
        } else {
            Line::Whole(&self.buffer[start..end])
        })
    }

    /// Returns the bytes that were read but not consumed, for input that is not split into lines.
    pub fn available(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Consumes the first `count` available bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        self.searched = self.start;
    }

    fn discard_taken(&mut self) {
        if self.passing_over {
            self.start = self.searched;
        }
        self.buffer.drain(..self.start);
        (self.start, self.searched) = (0, self.searched - self.start);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    /// Writes the pieces to a pipe and returns the lines that are read from it, with `None` for
    /// a line that is too long.
    fn lines(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let (input, output) = nix::unistd::pipe().unwrap();
        let (mut reader, mut output) = (LineReader::new(input), Some(File::from(output)));
        let mut lines = Vec::new();
        let mut pieces = pieces.iter();
        loop {
            match pieces.next() {
                Some(piece) => output.as_mut().unwrap().write_all(piece).unwrap(),
                None => output = None,
            }
            let filled = reader.fill().unwrap();
            while let Some(line) = reader.next_line() {
                lines.push(match line {
                    Line::Whole(line) => Some(line.to_vec()),
                    Line::TooLong => None,
                });
            }
            if filled == Filled::End {
                return lines;
            }
        }
    }

    fn whole(lines: &[&str]) -> Vec<Option<Vec<u8>>> {
        lines
            .iter()
            .map(|line| Some(line.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces_they_arrive_in() {
        assert_eq!(
            lines(&[b"a\nbc", b"d\n\n", b"e"]),
            whole(&["a", "bcd", "", "e"])
        );
        assert_eq!(lines(&[b"a\n"]), whole(&["a"]));
        assert_eq!(lines(&[]), whole(&[]));
        assert_eq!(lines(&[b"\n"]), whole(&[""]));
    }

    #[test]
    fn too_long_line_is_skipped() {
        let piece = [b'x'; READ_SIZE];
        let mut long = vec![piece.as_slice(); MAX_LINE / READ_SIZE];
        let longest = lines(&[long.as_slice(), &[&b"\na"[..]]].concat());
        assert_eq!(longest[0].as_ref().unwrap().len(), MAX_LINE);
        assert_eq!(longest[1..], whole(&["a"]));
        long.push(b"x");
        assert_eq!(
            lines(&[long.as_slice(), &[&b"\na"[..]]].concat()),
            [None, Some(b"a".to_vec())]
        );
        assert_eq!(lines(&long), [None]);
        long.extend([piece.as_slice(); 40]);
        assert_eq!(
            lines(&[long.as_slice(), &[&b"\n\n"[..]]].concat()),
            [None, Some(Vec::new())]
        );
    }

    #[test]
    fn missing_input_is_not_the_end() {
        let (input, output) = nix::unistd::pipe().unwrap();
        let mut reader = LineReader::new(input);
        assert_eq!(reader.fill().unwrap(), Filled::Nothing);
        assert!(reader.descriptor().is_some());
        drop(output);
        assert_eq!(reader.fill().unwrap(), Filled::End);
        assert!(reader.descriptor().is_none());
        assert_eq!(reader.fill().unwrap(), Filled::End);
    }

    #[test]
    fn reading_a_directory_fails() {
        let mut reader = LineReader::new(File::open("/").unwrap().into());
        assert!(reader.fill().is_err());
    }
}
