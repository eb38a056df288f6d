//! State of the view of a table with one schema: filter, order, scroll position, recent changes,
//! and the frozen picture.
//!
//! A schema change requires a new model.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Field, Schema, UntypedSubscriber};

use super::marks::Marks;
use super::options::Wanted;
use super::rows::{Choice, Rows};
use super::search::Search;
use super::visible_rows::{Seen, seen};
use crate::format::cells::is_number;
use crate::order::Order;
use crate::view::{Filter, Projection, parts};
use cli::CliError;

/// Maximum number of rows around the picture that are kept when it is frozen.
const MOST_FROZEN: usize = 4_096;

/// View of a table.
pub struct Model {
    schema: Arc<Schema>,
    filter: Rc<Filter>,
    projection: Rc<Projection>,
    /// Requested order, in the syntax of `--sort`.
    sort: Option<String>,
    /// Text of the current filter. It is always valid.
    typed: String,
    pub(super) rows: Rows,
    marks: Marks,
    /// Keys of the rows in the last picture.
    on_screen: HashSet<Vec<u8>>,
    pub(super) frozen: Option<Frozen>,
    /// Position of the picture's first row.
    pub(super) top: usize,
    /// Number of rows that fit the picture.
    pub(super) page: usize,
    /// Number of columns scrolled out to the left, not counting pinned ones.
    pub(super) first_column: usize,
    /// Column that the next picture must show.
    pub(super) asked_column: Option<usize>,
    /// Width of the widest cell of each column so far. Columns only grow, so that the layout stays
    /// calm.
    pub(super) widest: Vec<usize>,
}

/// Rows of a frozen picture.
pub struct Frozen {
    /// The rows.
    pub rows: Vec<Seen>,
    /// Position of the first of them.
    pub place: usize,
    /// Total number of rows at the time of freezing.
    pub len: usize,
    /// Version of the table at the time of freezing.
    pub version: u64,
}

impl Model {
    /// Creates a view of `table` with the command line's options.
    ///
    /// # Errors
    /// Fails if the options do not fit the schema.
    pub fn new(table: &UntypedSubscriber, wanted: &Wanted) -> Result<Self, CliError> {
        let schema = table.schema();
        let projection = match &wanted.fields {
            Some(fields) => Projection::parse(fields, schema)?,
            None => Projection::all(schema),
        };
        let (projection, filter) = (
            Rc::new(projection),
            Rc::new(Filter::bind(&wanted.conditions, schema)?),
        );
        let count = projection.fields().len();
        let choice = Choice {
            order: order(wanted.sort.as_deref(), schema)?,
            sort: wanted.sort.clone(),
            filter: Rc::clone(&filter),
            search: None,
            projection: Rc::clone(&projection),
        };
        let mut model = Self {
            schema: Arc::clone(schema),
            filter,
            widest: vec![0; count],
            projection,
            sort: wanted.sort.clone(),
            typed: String::new(),
            rows: Rows::new(table, choice),
            marks: Marks::new(Instant::now()),
            on_screen: HashSet::new(),
            frozen: None,
            top: 0,
            page: 0,
            first_column: 0,
            asked_column: None,
        };
        model.asked_column = model.sorted_by().0;
        Ok(model)
    }

