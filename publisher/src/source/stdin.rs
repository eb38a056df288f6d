//! Lines of JSON, or records of CSV, from stdin.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use common::{Schema, UntypedPublisher};
use subscriber::service::Stage;
use subscriber::shell::Failure;

use super::csv_lines::{CsvLines, Said};
use super::file::settings::Format;
use super::json_lines::parse;
use super::line_reader::{Filled, Line, LineReader, MAX_LINE};
use super::staging::Staging;
use super::{Progress, Source, Trouble};

/// Lines from stdin.
pub struct Stdin {
    reader: LineReader,
    parser: Parser,
    staging: Staging,
    /// How many lines have been read.
    lines: u64,
    ended: bool,
}

/// What makes instructions of lines.
enum Parser {
    Json(Arc<Schema>),
    Csv(Box<CsvLines>),
}

impl Parser {
    fn take(&mut self, number: u64, line: &Line<'_>) -> Vec<Said> {
        match (self, line) {
            (Self::Csv(lines), line) => lines.take(number, line),
            (Self::Json(schema), Line::Whole(line)) => {
                vec![Said::Record(number, parse(schema, line))]
            }
            (Self::Json(_), Line::TooLong) => {
                let reason = format!("it has more than {MAX_LINE} bytes");
                vec![Said::Record(number, Err(reason))]
            }
        }
    }

    fn end(&mut self) -> Option<Said> {
        match self {
            Self::Csv(lines) => lines.end(),
            Self::Json(_) => None,
        }
    }
}

impl Stdin {
    /// Rows of `schema`, written in `format`. `strict`: a bad line is the end.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new(schema: Schema, format: Format, strict: bool) -> Result<Self, Failure> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| unreadable(0, &error))?;
        let schema = Arc::new(schema);
        Ok(Self {
            reader: LineReader::new(input),
            parser: match format {
                Format::Jsonl => Parser::Json(schema),
                Format::Csv(dialect) => Parser::Csv(Box::new(CsvLines::new(schema, dialect))),
            },
            staging: Staging::new("stdin", strict),
            lines: 0,
            ended: false,
        })
    }

    fn stage(&mut self, said: Said, publisher: &mut UntypedPublisher) -> Result<(), Trouble> {
        match said {
            Said::Record(line, instruction) => self.staging.take(line, instruction, publisher),
            Said::BadHeader(line, reason) => {
                self.staging.commit_batch(publisher)?;
                let failure = Failure::new(5, format!("stdin: line {line}: {reason}"));
                Err(Trouble::Input(failure))
            }
        }
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
            self.lines += 1;
            for said in self.parser.take(self.lines, &line) {
                self.stage(said, publisher)?;
            }
        }
        if filled != Filled::End {
            self.staging.commit_batch(publisher)?;
            return Ok(Progress::Waiting);
        }
        self.ended = true;
        if let Some(said) = self.parser.end() {
            self.stage(said, publisher)?;
        }
        self.staging.end(self.lines, publisher)?;
        Ok(Progress::Ended)
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn stage(&self) -> Stage {
        // Nobody knows whether there will ever be a line.
        Stage::READY
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
