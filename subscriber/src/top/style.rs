//! Styles. Without colours, changes are bold, underlined or struck out.
//!
//! Only the sixteen standard colours are used: every terminal has them, and the user can choose
//! them.

use ratatui::style::{Color, Modifier, Style as Ratatui};

#[derive(Clone, Copy)]
pub struct Style {
    /// Names and important numbers.
    pub head: Ratatui,
    /// Name of the column that rows are sorted by.
    pub sorted: Ratatui,
    /// Secondary text.
    pub dim: Ratatui,
    /// Healthy states.
    pub good: Ratatui,
    /// Unhealthy states and errors.
    pub bad: Ratatui,
    /// Graphs and the filter prompt.
    pub accent: Ratatui,
    /// Help window.
    pub window: Ratatui,
    /// Rows and cells that changed recently.
    pub created: Ratatui,
    pub updated: Ratatui,
    pub deleted: Ratatui,
}

impl Style {
    pub fn new(is_coloured: bool) -> Self {
        let plain = Ratatui::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let underlined = plain.add_modifier(Modifier::UNDERLINED);
        let either = |coloured, monochrome| if is_coloured { coloured } else { monochrome };
        let on = |colour| plain.fg(Color::Black).bg(colour);
        Self {
            head: bold,
            sorted: either(bold.fg(Color::Cyan), bold.add_modifier(Modifier::UNDERLINED)),
            dim: either(plain.add_modifier(Modifier::DIM), plain),
            good: either(plain.fg(Color::Green), plain),
            bad: either(bold.fg(Color::Red), bold),
            accent: either(plain.fg(Color::Cyan), bold),
            window: either(on(Color::Cyan), plain.add_modifier(Modifier::REVERSED)),
            created: either(on(Color::Green), bold),
            updated: either(on(Color::Yellow), underlined),
            deleted: either(on(Color::Red), plain.add_modifier(Modifier::CROSSED_OUT)),
        }
    }
}
