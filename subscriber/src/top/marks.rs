//! Recent changes: rows created, cells updated, and rows deleted, which stay visible for a moment.
//!
//! Marks fade in steps. The number of remembered rows is bounded. Beyond the bound, only rows on
//! the screen are marked.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use common::{Change, RowRef};

/// Maximum age of a mark in each step, in ms.
const STEPS_MS: [u64; STEPS] = [350, 900, 1800];
/// Number of steps in which a mark fades.
pub const STEPS: usize = 3;
/// Maximum number of created or updated rows remembered, not counting rows on the screen.
const MOST_ROWS: usize = 16_384;
/// Maximum number of deleted rows remembered.
const MOST_GONE: usize = 1_024;

/// Fading step of a mark. Step 0 is the most recent.
pub type Step = usize;

/// Recent changes.
pub struct Marks {
    begun: Instant,
    rows: HashMap<Vec<u8>, Mark>,
    /// Deleted rows by their former entry in the shown order.
    gone: BTreeMap<Vec<u8>, Gone>,
    swept: Instant,
}

/// Times of the last changes to a row, in ms since `Marks::begun`.
struct Mark {
    last_ms: u64,
    created_ms: Option<u64>,
    /// Time of each field's last change, or 0.
    cells_ms: Box<[u64]>,
}

/// Deleted row.
pub struct Gone {
    /// Row before its deletion.
    pub row: Vec<u8>,
    at_ms: u64,
}

/// Marks of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Step of the row's creation, if it is recent.
    pub created: Option<Step>,
    /// Step of each cell's last change. Empty if no cell changed.
    pub cells: Vec<Option<Step>>,
}

impl Marks {
    /// Creates an empty set of marks.
    pub fn new(now: Instant) -> Self {
        Self {
            begun: now,
            rows: HashMap::new(),
            gone: BTreeMap::new(),
            swept: now,
        }
    }

    /// Records a change. Rows on the screen are recorded even beyond the bound.
    pub fn note(
        &mut self,
        change: &Change<RowRef<'_>>,
        is_on_screen: impl Fn(&[u8]) -> bool,
        now: Instant,
    ) {
        let now_ms = self.ms(now);
        let (Change::Created(row) | Change::Updated { new: row, .. } | Change::Deleted(row)) =
            change;
        let key = row.key().to_bytes();
        if matches!(change, Change::Deleted(_)) {
            self.rows.remove(&key);
            return;
        }
        if self.rows.len() >= MOST_ROWS && !is_on_screen(&key) && !self.rows.contains_key(&key) {
            return;
        }
        let mark = self.rows.entry(key).or_insert_with(|| Mark {
            last_ms: now_ms,
            created_ms: None,
            cells_ms: Box::default(),
        });
        mark.last_ms = now_ms;
        match change {
            Change::Updated { old, new } => mark.update(*old, *new, now_ms),
            _ => mark.created_ms = Some(now_ms),
        }
    }

    /// Records that `entry` is no longer shown. `row` is its last row.
    pub fn note_gone(&mut self, entry: &[u8], row: RowRef<'_>, now: Instant) {
        if self.gone.len() < MOST_GONE {
            let (row, at_ms) = (row.bytes().to_vec(), self.ms(now));
            self.gone.insert(entry.to_vec(), Gone { row, at_ms });
        }
    }

    /// Forgets deleted rows, because the order that their entries belong to has changed.
    pub fn forget_gone(&mut self) {
        self.gone.clear();
    }

    /// Returns the marks of the row with this key.
    pub fn of(&self, key: &[u8], now: Instant) -> Fresh {
        let Some(mark) = self.rows.get(key) else {
            return Fresh::default();
        };
        let now_ms = self.ms(now);
        let cells = mark.cells_ms.iter();
        Fresh {
            created: mark.created_ms.and_then(|at| step(at, now_ms)),
            cells: cells
                .map(|at| (*at > 0).then(|| step(*at, now_ms)).flatten())
                .collect(),
        }
    }

    /// Returns the deleted rows between two entries.
    pub fn gone(
        &self,
        behind: Bound<&[u8]>,
        before: Bound<&[u8]>,
        now: Instant,
    ) -> impl Iterator<Item = (&[u8], &Gone, Step)> {
        let now_ms = self.ms(now);
        let is_empty =
            matches!((behind, before), (Bound::Excluded(a), Bound::Excluded(b)) if a >= b);
        let between = (!is_empty).then(|| self.gone.range::<[u8], _>((behind, before)));
        let between = between.into_iter().flatten();
        between.filter_map(move |(entry, gone)| {
            Some((entry.as_slice(), gone, step(gone.at_ms, now_ms)?))
        })
    }

