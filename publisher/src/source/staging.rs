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

use cli::{CliError, status};
use common::{Error, UntypedPublisher};

use super::SourceError;
use super::change::{COMMIT_WITHOUT_BEGIN, Instruction, Operation};

/// Maximum number of lines in a batch.
const MAX_BATCH: usize = 1000;

/// Maximum size of the changes between `begin` and `commit`, in bytes.
const MAX_TRANSACTION: usize = 256 << 20;

/// Maximum number of refused lines that are reported in each [`REPORT_INTERVAL`].
const MAX_REPORTS: u64 = 20;
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Exit code for rows that do not fit into the table.
const NO_ROOM: u8 = 1;

/// Exit code for bad lines.
const BAD: u8 = 5;

/// A change and the number of its line.
type Numbered = (u64, Operation);

/// A line that was not applied, the exit code if that ends the program, and the reason.
type Refusal = (u64, u8, String);

fn refusal((line, change): &Numbered, error: &Error) -> Refusal {
    match (error, change.row()) {
        (Error::TableFull { .. } | Error::Limit { .. }, Some(row)) => {
            let key = row.as_ref().key().to_string();
            let reason = format!("no room for the row with key {key}: {error}");
            (*line, NO_ROOM, reason)
        }
        _ => (*line, BAD, error.to_string()),
    }
}

/// An open transaction: the changes since `begin`.
struct Open {
    begin: u64,
    changes: Vec<Numbered>,
    size: usize,
    /// True if a line of the transaction was refused.
    is_spoilt: bool,
}

/// Collects instructions and commits them to a table.
pub struct Staging {
    is_strict: bool,
    batch: Vec<Numbered>,
    open: Option<Open>,
    refused: u64,
    dropped: u64,
    /// The highest exit code of the refused lines.
    code: u8,
    /// Beginning of the current [`REPORT_INTERVAL`], and the numbers of its refused lines.
    interval_begun: Instant,
    reported: u64,
    unreported: u64,
    last_unreported_line: u64,
}

impl Staging {
    /// Creates a stage without lines. If `is_strict`, the first refused line is an error.
    pub fn new(is_strict: bool) -> Self {
        Self {
            is_strict,
            batch: Vec::new(),
            open: None,
            refused: 0,
            dropped: 0,
            code: 0,
            interval_begun: Instant::now(),
            reported: 0,
            unreported: 0,
            last_unreported_line: 0,
        }
    }

