//! Where rows come from.
//!
//! A source says what a row is, what to wait for (a descriptor, a time, or both), and when asked brings what is there
//! into the table without ever blocking. [`serve`](crate::serve) does the waiting for all of them.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use common::{Error, RowBuf, UntypedPublisher};
use subscriber::shell::Failure;

pub mod json_lines;
pub mod line_reader;
pub mod processes;
pub mod staging;
pub mod stdin;

pub use processes::Processes;
pub use stdin::Stdin;

/// Brings rows into a table.
pub trait Source {
    /// A descriptor that turns readable when there is something to bring.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When there will be something to bring, whatever the descriptor says.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Brings what is there. Never blocks.
    ///
    /// # Errors
    /// What makes it senseless to go on. What concerns single rows is reported, and left out.
    fn bring(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, Trouble>;

    /// What was brought, in a few words.
    fn summary(&self) -> Option<String> {
        None
    }
}

/// Whether there will be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more later.
    Waiting,
    /// That was all.
    Ended,
}

/// Why a source cannot go on.
#[derive(Debug)]
pub enum Trouble {
    /// The input is bad. The table is as whole as ever.
    Input(Failure),
    /// The table is not ours any more, or damaged.
    Table(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}

/// Makes the table hold exactly these rows, as one transaction of the differences, and returns those it has no room for.
/// Rows that are there already come before new ones.
fn replace(publisher: &mut UntypedPublisher, mut rows: Vec<RowBuf>) -> Result<Vec<RowBuf>, Error> {
    let mut left_out = Vec::new();
    if rows.len() > publisher.capacity() {
        rows.sort_by_cached_key(|row| publisher.get(&row.key_bytes()).is_none());
        left_out = rows.split_off(publisher.capacity());
    }
    let mut tx = publisher.begin();
    tx.replace_with(rows.iter().map(RowBuf::bytes))?;
    tx.commit()?;
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{Schema, Value};

    use super::*;

    #[test]
    fn replacing_is_exact_as_far_as_there_is_room() {
        let name = format!("source-replace-{}", std::process::id());
        let schema = Schema::parse("id:u64,n:u64", None).unwrap();
        let opened = UntypedPublisher::builder(&name, schema).capacity(3).open();
        let mut publisher = opened.unwrap();
        let schema = Arc::clone(publisher.schema());
        let row = |id, n| {
            let mut row = RowBuf::new(Arc::clone(&schema));
            row.set(0, Value::U64(id)).unwrap();
            row.set(1, Value::U64(n)).unwrap();
            row
        };
        // Ids to be there, ids there afterwards.
        for (ids, expected) in [
            (&[1, 2, 3][..], &[1, 2, 3][..]),
            (&[2, 3], &[2, 3]),
            (&[2, 3, 4], &[2, 3, 4]),
            (&[5, 6, 7], &[5, 6, 7]),
            (&[8, 7, 9, 6, 1], &[6, 7, 8]),
            (&[], &[]),
        ] {
            for n in [0, 1] {
                let rows: Vec<RowBuf> = ids.iter().map(|id| row(*id, n)).collect();
                let left_out = replace(&mut publisher, rows).unwrap();
                assert_eq!(left_out.len(), ids.len() - expected.len(), "{ids:?}");
                let mut there: Vec<RowBuf> = publisher.iter().collect();
                there.sort_by_key(RowBuf::key_bytes);
                let expected: Vec<RowBuf> = expected.iter().map(|id| row(*id, n)).collect();
                assert_eq!(there, expected, "{ids:?}");
            }
            let rows: Vec<RowBuf> = publisher.iter().collect();
            let version = publisher.version();
            replace(&mut publisher, rows).unwrap();
            assert_eq!(publisher.version(), version, "nothing has changed");
        }
        publisher.close().unwrap();
    }
}
