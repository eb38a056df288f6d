//! What the keys do.

/// A line each.
const KEYS: [(&str, &str); 12] = [
    ("↑ ↓ PgUp PgDn", "scroll; Home and End, or k j g G, too"),
    ("← →", "columns that do not fit"),
    ("/", "filter while you type: price > 5, name contains x,"),
    ("", "or any text that a cell contains"),
    ("Esc", "no filter"),
    ("s > <", "sort by the next column, or the one before"),
    ("r", "reverse"),
    ("f, space", "freeze the picture, and go on"),
    ("Ctrl-L Ctrl-Z", "draw anew, suspend"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("+ - ", "rows that came or went; what changed is coloured"),
];

/// What fits a terminal of that height.
pub fn lines(height: u16) -> Vec<String> {
    let line = |(keys, what): &(&str, &str)| format!("{keys:<14} {what}");
    let most = usize::from(height.saturating_sub(2)).max(1);
    KEYS.iter().take(most).map(line).collect()
}
