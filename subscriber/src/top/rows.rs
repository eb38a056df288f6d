//! The rows of the window, selected by conditions, the typed filter and the order, and the marks of
//! recent changes.
//!
//! Each drawing selects the window from all rows of the local copy: every matching row is encoded
//! as bytes that compare like the row, and quickselect finds the rows of the window without sorting
//! the others. The time is proportional to the number of rows, so the caller draws large tables
//! less often.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cli::CliError;
use common::{Change, Field, RowBuf, RowRef, Schema, UntypedSubscriber};

use super::search::Search;
use crate::cells::{cell_with_unit, is_number};
use crate::select::{Request, View};

/// Time for which a change is marked.
const MARK_TIME: Duration = Duration::from_millis(1500);
/// Maximum number of marked rows.
const MAX_MARKS: usize = 4096;
/// Maximum number of bytes of a row's sort fields that are compared, which bounds memory.
const MAX_SORT_BYTES: usize = 64;

/// Selection and order of the rows of a table with one schema.
pub struct Rows {
    request: Request,
    view: View,
    /// The text of `search`.
    typed: String,
    search: Option<Search>,
    /// Marks of recent changes, by key.
    marks: HashMap<Vec<u8>, Mark>,
    /// Keys of the rows in the last window.
    visible: HashSet<Vec<u8>>,
}

struct Mark {
    recent: Recent,
    /// Indexes in the schema of the fields that changed.
    fields: BTreeSet<usize>,
    /// The row, if it was deleted.
    deleted: Option<RowBuf>,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    /// The row was not changed, or only updated.
    None,
    Created,
    Deleted,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub recent: Recent,
    /// Text of each cell, and true if it changed recently.
    pub cells: Vec<(String, bool)>,
}

#[derive(Clone, Debug)]
pub struct Window {
    pub top: usize,
    pub lines: Vec<Line>,
    pub total: usize,
}

impl Window {
    /// Returns at most `count` lines of this window from position `top` on.
    pub fn part(&self, top: usize, count: usize) -> Self {
        let end = self.top + self.lines.len();
        let top = top.clamp(self.top, end.saturating_sub(count.max(1)).max(self.top));
        let lines = self.lines.iter().skip(top - self.top).take(count);
        Self { top, lines: lines.cloned().collect(), total: self.total }
    }
}

impl Rows {
    pub fn new(schema: &Arc<Schema>, request: Request) -> Result<Self, CliError> {
        Ok(Self {
            view: request.view(schema)?,
            request,
            typed: String::new(),
            search: None,
            marks: HashMap::new(),
            visible: HashSet::new(),
        })
    }

