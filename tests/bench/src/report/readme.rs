//! The part of the report that a README shows: everything between two markers, so that no figure is ever typed by hand.

use std::fs;
use std::io;
use std::path::Path;

use super::{Measured, comparison, peers, plot};
use crate::growth::AXES;

const BEGIN: &str = "<!-- begin of what tests/bench wrote -->";
const END: &str = "<!-- end of what tests/bench wrote -->";
/// Where the plots are, seen from the README.
const FIGURES: &str = "tests/bench/figures";

/// Rewrites what stands between the markers, and draws the plots beside the README at `path`.
pub fn rewrite(measured: &Measured, path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let Some(text) = replaced(&text, &block(measured)) else {
        let path = path.display();
        return Err(io::Error::other(format!(
            "{path} has no lines {BEGIN:?} and {END:?} to write between"
        )));
    };
    let figures = path.parent().unwrap_or(Path::new("")).join(FIGURES);
    fs::create_dir_all(&figures)?;
    plot::draw(measured, &figures)?;
    fs::write(path, text)
}

fn block(measured: &Measured) -> String {
    let mut text = format!(
        "\n{} {}\n\n{}\n![side by side]({FIGURES}/{})\n",
        measured.about(),
        peers::versions(&measured.lmdb),
        comparison::table(measured),
        plot::COMPARISON,
    );
    for (axis, _) in &measured.growth {
        let about = AXES.iter().find(|one| one.name == axis);
        let about = about.map_or(axis.as_str(), |axis| axis.about);
        let file = plot::file(axis);
        text += &format!("![what grows with the {about}]({FIGURES}/{file})\n");
    }
    text + "\n"
}

/// `text` with another block; None without both markers.
fn replaced(text: &str, block: &str) -> Option<String> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some([&text[..begin], "\n", block, &text[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n"), Some(once.clone()));
        assert_eq!(replaced(END, "new"), None);
        assert_eq!(replaced(&format!("{END}{BEGIN}"), "new"), None);
    }
}
