//! Filters and sorts the rows incrementally, so that no picture sorts or scans the table.
//!
//! 1. The [`Sequence`] `all` contains every row, sorted by key. It is built once and then updated
//!    with created and deleted rows.
//! 2. With a filter or another order, `shown` is a second sequence. Its entries begin with the
//!    bytes that they are sorted by.
//! 3. To build `shown`, a walk visits `all` and looks up each row, for a few milliseconds at a
//!    time, so that keys are handled and pictures drawn in between. Changes are applied as they
//!    arrive, whether the walk has passed the row or not: inserting an entry twice is harmless. If
//!    only the filter changed, rows are shown as the walk finds them. A new order is shown when the
//!    walk is complete.
//! 4. If a refresh has too many changes to apply one by one, both sequences are left outdated and
//!    rebuilt from the table in one pass. Rebuilding takes at most a tenth of the time. Until then
//!    the old order is shown with the current rows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Change, RowBuf, RowRef, Schema, UntypedSubscriber};

use super::search::Search;
use super::sequence::Sequence;
use crate::order::Order;
use crate::view::{Filter, Projection};

/// Maximum number of bytes of a row's sort fields that are compared. It bounds the memory that wide
/// texts take for each row.
const MOST_SORT_BYTES: usize = 64;
/// Maximum number of changes in a refresh that are applied one by one. With more, both sequences
/// are rebuilt.
const MOST_CHANGES: usize = 20_000;
/// Minimum pause after a rebuild, as a multiple of its duration.
const REST: u32 = 9;
/// Number of rows that a walk visits between two looks at the clock.
const STEP: usize = 64;

/// Selection and order of the rows that are shown.
pub struct Choice {
    /// Order in the syntax of `--sort`; `None` sorts by key.
    pub sort: Option<String>,
    /// Parsed `sort`.
    pub order: Order,
    /// Conditions of `--where`.
    pub filter: Rc<Filter>,
    /// Filter typed by the user.
    pub search: Option<Search>,
    /// Fields that are shown and searched.
    pub projection: Rc<Projection>,
}

impl Choice {
    fn is_all_by_key(&self) -> bool {
        self.sort.is_none() && self.filter.is_empty() && self.search.is_none()
    }

    fn has(&self, row: RowRef<'_>) -> bool {
        let search = self.search.as_ref();
        self.filter.matches(row)
            && search.is_none_or(|search| search.matches(row, &self.projection))
    }
}

/// Rows selected and sorted by a choice.
struct Shown {
    choice: Rc<Choice>,
    /// Entries in order; `None` if the choice is all rows by key, which `all` contains.
    entries: Option<Sequence>,
}

/// Progress of a walk through `all`.
#[derive(Default)]
struct Walk {
    behind: Option<Vec<u8>>,
    looked_at: usize,
}

/// Sorted rows of a table with one schema.
pub struct Rows {
    schema: Arc<Schema>,
    by_key: Order,
    all: Sequence,
    shown: Shown,
    /// Sequence under construction, shown when it is complete.
    next: Option<Shown>,
    walk: Option<Walk>,
    /// True if changes were skipped, so that both sequences must be rebuilt.
    is_outdated: bool,
    /// Earliest time of the next rebuild.
    rested: Instant,
}

impl Rows {
    /// Creates the sequences from the local copy.
    pub fn new(table: &UntypedSubscriber, choice: Choice) -> Self {
        let schema = table.schema();
        let mut rows = Self {
            schema: Arc::clone(schema),
            by_key: Order::default(),
            all: Sequence::new(2 * schema.key_size()),
            shown: Shown {
                choice: Rc::new(choice),
                entries: None,
            },
            next: None,
            walk: None,
            is_outdated: false,
            rested: Instant::now(),
        };
        rows.make(table);
        rows
    }

    /// Switches to another selection or order. It is shown as soon as it is available.
    pub fn choose(&mut self, choice: Choice) {
        let is_all = choice.is_all_by_key();
        let at_once = is_all || choice.sort == self.shown.choice.sort;
        let shown = Shown {
            entries: (!is_all).then(|| Sequence::new(self.width(&choice.order))),
            choice: Rc::new(choice),
        };
        self.next = None;
        match at_once {
            true => self.shown = shown,
            false => self.next = Some(shown),
        }
        self.walk = (!is_all).then(Walk::default);
        // A change requested by the user is not delayed by the pause between rebuilds.
        self.rested = Instant::now();
    }

    /// Returns the order of the rows shown at present.
    pub fn sort(&self) -> Option<&str> {
        self.shown.choice.sort.as_deref()
    }

    /// Returns the number of rows shown.
    pub fn len(&self) -> usize {
        self.shown_entries().len()
    }

    /// Returns the entries from a position on.
    pub fn starting_at(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        self.shown_entries().starting_at(place)
    }

