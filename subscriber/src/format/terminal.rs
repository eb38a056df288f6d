//! Colours and width of the terminal, and lines that are cut to it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::cells::{cut, width};
use crate::output::Output;

#[derive(Clone, Copy, Default)]
pub struct Palette {
    /// Column names.
    pub head: Style,
    /// Secondary text.
    pub dim: Style,
    /// Changes, by operation.
    pub create: Style,
    pub update: Style,
    pub delete: Style,
}

impl Palette {
    /// Returns the styles for `output`, with colours if it supports them.
    pub fn of(output: &Output) -> Self {
        if !output.is_coloured() {
            return Self::default();
        }
        Self {
            head: Style::new().bold(),
            dim: Style::new().dimmed(),
            create: AnsiColor::Green.on_default(),
            update: AnsiColor::Yellow.on_default(),
            delete: AnsiColor::Red.on_default(),
        }
    }

    pub fn op(&self, op: &str) -> Style {
        match op {
            "create" => self.create,
            "update" => self.update,
            _ => self.delete,
        }
    }
}

const LEAST_COLUMNS: usize = 20;

pub struct Width {
    terminal: Option<File>,
    fixed: Option<usize>,
}

impl Width {
    /// Returns the width of `output`: `COLUMNS` if set, else that of the terminal.
    pub fn of(output: &Output) -> Self {
        let columns = std::env::var("COLUMNS").ok();
        let fixed = columns.and_then(|columns| columns.parse().ok());
        let terminal = output.terminal();
        Self { fixed: fixed.filter(|columns| *columns > 0 && terminal.is_some()), terminal }
    }

    #[cfg(test)]
    pub fn of_test(fixed: Option<usize>) -> Self {
        Self { terminal: None, fixed }
    }

    /// Returns the current width, or `None` if it is unlimited. A terminal can be resized at any
    /// time.
    pub fn columns(&self) -> Option<usize> {
        let columns = self.fixed.or_else(|| {
            let size = rustix::termios::tcgetwinsize(self.terminal.as_ref()?).ok()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        });
        columns.map(|columns| columns.max(LEAST_COLUMNS))
    }
}

/// A line of styled pieces.
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
