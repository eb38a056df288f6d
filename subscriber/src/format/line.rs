//! A line of styled pieces, cut to the width of the terminal.

use std::fmt::Display;
use std::io::{self, Write};

use anstyle::Style;

use crate::cells::{cut, width};

#[derive(Default)]
pub struct Line {
    pieces: Vec<(Style, String)>,
}

impl Line {
    pub fn push(&mut self, style: Style, text: impl Display) {
        self.pieces.push((style, text.to_string()));
    }

    /// Writes the line, cut to `columns` with an ellipsis. Returns true if it was cut.
    pub fn write(&self, out: &mut impl Write, columns: Option<usize>) -> io::Result<bool> {
        let total: usize = self.pieces.iter().map(|(_, text)| width(text)).sum();
        let is_cut = columns.is_some_and(|columns| total > columns);
        let mut room = match columns {
            Some(columns) if is_cut => columns.saturating_sub(1),
            _ => usize::MAX,
        };
        for (style, text) in &self.pieces {
            let fitting = if is_cut { cut(text, room) } else { text };
            room -= width(fitting);
            if !fitting.is_empty() {
                write!(out, "{style}{fitting}{style:#}")?;
            }
            if fitting.len() < text.len() {
                break;
            }
        }
        writeln!(out, "{}", if is_cut { "…" } else { "" })?;
        Ok(is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_cut_at_terminal_width() {
        let mut line = Line::default();
        line.push(Style::new().bold(), "ab");
        line.push(Style::new(), "日本");
        line.push(Style::new(), "cd");
        let written = |columns| {
            let mut out = Vec::new();
            let is_cut = line.write(&mut out, columns).unwrap();
            (
                String::from_utf8(out).unwrap().replace("\u{1b}[1m", "<").replace("\u{1b}[0m", ">"),
                is_cut,
            )
        };
        assert_eq!(written(None), ("<ab>日本cd\n".to_owned(), false));
        assert_eq!(written(Some(8)), ("<ab>日本cd\n".to_owned(), false));
        assert_eq!(written(Some(7)), ("<ab>日本…\n".to_owned(), true));
        assert_eq!(written(Some(6)), ("<ab>日…\n".to_owned(), true));
        assert_eq!(written(Some(2)), ("<a>…\n".to_owned(), true));
    }
}
