//! Error messages about a part of an argument: the text is repeated, with `^` under the part.

use std::ops::Range;

use crate::format::cells::{visible, width};
use cli::CliError;

/// Returns an error for wrong arguments: `message`, then `text` with the bytes of `at` underlined.
/// An empty range is shown one letter wide.
///
/// # Panics
/// If `at` is not a range of `text` on letter boundaries.
pub fn wrong(message: &str, text: &str, at: Range<usize>) -> CliError {
    let (before, piece) = (visible(&text[..at.start]), visible(&text[at.clone()]));
    let shown = format!("{before}{piece}{}", visible(&text[at.end..]));
    let line = format!(
        "{:blanks$}{}",
        "",
        "^".repeat(width(&piece).max(1)),
        blanks = width(&before)
    );
    CliError::new(2, format!("{message}\n  {shown}\n  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_under_their_piece() {
        let text = |at| wrong("no", "日本 = \tx", at).to_string();
        assert_eq!(text(0..6), "no\n  日本 = \\tx\n  ^^^^");
        assert_eq!(text(9..11), "no\n  日本 = \\tx\n         ^^^");
        assert_eq!(text(11..11), "no\n  日本 = \\tx\n            ^");
        assert_eq!(wrong("no", "x", 0..1).code(), 2);
    }
}