    /// Drops marks that have faded. Cheap enough to be called before each picture.
    pub fn sweep(&mut self, now: Instant) {
        let longest = Duration::from_millis(STEPS_MS[STEPS - 1]);
        if now.saturating_duration_since(self.swept) < longest / 4 {
            return;
        }
        self.swept = now;
        let now_ms = self.ms(now);
        self.rows
            .retain(|_, mark| step(mark.last_ms, now_ms).is_some());
        self.gone
            .retain(|_, gone| step(gone.at_ms, now_ms).is_some());
    }

    /// Returns true if no mark is left to fade.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.gone.is_empty()
    }

    /// Returns the time in ms since `begun`, plus one: 0 means "never".
    fn ms(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Mark {
    fn update(&mut self, old: RowRef<'_>, new: RowRef<'_>, now_ms: u64) {
        let fields = new.schema().fields();
        if self.cells_ms.is_empty() {
            self.cells_ms = vec![0; fields.len()].into();
        }
        for (field, at) in fields.iter().zip(&mut self.cells_ms) {
            let [before, now] = [old, new].map(|row| row.bytes().get(field.range()));
            if before != now {
                *at = now_ms;
            }
        }
    }
}

fn step(at_ms: u64, now_ms: u64) -> Option<Step> {
    let age = now_ms.saturating_sub(at_ms);
    STEPS_MS.iter().position(|end| age < *end)
}

#[cfg(test)]
mod tests {
    use common::{RowBuf, Schema};
    use std::sync::Arc;

    use super::*;

    fn rows(cells: &[[&str; 3]]) -> Vec<RowBuf> {
        let schema = Arc::new(Schema::parse("id:u32,a:u8,b:text(4)", None).unwrap());
        let row = |cells: &[&str; 3]| {
            let mut row = RowBuf::new(Arc::clone(&schema));
            for (index, cell) in cells.iter().enumerate() {
                row.set_text(index, cell).unwrap();
            }
            row
        };
        cells.iter().map(row).collect()
    }

    #[test]
    fn marks_fade_and_are_dropped() {
        let rows = rows(&[["1", "0", "x"], ["1", "0", "y"], ["1", "1", "y"]]);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let (mut marks, key) = (Marks::new(begun), rows[0].as_ref().key().to_bytes());
        let update = |old: usize| Change::Updated {
            old: rows[old].as_ref(),
            new: rows[old + 1].as_ref(),
        };
        marks.note(&Change::Created(rows[0].as_ref()), |_| false, at(0));
        assert_eq!(marks.of(&key, at(0)).created, Some(0));
        marks.note(&update(0), |_| false, at(400));
        let fresh = marks.of(&key, at(400));
        assert_eq!(
            (fresh.created, fresh.cells),
            (Some(1), vec![None, None, Some(0)])
        );
        marks.note(&update(1), |_| false, at(1000));
        let fresh = marks.of(&key, at(1000));
        assert_eq!(fresh.cells, [None, Some(0), Some(1)]);
        marks.sweep(at(2000));
        assert!(!marks.is_empty());
        assert_eq!(marks.of(&key, at(2000)).created, None);
        marks.sweep(at(3000));
        assert!(marks.is_empty());
        assert_eq!(marks.of(&key, at(3000)), Fresh::default());
    }

    #[test]
    fn deleted_rows_stay_between_their_neighbours() {
        let rows = rows(&[["1", "0", "x"]]);
        let begun = Instant::now();
        let mut marks = Marks::new(begun);
        marks.note_gone(&[5], rows[0].as_ref(), begun);
        let between =
            |behind: Bound<&[u8]>, before: Bound<&[u8]>| marks.gone(behind, before, begun).count();
        use Bound::{Excluded, Unbounded};
        assert_eq!(between(Unbounded, Unbounded), 1);
        assert_eq!(between(Excluded(&[4]), Excluded(&[6])), 1);
        assert_eq!(between(Excluded(&[5]), Unbounded), 0);
        assert_eq!(between(Unbounded, Excluded(&[5])), 0);
        assert_eq!(between(Excluded(&[6]), Excluded(&[6])), 0);
        marks.sweep(begun + Duration::from_secs(9));
        assert!(marks.is_empty());
    }

    #[test]
    fn bound_excludes_rows_on_screen() {
        let cells: Vec<String> = (0..MOST_ROWS + 10).map(|id| id.to_string()).collect();
        let cells: Vec<[&str; 3]> = cells.iter().map(|id| [id.as_str(), "0", ""]).collect();
        let rows = rows(&cells);
        let mut marks = Marks::new(Instant::now());
        let last = rows.last().unwrap().as_ref().key().to_bytes();
        for row in &rows {
            marks.note(
                &Change::Created(row.as_ref()),
                |key| *key == last,
                Instant::now(),
            );
            marks.note_gone(&row.as_ref().key().to_bytes(), row.as_ref(), Instant::now());
        }
        assert_eq!(marks.rows.len(), MOST_ROWS + 1);
        assert!(marks.rows.contains_key(&last));
        assert_eq!(marks.gone.len(), MOST_GONE);
    }
}