    /// Returns the schema of the view.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns the fields that are shown.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.projection.fields()
    }

    /// Applies the changes of the last refresh.
    pub fn note(&mut self, table: &UntypedSubscriber, now: Instant) {
        let marks = &mut self.marks;
        for change in &table.changes() {
            marks.note(&change, |key| self.on_screen.contains(key), now);
        }
        self.rows
            .note(table, |entry, row| marks.note_gone(entry, row, now));
    }

    /// Continues pending work. Returns true if the picture changed.
    pub fn work(&mut self, table: &UntypedSubscriber, time: Duration) -> bool {
        let sort = self.rows.sort().map(str::to_owned);
        let shows = self.rows.work(table, time);
        if sort.as_deref() != self.rows.sort() {
            self.marks.forget_gone();
        }
        shows && self.frozen.is_none()
    }

    /// Returns the index of the column that the rows are sorted by first, if it is shown, and true
    /// if the order is descending.
    pub fn sorted_by(&self) -> (Option<usize>, bool) {
        let sort = self.sort.as_deref().unwrap_or_default();
        let (first, _) = parts(sort).next().unwrap_or_default();
        let (name, down) = match (first, first.split_once(':')) {
            ("", _) => (
                self.schema.key_fields().next().map_or("", Field::name),
                false,
            ),
            (_, Some((name, direction))) => (name, direction == "desc"),
            (name, None) => (name, false),
        };
        let column = self.fields().position(|field| field.name() == name);
        (column, down)
    }

    /// Returns the requested order in the syntax of `--sort`.
    pub fn sort(&self) -> Option<&str> {
        self.sort.as_deref()
    }

    /// Sorts by the next or the previous column.
    pub fn sort_by_next(&mut self, forward: bool) {
        let count = self.fields().len();
        let column = match (self.sorted_by().0, forward) {
            (None, _) => 0,
            (Some(column), true) => (column + 1) % count,
            (Some(column), false) => (column + count - 1) % count,
        };
        let field = self.fields().nth(column).map(|field| {
            let is_key = self.schema.key_fields().any(|key| key == field);
            // Largest numbers first; keys and names in ascending order.
            let down = is_number(field.kind()) && !is_key;
            format!("{}{}", field.name(), if down { ":desc" } else { "" })
        });
        self.asked_column = Some(column);
        self.sort_by(field.unwrap_or_default());
    }

    fn sort_by(&mut self, sort: String) {
        let is_by_key = sort
            .split(',')
            .eq(self.schema.key_fields().map(Field::name));
        self.sort = (!is_by_key).then_some(sort);
        self.choose(None);
    }

    /// Reverses the order.
    pub fn reverse(&mut self) {
        let keys = || {
            self.schema
                .key_fields()
                .map(|field| format!("{}:desc", field.name()))
        };
        let sort = match &self.sort {
            None => keys().collect::<Vec<_>>().join(","),
            Some(sort) => {
                let turned = parts(sort).map(|(part, _)| match part.split_once(':') {
                    Some((name, "desc")) => name.to_owned(),
                    Some((name, _)) => format!("{name}:desc"),
                    None => format!("{part}:desc"),
                });
                turned.collect::<Vec<_>>().join(",")
            }
        };
        self.sort_by(sort);
    }

    /// Sets the filter to `typed`.
    ///
    /// # Errors
    /// Returns the error in a malformed condition, as one line. The previous filter stays if it was
    /// a condition, too.
    pub fn search(&mut self, typed: &str) -> Result<(), String> {
        match Search::read(typed, &self.schema) {
            Ok(search) => {
                if typed.trim() != self.typed.trim() {
                    typed.clone_into(&mut self.typed);
                    self.choose(Some(search));
                }
                Ok(())
            }
            Err(message) => {
                // A plain-text filter is cleared: it was the beginning of this condition.
                let before = Search::read(&self.typed, &self.schema);
                if matches!(before, Ok(Some(Search::Text(_)))) {
                    self.typed.clear();
                    self.choose(Some(None));
                }
                Err(message)
            }
        }
    }

    /// Applies the current order and filter. `search` is the parsed filter, if the caller has it.
    fn choose(&mut self, search: Option<Option<Search>>) {
        let read = || Search::read(&self.typed, &self.schema).unwrap_or_default();
        let choice = Choice {
            // Cannot fail: the order names fields of this schema.
            order: order(self.sort.as_deref(), &self.schema).unwrap_or_default(),
            sort: self.sort.clone(),
            filter: Rc::clone(&self.filter),
            search: search.unwrap_or_else(read),
            projection: Rc::clone(&self.projection),
        };
        self.frozen = None;
        self.top = 0;
        self.marks.forget_gone();
        self.widest.fill(0);
        self.rows.choose(choice);
    }

    /// Returns the text of the current filter.
    pub fn searched(&self) -> &str {
        &self.typed
    }

    /// Freezes the picture, or unfreezes it.
    pub fn freeze(&mut self, table: &UntypedSubscriber, now: Instant) {
        self.frozen = match self.frozen {
            Some(_) => None,
            None => {
                let place = self.top.saturating_sub(MOST_FROZEN / 2);
                Some(Frozen {
                    rows: seen(table, &self.rows, &self.marks, place, MOST_FROZEN, now),
                    place,
                    len: self.rows.len(),
                    version: table.version(),
                })
            }
        };
    }

    /// Returns the rows of a picture of `page` rows.
    pub(super) fn picture_rows(
        &mut self,
        table: &UntypedSubscriber,
        page: usize,
        now: Instant,
    ) -> Vec<Seen> {
        self.page = page;
        self.top = self.top.min(self.last_top());
        if let Some(frozen) = &self.frozen {
            let skipped = self.top.saturating_sub(frozen.place);
            return frozen
                .rows
                .iter()
                .skip(skipped)
                .take(page)
                .cloned()
                .collect();
        }
        self.marks.sweep(now);
        let rows = seen(table, &self.rows, &self.marks, self.top, page, now);
        self.on_screen = rows.iter().map(|row| row.key.clone()).collect();
        rows
    }

    /// Returns true if a mark in the picture is still fading.
    pub fn fades(&self) -> bool {
        self.frozen.is_none() && !self.marks.is_empty()
    }

    /// Returns the number of rows that can be scrolled through.
    pub fn len(&self) -> usize {
        self.frozen
            .as_ref()
            .map_or(self.rows.len(), |frozen| frozen.len)
    }

    /// Returns the last valid position of the picture's first row.
    fn last_top(&self) -> usize {
        let end = match &self.frozen {
            Some(frozen) => frozen.place + frozen.rows.len(),
            None => self.rows.len(),
        };
        end.saturating_sub(self.page.max(1))
    }

    /// Scrolls down by `rows`, or up if negative.
    pub fn scroll(&mut self, rows: isize) {
        let first = self.frozen.as_ref().map_or(0, |frozen| frozen.place);
        let top = self.top.saturating_add_signed(rows);
        self.top = top.min(self.last_top()).max(first);
    }

    /// Returns the number of leading columns that never scroll out: the key's.
    pub(super) fn pinned(&self) -> usize {
        let is_key = |field: &&Field| self.schema.key_fields().any(|key| key == *field);
        let pinned = self.fields().take_while(is_key).count();
        // If all columns belong to the key, they must scroll.
        if pinned == self.fields().len() {
            0
        } else {
            pinned
        }
    }

    /// Scrolls one column to the right or left.
    pub fn scroll_columns(&mut self, forward: bool, is_more: bool) {
        match forward {
            true if is_more => self.first_column += 1,
            true => {}
            false => self.first_column = self.first_column.saturating_sub(1),
        }
    }
}

fn order(sort: Option<&str>, schema: &Schema) -> Result<Order, CliError> {
    sort.map_or_else(|| Ok(Order::default()), |sort| Order::parse(sort, schema))
}
