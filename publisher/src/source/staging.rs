//! Which lines become true together, and what becomes of bad ones.
//!
//! 1. A line by itself joins a batch, which is committed when nothing more is there to be read, or when it is long
//!    enough. Each of its lines is accepted or refused as if it were alone.
//! 2. Lines between `begin` and `commit` are kept until `commit`, and done all or not at all.
//! 3. A refused line is reported; strictly, it is the end. When many are refused, the rest are counted.

use std::time::{Duration, Instant};

use common::{Error, UntypedPublisher};
use subscriber::shell::Failure;

use super::Trouble;
use super::json_lines::{Instruction, Operation};
use subscriber::shell::tell;

/// The most lines that are committed together without being told to.
const MAX_BATCH: usize = 1000;

/// The most that is kept between `begin` and `commit`, in bytes.
const MAX_TRANSACTION: usize = 256 << 20;

/// Refused lines are counted, and not reported one by one, beyond the limits of [`Reports`] within this time.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Most reports of bad lines within [`REPORT_INTERVAL`].
const MOST_BAD: u64 = 20;

/// Most reports within [`REPORT_INTERVAL`] of rows that there was no room for: they all have one reason.
const MOST_WITHOUT_ROOM: u64 = 1;

/// Exit code of a refusal for want of room.
const NO_ROOM: u8 = 1;

/// A change and the number of its line.
type Numbered = (u64, Operation);

/// A line that is not done.
struct Refusal {
    line: u64,
    /// The exit code where it is the end.
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
                reason: format!("no room for the row of key {key}: {error}"),
            },
            _ => Self::bad(*line, error.to_string()),
        }
    }
}

/// What stands between `begin` and `commit`.
struct Open {
    begin: u64,
    changes: Vec<Numbered>,
    size: usize,
    /// Whether one of its lines was refused.
    spoilt: bool,
}

/// Counts of the refused lines that were reported in an interval, and of those that were not.
struct Reports {
    begun: Instant,
    bad: u64,
    without_room: u64,
    /// Refused lines that were not reported.
    silent: u64,
    /// The number of the last of them.
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

    /// Counts a refused line. Returns true if it is to be reported.
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

    /// Begins another interval. Returns what to say of the lines that were only counted, if there are any.
    fn next(&mut self) -> Option<String> {
        let Self { silent, last, .. } = std::mem::replace(self, Self::new());
        (silent > 0)
            .then(|| format!("{silent} more lines were refused, the last of them line {last}"))
    }
}

/// Lines on their way into a table.
pub struct Staging {
    /// What the lines are read from, for reports.
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
    /// For lines of `input`. `strict`: a refused line is the end.
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

    /// Does what line number `line` asks for, or keeps it until others are there.
    ///
    /// # Errors
    /// [`Trouble`] with the table, and strictly with a refused line.
    pub fn take(
        &mut self,
        line: u64,
        instruction: Result<Instruction, String>,
        publisher: &mut UntypedPublisher,
    ) -> Result<(), Trouble> {
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

    /// Commits what waits for nothing but company.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn commit_batch(&mut self, publisher: &mut UntypedPublisher) -> Result<(), Trouble> {
        let batch = std::mem::take(&mut self.batch);
        match together(publisher, &batch, self.strict) {
            Ok(refused) => refused
                .into_iter()
                .try_for_each(|refusal| self.refuse(refusal)),
            // Some of the rows may have room, one by one.
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

    /// After the last line, number `line`.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn end(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), Trouble> {
        self.commit_batch(publisher)?;
        if let Some(open) = self.open.take() {
            let reason = "the input ends before `commit`".to_owned();
            self.refuse(Refusal::bad(line, reason))?;
            self.report_drop(open.begin, line);
        }
        self.report_silent();
        Ok(())
    }

    /// How many lines were refused, and how many transactions dropped.
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
    pub fn shortfall(&self) -> Option<Failure> {
        (self.refused > 0).then(|| {
            let reason = format!(
                "{}: not all lines were accepted: {}",
                self.input,
                self.summary()
            );
            Failure::new(self.code, reason)
        })
    }

    fn begin(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), Trouble> {
        if let Some(open) = &self.open {
            let reason = format!("`begin` again, before the `commit` for line {}", open.begin);
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

    fn keep(&mut self, line: u64, change: Operation) -> Result<(), Trouble> {
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

    fn commit(&mut self, line: u64, publisher: &mut UntypedPublisher) -> Result<(), Trouble> {
        self.commit_batch(publisher)?;
        let Some(open) = self.open.take() else {
            return self.refuse(Refusal::bad(
                line,
                "`commit` without `begin`: begin a transaction by {\"op\":\"begin\"}".to_owned(),
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

    fn refuse(&mut self, Refusal { line, code, reason }: Refusal) -> Result<(), Trouble> {
        self.refused += 1;
        self.code = self.code.max(code);
        let report = format!("{}: line {line}: {reason}", self.input);
        if self.strict {
            return Err(Trouble::Input(Failure::new(code, report)));
        }
        if let Some(open) = &mut self.open {
            open.spoilt = true;
        }
        if self.reports.begun.elapsed() >= REPORT_INTERVAL {
            self.report_silent();
        }
        if self.reports.count(line, code) {
            tell(report);
        }
        Ok(())
    }

    /// Reports the number of refused lines that had no separate report.
    fn report_silent(&mut self) {
        if let Some(sentence) = self.reports.next() {
            tell(format_args!("{}: {sentence}", self.input));
        }
    }

    fn report_drop(&mut self, begin: u64, end: u64) {
        self.dropped += 1;
        let input = self.input;
        if self.reports.silent == 0 {
            tell(format_args!(
                "{input}: lines {begin} to {end}: the transaction is dropped, nothing of it is done"
            ));
        }
    }
}

/// Commits all changes but those that are refused; `strict`: those before the first that is.
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

/// Commits all changes, or none and tells why. `end` is the line of `commit`.
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
