//! What is wrong with a file: the first thing, and how many more there are.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The exit code where it is the end.
    pub code: u8,
    /// Where it is, if anywhere. The first line is number 1.
    pub line: Option<u64>,
    /// What it is.
    pub reason: String,
}

impl Fault {
    /// Bad input in a line.
    pub fn at(line: u64, reason: impl Into<String>) -> Self {
        Self {
            code: 5,
            line: Some(line),
            reason: reason.into(),
        }
    }

    /// Bad input as a whole.
    pub fn of_file(reason: impl Into<String>) -> Self {
        Self {
            code: 5,
            line: None,
            reason: reason.into(),
        }
    }

    /// Arguments that do not go with the file.
    pub fn of_arguments(reason: impl Into<String>) -> Self {
        Self {
            code: 2,
            line: None,
            reason: reason.into(),
        }
    }
}

/// `line 7: what it is`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// The faults of a file. Only the first is kept.
#[derive(Debug, Default)]
pub struct Faults {
    first: Option<Fault>,
    more: u64,
}

impl Faults {
    /// One more. What it is, is asked for only if it is the first.
    pub fn add(&mut self, fault: impl FnOnce() -> Fault) {
        match self.first {
            None => self.first = Some(fault()),
            Some(_) => self.more += 1,
        }
    }

    /// All of them as one.
    ///
    /// # Errors
    /// The first, with the number of the others.
    pub fn into_result(self) -> Result<(), Fault> {
        let Some(mut first) = self.first else {
            return Ok(());
        };
        match self.more {
            0 => {}
            1 => first.reason.push_str(" (and 1 more bad line)"),
            more => first
                .reason
                .push_str(&format!(" (and {more} more bad lines)")),
        }
        Err(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let told = |count: u64| {
            let mut faults = Faults::default();
            (1..=count).for_each(|line| faults.add(|| Fault::at(line, "bad")));
            faults.into_result().map_err(|fault| fault.to_string())
        };
        assert_eq!(told(0), Ok(()));
        assert_eq!(told(1), Err("line 1: bad".to_owned()));
        assert_eq!(told(2), Err("line 1: bad (and 1 more bad line)".to_owned()));
        assert_eq!(
            told(9),
            Err("line 1: bad (and 8 more bad lines)".to_owned())
        );
    }
}