    /// Returns the key part of an entry.
    pub fn key<'e>(&self, entry: &'e [u8]) -> &'e [u8] {
        &entry[entry.len() - self.schema.key_size()..]
    }

    /// Returns the progress of filtering or sorting in percent, if it is under way.
    pub fn progress(&self) -> Option<usize> {
        let walk = self.walk.as_ref()?;
        Some(walk.looked_at * 100 / self.all.len().max(1)).map(|percent| percent.min(99))
    }

    /// Returns the time at which pending work may continue, if there is any.
    pub fn due(&self) -> Option<Instant> {
        (self.is_outdated || self.walk.is_some()).then_some(self.rested)
    }

    /// Continues pending work for about `time`. Returns true if the picture changed.
    pub fn work(&mut self, table: &UntypedSubscriber, time: Duration) -> bool {
        let begun = Instant::now();
        if self.is_outdated {
            if begun < self.rested {
                return false;
            }
            self.make(table);
            self.rested = Instant::now() + begun.elapsed() * REST;
            return true;
        }
        let Some(mut walk) = self.walk.take() else {
            return false;
        };
        let ended = loop {
            if self.step(table, &mut walk) {
                break true;
            }
            if begun.elapsed() >= time {
                break false;
            }
        };
        match (ended, self.next.is_some()) {
            (false, _) => self.walk = Some(walk),
            (true, true) => self.shown = self.next.take().expect("there is one"),
            (true, false) => {}
        }
        true
    }

    /// Visits the next rows. Returns true if they were the last.
    fn step(&mut self, table: &UntypedSubscriber, walk: &mut Walk) -> bool {
        let target = self.next.as_mut().unwrap_or(&mut self.shown);
        let Some(entries) = &mut target.entries else {
            return true;
        };
        let (mut looked_at, mut entry, mut last) = (0, Vec::new(), None);
        for at in self.all.behind(walk.behind.as_deref()).take(STEP) {
            (last, looked_at) = (Some(at), looked_at + 1);
            let key = &at[at.len() - self.schema.key_size()..];
            let row = table.get(key).filter(|row| target.choice.has(*row));
            if let Some(row) = row {
                write(&target.choice.order, row, &mut entry);
                entries.insert(&entry);
            }
        }
        walk.looked_at += looked_at;
        if let Some(last) = last {
            let behind = walk.behind.get_or_insert_default();
            behind.clear();
            behind.extend_from_slice(last);
        }
        looked_at < STEP
    }

    /// Rebuilds both sequences from the table.
    fn make(&mut self, table: &UntypedSubscriber) {
        if let Some(next) = self.next.take() {
            self.shown = next;
        }
        self.walk = None;
        self.is_outdated = false;
        let choice = Rc::clone(&self.shown.choice);
        let is_all = choice.is_all_by_key();
        let (mut all, mut shown) = (Vec::new(), Vec::new());
        for row in table.iter() {
            append(&self.by_key, row, &mut all);
            if !is_all && choice.has(row) {
                append(&choice.order, row, &mut shown);
            }
        }
        self.all = Sequence::sorted(self.width(&self.by_key), &all);
        self.shown.entries = (!is_all).then(|| Sequence::sorted(self.width(&choice.order), &shown));
    }

    /// Applies the changes of the last refresh. Calls `left` for each entry that is no longer
    /// shown, with its last row.
    pub fn note(&mut self, table: &UntypedSubscriber, mut left: impl FnMut(&[u8], RowRef<'_>)) {
        let changes = table.changes();
        if self.is_outdated || changes.len() > MOST_CHANGES {
            self.is_outdated |= !changes.is_empty();
            return;
        }
        let mut entries = [Vec::new(), Vec::new()];
        for change in &changes {
            let (old, new) = match change {
                Change::Created(new) => (None, Some(new)),
                Change::Updated { old, new } => (Some(old), Some(new)),
                Change::Deleted(old) => (Some(old), None),
            };
            if old.is_none() || new.is_none() {
                self.note_key(old, new, &mut entries[0], &mut left);
            }
            self.shown.note(old, new, &mut entries, &mut left);
            if let Some(next) = &mut self.next {
                next.note(old, new, &mut entries, &mut |_, _| {});
            }
        }
    }

    fn note_key(
        &mut self,
        old: Option<RowRef<'_>>,
        new: Option<RowRef<'_>>,
        entry: &mut Vec<u8>,
        left: &mut impl FnMut(&[u8], RowRef<'_>),
    ) {
        if let Some(new) = new {
            write(&self.by_key, new, entry);
            self.all.insert(entry);
        } else if let Some(old) = old {
            write(&self.by_key, old, entry);
            if self.all.remove(entry) && self.shown.entries.is_none() {
                left(entry, old);
            }
        }
    }

    fn shown_entries(&self) -> &Sequence {
        self.shown.entries.as_ref().unwrap_or(&self.all)
    }

    fn width(&self, order: &Order) -> usize {
        let (row, mut entry) = (RowBuf::new(Arc::clone(&self.schema)), Vec::new());
        write(order, row.as_ref(), &mut entry);
        entry.len()
    }
}

impl Shown {
    /// Applies a change of a row from `old` to `new`.
    fn note(
        &mut self,
        old: Option<RowRef<'_>>,
        new: Option<RowRef<'_>>,
        [before, now]: &mut [Vec<u8>; 2],
        left: &mut impl FnMut(&[u8], RowRef<'_>),
    ) {
        let Some(entries) = &mut self.entries else {
            return;
        };
        let new = new.filter(|new| self.choice.has(*new));
        if let Some(new) = new {
            write(&self.choice.order, new, now);
        }
        if let Some(old) = old {
            write(&self.choice.order, old, before);
            let moved = new.is_none() || before != now;
            if moved && entries.remove(before) && new.is_none() {
                left(before, old);
            }
        }
        if new.is_some() {
            entries.insert(now);
        }
    }
}

fn write(order: &Order, row: RowRef<'_>, entry: &mut Vec<u8>) {
    entry.clear();
    append(order, row, entry);
}

/// Appends the row's sort bytes, which compare as the rows do, and its key.
fn append(order: &Order, row: RowRef<'_>, entry: &mut Vec<u8>) {
    order.write(row, MOST_SORT_BYTES, entry);
    row.schema().write_key(row.bytes(), entry);
}

#[cfg(test)]
mod tests;
