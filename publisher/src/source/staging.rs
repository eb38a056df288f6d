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
use common::{Error, UntypedPublisher, UntypedTransaction};

use super::SourceError;
use super::change::{COMMIT_WITHOUT_BEGIN, Instruction, Operation};

const MAX_BATCH: usize = 1000;

/// Maximum size of the changes between `begin` and `commit`, in bytes.
const MAX_TRANSACTION: usize = 256 << 20;

/// Maximum number of refused lines that are reported in each interval.
const MAX_REPORTS: u64 = 20;
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Exit code for rows that do not fit into the table.
const NO_ROOM: u8 = 1;

const BAD: u8 = 5;

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

/// Stages changes and returns those that were refused, or only the first if `stops_at_first`.
fn stage(
    tx: &mut UntypedTransaction<'_>,
    changes: &[Numbered],
    stops_at_first: bool,
) -> Vec<Refusal> {
    let refused = changes.iter().filter_map(|change| {
        let error = change.1.apply(tx).err()?;
        Some(refusal(change, &error))
    });
    refused.take(if stops_at_first { 1 } else { usize::MAX }).collect()
}

/// The changes since `begin`.
struct OpenTransaction {
    begin: u64,
    changes: Vec<Numbered>,
    size: usize,
    /// True if a line of the transaction was refused.
    has_refused: bool,
}

/// Collects instructions and commits them to a table.
#[derive(Default)]
pub struct Staging {
    is_strict: bool,
    batch: Vec<Numbered>,
    open: Option<OpenTransaction>,
    refused: u64,
    dropped: u64,
    code: u8,
    /// Beginning of the current [`REPORT_INTERVAL`].
    interval_begun: Option<Instant>,
    /// Numbers of refused lines in this interval with and without a separate report.
    reported: u64,
    unreported: u64,
    last_unreported_line: u64,
}

impl Staging {
    /// Creates an empty staging area. If `is_strict`, the first refused line is an error.
    pub fn new(is_strict: bool) -> Self {
        Self { is_strict, ..Self::default() }
    }

    /// Applies the instruction of a line, or keeps it for a later commit.
    ///
    /// # Errors
    /// Returns [`SourceError::Table`] if a commit fails, and [`SourceError::Input`] for a refused
    /// line if `is_strict` was set. The other methods return the same errors.
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

    pub fn commit_batch(&mut self, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        let batch = std::mem::take(&mut self.batch);
        match self.commit_changes(&batch, publisher)? {
            None => Ok(()),
            // The batch does not fit, but single rows of it may.
            Some(_) if batch.len() > 1 => self.commit_separately(&batch, publisher),
            Some(limit) => batch.iter().try_for_each(|change| self.refuse(refusal(change, &limit))),
        }
    }

    /// Commits each change by itself. Once a limit was reached, refuses new keys without another
    /// attempt until rows are deleted: each attempt may try to allocate a larger region.
    fn commit_separately(
        &mut self,
        changes: &[Numbered],
        publisher: &mut UntypedPublisher,
    ) -> Result<(), SourceError> {
        let mut reached = None;
        for change in changes {
            let refused = match &change.1 {
                Operation::Insert(row) | Operation::Upsert(row) => {
                    let is_new = || matches!(publisher.get(&row.key_bytes()), Ok(None));
                    reached.take_if(|_| is_new())
                }
                _ => None,
            };
            let limit = match refused {
                Some(limit) => Some(limit),
                None => self.commit_changes(std::slice::from_ref(change), publisher)?,
            };
            match limit {
                Some(limit) => {
                    self.refuse(refusal(change, &limit))?;
                    reached = Some(limit);
                }
                None if change.1.row().is_none() => reached = None,
                None => {}
            }
        }
        Ok(())
    }

    /// Commits changes and reports refused ones. Returns the limit that prevented the commit.
    fn commit_changes(
        &mut self,
        changes: &[Numbered],
        publisher: &mut UntypedPublisher,
    ) -> Result<Option<Error>, SourceError> {
        let mut tx = publisher.begin();
        let refused = stage(&mut tx, changes, self.is_strict);
        match tx.commit() {
            Ok(_) => {}
            Err(limit @ Error::Limit { .. }) => return Ok(Some(limit)),
            Err(error) => return Err(error.into()),
        }
        refused.into_iter().try_for_each(|refusal| self.refuse(refusal))?;
        Ok(None)
    }

    /// Commits the batch after the last line, number `line`, and drops an open transaction.
    pub fn end(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), SourceError> {
        self.commit_batch(publisher)?;
        if let Some(open) = self.open.take() {
            self.refuse((line, BAD, "the input ends before `commit`".to_owned()))?;
            self.report_drop(open.begin, line);
        }
        self.report_unreported();
        Ok(())
    }

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
        self.open =
            Some(OpenTransaction { begin: line, changes: Vec::new(), size: 0, has_refused: false });
        Ok(())
    }

    fn keep(&mut self, line: u64, change: Operation) -> Result<(), SourceError> {
        let Some(open) = self.open.as_mut().filter(|open| !open.has_refused) else {
            return Ok(());
        };
        open.size += change.size();
        open.changes.push((line, change));
        if open.size <= MAX_TRANSACTION {
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
        if !open.has_refused {
            let mut tx = publisher.begin();
            let refused = match stage(&mut tx, &open.changes, true).pop() {
                Some(refused) => refused,
                None => match tx.commit() {
                    Ok(_) => return Ok(()),
                    Err(error @ Error::Limit { .. }) => (line, NO_ROOM, error.to_string()),
                    Err(error) => return Err(error.into()),
                },
            };
            self.refuse(refused)?;
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
            open.has_refused = true;
        }
        if self.interval_begun.is_none_or(|begun| begun.elapsed() >= REPORT_INTERVAL) {
            self.report_unreported();
            (self.interval_begun, self.reported) = (Some(Instant::now()), 0);
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

#[cfg(test)]
mod tests;
