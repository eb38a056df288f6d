//! Groups lines into commits and handles bad lines.
//!
//! 1. A line outside a transaction joins a batch. The batch is committed when no more input is
//!    available or when it has `MAX_BATCH` lines. Each of its lines is accepted or refused
//!    separately.
//! 2. Lines between `begin` and `commit` are kept until `commit`, and are then applied all or not
//!    at all.
//! 3. A refused line is reported, or ends the source if it is strict. When many lines are refused,
//!    only the first are reported and the others are counted.

use std::time::{Duration, Instant};

use cli::CliError;
use common::{Error, UntypedPublisher};

use super::SourceError;
use super::json_lines::{Instruction, Operation};
use cli::status;

/// Maximum number of lines in a batch.
const MAX_BATCH: usize = 1000;

/// Maximum size of the changes between `begin` and `commit`, in bytes.
const MAX_TRANSACTION: usize = 256 << 20;

/// Interval for which the limits [`MOST_BAD`] and [`MOST_WITHOUT_ROOM`] apply.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of reports of bad lines in each [`REPORT_INTERVAL`].
const MOST_BAD: u64 = 20;

/// Maximum number of reports of rows that do not fit into the table in each [`REPORT_INTERVAL`].
/// One is enough, because all have the same reason.
const MOST_WITHOUT_ROOM: u64 = 1;

/// Exit code for rows that do not fit into the table.
const NO_ROOM: u8 = 1;

/// A change and the number of its line.
type Numbered = (u64, Operation);

/// A line that was not applied.
struct Refusal {
    line: u64,
    /// Exit code if the refusal ends the program.
    code: u8,
    reason: String,
}

impl Refusal {
    fn bad(line: u64, reason: String) -> Self {
        let code = 5;
        Self { line, code, reason }
    }

    fn of_change((line, change): &Numbered, error: &Error) -> Self {
        let row = change.row().map(|row| row.as_ref().key().to_string());
        match (error, row) {
            (Error::TableFull { .. } | Error::Limit { .. }, Some(key)) => Self {
                line: *line,
                code: NO_ROOM,
                reason: format!("no room for the row with key {key}: {error}"),
            },
            _ => Self::bad(*line, error.to_string()),
        }
    }
}

/// An open transaction: the changes since `begin`.
struct Open {
    begin: u64,
    changes: Vec<Numbered>,
    size: usize,
    /// True if a line of the transaction was refused.
    spoilt: bool,
}

/// Counts of refused lines, reported and unreported, in the current [`REPORT_INTERVAL`].
struct Reports {
    begun: Instant,
    bad: u64,
    without_room: u64,
    /// Number of refused lines that were not reported.
    silent: u64,
    /// Line number of the last of them.
    last: u64,
}

impl Reports {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            bad: 0,
            without_room: 0,
            silent: 0,
            last: 0,
        }
    }

    /// Counts a refused line. Returns true if it should be reported.
    fn count(&mut self, line: u64, code: u8) -> bool {
        let (count, most) = match code {
            NO_ROOM => (&mut self.without_room, MOST_WITHOUT_ROOM),
            _ => (&mut self.bad, MOST_BAD),
        };
        *count += 1;
        let is_told = *count <= most;
        if !is_told {
            self.silent += 1;
            self.last = line;
        }
        is_told
    }

    /// Starts the next interval. Returns the sentence about the lines that were not reported, if
    /// there are any.
    fn next(&mut self) -> Option<String> {
        let Self { silent, last, .. } = std::mem::replace(self, Self::new());
        (silent > 0)
            .then(|| format!("{silent} more lines were refused, the last of them line {last}"))
    }
}

/// Collects instructions and commits them to a table.
pub struct Staging {
    /// Name of the input, for reports.
    input: &'static str,
    strict: bool,
    batch: Vec<Numbered>,
    open: Option<Open>,
    refused: u64,
    dropped: u64,
    /// The highest exit code of the refused lines.
    code: u8,
    reports: Reports,
}

impl Staging {
    /// Creates a stage for the lines of `input`. If `strict`, the first refused line is an error.
    pub fn new(input: &'static str, strict: bool) -> Self {
        Self {
            input,
            strict,
            batch: Vec::new(),
            open: None,
            refused: 0,
            dropped: 0,
            code: 0,
            reports: Reports::new(),
        }
    }

    /// Applies the instruction of a line, or keeps it for a later commit.
    ///
    /// # Errors
    /// Returns [`SourceError::Table`] if the commit fails, and [`SourceError::Input`] for a refused line if
    /// the stage is strict.
    pub fn take(
        &mut self,
        line: u64,
        instruction: Result<Instruction, String>,
        publisher: &mut UntypedPublisher,
    ) -> Result<(), SourceError> {
        match instruction {
            Ok(Instruction::Nothing) => Ok(()),
            Ok(Instruction::Change(change)) if self.open.is_some() => self.keep(line, change),
            Ok(Instruction::Change(change)) => {
                self.batch.push((line, change));
                if self.batch.len() < MAX_BATCH {
                    return Ok(());
                }
                self.commit_batch(publisher)
            }
            Ok(Instruction::Begin) => self.begin(line, publisher),
            Ok(Instruction::Commit) => self.commit(line, publisher),
            Err(reason) => {
                self.commit_batch(publisher)?;
                self.refuse(Refusal::bad(line, reason))
            }
        }
    }

