//! The output of `-V` and `--version`: version, commit and the layout version of the shared memory
//! that this program reads and writes.

use clap::Command;
use common::LAYOUT_VERSION;

/// Commit from which this program was built; empty if it was unknown (`build.rs`).
const COMMIT: &str = env!("BUILD_COMMIT");
/// Number of digits that identify a commit.
const SHORT_COMMIT: usize = 9;

/// Adds the commit and the layout to a command's version.
pub fn add(command: Command) -> Command {
    let number = command.get_version().unwrap_or_default().to_owned();
    let short = short(&number, COMMIT);
    let long = format!("{short}\n{}", details(COMMIT));
    command.version(short).long_version(long)
}

/// Returns a version such as `0.1.0 (8b57dc8a1, layout 2)`.
fn short(number: &str, commit: &str) -> String {
    let commit = commit.get(..SHORT_COMMIT).unwrap_or(commit);
    let comma = if commit.is_empty() { "" } else { ", " };
    format!("{number} ({commit}{comma}layout {LAYOUT_VERSION})")
}

fn details(commit: &str) -> String {
    let layout = format!(
        "layout: {LAYOUT_VERSION}, which publisher and subscribers of a table must have in common"
    );
    match commit {
        "" => layout,
        commit => format!("commit: {commit}\n{layout}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_name_what_is_known() {
        let layout = format!("layout {LAYOUT_VERSION}");
        assert_eq!(
            short("1.2.3", "0123456789abcdef"),
            format!("1.2.3 (012345678, {layout})")
        );
        assert_eq!(short("1.2.3", ""), format!("1.2.3 ({layout})"));
        assert!(!details("").contains("commit"));
        assert!(details("0123456789abcdef").starts_with("commit: 0123456789abcdef\n"));
    }
}
