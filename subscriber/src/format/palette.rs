//! Styles of printed text, with or without colours.

use anstyle::{AnsiColor, Style};

use crate::output::Output;

/// Styles of all parts of the output.
#[derive(Clone, Copy, Default)]
pub struct Palette {
    /// Column names.
    pub head: Style,
    /// Secondary text.
    pub dim: Style,
    /// Created rows.
    pub create: Style,
    /// Updated rows.
    pub update: Style,
    /// Deleted rows.
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

    /// Returns the style of a change.
    pub fn op(&self, op: &str) -> Style {
        match op {
            "create" => self.create,
            "update" => self.update,
            _ => self.delete,
        }
    }
}
