//! Styles. Without colours, changes are bold, underlined or struck out.
//!
//! Only the sixteen standard colours are used: every terminal has them, and the user can choose
//! them.

use ratatui::style::{Color, Modifier, Style as Ratatui};

/// Styles of all parts of the view.
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
    /// Created rows.
    pub created: Ratatui,
    /// Updated cells.
    pub updated: Ratatui,
    /// Deleted rows.
    pub deleted: Ratatui,
}

impl Style {
    /// Returns the styles with or without colours.
    pub fn new(is_coloured: bool) -> Self {
        let plain = Ratatui::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        if !is_coloured {
            return Self {
                head: bold,
                sorted: bold.add_modifier(Modifier::UNDERLINED),
                dim: plain,
                good: plain,
                bad: bold,
                accent: bold,
                window: plain.add_modifier(Modifier::REVERSED),
                created: bold,
                updated: plain.add_modifier(Modifier::UNDERLINED),
                deleted: plain.add_modifier(Modifier::CROSSED_OUT),
            };
        }
        Self {
            head: bold,
            sorted: bold.fg(Color::Cyan),
            dim: plain.add_modifier(Modifier::DIM),
            good: plain.fg(Color::Green),
            bad: bold.fg(Color::Red),
            accent: plain.fg(Color::Cyan),
            window: plain.fg(Color::Black).bg(Color::Cyan),
            created: plain.fg(Color::Black).bg(Color::Green),
            updated: plain.fg(Color::Black).bg(Color::Yellow),
            deleted: plain.fg(Color::Black).bg(Color::Red),
        }
    }
}
