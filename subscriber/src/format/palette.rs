//! Colours, or none.

use anstyle::{AnsiColor, Style};

use crate::output::Output;

/// A style for each thing that has one.
#[derive(Clone, Copy, Default)]
pub struct Palette {
    /// Names of columns.
    pub head: Style,
    /// What is less important.
    pub dim: Style,
    /// What came.
    pub create: Style,
    /// What is different now.
    pub update: Style,
    /// What went.
    pub delete: Style,
}

impl Palette {
    /// Colours, if `output` takes them.
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

    /// The style of a change.
    pub fn op(&self, op: &str) -> Style {
        match op {
            "create" => self.create,
            "update" => self.update,
            _ => self.delete,
        }
    }
}
