//! The help window: keys and their actions, split into pages that fit the terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::Length;
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Widget};

use crate::cells::{cut, width};

/// Keys and their actions, each on one line where the terminal is wide enough.
const KEYS: [(&str, &str); 11] = [
    ("↑ ↓ PgUp PgDn", "scroll; Home and End, or k j g G, too"),
    ("← →", "scroll to columns that do not fit"),
    ("/", "filter as you type: price > 5, name contains x, or text that any cell contains"),
    ("Esc", "clear the filter"),
    ("s > <", "sort by the next (s, >) or the previous (<) column"),
    ("r", "reverse the order"),
    ("f, space", "freeze the picture, or continue"),
    ("Ctrl-L Ctrl-Z", "redraw, suspend"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("+ -", "created or deleted rows; changes are coloured"),
];
/// Width of the column of keys, where the terminal is wide enough for two columns.
const KEYS_WIDTH: usize = 14;
/// Maximum width of the column of actions.
const TEXT_WIDTH: usize = 52;
/// Minimum width of a window with two columns. In a narrower window, the action is below its keys.
const LEAST_FOR_TWO_COLUMNS: usize = 34;

/// Draws a page in a window in the middle of the view. Returns the number of pages.
pub fn draw(buffer: &mut Buffer, page: usize, style: Style) -> usize {
    let all = buffer.area;
    let pages = pages(
        usize::from(all.width.saturating_sub(4).max(1)),
        usize::from(all.height.saturating_sub(2).max(1)),
    );
    // The terminal may have grown since the page was chosen.
    let lines = &pages[page.min(pages.len() - 1)];
    let widest = lines.iter().map(|line| width(line)).max().unwrap_or(0);
    let area = all.centered(Length(widest as u16 + 4), Length(lines.len() as u16 + 2));
    Clear.render(area, buffer);
    let window = Block::new().padding(Padding::symmetric(2, 1));
    Paragraph::new(lines.join("\n")).style(style).block(window).render(area, buffer);
    pages.len()
}

/// Returns the pages of the help for a window of `columns` by `height`.
fn pages(columns: usize, height: usize) -> Vec<Vec<String>> {
    let lines = lines(columns);
    if lines.len() <= height {
        return vec![lines];
    }
    // The last line of a page is reserved for the page number.
    let most = height.saturating_sub(1).max(1);
    let mut pages: Vec<Vec<String>> = lines.chunks(most).map(<[String]>::to_vec).collect();
    let (count, last) = (pages.len(), pages.len() - 1);
    for (at, page) in pages.iter_mut().enumerate().filter(|_| height > 1) {
        let next = if at < last { "more" } else { "back" };
        let note = format!("{}/{count}, any key: {next}", at + 1);
        page.push(cut(&note, columns).to_owned());
    }
    pages
}

fn lines(columns: usize) -> Vec<String> {
    let is_wide = columns >= LEAST_FOR_TWO_COLUMNS;
    let indent = if is_wide { KEYS_WIDTH + 1 } else { 2 };
    let mut lines = Vec::new();
    for (keys, what) in KEYS {
        let text = wrapped(what, columns.saturating_sub(indent).clamp(1, TEXT_WIDTH));
        let mut text = text.into_iter();
        if is_wide {
            let first = text.next().unwrap_or_default();
            lines.push(format!("{keys:<KEYS_WIDTH$} {first}").trim_end().to_owned());
        } else {
            lines.push(cut(keys, columns).to_owned());
        }
        lines.extend(text.map(|text| format!("{:indent$}{text}", "")));
    }
    lines
}

/// Breaks a text at white space. A word that is longer than a line is cut.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, columns).to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_word_at_any_window_size() {
        for columns in [10, 20, 33, 36, 50, 76, 200] {
            for height in [1, 2, 5, 10, 22, 100] {
                let pages = pages(columns, height);
                let mut all = String::new();
                for page in &pages {
                    assert!(page.len() <= height, "{page:?}");
                    for line in page {
                        assert!(width(line) <= columns, "{line:?} in {columns}");
                        all.extend([" ", line]);
                    }
                }
                if columns >= 20 {
                    for word in KEYS.iter().flat_map(|(_, what)| what.split(' ')) {
                        assert!(all.contains(word), "{word} in {columns}×{height}: {pages:?}");
                    }
                }
            }
        }
        assert_eq!(pages(76, 22).len(), 1);
    }

    #[test]
    fn last_line_of_a_page_shows_page_number() {
        let pages = pages(36, 10);
        assert!(pages.len() > 1);
        assert!(pages[0].last().unwrap().starts_with("1/"), "{pages:?}");
        assert!(pages.last().unwrap().last().unwrap().ends_with("back"));
    }
}
