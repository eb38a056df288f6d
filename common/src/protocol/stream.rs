//! Reads all rows at one version, and copies the table only if it changes in the meantime.
//!
//! 1. Load `commit` as `s`.
//! 2. Copy a block of rows as of `s` to private memory, and pass them to the caller.
//! 3. If `commit` is still `s`, continue at step 2 with the next block.
//! 4. Otherwise copy all remaining blocks as of `s` at once, and pass their rows to the caller.
//!
//! A row is lost if it was written twice after `s`, and the caller may take any time for each row.
//! So this is not for tables that change all the time: there,
//! [`copy_all`](super::catch_up::copy_all) copies lost rows again, as of a later version.

use super::catch_up::Failed;
use super::read::Table;
use crate::memory::{AlignedWords, try_extend};
use crate::protocol::layout::BLOCK_ROWS;
use crate::protocol::words::set_bits;

/// Calls `visit` with each row of `table` as of `version`. `check` checks that the words read are
/// valid, and returns the last commit.
///
/// # Errors
/// [`Failed::Outrun`] if a row is lost; all rows that were visited are as of `version`.
pub fn for_each_row<E>(
    table: &Table<'_>,
    version: u64,
    mut check: impl FnMut() -> Result<u64, E>,
    mut visit: impl FnMut(&[u64]),
) -> Result<(), Failed<E>> {
    let (row_words, blocks) = (table.row_words(), table.rows().div_ceil(BLOCK_ROWS));
    let (mut rows, mut live) = (AlignedWords::default(), Vec::new());
    let mut tags = [[0; 2 * BLOCK_ROWS]; 2];
    let mut next = 0;
    while next < blocks {
        let is_last = check().map_err(Failed::Caller)? == version;
        let end = if is_last { next + 1 } else { blocks };
        rows.try_grow((end - next) * BLOCK_ROWS * row_words)?;
        try_extend(&mut live, end - next)?;
        for (number, live) in (next..end).zip(&mut live) {
            if number + 1 < blocks {
                table.block(number + 1).prefetch();
            }
            let count = BLOCK_ROWS.min(table.rows() - number * BLOCK_ROWS);
            let words = &mut rows[(number - next) * BLOCK_ROWS * row_words..][..count * row_words];
            let [written, is_live, failed] =
                table.block(number).read_all(version, 0, words, &mut tags);
            if failed != 0 {
                return Err(Failed::Outrun);
            }
            *live = written & is_live;
        }
        check().map_err(Failed::Caller)?;
        set_bits(&live).for_each(|row| visit(&rows[row * row_words..][..row_words]));
        next = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::layout::{Geometry, header};
    use crate::protocol::sync::{AtomicU64, Ordering};
    use crate::protocol::words::read_only;
    use crate::protocol::{WritableTable, last_commit};

    const ROWS: usize = 1_000;

    /// Visits a table of [`ROWS`] rows, and calls `commit` with a table and the next version after
    /// each of the rows. Returns the result and the visited rows.
    fn visit(
        mut commit: impl FnMut(usize, &WritableTable<'_>, u64),
    ) -> (Result<(), Failed<()>>, Vec<u64>) {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words = geometry.words_for(ROWS);
        let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        words[header::COMMIT].store(1, Ordering::Relaxed);
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        let all: Vec<[u64; 1]> = (0..ROWS as u64).map(|row| [row]).collect();
        let write = |slot: usize| table.write(slot, Some(&all[slot][..]), 1);
        table.commit(2, 0, (0..ROWS).map(write));
        table.commit(3, 0, [3, 70].map(|slot| table.write(slot, None, 2)).into_iter());
        let mut visited = Vec::new();
        let last = || Ok(last_commit(read_only(&words)));
        let result = for_each_row(&table, 3, last, |row| {
            visited.push(row[0]);
            commit(visited.len(), &table, last_commit(read_only(&words)) + 1);
        });
        (result, visited)
    }

    fn live_rows() -> Vec<u64> {
        (0..ROWS as u64).filter(|row| ![3, 70].contains(row)).collect()
    }

    #[test]
    fn visited_rows_are_of_the_version_although_each_of_them_is_written_once() {
        for at in [1, 62, 63, 64, 500, ROWS - 2] {
            let (result, visited) = visit(|number, table, version| {
                // After the first commit, the remaining rows are copied before the next one.
                if number == at || number == at + 100 {
                    let all = (0..ROWS).map(|slot| table.write(slot, Some(&[7]), version - 1));
                    table.commit(version, 0, all);
                }
            });
            assert_eq!((result, visited), (Ok(()), live_rows()), "{at}");
        }
    }

    #[test]
    fn row_that_is_written_twice_ends_the_visit_with_an_error() {
        let (result, visited) = visit(|number, table, version| {
            if number == 100 {
                for version in [version, version + 1] {
                    let write = table.write(ROWS - 1, Some(&[7]), version - 1);
                    table.commit(version, 0, std::iter::once(write));
                }
            }
        });
        assert_eq!(result, Err(Failed::Outrun));
        assert_eq!(visited, live_rows()[..126], "the rows of the first two blocks");
    }
}
