//! Reads lines of JSON or records of CSV from stdin.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use cli::CliError;
use cli::service::Stage;
use common::{Schema, UntypedPublisher};

use super::csv_lines::{CsvLines, Said};
use super::file::settings::Format;
use super::json_lines::parse;
use super::line_reader::{Filled, Line, LineReader, MAX_LINE};
use super::staging::Staging;
use super::{Progress, Source, SourceError};

/// The source that reads stdin.
pub struct Stdin {
    reader: LineReader,
    parser: Parser,
    staging: Staging,
    ended: bool,
}

/// Parser of the instructions in one format.
enum Parser {
    Json { schema: Arc<Schema>, lines: u64 },
    Csv(Box<CsvLines>),
}

impl Parser {
    /// Returns the next instruction, or `None` if it has not arrived completely.
    fn next(&mut self, reader: &mut LineReader) -> Option<Said> {
        match self {
            Self::Csv(records) => {
                let mut rest = reader.available();
                let available = rest.len();
                let said = records.next(&mut rest);
                let taken = available - rest.len();
                reader.consume(taken);
                said
            }
            Self::Json { schema, lines } => {
                let line = reader.next_line()?;
                *lines += 1;
                let instruction = match line {
                    Line::Whole(line) => parse(schema, line),
                    Line::TooLong => Err(format!("the line is longer than {MAX_LINE} bytes")),
                };
                Some(Said::Record(*lines, instruction))
            }
        }
    }

    fn end(&mut self) -> Option<Said> {
        match self {
            Self::Csv(records) => records.end(),
            Self::Json { .. } => None,
        }
    }

    /// Returns the number of lines that have been read.
    fn lines(&self) -> u64 {
        match self {
            Self::Csv(records) => records.lines(),
            Self::Json { lines, .. } => *lines,
        }
    }
}

impl Stdin {
    /// Reads rows of `schema` in `format`. If `strict`, the first bad line ends the source.
    ///
    /// # Errors
    /// Returns a [`CliError`] if stdin cannot be duplicated.
    pub fn new(schema: Schema, format: Format, strict: bool) -> Result<Self, CliError> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| unreadable(0, &error))?;
        let schema = Arc::new(schema);
        Ok(Self {
            reader: LineReader::new(input),
            parser: match format {
                Format::Jsonl => Parser::Json { schema, lines: 0 },
                Format::Csv(dialect) => Parser::Csv(Box::new(CsvLines::new(schema, dialect))),
            },
            staging: Staging::new("stdin", strict),
            ended: false,
        })
    }

    fn stage(&mut self, said: Said, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        match said {
            Said::Record(line, instruction) => self.staging.take(line, instruction, publisher),
            Said::BadHeader(line, reason) => {
                self.staging.commit_batch(publisher)?;
                let failure = CliError::new(5, format!("stdin: line {line}: {reason}"));
                Err(SourceError::Input(failure))
            }
        }
    }
}

impl Source for Stdin {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.reader.descriptor()
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        if self.ended {
            return Ok(Progress::Ended);
        }
        let filled = self.reader.fill();
        let filled =
            filled.map_err(|error| SourceError::Input(unreadable(self.parser.lines(), &error)))?;
        while let Some(said) = self.parser.next(&mut self.reader) {
            self.stage(said, publisher)?;
        }
        if filled != Filled::End {
            self.staging.commit_batch(publisher)?;
            return Ok(Progress::Waiting);
        }
        self.ended = true;
        if let Some(said) = self.parser.end() {
            self.stage(said, publisher)?;
        }
        self.staging.end(self.parser.lines(), publisher)?;
        Ok(Progress::Ended)
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn stage(&self) -> Stage {
        // The source is ready at once, because the first line may never arrive.
        Stage::READY
    }

    fn summary(&self) -> Option<String> {
        Some(format!(
            "lines read: {}, {}",
            self.parser.lines(),
            self.staging.summary()
        ))
    }

    fn shortfall(&self) -> Option<CliError> {
        self.staging.shortfall()
    }
}

fn unreadable(lines: u64, error: &io::Error) -> CliError {
    CliError::new(5, format!("stdin: cannot read after line {lines}: {error}"))
}
