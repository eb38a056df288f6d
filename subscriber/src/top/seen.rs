//! Rows as they are seen: those of a stretch of places, and among them those that went a moment ago.

use std::ops::Bound;
use std::time::Instant;

use common::UntypedSubscriber;

use super::marks::{Fresh, Marks, Step};
use super::rows::Rows;

/// A row that is seen.
#[derive(Clone)]
pub struct Seen {
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes.
    pub row: Vec<u8>,
    /// What is fresh of it.
    pub fresh: Fresh,
    /// Whether it is there no more.
    pub gone: Option<Step>,
}

/// So many rows from a place on.
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
    // What went from between two rows stands between them, if both are known.
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
        // A row that is not there has just gone, and its entry is going.
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
