//! The table as it is looked at: what is chosen of it, where in it one is, what changed of late, and the picture of that.
//!
//! A model is of one schema; another one makes another model.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Field, Schema, UntypedSubscriber};

use super::marks::Marks;
use super::rows::{Choice, Rows};
use super::search::Search;
use super::seen::{Seen, seen};
use super::wanted::Wanted;
use crate::format::cells::is_number;
use crate::order::Order;
use crate::shell::Failure;
use crate::view::{Filter, Projection, parts};

/// So many rows around the picture are kept when it is frozen.
const MOST_FROZEN: usize = 4_096;

/// A table, looked at.
pub struct Model {
    schema: Arc<Schema>,
    filter: Rc<Filter>,
    projection: Rc<Projection>,
    /// How it is to be sorted, as `--sort` would say it.
    sort: Option<String>,
    /// What is searched for, as it was typed when it was right.
    typed: String,
    pub(super) rows: Rows,
    marks: Marks,
    /// Keys of the last picture.
    on_screen: HashSet<Vec<u8>>,
    pub(super) frozen: Option<Frozen>,
    /// The place of the first row of the picture.
    pub(super) top: usize,
    /// How many rows fit.
    pub(super) page: usize,
    /// How many columns that are not pinned are out at the left.
    pub(super) first_column: usize,
    /// A column that the next picture is to show.
    pub(super) asked_column: Option<usize>,
    /// The widest cell of each column so far: columns only get wider, so that they do not dance.
    pub(super) widest: Vec<usize>,
}

/// Rows as they were.
pub struct Frozen {
    /// These.
    pub rows: Vec<Seen>,
    /// The place of the first of them.
    pub place: usize,
    /// How many rows were shown in all.
    pub len: usize,
    /// The version that they are of.
    pub version: u64,
}

impl Model {
    /// All that is wanted of the table.
    ///
    /// # Errors
    /// What is wanted does not fit the schema.
    pub fn new(table: &UntypedSubscriber, wanted: &Wanted) -> Result<Self, Failure> {
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

    /// The schema that it is of.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The fields that are shown.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.projection.fields()
    }

    /// Takes in what the last refresh changed.
    pub fn note(&mut self, table: &UntypedSubscriber, now: Instant) {
        let marks = &mut self.marks;
        for change in &table.changes() {
            marks.note(&change, |key| self.on_screen.contains(key), now);
        }
        self.rows
            .note(table, |entry, row| marks.note_gone(entry, row, now));
    }

    /// Goes on with what takes long; whether that shows.
    pub fn work(&mut self, table: &UntypedSubscriber, time: Duration) -> bool {
        let sort = self.rows.sort().map(str::to_owned);
        let shows = self.rows.work(table, time);
        if sort.as_deref() != self.rows.sort() {
            self.marks.forget_gone();
        }
        shows && self.frozen.is_none()
    }

    /// How it is to be sorted: which of the columns comes first, if it is shown, and whether it goes down.
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

    /// As `--sort` would say it.
    pub fn sort(&self) -> Option<&str> {
        self.sort.as_deref()
    }

    /// Sorts by the next column, or the one before.
    pub fn sort_by_next(&mut self, forward: bool) {
        let count = self.fields().len();
        let column = match (self.sorted_by().0, forward) {
            (None, _) => 0,
            (Some(column), true) => (column + 1) % count,
            (Some(column), false) => (column + count - 1) % count,
        };
        let field = self.fields().nth(column).map(|field| {
            let is_key = self.schema.key_fields().any(|key| key == field);
            // Of numbers one wants to see the largest, and of keys and names the first.
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

    /// Turns the order round.
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

    /// Searches for what was typed.
    ///
    /// # Errors
    /// What is wrong with it. What was searched for before stays if it was a condition, too.
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
                // The text of a condition that has just begun was never meant to be found.
                let before = Search::read(&self.typed, &self.schema);
                if matches!(before, Ok(Some(Search::Text(_)))) {
                    self.typed.clear();
                    self.choose(Some(None));
                }
                Err(message)
            }
        }
    }

    /// Shows what is wanted now. `search` is what is searched for, if that is read already.
    fn choose(&mut self, search: Option<Option<Search>>) {
        let read = || Search::read(&self.typed, &self.schema).unwrap_or_default();
        let choice = Choice {
            // It was made of fields that there are.
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

    /// What is searched for.
    pub fn searched(&self) -> &str {
        &self.typed
    }

    /// Keeps the picture as it is, or goes on.
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

    /// The rows of the picture, of which `page` fit.
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

    /// Whether something may still fade in the picture.
    pub fn fades(&self) -> bool {
        self.frozen.is_none() && !self.marks.is_empty()
    }

    /// How many rows there are to be scrolled through.
    pub fn len(&self) -> usize {
        self.frozen
            .as_ref()
            .map_or(self.rows.len(), |frozen| frozen.len)
    }

    /// The last place that may be at the top.
    fn last_top(&self) -> usize {
        let end = match &self.frozen {
            Some(frozen) => frozen.place + frozen.rows.len(),
            None => self.rows.len(),
        };
        end.saturating_sub(self.page.max(1))
    }

    /// Goes so many rows down, or up.
    pub fn scroll(&mut self, rows: isize) {
        let first = self.frozen.as_ref().map_or(0, |frozen| frozen.place);
        let top = self.top.saturating_add_signed(rows);
        self.top = top.min(self.last_top()).max(first);
    }

    /// How many of the first columns always stay: those of the key.
    pub(super) fn pinned(&self) -> usize {
        let is_key = |field: &&Field| self.schema.key_fields().any(|key| key == *field);
        let pinned = self.fields().take_while(is_key).count();
        // If all are of the key, they are to be seen, too.
        if pinned == self.fields().len() {
            0
        } else {
            pinned
        }
    }

    /// Goes a column to the right, or to the left.
    pub fn scroll_columns(&mut self, forward: bool, is_more: bool) {
        match forward {
            true if is_more => self.first_column += 1,
            true => {}
            false => self.first_column = self.first_column.saturating_sub(1),
        }
    }
}

fn order(sort: Option<&str>, schema: &Schema) -> Result<Order, Failure> {
    sort.map_or_else(|| Ok(Order::default()), |sort| Order::parse(sort, schema))
}
