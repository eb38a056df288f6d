//! Layout and drawing of the whole picture.
//!
//! ```text
//! title     name, publisher state                   version, rows
//! banner    (demo only)
//! changes   changes and commits per second          graph of the last seconds
//! delay     p50 and p99                             graph of the last seconds
//! names     column names
//! rows
//! footer    order, filter, errors                   position, help
//! ```
//!
//! On low terminals lines are left out: first banner and graphs, then the title, then the footer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::colours::Colours;
use super::picture::{Line, Picture};
use crate::format::cells::{cut, shorten, width};

/// Minimum height of a terminal for graphs.
const LEAST_LINES_FOR_GRAPHS: u16 = 10;
/// Minimum height for a title.
const LEAST_LINES_FOR_TITLE: u16 = 4;
/// Minimum height for a footer.
const LEAST_LINES_FOR_FOOTER: u16 = 3;
/// Minimum gap between two pieces of a line, in columns.
pub const SPACE: usize = 2;
/// Width of the gutter at the left of each row, which shows `+` or `-`.
const GUTTER: u16 = 1;

/// Areas of the parts of the picture.
pub struct Places {
    /// The title, if there is room.
    pub title: Option<Rect>,
    /// Lines between title and table: banner and graphs.
    pub pulse: Vec<Rect>,
    /// Column names and rows.
    pub table: Rect,
    /// The footer, if there is room.
    pub footer: Option<Rect>,
}

impl Places {
    /// Divides `area`, with `pulse` lines above the table if there is room.
    pub fn of(area: Rect, pulse: u16) -> Self {
        let line = |y: u16| Rect {
            y: area.y + y,
            height: 1,
            ..area
        };
        let title = area.height >= LEAST_LINES_FOR_TITLE;
        let footer = area.height >= LEAST_LINES_FOR_FOOTER;
        let pulse = if area.height >= LEAST_LINES_FOR_GRAPHS {
            pulse
        } else {
            0
        };
        let above = u16::from(title) + pulse;
        Self {
            title: title.then(|| line(0)),
            pulse: (u16::from(title)..above).map(line).collect(),
            table: Rect {
                y: area.y + above,
                height: area.height - above - u16::from(footer),
                ..area
            },
            footer: footer.then(|| line(area.height - 1)),
        }
    }

    /// Returns the number of rows that fit.
    pub fn rows(&self) -> usize {
        usize::from(self.table.height.saturating_sub(1))
    }

    /// Returns the width available to cells, in terminal columns.
    pub fn columns(&self) -> usize {
        usize::from(self.table.width.saturating_sub(GUTTER))
    }
}

/// Styled piece of a line.
pub type Piece = (String, Style);

/// Draws pieces from the left and from the right, while there is room. Earlier pieces are more
/// important. The first left piece is cut if it does not fit.
pub fn pieces(buffer: &mut Buffer, area: Rect, left: &[Piece], right: &[Piece]) {
    let area = area.intersection(buffer.area);
    let [left, right] = fitting(usize::from(area.width), left, right);
    let mut x = area.x;
    for (text, style) in left {
        let (text, ellipsis) = shorten(text, usize::from(area.right().saturating_sub(x)));
        for text in [text, ellipsis] {
            (x, _) = buffer.set_stringn(x, area.y, text, usize::MAX, *style);
        }
        x = x.saturating_add(SPACE as u16).min(area.right());
    }
    let mut end = area.right();
    for (text, style) in right {
        let begin = end.saturating_sub(width(text) as u16).max(area.x);
        buffer.set_stringn(begin, area.y, text, usize::from(end - begin), *style);
        end = begin.saturating_sub(SPACE as u16);
    }
}

/// Returns the pieces that fit, chosen alternately from both sides.
fn fitting<'p>(columns: usize, left: &'p [Piece], right: &'p [Piece]) -> [Vec<&'p Piece>; 2] {
    let mut shown = [Vec::new(), Vec::new()];
    let mut room = columns;
    for place in 0..left.len().max(right.len()) {
        for (side, pieces) in [left, right].into_iter().enumerate() {
            let Some(piece) = pieces.get(place) else {
                continue;
            };
            let taken = width(&piece.0);
            let is_cut = taken > room && (side, place) == (0, 0);
            if taken <= room || is_cut && columns > 0 {
                room = room.saturating_sub(taken + SPACE);
                shown[side].push(piece);
            }
        }
    }
    shown
}

