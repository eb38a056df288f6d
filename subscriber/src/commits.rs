//! How many commits a refresh brought, by their numbers: also those that came together with others.

use common::UntypedSubscriber;

/// Where a copy stands.
#[derive(Debug)]
pub struct Commits {
    version: u64,
}

impl Commits {
    /// From where the copy stands now.
    pub fn of(table: &UntypedSubscriber) -> Self {
        Self {
            version: table.version(),
        }
    }

    /// How many there were since the last look. Of a table that was made anew, and begins at 1, all that it has had.
    pub fn since(&mut self, table: &UntypedSubscriber) -> u64 {
        self.advance(table.version())
    }

    fn advance(&mut self, version: u64) -> u64 {
        let before = std::mem::replace(&mut self.version, version);
        version.checked_sub(before).unwrap_or(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_by_their_numbers() {
        let mut commits = Commits { version: 5 };
        assert_eq!(
            [5, 6, 9, 3, 4].map(|to| commits.advance(to)),
            [0, 1, 3, 3, 1]
        );
    }
}
