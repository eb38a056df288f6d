//! The columns of the window: their widths, and horizontal scrolling.

use common::Field;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style as Ratatui;

use super::rows::{Recent, Rows, Window};
use super::style::Style;
use crate::cells::{is_number, name_without_unit, shorten, visible, width};

const GAP: usize = 2;
/// Width of the gutter, which shows `+` and `-`.
const GUTTER: u16 = 1;
/// Maximum width of a column.
const MAX_COLUMN: usize = 48;

#[derive(Default)]
pub struct Grid {
    /// Width of each column. Widths only grow, so that columns do not move back and forth.
    widths: Vec<usize>,
    /// Number of columns outside the key that are scrolled out of view to the left.
    first: usize,
    /// Column that the next drawing must show.
    wanted: Option<usize>,
}

struct Column {
    /// Index among the fields that are shown.
    index: usize,
    /// Offset from the gutter.
    start: u16,
    width: usize,
}

impl Grid {
    pub fn of(rows: &Rows) -> Self {
        let widths = rows.fields().map(|field| width(name_without_unit(field)) + 1).collect();
        Self { widths, first: 0, wanted: rows.sorted_by().0 }
    }

    pub fn scroll_left(&mut self) {
        self.first = self.first.saturating_sub(1);
    }

    pub fn scroll_right(&mut self) {
        self.first += 1;
    }

    /// Scrolls to the column at the next drawing.
    pub fn show_column(&mut self, column: Option<usize>) {
        self.wanted = column;
    }

    /// Draws the names of the columns and the lines of the window.
    pub fn draw(
        &mut self,
        buffer: &mut Buffer,
        area: Rect,
        rows: &Rows,
        window: &Window,
        style: &Style,
    ) {
        for line in &window.lines {
            for (widest, (text, _)) in self.widths.iter_mut().zip(&line.cells) {
                *widest = width(text).min(MAX_COLUMN).max(*widest);
            }
        }
        let columns = self.place(rows, usize::from(area.width.saturating_sub(GUTTER)));
        let fields: Vec<&Field> = rows.fields().collect();
        let draw = |buffer: &mut Buffer, column: &Column, y: u16, text: &str, style: Ratatui| {
            let x = area.x + GUTTER + column.start;
            let room = usize::from(area.right().saturating_sub(x)).min(column.width);
            if room > 0 && area.height > 0 {
                let text = shorten(text, room);
                let is_right = is_number(fields[column.index].kind());
                let blanks = if is_right { room - width(&text).min(room) } else { 0 };
                buffer.set_stringn(x + blanks as u16, y, &text, room - blanks, style);
            }
        };
        let (sorted, is_descending) = rows.sorted_by();
        for column in &columns {
            let name = visible(name_without_unit(fields[column.index]));
            let arrow = if is_descending { "▼" } else { "▲" };
            match sorted == Some(column.index) {
                true => draw(buffer, column, area.y, &format!("{name}{arrow}"), style.sorted),
                false => draw(buffer, column, area.y, &name, style.head),
            }
        }
        let is_cut = columns.last().is_none_or(|last| last.index + 1 < fields.len());
        let signs = [(self.first > 0, area.x, "‹"), (is_cut, area.right().saturating_sub(1), "›")];
        for (is_more, x, sign) in signs {
            if is_more && area.width > 1 && area.height > 0 {
                buffer.set_stringn(x, area.y, sign, 1, style.sorted);
            }
        }
        for (y, line) in (area.y + 1..area.bottom()).zip(&window.lines) {
            let (sign, row_style) = match line.recent {
                Recent::None => (" ", Ratatui::new()),
                Recent::Created => ("+", style.created),
                Recent::Deleted => ("-", style.deleted),
            };
            buffer.set_style(Rect { y, height: 1, ..area }, row_style);
            buffer.set_stringn(area.x, y, sign, usize::from(area.width), row_style);
            for column in &columns {
                let (text, is_changed) = &line.cells[column.index];
                draw(buffer, column, y, text, if *is_changed { style.updated } else { row_style });
            }
        }
    }

    /// Returns the columns that fit into `room`: those of the key, then the others from `first` on.
    /// Changes `first` so that the wanted column is shown, and so that no room remains while
    /// columns are scrolled out of view.
    fn place(&mut self, rows: &Rows, room: usize) -> Vec<Column> {
        let count = self.widths.len();
        let key = rows.fields().take_while(|field| rows.is_key(field)).count();
        // If all columns belong to the key, they scroll.
        let pinned = if key == count { 0 } else { key };
        let place = |first: usize| {
            let mut columns: Vec<Column> = Vec::new();
            let mut start = 0;
            for index in (0..pinned).chain(pinned + first..count) {
                let width = self.widths[index].min(room);
                // The first column is shown even if it is cut.
                if start + width > room && !columns.is_empty() {
                    break;
                }
                columns.push(Column { index, start: start as u16, width });
                start += width + GAP;
            }
            columns
        };
        let shows = |first: usize, column: usize| place(first).iter().any(|at| at.index == column);
        let last = count.saturating_sub(pinned + 1);
        let mut first = self.first.min(last);
        if let Some(wanted) = self.wanted.take().filter(|wanted| *wanted >= pinned) {
            first = first.min(wanted - pinned);
            while first < wanted - pinned && !shows(first, wanted) {
                first += 1;
            }
        }
        while first > 0 && shows(first - 1, count - 1) {
            first -= 1;
        }
        self.first = first;
        place(first)
    }
}