/// Draws column names and rows.
pub fn table(buffer: &mut Buffer, area: Rect, picture: &Picture, colours: &Colours) {
    let area = area.intersection(buffer.area);
    if area.height > 1 {
        names(buffer, area, picture, colours);
    }
    let first = area.y + u16::from(area.height > 1);
    for (y, line) in (first..area.bottom()).zip(&picture.lines) {
        row(
            buffer,
            Rect {
                y,
                height: 1,
                ..area
            },
            picture,
            line,
            colours,
        );
    }
}

fn names(buffer: &mut Buffer, area: Rect, picture: &Picture, colours: &Colours) {
    for (start, head) in picture.starts().zip(&picture.heads) {
        let style = if head.is_sorted {
            colours.sorted
        } else {
            colours.head
        };
        cell(
            buffer,
            area,
            start,
            (head.width, head.right),
            &head.name,
            style,
        );
    }
    let signs = [
        (picture.more[0], area.x, "‹"),
        (picture.more[1], area.right().saturating_sub(1), "›"),
    ];
    for (is_more, x, sign) in signs {
        if is_more && area.width > 1 {
            buffer.set_stringn(x, area.y, sign, 1, colours.sorted);
        }
    }
}

fn row(buffer: &mut Buffer, area: Rect, picture: &Picture, line: &Line, colours: &Colours) {
    let (sign, whole) = match (line.gone, line.created) {
        (Some(step), _) => ("-", Some(colours.gone(step))),
        (None, Some(step)) => ("+", Some(colours.created(step))),
        (None, None) => (" ", None),
    };
    let plain = whole.unwrap_or_default();
    if whole.is_some() {
        buffer.set_style(area, plain);
    }
    buffer.set_stringn(area.x, area.y, sign, 1, plain);
    for ((start, head), shown) in picture.starts().zip(&picture.heads).zip(&line.cells) {
        let style = shown.changed.map_or(plain, |step| colours.updated(step));
        cell(
            buffer,
            area,
            start,
            (head.width, head.right),
            &shown.text,
            style,
        );
    }
}

/// Draws a text into a column, cut at the edge of the area.
fn cell(
    buffer: &mut Buffer,
    area: Rect,
    start: usize,
    (columns, right): (usize, bool),
    text: &str,
    style: Style,
) {
    let begin = usize::from(area.x) + usize::from(GUTTER) + start;
    let room = usize::from(area.right()).saturating_sub(begin).min(columns);
    if room == 0 {
        return;
    }
    let text = cut(text, room);
    let blanks = if right { room - width(text) } else { 0 };
    let (Ok(x), false) = (u16::try_from(begin + blanks), text.is_empty()) else {
        return;
    };
    buffer.set_stringn(x, area.y, text, room, style);
}

/// Returns the columns and lines available inside a window.
pub fn window_room(area: Rect) -> [usize; 2] {
    [(area.width, 4), (area.height, 2)]
        .map(|(length, frame)| usize::from(length.saturating_sub(frame).max(1)))
}

/// Draws lines in a box in the middle of the picture.
pub fn window(buffer: &mut Buffer, lines: &[String], colours: &Colours) {
    let all = buffer.area;
    let widest = lines.iter().map(|line| width(line)).max().unwrap_or(0);
    let columns = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(all.width);
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(all.height);
    let area = Rect {
        x: all.x + (all.width - columns) / 2,
        y: all.y + (all.height - height) / 2,
        width: columns,
        height,
    };
    for y in area.top()..area.bottom() {
        let text = usize::from(y - area.top())
            .checked_sub(1)
            .and_then(|at| lines.get(at))
            .filter(|_| y + 1 < area.bottom() || all.height == height);
        let text = text.map_or("", String::as_str);
        let room = usize::from(columns).saturating_sub(4);
        let blanks = " ".repeat(usize::from(columns));
        buffer.set_stringn(area.x, y, blanks, usize::from(columns), colours.window);
        let x = area.x + 2.min(columns.saturating_sub(1));
        buffer.set_stringn(x, y, text, room, colours.window);
    }
}