    /// Commits the batch.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub fn commit_batch(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let batch = std::mem::take(&mut self.batch);
        match together(publisher, &batch, self.strict) {
            Ok(refused) => refused
                .into_iter()
                .try_for_each(|refusal| self.refuse(refusal)),
            // The batch does not fit, but single rows of it may.
            Err(Error::Limit { .. }) => batch.iter().try_for_each(|change| {
                match together(publisher, std::slice::from_ref(change), self.strict) {
                    Ok(refused) => refused
                        .into_iter()
                        .try_for_each(|refusal| self.refuse(refusal)),
                    Err(error @ Error::Limit { .. }) => {
                        self.refuse(Refusal::of_change(change, &error))
                    }
                    Err(error) => Err(error.into()),
                }
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits the batch after the last line, number `line`, and drops an open transaction.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub fn end(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.commit_batch(publisher)?;
        if let Some(open) = self.open.take() {
            let reason = "the input ends before `commit`".to_owned();
            self.refuse(Refusal::bad(line, reason))?;
            self.report_drop(open.begin, line);
        }
        self.report_silent();
        Ok(())
    }

    /// Returns a summary of the refused lines and dropped transactions.
    pub fn summary(&self) -> String {
        let refused = match (self.refused, self.dropped) {
            (0, _) => "none refused".to_owned(),
            (refused, 0) => format!("{refused} refused"),
            (refused, dropped) => format!("{refused} refused, transactions dropped: {dropped}"),
        };
        match &self.open {
            Some(open) => format!(
                "{refused}; the transaction of line {} had no `commit` and is dropped",
                open.begin
            ),
            None => refused,
        }
    }

    /// Returns the error to end with after the last line, if lines were refused.
    pub fn shortfall(&self) -> Option<CliError> {
        (self.refused > 0).then(|| {
            let reason = format!(
                "{}: not all lines were accepted: {}",
                self.input,
                self.summary()
            );
            CliError::new(self.code, reason)
        })
    }

    fn begin(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        if let Some(open) = &self.open {
            let reason = format!("`begin` inside the transaction of line {}", open.begin);
            return self.refuse(Refusal::bad(line, reason));
        }
        self.commit_batch(publisher)?;
        self.open = Some(Open {
            begin: line,
            changes: Vec::new(),
            size: 0,
            spoilt: false,
        });
        Ok(())
    }

    fn keep(&mut self, line: u64, change: Operation) -> Result<(), SourceError> {
        let Some(open) = self.open.as_mut().filter(|open| !open.spoilt) else {
            return Ok(());
        };
        open.size += change.size();
        if open.size <= MAX_TRANSACTION {
            open.changes.push((line, change));
            return Ok(());
        }
        open.changes = Vec::new();
        let reason =
            format!("more than {MAX_TRANSACTION} bytes in one transaction: commit more often");
        self.refuse(Refusal::bad(line, reason))
    }

    fn commit(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.commit_batch(publisher)?;
        let Some(open) = self.open.take() else {
            return self.refuse(Refusal::bad(
                line,
                "`commit` without `begin`: begin a transaction with {\"op\":\"begin\"}".to_owned(),
            ));
        };
        if !open.spoilt {
            match all_or_none(publisher, &open.changes, line)? {
                None => return Ok(()),
                Some(refusal) => self.refuse(refusal)?,
            }
        }
        self.report_drop(open.begin, line);
        Ok(())
    }

    fn refuse(&mut self, Refusal { line, code, reason }: Refusal) -> Result<(), SourceError> {
        self.refused += 1;
        self.code = self.code.max(code);
        let report = format!("{}: line {line}: {reason}", self.input);
        if self.strict {
            return Err(SourceError::Input(CliError::new(code, report)));
        }
        if let Some(open) = &mut self.open {
            open.spoilt = true;
        }
        if self.reports.begun.elapsed() >= REPORT_INTERVAL {
            self.report_silent();
        }
        if self.reports.count(line, code) {
            status(report);
        }
        Ok(())
    }

    /// Reports the number of refused lines that had no separate report.
    fn report_silent(&mut self) {
        if let Some(sentence) = self.reports.next() {
            status(format_args!("{}: {sentence}", self.input));
        }
    }

    fn report_drop(&mut self, begin: u64, end: u64) {
        self.dropped += 1;
        let input = self.input;
        if self.reports.silent == 0 {
            status(format_args!(
                "{input}: lines {begin} to {end}: the transaction is dropped, and none of it is applied"
            ));
        }
    }
}

/// Commits the changes and returns those that were refused. If `strict`, stops at the first refused
/// change and commits those before it.
fn together(
    publisher: &mut UntypedPublisher,
    changes: &[Numbered],
    strict: bool,
) -> common::Result<Vec<Refusal>> {
    let mut refused = Vec::new();
    let mut tx = publisher.begin();
    for change in changes {
        if let Err(error) = change.1.apply(&mut tx) {
            refused.push(Refusal::of_change(change, &error));
            if strict {
                break;
            }
        }
    }
    tx.commit()?;
    Ok(refused)
}

/// Commits all changes, or none and returns the reason. `end` is the line of `commit`.
fn all_or_none(
    publisher: &mut UntypedPublisher,
    changes: &[Numbered],
    end: u64,
) -> common::Result<Option<Refusal>> {
    let mut tx = publisher.begin();
    for change in changes {
        if let Err(error) = change.1.apply(&mut tx) {
            return Ok(Some(Refusal::of_change(change, &error)));
        }
    }
    match tx.commit() {
        Ok(_) => Ok(None),
        Err(error @ Error::Limit { .. }) => Ok(Some(Refusal {
            line: end,
            code: NO_ROOM,
            reason: error.to_string(),
        })),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
