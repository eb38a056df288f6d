//! The rows of a picture as cells: what is shown of them, in columns that fit.

use std::time::Instant;

use common::{Field, RowRef, UntypedSubscriber};

use super::cell;
use super::marks::Step;
use super::model::Model;
use super::seen::Seen;
use crate::format::cells::{is_number, shorten, width};
use crate::format::columns::{Column, GAP};
use crate::format::fit::fit;

/// The table as it is drawn.
pub struct Picture {
    /// The columns that fit.
    pub heads: Vec<Head>,
    /// The rows that fit.
    pub lines: Vec<Line>,
    /// Whether there are columns at the left, and at the right, that do not fit.
    pub more: [bool; 2],
}

/// The head of a column.
pub struct Head {
    /// What stands there.
    pub name: String,
    /// Whether rows are sorted by it.
    pub is_sorted: bool,
    /// How wide it is.
    pub width: usize,
    /// Whether its cells line up at the right.
    pub right: bool,
}

/// A row.
pub struct Line {
    /// Whether it came a moment ago.
    pub created: Option<Step>,
    /// Whether it went.
    pub gone: Option<Step>,
    /// What stands in it.
    pub cells: Vec<Cell>,
}

/// What stands in a column.
pub struct Cell {
    /// It fits its column.
    pub text: String,
    /// Whether it changed a moment ago.
    pub changed: Option<Step>,
}

/// Marks the column that rows are sorted by.
const UP: &str = "▲";
const DOWN: &str = "▼";

impl Model {
    /// The picture, of so many rows, in so many columns of the terminal.
    pub fn picture(
        &mut self,
        table: &UntypedSubscriber,
        columns: usize,
        rows: usize,
        now: Instant,
    ) -> Picture {
        let seen = self.picture_rows(table, rows, now);
        let texts: Vec<Vec<String>> = seen.iter().map(|row| self.texts(row)).collect();
        for texts in &texts {
            for (widest, text) in self.widest.iter_mut().zip(texts) {
                *widest = (*widest).max(width(text));
            }
        }
        let last = self.fields().len().saturating_sub(1 + self.pinned());
        self.first_column = self.first_column.min(last);
        let (mut chosen, mut layout) = self.fitted(columns);
        // Columns that were scrolled out come back as soon as there is room for all.
        while self.first_column > 0 {
            self.first_column -= 1;
            let (more, wider) = self.fitted(columns);
            if wider.iter().any(|column| !column.is_shown) {
                self.first_column += 1;
                break;
            }
            (chosen, layout) = (more, wider);
        }
        let hidden = self.asked_column.take().filter(|column| {
            let place = chosen.iter().position(|one| one == column);
            place.is_none_or(|place| !layout[place].is_shown)
        });
        if let Some(column) = hidden {
            self.first_column = column.saturating_sub(self.pinned()).min(last);
            (chosen, layout) = self.fitted(columns);
        }
        let shown: Vec<usize> = (0..chosen.len())
            .filter(|at| layout[*at].is_shown)
            .collect();
        let (sorted, down) = self.sorted_by();
        let head = |at: &usize| {
            let (column, is_sorted) = (&layout[*at], sorted == Some(chosen[*at]));
            let mark = mark(is_sorted, down);
            let name = column.name().strip_suffix(mark).unwrap_or_default();
            Head {
                name: cut(name, column.width.saturating_sub(width(mark))) + mark,
                is_sorted,
                width: column.width,
                right: column.is_right(),
            }
        };
        let line = |(row, mut texts): (&Seen, Vec<String>)| {
            let cell = |at: &usize| Cell {
                text: cut(&std::mem::take(&mut texts[chosen[*at]]), layout[*at].width),
                changed: self.changed(row, chosen[*at]),
            };
            Line {
                created: row.fresh.created,
                gone: row.gone,
                cells: shown.iter().map(cell).collect(),
            }
        };
        Picture {
            heads: shown.iter().map(head).collect(),
            lines: seen.iter().zip(texts).map(line).collect(),
            more: [self.first_column > 0, shown.len() < chosen.len()],
        }
    }

    fn texts(&self, seen: &Seen) -> Vec<String> {
        let text = |field: &Field, row: RowRef<'_>| {
            let (index, _) = self.schema().field(field.name())?;
            Some(cell::text(field, &row.value(index)).into_owned())
        };
        let row = RowRef::new(self.schema(), &seen.row).ok();
        let of = |field| row.and_then(|row| text(field, row)).unwrap_or_default();
        self.fields().map(of).collect()
    }

    /// Whether a column's cell of a row changed.
    fn changed(&self, seen: &Seen, column: usize) -> Option<Step> {
        let field = self.fields().nth(column)?;
        let (index, _) = self.schema().field(field.name())?;
        *seen.fresh.cells.get(index)?
    }

    /// The columns that are not scrolled out, with widths that fit `columns` of the terminal.
    fn fitted(&self, columns: usize) -> (Vec<usize>, Vec<Column>) {
        let (chosen, mut layout) = self.layout();
        if !fit(&mut layout, columns).is_empty() {
            // The sign for what is out at the right covers no heading.
            layout = self.layout().1;
            fit(&mut layout, columns.saturating_sub(1));
        }
        (chosen, layout)
    }

    /// The columns that are there for the left and right keys, and how wide they would be.
    fn layout(&self) -> (Vec<usize>, Vec<Column>) {
        let pinned = self.pinned();
        let chosen: Vec<usize> = (0..pinned)
            .chain(pinned + self.first_column..self.fields().len())
            .collect();
        let (sorted, down) = self.sorted_by();
        let fields: Vec<&Field> = self.fields().collect();
        let column = |at: &usize| {
            let (field, name) = (fields[*at], cell::name(fields[*at]));
            let name = format!("{name}{}", mark(sorted == Some(*at), down));
            let mut column = Column::new(&name, is_number(field.kind())).key(*at < pinned);
            column.cells = self.widest[*at];
            column.width = column.natural();
            column
        };
        let layout = chosen.iter().map(column).collect();
        (chosen, layout)
    }
}

impl Picture {
    /// Where each column begins, from 0.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        self.heads.iter().scan(0, |at, head| {
            let start = *at;
            *at += head.width + GAP.len();
            Some(start)
        })
    }
}

/// The mark behind a column's name: the direction, if rows are sorted by it.
fn mark(is_sorted: bool, down: bool) -> &'static str {
    match (is_sorted, down) {
        (false, _) => "",
        (true, false) => UP,
        (true, true) => DOWN,
    }
}

fn cut(text: &str, columns: usize) -> String {
    let (text, ellipsis) = shorten(text, columns);
    format!("{text}{ellipsis}")
}
