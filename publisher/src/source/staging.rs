//! Which lines become true together, and what becomes of bad ones.
//!
//! 1. A line by itself joins a batch, which is committed when nothing more is there to be read, or when it is long
//!    enough. Each of its lines is accepted or refused as if it were alone.
//! 2. Lines between `begin` and `commit` are kept until `commit`, and done all or not at all.
//! 3. A refused line is reported; strictly, it is the end.

use common::{Error, UntypedPublisher};
use subscriber::shell::Failure;

use super::Trouble;
use super::json_lines::{Instruction, Operation};
use subscriber::shell::tell;

/// The most lines that are committed together without being told to.
const MAX_BATCH: usize = 1000;

/// The most that is kept between `begin` and `commit`, in bytes.
const MAX_TRANSACTION: usize = 256 << 20;

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
                code: 1,
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
        tell(report);
        Ok(())
    }

    fn report_drop(&mut self, begin: u64, end: u64) {
        self.dropped += 1;
        let input = self.input;
        tell(format_args!(
            "{input}: lines {begin} to {end}: the transaction is dropped, nothing of it is done"
        ));
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
            code: 1,
            reason: error.to_string(),
        })),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
