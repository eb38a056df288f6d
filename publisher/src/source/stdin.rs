//! Lines of JSON from stdin.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use common::{Schema, UntypedPublisher};
use subscriber::shell::Failure;

use super::json_lines::parse;
use super::line_reader::{Filled, Line, LineReader, MAX_LINE};
use super::staging::Staging;
use super::{Progress, Source, Trouble};

/// Lines of JSON from stdin.
pub struct Stdin {
    reader: LineReader,
    schema: Arc<Schema>,
    staging: Staging,
    /// How many lines have been read.
    lines: u64,
    ended: bool,
}

impl Stdin {
    /// Rows of `schema`. `strict`: a bad line is the end.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new(schema: Schema, strict: bool) -> Result<Self, Failure> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| unreadable(0, &error))?;
        Ok(Self {
            reader: LineReader::new(input),
            schema: Arc::new(schema),
            staging: Staging::new("stdin", strict),
            lines: 0,
            ended: false,
        })
    }
}

impl Source for Stdin {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.reader.descriptor()
    }

    fn bring(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, Trouble> {
        if self.ended {
            return Ok(Progress::Ended);
        }
        let filled = self.reader.fill();
        let filled = filled.map_err(|error| Trouble::Input(unreadable(self.lines, &error)))?;
        while let Some(line) = self.reader.next_line() {
            let instruction = match line {
                Line::Whole(line) => parse(&self.schema, line),
                Line::TooLong => Err(format!("it has more than {MAX_LINE} bytes")),
            };
            self.lines += 1;
            self.staging.take(self.lines, instruction, publisher)?;
        }
        if filled != Filled::End {
            self.staging.commit_batch(publisher)?;
            return Ok(Progress::Waiting);
        }
        self.ended = true;
        self.staging.end(self.lines, publisher)?;
        Ok(Progress::Ended)
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn summary(&self) -> Option<String> {
        Some(format!(
            "lines read: {}, {}",
            self.lines,
            self.staging.summary()
        ))
    }
}

fn unreadable(lines: u64, error: &io::Error) -> Failure {
    Failure::new(5, format!("stdin: cannot read after line {lines}: {error}"))
}
