//! The footer: the prompt or an error, the current filter and order, and the position in the table.

use super::App;
use crate::format::cells::{shorten, visible, width};
use crate::top::colours::Colours;
use crate::top::draw::{Piece, SPACE};
use crate::top::header::grouped;

/// Minimum width for a footer with key hints. Narrower ones only show `? help`.
const LEAST_COLUMNS_FOR_HINTS: usize = 60;

impl App {
    /// Returns the footer's left and right pieces.
    pub(super) fn footer(&self, page: usize, columns: usize) -> (Vec<Piece>, Vec<Piece>) {
        let Colours {
            dim,
            bad,
            prompt,
            head,
            ..
        } = self.colours;
        let Some(model) = &self.model else {
            return (vec![(" q quit".to_owned(), dim)], vec![]);
        };
        let (len, top) = (model.len(), model.top);
        let place = match len {
            0 => "no rows".to_owned(),
            _ => format!(
                "{}–{} of {}",
                grouped(top as u64 + 1),
                grouped((top + page).min(len) as u64),
                grouped(len as u64)
            ),
        };
        let mut left = Vec::new();
        let mut right = vec![(format!("{place} "), head)];
        if let Some(typed) = &self.typing {
            left.push((format!(" /{}▏", visible(typed)), prompt));
        }
        if let Some(wrong) = &self.wrong {
            let taken: usize = left.iter().map(|(text, _)| width(text) + SPACE).sum();
            let wrong = visible(wrong);
            let (text, ellipsis) = shorten(&wrong, columns.saturating_sub(taken + 1));
            left.push((format!(" {text}{ellipsis}"), bad));
            return (left, vec![]);
        }
        if let Some(frozen) = &model.frozen {
            left.push((
                format!(" frozen at version {}", grouped(frozen.version)),
                bad,
            ));
        }
        if let Some(percent) = model.rows.progress() {
            left.push((format!(" {percent} %"), bad));
        }
        if self.typing.is_none() && !model.searched().is_empty() {
            left.push((format!(" /{}", visible(model.searched().trim())), prompt));
        }
        if let Some(sort) = model.sort() {
            left.push((format!(" by {}", visible(sort)), dim));
        }
        if left.is_empty() && columns >= LEAST_COLUMNS_FOR_HINTS {
            left.push((" / filter  s sort  f freeze".to_owned(), dim));
        }
        right.push(("? help".to_owned(), dim));
        (left, right)
    }
}