    /// Applies the instruction of a line, or keeps it for a later commit.
    ///
    /// # Errors
    /// Returns [`SourceError::Table`] if the commit fails, and [`SourceError::Input`] for a refused
    /// line if the stage is strict.
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
                match self.batch.len() < MAX_BATCH {
                    true => Ok(()),
                    false => self.commit_batch(publisher),
                }
            }
            Ok(Instruction::Begin) => {
                self.commit_batch(publisher)?;
                self.begin(line)
            }
            Ok(Instruction::Commit) => {
                self.commit_batch(publisher)?;
                self.commit(line, publisher)
            }
            Err(reason) => {
                self.commit_batch(publisher)?;
                self.refuse((line, BAD, reason))
            }
        }
    }

    /// Commits the batch.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub fn commit_batch(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let batch = std::mem::take(&mut self.batch);
        match commit_separately(publisher, &batch, self.is_strict) {
            // The batch does not fit, but single rows of it may.
            Err(Error::Limit { .. }) if batch.len() > 1 => {
                for change in batch {
                    self.batch = vec![change];
                    self.commit_batch(publisher)?;
                }
                Ok(())
            }
            Err(error @ Error::Limit { .. }) => {
                batch.iter().try_for_each(|change| self.refuse(refusal(change, &error)))
            }
            Err(error) => Err(error.into()),
            Ok(refused) => {
                let mut refused = refused.into_iter();
                refused.try_for_each(|refusal| self.refuse(refusal))
            }
        }
    }

    /// Commits the batch after the last line, number `line`, and drops an open transaction.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub fn end(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.commit_batch(publisher)?;
        if let Some(open) = self.open.take() {
            self.refuse((line, BAD, "the input ends before `commit`".to_owned()))?;
            self.report_drop(open.begin, line);
        }
        self.report_unreported();
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
        let summary = self.summary();
        let reason = format!("stdin: not all lines were accepted: {summary}");
        (self.refused > 0).then(|| CliError::new(self.code, reason))
    }

    fn begin(&mut self, line: u64) -> Result<(), SourceError> {
        if let Some(open) = &self.open {
            let reason = format!("`begin` inside the transaction of line {}", open.begin);
            return self.refuse((line, BAD, reason));
        }
        self.open = Some(Open { begin: line, changes: Vec::new(), size: 0, is_spoilt: false });
        Ok(())
    }

    fn keep(&mut self, line: u64, change: Operation) -> Result<(), SourceError> {
        let Some(open) = self.open.as_mut().filter(|open| !open.is_spoilt) else {
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
        self.refuse((line, BAD, reason))
    }

    fn commit(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let Some(open) = self.open.take() else {
            return self.refuse((line, BAD, COMMIT_WITHOUT_BEGIN.to_owned()));
        };
        if !open.is_spoilt {
            match commit_atomically(publisher, &open.changes, line)? {
                None => return Ok(()),
                Some(refusal) => self.refuse(refusal)?,
            }
        }
        self.report_drop(open.begin, line);
        Ok(())
    }

    fn refuse(&mut self, (line, code, reason): Refusal) -> Result<(), SourceError> {
        self.refused += 1;
        self.code = self.code.max(code);
        let report = format!("stdin: line {line}: {reason}");
        if self.is_strict {
            return Err(SourceError::Input(CliError::new(code, report)));
        }
        if let Some(open) = &mut self.open {
            open.is_spoilt = true;
        }
        if self.interval_begun.elapsed() >= REPORT_INTERVAL {
            self.report_unreported();
            (self.interval_begun, self.reported) = (Instant::now(), 0);
        }
        if self.reported < MAX_REPORTS {
            self.reported += 1;
            status(report);
        } else {
            self.unreported += 1;
            self.last_unreported_line = line;
        }
        Ok(())
    }

    /// Reports the number of refused lines that had no separate report.
    fn report_unreported(&mut self) {
        let unreported = std::mem::take(&mut self.unreported);
        if unreported > 0 {
            status(format_args!(
                "stdin: {unreported} more lines were refused, the last of them line {}",
                self.last_unreported_line
            ));
        }
    }

    fn report_drop(&mut self, begin: u64, end: u64) {
        self.dropped += 1;
        if self.unreported == 0 {
            status(format_args!(
                "stdin: lines {begin} to {end}: the transaction is dropped, and none of it is applied"
            ));
        }
    }
}

/// Commits the changes and returns those that were refused. If `is_strict`, stops at the first
/// refused change and commits those before it.
fn commit_separately(
    publisher: &mut UntypedPublisher,
    changes: &[Numbered],
    is_strict: bool,
) -> common::Result<Vec<Refusal>> {
    let mut refused = Vec::new();
    let mut tx = publisher.begin();
    for change in changes {
        if let Err(error) = change.1.apply(&mut tx) {
            refused.push(refusal(change, &error));
            if is_strict {
                break;
            }
        }
    }
    tx.commit()?;
    Ok(refused)
}

/// Commits all changes, or none and returns the reason. `end` is the line of `commit`.
fn commit_atomically(
    publisher: &mut UntypedPublisher,
    changes: &[Numbered],
    end: u64,
) -> common::Result<Option<Refusal>> {
    let mut tx = publisher.begin();
    for change in changes {
        if let Err(error) = change.1.apply(&mut tx) {
            return Ok(Some(refusal(change, &error)));
        }
    }
    match tx.commit() {
        Ok(_) => Ok(None),
        Err(error @ Error::Limit { .. }) => Ok(Some((end, NO_ROOM, error.to_string()))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