    pub fn schema(&self) -> &Arc<Schema> {
        self.view.schema()
    }

    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.view.projection().fields()
    }

    pub fn is_key(&self, field: &Field) -> bool {
        self.schema().key_fields().any(|key| key == field)
    }

    /// Marks the changes of the last refresh.
    pub fn note(&mut self, table: &UntypedSubscriber, now: Instant) {
        for change in &table.changes() {
            match change {
                Change::Created(new) => self.mark(new, Recent::Created, None, now),
                Change::Updated { old, new } => self.note_update(old, new, now),
                Change::Deleted(old) => {
                    // A row of another schema cannot be shown.
                    let row = RowBuf::from_bytes(Arc::clone(self.schema()), old.bytes()).ok();
                    self.mark(old, Recent::Deleted, row, now);
                }
            }
        }
    }

    /// Marks a row that was created or deleted.
    fn mark(&mut self, row: RowRef<'_>, recent: Recent, deleted: Option<RowBuf>, now: Instant) {
        let key = row.key().to_bytes();
        if self.marks.len() < MAX_MARKS || self.marks.contains_key(&key) {
            self.marks.insert(key, Mark { recent, fields: BTreeSet::new(), deleted, at: now });
        }
    }

    fn note_update(&mut self, old: RowRef<'_>, new: RowRef<'_>, now: Instant) {
        let key = new.key().to_bytes();
        // Only the marks of rows in the window are visible.
        if !self.visible.contains(&key) {
            return;
        }
        let is_changed =
            |(_, field): &(usize, &Field)| old.bytes()[field.range()] != new.bytes()[field.range()];
        let fields = self.view.schema().fields().iter().enumerate().filter(is_changed);
        let new = Mark { recent: Recent::None, fields: BTreeSet::new(), deleted: None, at: now };
        let mark = self.marks.entry(key).or_insert(new);
        mark.at = now;
        mark.fields.extend(fields.map(|(index, _)| index));
    }

    /// Removes the marks that are older than [`MARK_TIME`]. Returns true if there were any.
    pub fn expire_marks(&mut self, now: Instant) -> bool {
        let before = self.marks.len();
        self.marks.retain(|_, mark| now.saturating_duration_since(mark.at) < MARK_TIME);
        before != self.marks.len()
    }

    fn is_selected(&self, row: RowRef<'_>) -> bool {
        let matches = |search: &Search| search.matches(row, self.view.projection());
        self.view.has(row) && self.search.as_ref().is_none_or(matches)
    }

    /// Returns at most `count` rows from position `top` on, or the last ones if there are fewer.
    pub fn window(&mut self, table: &UntypedSubscriber, top: usize, count: usize) -> Window {
        let mut rows: Vec<RowRef<'_>> = Vec::new();
        rows.extend(table.iter().filter(|row| self.is_selected(*row)));
        let total = rows.len();
        let deleted = self.marks.values().filter_map(|mark| Some(mark.deleted.as_ref()?.as_ref()));
        rows.extend(deleted.filter(|row| self.is_selected(*row)));

        let top = top.min(total.saturating_sub(count.max(1)));
        let end = (top + count).min(rows.len());
        let selected = self.select(&rows, top, end).into_iter();
        let (lines, visible) =
            selected.map(|index| (self.line(rows[index]), rows[index].key().to_bytes())).unzip();
        self.visible = visible;
        Window { top, lines, total }
    }

    /// Returns the indexes of the rows at the positions `top` to `end` in the order.
    fn select(&self, rows: &[RowRef<'_>], top: usize, end: usize) -> Vec<usize> {
        let mut bytes = Vec::new();
        for row in rows {
            self.view.order().write(*row, MAX_SORT_BYTES, &mut bytes);
        }
        // The encodings of all rows of a schema have the same length.
        let width = (bytes.len() / rows.len().max(1)).max(1);
        let entry = |index: &usize| &bytes[index * width..][..width];
        let mut indexes: Vec<usize> = (0..rows.len()).collect();
        let mut window = &mut indexes[..];
        if end < window.len() {
            window.select_nth_unstable_by(end, |one, other| entry(one).cmp(entry(other)));
            window = &mut window[..end];
        }
        if top > 0 && top < window.len() {
            window.select_nth_unstable_by(top, |one, other| entry(one).cmp(entry(other)));
        }
        let window = &mut window[top..];
        window.sort_unstable_by(|one, other| entry(one).cmp(entry(other)));
        window.to_vec()
    }

    fn line(&self, row: RowRef<'_>) -> Line {
        let mark = self.marks.get(&row.key().to_bytes());
        let is_changed = |name: &str| {
            let index = self.schema().field(name).map(|(index, _)| index);
            mark.zip(index).is_some_and(|(mark, index)| mark.fields.contains(&index))
        };
        let values = self.view.projection().show(row).values();
        let cells = self.fields().zip(values).map(|(field, (name, value))| {
            (cell_with_unit(field, &value).into_owned(), is_changed(name))
        });
        Line { recent: mark.map_or(Recent::None, |mark| mark.recent), cells: cells.collect() }
    }

    /// Returns the fields that rows are sorted by, and true if their order is descending.
    fn order(&self) -> impl Iterator<Item = (&Field, bool)> {
        let keys = self.schema().key_fields().map(|field| (field, false));
        let keys = keys.filter(|_| self.view.order().is_by_key());
        let fields = self.schema().fields();
        let named = self.view.order().fields();
        named.map(|(index, is_descending)| (&fields[index], is_descending)).chain(keys)
    }

    /// Returns the index of the first column of the order, if it is shown, and true if it is
    /// descending.
    pub fn sorted_by(&self) -> (Option<usize>, bool) {
        let first = self.order().next();
        let column = |field| self.fields().position(|shown| shown == field);
        first.map_or((None, false), |(field, is_descending)| (column(field), is_descending))
    }

    /// Returns the order in the syntax of `--sort`, unless rows are sorted by key.
    pub fn sort(&self) -> Option<&str> {
        self.request.sort()
    }

    /// Sorts by the next or the previous column: numbers descending, keys and all others ascending.
    pub fn sort_by_next(&mut self, is_forward: bool) {
        let count = self.fields().len();
        let column = match (self.sorted_by().0, is_forward) {
            (None, _) => 0,
            (Some(column), true) => (column + 1) % count,
            (Some(column), false) => (column + count - 1) % count,
        };
        let Some(field) = self.fields().nth(column) else {
            return;
        };
        let is_descending = is_number(field.kind()) && !self.is_key(field);
        let direction = if is_descending { ":desc" } else { "" };
        self.sort_by(format!("{}{direction}", field.name()));
    }

    pub fn reverse(&mut self) {
        let reversed = self.order().map(|(field, is_descending)| {
            format!("{}{}", field.name(), if is_descending { "" } else { ":desc" })
        });
        let sort = reversed.collect::<Vec<_>>().join(",");
        self.sort_by(sort);
    }

    fn sort_by(&mut self, sort: String) {
        let is_by_key = sort.split(',').eq(self.schema().key_fields().map(Field::name));
        let request = self.request.clone().sorted((!is_by_key).then_some(sort));
        // The order names fields of this schema, so it can be parsed.
        if let Ok(view) = request.view(self.schema()) {
            (self.request, self.view) = (request, view);
        }
    }

    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Sets the filter to `typed`. If it is a malformed condition, returns the error as one line,
    /// and keeps the previous filter if that is a condition. A previous text filter is removed,
    /// because it is the beginning of this condition.
    pub fn search(&mut self, typed: &str) -> Result<(), String> {
        match Search::read(typed, self.schema()) {
            Ok(search) => {
                typed.clone_into(&mut self.typed);
                self.search = search;
                Ok(())
            }
            Err(message) => {
                if matches!(self.search, Some(Search::Text { .. })) {
                    self.typed.clear();
                    self.search = None;
                }
                Err(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::UntypedPublisher;

    use super::*;

    /// A table of 20 rows, of which `price` descends with `id`.
    fn published(test: &str) -> (UntypedPublisher, UntypedSubscriber) {
        let name = format!("top-rows-{test}-{}", std::process::id());
        let schema = Schema::parse("id:u64,name:text(8),price:u64", None).unwrap();
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        for id in 0..20 {
            upsert(&mut publisher, id, 100 - id);
        }
        let subscriber = UntypedSubscriber::open(&name).unwrap();
        (publisher, subscriber)
    }

    fn upsert(publisher: &mut UntypedPublisher, id: u64, price: u64) {
        let mut row = RowBuf::new(Arc::clone(publisher.schema()));
        row.set_text(0, &id.to_string()).unwrap();
        row.set_text(1, &format!("n{id}")).unwrap();
        row.set_text(2, &price.to_string()).unwrap();
        let mut tx = publisher.begin();
        tx.upsert(row.bytes()).unwrap();
        tx.commit().unwrap();
    }

    fn ids(window: &Window) -> Vec<&str> {
        let lines = window.lines.iter();
        lines.map(|line| line.cells[0].0.as_str()).collect()
    }

    #[test]
    fn window_is_sorted_filtered_and_bounded() {
        let (publisher, table) = published("window");
        let mut rows = Rows::new(table.schema(), Request::default()).unwrap();
        let window = rows.window(&table, 3, 4);
        assert_eq!((ids(&window), window.total), (vec!["3", "4", "5", "6"], 20));
        let last = rows.window(&table, usize::MAX, 4);
        assert_eq!((ids(&last), last.top), (vec!["16", "17", "18", "19"], 16));
        rows.reverse();
        assert_eq!(ids(&rows.window(&table, 0, 2)), ["19", "18"]);
        rows.sort_by_next(false);
        assert_eq!(rows.sort(), Some("price:desc"));
        assert_eq!(rows.sorted_by(), (Some(2), true));
        assert_eq!(ids(&rows.window(&table, 0, 2)), ["0", "1"]);
        rows.search("price < 85").unwrap();
        assert_eq!(ids(&rows.window(&table, 0, 9)), ["16", "17", "18", "19"]);
        assert!(rows.search("price < x").is_err());
        assert_eq!(rows.window(&table, 0, 9).total, 4);
        rows.search("N1").unwrap();
        assert_eq!(rows.window(&table, 0, 9).total, 0);
        rows.search("n1").unwrap();
        assert_eq!(rows.window(&table, 0, 9).total, 11);
        publisher.close().unwrap();
    }

    #[test]
    fn changes_are_marked_for_a_while() {
        let (mut publisher, mut table) = published("marks");
        let mut rows = Rows::new(table.schema(), Request::default()).unwrap();
        rows.window(&table, 0, 5);
        let now = Instant::now();
        upsert(&mut publisher, 1, 7);
        upsert(&mut publisher, 19, 7);
        upsert(&mut publisher, 50, 7);
        let mut tx = publisher.begin();
        tx.delete(&2_u64.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        table.refresh().unwrap();
        rows.note(&table, now);
        let window = rows.window(&table, 0, 30);
        assert_eq!(window.total, 20);
        let line = |id: &str| {
            let found = window.lines.iter().find(|line| line.cells[0].0 == id).unwrap();
            let changed: Vec<bool> = found.cells.iter().map(|cell| cell.1).collect();
            (found.recent, changed)
        };
        assert_eq!(line("1"), (Recent::None, vec![false, false, true]));
        assert_eq!(line("2").0, Recent::Deleted);
        assert_eq!(line("19"), (Recent::None, vec![false; 3]), "it was not visible");
        assert_eq!(line("50").0, Recent::Created);
        assert!(rows.expire_marks(now + MARK_TIME));
        let window = rows.window(&table, 0, 30);
        assert_eq!(window.lines.len(), 20);
        assert!(window.lines.iter().all(|line| line.recent == Recent::None));
        publisher.close().unwrap();
    }
}
