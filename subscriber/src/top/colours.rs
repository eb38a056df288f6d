//! Styles, with colours or without: what changed is then bold, underlined or struck out.
//!
//! Only the sixteen colours that every terminal has, and that its user has chosen.

use ratatui::style::{Color, Modifier, Style};

use super::marks::{STEPS, Step};
use crate::output::Output;

/// A style for each thing that has one.
#[derive(Clone, Copy)]
pub struct Colours {
    /// Names, and what is to be read first.
    pub head: Style,
    /// The column that rows are sorted by.
    pub sorted: Style,
    /// What is less important.
    pub dim: Style,
    /// What is well.
    pub good: Style,
    /// What is not.
    pub bad: Style,
    /// Numbers that move.
    pub graph: Style,
    /// What is typed.
    pub prompt: Style,
    /// What lies over the rest.
    pub window: Style,
    created: [Style; STEPS],
    updated: [Style; STEPS],
    gone: [Style; STEPS],
}

impl Colours {
    /// Colours, if `output` takes them.
    pub fn of(output: &Output) -> Self {
        Self::new(output.is_coloured())
    }

    /// Colours, or none.
    pub fn new(coloured: bool) -> Self {
        let plain = Style::new();
        if !coloured {
            let bold = plain.add_modifier(Modifier::BOLD);
            let line = plain.add_modifier(Modifier::UNDERLINED);
            let out = plain.add_modifier(Modifier::CROSSED_OUT);
            return Self {
                head: bold,
                sorted: bold.add_modifier(Modifier::UNDERLINED),
                dim: plain,
                good: plain,
                bad: bold,
                graph: plain,
                prompt: bold,
                window: plain.add_modifier(Modifier::REVERSED),
                created: [bold; STEPS],
                updated: [line.add_modifier(Modifier::BOLD), line, line],
                gone: [out; STEPS],
            };
        }
        let fading = |colour| {
            let flash = plain.fg(Color::Black).bg(colour);
            let bright = plain.fg(colour).add_modifier(Modifier::BOLD);
            [flash, bright, plain.fg(colour)]
        };
        Self {
            head: plain.add_modifier(Modifier::BOLD),
            sorted: plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            dim: plain.add_modifier(Modifier::DIM),
            good: plain.fg(Color::Green),
            bad: plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            graph: plain.fg(Color::Cyan),
            prompt: plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            window: plain.fg(Color::Black).bg(Color::Cyan),
            created: fading(Color::Green),
            updated: fading(Color::Yellow),
            gone: fading(Color::Red),
        }
    }

    /// A row that came.
    pub fn created(&self, step: Step) -> Style {
        self.created[step.min(STEPS - 1)]
    }

    /// A cell that changed.
    pub fn updated(&self, step: Step) -> Style {
        self.updated[step.min(STEPS - 1)]
    }

    /// A row that went.
    pub fn gone(&self, step: Step) -> Style {
        self.gone[step.min(STEPS - 1)]
    }
}
