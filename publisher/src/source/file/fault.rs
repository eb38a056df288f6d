//! Faults of a file: the first one, and the number of others.

use std::fmt;

/// A fault of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exit code if the fault ends the program.
    pub code: u8,
    /// Line of the fault, if it has one. The first line is number 1.
    pub line: Option<u64>,
    /// Description of the fault.
    pub reason: String,
}

impl Fault {
    /// Creates a fault of one line of the input.
    pub fn at(line: u64, reason: impl Into<String>) -> Self {
        Self {
            code: 5,
            line: Some(line),
            reason: reason.into(),
        }
    }

    /// Creates a fault of the whole file.
    pub fn of_file(reason: impl Into<String>) -> Self {
        Self {
            code: 5,
            line: None,
            reason: reason.into(),
        }
    }

    /// Creates a fault of arguments that do not suit the file.
    pub fn of_arguments(reason: impl Into<String>) -> Self {
        Self {
            code: 2,
            line: None,
            reason: reason.into(),
        }
    }
}

/// Formats the fault as `line 7: reason`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Counts the faults of a file and keeps the first.
#[derive(Debug, Default)]
pub struct Faults {
    first: Option<Fault>,
    more: u64,
}

impl Faults {
    /// Adds a fault. `fault` is called only for the first.
    pub fn add(&mut self, fault: impl FnOnce() -> Fault) {
        match self.first {
            None => self.first = Some(fault()),
            Some(_) => self.more += 1,
        }
    }

    /// Returns the faults as a result.
    ///
    /// # Errors
    /// Returns the first fault, with the number of the others, if there is one.
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
    fn first_fault_is_reported_and_others_are_counted() {
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
