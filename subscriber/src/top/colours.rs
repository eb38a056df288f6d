//! Styles. Without colours, changes are bold, underlined or struck out.
//!
//! Only the sixteen standard colours are used: every terminal has them, and the user can choose
//! them.

use ratatui::style::{Color, Modifier, Style};

use super::marks::{STEPS, Step};
use crate::output::Output;

/// Styles of all parts of the picture.
#[derive(Clone, Copy)]
pub struct Colours {
    /// Names and important numbers.
    pub head: Style,
    /// Name of the column that rows are sorted by.
    pub sorted: Style,
    /// Secondary text.
    pub dim: Style,
    /// Healthy states.
    pub good: Style,
    /// Unhealthy states and errors.
    pub bad: Style,
    /// Graphs.
    pub graph: Style,
    /// Filter prompt.
    pub prompt: Style,
    /// Help window.
    pub window: Style,
    created: [Style; STEPS],
    updated: [Style; STEPS],
    gone: [Style; STEPS],
}

impl Colours {
    /// Returns the styles for `output`, with colours if it supports them.
    pub fn of(output: &Output) -> Self {
        Self::new(output.is_coloured())
    }

    /// Returns the styles with or without colours.
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

    /// Returns the style of a created row.
    pub fn created(&self, step: Step) -> Style {
        self.created[step.min(STEPS - 1)]
    }

    /// Returns the style of an updated cell.
    pub fn updated(&self, step: Step) -> Style {
        self.updated[step.min(STEPS - 1)]
    }

    /// Returns the style of a deleted row.
    pub fn gone(&self, step: Step) -> Style {
        self.gone[step.min(STEPS - 1)]
    }
}
