//! Counts the commits between refreshes by version, including commits that one refresh combines.

use common::UntypedSubscriber;

/// The last version of a copy that was counted.
#[derive(Debug, Default)]
pub struct Commits {
    version: u64,
}

impl Commits {
    /// Starts to count at the copy's current version.
    pub fn of(table: &UntypedSubscriber) -> Self {
        Self { version: table.version() }
    }

    /// Returns the number of commits since the last call. For a table that was created again, and
    /// so starts at version 1, this counts all of its commits.
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
        assert_eq!([5, 6, 9, 3, 4].map(|to| commits.advance(to)), [0, 1, 3, 3, 1]);
    }
}
