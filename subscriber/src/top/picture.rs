//! Lays out the rows of a picture as cells, in the columns that fit.

use std::time::Instant;

use common::{Field, RowRef, UntypedSubscriber};

use super::cell;
use super::marks::Step;
use super::model::Model;
use super::visible_rows::Seen;
use crate::format::cells::{is_number, shorten, width};
use crate::format::columns::{Column, GAP};
use crate::format::fit::fit;

/// Table as it is drawn.
pub struct Picture {
    /// Heads of the columns that fit.
    pub heads: Vec<Head>,
    /// Rows that fit.
    pub lines: Vec<Line>,
    /// True if columns are hidden at the left, and at the right.
    pub more: [bool; 2],
}

/// Head of a column.
pub struct Head {
    /// Text of the head.
    pub name: String,
    /// True if rows are sorted by this column.
    pub is_sorted: bool,
    /// Width of the column.
    pub width: usize,
    /// True if cells are right-aligned.
    pub right: bool,
}

/// Row of a picture.
pub struct Line {
    /// Age of the row's creation, if it is recent.
    pub created: Option<Step>,
    /// Age of the row's deletion, if it was deleted.
    pub gone: Option<Step>,
    /// Cells of the shown columns.
    pub cells: Vec<Cell>,
}

/// Cell of a row.
pub struct Cell {
    /// Text, cut to the width of the column.
    pub text: String,
    /// Age of the last change, if it is recent.
    pub changed: Option<Step>,
}

/// Mark of the column that rows are sorted by in ascending order.
const UP: &str = "▲";
/// Mark of the column that rows are sorted by in descending order.
const DOWN: &str = "▼";

impl Model {
    /// Lays out a picture of `rows` rows and `columns` terminal columns.
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
        // If all columns fit again, columns that were scrolled out return.
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

    /// Returns the age of the last change to a cell, if it is recent.
    fn changed(&self, seen: &Seen, column: usize) -> Option<Step> {
        let field = self.fields().nth(column)?;
        let (index, _) = self.schema().field(field.name())?;
        *seen.fresh.cells.get(index)?
    }

    /// Returns the columns that are not scrolled out, with widths that fit into `columns`.
    fn fitted(&self, columns: usize) -> (Vec<usize>, Vec<Column>) {
        let (chosen, mut layout) = self.layout();
        if !fit(&mut layout, columns).is_empty() {
            // Leave room for the sign that marks hidden columns at the right.
            layout = self.layout().1;
            fit(&mut layout, columns.saturating_sub(1));
        }
        (chosen, layout)
    }

    /// Returns the columns that are not scrolled out, with their natural widths.
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
    /// Returns the start of each column, counted from 0.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        self.heads.iter().scan(0, |at, head| {
            let start = *at;
            *at += head.width + GAP.len();
            Some(start)
        })
    }
}

/// Returns the mark behind a column's name: the direction if rows are sorted by it.
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
