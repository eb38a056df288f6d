use std::sync::Arc;

use common::Schema;

use super::*;
use crate::source::json_lines::parse;

struct Table(Option<UntypedPublisher>);

impl Table {
    fn new(name: &str) -> Self {
        let name = format!("staging-{name}-{}", std::process::id());
        let schema = Schema::parse("id:u8,n:u8", None).unwrap();
        Self(Some(UntypedPublisher::builder(&name, schema).fixed_capacity(3).open().unwrap()))
    }

    /// Applies the lines. Returns the rows, the number of refused lines and the number of
    /// dropped transactions, or the exit code of the error.
    fn after(&mut self, lines: &[&str], strict: bool) -> Result<(Vec<[u8; 2]>, u64, u64), u8> {
        let publisher = self.0.as_mut().unwrap();
        let schema = Arc::clone(publisher.schema());
        let mut staging = Staging::new(strict);
        let mut run = || {
            for (number, line) in (1..).zip(lines) {
                staging.take(number, parse(&schema, line.as_bytes()), publisher)?;
            }
            staging.end(lines.len() as u64, publisher)
        };
        match run() {
            Ok(()) => Ok((self.rows(), staging.refused, staging.dropped)),
            Err(SourceError::Input(failure)) => Err(failure.code()),
            Err(SourceError::Table(error)) => panic!("{error}"),
        }
    }

    fn rows(&self) -> Vec<[u8; 2]> {
        let rows = self.0.as_ref().unwrap().iter();
        let mut rows: Vec<[u8; 2]> =
            rows.map(|row| row.unwrap().bytes().try_into().unwrap()).collect();
        rows.sort_unstable();
        rows
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.0.take().unwrap().close().unwrap();
    }
}

const ONE: &str = r#"{"op":"insert","row":{"id":1,"n":1}}"#;
const TWO: &str = r#"{"id":2,"n":2}"#;
const THREE: &str = r#"{"id":3,"n":3}"#;
const FOUR: &str = r#"{"id":4,"n":4}"#;
const NOT_TWO: &str = r#"{"op":"delete","key":{"id":2}}"#;
const BEGIN: &str = r#"{"op":"begin"}"#;
const COMMIT: &str = r#"{"op":"commit"}"#;
const CLEAR: &str = r#"{"op":"clear"}"#;

#[test]
fn bad_lines_outside_transactions_are_refused_separately() {
    let mut table = Table::new("single");
    assert_eq!(
        table.after(&[ONE, NOT_TWO, "{", ONE, TWO], false),
        Ok((vec![[1, 1], [2, 2]], 3, 0))
    );
    assert_eq!(
        table.after(&[THREE, FOUR, NOT_TWO, FOUR], false),
        Ok((vec![[1, 1], [3, 3], [4, 4]], 1, 0))
    );
    assert_eq!(table.after(&[CLEAR, TWO], false), Ok((vec![[2, 2]], 0, 0)));
}

#[test]
fn transaction_is_applied_completely_or_not_at_all() {
    let mut table = Table::new("whole");
    assert_eq!(table.after(&[BEGIN, ONE, TWO, COMMIT], false), Ok((vec![[1, 1], [2, 2]], 0, 0)));
    let untouched = vec![[1, 1], [2, 2]];
    for bad in [
        [BEGIN, CLEAR, "{", COMMIT],
        [BEGIN, CLEAR, NOT_TWO, COMMIT],
        [BEGIN, CLEAR, BEGIN, COMMIT],
        ["", BEGIN, CLEAR, THREE],
    ] {
        assert_eq!(table.after(&bad, false), Ok((untouched.clone(), 1, 1)), "{bad:?}");
    }
    assert_eq!(table.after(&[BEGIN, THREE, FOUR, COMMIT], false), Ok((untouched.clone(), 1, 1)));
    assert_eq!(table.after(&[COMMIT, BEGIN, COMMIT, COMMIT], false), Ok((untouched, 2, 0)));
}

#[test]
fn strict_mode_ends_at_the_first_bad_line() {
    let mut table = Table::new("strict");
    assert_eq!(table.after(&[ONE, ONE, TWO], true), Err(5));
    assert_eq!(table.rows(), [[1, 1]]);
    assert_eq!(table.after(&[TWO, "{", THREE], true), Err(5));
    assert_eq!(table.after(&[BEGIN, CLEAR, "{"], true), Err(5));
    assert_eq!(table.after(&[BEGIN, CLEAR], true), Err(5));
    assert_eq!(table.rows(), [[1, 1], [2, 2]]);
    assert_eq!(
        table.after(&[THREE, FOUR], true),
        Err(1),
        "the table is full, and the line is valid"
    );
    assert_eq!(table.rows(), [[1, 1], [2, 2], [3, 3]]);
}
