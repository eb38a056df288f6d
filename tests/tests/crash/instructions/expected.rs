//! The tables that readers may see during a scenario.

use common::Subscriber;
use tests::object_state::ObjectState;
use tests::scenario::{Rows, Scenario};
use tests::script::Item;

use super::followers::rows_of;

/// The tables that readers may see during a scenario.
pub struct Expected {
    /// Version of the first table.
    first: u64,
    tables: Vec<Rows>,
    /// True if a table exists before the scenario, and after it.
    ends: [bool; 2],
    /// True if no table exists for a while after the first one.
    has_gap: bool,
    /// Versions that only subscribers of a superseded region see.
    marks: Vec<u64>,
}

impl Expected {
    /// Returns the tables of `times` publishers that successively open the table that a publisher
    /// `left`.
    pub fn opened(left: &ObjectState, times: usize) -> Self {
        Self {
            first: left.commit(),
            tables: vec![left_rows(left); 1 + times],
            ends: [true, true],
            has_gap: false,
            marks: Vec::new(),
        }
    }

    /// Returns the tables of a scenario that begins with `now`, possibly with the table that a
    /// publisher `left`.
    pub fn of(scenario: Scenario, left: Option<&ObjectState>, now: &ObjectState) -> Self {
        let (first, tables, ends) = match (scenario, left) {
            (Scenario::Creation, _) => (1, vec![Rows::new()], [false, true]),
            // Opening changes no row and is one commit.
            (_, Some(left)) => {
                let mut expected = Self::opened(left, 1);
                let mut rows = left_rows(left);
                for writes in scenario.transactions() {
                    writes.apply(&mut rows);
                    expected.tables.push(rows.clone());
                }
                return expected;
            }
            // Closing is also one commit.
            (Scenario::Closing, _) => {
                let rows = scenario.tables().pop().expect("the table after the history");
                (now.commit(), vec![rows; 2], [true, false])
            }
            // Before each region with other rows, the old region ends with a version that has the
            // rows before.
            (Scenario::Reshape, _) => {
                let tables = scenario.tables();
                let tables = [0, 0, 1, 2, 2, 3, 4].map(|table| tables[table].clone());
                (now.commit(), tables.into(), [true, true])
            }
            _ => (now.commit(), scenario.tables(), [true, true]),
        };
        let marks = if scenario == Scenario::Reshape { vec![first + 1, first + 4] } else { vec![] };
        Self { first, tables, ends, has_gap: scenario == Scenario::Removed, marks }
    }

    /// Returns the version of the last table.
    pub fn last(&self) -> u64 {
        self.first + self.tables.len() as u64 - 1
    }

    /// Returns all tables in the order of their versions.
    pub fn tables(&self) -> &[Rows] {
        &self.tables
    }

    /// Returns the rows of a version.
    pub fn rows(&self, version: u64) -> &Rows {
        let table = version.checked_sub(self.first);
        let table = table.and_then(|number| self.tables.get(number as usize));
        table.unwrap_or_else(|| panic!("version {version} was never committed"))
    }

    /// Returns the results of new subscribers during the scenario, in order: no table, or a
    /// version.
    pub fn outcomes(&self) -> Vec<Option<u64>> {
        let [before, after] = self.ends.map(|is_table| (!is_table).then_some(None));
        let gap = self.has_gap.then_some(None);
        let later = self.first + 1..=self.last();
        let later = later.filter(|version| !self.marks.contains(version)).map(Some);
        let versions = std::iter::once(Some(self.first)).chain(gap).chain(later);
        before.into_iter().chain(versions).chain(after).collect()
    }

    /// Asserts that the subscriber has the rows of its version.
    pub fn check(&self, subscriber: &Subscriber<Item>) {
        assert_eq!(&rows_of(subscriber), self.rows(subscriber.version()));
    }
}

/// Returns the rows that [`Scenario::Rewrite`] had committed in one of its states.
fn left_rows(left: &ObjectState) -> Rows {
    // Creation is version 1, and each transaction of the history adds one.
    let first = 1 + Scenario::Rewrite.history().len() as u64;
    Scenario::Rewrite.tables()[(left.commit() - first) as usize].clone()
}
