//! Colours and width of the terminal.

use std::fs::File;

use anstyle::{AnsiColor, Style};

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
