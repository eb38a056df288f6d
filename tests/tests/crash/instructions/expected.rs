//! The tables that may be seen in the course of a play, and when.

use common::Subscriber;
use tests::object_state::Picture;
use tests::scenario::{Play, Rows};
use tests::script::Item;

use super::followers::rows_of;

/// What may be seen in the course of a play.
pub struct Expected {
    /// The version of the first of the tables.
    first: u64,
    tables: Vec<Rows>,
    /// Whether there is a table before, and after.
    ends: [bool; 2],
    /// True if there is no table for a while after the first of the tables.
    has_gap: bool,
}

impl Expected {
    /// Where publishers open what one `left`, one after the other, so many times.
    pub fn opened(left: &Picture, times: usize) -> Self {
        Self {
            first: left.commit(),
            tables: vec![left_rows(left); 1 + times],
            ends: [true, true],
            has_gap: false,
        }
    }

    /// In a play that begins with `now`, and perhaps with what a publisher `left`.
    pub fn of(play: Play, left: Option<&Picture>, now: &Picture) -> Self {
        let (first, tables, ends) = match (play, left) {
            (Play::Creation, _) => (1, vec![Rows::new()], [false, true]),
            // Opening changes no row, and is one commit.
            (_, Some(left)) => {
                let mut expected = Self::opened(left, 1);
                let mut rows = left_rows(left);
                for writes in play.transactions() {
                    writes.apply(&mut rows);
                    expected.tables.push(rows.clone());
                }
                return expected;
            }
            // So is closing.
            (Play::Closing, _) => {
                let rows = play.tables().pop().expect("the history's");
                (now.commit(), vec![rows; 2], [true, false])
            }
            _ => (now.commit(), play.tables(), [true, true]),
        };
        Self {
            first,
            tables,
            ends,
            has_gap: play == Play::Removed,
        }
    }

    /// The version of the last of the tables.
    pub fn last(&self) -> u64 {
        self.first + self.tables.len() as u64 - 1
    }

    /// All tables, in the order of their versions.
    pub fn tables(&self) -> &[Rows] {
        &self.tables
    }

    /// The rows of a version.
    pub fn rows(&self, version: u64) -> &Rows {
        let table = version.checked_sub(self.first);
        let table = table.and_then(|number| self.tables.get(number as usize));
        table.unwrap_or_else(|| panic!("version {version} was never committed"))
    }

    /// What newcomers must see in the course of the play, in this order: no table, or one of a version.
    pub fn outcomes(&self) -> Vec<Option<u64>> {
        let [before, after] = self.ends.map(|is_table| (!is_table).then_some(None));
        let gap = self.has_gap.then_some(None);
        let later = (self.first + 1..=self.last()).map(Some);
        let versions = std::iter::once(Some(self.first)).chain(gap).chain(later);
        before.into_iter().chain(versions).chain(after).collect()
    }

    /// The subscriber must hold exactly a table of these.
    pub fn check(&self, subscriber: &Subscriber<Item>) {
        assert_eq!(&rows_of(subscriber), self.rows(subscriber.version()));
    }
}

/// The rows that the play [`Play::Rewrite`] had committed in a picture of it.
fn left_rows(left: &Picture) -> Rows {
    // Creation is version 1, each transaction of the history one more.
    let first = 1 + Play::Rewrite.history().len() as u64;
    Play::Rewrite.tables()[(left.commit() - first) as usize].clone()
}
