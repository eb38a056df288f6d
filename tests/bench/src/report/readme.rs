//! The figures in README.md and the plots in docs/performance.md, each between two markers, so that
//! no figure is typed by hand.

use std::fs;
use std::io;
use std::path::Path;

use super::{Measured, comparison, peers, plot};
use crate::growth::AXES;

const BEGIN: &str = "<!-- begin of what tests/bench wrote -->";
const END: &str = "<!-- end of what tests/bench wrote -->";
/// Directory of the plots, relative to the README.
const FIGURES: &str = "tests/bench/figures";
/// The page that shows the plots, relative to the README.
const PERFORMANCE: &str = "docs/performance.md";

/// Rewrites the table in the README at `path` and the plots of docs/performance.md next to it.
pub fn rewrite(measured: &Measured, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let page = folder.join(PERFORMANCE);
    let texts = [
        (path, between_markers(path, &table(measured))?),
        (&page, between_markers(&page, &plots(measured))?),
    ];
    let figures = folder.join(FIGURES);
    fs::create_dir_all(&figures)?;
    plot::draw(measured, &figures)?;
    texts.into_iter().try_for_each(|(path, text)| fs::write(path, text))
}

fn table(measured: &Measured) -> String {
    format!(
        "\n{} {}\n\n{}\n",
        measured.about(),
        peers::versions(&measured.lmdb),
        comparison::table(measured),
    )
}

fn plots(measured: &Measured) -> String {
    let mut text = format!("\n![comparison](../{FIGURES}/{})\n", plot::COMPARISON);
    for (axis, _) in &measured.growth {
        let about = AXES.iter().find(|one| one.name == axis);
        let about = about.map_or(axis.as_str(), |axis| axis.about);
        let file = plot::file(axis);
        text += &format!("![what grows with the {about}](../{FIGURES}/{file})\n");
    }
    text + "\n"
}

/// Returns the text of the file at `path` with another block between the markers.
fn between_markers(path: &Path, block: &str) -> io::Result<String> {
    replaced(&fs::read_to_string(path)?, block).ok_or_else(|| {
        let path = path.display();
        io::Error::other(format!("{path} has no lines {BEGIN:?} and {END:?} to write between"))
    })
}

/// Returns `text` with another block between the markers; None without both markers.
fn replaced(text: &str, block: &str) -> Option<String> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some([&text[..begin], "\n", block, &text[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_markers_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n"), Some(once.clone()));
        assert_eq!(replaced(END, "new"), None);
        assert_eq!(replaced(&format!("{END}{BEGIN}"), "new"), None);
    }
}
