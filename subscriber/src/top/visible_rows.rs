//! Selects the rows of a picture, with recently deleted rows between their former neighbours.

use std::ops::Bound;
use std::time::Instant;

use common::UntypedSubscriber;

use super::marks::{Fresh, Marks, Step};
use super::rows::Rows;

/// Row of a picture.
#[derive(Clone)]
pub struct Seen {
    /// Key.
    pub key: Vec<u8>,
    /// Bytes of the row.
    pub row: Vec<u8>,
    /// Recent changes to the row.
    pub fresh: Fresh,
    /// Age of the deletion, if the row was deleted.
    pub gone: Option<Step>,
}

/// Returns up to `count` rows from position `place` on.
pub fn seen(
    table: &UntypedSubscriber,
    rows: &Rows,
    marks: &Marks,
    place: usize,
    count: usize,
    now: Instant,
) -> Vec<Seen> {
    let before = place.checked_sub(1);
    let mut entries = rows.starting_at(before.unwrap_or(0));
    // A deleted row is shown between its former neighbours. The row before `place` is needed for
    // those that precede the first row.
    let mut behind = match before.and_then(|_| entries.next()) {
        Some(entry) => Bound::Excluded(entry),
        None => Bound::Unbounded,
    };
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        let entry = entries.next();
        let before = entry.map_or(Bound::Unbounded, Bound::Excluded);
        for (at, gone, step) in marks.gone(behind, before, now) {
            seen.push(Seen {
                key: rows.key(at).to_vec(),
                row: gone.row.clone(),
                fresh: Fresh::default(),
                gone: Some(step),
            });
        }
        let Some(entry) = entry else {
            break;
        };
        let key = rows.key(entry);
        // A row missing from the table was just deleted, and its entry will be removed shortly.
        seen.extend(table.get(key).map(|row| Seen {
            key: key.to_vec(),
            row: row.bytes().to_vec(),
            fresh: marks.of(key, now),
            gone: None,
        }));
        behind = Bound::Excluded(entry);
    }
    seen.truncate(count);
    seen
}
