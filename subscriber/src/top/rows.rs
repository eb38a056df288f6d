//! Which rows are shown, in which order, kept so by changes: no picture sorts or searches the table.
//!
//! 1. [`Sequence`] `all` has every row, by its key. It is made once, and then changed by the rows that come and go.
//! 2. Where rows are left out, or another order is asked for, `shown` is a second one, of entries that begin with what
//!    they are sorted by.
//! 3. To make that, a walk goes along `all` and looks each row up, for a few milliseconds at a time, so that keys are heard and
//!    pictures drawn meanwhile. What changes before the walk gets there, and behind it, is put in as it comes: that an entry
//!    comes twice does no harm. While only the filter changes, what the walk has found is shown at once; another order is
//!    shown when it is complete.
//! 4. A refresh that brings more changes than are worth putting in one by one leaves both as they are, and they are made
//!    anew from the table at once, no more often than costs a tenth of the time. What is shown until then is by the former order,
//!    with the rows of now.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Change, RowBuf, RowRef, Schema, UntypedSubscriber};

use super::search::Search;
use super::sequence::Sequence;
use crate::order::Order;
use crate::view::{Filter, Projection};

/// Of the fields that rows are sorted by, so many bytes count: a wide text must not be kept twice for each row.
const MOST_SORT_BYTES: usize = 64;
/// With more changes at once both sequences are made anew.
const MOST_CHANGES: usize = 20_000;
/// After that took some time, so many times as long must pass until it is done again.
const REST: u32 = 9;
/// So many rows are looked at by a walk between two looks at the clock.
const STEP: usize = 64;

/// What of the table, in which order.
pub struct Choice {
    /// How `--sort` would say it; None is by key.
    pub sort: Option<String>,
    /// That, as the schema reads it.
    pub order: Order,
    /// `--where`.
    pub filter: Rc<Filter>,
    /// What was typed.
    pub search: Option<Search>,
    /// Which fields are shown, and so searched.
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

/// Rows in the order of a choice.
struct Shown {
    choice: Rc<Choice>,
    /// None if that is all of them, by key.
    entries: Option<Sequence>,
}

/// How far the rows of `all` were looked at.
#[derive(Default)]
struct Walk {
    behind: Option<Vec<u8>>,
    looked_at: usize,
}

/// Rows of one schema.
pub struct Rows {
    schema: Arc<Schema>,
    by_key: Order,
    all: Sequence,
    shown: Shown,
    /// To be shown when it is complete.
    next: Option<Shown>,
    walk: Option<Walk>,
    /// Whether changes were left out, so that all is to be made anew.
    is_outdated: bool,
    /// Not before this.
    rested: Instant,
}

impl Rows {
    /// All rows of the local copy that are chosen.
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

    /// Shows what is chosen, in that order, as soon as it is known.
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
        // Whoever asks for it is not to wait for it.
        self.rested = Instant::now();
    }

    /// How the rows are sorted that are shown.
    pub fn sort(&self) -> Option<&str> {
        self.shown.choice.sort.as_deref()
    }

    /// How many rows are shown.
    pub fn len(&self) -> usize {
        self.shown_entries().len()
    }

    /// The entries from a place on.
    pub fn starting_at(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        self.shown_entries().starting_at(place)
    }

    /// The key in an entry.
    pub fn key<'e>(&self, entry: &'e [u8]) -> &'e [u8] {
        &entry[entry.len() - self.schema.key_size()..]
    }

    /// How much of a search, or of sorting, is done, in percent.
    pub fn progress(&self) -> Option<usize> {
        let walk = self.walk.as_ref()?;
        Some(walk.looked_at * 100 / self.all.len().max(1)).map(|percent| percent.min(99))
    }

    /// When there is something to do, if there is.
    pub fn due(&self) -> Option<Instant> {
        (self.is_outdated || self.walk.is_some()).then_some(self.rested)
    }

    /// Goes on with what is to be done, for about `time`; whether that shows.
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

    /// Looks at the next rows; whether these were the last.
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

    /// Makes both sequences from the table.
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

    /// Takes in what the last refresh changed. `left` is told of entries that are not shown any more, with their last rows.
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
    /// Takes in that a key's row was `old` and is `new`.
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

/// What compares as the row does, and then its key.
fn append(order: &Order, row: RowRef<'_>, entry: &mut Vec<u8>) {
    order.write(row, MOST_SORT_BYTES, entry);
    row.schema().write_key(row.bytes(), entry);
}

#[cfg(test)]
mod tests;
